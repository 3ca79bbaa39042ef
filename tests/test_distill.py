"""The outer step that methods share, and the call that runs it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import (
    assert_same_bits,
    tanh_network,
    toy_experts,
    toy_pool,
    toy_synthetic,
)

from jaxdistill.distillation.distill import distill, distilling, outer_optimiser
from jaxdistill.distillation.distillers.distribution import distribution_matching
from jaxdistill.distillation.distillers.trajectory import trajectory_matching
from jaxdistill.distillation.initial import initial
from jaxdistill.engine.driver import Plan, iterate
from jaxdistill.engine.mesh import initialise, make_mesh
from jaxdistill.errors import InputError
from jaxdistill.networks import convnet
from jaxdistill.types import Matched, Method, Source

KEY = jax.random.key(6)


def quadratic(target=2.0) -> Method:
    """A method that pulls every pixel, logit and the rate to one number."""

    def loss(synthetic, inner, batch, key):
        del batch, key
        parts = [jnp.mean((x - target) ** 2) for x in jax.tree.leaves(synthetic)]
        value = sum(parts)
        return value, Matched({"seen": inner}, jnp.ones(()), residual=value)

    return Method(
        init=lambda key: jnp.zeros(()),
        loss=loss,
        advance=lambda inner, residual, synthetic, batch, key: inner + residual,
        source=Source(lambda pool: (), lambda step: (), lambda resident, fed, key: ()),
        population=False,
    )


def steps_of(method, optimiser, count=3, **settings):
    """The start and every state after it, on the host, with the metrics."""
    start, mesh = toy_synthetic(), make_mesh(1)
    learner = distilling(method, start, optimiser, **settings)
    state = initialise(learner, KEY, mesh)
    states = [jax.tree.map(np.asarray, state)]
    metrics = []
    for _, latest, now in iterate(
        learner, state, (), lambda s: (), KEY, plan=Plan(0, count), mesh=mesh
    ):
        states.append(jax.tree.map(np.asarray, latest))
        metrics.append(jax.tree.map(np.asarray, now))
    return states, metrics


def test_each_part_has_its_own_optimiser():
    states, metrics = steps_of(
        quadratic(),
        outer_optimiser(optax.sgd(0.5), labels=optax.sgd(2.0), lr=optax.sgd(0.1)),
        count=1,
    )
    before, after = states[0].synthetic, states[1].synthetic
    for part, rate in (("images", 0.5), ("logits", 2.0), ("raw_lr", 0.1)):
        x = getattr(before, part)
        gradient = 2 * (x - 2) / x.size
        np.testing.assert_allclose(
            getattr(after, part), x - rate * gradient, rtol=1e-4, atol=1e-6
        )
        norm = np.sqrt(np.sum(gradient**2))
        np.testing.assert_allclose(metrics[0][f"grad_{part}"], norm, rtol=1e-4)
    np.testing.assert_allclose(metrics[0]["lr"], np.log1p(np.exp(after.raw_lr)), 1e-5)


def test_parts_without_an_optimiser_stay():
    states, _ = steps_of(quadratic(), outer_optimiser(optax.adam(0.1)))
    assert not np.array_equal(states[3].synthetic.images, states[0].synthetic.images)
    np.testing.assert_array_equal(
        states[3].synthetic.logits, states[0].synthetic.logits
    )
    np.testing.assert_array_equal(
        states[3].synthetic.raw_lr, states[0].synthetic.raw_lr
    )


def test_the_average_follows_its_recursion():
    states, _ = steps_of(
        quadratic(), outer_optimiser(optax.sgd(5.0)), average_decay=0.9
    )
    average = states[0].synthetic.images
    for state in states[1:]:
        average = 0.9 * average + 0.1 * state.synthetic.images
        np.testing.assert_allclose(state.average.images, average, rtol=1e-5, atol=1e-6)
    assert not np.allclose(states[-1].average.images, states[-1].synthetic.images)


def test_without_decay_the_average_is_the_set():
    states, _ = steps_of(quadratic(), outer_optimiser(optax.sgd(5.0)))
    assert_same_bits(states[-1].average, states[-1].synthetic)


def test_the_inner_state_advances_by_the_residual():
    states, metrics = steps_of(quadratic(), outer_optimiser(optax.sgd(5.0)))
    losses = [m["loss"] for m in metrics]
    np.testing.assert_allclose(states[-1].inner, np.sum(losses), rtol=1e-5)
    np.testing.assert_allclose(metrics[2]["seen"], np.sum(losses[:2]), rtol=1e-5)
    assert losses[0] > losses[1] > losses[2]


def held_out(synthetic) -> float:
    """The mean loss over experts and starts, at a key the run does not use."""
    method = trajectory_matching(
        tanh_network(), toy_experts(), unroll_steps=4, segments=8, seed=99
    )
    batch = method.source.feed(0)
    return float(jax.jit(method.loss)(synthetic, (), batch, KEY)[0])


def test_the_library_in_six_lines():
    pool, network = toy_pool(), tanh_network()
    method = trajectory_matching(network, toy_experts(), unroll_steps=4, segments=2)
    start = initial(pool, 1, jax.random.key(0), lr=0.1)
    run = lambda **more: distill(  # noqa: E731
        method, pool, ipc=1, steps=12, key=KEY, start=start, **more
    )
    found = run()
    assert found.images.shape == (3, 8, 8, 1)
    assert held_out(found) < 0.9 * held_out(start)
    np.testing.assert_array_equal(found.logits, start.logits)  # hard labels stay
    assert found.lr != start.lr
    averaged = run(average_decay=0.9)
    between = lambda a, b: np.linalg.norm(a.images - b.images)  # noqa: E731
    assert 0 < between(averaged, start) < between(found, start)
    assert np.isfinite(start.images).all()  # the caller's set is not donated


def test_the_default_start_follows_the_key():
    method = quadratic()
    sets = [
        distill(method, toy_pool(), ipc=2, steps=1, key=jax.random.key(k))
        for k in (0, 0, 1)
    ]
    assert sets[0].images.shape == (6, 8, 8, 1)
    np.testing.assert_allclose(sets[0].lr, 0.01, rtol=0.02)
    assert_same_bits(sets[0], sets[1])
    assert not np.array_equal(sets[0].images, sets[2].images)


@pytest.mark.parametrize("ipc", [0, 25])
def test_an_ipc_that_the_pool_cannot_serve(ipc):
    with pytest.raises(InputError, match=rf"^ipc={ipc} "):
        distill(quadratic(), toy_pool(), ipc=ipc, steps=1, key=KEY)


def test_devices_share_segments_evenly():
    method = trajectory_matching(
        tanh_network(), toy_experts(), unroll_steps=4, segments=3
    )
    with pytest.raises(InputError, match="=3 must be a multiple of 2 devices"):
        distill(method, toy_pool(), ipc=1, steps=1, key=KEY, mesh=make_mesh(2))


def test_a_start_tells_its_own_number_and_a_method_its_pool():
    method, start = quadratic(), initial(toy_pool(), 1, KEY)
    made = distill(method, toy_pool(), start=start, steps=1, key=KEY)
    assert len(made.images) == 3
    with pytest.raises(InputError, match="start holds 3 images where ipc=2 of 3"):
        distill(method, toy_pool(), ipc=2, start=start, steps=1, key=KEY)
    with pytest.raises(InputError, match="ipc is missing"):
        distill(method, toy_pool(), steps=1, key=KEY)


@pytest.mark.usefixtures("unchecked")
def test_counts_are_whole_and_the_network_is_of_the_pool():
    with pytest.raises(InputError, match=r"steps=1\.5 distils nothing"):
        distill(quadratic(), toy_pool(), ipc=1, steps=1.5, key=KEY)
    other = convnet((16, 16, 1), 3, width=4, depth=2)
    method = distribution_matching(other, classes=3, batch_real=4)
    with pytest.raises(InputError, match="does not fit the pool 'toy' of images"):
        distill(method, toy_pool(), ipc=1, steps=1, key=KEY)
