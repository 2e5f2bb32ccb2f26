"""A user's script, which pyright checks: every public function with the arguments that its documentation names."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxstyle as js


def main() -> None:
    """Run through the library."""
    params = js.load_params()
    content = js.load_image(Path("photo.jpg"), size=512)
    style = js.load_image("painting.jpg", size=512)

    objective = js.Objective(content_layers=["relu4_2"], style_layers=["relu1_1", "relu2_1"], shards=[1, 1])
    objective = js.Objective(("relu4_2",), ("relu1_1",), neighbor_layers=("relu3_1",), pooling="avg", window=512)
    weights = js.LossWeights(1, 1000, tv=0.5)
    weights = js.LossWeights([1.0], (1, 2.0), tv=jnp.float32(1.0), regions=jnp.ones(2))
    targets = js.whiten(js.make_targets(params, content, [style], objective, [1, 2.0]))

    losses, gradient = js.value_and_grad(content, params, targets, weights, objective)
    total: jax.Array = losses.total
    step_size: float = float(total) * 1e-9
    image: jax.Array = content - step_size * gradient

    for optimizer in (js.lbfgs(memory_size=5), js.adam(0.05), js.averaged(js.adam()), optax.adam(0.02)):
        state: js.State = js.init(image, params, targets, weights, objective, optimizer)
        state = js.step(state, params, targets, weights, objective, optimizer)
        image = state.best_image
        count: int = int(state.evaluations)
        print(count, state.losses.style)

    mosaic = js.style_mosaic(0, [style], *content.shape[:2])
    mosaic = js.style_mosaic(jax.random.key(0), [style], content.shape[0], content.shape[1], shares=[1.0])
    noise = js.white_noise(jax.random.key(1), *content.shape[:2])
    balanced: js.LossWeights = js.balance(content, mosaic, params, targets, objective, 0.5)
    print(balanced, js.resize(noise, 64, 96).shape, js.on_canvas(image, 512, 512).extent)

    maps = js.features(params, content, ["relu1_1", "relu4_2"], pooling="avg")
    gram = js.gram_matrix(maps["relu1_1"])
    terms = js.style_loss(gram, gram), js.content_loss(maps["relu4_2"], maps["relu4_2"]), js.total_variation(content)
    loss: jax.Array = sum(terms, jnp.zeros(()))
    print(loss)

    result: js.Result = js.stylize(content, style, params=params, steps=10, style_layers=["relu1_1"], strength=0.5)
    result = js.stylize(
        np.asarray(content), [style, style], js.Settings(style_layers=["relu1_1"]), style_weights=(1, 2)
    )
    for each in js.stylize_batch([content, content], [style], params=params, steps=10):
        js.save_image("out.png", each.image)
    js.save_image("out.jpg", result.image, quality=90)

    mesh = js.make_mesh(rows=2)
    canvas = js.shard(content, mesh, js.on_mesh(objective, mesh))
    print(js.gather(jnp.asarray(canvas.pixels)).shape, js.replicated(params, mesh))

    measured: js.StyleStatistics = js.style_statistics(params, [style], objective)
    batch = jnp.stack([content, content])
    perceptual: js.Losses = js.perceptual_loss(batch, batch, params, measured, js.LossWeights(), objective)
    network = js.init_network(jax.random.key(0), width=8)
    painted: jax.Array = js.apply_network(network, batch, "bfloat16")
    js.save_network("net.safetensors", network, note="an example")
    print(perceptual.total, painted.shape, js.apply_network(js.load_network("net.safetensors"), content).shape)


if __name__ == "__main__":
    main()
