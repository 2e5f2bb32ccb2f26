"""`jaxstyle demo`: a bundled photo with a bundled painting."""

import dataclasses
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from jaxstyle.cli.stylize import Stylize, defaults


@dataclass(frozen=True)
class Demo:
    """Stylize a bundled photo with a bundled painting: no network, no files needed."""

    output: Annotated[Path, arg(aliases=("-o",))] = Path("jaxstyle-demo.png")
    """Where the picture goes: .png, .jpg, .tiff or .webp."""
    size: int = 320
    """Long side of the picture in pixels."""
    steps: int = 60
    """Evaluations of loss and gradient."""
    force: bool = False
    """Replace the output if it is there already."""

    def run(self) -> int:
        """Stylize; returns the exit code."""
        data = resources.files("jaxstyle") / "data"
        with resources.as_file(data / "china.jpg") as photo, resources.as_file(data / "starry_night.jpg") as painting:
            settings = defaults("default", Stylize, photo, painting, self.output)
            return dataclasses.replace(settings, size=self.size, steps=self.steps, force=self.force).run()
