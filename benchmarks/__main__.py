"""Run a benchmark by name: `python -m benchmarks NAME --help`. Only the named module is imported."""

import importlib
import sys

QUESTIONS = {
    "optimizers": "Which optimizer makes the loss fall most for the same number of evaluations?",
    "peers": "How long does jaxstyle take to match the final picture of another program?",
    "gatys_trace": "Is our loss below the one that the authors' notebook prints, on its own images?",
    "scales": "At equal cost, is it better to optimize small copies first?",
    "strength": "Does a strength give the same balance of content and style for every pair and every size?",
    "quality": "Which method makes the better pictures?",
    "ballot": "Which pictures do people prefer?",
    "sweep": "Does a contact sheet cost more than its cells run separately?",
    "scaling": "What does each device compute, store and send as an image is sharded over more devices?",
    "folder": "How many pictures per minute does a folder make, compared with running its photos separately?",
    "tpu_aot": "Does a whole optimizer step fit on TPUs, according to the TPU compiler?",
    "checkpoint": "What do checkpoints cost?",
    "serve": "Is a run slower while a page watches it?",
    "step": "How close is one evaluation to the hardware's limit, and how does it compare with PyTorch?",
    "device": "What does each precision cost and save on a GPU or TPU, beside PyTorch at its best?",
    "feed_forward": "How much of the loss does a feed-forward network reach, and what does a start from it save?",
    "drafts": "Does a run that begins in bfloat16 end at the loss of one in float32?",
    "layers": "How fast is each convolution, by each algorithm?",
    "memory": "How close is the announced memory of a run to the memory that it uses?",
    "resolution": "How do time and memory of a step grow with the size of the image?",
    "video": "How much does a stylized video flicker, compared with its frames stylized one by one?",
    "video_memory": "Does the memory of a video depend on the number of its frames?",
}
USAGE = "usage: python -m benchmarks NAME [options]; python -m benchmarks NAME --help lists the options\n\n" + "".join(
    f"  {name:<13}{question}\n" for name, question in QUESTIONS.items()
)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark named by the first argument with the remaining arguments and return the exit code."""
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    if name not in QUESTIONS:
        print(f"unknown benchmark {name!r}, expected one of {', '.join(QUESTIONS)}", file=sys.stderr)
        return 2
    # Imported here because listing the benchmarks must not wait for JAX.
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
        print("interrupted; completed measurements are in benchmarks/results", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
