"""Run a benchmark by its name: `python -m benchmarks NAME --help`. Only the one that is named is imported."""

import importlib
import sys

QUESTIONS = {
    "optimizers": "Which optimizer makes the loss fall most for the same number of evaluations?",
    "peers": "How long until jaxstyle's picture is as good as the final one of another program, all run side by side?",
    "gatys_trace": "Is our loss below the one that the authors' notebook prints, on its own pictures?",
    "scales": "Is it better to optimize small copies of the picture first, at the same cost?",
    "strength": "Does one strength give the same balance of content and style for every pair and every size?",
    "sweep": "Does a sheet of many settings cost more than its pictures one by one?",
    "scaling": "What does each of several devices compute, hold and send, as a picture is spread over more of them?",
    "folder": "How many pictures a minute does a folder make, beside running its photos one by one?",
    "tpu_aot": "Does a whole optimizer step fit on TPUs that are not here, by their own compiler's word?",
    "checkpoint": "What do checkpoints cost?",
    "step": "How close to the hardware's limit is one evaluation, and to PyTorch's time?",
    "layers": "How fast is each convolution, by each algorithm?",
    "resolution": "How do time and memory of a step grow with the size of the picture?",
}
USAGE = "usage: python -m benchmarks NAME [options]; python -m benchmarks NAME --help lists the options\n\n" + "".join(
    f"  {name:<13}{question}\n" for name, question in QUESTIONS.items()
)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark that the first argument names, with the others; the status to exit with."""
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    if name not in QUESTIONS:
        print(f"unknown benchmark {name!r}, expected one of {', '.join(QUESTIONS)}", file=sys.stderr)
        return 2
    # Here and not above: listing the benchmarks must not wait for JAX.
    from benchmarks.worker import WorkerError
    from jaxstyle.errors import InputError

    try:
        importlib.import_module(f"benchmarks.{name}").main(rest)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except WorkerError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; what was measured so far is in benchmarks/results", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
