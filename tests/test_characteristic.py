"""Characteristic function matching against the paper's equation, written in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    CLASSES,
    SHAPE,
    assert_close,
    assert_same_bits,
    linear_network,
    made_experts,
    tanh_network,
    toy_experts,
    toy_pool,
    toy_synthetic,
)
from scipy.special import log_softmax, softmax

from jaxdistill.augment.siamese import augment_siamese
from jaxdistill.distillation.distillers.characteristic import (
    characteristic_matching,
    discrepancy,
    draw_nets,
    network_sampler,
    unit_rows,
)
from jaxdistill.distillation.distillers.classwise import class_keys
from jaxdistill.errors import InputError

KEY = jax.random.key(3)
FEW = {"classes": CLASSES, "batch_real": 8, "frequencies": 16}


@functools.cache
def method_of(**settings):
    return characteristic_matching(tanh_network(), toy_experts(), **FEW | settings)


def problem(method, step=0):
    """The inner state and the batch of one step."""
    resident = method.source.resident(toy_pool())
    batch = method.source.draw(resident, method.source.feed(step), jax.random.key(1))
    return method.init(jax.random.key(0)), batch


@functools.cache
def compiled(method):
    return jax.jit(jax.value_and_grad(method.loss, has_aux=True))


def value_and_grad(method, synthetic, inner, batch):
    return compiled(method)(synthetic, inner, batch, KEY)


def by_hand(real, fake, t, a, b):
    """Equation 4 of the paper with complex numbers, its phase term clamped."""
    p, q = (np.exp(1j * f @ t.T).mean(axis=0) for f in (real, fake))
    phase = np.abs(p) * np.abs(q) - p.real * q.real - p.imag * q.imag
    inside = a * (np.abs(p) - np.abs(q)) ** 2 + 2 * b * np.maximum(phase, 1e-12)
    return np.sqrt(inside).mean()


def rows(seed, *shape):
    x = np.random.default_rng(seed).normal(size=shape)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.1, 0.9), (1.0, 0.0), (0.0, 1.0)])
def test_the_discrepancy_is_the_equation(weights):
    real, fake = rows(0, 9, 5), rows(1, 4, 5)
    t = 2 * np.random.default_rng(2).normal(size=(30, 5))
    expected = by_hand(real, fake, t, *weights)
    with jax.enable_x64(True):
        exact = discrepancy(*map(jnp.asarray, (real, fake, t)), weights)
        np.testing.assert_allclose(exact, expected, rtol=1e-9)
    single = [jnp.asarray(x, jnp.float32) for x in (real, fake, t)]
    np.testing.assert_allclose(discrepancy(*single, weights), expected, rtol=1e-4)


def test_float32_does_not_cancel_where_the_sides_are_close():
    real = rows(0, 9, 5)
    fake = real + 1e-5 * np.random.default_rng(1).normal(size=real.shape)
    t = np.random.default_rng(2).normal(size=(30, 5))
    single = [np.float32(x) for x in (real, fake, t)]
    expected = by_hand(*map(np.float64, single), 0.5, 0.5)
    ours = discrepancy(*map(jnp.asarray, single), (0.5, 0.5))
    np.testing.assert_allclose(ours, expected, rtol=0.05)


@pytest.mark.parametrize("weights", [(0.5, 0.5), (1.0, 0.0), (0.0, 1.0)])
def test_equal_sides_differ_by_the_clamp_alone_and_pull_nowhere(weights):
    real, t = jnp.asarray(rows(0, 9, 5)), jnp.asarray(rows(1, 30, 5))
    value, grad = jax.value_and_grad(discrepancy, 1)(real, real, t, weights)
    assert 0 <= value <= 1.5e-6
    np.testing.assert_array_equal(grad, np.zeros((9, 5)))


def test_rows_have_length_one_and_a_row_of_zeros_stays_finite():
    rows = jnp.asarray([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(unit_rows(rows), [[0.6, 0.8], [0.0, 0.0]], rtol=1e-6)
    grad = jax.grad(lambda x: unit_rows(x)[:, 0].sum())(rows)
    assert np.isfinite(grad).all()


def test_the_loss_sums_classes_and_their_calibration():
    """Linear features are the pixels, so that the whole loss can be written down."""
    rng, network = np.random.default_rng(0), linear_network()
    like = jax.tree.map(np.asarray, network.init(jax.random.key(0)))
    snapshots = [
        [jax.tree.map(lambda x: rng.normal(size=x.shape), like) for _ in range(3)]
    ]
    experts = made_experts(network, snapshots)
    method = characteristic_matching(
        network, experts, **FEW, amplitude=0.3, calibration=2.0
    )
    synthetic = toy_synthetic()
    inner, batch = problem(method)
    (value, matched), _ = value_and_grad(method, synthetic, inner, batch)

    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
    images = np.float64(synthetic.images).reshape(6, -1)
    match = 0.0
    # The frequencies of a step serve every class.
    t = np.asarray(jax.random.normal(jax.random.split(KEY)[1], (16, 64)))
    for c in range(CLASSES):
        real = np.float64(batch.real[c]).reshape(8, -1)
        match += 300 * by_hand(
            unit(real), unit(images[2 * c : 2 * c + 2]), np.float64(t), 0.3, 0.5
        )
    last = snapshots[0][-1]
    logits = images @ last["w"] + last["b"]
    targets = softmax(np.float64(synthetic.logits), axis=1)
    error = -np.sum(targets * log_softmax(logits, axis=1)) / 6
    np.testing.assert_allclose(matched.metrics["match"], match, rtol=1e-4)
    np.testing.assert_allclose(matched.metrics["calibration"], error, rtol=1e-4)
    np.testing.assert_allclose(value, match + 2.0 * CLASSES * error, rtol=1e-4)


def test_a_set_that_is_the_real_batch_has_nothing_left_to_match():
    """Augmented, this holds only if both sides of a class are augmented alike."""
    method = method_of(policy=("crop", "cutout", "color"), calibration=0.0)
    inner, batch = problem(method)
    own = toy_synthetic(CLASSES * 8)._replace(images=batch.real.reshape(-1, *SHAPE))
    (value, _), _ = value_and_grad(method, own, inner, batch)
    (other, _), _ = value_and_grad(method, toy_synthetic(), inner, batch)
    assert value < 1e-2 < other


def test_each_class_is_augmented_by_a_transform_of_its_own_alike_on_both_sides():
    policy = ("crop",)
    method = method_of(policy=policy, calibration=0.0)
    plain, synthetic = method_of(calibration=0.0), toy_synthetic()
    inner, batch = problem(method)
    keys = class_keys(jax.random.split(KEY)[0], CLASSES)
    own = synthetic.images.reshape(CLASSES, 2, *SHAPE)
    real, fake = (
        jnp.stack([augment_siamese(x[c], keys[c], policy) for c in range(CLASSES)])
        for x in (batch.real, own)
    )
    moved = synthetic._replace(images=fake.reshape(-1, *SHAPE))
    (value, _), _ = value_and_grad(method, synthetic, inner, batch)
    (by_hand, _), _ = value_and_grad(plain, moved, inner, batch._replace(real=real))
    (without, _), _ = value_and_grad(plain, synthetic, inner, batch)
    np.testing.assert_allclose(value, by_hand, rtol=1e-5)
    assert abs(value - without) > 1e-3 * without


def test_the_order_within_a_class_does_not_matter_the_class_does():
    method = method_of()
    inner, batch = problem(method)
    synthetic = toy_synthetic()

    def in_order(order):
        order = np.asarray(order)
        shuffled = synthetic._replace(
            images=synthetic.images[order], logits=synthetic.logits[order]
        )
        return value_and_grad(method, shuffled, inner, batch)[0][0]

    plain = in_order(range(6))
    np.testing.assert_allclose(in_order([1, 0, 2, 3, 5, 4]), plain, rtol=1e-5)
    assert abs(in_order([2, 1, 0, 3, 4, 5]) - plain) > 1e-3 * plain


def test_no_gradient_passes_through_the_real_side_or_the_networks():
    method = method_of()
    inner, batch = problem(method)
    value = lambda real: method.loss(  # noqa: E731
        toy_synthetic(), inner, batch._replace(real=real), KEY
    )[0]
    assert not np.any(jax.jit(jax.grad(value))(batch.real))


def test_labels_learn_from_the_calibration_alone():
    for calibration, moves in ((0.0, False), (1.0, True)):
        method = method_of(calibration=calibration)
        _, grads = value_and_grad(method, toy_synthetic(), *problem(method))
        assert bool(np.any(grads.logits)) is moves


def test_networks_lie_between_the_start_and_the_end_of_an_expert():
    experts = toy_experts()
    drawn = draw_nets(experts, (0, 7), 3)
    assert_same_bits(drawn, draw_nets(experts, (0, 7), 3))
    assert np.any(draw_nets(experts, (0, 8), 3).between["in"] != drawn.between["in"])
    assert np.any(draw_nets(experts, (1, 7), 3).between["in"] != drawn.between["in"])
    ends = [experts.read(e, 4) for e in range(4)]
    for i in range(3):
        own = jax.tree.map(lambda x: x[i], drawn)  # noqa: B023
        (e,) = [n for n in range(4) if np.array_equal(ends[n]["in"], own.last["in"])]
        start, end = experts.read(e, 0), ends[e]
        share = np.vdot(own.between["in"] - start["in"], end["in"] - start["in"])
        share /= np.vdot(end["in"] - start["in"], end["in"] - start["in"])
        assert 0 < share < 1
        mixed = jax.tree.map(lambda a, b: a + share * (b - a), start, end)  # noqa: B023
        assert_close(own.between, mixed, rtol=1e-4, atol=1e-5)


def test_the_mean_over_networks_is_that_of_each_alone():
    method = method_of(nets=2, sampling="network", image_shape=SHAPE)
    inner, batch = problem(method)

    def one(i):
        part = jax.tree.map(lambda x: x[i : i + 1], batch.nets)
        return batch._replace(nets=part)

    together = value_and_grad(method, toy_synthetic(), inner, batch)
    parts = [value_and_grad(method, toy_synthetic(), inner, one(i)) for i in range(2)]
    mean = jax.tree.map(lambda a, b: (a + b) / 2, *parts)
    assert_close(together, mean, rtol=1e-4, atol=1e-5)


# ---- the sampling network ------------------------------------------------------------


def test_a_fresh_sampling_network_draws_normal_noise_of_mean_square_one():
    sampler = network_sampler(5, 1e-3)
    t = sampler.draw(sampler.init(jax.random.key(0)), KEY, (40, 5))
    z = jax.random.normal(KEY, (40, 5))
    np.testing.assert_allclose(t, z / np.sqrt(np.mean(z**2)), rtol=1e-5)
    moved = jax.tree.map(lambda p: p + 1.0, sampler.init(jax.random.key(0)))
    t = sampler.draw(moved, KEY, (40, 5))
    np.testing.assert_allclose(np.mean(t**2), 1.0, rtol=1e-5)


def test_its_ascent_raises_the_distance_and_leaves_the_set_alone():
    method = method_of(sampling="network", image_shape=SHAPE, sampler_lr=0.02)
    inner, batch = problem(method)
    synthetic = toy_synthetic()

    @jax.jit
    def climb(inner, key):
        _, matched = method.loss(synthetic, inner, batch, key)
        inner = method.advance(inner, matched.residual, synthetic, batch, key)
        return matched.metrics["match"], inner

    # Other draws than those that are judged: the distribution climbs, not one sample.
    judge = lambda inner: np.mean(  # noqa: E731
        [climb(inner, jax.random.key(100 + i))[0] for i in range(4)]
    )
    before = judge(inner)
    for i in range(30):
        _, inner = climb(inner, jax.random.key(i))
    assert judge(inner) > 1.02 * before


def test_the_residual_is_the_slope_of_the_match_in_the_sampler():
    method = method_of(sampling="network", image_shape=SHAPE, calibration=0.0)
    inner, batch = problem(method)
    params = {"in": inner.params["in"], "out": inner.params["out"] + 0.1}
    value = lambda p: method.loss(  # noqa: E731
        toy_synthetic(), inner._replace(params=p), batch, KEY
    )
    expected = jax.jit(jax.grad(lambda p: value(p)[0]))(params)
    assert_close(value(params)[1].residual, expected, rtol=1e-4, atol=1e-5)


def test_without_it_nothing_is_carried():
    method = method_of()
    inner, batch = problem(method)
    assert jax.tree.leaves(inner) == []
    _, matched = method.loss(toy_synthetic(), inner, batch, KEY)
    after = method.advance(inner, matched.residual, toy_synthetic(), batch, KEY)
    assert_same_bits(after, inner)


# ---- refusals ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sampling": "sobol"}, r"characteristic\.sampling='sobol' .* choose one"),
        ({"sampling": "network"}, "characteristic.image_shape=None .* pass the pool"),
        ({"frequencies": 0}, "characteristic.frequencies=0 must be at least 1"),
        ({"nets": 0}, "characteristic.nets=0 must be at least 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        method_of(**settings)


def test_experts_of_another_network_are_refused():
    with pytest.raises(InputError, match="tanh-6, not of tanh-7"):
        characteristic_matching(tanh_network(7), toy_experts(), **FEW)


def test_a_batch_larger_than_a_class_is_refused():
    with pytest.raises(InputError, match="batch_real=25 must be from 1 to 24"):
        method_of(batch_real=25).source.resident(toy_pool())
