"""The same picture whole, on a canvas, or over devices."""

import numpy as np

import jaxstyle as js
from jaxstyle.image.canvas import on_canvas


def placed(params, weights, pictures, objective, mesh, canvas, plain_paintings):
    """Put params, weights, and image, photo and paintings on a mesh or a canvas; return them with the objective."""
    image, photo, paintings = pictures
    if mesh is not None:
        objective = js.on_mesh(objective, mesh)
        photo, image = (js.shard(each, mesh, objective) for each in (photo, image))
        params, weights = js.replicated((params, weights), mesh)
        paintings = paintings if plain_paintings else [js.shard(each, mesh, objective) for each in paintings]
    elif canvas is not None:
        photo, image = (on_canvas(each, *canvas) for each in (photo, image))
    else:
        photo, image = js.Canvas(photo), js.Canvas(image)
    return params, weights, (image, photo, paintings), objective


def check_losses_and_gradient(result, expected):
    np.testing.assert_allclose(result[0], expected[0], rtol=1e-5)
    assert np.linalg.norm(result[1] - expected[1]) < 1e-5 * np.linalg.norm(expected[1])


def odd_pictures(photograph):
    """An image, a photo and two paintings, of sizes that no device or window divides."""
    photo = photograph("china.jpg", 250, 203)
    paintings = [photograph("starry_night.jpg", 120, 100), 1 - photograph("starry_night.jpg", 160, 170)]
    return 0.7 * photo + 0.3 * js.white_noise(0, 203, 250), photo, paintings
