"""Herding against a loop that follows the sentence word by word."""

import jax
import numpy as np
import pytest
from helpers import tanh_network, toy_pool

from jaxdistill.coresets import embed_split, herding
from jaxdistill.errors import InputError
from jaxdistill.standard import standardise


def herding_by_hand(features, labels, ipc):
    chosen = []
    for c in sorted(set(labels)):
        members = [i for i, label in enumerate(labels) if label == c]
        mu = sum(features[i] for i in members) / len(members)
        own = []
        for j in range(ipc):
            running = sum((features[i] for i in own), np.zeros_like(mu))
            free = [i for i in members if i not in own]
            own.append(
                min(
                    free,
                    key=lambda i: np.linalg.norm((j + 1) * mu - running - features[i]),
                )
            )
        chosen += own
    return chosen


def test_herding_is_the_greedy_loop():
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(40, 5)), rng.integers(0, 3, 40)
    expected = herding_by_hand(features, labels, 6)
    np.testing.assert_array_equal(herding(features, labels, 6), expected)


def test_herding_of_a_whole_class_takes_every_image_once():
    rng = np.random.default_rng(1)
    features, labels = rng.normal(size=(10, 2)), np.repeat([0, 1], 5)
    np.testing.assert_array_equal(np.sort(herding(features, labels, 5)), np.arange(10))


def test_herding_follows_the_mean_better_than_chance():
    rng = np.random.default_rng(2)
    features, labels = rng.normal(size=(200, 4)), np.zeros(200, int)
    off = lambda rows: np.linalg.norm(features[rows].mean(0) - features.mean(0))  # noqa: E731
    assert off(herding(features, labels, 10)) < 0.3 * off(np.arange(10))


def test_more_images_than_a_class_holds():
    with pytest.raises(InputError, match=r"ipc=4 .* 3 training images of class 1"):
        herding(np.zeros((8, 2)), np.array([0] * 5 + [1] * 3), 4)


@pytest.mark.parametrize("chunk", [5, 15, 256])
def test_features_do_not_depend_on_the_chunk(chunk):
    network, split = tanh_network(), toy_pool().val
    params = network.init(jax.random.key(0))
    expected = network.embed(params, standardise(split.images, split.standard))
    ours = embed_split(network, params, split, chunk)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
