"""Which pictures do people prefer?

`make` writes a page for a browser: two pictures of the same pair by different methods beside photo and painting, to be
chosen from, in random order and without names. A file beside it holds the method of each picture. `rank` turns the
downloaded answers of any number of people into a Bradley-Terry ranking of the methods.

    python -m benchmarks ballot make --pictures OUT --size 512 --pairs held-out --methods default crowsonkb
    python -m benchmarks ballot rank answers.json more_answers.json
"""

import argparse
import base64
import importlib.resources
import io
import itertools
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

import jaxstyle as js
from benchmarks import arguments, bradley_terry, record
from jaxstyle import files
from jaxstyle.errors import InputError
from jaxstyle.typing import AnyImage

PLACEHOLDER = "/*BALLOT*/ null"
QUALITY = 92


def make(
    sources: dict[str, tuple[AnyImage, AnyImage]], results: dict[tuple[str, str], AnyImage], seed: int
) -> tuple[str, dict[str, Any]]:
    """Return the page and its key.

    Args:
        sources: pair to photo and painting.
        results: pair and method to the picture.
        seed: seed of the order, the sides and the ids.

    Returns:
        HTML that needs no other file and names no method, and the key: ballot and picture ids to their pair and method.
    """
    rng = random.Random(seed)
    images: dict[str, str] = {}

    def add(image: AnyImage) -> str:
        identifier = f"{rng.getrandbits(64):016x}"
        images[identifier] = _data_uri(image)
        return identifier

    source_ids = {pair: [add(image) for image in both] for pair, both in sources.items()}
    result_ids = {key: add(image) for key, image in results.items()}
    questions = []
    for pair, (photo, painting) in source_ids.items():
        own = [identifier for (other, _), identifier in result_ids.items() if other == pair]
        for both in itertools.combinations(own, 2):
            left, right = rng.sample(both, 2)
            questions.append({"photo": photo, "painting": painting, "left": left, "right": right})
    if not questions:
        raise InputError("there are no two pictures of the same pair, expected at least two methods")
    rng.shuffle(questions)
    # The order of the ids would give the methods away.
    shuffled = dict(sorted(images.items()))
    ballot = {"id": f"{rng.getrandbits(64):016x}", "images": shuffled, "questions": questions}
    page = (importlib.resources.files("benchmarks") / "ballot.html").read_text()
    key = {"ballot": ballot["id"], "pictures": {identifier: list(key) for key, identifier in result_ids.items()}}
    return page.replace(PLACEHOLDER, json.dumps(ballot)), key


def count_wins(key: dict[str, Any], answers: Sequence[dict[str, Any]]) -> tuple[list[str], np.ndarray]:
    """Return the methods, and how often the one of each row was preferred to the one of each column."""
    pictures = key["pictures"]
    methods = sorted({method for _, method in pictures.values()})
    wins = np.zeros((len(methods), len(methods)))
    for number, file in enumerate(answers, 1):
        if file.get("ballot") != key["ballot"]:
            raise InputError(f"answers {number} are of another ballot, expected those of {key['ballot']}")
        for answer in file["answers"]:
            left, right = (methods.index(pictures[answer[side]][1]) for side in ("left", "right"))
            winner, loser = (left, right) if answer["chosen"] == answer["left"] else (right, left)
            wins[winner, loser] += 1
    return methods, wins


def table(methods: Sequence[str], wins: np.ndarray) -> str:
    """Return the ranking: scores with 95 % confidence intervals, and the probability to be preferred to the average."""
    ranking = bradley_terry.fit(wins)
    rows = [
        (
            methods[i],
            f"{ranking.scores[i]:+.2f} ± {ranking.half_widths[i]:.2f}",
            f"{100 / (1 + np.exp(-ranking.scores[i])):.0f} %",
            f"{wins[i].sum():.0f} of {wins[i].sum() + wins[:, i].sum():.0f}",
        )
        for i in np.argsort(-ranking.scores)
    ]
    return record.table(("method", "score", "preferred to an average one", "chosen"), rows)


def main(argv: list[str] | None = None) -> None:
    from benchmarks import quality

    parser = argparse.ArgumentParser(prog="python -m benchmarks ballot", description=(__doc__ or "").split("\n", 1)[0])
    commands = parser.add_subparsers(dest="command", required=True)
    maker = commands.add_parser("make", help="write the page and its key")
    quality.add_selection(maker)
    maker.add_argument("--size", type=arguments.positive, default=512, help="long side (default: %(default)s)")
    maker.add_argument("--methods", nargs="+", required=True, help="methods whose pictures exist")
    maker.add_argument("--seed", type=int, default=0, help="seed of the order (default: %(default)s)")
    maker.add_argument("--output", type=Path, default=Path("ballot.html"), help="the page (default: %(default)s)")
    ranker = commands.add_parser("rank", help="rank the methods by answers")
    ranker.add_argument("answers", type=Path, nargs="+", help="downloaded files")
    ranker.add_argument("--key", type=Path, default=Path("ballot_key.json"), help="default: %(default)s")
    options = parser.parse_args(argv)
    if options.command == "rank":
        print(table(*count_wins(_read_json(options.key), [_read_json(path) for path in options.answers])))
        return
    sources, results = _load(options)
    page, key = make(sources, results, options.seed)
    for path, text in (
        (options.output, page),
        (options.output.with_name(f"{options.output.stem}_key.json"), json.dumps(key, indent=1) + "\n"),
    ):
        with files.replacing(path) as file:
            file.write(text.encode())
        print(path)


def _load(options: argparse.Namespace) -> tuple[dict[str, Any], dict[tuple[str, str], AnyImage]]:
    from benchmarks.quality import methods, pairs, pictures

    if options.pictures is None:
        raise InputError("no folder of pictures, expected --pictures FOLDER")
    methods.check(options.methods)
    names = pairs.names_of(options.pairs)
    sources = {pair: pairs.load(pair, options.size, options.images) for pair in names}
    return sources, {
        (pair, method): js.load_image(pictures.path_of(options.pictures, options.size, pair, method))
        for pair in names
        for method in options.methods
    }


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; expected a file of `ballot`") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON, expected a file of `ballot`") from error


def _data_uri(image: AnyImage) -> str:
    """Encode an image as JPEG without metadata, which would name its method."""
    pixels = np.rint(np.clip(np.asarray(image), 0, 1) * 255).astype(np.uint8)
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, "JPEG", quality=QUALITY, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


if __name__ == "__main__":
    main()
