"""`jaxstyle demo`: a bundled photo with a bundled painting."""

import dataclasses
import itertools
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from jaxstyle.cli.stylize import Stylize, defaults

DEFAULT_OUTPUT = Path("jaxstyle-demo.png")


@dataclass(frozen=True)
class Demo:
    """Stylize a bundled photo with a bundled painting: no network and no files needed."""

    output: Annotated[Path | None, arg(aliases=("-o",))] = None
    """The file to write: .png, .jpg, .tiff or .webp. None is jaxstyle-demo.png, or jaxstyle-demo-2.png, ... if that
    exists."""
    size: int = 320
    """Long side of the picture in pixels."""
    steps: int = 60
    """Evaluations of loss and gradient."""
    force: bool = False
    """Replace the output if it exists already."""

    def run(self) -> int:
        """Stylize and return the exit code."""
        output = self.output or (DEFAULT_OUTPUT if self.force else _unused(DEFAULT_OUTPUT))
        data = resources.files("jaxstyle") / "data"
        with resources.as_file(data / "china.jpg") as photo, resources.as_file(data / "starry_night.jpg") as painting:
            options = defaults("default", Stylize, photo, painting, output)
            own = {"size": self.size, "steps": self.steps, "force": self.force}
            # At its own size, which is faster.
            return dataclasses.replace(options, supersample=1.0, **own).run()


def _unused(path: Path) -> Path:
    """Return the path, numbered from 2 on if the file exists."""
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(2))
    return next(name for name in itertools.chain([path], numbered) if not os.path.lexists(name))
