"""Mosaics: cells, labels, and that every method works on them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import CLASSES, tanh_network, toy_pool, toy_synthetic

from jaxdistill.distillation.distill import distill
from jaxdistill.distillation.distillers.distribution import distribution_matching
from jaxdistill.distillation.initial import initial
from jaxdistill.distillation.mosaic import (
    decode,
    decode_images,
    encode_images,
    multi_formation,
)
from jaxdistill.errors import InputError


def test_cells_come_in_reading_order_and_keep_their_pixels():
    image = np.zeros((1, 8, 8, 1), np.float32)
    image[0, :4, 4:] = 1.0
    image[0, 4:, :4] = 2.0
    image[0, 4:, 4:] = 3.0
    cells = decode_images(jnp.asarray(image), 2)
    assert cells.shape == (4, 8, 8, 1)
    for number, cell in enumerate(cells):
        np.testing.assert_allclose(cell, number, atol=1e-6)


def test_decoding_is_linear_and_enlarges_between_pixel_centres():
    ramp = jnp.broadcast_to(jnp.arange(4.0)[None, :, None, None], (1, 4, 4, 1))
    rows = decode_images(ramp, 2)[0, :, 0, 0]
    # A cell holds rows 0 and 1; at twice the size centres are -1/4, 1/4, 3/4, ...
    np.testing.assert_allclose(rows, [0.0, 0.25, 0.75, 1.0], atol=1e-6)
    twice = decode_images(2 * ramp, 2)[0, :, 0, 0]
    np.testing.assert_allclose(twice, 2 * rows, atol=1e-6)


def test_first_images_are_shrunk_to_their_nearest_pixels():
    """Four images by rows and columns of a mosaic, as PyTorch's nearest neighbour."""
    images = np.arange(4 * 36.0, dtype=np.float32).reshape(4, 6, 6, 1)
    mosaic = encode_images(jnp.asarray(images), 2)[0]
    for number in range(4):
        i, j = divmod(number, 2)
        cell = mosaic[3 * i : 3 * i + 3, 3 * j : 3 * j + 3]
        np.testing.assert_array_equal(cell, images[number][::2, ::2])
    same = encode_images(jnp.asarray(images), 1)
    np.testing.assert_array_equal(same, images)


def test_a_factor_of_one_changes_nothing():
    synthetic = toy_synthetic()
    assert decode(synthetic, 1).images is synthetic.images
    method = distribution_matching(tanh_network(), classes=CLASSES, batch_real=4)
    assert multi_formation(method, 1) is method


def test_a_mosaic_set_has_the_order_of_the_classes_and_every_cell_its_label():
    synthetic = initial(toy_pool(), 2, jax.random.key(0), mosaic=2)
    decoded = decode(synthetic, 2)
    assert synthetic.images.shape == (6, 8, 8, 1)
    assert decoded.images.shape == (24, 8, 8, 1)
    labels = np.argmax(decoded.logits, axis=1)
    np.testing.assert_array_equal(labels, np.repeat(np.arange(CLASSES), 8))


def test_a_method_on_mosaics_is_the_method_on_their_cells():
    plain = distribution_matching(tanh_network(), classes=CLASSES, batch_real=4)
    tiled, synthetic = multi_formation(plain, 2), toy_synthetic()
    inner = plain.init(jax.random.key(0))
    resident = plain.source.resident(toy_pool())
    batch = plain.source.draw(resident, (), jax.random.key(1))
    key = jax.random.key(2)
    value, _ = tiled.loss(synthetic, inner, batch, key)
    expected, _ = plain.loss(decode(synthetic, 2), inner, batch, key)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    grads = jax.grad(lambda s: tiled.loss(s, inner, batch, key)[0])(synthetic)
    assert np.all(np.abs(grads.images) > 0)
    # The library's own start is of mosaics as well: one step moves little from it.
    still = optax.set_to_zero()
    told = {"ipc": 2, "steps": 1, "steps_per_call": 1, "key": key, "optimiser": still}
    made = distill(tiled, toy_pool(), **told)
    first = initial(toy_pool(), 2, jax.random.split(key, 3)[0], mosaic=2)
    np.testing.assert_allclose(made.images, first.images, rtol=1e-6)


@pytest.mark.parametrize("factor", [0, 3])
def test_a_factor_that_does_not_divide_the_size_is_refused(factor):
    with pytest.raises(InputError, match=f"mosaic={factor} must be 1 or more"):
        decode_images(jnp.zeros((1, 8, 8, 1)), factor)
