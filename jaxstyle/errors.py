"""The one error that bad input raises.

Everything a caller can get wrong (a missing file, an unknown layer, a negative weight) raises `InputError` with one
sentence: what was got, what is expected, what to do. The command line turns it into exit code 2; any other exception
is a defect of this library and keeps its traceback.
"""


class InputError(ValueError):
    """Input that cannot be used; the message says what was got, what is expected and what to do."""
