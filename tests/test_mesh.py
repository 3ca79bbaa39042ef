"""One update on one device, by shard_map and by pmap; layouts and padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import ToyState, assert_close, toy_learner
from jax.sharding import PartitionSpec as P

from jaxdistill.engine.mesh import (
    AXIS,
    initialise,
    make_mesh,
    map_update,
    merge_leading,
    require_multiple,
    split_leading,
    spread,
)
from jaxdistill.errors import InputError, Trouble

STEPS = 3


def run(count, engine):
    """State and metrics after three steps in one call on `count` devices."""
    learner, mesh = toy_learner(), make_mesh(count)
    state = initialise(learner, jax.random.key(0), mesh)
    fed = np.linspace(-1, 1, STEPS * 8, dtype=np.float32).reshape(STEPS, 8)
    resident = jnp.asarray([0.5, 1.0, 2.0])
    update = map_update(learner, mesh, engine)
    return update(state, resident, fed, jnp.arange(STEPS), jax.random.key(1))


@pytest.mark.parametrize(
    ("count", "engine"), [(4, "shard_map"), (2, "shard_map"), (4, "pmap"), (1, "pmap")]
)
def test_any_devices_and_engine_equal_one_device(count, engine):
    state, metrics = run(1, "shard_map")
    assert state.own.shape == (8, 3)
    assert metrics["step"] == (1 + STEPS) / 2  # the mean over the call
    assert_close(run(count, engine), (state, metrics))


def test_a_state_is_laid_out_as_it_is_computed():
    mesh = make_mesh(4)
    state = initialise(toy_learner(), jax.random.key(0), mesh)
    assert state.own.sharding.spec == P(AXIS)
    assert {s.data.shape for s in state.own.addressable_shards} == {(2, 3)}
    assert state.total.sharding.is_fully_replicated
    assert len(state.total.sharding.device_set) == 4


def test_shard_map_keeps_the_layout_and_donates_the_old_state():
    learner, mesh = toy_learner(), make_mesh(4)
    state = initialise(learner, jax.random.key(0), mesh)
    update = map_update(learner, mesh)
    fed = np.zeros((1, 8), np.float32)
    new, _ = update(state, jnp.ones(3), fed, jnp.arange(1), jax.random.key(1))
    assert isinstance(new, ToyState)
    assert new.own.sharding.is_equivalent_to(state.own.sharding, 2)
    assert state.own.is_deleted()


@pytest.mark.parametrize("size", [1, 4, 5, 8])
def test_spread_pads_what_does_not_divide(size):
    stacked = jnp.arange(2.0 * size).reshape(size, 2)
    numbers = jnp.arange(size)

    def fn(shared, rows, numbers):
        assert rows.shape[0] == -(-size // 4)
        return {"out": rows * shared, "n": numbers}

    out = jax.jit(spread(fn, make_mesh(4)))(3.0, stacked, numbers)
    assert_close(out, {"out": 3.0 * stacked, "n": numbers})


def test_split_and_merge_undo_each_other():
    x = jnp.arange(24).reshape(2, 6, 2)
    parts = split_leading(x, 3, axis=1)
    assert parts.shape == (2, 3, 2, 2)
    np.testing.assert_array_equal(parts[:, 1], x[:, 2:4])
    np.testing.assert_array_equal(merge_leading(split_leading(x, 2)), x)


@pytest.mark.parametrize("count", [-1, 5])
def test_devices_that_are_not_there(count):
    with pytest.raises(InputError, match=rf"devices\.count={count} .* 4 device"):
        make_mesh(count)


def test_zero_means_every_device():
    assert make_mesh(0).size == 4


def test_an_uneven_share_is_refused():
    require_multiple("experts.count", 8, make_mesh(4))
    # Another machine may do: what a comparison records of it is not final.
    with pytest.raises(Trouble, match=r"experts\.count=6 must be a multiple of"):
        require_multiple("experts.count", 6, make_mesh(4))


def test_an_unknown_engine_is_refused():
    with pytest.raises(InputError, match=r"devices\.map='xmap'"):
        map_update(toy_learner(), make_mesh(1), "xmap")
