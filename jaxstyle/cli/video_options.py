"""Options of `jaxstyle video`: those of `jaxstyle stylize` that a video has, and its own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Fixed, Positional, Suppress, arg

from jaxstyle.cli.options import Options
from jaxstyle.image.regions import Guidance
from jaxstyle.video.scene import FlowKind


@dataclass(frozen=True)
class VideoOptions(Options):
    """Options of `jaxstyle video`."""

    photo: Annotated[Positional[Path], arg(metavar="CLIP")]
    """Clip to stylize: a video file that FFmpeg reads, such as MP4, MOV, WebM, MKV or GIF; a folder of frames, in the
    order of their numbers; or a pattern of such frames, such as frames/%05d.png."""
    painting: Annotated[Positional[Path], arg(metavar="PAINTING")]
    """Painting whose style the frames get."""
    output: Annotated[Path, arg(aliases=("-o",), metavar="FILE|FOLDER")]
    """File to write: .mp4, .mov, .mkv (H.264), .webm (VP9) or .gif; or a folder of PNG files: a name without extension.
    While the run lasts, its finished frames are in FILE.frames; jaxstyle resume FILE continues it."""
    start: float = 0.0
    """Seconds of the clip to leave out at its start, 0 or more."""
    end: Annotated[float | None, arg(metavar="SECONDS", help_behavior_hint="(default: all of it)")] = None
    """Where the clip ends, in seconds from its own start."""
    every: int = 1
    """Take every second frame with 2, every third with 3, and so on; the video keeps its speed."""
    rate: float = 25.0
    """Frames per second of a folder or a pattern of frames; a file has its own times."""
    stability: float = 0.25
    """From 0, where only the start of a frame is that of the frame before, to 1, where nothing that the optical flow
    explains may change."""
    flow: FlowKind = "optical"
    """How a frame is compared with the one before. optical: along the optical flow, which needs OpenCV.
    none: at the same place, for a camera that does not move."""
    part: Annotated[str, arg(metavar="K/N")] = "1/1"
    """Make only the K-th of N parts of the clip, which begin at its cuts: start the same command for each part, on as
    many hosts or devices that see the same files. The one that ends last writes the video."""
    quality: int = 95
    """Quality of the video file, 1 to 100. A folder and a GIF have no such choice."""
    # What a picture has and a video has not.
    content_mask: Fixed[Suppress[Path | None]] = None
    style_mask: Fixed[Suppress[tuple[str, ...]]] = ()
    region: Fixed[Suppress[tuple[str, ...]]] = ()
    guidance: Fixed[Suppress[Guidance]] = "simple"
    save_every: Fixed[Suppress[int | None]] = None
    animation: Fixed[Suppress[Path | None]] = None
    bit_depth: Fixed[Suppress[Literal[8, 16]]] = 8
    batch: Fixed[Suppress[int]] = 1
    format: Fixed[Suppress[Literal["png", "jpg", "tiff", "webp"]]] = "png"
    recursive: Fixed[Suppress[bool]] = False
    distributed: Fixed[Suppress[str]] = "no"
    checkpoint: Fixed[Suppress[Path | None]] = None
    checkpoint_every: Fixed[Suppress[float]] = 60.0
