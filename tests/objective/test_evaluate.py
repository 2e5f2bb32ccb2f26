import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

import jaxstyle as js
from jaxstyle.errors import InputError

# Every kind of layer, shallow enough to be fast.
MIXED = {"content_layers": ("relu2_2", "conv3_1"), "style_layers": ("conv1_1", "relu1_2", "pool1", "relu2_1", "pool2")}
WEIGHTS = {"content": (0.7, 2.0), "style": (0.5, 1.0, 3.0, 2.0, 10.0), "tv": 0.3, "edges": 0.2, "temporal": 3.0}


def draw(seed, *shape):
    return jnp.asarray(np.float32(np.random.default_rng(seed).uniform(size=shape)))


def double(picture):
    return np.asarray(picture, "f8")


def check_against_the_reference(params, image, content, style, objective, weights, tolerance, limit=None):
    """Every term, and the gradient at single pixels and along directions, against the float64 reference."""
    previous = js.Warped(draw(3, *image.shape), draw(4, *image.shape[:2], 1)) if objective.temporal else None
    targets = js.make_targets(params, content, [style], objective, previous=previous)
    losses, gradient = js.value_and_grad(image, params, targets, js.LossWeights(**weights), objective=objective)

    slow_params = reference.float64(params)
    slow_targets = reference.aim(slow_params, double(content), [double(style)], objective)

    def slow(pixels):
        own = None if previous is None else (double(previous.pixels), double(previous.weights))
        return reference.losses(pixels, slow_params, slow_targets, objective, **weights, previous=own)

    np.testing.assert_allclose([*losses[:4], losses.edges, losses.temporal], slow(double(image)), rtol=tolerance)

    gradient = double(gradient)
    rng = np.random.default_rng(0)
    directions = [rng.normal(size=image.shape), np.sign(gradient), np.ones(image.shape)]
    for index in ((0, 0, 0), (image.shape[0] - 1, image.shape[1] - 1, 2), (image.shape[0] // 2, 5, 1)):
        directions.append(np.zeros(image.shape))
        directions[-1][index] = 1.0
    for direction in directions[:limit]:
        expected = reference.derivative(lambda pixels: slow(pixels)[0], double(image), direction, 1e-7)
        scale = np.linalg.norm(gradient) * np.linalg.norm(direction) / np.sqrt(gradient.size)
        assert abs(np.sum(gradient * direction) - expected) < 20 * tolerance * scale


@pytest.mark.parametrize("normalization", ["paper", "notebook"])
@pytest.mark.parametrize(("pooling", "padding"), [("max", "zeros"), ("avg", "replicate"), ("l2", "zeros")])
def test_value_and_gradient_against_the_reference(tiny_params, normalization, pooling, padding):
    options = {"normalization": normalization, "pooling": pooling, "padding": padding}
    objective = js.Objective(**MIXED, **options, edges=True, temporal=True)
    pictures = draw(0, 17, 22, 3), draw(1, 17, 22, 3), draw(2, 20, 13, 3) ** 2
    check_against_the_reference(tiny_params, *pictures, objective, WEIGHTS, 1e-5)


def test_all_five_blocks_against_the_reference(tiny_params):
    pictures = draw(0, 37, 50, 3), draw(1, 37, 50, 3), draw(2, 33, 40, 3) ** 2
    weights = {"content": 1.0, "style": 100.0, "tv": 0.1}
    check_against_the_reference(tiny_params, *pictures, js.Objective(), weights, 1e-5)


def test_real_weights_against_the_reference(real_params, china, starry):
    weights = {"content": 1.0, "style": 1e3, "tv": 10.0}
    pictures = china[::-1], china, starry
    check_against_the_reference(real_params, *pictures, js.Objective(), weights, 1e-4, limit=2)


def test_terms_are_the_public_losses(tiny_params):
    objective = js.Objective(("relu2_1",), ("relu1_1", "conv2_2"))
    image, content, style = draw(0, 8, 12, 3), draw(1, 8, 12, 3), draw(2, 9, 7, 3)
    targets = js.make_targets(tiny_params, content, [style], objective)
    losses, _ = js.value_and_grad(
        image, tiny_params, targets, js.LossWeights(2.0, (3.0, 5.0), 7.0), objective=objective
    )
    taps, aims = (js.features(tiny_params, picture, objective.layers) for picture in (image, content))
    np.testing.assert_allclose(losses.content, 2 * js.content_loss(taps["relu2_1"], aims["relu2_1"]), rtol=1e-5)
    style_terms = [
        js.style_loss(js.gram_matrix(taps[layer]), js.gram_matrix(js.features(tiny_params, style, (layer,))[layer]))
        for layer in objective.style_layers
    ]
    np.testing.assert_allclose(losses.style, 3 * style_terms[0] + 5 * style_terms[1], rtol=1e-5)
    np.testing.assert_allclose(losses.tv, 7 * js.total_variation(image), rtol=1e-5)
    np.testing.assert_allclose(losses.total, losses.content + losses.style + losses.tv, rtol=1e-6)


def test_one_weight_is_the_same_weight_a_layer(tiny_params):
    objective = js.Objective(("relu1_1",), ("relu1_1", "conv2_2"))
    image, targets = draw(0, 8, 12, 3), js.make_targets(tiny_params, draw(1, 8, 12, 3), [draw(2, 9, 7, 3)], objective)
    results = [
        js.value_and_grad(image, tiny_params, targets, weights, objective=objective)
        for weights in (
            js.LossWeights(2.0, 3.0),
            js.LossWeights((2.0,), (3.0, 3.0)),
            js.LossWeights(jnp.array([2.0]), jnp.array([3.0])),
        )
    ]
    for losses, gradient in results[1:]:
        np.testing.assert_allclose(losses, results[0][0], rtol=1e-6)
        np.testing.assert_allclose(gradient, results[0][1], rtol=1e-5, atol=1e-6 * float(jnp.abs(gradient).max()))


def test_the_target_itself_is_optimal(tiny_params):
    """Content and style of the picture itself: both terms are zero, and so is the gradient, up to rounding."""
    objective = js.Objective(**MIXED)
    image, elsewhere = draw(0, 17, 22, 3), draw(1, 17, 22, 3)
    targets = js.make_targets(tiny_params, image, [image], objective)
    here, gradient = js.value_and_grad(image, tiny_params, targets, js.LossWeights(), objective=objective)
    there, steep = js.value_and_grad(elsewhere, tiny_params, targets, js.LossWeights(), objective=objective)
    assert here.content <= 1e-10 * there.content
    assert here.style <= 1e-10 * there.style
    assert jnp.abs(gradient).max() < 1e-5 * jnp.abs(steep).max()


@pytest.mark.parametrize("pooling", ["max", "avg", "l2"])
def test_constant_pictures_have_finite_gradients(tiny_params, pooling):
    objective = js.Objective(**MIXED, pooling=pooling)
    targets = js.make_targets(tiny_params, draw(0, 17, 22, 3), [draw(1, 9, 9, 3)], objective)
    for value in (0.0, 0.5, 1.0):
        losses, gradient = js.value_and_grad(
            jnp.full((17, 22, 3), value), tiny_params, targets, js.LossWeights(tv=1.0), objective=objective
        )
        assert losses.total > 0
        assert jnp.all(jnp.isfinite(gradient))
        assert jnp.any(gradient != 0)


def test_inside_a_compiled_loop_it_is_the_same(tiny_params):
    objective = js.Objective(("relu2_1",), ("relu1_1", "conv2_2"))
    images = draw(0, 3, 8, 12, 3)
    targets = js.make_targets(tiny_params, draw(1, 8, 12, 3), [draw(2, 9, 7, 3)], objective)
    weights = js.LossWeights(tv=1.0)

    @jax.jit
    def scan(images):
        return jax.lax.scan(
            lambda _, image: (None, js.value_and_grad(image, tiny_params, targets, weights, objective)), None, images
        )[1]

    inside, gradients = scan(images)
    for i, image in enumerate(images):
        losses, gradient = js.value_and_grad(image, tiny_params, targets, weights, objective=objective)
        np.testing.assert_allclose(inside.total[i], losses.total, rtol=1e-6)
        np.testing.assert_allclose(gradients[i], gradient, atol=1e-6 * float(jnp.abs(gradient).max()))


def shapes_of(jaxpr, dtype):
    """Shapes of all values of a type that a program computes, in the programs that it calls, too."""
    shapes = set()
    for equation in jaxpr.eqns:
        shapes |= {variable.aval.shape for variable in equation.outvars if variable.aval.dtype == dtype}
        for part in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "jaxpr")):
            if hasattr(part, "jaxpr"):
                shapes |= shapes_of(part.jaxpr, dtype)
            elif hasattr(part, "eqns"):
                shapes |= shapes_of(part, dtype)
    return shapes


@pytest.mark.parametrize(("precision", "wide"), [("highest", True), ("bfloat16", False)])
def test_maps_between_the_layers_are_of_the_precision(tiny_params, precision, wide):
    """Forward and backward: none of the largest maps exists in float32. Means need sums of their own."""
    objective = js.Objective(("relu4_2",), ("relu1_1", "relu2_1"), precision=precision, algorithm="direct")
    image = js.white_noise(0, 48, 64)
    targets = js.make_targets(tiny_params, image, [image], objective)
    program = jax.make_jaxpr(js.value_and_grad, static_argnums=4)(
        image, tiny_params, targets, js.LossWeights(), objective
    )
    large = {(1, 48, 64, 4), (48, 64, 4), (3072, 4)}
    assert bool(shapes_of(program.jaxpr, jnp.float32) & large) == wide
    assert bool(shapes_of(program.jaxpr, jnp.bfloat16) & large) != wide


def test_windows_of_bfloat16_are_the_whole(tiny_params):
    whole = js.Objective(precision="bfloat16", style_loss="covariance", neighbor_layers=("relu2_1", "relu4_1"))
    content, style, image = js.white_noise(0, 96, 80), js.white_noise(1, 64, 64), js.white_noise(2, 96, 80)
    weights = js.LossWeights(neighbors=1e3)
    results = []
    for objective in (whole, dataclasses.replace(whole, window=48)):
        targets = js.make_targets(tiny_params, content, [style], objective)
        results.append(js.value_and_grad(image, tiny_params, targets, weights, objective))
    (losses, gradient), (in_windows, windowed) = results
    np.testing.assert_allclose(in_windows.total, losses.total, rtol=2e-3)
    # At the cut after pool3 the map is float32, so the deeper layers round other numbers.
    error = jnp.linalg.norm(windowed - gradient) / jnp.linalg.norm(gradient)
    assert float(error) < 0.02


def test_bfloat16_is_a_draft(real_params, china, starry):
    exact, draft = (js.Objective(("relu2_2",), ("relu1_1", "relu3_1"), precision=p) for p in ("highest", "bfloat16"))
    image, weights = china[::-1], js.LossWeights()
    results = []
    for objective in (exact, draft):
        targets = js.make_targets(real_params, china, [starry], objective)
        results.append(js.value_and_grad(image, real_params, targets, weights, objective=objective))
    (losses, gradient), (draft_losses, draft_gradient) = results
    assert draft_gradient.dtype == jnp.float32
    assert jnp.all(jnp.isfinite(draft_gradient))
    np.testing.assert_allclose(draft_losses.total, losses.total, rtol=0.03)
    error = jnp.linalg.norm(draft_gradient - gradient) / jnp.linalg.norm(gradient)
    # Far from the optimum; zero would mean that nothing was rounded.
    assert 1e-4 < error < 0.12


def test_gradient_of_a_large_picture(real_params):
    """Above half a megapixel, 64 channels: counts in integers would wrap, and leave the value right.

    The reference is local: a pixel changes 3x3 positions of relu1_1, whose own derivatives are a formula.
    """
    height, width, layer = 704, 768, "relu1_1"
    M, N = float(height * width), 64.0
    assert N**2 * M > 2**31
    image, content, style = draw(0, height, width, 3), draw(1, height, width, 3), draw(2, 32, 48, 3) ** 2
    params = reference.float64({name: real_params[name] for name in ("input", "conv1_1")})

    def tap(pixels):
        scaled = pixels * params["input"]["scale"] + params["input"]["shift"]
        return np.maximum(reference.convolve(scaled, params["conv1_1"]["kernel"]) + params["conv1_1"]["bias"], 0)

    # In strips, since whole maps in float64 take 300 MB each; a strip's own border is not the picture's.
    G, error = 0.0, 0.0
    for top in range(0, height, 88):
        rows = slice(max(top - 1, 0), top + 89)
        inner = slice(top - rows.start, top - rows.start + 88)
        strip, aim = (tap(double(picture)[rows])[inner] for picture in (image, content))
        G = G + reference.raw_gram(strip) / M
        error += np.sum((strip - aim) ** 2)
    style_tap = tap(double(style))
    A = reference.raw_gram(style_tap) / reference.positions(style_tap)

    for normalization, content_factor, style_factor in (
        ("notebook", 0.5 / (N * M), 2.0 / N**4),
        ("paper", 0.5 / 2, 2.0 / (4 * N**2)),
    ):
        objective = js.Objective((layer,), (layer,), normalization)
        targets = js.make_targets(real_params, content, [style], objective)
        losses, gradient = js.value_and_grad(image, real_params, targets, js.LossWeights(0.5, 2.0), objective=objective)
        expected = content_factor * error, style_factor * np.sum((G - A) ** 2)
        np.testing.assert_allclose((losses.content, losses.style), expected, rtol=1e-4)

        for row, column, color in ((5, 7, 0), (400, 512, 1), (699, 763, 2)):
            crop = np.s_[row - 3 : row + 4, column - 3 : column + 4]

            def local(pixels, crop=crop, content_factor=content_factor, style_factor=style_factor):
                """What the crop adds to the loss, the Gram matrix to first order, as its derivative needs."""
                features = tap(pixels)
                mixed = np.sum((features @ (G - A)) * features) / M
                content_term = content_factor * np.sum((features - tap(double(content)[crop])) ** 2)
                return content_term + style_factor * 2 * mixed

            one = np.zeros((7, 7, 3))
            one[3, 3, color] = 1.0
            slow = reference.derivative(local, double(image)[crop], one)
            np.testing.assert_allclose(gradient[row, column, color], slow, rtol=1e-3)


@pytest.mark.usefixtures("unchecked")
def test_another_size_than_the_content_is_refused(tiny_params):
    objective = js.Objective(("relu2_1",), ("relu1_1",))
    targets = js.make_targets(tiny_params, draw(0, 8, 12, 3), [draw(1, 8, 8, 3)], objective)
    with pytest.raises(InputError, match="the image needs the size of the content"):
        js.value_and_grad(draw(2, 12, 8, 3), tiny_params, targets, js.LossWeights(), objective)
    with pytest.raises(InputError, match="expected at least 2 a side"):
        js.value_and_grad(draw(2, 1, 8, 3), tiny_params, targets, js.LossWeights(), objective)


def test_the_forward_pass_is_computed_once(tiny_params):
    """Three convolutions to relu2_1, and each again for the gradient: no recomputation, no deeper layer."""
    from vgg.test_network import count_convolutions

    objective = js.Objective(("relu2_1",), ("relu1_1",))
    targets = js.make_targets(tiny_params, draw(0, 8, 12, 3), [draw(1, 8, 8, 3)], objective)

    def value_and_grad(image):
        return js.value_and_grad(image, tiny_params, targets, js.LossWeights(), objective)

    compiled = jax.jit(value_and_grad).lower(draw(2, 8, 12, 3)).compile().as_text()
    # The kernels' gradients stand in the jaxpr and are removed by the compiler.
    assert count_convolutions(jax.make_jaxpr(value_and_grad)(draw(2, 8, 12, 3)).jaxpr) >= 6
    assert compiled.count("convolution(") + compiled.count('custom_call_target="__onednn$conv') == 6
