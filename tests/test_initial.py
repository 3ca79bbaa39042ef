"""The first set: labels, starts, learning rate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import CLASSES, SHAPE, toy_pool

from jaxdistill.data.standard import fit_zca, standardise
from jaxdistill.distillation.initial import (
    class_means,
    cluster_means,
    few_images,
    initial,
)
from jaxdistill.errors import InputError
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


def inputs_of(pool: Pool) -> np.ndarray:
    return np.asarray(standardise(pool.train.images, pool.standard), np.float64)


def shades(counts: dict[int, int]) -> Pool:
    """A pool whose first class has so many flat images of each of these grey values."""
    pool = toy_pool()
    images = np.array(pool.train.images)
    first = np.flatnonzero(np.asarray(pool.train.labels) == 0)
    values = np.repeat(list(counts), list(counts.values())).astype(np.uint8)
    images[first] = values[:, None, None, None]
    train = pool.train._replace(images=jnp.asarray(images))
    return Pool("shades", train, pool.val, pool.test, pool.class_names)


@pytest.mark.parametrize("make", [toy_pool, whitened])
def test_one_cluster_is_the_class(make):
    found = cluster_means(make(), 1, KEY)
    np.testing.assert_allclose(found, class_means(make()), atol=1e-6)


def test_clusters_are_groups_of_similar_images():
    pool = shades({40: 10, 200: 14})
    found = np.asarray(cluster_means(pool, 2, KEY))[:2]
    flat = jnp.asarray(np.uint8([40, 200])[:, None, None, None] * np.ones(SHAPE))
    expected = standardise(flat.astype(jnp.uint8), pool.standard)
    order = np.argsort(found.mean(axis=(1, 2, 3)))
    np.testing.assert_allclose(found[order], expected, atol=1e-5)


def test_no_cluster_mean_shows_one_image():
    """A lone image is its own cluster; its place takes the mean of the nearest ten."""
    pool = shades({40: 14, 60: 9, 250: 1})
    found = np.asarray(cluster_means(pool, 2, KEY))[:2]
    brightest = found[np.argmax(found.mean(axis=(1, 2, 3)))]
    mixed = (250 + 9 * 60) / 10
    mean, std = (float(x[0]) for x in (pool.standard.mean, pool.standard.std))
    np.testing.assert_allclose(brightest, (mixed / 255 - mean) / std, atol=1e-5)


def test_a_start_of_cluster_means_is_those_means_under_noise():
    still = initial(toy_pool(), 5, KEY, images="cluster_mean", noise=0.0)
    noisy = initial(toy_pool(), 5, KEY, images="cluster_mean", noise=0.5)
    labels = np.repeat([0, 1, 2], 5)
    np.testing.assert_array_equal(still.logits.argmax(axis=1), labels)
    for c in range(CLASSES):
        own = inputs_of(toy_pool())[np.asarray(toy_pool().train.labels) == c]
        made = np.asarray(still.images)[labels == c]
        assert (own.min(axis=0) - 1e-5 <= made).all()
        assert (made <= own.max(axis=0) + 1e-5).all()
        assert made.std(axis=0).mean() > 0.05  # they differ
    assert 0.4 < np.std(noisy.images - still.images) < 0.6


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
        (
            1,
            {"images": "reel"},
            r"init\.images='reel' .* noise, mean, cluster_mean, real",
        ),
        (1, {"lr": 0.0}, r"init\.lr=0\.0 must be above 0"),
    ],
)
def test_starts_that_cannot_be_made(ipc, settings, message):
    with pytest.raises(InputError, match=message):
        initial(toy_pool(), ipc, KEY, **settings)


def test_of_more_images_than_classes_each_has_one_and_they_stand_class_by_class():
    """As the methods read them that look at a class at a time."""
    labels = few_images(toy_pool(), 2 * CLASSES, KEY).logits.argmax(axis=1)
    assert labels.tolist() == sorted([*range(CLASSES)] * 2)


def test_real_mosaics_ask_for_more_images_than_ipc():
    with pytest.raises(InputError, match=r"ipc=5 and mosaic=4 ask for 80 real images"):
        initial(toy_pool(), 5, jax.random.key(0), images="real", mosaic=4)
