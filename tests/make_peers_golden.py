"""Golden values of other tools' objectives from PyTorch: `python tests/make_peers_golden.py`, run by hand.

Needs torch, numpy, safetensors and Pillow, not jaxstyle: each objective is written here once more from the formula that
its tool computes. Writes data/peers.npz.

Every tool sees the network of this repository (its weights, its 0 to 255 pixels less the mean), so what is compared is
the formula, not the weights. `F`, `P`, `S` are a layer's features, `C` channels by `M` positions, of the picture, the
content and the style; `G = F F^T` and `A = S S^T` are plain sums. Content is taken at relu4_2, style at relu1_1 to
relu5_1.

| key | content | style, summed over layers | variation, on the tool's pixels |
|---|---|---|---|
| `notebook` | `mean (F - P)^2` | `1e3/C^2 mean (G/M - A/M_s)^2` | none |
| `paper` | `1e-3/2 sum (F - P)^2` | `1/5 1/(4 C^2 M^2) sum (G - A M/M_s)^2`, average pooling | none |
| `neural_style_pt` | `5 mean (F - P)^2` | `1e2 mean (G/(C M) - A/(C M_s))^2` | `1e-3 (sum |dx| + sum |dy|)`, 0 to 255 |
| `pastiche` | `0.01 mean (F - P)^2` | `10/C^2 mean (G/M - A/M_s)^2` | weight 0 |
| `crowsonkb_*` | `0.015 mean (F - P)^2` | `(256, 64, 16, 4, 1)/341 W2` | `2 V`, 0 to 1 |

- `notebook`: github.com/leongatys/PytorchNeuralStyleTransfer.
- `paper`: Gatys et al., CVPR 2016, equations 1 and 4 to 7, alpha/beta = 1e-3. It compares sums over equally many
  positions; the style's are brought to the picture's number here.
- `neural_style_pt`: github.com/ProGamerGov/neural-style-pt at 7251405. Its earlier release on PyPI, neural-style 0.5.7,
  multiplies pixels by 256, not 255; the objective is the same.
- `pastiche`: pastiche 1.6.0. Its variation, were its weight t not 0, is `t/2 (mean |dx| + mean |dy|)`, 0 to 255.
- `crowsonkb_*`: github.com/crowsonkb/style-transfer-pytorch at e7e2c71. conv1_1 is padded by replication. With means
  `m` and covariances `K = G/M - m m^T + 1e-4 I`,

      W2 = mean (m - m_s)^2 + mean diag (K + K_s - 2 (K_s^1/2 K K_s^1/2)^1/2)

  `V = 2/3 (mean h^2 + mean v^2) + 1/6 (mean d^2 + mean a^2)`, with the differences to the right, down and along both
  diagonals on the picture padded by one replicated pixel: h and v have H W places, d and a (H + 1)(W + 1).

  The tool takes both roots by twelve coupled Newton-Schulz steps (Higham, Functions of Matrices, 2008, section 6), and
  their derivative by twelve steps for the Lyapunov equation (Lin and Maji, BMVC 2017). That is `crowsonkb_steps32` and
  `crowsonkb_steps64`, in float32 as the tool computes and in float64. Small eigenvalues are far from converged after
  twelve steps, so it is not the distance: `crowsonkb_exact` has that, from singular values.

Keys: `<tool>_loss` and `<tool>_terms` (content, style, variation, weighted; float64), `<tool>_layers` (the style's
term by layer, weighted), `<tool>_gradient` of the total by our picture, (H, W, 3) in [0, 1] RGB, float32. Beside the
style the other terms can be lost, so their own gradients stand apart, `<tool>_content_gradient` and, unless zero,
`<tool>_variation_gradient`: every `stride`-th row and column, and the whole one's norm in `<...>_gradient_norm`.

The pictures are from `golden_pictures`: pattern(1) at `size`, the content picture() cut to `size` from its first row
and column, and the style pattern(2) at `style_size`, where a size is what HEIGHT, WIDTH are for a pattern. In these
deep layers have fewer positions than channels. `large_<tool>_*` is the same for the patterns 1, 0 and 2 at
`large_size`, `large_size` and `large_style_size`, where every layer has more positions than channels; all of its
gradients are thinned, by `large_stride`.
"""

from unittest import mock

import golden_pictures
import numpy as np
import torch
from golden_pictures import DATA, picture
from make_golden import BLOCKS, CONTENT_LAYER, STYLE_LAYERS, load_weights
from torch.nn import functional

# Odd at some layers, and another number of positions than the style's at every layer.
SIZE = 46, 62
STYLE_SIZE = 82, 50
STRIDE = 5
# 24 x 23 and 23 x 25 positions at relu5_1, where 513 make a covariance of full rank possible.
LARGE_SIZE = 384, 368
LARGE_STYLE_SIZE = 368, 400
LARGE_STRIDE = 17
ROOT_STEPS = 12
RIDGE = 1e-4
SHARES = 256 / 341, 64 / 341, 16 / 341, 4 / 341, 1 / 341


def pattern(kind, size):
    with mock.patch.multiple(golden_pictures, HEIGHT=size[0], WIDTH=size[1]):
        return golden_pictures.pattern(kind)


def features(image, pooling="max", replicate=False):
    """The layers of content and style, `(C, M)`, of an `(H, W, 3)` tensor, in its own precision."""
    weights, scale, shift = load_weights()
    x = (image * scale.to(image.dtype) + shift.to(image.dtype)).permute(2, 0, 1)[None]
    pool = functional.max_pool2d if pooling == "max" else functional.avg_pool2d
    taps = {}
    for block, convolutions in enumerate(BLOCKS, 1):
        for i in range(1, convolutions + 1):
            kernel, bias = (tensor.to(image.dtype) for tensor in weights[f"conv{block}_{i}"])
            mode = "replicate" if replicate and (block, i) == (1, 1) else "constant"
            x = functional.relu(functional.conv2d(functional.pad(x, (1, 1, 1, 1), mode), kernel, bias))
            if f"relu{block}_{i}" in (CONTENT_LAYER, *STYLE_LAYERS):
                taps[f"relu{block}_{i}"] = x[0].flatten(1)
            if f"relu{block}_{i}" == STYLE_LAYERS[-1]:
                return taps
        x = pool(x, 2)
    raise AssertionError


class NewtonSchulzRoot(torch.autograd.Function):
    """A matrix' square root after a given number of steps, and a derivative that takes that root for the exact one."""

    @staticmethod
    def forward(ctx, matrix, steps):
        size = torch.linalg.matrix_norm(matrix)
        identity = torch.eye(len(matrix), dtype=matrix.dtype)
        root, inverse = matrix / size, identity
        for _ in range(steps):
            step = 1.5 * identity - 0.5 * inverse @ root
            root, inverse = root @ step, step @ inverse
        root = root * size.sqrt()
        ctx.save_for_backward(root)
        ctx.steps = steps
        return root

    @staticmethod
    def backward(ctx, gradient):
        """Solves root X + X root = gradient: `root` goes to the identity and `solution` to 2 X with it."""
        (root,) = ctx.saved_tensors
        size = torch.linalg.matrix_norm(root)
        identity = torch.eye(len(root), dtype=root.dtype)
        root, solution = root / size, gradient / size
        for _ in range(ctx.steps):
            step = 3 * identity - root @ root
            solution = 0.5 * (solution @ step - root.T @ (root.T @ solution - solution @ root))
            root = 0.5 * root @ step
        return 0.5 * solution, None


def centered(flat):
    """Mean, and a factor `X` of the covariance `X X^T` with the ridge."""
    mean = flat.mean(1)
    ridge = RIDGE**0.5 * torch.eye(len(flat), dtype=flat.dtype)
    return mean, torch.cat(((flat - mean[:, None]) / flat.shape[1] ** 0.5, ridge), 1)


def exact_distance(flat, style):
    """W2 with the roots' trace as the sum of the singular values of `X_s^T X`, which squares nothing."""
    (mean, factor), (style_mean, style_factor) = centered(flat), centered(style)
    triangle = torch.linalg.qr(style_factor.T, mode="r")[1]
    shared = torch.linalg.svdvals(triangle @ factor).sum()
    traces = factor.square().sum() + style_factor.square().sum()
    return (mean - style_mean).square().mean() + (traces - 2 * shared) / len(flat)


def steps_distance(flat, style):
    def moments(flat):
        mean = flat.mean(1)
        ridge = RIDGE * torch.eye(len(flat), dtype=flat.dtype)
        return mean, flat @ flat.T / flat.shape[1] - torch.outer(mean, mean) + ridge

    (mean, covariance), (style_mean, style_covariance) = moments(flat), moments(style)
    root = NewtonSchulzRoot.apply(style_covariance, ROOT_STEPS)
    shared = NewtonSchulzRoot.apply(root @ covariance @ root, ROOT_STEPS)
    return (mean - style_mean).square().mean() + (covariance + style_covariance - 2 * shared).diagonal().mean()


def gram_error(flat, style):
    return flat @ flat.T / flat.shape[1] - style @ style.T / style.shape[1]


def notebook(taps, content, style, image):
    terms = [1e3 / len(taps[k]) ** 2 * gram_error(taps[k], style[k]).square().mean() for k in STYLE_LAYERS]
    return functional.mse_loss(taps[CONTENT_LAYER], content[CONTENT_LAYER]), terms, 0 * image.sum()


def paper(taps, content, style, image):
    terms = []
    for flat, target in ((taps[k], style[k]) for k in STYLE_LAYERS):
        channels, positions = flat.shape
        difference = flat @ flat.T - target @ target.T * (positions / target.shape[1])
        terms.append(difference.square().sum() / (4 * channels**2 * positions**2) / 5)
    return 1e-3 / 2 * (taps[CONTENT_LAYER] - content[CONTENT_LAYER]).square().sum(), terms, 0 * image.sum()


def neural_style_pt(taps, content, style, image):
    terms = [1e2 * (gram_error(taps[k], style[k]) / len(taps[k])).square().mean() for k in STYLE_LAYERS]
    pixels = 255 * image
    variation = pixels.diff(dim=0).abs().sum() + pixels.diff(dim=1).abs().sum()
    return 5 * functional.mse_loss(taps[CONTENT_LAYER], content[CONTENT_LAYER]), terms, 1e-3 * variation


def pastiche(taps, content, style, image):
    terms = [10 / len(taps[k]) ** 2 * gram_error(taps[k], style[k]).square().mean() for k in STYLE_LAYERS]
    return 0.01 * functional.mse_loss(taps[CONTENT_LAYER], content[CONTENT_LAYER]), terms, 0 * image.sum()


def crowsonkb(taps, content, style, image, distance):
    terms = [share * distance(taps[k], style[k]) for share, k in zip(SHARES, STYLE_LAYERS, strict=True)]
    wide = functional.pad(image.permute(2, 0, 1)[None], (1, 1, 1, 1), "replicate")[0]
    here = wide[:, 1:-1, 1:-1]
    straight = (wide[:, 1:-1, 2:] - here).square().mean() + (wide[:, 2:, 1:-1] - here).square().mean()
    falling, rising = wide[:, 1:, 1:] - wide[:, :-1, :-1], wide[:, 1:, :-1] - wide[:, :-1, 1:]
    variation = 2 / 3 * straight + 1 / 6 * (falling.square().mean() + rising.square().mean())
    return 0.015 * functional.mse_loss(taps[CONTENT_LAYER], content[CONTENT_LAYER]), terms, 2 * variation


def crowsonkb_steps(*arguments):
    return crowsonkb(*arguments, steps_distance)


def crowsonkb_exact(*arguments):
    return crowsonkb(*arguments, exact_distance)


TOOLS = {
    "notebook": (notebook, torch.float64),
    "paper": (paper, torch.float64),
    "neural_style_pt": (neural_style_pt, torch.float64),
    "pastiche": (pastiche, torch.float64),
    "crowsonkb_steps32": (crowsonkb_steps, torch.float32),
    "crowsonkb_steps64": (crowsonkb_steps, torch.float64),
    "crowsonkb_exact": (crowsonkb_exact, torch.float64),
}


def evaluate(name, pictures):
    """Total, terms (content, style, variation), the style's by layer, and gradients of total, content, variation."""
    objective, dtype = TOOLS[name]
    options = {"pooling": "avg" if name == "paper" else "max", "replicate": name.startswith("crowsonkb")}
    image, content, style = (torch.from_numpy(array).to(dtype) for array in pictures)
    with torch.no_grad():
        content, style = features(content, **options), features(style, **options)
    image.requires_grad_()
    of_content, layers, variation = objective(features(image, **options), content, style, image)
    terms = torch.stack((of_content, sum(layers), variation))
    gradients = [torch.autograd.grad(term, image, retain_graph=True)[0] for term in (terms.sum(), terms[0], terms[2])]
    results = (terms.sum(), terms, torch.stack(layers), *gradients)
    return [tensor.detach().double().numpy() for tensor in results]


def thinned(name, gradient, stride):
    return {name: gradient[::stride, ::stride].astype(np.float32), f"{name}_norm": np.linalg.norm(gradient)}


def main():
    """Write peers.npz, and print the terms and how far apart the three variants of W2 are."""
    golden = {
        "size": SIZE,
        "style_size": STYLE_SIZE,
        "stride": STRIDE,
        "large_size": LARGE_SIZE,
        "large_style_size": LARGE_STYLE_SIZE,
        "large_stride": LARGE_STRIDE,
    }
    small = pattern(1, SIZE), np.ascontiguousarray(picture()[: SIZE[0], : SIZE[1]]), pattern(2, STYLE_SIZE)
    large = pattern(1, LARGE_SIZE), pattern(0, LARGE_SIZE), pattern(2, LARGE_STYLE_SIZE)
    for prefix, pictures, stride in (("", small, STRIDE), ("large_", large, LARGE_STRIDE)):
        exact = None
        for tool in reversed(TOOLS):
            if prefix and not tool.startswith("crowsonkb"):
                continue
            name = prefix + tool
            loss, terms, layers, gradient, of_content, of_variation = evaluate(tool, pictures)
            golden |= {f"{name}_loss": loss, f"{name}_terms": terms, f"{name}_layers": layers}
            golden |= thinned(f"{name}_content_gradient", of_content, stride)
            if terms[2]:
                golden |= thinned(f"{name}_variation_gradient", of_variation, stride)
            if prefix:
                golden |= thinned(f"{name}_gradient", gradient, stride)
            else:
                golden[f"{name}_gradient"] = gradient.astype(np.float32)
            norms = [np.linalg.norm(array) for array in (gradient, of_content, of_variation)]
            print(f"{name}: {loss:.8g} = {terms}, layers {layers}, gradients {norms}", flush=True)
            if tool == "crowsonkb_exact":
                exact = loss, gradient
            elif tool.startswith("crowsonkb"):
                apart = np.linalg.norm(gradient - exact[1]) / np.linalg.norm(exact[1])
                print(f"  from exact: loss {loss / exact[0] - 1:.3e}, gradient {apart:.3e}")
    np.savez_compressed(DATA / "peers.npz", **golden)


if __name__ == "__main__":
    main()
