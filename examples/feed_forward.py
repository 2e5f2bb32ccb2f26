"""Train a network that paints any photo in the style of one painting, in one pass.

    python examples/feed_forward.py PHOTOS/ painting.jpg -o starry.safetensors --steps 20000 --checkpoint run/
    jaxstyle apply starry.safetensors photo.jpg -o out.png

The loss is the library's own, `perceptual_loss`, for the batch that the network makes of crops of the photos: Johnson,
Alahi and Fei-Fei, "Perceptual Losses for Real-Time Style Transfer and Super-Resolution" (ECCV 2016). Its weights come
from one strength, measured on some of the photos. The same command continues a run that was interrupted.
"""

import argparse
import concurrent.futures
import contextlib
import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import PIL.Image
import PIL.ImageOps
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from tqdm import tqdm

import jaxstyle as js

Precision = Literal["highest", "default", "bfloat16"]
EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff")
# Shallower content than a run's: a network of few channels has to be held to the photo.
CONTENT_LAYERS, STYLE_LAYERS = ("relu3_3",), ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
# Photos on which the weights of a strength are measured; their geometric mean is taken.
MEASURED = 4
# Batches that are read while the device computes, and the threads that read them.
AHEAD = 4


class State(NamedTuple):
    """What training changes.

    Attributes:
        network: parameters of the network.
        optimizer: state of Adam.
    """

    network: Any
    optimizer: Any


class Fixed(NamedTuple):
    """What training does not change: arguments of the compiled step.

    Attributes:
        params: of VGG-19.
        style: statistics of the painting.
        weights: of the loss.
    """

    params: Any
    style: js.StyleStatistics
    weights: js.LossWeights


def main(argv: list[str] | None = None) -> None:
    """Train; write the network, and the loss of every step beside it as .json."""
    parser = argparse.ArgumentParser(description="Train a network that paints photos in the style of one painting.")
    parser.add_argument("photos", type=Path, help="folder of photos")
    parser.add_argument("painting", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--steps", type=int, default=20_000, help="batches (default: 20000)")
    parser.add_argument("--batch", type=int, default=4, help="photos a step (default: 4)")
    parser.add_argument("--size", type=int, default=256, help="side of the crops in pixels (default: 256)")
    parser.add_argument("--style-size", type=int, help="long side of the painting (default: twice --size)")
    parser.add_argument("--width", type=int, default=16, help="channels of the network at full size (default: 16)")
    parser.add_argument("--blocks", type=int, default=5, help="residual blocks (default: 5)")
    parser.add_argument(
        "--strength", type=float, default=0.35, help="0 is the photo, 1 the style alone (default: 0.35)"
    )
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--precision", choices=get_args(Precision), default="default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", type=Path, help="folder; an interrupted run continues from it")
    parser.add_argument("--force", action="store_true", help="replace an output that exists already")
    parser.add_argument("--checkpoint-every", type=int, default=500, metavar="STEPS")
    options = parser.parse_args(argv)
    try:
        check(options)
        train(options)
    except js.InputError as error:
        parser.error(str(error))


def check(options: argparse.Namespace) -> None:
    """Refuse, before the first step, what would fail at the last one; raise InputError."""
    for name in ("steps", "batch", "size", "width", "checkpoint_every"):
        if getattr(options, name) < 1:
            raise js.InputError(f"{name} is {getattr(options, name)}, expected 1 or more")
    if options.seed < 0:
        raise js.InputError(f"seed is {options.seed}, expected 0 or more")
    if options.output.suffix != ".safetensors":
        raise js.InputError(f"the output is {options.output}, expected a name that ends with .safetensors")
    if options.output.exists() and not options.force:
        raise js.InputError(
            f"the output {options.output} exists already: choose another name, or --force to replace it"
        )
    if not options.photos.is_dir():
        raise js.InputError(f"{options.photos} is no folder, expected one with photos")
    if not options.output.absolute().parent.is_dir():
        raise js.InputError(f"the folder of {options.output} does not exist, expected one that does")


def train(options: argparse.Namespace) -> None:
    """Train by the options of the command line."""
    mesh = jax.make_mesh((jax.device_count(),), ("batch",), (AxisType.Auto,))
    if options.batch % mesh.size:
        raise js.InputError(f"batch is {options.batch}, expected a multiple of the {mesh.size} devices")
    photos = list_photos(options.photos)
    painting = js.load_image(options.painting, size=options.style_size or 2 * options.size)
    objective = js.Objective(CONTENT_LAYERS, STYLE_LAYERS, precision=options.precision)
    params = js.load_params()
    crops = functools.partial(read_batch, photos, options.size, options.seed)
    style = js.style_statistics(params, [painting], objective)
    examples = crops(-1, MEASURED)
    fixed = Fixed(params, style, measure_weights(params, examples, painting, objective, options.strength))

    schedule = optax.cosine_decay_schedule(options.learning_rate, options.steps, 0.02)
    optimizer = optax.adam(schedule)
    network = js.init_network(jax.random.key(options.seed), options.width, options.blocks)
    state = State(network, optimizer.init(network))
    # Replicated parameters, a divided batch: JAX adds the gradients of the devices.
    state, fixed = jax.device_put((state, fixed), NamedSharding(mesh, PartitionSpec()))
    placed = NamedSharding(mesh, PartitionSpec("batch"))
    step = make_step(objective, optimizer, options.precision)

    losses: list[jax.Array] = []
    with checkpoints(options.checkpoint, options.checkpoint_every) as manager:
        first, state = restore(manager, state)
        batches = prefetched(lambda number: jax.device_put(crops(number, options.batch), placed), first, options.steps)
        with tqdm(batches, "training", options.steps, initial=first) as bar:
            for number, batch in enumerate(bar, first + 1):
                state, loss = step(state, batch, fixed)
                losses.append(loss)
                if number % 10 == 0:
                    bar.set_postfix(loss=f"{np.mean(jax.device_get(losses[-100:])):.4g}")
                if manager is not None:
                    manager.save(number, args=ocp.args.StandardSave(state), force=number == options.steps)
    js.save_network(options.output, state.network, note=f"style of {options.painting.name}")
    if losses:
        curve = {"first_step": first + 1, "losses": [round(float(loss), 6) for loss in losses]}
        options.output.with_suffix(".json").write_text(json.dumps(curve))
    print(f"wrote {options.output}: jaxstyle apply {options.output} PHOTO -o FILE paints with it")


def make_step(
    objective: js.Objective, optimizer: optax.GradientTransformation, precision: Precision
) -> Callable[[State, jax.Array, Fixed], tuple[State, jax.Array]]:
    """Return the compiled step: one batch, one gradient, one update."""

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state: State, batch: jax.Array, fixed: Fixed) -> tuple[State, jax.Array]:
        def loss(network: Any) -> jax.Array:
            images = js.apply_network(network, batch, precision)
            losses = js.perceptual_loss(images, batch, fixed.params, fixed.style, fixed.weights, objective)
            return jnp.mean(losses.total)

        value, gradient = jax.value_and_grad(loss)(state.network)
        updates, optimizer_state = optimizer.update(gradient, state.optimizer, state.network)
        return State(optax.apply_updates(state.network, updates), optimizer_state), value

    return step


def measure_weights(
    params: Any, examples: np.ndarray, painting: jax.Array, objective: js.Objective, strength: float
) -> js.LossWeights:
    """Return the weights of a strength, as the geometric mean over some photos."""
    measured = []
    for number, photo in enumerate(examples):
        targets = js.make_targets(params, photo, [painting], objective)
        mosaic = js.style_mosaic(number, [painting], *photo.shape[:2])
        measured.append(js.balance(jnp.asarray(photo), mosaic, params, targets, objective, strength))
    with np.errstate(divide="ignore"):
        content, style = (
            np.exp(np.mean([np.log(np.asarray(weights[part])) for weights in measured], axis=0)) for part in range(2)
        )
    # Adam does not see the scale: the largest weight is 1.
    scale = max(content.max(), style.max())
    return js.LossWeights(jnp.asarray(content / scale), jnp.asarray(style / scale))


def list_photos(folder: Path) -> list[Path]:
    """Return the photos of a folder and its subfolders, in the order of their names; skip what cannot be read."""
    photos = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in EXTENSIONS and is_photo(path)]
    if not photos:
        raise js.InputError(f"{folder} has no photo, expected a folder with {', '.join(EXTENSIONS)}")
    return photos


def is_photo(path: Path) -> bool:
    """Return True for a file with the header of a picture."""
    try:
        with PIL.Image.open(path) as image:
            return min(image.size) > 0
    except OSError:
        print(f"skipped {path}: no picture")
        return False


def read_batch(photos: list[Path], size: int, seed: int, number: int, count: int) -> np.ndarray:
    """Return random crops of random photos, the same for every run: a step's crops depend on its number alone."""
    rng = np.random.default_rng((seed, number + 1))
    return np.stack([read_crop(photos[rng.integers(len(photos))], size, rng) for _ in range(count)])


def read_crop(path: Path, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return a random square of a photo in `size` pixels, mirrored half of the time.

    It shows half of the photo's short side at least. On the host, with Pillow: on the device each size of a photo would
    be a program of its own.
    """
    with PIL.Image.open(path) as image:
        # A JPEG is decoded at a fraction of its size.
        image.draft("RGB", (2 * size, 2 * size))
        photo = PIL.ImageOps.exif_transpose(image).convert("RGB")
    side = int(rng.integers((min(photo.size) + 1) // 2, min(photo.size) + 1))
    left, top = (int(rng.integers(length - side + 1)) for length in photo.size)
    crop = photo.resize((size, size), PIL.Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))
    pixels = np.asarray(crop, np.float32) / 255
    return pixels if rng.integers(2) else pixels[:, ::-1]


def prefetched(read: Callable[[int], jax.Array], first: int, steps: int) -> Iterator[jax.Array]:
    """Read batches `first` to `steps` in threads, some ahead of the device."""
    with concurrent.futures.ThreadPoolExecutor(AHEAD) as pool:
        waiting = [pool.submit(read, number) for number in range(first, min(first + AHEAD, steps))]
        for number in range(first, steps):
            if number + AHEAD < steps:
                waiting.append(pool.submit(read, number + AHEAD))
            yield waiting.pop(0).result()


def checkpoints(folder: Path | None, every: int) -> contextlib.AbstractContextManager[ocp.CheckpointManager | None]:
    """Return Orbax's manager of a folder of checkpoints; of nothing without a folder."""
    if folder is None:
        return contextlib.nullcontext()
    options = ocp.CheckpointManagerOptions(save_interval_steps=every, max_to_keep=2)
    return ocp.CheckpointManager(folder.absolute(), options=options)


def restore(manager: ocp.CheckpointManager | None, state: State) -> tuple[int, State]:
    """Return the number of finished steps and the state after them."""
    latest = None if manager is None else manager.latest_step()
    if manager is None or latest is None:
        return 0, state
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
    restored: Any = manager.restore(latest, args=ocp.args.StandardRestore(abstract))
    return latest, State(*restored)


if __name__ == "__main__":
    main()
