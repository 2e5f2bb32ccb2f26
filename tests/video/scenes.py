"""Scenes whose motion is known exactly, and how to score a flow and a mask."""

import numpy as np


def texture(seed, height, width):
    """Smooth random blobs of several sizes: something for a flow to hold on to everywhere."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3))
    for period in (4, 8, 16, 32):
        cells = rng.uniform(size=(height // period + 3, width // period + 3, 3))
        rows, columns = np.arange(height) / period, np.arange(width) / period
        i, j = rows.astype(int), columns.astype(int)
        a, b = (rows - i)[:, None, None], (columns - j)[None, :, None]
        a, b = a * a * (3 - 2 * a), b * b * (3 - 2 * b)
        upper = cells[i][:, j] * (1 - b) + cells[i][:, j + 1] * b
        lower = cells[i + 1][:, j] * (1 - b) + cells[i + 1][:, j + 1] * b
        image += (upper * (1 - a) + lower * a) / 4
    return np.clip(0.5 + 2 * (image - 0.5), 0, 1)


def sampled(image, rows, columns):
    """Bilinear samples, in float64."""
    i, j = np.floor(rows).astype(int), np.floor(columns).astype(int)
    a, b = (rows - i)[..., None], (columns - j)[..., None]
    upper = image[i, j] * (1 - b) + image[i, j + 1] * b
    lower = image[i + 1, j] * (1 - b) + image[i + 1, j + 1] * b
    return np.float32(upper * (1 - a) + lower * a)


def pan(seed, height, width, step):
    """Two frames of a camera that moves by `step` pixels, and the flow from the second to the first."""
    world, (right, down) = texture(seed, height + 40, width + 40), step
    rows, columns = np.mgrid[10 : 10 + height, 10 : 10 + width].astype(float)
    frames = [sampled(world, rows + t * down, columns + t * right) for t in (0, 1)]
    return frames, np.broadcast_to(np.float32(step), (height, width, 2)).copy()


def zoom(seed, height, width, factor):
    """Two frames of a camera that comes nearer by `factor`, and the flow from the second to the first."""
    world = texture(seed, height + 20, width + 20)
    rows, columns = np.mgrid[:height, :width].astype(float)
    center = (height - 1) / 2, (width - 1) / 2
    frames = []
    for scale in (1, factor):
        frames.append(
            sampled(world, (rows - center[0]) / scale + center[0] + 10, (columns - center[1]) / scale + center[1] + 10)
        )
    flow = np.stack([(columns - center[1]) * (1 / factor - 1), (rows - center[0]) * (1 / factor - 1)], axis=2)
    return frames, np.float32(flow)


def moving_square(seed, height, width, step, side=24):
    """Two frames of a textured square before a still background.

    Returns:
        The frames, the flow from the second to the first, the flow from the first to the second, and where the second
        shows what the first hides.
    """
    background, square = texture(seed, height, width), 1 - texture(seed + 1, side, side)
    top, left = height // 2 - side // 2, width // 2 - side // 2
    frames, places, flows = [], [], []
    for t, sign in ((0, 1), (1, -1)):
        place = np.zeros((height, width), bool)
        rows, columns = (
            slice(top + t * step[1], top + t * step[1] + side),
            slice(left + t * step[0], left + t * step[0] + side),
        )
        place[rows, columns] = True
        frame = background.copy()
        frame[rows, columns] = square
        flows.append(np.float32(sign * np.array(step) * place[:, :, None]))
        frames.append(np.float32(frame))
        places.append(place)
    return frames, flows[1], flows[0], places[0] & ~places[1]


def endpoint_error(flow, expected):
    return float(np.sqrt(np.sum((flow - expected) ** 2, axis=2)).mean())


def f_score(mask, expected):
    both = np.sum(mask & expected)
    return 2 * both / (mask.sum() + expected.sum())
