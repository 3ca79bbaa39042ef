"""Kernel regression against the paper's equation, written out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    CLASSES,
    PIXELS,
    assert_close,
    assert_same_bits,
    linear_network,
    tanh_network,
    toy_pool,
    toy_synthetic,
)
from scipy.special import softmax

from jaxdistill.augment.siamese import augment_siamese
from jaxdistill.distillation.distillers.kernel import (
    Batch,
    doubt,
    kernel_regression,
    regress,
    training_set,
    uniform_batches,
)
from jaxdistill.errors import InputError

KEY = jax.random.key(3)


def method_of(network=None, **settings):
    settings = {"classes": CLASSES, "batch_real": 20, "pool": 4} | settings
    return kernel_regression(network or tanh_network(), **settings)


def problem(method):
    """A state and a batch."""
    resident = method.source.resident(toy_pool())
    batch = method.source.draw(resident, method.source.feed(0), jax.random.key(1))
    return method.init(jax.random.key(0)), batch


def value_of(method, synthetic, inner, batch):
    return jax.jit(method.loss)(synthetic, inner, batch, KEY)


def predicted(real, fake, targets, ridge):
    """The ridge prediction in float64, by kernels."""
    real, fake, targets = map(np.float64, (real, fake, targets))
    k_ss, k_ts, m = fake @ fake.T, real @ fake.T, len(fake)
    shifted = k_ss + ridge * np.trace(k_ss) / m * np.eye(m)
    return k_ts @ np.linalg.solve(shifted, targets)


def loss_by_hand(real, labels, fake, targets, ridge):
    wanted = np.eye(CLASSES)[labels] - 1 / CLASSES
    error = predicted(real, fake, targets, ridge) - wanted
    ordered = np.sort(targets, axis=1)
    lead = np.minimum(ordered[:, -1] - ordered[:, -2], 1 / CLASSES)
    return 0.5 * np.mean(np.sum(error**2, axis=1)) - np.mean(lead)


def targets_by_hand(synthetic):
    return softmax(np.float64(synthetic.logits), axis=1) - 1 / CLASSES


def features_by_hand(params, images):
    flat = np.float64(images).reshape(len(images), -1)
    return np.tanh(flat @ np.float64(params["in"]))


def member(inner, batch, group=0):
    """The network whose turn it is."""
    turn = int(batch.turn)
    return jax.tree.map(lambda x: np.asarray(x[group, turn]), inner.members)


@pytest.mark.parametrize("nets", [1, 2])
@pytest.mark.parametrize("flips", [False, True])
def test_the_loss_is_the_equation(nets, flips):
    with jax.enable_x64(True):
        method = method_of(nets=nets, flips=flips, ridge=1e-3)
        synthetic = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), toy_synthetic())
        inner, batch = problem(method)
        value, matched = value_of(method, synthetic, inner, batch)
        images, targets = np.asarray(synthetic.images), targets_by_hand(synthetic)
        if flips:
            images = np.concatenate([images, images[:, :, ::-1]])
            targets = np.concatenate([targets, targets])
        expected = []
        for group in range(nets):
            params = member(inner, batch, group).params
            real = features_by_hand(params, batch.images)
            fake = features_by_hand(params, images)
            labels = np.asarray(batch.labels)
            expected.append(loss_by_hand(real, labels, fake, targets, 1e-3))
        # The constant keeps ours from falling below zero.
        np.testing.assert_allclose(value, np.mean(expected) + 1 / CLASSES, rtol=1e-6)
        lead = matched.metrics["match"] - np.mean(expected)
        np.testing.assert_allclose(matched.metrics["margin"], lead, rtol=1e-6)


@pytest.mark.parametrize("m", [4, 12])
def test_both_ways_to_solve_are_the_ridge_prediction(m):
    """Fewer images than features, and more."""
    rng = np.random.default_rng(0)
    shapes = ((9, 7), (m, 7), (m, CLASSES))
    real, fake, targets = (np.float32(rng.normal(size=s)) for s in shapes)
    ours = regress(*map(jnp.asarray, (real, fake, targets)), 1e-3)
    expected = predicted(real, fake, targets, 1e-3)
    np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-4)


def test_without_ridge_the_set_predicts_itself():
    rng = np.random.default_rng(0)
    fake = jnp.asarray(rng.normal(size=(4, 7)), jnp.float32)
    targets = jnp.asarray(rng.normal(size=(4, CLASSES)), jnp.float32)
    assert_close(regress(fake, fake, targets, 1e-7), targets, rtol=1e-3, atol=1e-4)


def test_copies_of_one_image_leave_the_prediction_finite():
    fake = jnp.ones((4, 7)).at[2:].add(0.5)
    targets = jnp.eye(4, CLASSES)
    grad = jax.grad(lambda f: regress(f, f, targets, 1e-4).sum())(fake)
    assert np.isfinite(grad).all()


def test_labels_are_pushed_until_they_lead_by_a_class_share():
    low, high = jnp.asarray([[0.1, 0.0, -0.1]]), jnp.asarray([[0.6, -0.2, -0.4]])
    np.testing.assert_allclose(doubt(low), 1 / 3 - 0.1, rtol=1e-6)
    assert doubt(high) == 0
    np.testing.assert_array_equal(jax.grad(doubt)(low), [[-1.0, 1.0, 0.0]])
    np.testing.assert_array_equal(jax.grad(doubt)(high), np.zeros((1, 3)))


def test_the_gradient_reaches_images_and_labels_as_finite_differences_say():
    with jax.enable_x64(True):
        method = method_of(ridge=1e-2)
        synthetic = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), toy_synthetic())
        inner, batch = problem(method)
        loss = jax.jit(lambda s: method.loss(s, inner, batch, KEY)[0])
        grads = jax.grad(loss)(synthetic)
        rng, h = np.random.default_rng(0), 1e-5
        for part in ("images", "logits"):
            x = getattr(synthetic, part)
            along = rng.normal(size=x.shape)
            up, down = (
                loss(synthetic._replace(**{part: x + s * h * along})) for s in (1, -1)
            )
            slope = np.vdot(getattr(grads, part), along)
            np.testing.assert_allclose(slope, (up - down) / (2 * h), rtol=1e-5)


def test_no_gradient_passes_through_the_real_side():
    method = method_of()
    inner, batch = problem(method)
    value = lambda images: method.loss(  # noqa: E731
        toy_synthetic(), inner, batch._replace(images=images), KEY
    )[0]
    assert not np.any(jax.jit(jax.grad(value))(batch.images))


def test_one_augmentation_meets_both_sides():
    """The set is the batch: siamese, it still predicts itself."""
    policy = ("crop", "cutout", "color")
    method = method_of(linear_network(), batch_real=6, policy=policy, ridge=1e-6)
    inner, batch = problem(method)
    labels = jax.nn.one_hot(batch.labels, CLASSES)
    own = toy_synthetic()._replace(images=batch.images, logits=100.0 * labels)
    value, _ = value_of(method, own, inner, batch)
    assert value < 1e-3


def test_the_augmentation_of_a_step_is_drawn_from_its_key():
    policy = ("crop",)
    method, plain = (method_of(policy=p, ridge=1e-2) for p in (policy, ()))
    synthetic = toy_synthetic()
    inner, batch = problem(method)
    moved = synthetic._replace(images=augment_siamese(synthetic.images, KEY, policy))
    real = batch._replace(images=augment_siamese(batch.images, KEY, policy))
    value, _ = value_of(method, synthetic, inner, batch)
    by_hand, _ = value_of(plain, moved, inner, real)
    without, _ = value_of(plain, synthetic, inner, batch)
    np.testing.assert_allclose(value, by_hand, rtol=1e-4)
    assert abs(value - without) > 1e-3 * without


def test_mirror_images_double_the_set():
    images, targets = training_set(toy_synthetic(), flips=True)
    np.testing.assert_array_equal(images[6:], images[:6, :, ::-1])
    np.testing.assert_array_equal(targets[6:], targets[:6])
    assert images.shape[0] == 12
    np.testing.assert_allclose(targets.sum(axis=1), np.zeros(12), atol=1e-6)


# ---- the pool ------------------------------------------------------------------------


@pytest.mark.parametrize(("nets", "pool"), [(1, 4), (2, 8)])
def test_ages_begin_evenly_spread_in_every_group(nets, pool):
    inner = method_of(nets=nets, pool=pool, max_age=80).init(jax.random.key(0))
    ages = np.asarray(inner.members.age)
    assert ages.shape == (nets, pool // nets)
    np.testing.assert_array_equal(np.sort(ages.ravel()), np.arange(pool) * 80 // pool)
    np.testing.assert_array_equal(np.diff(ages, axis=1), np.full((nets, 3), 20))
    assert len(np.unique(inner.members.params["in"][..., 0, 0])) == pool


def test_only_the_network_whose_turn_it_is_takes_an_adam_step():
    network, synthetic = linear_network(), toy_synthetic()
    method = method_of(network, net_lr=0.01)
    inner, batch = problem(method)
    batch = batch._replace(turn=jnp.asarray(1, jnp.int32))
    after = jax.jit(method.advance)(inner, (), synthetic, batch, KEY)

    old, new = member(inner, batch), member(after, batch)
    images = np.float64(synthetic.images).reshape(6, PIXELS)
    wrong = images @ old.params["w"] + old.params["b"] - targets_by_hand(synthetic)
    grads = {"w": images.T @ wrong / 6, "b": wrong.sum(axis=0) / 6}
    for name, g in grads.items():
        # The first step of Adam: the bias corrections leave g / |g|.
        stepped = old.params[name] - 0.01 * g / (np.abs(g) + 1e-8)
        np.testing.assert_allclose(new.params[name], stepped, rtol=1e-4, atol=1e-6)
    assert (old.age, new.age) == (25, 26)
    assert new.opt[0].count == 1
    rest = lambda groups: jax.tree.map(  # noqa: E731
        lambda x: np.delete(x, 1, axis=1), groups.members
    )
    assert_same_bits(rest(after), rest(inner))


def test_no_network_is_used_past_its_age():
    method = method_of(pool=1, max_age=3)
    inner, batch = problem(method)
    advance = jax.jit(method.advance)
    ages, kernels = [], []
    for i in range(9):
        ages.append(int(inner.members.age[0, 0]))
        kernels.append(np.asarray(inner.members.params["in"][0, 0]))
        inner = advance(inner, (), toy_synthetic(), batch, jax.random.key(i))
        if i == 3:  # just begun again: its Adam has forgotten too
            assert all(not np.any(x) for x in jax.tree.leaves(inner.members.opt))
    assert ages == [0, 1, 2, 3, 0, 1, 2, 3, 0]
    drift = np.abs(np.diff(kernels, axis=0)).max(axis=(1, 2))
    assert np.delete(drift, [3, 7]).max() < 1e-3 < drift[[3, 7]].min()
    assert np.any(kernels[4] != kernels[8])


def test_networks_of_two_groups_begin_again_apart():
    method = method_of(nets=2, pool=2, max_age=0)
    inner, batch = problem(method)
    after = method.advance(inner, (), toy_synthetic(), batch, KEY)
    kernels = np.asarray(after.members.params["in"][:, 0])
    assert np.any(kernels[0] != kernels[1])
    assert np.all(np.asarray(after.members.age) == 0)


def test_every_network_has_its_turn():
    source = uniform_batches(4, turns=5)
    resident = source.resident(toy_pool())
    draw = jax.jit(lambda key: source.draw(resident, (), key).turn)
    turns = [int(draw(jax.random.key(i))) for i in range(60)]
    assert set(turns) == set(range(5))


def test_a_batch_holds_distinct_training_images_with_their_labels():
    source, pool = uniform_batches(72, turns=1), toy_pool()
    batch: Batch = source.draw(source.resident(pool), (), KEY)
    mean = np.asarray(pool.standard.mean).reshape(1, 1, 1, -1)
    std = np.asarray(pool.standard.std).reshape(1, 1, 1, -1)
    stored = np.asarray((np.asarray(batch.images) * std + mean) * 255).round()

    def pairs(images, labels):
        named = zip(np.asarray(images, np.uint8), labels.tolist(), strict=True)
        return {(image.tobytes(), label) for image, label in named}

    expected = pairs(pool.train.images, pool.train.labels)
    assert pairs(stored, batch.labels) == expected


# ---- refusals ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"nets": 3}, r"kernel\.pool=4 must be a multiple of kernel\.nets=3"),
        ({"pool": 0}, r"kernel\.pool=0 must be at least 1"),
        ({"ridge": 0.0}, r"kernel\.ridge=0\.0 must be above 0"),
        ({"max_age": -1}, r"kernel\.max_age=-1 must be at least 0"),
        ({"classes": 1}, "classes=1 must be 2 or more"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        method_of(**settings)


def test_a_batch_larger_than_the_training_split_is_refused():
    source = method_of(batch_real=73).source
    with pytest.raises(InputError, match=r"batch_real=73 must be .* to 72"):
        source.resident(toy_pool())
