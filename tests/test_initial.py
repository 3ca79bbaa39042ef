"""The first set: labels, starts, learning rate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import CLASSES, SHAPE, toy_pool

from jaxdistill.errors import InputError
from jaxdistill.initial import class_means, initial
from jaxdistill.standard import fit_zca, standardise
from jaxdistill.types import Pool

KEY = jax.random.key(0)


def whitened() -> Pool:
    pool = toy_pool()
    standard = fit_zca(np.asarray(pool.train.images))
    train, val, test = (
        part._replace(standard=standard) for part in (pool.train, pool.val, pool.test)
    )
    return Pool("zca", train, val, test, pool.class_names)


@pytest.mark.parametrize("make", [toy_pool, whitened])
def test_class_means_are_means_of_the_inputs(make):
    pool = make()
    inputs = np.asarray(standardise(pool.train.images, pool.standard), np.float64)
    labels = np.asarray(pool.train.labels)
    expected = np.stack([inputs[labels == c].mean(axis=0) for c in range(CLASSES)])
    np.testing.assert_allclose(class_means(pool), expected, atol=2e-5)


def test_the_default_is_noisy_class_means_in_class_order():
    pool = toy_pool()
    first = initial(pool, 20, KEY)
    assert first.images.shape == (60, *SHAPE)
    noise = np.asarray(first.images) - np.repeat(class_means(pool), 20, axis=0)
    assert abs(noise.mean()) < 0.05
    np.testing.assert_allclose(noise.std(), 0.5, rtol=0.05)
    np.testing.assert_array_equal(first.logits.argmax(axis=1), np.repeat([0, 1, 2], 20))


def test_hard_labels_are_one_hot_and_soft_ones_are_not():
    hard = jax.nn.softmax(initial(toy_pool(), 2, KEY).logits)
    np.testing.assert_array_equal(hard, np.eye(CLASSES)[[0, 0, 1, 1, 2, 2]])
    soft = jax.nn.softmax(initial(toy_pool(), 1, KEY, label_margin=2.0).logits)
    expected = np.exp(2) / (np.exp(2) + 2)
    np.testing.assert_allclose(np.diag(soft), expected, rtol=1e-6)


@pytest.mark.parametrize("lr", [1e-7, 0.01, 0.5, 20.0])
def test_the_learning_rate_is_the_one_asked_for(lr):
    np.testing.assert_allclose(initial(toy_pool(), 1, KEY, lr=lr).lr, lr, rtol=1e-5)


def test_a_real_start_is_distinct_training_images_of_the_right_class():
    pool = toy_pool()
    with pytest.warns(UserWarning, match="still shows them"):
        first = initial(pool, 4, KEY, images="real")
    inputs = np.asarray(standardise(pool.train.images, pool.standard))
    flat = inputs.reshape(len(inputs), -1)
    found = [
        int(np.flatnonzero((flat == x).all(axis=1))[0])
        for x in np.asarray(first.images).reshape(12, -1)
    ]
    assert len(set(found)) == 12
    labels = np.asarray(pool.train.labels)[found]
    np.testing.assert_array_equal(labels, np.repeat([0, 1, 2], 4))


def test_noise_is_standard_normal_and_follows_the_key():
    one = initial(toy_pool(), 20, KEY, images="noise").images
    assert abs(float(one.mean())) < 0.1
    np.testing.assert_allclose(one.std(), 1.0, rtol=0.1)
    same = initial(toy_pool(), 20, KEY, images="noise").images
    other = initial(toy_pool(), 20, jax.random.key(1), images="noise").images
    np.testing.assert_array_equal(one, same)
    assert not jnp.array_equal(one, other)


@pytest.mark.parametrize(
    ("ipc", "settings", "message"),
    [
        (0, {}, "^ipc=0 "),
        (-2, {}, "^ipc=-2 "),
        (25, {}, "^ipc=25 asks for more images than class 0 holds"),
        (25, {"images": "real"}, "^ipc=25 "),
        (1, {"images": "reel"}, r"init\.images='reel' .* noise, mean, real"),
        (1, {"lr": 0.0}, r"init\.lr=0\.0 must be above 0"),
    ],
)
def test_starts_that_cannot_be_made(ipc, settings, message):
    with pytest.raises(InputError, match=message):
        initial(toy_pool(), ipc, KEY, **settings)
