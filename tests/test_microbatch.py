"""Parts of a batch give the batch's gradient, and fit where they must."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.engine.microbatch import CACHE, mean_over, microbatch
from jaxdistill.networks import convnet, resnet18


def test_the_mean_over_parts_is_the_gradient_of_the_whole():
    key = jax.random.key(0)
    x = jax.random.normal(key, (12, 5))
    w = jax.random.normal(jax.random.fold_in(key, 1), (5,))

    def loss(w, x):
        return jnp.mean(jnp.tanh(x @ w) ** 2)

    whole = jax.value_and_grad(loss)(w, x)
    for parts in (1, 3, 12):
        divided = mean_over(
            lambda part: jax.value_and_grad(loss)(w, part), x.reshape(parts, -1, 5)
        )
        for got, expected in zip(divided, whole, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("batch", [1, 7, 20, 128])
def test_a_part_divides_the_batch_and_its_activations_fit(batch):
    network = convnet((32, 32, 1), 3, width=16, depth=2)
    part = microbatch(network, (32, 32, 1), batch)
    first_map = 36 * 36 * 16 * 4  # grey images are padded to 36
    assert batch % part == 0
    assert part == 1 or part * first_map <= CACHE


def test_a_network_that_mixes_its_batch_is_not_divided():
    network = resnet18((32, 32, 1), 3, width=64, norm="batch")
    assert microbatch(network, (32, 32, 1), 96) == 96
