"""Each weighting against the sentence that defines it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_close, assert_same_bits, toy_synthetic
from test_trajectory import linear_method, train_by_hand, value_and_grad, walk

from jaxdistill.distillation.distillers.weighting import (
    WEIGHTINGS,
    deep_only,
    easy_first,
    importance,
    pruning,
    uniform,
)
from jaxdistill.errors import InputError

PARAMS = {"a": jnp.zeros((4, 5)), "b": jnp.zeros(5)}
BEFORE = {"a": 5, "b": 0}  # images meet b first
SETTINGS = {
    "uniform": {},
    "pruning": {"share": 0.2},
    "deep_only": {"share": 0.2},
    "easy_first": {"base": 0.3, "growth": 2.0, "every": 2},
    "importance": {"rate": 0.1},
}


def errors(seed=0):
    """Squared errors, all different."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda p: jnp.asarray(rng.gamma(1.0, size=p.shape)), PARAMS)


def flat(tree):
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


def weights_of(weighting, error):
    return flat(weighting.weights(weighting.init(PARAMS), error, BEFORE))


def test_uniform_counts_every_parameter_once():
    np.testing.assert_array_equal(weights_of(uniform(), errors()), np.ones(25))


@pytest.mark.parametrize("share", [0.0, 0.2, 0.6])
def test_pruning_leaves_out_the_share_with_the_largest_error(share):
    error = errors()
    kept = weights_of(pruning(share), error)
    expected = np.ones(25)
    expected[np.argsort(flat(error))[25 - round(25 * share) :]] = 0
    np.testing.assert_array_equal(kept, expected)


def test_deep_only_leaves_out_the_first_share():
    order = np.r_[5:25, 0:5]  # of a, then of b, from the images on
    np.testing.assert_array_equal(weights_of(deep_only(0.4), errors()), order >= 10)
    np.testing.assert_array_equal(weights_of(deep_only(0.0), errors()), np.ones(25))


def test_easy_first_lets_in_what_is_below_the_limit_and_keeps_it():
    weighting, inside = easy_first(0.3, 2.0, every=2), np.zeros(25, bool)
    state = weighting.init(PARAMS)
    for step in range(7):
        error = errors(step)
        inside = inside | (flat(error) < 0.3 * 2.0 ** (step // 2))
        np.testing.assert_array_equal(
            flat(weighting.weights(state, error, BEFORE)), inside
        )
        state = weighting.advance(state, error)
    assert state[1] == 7
    hard = jax.tree.map(lambda e: e + 1e6, error)
    np.testing.assert_array_equal(flat(weighting.weights(state, hard, BEFORE)), inside)


def test_easy_first_counts_all_while_none_is_easy():
    weighting = easy_first(1e-12, 1.5)
    np.testing.assert_array_equal(weights_of(weighting, errors()), np.ones(25))
    state = weighting.advance(weighting.init(PARAMS), errors())
    assert not flat(state[0]).any()  # none has joined


def test_importance_keeps_mean_one_and_turns_from_the_greatest_errors():
    weighting, error = importance(0.5), errors()
    state = weighting.init(PARAMS)
    np.testing.assert_allclose(
        flat(weighting.weights(state, error, BEFORE)), 1.0, rtol=1e-6
    )
    for _ in range(3):
        state = weighting.advance(state, error)
    weights = weighting.weights(state, error, BEFORE)
    for name, w in weights.items():
        np.testing.assert_allclose(w.mean(), 1.0, rtol=1e-5)
        assert np.all(w > 0)
        order = np.argsort(np.ravel(error[name]))
        assert np.all(np.diff(np.ravel(w)[order]) < 0)  # falls as the error rises


def test_importance_moves_by_the_gradient_of_the_weighted_error():
    """One step from rest, where softmax has the Jacobian (I - 1/n) / n."""
    error, rate = errors(), 0.3
    state = importance(rate).advance(importance(rate).init(PARAMS), error)
    for name, raw in state.items():
        relative = np.asarray(error[name] / error[name].mean())
        np.testing.assert_allclose(raw, -rate * (relative - 1), rtol=1e-4, atol=1e-6)


def test_importance_survives_errors_of_zero():
    state = importance(0.5).advance(
        importance(0.5).init(PARAMS), jax.tree.map(jnp.zeros_like, PARAMS)
    )
    assert np.isfinite(flat(state)).all()


@pytest.mark.parametrize("make", [pruning, deep_only])
@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_shares_outside_their_range(make, share):
    with pytest.raises(InputError, match=rf"weighting\.share={share} must be"):
        make(share)


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_state_keeps_its_shape_and_runs_compiled(name):
    weighting = WEIGHTINGS[name](**SETTINGS[name])
    state = weighting.init(PARAMS)
    new = jax.jit(weighting.advance)(state, errors())
    assert jax.tree.structure(new) == jax.tree.structure(state)
    like = [(x.shape, x.dtype) for x in jax.tree.leaves(state)]
    assert [(x.shape, x.dtype) for x in jax.tree.leaves(new)] == like
    weights = jax.jit(weighting.weights)(new, errors(), BEFORE)
    assert jax.tree.map(jnp.shape, weights) == jax.tree.map(jnp.shape, PARAMS)
    assert np.all(flat(weights) >= 0)


def test_weights_enter_both_sides_of_the_loss():
    snapshots, synthetic = walk(count=1, epochs=2), toy_synthetic()
    method = linear_method(snapshots, weighting=deep_only(0.5))
    value, grads, matched = value_and_grad(method, synthetic)
    start, _, target = snapshots[0]
    final = train_by_hand(synthetic, start, [np.arange(6)] * 4)
    error = jax.tree.map(lambda x, y: (x - y) ** 2, final, target)
    moved = jax.tree.map(lambda x, y: (x - y) ** 2, start, target)
    kept = lambda e: np.ravel(e["w"])[98:].sum() + e["b"].sum()  # noqa: E731
    np.testing.assert_allclose(value, kept(error) / kept(moved), rtol=1e-4)  # w, then b
    assert_close(matched.residual, error, rtol=1e-3, atol=1e-6)
    assert optax.tree.norm(grads.images) > 0


def test_a_method_advances_its_weighting_by_the_residual():
    weighting = easy_first(0.02, 2.0)
    method = linear_method(walk(), weighting=weighting)
    state = method.init(jax.random.key(0))
    _, _, matched = value_and_grad(method, toy_synthetic())
    new = method.advance(state, matched.residual, None, None, jax.random.key(0))
    assert_same_bits(new, weighting.advance(state, matched.residual))
    assert flat(new[0]).any()
