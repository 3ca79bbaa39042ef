"""The loop: who is called when, and that stopping anywhere changes no bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_same_bits, toy_learner

from jaxdistill.engine.driver import Plan, iterate
from jaxdistill.engine.mesh import initialise, make_mesh

RESIDENT = jnp.asarray([0.5, 1.0, 2.0])
KEY = jax.random.key(1)


def feed(step):
    return np.sin(np.arange(8, dtype=np.float32) + step)


def fresh(count):
    mesh = make_mesh(count)
    return mesh, initialise(toy_learner(), jax.random.key(0), mesh)


def run(state, plan, mesh, engine="shard_map"):
    """Every `(step, state on the host, metrics)`."""
    steps = iterate(
        toy_learner(), state, RESIDENT, feed, KEY, plan=plan, mesh=mesh, engine=engine
    )
    return [(step, jax.tree.map(np.asarray, s), m) for step, s, m in steps]


@pytest.mark.parametrize("engine", ["shard_map", "pmap"])
@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("per_call", [1, 2])
def test_stopping_after_any_call_and_going_on_gives_the_same_bits(
    per_call, count, engine
):
    mesh, state = fresh(count)
    whole = run(state, Plan(0, 5, per_call), mesh, engine)
    for step, kept, _ in whole[1:-1]:
        again = run(kept, Plan(step, 5, per_call), mesh, engine)
        assert_same_bits(again[-1], whole[-1])


def test_calls_end_at_multiples_of_steps_per_call():
    mesh, state = fresh(1)
    assert [step for step, _, _ in run(state, Plan(0, 7, 3), mesh)] == [3, 6, 7]
    assert [step for step, _, _ in run(fresh(1)[1], Plan(2, 7, 3), mesh)] == [3, 6, 7]


def test_steps_in_one_call_equal_steps_one_by_one():
    mesh, state = fresh(1)
    single = run(state, Plan(0, 4, 1), mesh)
    double = run(fresh(1)[1], Plan(0, 4, 2), mesh)
    pairs = zip(single[::2], single[1::2], double, strict=True)
    for before, one, two in pairs:
        # A call's metrics are the means over its steps.
        means = jax.tree.map(lambda a, b: (a + b) / 2, before[2], one[2])
        assert one[0] == two[0]
        for a, b in zip(
            jax.tree.leaves((one[1], means)), jax.tree.leaves(two[1:]), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_every_step_is_fed_once_in_order_and_not_ahead():
    mesh, state = fresh(1)
    fed = []

    def recorded(step):
        fed.append(step)
        return feed(step)

    plan = Plan(1, 6, 2)
    for step, _, _ in iterate(
        toy_learner(), state, RESIDENT, recorded, KEY, plan=plan, mesh=mesh
    ):
        assert fed == list(range(1, step))
    assert fed == [1, 2, 3, 4, 5]


def test_nothing_to_do_yields_nothing():
    mesh, state = fresh(1)
    assert run(state, Plan(5, 5), mesh) == []
