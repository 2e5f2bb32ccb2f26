"""`jaxstyle stylize`: one photo, or a folder of photos, and the run that `resume`, `rerun` and `demo` share."""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import tyro
from tqdm import tqdm

from jaxstyle import distributed
from jaxstyle.cli.backend import check_backend
from jaxstyle.cli.batch_checkpoint import BatchCheckpoint, open_checkpoint
from jaxstyle.cli.folder import BatchMaker, Folder, Size, stylize_folder
from jaxstyle.cli.inputs import (
    Controls,
    photo_size,
    read_paintings,
    read_photo,
    read_regions,
    read_start,
    with_native_size,
)
from jaxstyle.cli.logs import EventLogger, ResultPrinter, json_lines, set_level
from jaxstyle.cli.options import AnyOptions, Options, default_options
from jaxstyle.cli.outputs import check_animation_path, check_outputs, check_sidecar_path, numbered, write_picture
from jaxstyle.cli.pipes import run_with_files
from jaxstyle.cli.recipe import recipe_of
from jaxstyle.cli.report import (
    BAR,
    announcement,
    bar_text,
    duration,
    long_run_hint,
    picture_fields,
    progress_line,
)
from jaxstyle.cli.serialize import options_to_json
from jaxstyle.cli.validate import check_options
from jaxstyle.compiler import enable_compilation_cache
from jaxstyle.errors import InputError
from jaxstyle.image import io
from jaxstyle.image.animation import Frame, frame_of, save_animation
from jaxstyle.image.ops import resize
from jaxstyle.minimize.checkpoint import Checkpoint, remove_checkpoint
from jaxstyle.minimize.status import INTERRUPTED, Status
from jaxstyle.objective.base import check_weights
from jaxstyle.objective.mesh import gather
from jaxstyle.transfer import presets
from jaxstyle.transfer.memory import largest, memory, process_bytes, with_window
from jaxstyle.transfer.program import StageShape
from jaxstyle.transfer.pyramid import MIN_STEPS, Scale, scaled_size
from jaxstyle.transfer.result import BatchProgress, Progress, Result
from jaxstyle.transfer.settings import resolve_settings
from jaxstyle.transfer.signals import EXIT_CODES, no_interrupt
from jaxstyle.transfer.stage import full_size_stages, with_algorithm
from jaxstyle.transfer.stylize import stylize
from jaxstyle.transfer.stylize_batch import stylize_batch
from jaxstyle.transfer.summary import final_loss, run_summary
from jaxstyle.transfer.validate import MAX_SCALES
from jaxstyle.typing import AnyImage
from jaxstyle.vgg import weights

log = logging.getLogger(__name__)

# Of an animation, about.
FRAMES = 50


@dataclass(frozen=True)
class Stylize(Options):
    """Give a photo, or each photo of a folder, the style of one or more paintings."""

    def run(self) -> int:
        """Read, optimize and write; return the exit code."""
        return self.go(resume=False)

    def go(self, resume: bool) -> int:
        """Do what `run` does, from the checkpoint on if `resume` is True; return the exit code."""
        return run_with_files([self], lambda options: with_native_size(options[0])._go(resume))

    def _go(self, resume: bool) -> int:
        set_level(self.verbose, self.quiet)
        enable_compilation_cache(self.compile_cache)
        # Hosts that share no picture need not join.
        if self.distributed != "no" and not self._shares_photos():
            distributed.initialize(*distributed.parse(self.distributed))
        check_backend()
        check_options(self)
        outputs = self._outputs()
        check_sidecar_path("--checkpoint", self.checkpoint, outputs, self.inputs())
        outputs += [] if self.checkpoint is None else [self.checkpoint]
        check_sidecar_path("--log-json", self.log_json, outputs, self.inputs())
        outputs += [] if self.log_json is None else [self.log_json]
        check_animation_path(self.animation, outputs, self.inputs(), self.force)
        with json_lines(self.log_json if distributed.is_first() else None) as log_event:
            if os.path.isdir(self.photo):
                return stylize_folder(self._folder(log_event))
            made = self.make(log_event, self._checkpoint(resume))
            return self._finish(made, log_event) if distributed.is_first() else _exit_code(made.result)

    def batch_maker(self, styles: Sequence[AnyImage]) -> BatchMaker:
        """Return a function of photos with their regions, a canvas and a callback that stylizes them together."""
        settings = self.settings(read_start(self))
        if self.content_mask is None:
            check_weights(settings.weights, settings.objective)
        arguments: dict[str, Any] = {"style_weights": self.blend, "seeds": self.seed, "mesh": self.devices()}
        arguments |= {"params": weights.load_params(self.weights), "callback_every": self.save_every}

        def make(
            photos: Sequence[tuple[AnyImage, Controls]],
            canvas: Size,
            callback: Callable[[BatchProgress], None],
            checkpoint: Checkpoint | None,
        ) -> list[Result]:
            options = arguments | {"canvas": canvas, "callback": callback, "checkpoint": checkpoint}
            if self.content_mask is not None:
                options["regions"] = [regions for _, (regions, _) in photos]
                options["weights"] = [self.settings(None, strengths).weights for _, (_, strengths) in photos]
                options["strength"] = settings.strength
            return stylize_batch([photo for photo, _ in photos], [list(styles)] * len(photos), settings, **options)

        return make

    def make(self, log_event: EventLogger, checkpoint: Checkpoint | None = None) -> "Made":
        """Stylize a single photo. Only snapshots and checkpoints are written."""
        first = distributed.is_first()
        mesh = self.devices()
        min_side = self.settings().min_side
        if first:
            # Before the photo is enlarged.
            io.check_sides(self.output, *photo_size(self, self.photo, min_side))
        photo = read_photo(self, self.photo, min_side)
        styles = read_paintings(self, min_side)
        regions, strengths = read_regions(self, photo.pixels, styles, self.content_mask)
        settings = resolve_settings(self.settings(read_start(self), strengths), mesh)
        check_weights(settings.weights, settings.objective, None if regions is None else len(strengths))
        recipe = recipe_of(self)
        io.recipe_text(recipe)
        if first:
            check_outputs(self._outputs(), self.inputs(), self.force, recipe)
        params = weights.load_params(self.weights)
        height, width = photo.pixels.shape[:2]
        style_sizes = [(style.shape[0], style.shape[1]) for style in styles]
        scales = self.scales_of((height, width), style_sizes)
        if first and self.scales != 1 and len(scales) == 1:
            log.info(
                "--scales %s makes one size here: a coarser one would be too small, or get less than %d steps",
                self.scales,
                MIN_STEPS,
            )
        num_regions = 0 if regions is None else len(strengths)
        shapes = self.stage_shapes((height, width), style_sizes, regions=num_regions, params=params)
        shapes = [with_window(shape, settings.window) for shape in shapes]
        needs = largest(map(memory, shapes))
        if first and self.more:
            names = ", ".join(path.name for path in self.paintings())
            log.info("the style is a blend of %d paintings: %s", len(styles), names)
        if first:
            size = needs.peak + process_bytes(len(scales))
            log.info("%s", announcement(scales, self.finish, shapes[0].objective, size))
        resumed = checkpoint is not None and checkpoint.resume
        log_event("begin", width=width, height=height, steps=self.steps, resumed=resumed, settings=recipe["settings"])
        snapshots_in_place = True
        frames: list[Frame] = []
        every = self.save_every or max(1, (self.steps + self.finish * len(scales)) // FRAMES)
        # The first chunk compiles; the second one is timed.
        chunks: list[Progress] = []

        # The bar shows cost, not evaluations, so that the time left is right at coarse scales too. The smoothing lets
        # it forget soon that a scale began with compiling.
        silent = self.quiet or not first
        with tqdm(total=1.0, bar_format=BAR, dynamic_ncols=True, smoothing=0.3, disable=silent) as bar:

            def callback(progress: Progress) -> None:
                nonlocal snapshots_in_place
                bar.set_postfix_str(bar_text(progress), refresh=False)
                bar.update(progress.fraction - bar.n)
                log_event("chunk", **progress_line(progress))
                if first and len(chunks) < 2:
                    chunks.append(progress)
                    hint = long_run_hint(*chunks) if len(chunks) == 2 else None
                    if hint:
                        log.info("%s", hint)
                if self.save_every and progress.evaluations % self.save_every == 0:
                    snapshots_in_place &= self._save_snapshot(progress, photo, recipe)
                if self.animation is not None and progress.evaluations % every == 0:
                    scale = progress.scale
                    frames.append(frame_of(gather(progress.image, scale.height, scale.width), height, width))

            result = stylize(
                photo.pixels,
                styles,
                settings,
                params=params,
                style_weights=self.blend,
                regions=regions,
                mesh=mesh,
                callback=callback,
                callback_every=self.save_every if self.animation is None else every,
                checkpoint=checkpoint,
            )
        if self.animation is not None and first:
            self._save_animation([*frames, frame_of(result.image, height, width)])
        return Made(result, photo, recipe | run_summary(result), snapshots_in_place)

    def scales_of(self, size: Size, style_sizes: Sequence[Size]) -> tuple[Scale, ...]:
        """Return the scales of a photo of this size."""
        return self.settings().scales_of(*size, style_sizes)

    def stage_shapes(self, size: Size, style_sizes: Sequence[Size], **more: Any) -> list[StageShape]:
        """Return the shapes of the last stages, on which the memory of a run depends; the finish is last."""
        mesh, settings = self.devices(), self.settings()
        last = settings.scales_of(*size, style_sizes)[-1]
        size, styles = (last.height, last.width), tuple(scaled_size(*sides, last.factor) for sides in style_sizes)
        shapes = []
        for stage in full_size_stages(resolve_settings(settings.override(steps=last.steps), mesh)):
            objective = with_algorithm(stage, size).objective
            shape = StageShape(size, objective, stage.optimizer, styles, whitening=stage.whitening)
            shapes.append(shape._replace(mesh=mesh, **more))
        return shapes

    def _folder(self, log_event: EventLogger) -> Folder:
        min_side = self.settings().min_side
        styles = read_paintings(self, min_side)
        style_sizes = [(style.shape[0], style.shape[1]) for style in styles]
        return Folder(
            self,
            styles,
            min_side,
            self._share(),
            factors=lambda size: tuple(scale.factor for scale in self.scales_of(size, style_sizes)),
            make=self.batch_maker(styles),
            checkpoint=self._folder_checkpoint(),
            recipe=recipe_of(self),
            log_event=log_event,
            print_result=ResultPrinter(self.log_json, self.json),
        )

    def _finish(self, made: "Made", log_event: EventLogger) -> int:
        """Write the picture and log the end of the run; return the exit code."""
        result, loss = made.result, final_loss(made.result)
        code = self._save(made, loss)
        summary = {"status": str(result.status), "evaluations": result.evaluations, "seconds": round(result.seconds, 3)}
        log_event("end", loss=loss, **summary, exit_code=code)
        return code

    def _save(self, made: "Made", loss: float) -> int:
        """Write the picture and print the result; return the exit code."""
        result = made.result
        if loss == float("inf"):
            log.error(
                "the loss was not finite from the start, so nothing was saved; expected weights and pictures of "
                "ordinary size: lower the weights or use --precision highest"
            )
            return 1
        options = {"force": self.force, "alpha": made.photo.alpha, **self.encoding()}
        path = write_picture(self.output, result.image, made.recipe, **options)
        if path is None:
            return 1
        height, width = result.image.shape[:2]
        ResultPrinter(self.log_json, self.json)(
            f"{path}: {width}x{height}, loss {loss:.6g} after {result.evaluations} evaluations "
            f"in {duration(result.seconds)} ({result.status})",
            **picture_fields(path, result),
        )
        if self.checkpoint is not None and result.status in INTERRUPTED:
            # Saving it may have failed, with a warning.
            if self.checkpoint.exists():
                log.info("to continue: jaxstyle resume %s", self.checkpoint)
        elif self.checkpoint is not None and path == self.output:
            remove_checkpoint(self.checkpoint)
        if result.status is Status.NOT_FINITE:
            log.error(
                "the loss or its gradient was not finite, or too large for the optimizer, again and again: this is the "
                "best picture before; lower the weights or use --precision highest"
            )
        if result.status is Status.STUCK:
            log.warning(
                "no picture was better than the first one: expected another start (--init), other weights, or pictures "
                "that are not flat"
            )
        return _exit_code(result) if path == self.output and made.snapshots_in_place else 1

    def _save_snapshot(self, progress: Progress, photo: io.Picture, recipe: dict[str, Any]) -> bool:
        """Write the best picture so far, at the full size; return True if it is in its place.

        With several hosts all must call this.
        """
        scale, (height, width) = progress.scale, photo.pixels.shape[:2]
        image = resize(gather(progress.image, scale.height, scale.width), height, width)
        if not distributed.is_first():
            return True
        path = numbered(self.output, progress.evaluations)
        recipe = recipe | {"status": "snapshot", "evaluations": progress.evaluations}
        options = {"force": self.force, "alpha": photo.alpha, **self.encoding()}
        return write_picture(path, image, recipe, **options) == path

    def _save_animation(self, frames: Sequence[Frame]) -> None:
        assert self.animation is not None
        try:
            with no_interrupt():
                save_animation(self.animation, frames, self.quality)
        except InputError as error:
            # The picture is still to be written.
            log.error("%s", error)

    def _checkpoint(self, resume: bool) -> Checkpoint | None:
        if self.checkpoint is None:
            return None
        note = {"options": options_to_json(self)}
        return Checkpoint(self.checkpoint, self.checkpoint_every, resume=resume, force=self.force, note=note)

    def _folder_checkpoint(self) -> BatchCheckpoint | None:
        if self.checkpoint is None:
            return None
        index, hosts = self._share()
        path = self.checkpoint if hosts == 1 else Path(f"{self.checkpoint}.{index}")
        return open_checkpoint(path, self.checkpoint_every, self.force, {"options": options_to_json(self)})

    def _shares_photos(self) -> bool:
        """Return True if each host makes a share of a folder's pictures, and no picture is divided over hosts."""
        return os.path.isdir(self.photo) and self.mesh == "1x1"

    def _share(self) -> tuple[int, int]:
        return distributed.share(self.distributed) if self._shares_photos() else (0, 1)

    def _outputs(self) -> list[Path]:
        """Return the picture's file and those of its snapshots."""
        if self.save_every is None:
            return [self.output]
        # A photo can allow fewer scales than this.
        max_scales = MAX_SCALES if self.scales == "auto" else self.scales
        every = range(self.save_every, self.steps + self.finish * max_scales + 1, self.save_every)
        return [self.output, *(numbered(self.output, evaluations) for evaluations in every)]


class Made(NamedTuple):
    """A picture before it is written.

    Attributes:
        result: of the run.
        photo: that was stylized.
        recipe: to store in the file.
        snapshots_in_place: False if a snapshot could not be written to its place.
    """

    result: Result
    photo: io.Picture
    recipe: dict[str, Any]
    snapshots_in_place: bool = True


AnyStylize = TypeVar("AnyStylize", bound=Stylize)


def defaults(
    name: str,
    command: type[AnyOptions] = Stylize,
    photo: Any = tyro.MISSING,
    painting: Any = tyro.MISSING,
    output: Any = tyro.MISSING,
) -> AnyOptions:
    """Return the options with the defaults of a preset."""
    preset = presets.preset(name).name
    return command(photo=photo, painting=painting, output=output, preset=preset, **default_options(name))  # pyright: ignore[reportArgumentType]


def _exit_code(result: Result) -> int:
    return ({Status.NOT_FINITE: 1} | EXIT_CODES).get(result.status, 0)
