"""Distribution matching against the equation in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import CLASSES, tanh_network, toy_pool, toy_synthetic

from jaxdistill.augment.siamese import augment_siamese
from jaxdistill.distillation.distillers import distances
from jaxdistill.distillation.distillers.classwise import class_keys
from jaxdistill.distillation.distillers.distribution import distribution_matching
from jaxdistill.errors import InputError

KEY = jax.random.key(3)


def problem(method):
    inner = method.init(jax.random.key(0))
    resident = method.source.resident(toy_pool())
    return inner, method.source.draw(resident, (), jax.random.key(1))


def method_of(**settings):
    known = {"classes": CLASSES, "batch_real": 5}
    return distribution_matching(tanh_network(), **known | settings)


def test_the_loss_is_the_squared_distance_of_class_means_of_features():
    method, synthetic = method_of(nets=2), toy_synthetic()
    inner, batch = problem(method)
    expected = []
    for number in range(2):
        k_net, _ = jax.random.split(jax.random.fold_in(KEY, number))
        weights = np.asarray(tanh_network().init(k_net)["in"], np.float64)

        def mean(images, weights=weights):
            flat = np.asarray(images, np.float64).reshape(len(images), -1)
            return np.tanh(flat @ weights).mean(axis=0)

        pairs = zip(batch, np.split(np.asarray(synthetic.images), CLASSES), strict=True)
        expected.append(sum(np.sum((mean(r) - mean(s)) ** 2) for r, s in pairs))
    value, _ = method.loss(synthetic, inner, batch, KEY)
    np.testing.assert_allclose(value, np.mean(expected), rtol=1e-4)


def test_a_network_is_new_at_every_step():
    method, synthetic = method_of(), toy_synthetic()
    inner, batch = problem(method)
    first, second = (
        method.loss(synthetic, inner, batch, jax.random.key(k))[0] for k in (0, 1)
    )
    assert abs(first - second) > 1e-3


@pytest.mark.parametrize("distance", ["mean", "mmd"])
def test_equal_sets_are_at_distance_zero_under_any_augmentation(distance):
    method = method_of(distance=distance, policy=("crop", "scale", "color"))
    inner, batch = problem(method)
    images = batch.reshape(-1, *batch.shape[2:])
    same = toy_synthetic(15)._replace(images=images)
    assert abs(method.loss(same, inner, batch, KEY)[0]) < 1e-5
    other = same._replace(images=images[::-1])
    assert method.loss(other, inner, batch, KEY)[0] > 1e-3


def test_each_class_is_augmented_by_a_transform_of_its_own_alike_on_both_sides():
    policy = ("crop",)
    method, synthetic = method_of(policy=policy), toy_synthetic()
    inner, batch = problem(method)
    k_net, k_augment = jax.random.split(jax.random.fold_in(KEY, 0))
    weights = np.asarray(tanh_network().init(k_net)["in"], np.float64)
    keys, expected = class_keys(k_augment, CLASSES), 0.0
    for c, own in enumerate(jnp.split(synthetic.images, CLASSES)):
        real, fake = (
            np.float64(augment_siamese(images, keys[c], policy)).reshape(
                len(images), -1
            )
            for images in (batch[c], own)
        )
        means = [np.tanh(images @ weights).mean(axis=0) for images in (real, fake)]
        expected += np.sum((means[0] - means[1]) ** 2)
    value, _ = method.loss(synthetic, inner, batch, KEY)
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    assert not np.array_equal(*(np.asarray(jax.random.key_data(k)) for k in keys[:2]))


def test_mmd_is_the_biased_estimate_over_all_pairs():
    rng = np.random.default_rng(0)
    r, s = rng.normal(size=(6, 3)), 1 + rng.normal(size=(4, 3))
    scale = np.mean(np.sum((r[:, None] - r[None]) ** 2, axis=-1))

    def k(a, b):
        squares = np.sum((a[:, None] - b[None]) ** 2, axis=-1) / scale
        widths = distances.WIDTHS
        return np.mean([np.exp(-squares / (2 * w)) for w in widths])

    expected = k(r, r) + k(s, s) - 2 * k(r, s)
    value = distances.mmd(jnp.asarray(r), jnp.asarray(s))
    np.testing.assert_allclose(value, expected, rtol=1e-4)


def test_mmd_tells_apart_what_means_cannot():
    narrow = jnp.asarray([[-1.0], [1.0]] * 4)
    wide = 3.0 * narrow
    assert distances.mean_distance(narrow, wide) == 0
    assert distances.mmd(narrow, wide) > 0.1


def test_no_gradient_passes_through_the_real_side():
    method, synthetic = method_of(), toy_synthetic()
    inner, batch = problem(method)
    grad = jax.grad(lambda b: method.loss(synthetic, inner, b, KEY)[0])(batch)
    np.testing.assert_array_equal(grad, 0.0)


def test_a_set_that_classes_cannot_share_is_refused():
    method = method_of()
    with pytest.raises(InputError, match="7 images, which 3 classes"):
        method.loss(toy_synthetic(7), *problem(method), KEY)


def test_an_unknown_distance_is_refused():
    with pytest.raises(InputError, match=r"distribution.distance='l1' is not known"):
        method_of(distance="l1")


def test_mmd_of_one_real_image_is_refused():
    with pytest.raises(InputError, match="no width of a kernel"):
        distribution_matching(tanh_network(), classes=3, batch_real=1, distance="mmd")
