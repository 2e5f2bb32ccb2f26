"""The objective once more: slow, in NumPy float64, written from the papers and not from the library.

Nothing here imports JAX or jaxstyle: what both get right, they got right independently.
"""

import numpy as np

BLOCKS = (2, 2, 4, 4, 4)


def float64(tree):
    """Params (nested dicts of arrays) in float64."""
    return {key: float64(value) for key, value in tree.items()} if isinstance(tree, dict) else np.asarray(tree, "f8")


def convolve(x, kernel, border="constant"):
    """3x3 correlation: every position's window, `(h, w, c, 3, 3)`, times the kernel."""
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)), mode=border)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1))
    return np.tensordot(windows, kernel, axes=((2, 3, 4), (2, 0, 1)))


def pool(x, pooling):
    """2x2 windows, one by one in effect: a last odd row or column belongs to none."""
    height, width, channels = x.shape[0] // 2, x.shape[1] // 2, x.shape[2]
    windows = x[: 2 * height, : 2 * width].reshape(height, 2, width, 2, channels)
    if pooling == "max":
        return windows.max(axis=(1, 3))
    if pooling == "avg":
        return windows.mean(axis=(1, 3))
    return np.sqrt((windows**2).mean(axis=(1, 3)))


def features(params, image, layers, pooling="max", padding="zeros"):
    """Feature maps at the named layers. Params and image in float64."""
    x = image * params["input"]["scale"] + params["input"]["shift"]
    taps = {}
    for block, convolutions in enumerate(BLOCKS, 1):
        for i in range(1, convolutions + 1):
            name = f"{block}_{i}"
            border = "edge" if name == "1_1" and padding == "replicate" else "constant"
            x = taps[f"conv{name}"] = (
                convolve(x, params[f"conv{name}"]["kernel"], border) + params[f"conv{name}"]["bias"]
            )
            x = taps[f"relu{name}"] = np.maximum(x, 0)
            if set(layers) <= set(taps):
                return {layer: taps[layer] for layer in layers}
        x = taps[f"pool{block}"] = pool(x, pooling)
    return {layer: taps[layer] for layer in layers}


def raw_gram(features):
    """The paper's equation 3: a plain sum over positions."""
    flat = features.reshape(-1, features.shape[-1])
    return flat.T @ flat


def laplacian(image):
    """Laplacian of the colors' sum, averaged around cells of 4x4 pixels over those that exist in whole cells."""
    height, width = image.shape[0] // 4, image.shape[1] // 4
    pixels = image.sum(axis=2)[: 4 * height, : 4 * width]
    taps = np.convolve([1, 0, 3, 0, 3, 0, 1], [1, 3, 3, 1])
    cells, weights = np.zeros((height, width)), np.zeros((height, width))
    for i, j in np.ndindex(height, width):
        for k, m in np.ndindex(10, 10):
            row, column = 4 * i + k - 3, 4 * j + m - 3
            if 0 <= row < 4 * height and 0 <= column < 4 * width:
                cells[i, j] += taps[k] * taps[m] * pixels[row, column]
                weights[i, j] += taps[k] * taps[m]
    cells /= weights
    around = np.pad(cells, 1, mode="edge")
    return 4 * cells - around[:-2, 1:-1] - around[2:, 1:-1] - around[1:-1, :-2] - around[1:-1, 2:]


def edge_loss(image, target):
    """Mean squared difference of Laplacians, less where the content's is small: half where it is 0.3."""
    return (target**2 / (target**2 + 0.09) * (laplacian(image) - target) ** 2).mean()


def positions(features):
    return features.shape[0] * features.shape[1]


def aim(params, content, styles, objective, style_weights=None):
    """Content features and Gram matrices a position, blended, by layer; and the content's Laplacian."""
    options = {"pooling": objective.pooling, "padding": objective.padding}
    blend = np.ones(len(styles)) if style_weights is None else np.array(style_weights, "f8")
    grams = dict.fromkeys(objective.style_layers, 0.0)
    for weight, style in zip(blend / blend.sum(), styles, strict=True):
        for layer, tap in features(params, style, objective.style_layers, **options).items():
            grams[layer] = grams[layer] + weight * raw_gram(tap) / positions(tap)
    return features(params, content, objective.content_layers, **options), grams, laplacian(content)


def losses(image, params, targets, objective, content=1.0, style=1e3, tv=0.0, edges=0.0, temporal=0.0, previous=None):
    """`(total, content, style, tv, edges, temporal)`; weights are a number or one a layer."""
    taps = features(
        params,
        image,
        objective.content_layers + objective.style_layers,
        pooling=objective.pooling,
        padding=objective.padding,
    )
    content_terms, style_terms = [], []
    for layer in objective.content_layers:
        errors = (taps[layer] - targets[0][layer]) ** 2
        content_terms.append(errors.sum() / 2 if objective.normalization == "paper" else errors.mean())
    for layer in objective.style_layers:
        N, M = taps[layer].shape[-1], positions(taps[layer])
        G = raw_gram(taps[layer])
        if objective.normalization == "paper":
            # Equations 4 and 5, with Grams that are sums; the style's is brought to this picture's size.
            A = targets[1][layer] * M
            style_terms.append(((G - A) ** 2).sum() / (4 * N**2 * M**2) / len(objective.style_layers))
        else:
            # The notebook: mean squared difference of Grams a position, weighted by 1 / N^2.
            style_terms.append(((G / M - targets[1][layer]) ** 2).mean() / N**2)
    content = np.sum(np.multiply(content, content_terms)) if content_terms else 0.0
    style = np.sum(np.multiply(style, style_terms)) if style_terms else 0.0
    rows, columns = np.diff(image, axis=0), np.diff(image, axis=1)
    tv = tv * ((rows**2).sum() + (columns**2).sum()) / (image.shape[0] * image.shape[1])
    edges = edges * edge_loss(image, targets[2])
    change = 0.0 if previous is None else (previous[1] * (image - previous[0]) ** 2).mean()
    temporal = temporal * change
    return content + style + tv + edges + temporal, content, style, tv, edges, temporal


def derivative(function, point, direction, width=1e-6):
    """Central difference along a direction; the steps are small, so hardly a ReLU or a maximum changes sides."""
    return (function(point + width * direction) - function(point - width * direction)) / (2 * width)


def spectral_matrix(height, width, exponent):
    """Division by spatial frequency as a dense matrix over the positions of one color."""
    positions = height * width
    rows, columns = np.meshgrid(np.fft.fftfreq(height), np.fft.fftfreq(width), indexing="ij")
    frequency = np.maximum(np.hypot(rows, columns), 1 / max(height, width))
    deltas = np.eye(positions).reshape(positions, height, width)
    return np.fft.ifft2(np.fft.fft2(deltas) * frequency**-exponent).real.reshape(positions, positions).T
