"""Gradient matching against the equation in NumPy, and its published layout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import CLASSES, linear_network, tanh_network, toy_pool, toy_synthetic

from jaxdistill.augment.siamese import augment_siamese
from jaxdistill.distillation.distillers import distances, gradient
from jaxdistill.distillation.distillers.gradient import gradient_matching
from jaxdistill.errors import InputError

KEY = jax.random.key(3)


def ordered(synthetic):
    """The toy set in the order of the classes."""
    labels = np.repeat(np.arange(CLASSES), len(synthetic.images) // CLASSES)
    return synthetic._replace(logits=4.0 * jax.nn.one_hot(labels, CLASSES))


def problem(method):
    inner = method.init(jax.random.key(0))
    resident = method.source.resident(toy_pool())
    return inner, method.source.draw(resident, (), jax.random.key(1))


def linear_gradient(params, images, targets):
    """The gradient of softmax regression, by hand."""
    x = np.asarray(images, np.float64).reshape(len(images), -1)
    logits = x @ np.asarray(params["w"], np.float64) + np.asarray(params["b"])
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    return x.T @ (p - targets) / len(x)


def method_of(network=None, **settings):
    known = {"classes": CLASSES, "outer_loops": 2, "inner_epochs": 1, "batch_real": 5}
    return gradient_matching(network or linear_network(), **known | settings)


def test_the_loss_is_equation_9_of_the_paper_summed_over_classes():
    method, synthetic = method_of(), ordered(toy_synthetic())
    inner, batch = problem(method)
    params = jax.tree.map(lambda x: np.asarray(x[0]), inner.training.params)
    expected = 0.0
    for c in range(CLASSES):
        one_hot = np.eye(CLASSES)[c][None]
        rows = slice(2 * c, 2 * c + 2)
        soft = np.asarray(jax.nn.softmax(synthetic.logits))[rows]
        g = linear_gradient(params, batch[c], one_hot)
        h = linear_gradient(params, synthetic.images[rows], soft)
        for column in range(CLASSES):  # an output unit each; the bias is left out
            a, b = g[:, column], h[:, column]
            expected += 1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-6)
    value, _ = method.loss(synthetic, inner, batch, KEY)
    np.testing.assert_allclose(value, expected, rtol=1e-4)


def test_output_units_are_the_last_axis_of_a_kernel():
    rng = np.random.default_rng(0)
    g, h = ({"k": jnp.asarray(rng.normal(size=(3, 3, 2, 5)))} for _ in range(2))
    expected = sum(
        1
        - np.sum(g["k"][..., o] * h["k"][..., o])
        / (np.linalg.norm(g["k"][..., o]) * np.linalg.norm(h["k"][..., o]) + 1e-6)
        for o in range(5)
    )
    np.testing.assert_allclose(distances.layers_cosine(g, h), expected, rtol=1e-5)


def test_biases_and_norms_count_nothing():
    g = {"kernel": jnp.ones((4, 2)), "bias": jnp.ones(2), "scale": jnp.ones(2)}
    h = {"kernel": jnp.ones((4, 2)), "bias": -jnp.ones(2), "scale": -jnp.ones(2)}
    for distance in (distances.layers_cosine, distances.global_cosine):
        np.testing.assert_allclose(distance(g, h), 0.0, atol=1e-5)


def test_idc_compares_convolution_kernels_alone():
    g = {"conv": jnp.full((3, 3, 1, 2), 2.0), "dense": jnp.ones((4, 2))}
    h = {"conv": jnp.full((3, 3, 1, 2), -1.0), "dense": -jnp.ones((4, 2))}
    np.testing.assert_allclose(distances.kernels_mse(g, h), 18 * 9.0)
    np.testing.assert_allclose(distances.kernels_l1(g, h), 18 * 3.0)


def test_a_network_without_convolutions_has_no_idc_distance():
    method = method_of(distance="kernels_mse")
    with pytest.raises(InputError, match="finds no kernels"):
        method.loss(ordered(toy_synthetic()), *problem(method), KEY)


@pytest.mark.parametrize("distance", ["layers_cosine", "global_cosine"])
def test_equal_sets_are_at_distance_zero(distance):
    method = method_of(tanh_network(), distance=distance, policy=("crop", "scale"))
    inner, batch = problem(method)
    same = toy_synthetic(15)._replace(
        images=batch.reshape(-1, *batch.shape[2:]),
        logits=100.0 * jnp.repeat(jnp.eye(CLASSES), 5, axis=0),
    )
    value, _ = method.loss(same, inner, batch, KEY)
    # Siamese: both sides see the same crop, or they would differ here.
    np.testing.assert_allclose(value, 0.0, atol=1e-3)
    moved = same._replace(images=same.images + 1.0)
    assert method.loss(moved, inner, batch, KEY)[0] > 0.05


def test_each_class_is_augmented_by_a_transform_of_its_own_alike_on_both_sides():
    policy = ("crop",)
    method, synthetic = method_of(policy=policy), ordered(toy_synthetic())
    inner, batch = problem(method)
    keys = gradient.class_keys(jax.random.fold_in(KEY, 0), CLASSES)
    moved, whole = [], []
    for c in range(CLASSES):
        rows = slice(2 * c, 2 * c + 2)
        moved.append(augment_siamese(batch[c], keys[c], policy))
        whole.append(augment_siamese(synthetic.images[rows], keys[c], policy))
    plain = method_of()
    by_hand = synthetic._replace(images=jnp.concatenate(whole))
    expected, _ = plain.loss(by_hand, inner, jnp.stack(moved), KEY)
    value, _ = method.loss(synthetic, inner, batch, KEY)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert abs(value - plain.loss(synthetic, inner, batch, KEY)[0]) > 1e-3


def test_no_gradient_passes_through_the_real_side():
    method, synthetic = method_of(tanh_network()), ordered(toy_synthetic())
    inner, batch = problem(method)
    grad = jax.grad(lambda b: method.loss(synthetic, inner, b, KEY)[0])(batch)
    np.testing.assert_array_equal(grad, 0.0)


def test_a_network_trains_between_matches_and_is_drawn_anew_at_the_end():
    method, synthetic = method_of(nets=2, outer_loops=3), ordered(toy_synthetic())
    inner, batch = problem(method)
    ages, before = [], inner
    for step in range(3):
        after = method.advance(before, (), synthetic, batch, jax.random.key(step))
        ages.append(after.age.tolist())
        taught, before = before, after
    assert ages == [[1, 1], [2, 2], [0, 0]]
    assert not np.allclose(before.training.params["w"], taught.training.params["w"])
    first = method.advance(inner, (), synthetic, batch, KEY)
    targets = np.asarray(jax.nn.softmax(synthetic.logits))
    for net in range(2):
        params = jax.tree.map(
            lambda x, net=net: np.asarray(x[net]), inner.training.params
        )
        step = linear_gradient(params, synthetic.images, targets)
        expected = params["w"] - 0.01 * step
        np.testing.assert_allclose(first.training.params["w"][net], expected, atol=1e-5)


def test_idc_trains_on_the_real_batch():
    method, synthetic = method_of(train_on="real"), ordered(toy_synthetic())
    inner, batch = problem(method)
    after = method.advance(inner, (), synthetic, batch, KEY)
    params = jax.tree.map(lambda x: np.asarray(x[0]), inner.training.params)
    targets = np.repeat(np.eye(CLASSES), 5, axis=0)
    images = batch.reshape(-1, *batch.shape[2:])
    expected = params["w"] - 0.01 * linear_gradient(params, images, targets)
    np.testing.assert_allclose(after.training.params["w"][0], expected, atol=1e-5)


def test_loops_are_those_published_and_linear_in_between():
    published = {1: (1, 1), 10: (10, 50), 20: (20, 25), 50: (50, 10)}
    assert {ipc: gradient.loops(ipc) for ipc in published} == published
    assert gradient.loops(15) == (15, 38)
    assert gradient.loops(200) == (50, 10)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"distance": "cosine"}, "gradient.distance='cosine' is not known"),
        ({"train_on": "both"}, "gradient.train_on='both' is not known"),
    ],
)
def test_unknown_choices_are_refused(settings, said):
    with pytest.raises(InputError, match=said):
        method_of(**settings)


def test_a_class_with_fewer_images_than_its_batch_is_refused():
    method = method_of(batch_real=25)
    with pytest.raises(InputError, match=r"batch_real=25 .* 24, .* class 'rows'"):
        method.source.resident(toy_pool())


def test_the_cosine_of_all_kernels_has_a_gradient_where_all_units_are_dead():
    g = {"k": jnp.ones((3, 2))}
    dead = {"k": jnp.zeros((3, 2))}
    grads = jax.grad(lambda h: distances.global_cosine(g, h))(dead)
    assert bool(jnp.isfinite(grads["k"]).all())
