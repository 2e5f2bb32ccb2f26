"""PyAV, FFmpeg's libraries in Python: an extra, so it is imported when a clip is read or written, not before."""

from typing import Any

from jaxstyle.errors import InputError


def pyav() -> Any:
    """Return the module of PyAV.

    Raises:
        InputError: if it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise InputError("videos need PyAV: pip install 'jaxstyle[video]', or use folders of frames") from error
    return av
