"""`jaxstyle apply`: a picture, a folder or a clip through a feed-forward network, in one pass."""

import logging
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import jax.numpy as jnp
import numpy as np
from tqdm import tqdm
from tyro.conf import Positional, arg

from jaxstyle.cli.backend import check_backend
from jaxstyle.cli.inputs import pictures_in
from jaxstyle.cli.logs import ResultPrinter
from jaxstyle.cli.outputs import blocks_output, check_free, check_not_input, check_outputs, save_with_fallback
from jaxstyle.cli.report import BAR, duration
from jaxstyle.cli.streams import without_library_output
from jaxstyle.cli.validate import MAX_SIDE, check_between, check_spelling
from jaxstyle.cli.video import warn_of_lost_sound
from jaxstyle.compiler import Compiled, enable_compilation_cache
from jaxstyle.errors import InputError
from jaxstyle.feed_forward.network import MIN_SIDE, NetworkParams, apply_network
from jaxstyle.feed_forward.network_file import load_network
from jaxstyle.image import io
from jaxstyle.typing import AnyImage
from jaxstyle.vgg.layers import Precision
from jaxstyle.video.clip import clip_frames, open_clip, target_size
from jaxstyle.video.encode import check_video, is_video, side_multiple, write_video

log = logging.getLogger(__name__)

_apply = Compiled(apply_network, static_argnames="precision")


@dataclass(frozen=True)
class Apply:
    """Paint photos or a clip by a network that was trained for one style: in one pass, without a painting.

    examples/feed_forward.py trains such networks.
    """

    network: Annotated[Positional[Path], arg(metavar="NETWORK")]
    """The network: a .safetensors file."""
    photo: Annotated[Positional[Path], arg(metavar="PHOTO")]
    """The photo, or a folder of photos; if the output is a video, a clip as jaxstyle video takes it."""
    output: Annotated[Path, arg(aliases=("-o",), metavar="FILE")]
    """The file to write: .png, .jpg, .tiff or .webp, or a video: .mp4, .mov, .mkv, .webm or .gif; for a folder of
    photos a folder, in which the pictures that exist already are kept."""
    size: Annotated[Literal["original"] | int, arg(metavar="original|PIXELS")] = "original"
    """Long side in pixels, 16 to 65536; original keeps the photo's size."""
    precision: Precision = "default"
    """Precision of the convolutions: highest (float32), default (the device's fast one), or bfloat16."""
    force: bool = False
    """Replace outputs that exist already."""

    def run(self) -> int:
        """Read, paint and write; return the exit code."""
        check_backend()
        enable_compilation_cache()
        if self.size != "original":
            check_between("--size", self.size, MIN_SIDE, MAX_SIDE)
        for path in (self.network, self.photo):
            check_spelling(path)
        network = load_network(self.network)
        if is_video(self.output):
            return self._clip(network)
        return self._folder(network) if self.photo.is_dir() else self._picture(network, self.photo, self.output)

    @property
    def _side(self) -> int | None:
        return None if self.size == "original" else self.size

    def _picture(self, network: NetworkParams, photo: Path, output: Path) -> int:
        check_outputs([output], [self.network, photo], self.force)
        with without_library_output():
            picture = io.read_picture(photo, self._side, min_side=MIN_SIDE)
        begin = time.perf_counter()
        image = self._painted(network, picture.pixels)
        seconds = time.perf_counter() - begin
        saved = save_with_fallback(output, image, replace=self.force, alpha=picture.alpha)
        height, width = image.shape[:2]
        ResultPrinter(None)(f"{saved}: {width}x{height} in {duration(seconds)}")
        return 0 if saved == output else 1

    def _folder(self, network: NetworkParams) -> int:
        photos = pictures_in(self.photo).pictures
        if not photos:
            raise InputError(f"the folder {self.photo} has no picture, expected one with photos")
        if self.output.suffix or self.output.is_file():
            raise InputError(
                f"the output {self.output} is no folder, expected one for a folder of photos, such as OUT/"
            )
        self.output.mkdir(parents=True, exist_ok=True)
        failed = 0
        for photo in photos:
            output = self.output / f"{photo.stem}.png"
            if not blocks_output(output, self.force):
                try:
                    failed += self._picture(network, photo, output)
                except InputError as error:
                    log.error("%s", error)
                    failed += 1
        return 1 if failed else 0

    def _clip(self, network: NetworkParams) -> int:
        check_not_input(self.output, [self.network, self.photo])
        check_free(self.output, self.force)
        clip = open_clip(self.photo)
        size = target_size(clip, self._side, MIN_SIDE, side_multiple(self.output))
        check_video(self.output, size)
        warn_of_lost_sound(clip, self.output)
        begin, folder = time.perf_counter(), Path(tempfile.mkdtemp(prefix="jaxstyle-"))
        pictures = [folder / f"{number:06d}.png" for number in range(len(clip.times))]
        try:
            frames = tqdm(clip_frames(clip, size), "frames", total=len(pictures), bar_format=BAR)
            for path, frame in zip(pictures, frames, strict=True):
                io.save_image(path, self._painted(network, frame))
            write_video(self.output, pictures, clip, replace=self.force)
        except InputError as error:
            log.error("%s; the frames that are painted are in %s", error, folder)
            return 1
        shutil.rmtree(folder)
        seconds = time.perf_counter() - begin
        ResultPrinter(None)(f"{self.output}: {len(pictures)} frames of {size[0]}x{size[1]} in {duration(seconds)}")
        return 0

    def _painted(self, network: NetworkParams, pixels: AnyImage) -> np.ndarray:
        return np.asarray(_apply(network, jnp.asarray(pixels), precision=self.precision))
