"""What holds for every method; another method is another line of `METHODS`."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import (
    CLASSES,
    assert_close,
    assert_same_bits,
    tanh_network,
    toy_experts,
    toy_pool,
    toy_synthetic,
)

from jaxdistill.distillation.distill import distilling, outer_optimiser
from jaxdistill.distillation.distillers import METHODS as REGISTRY
from jaxdistill.engine.driver import Plan, iterate
from jaxdistill.engine.mesh import initialise, make_mesh, shardings
from jaxdistill.errors import InputError
from jaxdistill.types import Method, Network, Synthetic


class Case(NamedTuple):
    """A method small enough to run op by op, and one whose batch four devices share.

    `order` is a permutation of the set that must not matter: within classes, where the
    method goes by them. `schedule` is that of the set's rates. `whole` methods show a
    network all classes at once.
    """

    method: str
    settings: dict = {}  # noqa: RUF012
    shared: dict = {"nets": 4}  # noqa: RUF012
    order: tuple[int, ...] = (1, 0, 3, 2, 5, 4)
    schedule: tuple[int, ...] = ()
    whole: bool = False

    def make(self, network: Network, **settings) -> Method:
        """By its line in the registry, given what its signature asks for."""
        experts = dataclasses.replace(toy_experts(), network=network.name)
        usual = {"network": network, "experts": experts, "classes": CLASSES}
        usual |= {"batch_real": 6}
        factory = REGISTRY[self.method]
        taken = inspect.signature(factory).parameters
        at_hand = {name: value for name, value in usual.items() if name in taken}
        return factory(**at_hand | self.settings | settings)


OLD = {"pool": 4, "max_age": 3, "ridge": 0.1}
METHODS = {
    "trajectory": Case(
        "trajectory",
        {"unroll_steps": 2},
        {"unroll_steps": 4, "segments": 4, "batch": 3},
        order=(3, 0, 5, 1, 4, 2),
        whole=True,
    ),
    "gradient": Case("gradient", {"outer_loops": 3, "inner_epochs": 1}),
    "distribution": Case("distribution"),
    "characteristic": Case("characteristic", {"frequencies": 32}),
    "soft_label": Case(
        "soft_label", order=(2, 1, 0, 5, 4, 3), schedule=(2, 2), whole=True
    ),
    "soft_label_pool": Case(
        "soft_label",
        {"start": "pool", "max_age": 3},
        order=(2, 1, 0, 5, 4, 3),
        schedule=(2, 2),
        whole=True,
    ),
    "kernel": Case("kernel", OLD, order=(3, 0, 5, 1, 4, 2)),
    "kernel_tangent": Case(
        "kernel", OLD | {"features": "tangent"}, order=(3, 0, 5, 1, 4, 2)
    ),
}
KEY = jax.random.key(8)


class Made(NamedTuple):
    """A case whose methods are made once: what is compiled for one serves all tests."""

    small: Callable[[], Method]
    shared: Callable[[], Method]
    order: tuple[int, ...]
    schedule: tuple[int, ...]


@pytest.fixture(scope="module", params=METHODS)
def case(request) -> Made:
    one, network = METHODS[request.param], tanh_network()
    small = functools.cache(lambda: one.make(network))
    shared = functools.cache(lambda: one.make(network, **one.shared))
    return Made(small, shared, one.order, one.schedule)


def test_every_method_of_the_registry_is_here():
    assert set(REGISTRY) == {one.method for one in METHODS.values()}


def first_set(schedule: tuple[int, ...]) -> Synthetic:
    """The toy set in the order of the classes, with rates by this schedule."""
    synthetic = toy_synthetic()
    order = np.array([0, 3, 1, 4, 2, 5])
    return synthetic._replace(
        images=synthetic.images[order],
        logits=synthetic.logits[order],
        raw_lr=jnp.full(schedule, synthetic.raw_lr),
    )


@pytest.fixture
def start(case) -> Synthetic:
    return first_set(case.schedule)


@functools.cache
def problem(method):
    """A state and a batch of the first step."""
    inner = method.init(jax.random.key(0))
    resident = method.source.resident(toy_pool())
    batch = method.source.draw(resident, method.source.feed(0), jax.random.key(1))
    return inner, batch


def op_by_op(method):
    return jax.value_and_grad(method.loss, has_aux=True)


@functools.cache
def compiled(method):
    return jax.jit(op_by_op(method))


def value_and_grad(method, synthetic, how=compiled):
    return how(method)(synthetic, *problem(method), KEY)


@pytest.mark.parametrize("name", METHODS)
def test_batch_norm_is_refused_where_classes_or_parts_are_seen_alone(name):
    one, network = METHODS[name], tanh_network()._replace(name="tanh,norm=batch")
    if one.whole:
        one.make(network)
        return
    refused = rf"norm=batch .* method={one.method},.* instance"
    with pytest.raises(InputError, match=refused):
        one.make(network)


def test_the_loss_is_a_finite_scalar_that_reaches_every_image(case, start):
    (value, matched), grads = value_and_grad(case.small(), start)
    assert value.shape == ()
    assert np.isfinite(value)
    assert matched.kept == 1
    assert all(np.shape(m) == () for m in matched.metrics.values())
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
    assert np.all(np.abs(grads.images).max(axis=(1, 2, 3)) > 0)


def test_the_order_of_the_set_does_not_matter(case, start):
    synthetic, order = start, np.array(case.order)
    shuffled = synthetic._replace(
        images=synthetic.images[order], logits=synthetic.logits[order]
    )
    (value, _), grads = value_and_grad(case.small(), synthetic)
    (other, _), moved = value_and_grad(case.small(), shuffled)
    assert np.abs(grads.images - grads.images[order]).max() > 1e-6
    np.testing.assert_allclose(other, value, rtol=1e-5)
    assert_close(moved.images, grads.images[order], rtol=1e-4, atol=1e-6)


def test_compiled_equals_op_by_op(case, start):
    method = case.small()
    with jax.disable_jit():
        eager = value_and_grad(method, start, op_by_op)
    assert_close(value_and_grad(method, start), eager, rtol=1e-4, atol=1e-6)


@functools.cache
def learner_of(method, schedule):
    optimiser = outer_optimiser(optax.adam(0.05), lr=optax.adam(0.05))
    return distilling(method, first_set(schedule), optimiser, average_decay=0.5)


@functools.cache
def states_of(method, schedule, count=1, engine="shard_map", after=0):
    """Every state from `after` to step 5, on the host, and the metrics of each step."""
    learner, mesh = learner_of(method, schedule), make_mesh(count)
    if after == 0:
        state = initialise(learner, jax.random.key(0), mesh)
    else:
        host = states_of(method, schedule, count, engine)[0][after - 1]
        state = jax.device_put(host, shardings(learner.sharded, host, mesh))
    run = iterate(
        learner,
        state,
        method.source.resident(toy_pool()),
        method.source.feed,
        KEY,
        plan=Plan(after, 5),
        mesh=mesh,
        engine=engine,
    )
    states, metrics = zip(
        *(jax.tree.map(np.asarray, (state, metrics)) for _, state, metrics in run),
        strict=True,
    )
    return states, metrics


def test_any_devices_and_engine_take_the_same_steps(case):
    method = case.shared()
    states, metrics = states_of(method, case.schedule)
    for engine in ("shard_map", "pmap"):
        ours, same = states_of(method, case.schedule, count=4, engine=engine)
        assert_close(ours[1].synthetic, states[1].synthetic, rtol=1e-3, atol=1e-4)
        assert_close(ours[1].inner, states[1].inner, rtol=1e-3, atol=1e-5)
        assert_close(same[1], metrics[1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("count", [1, 4])
def test_a_restart_gives_the_same_bits(case, count):
    method = case.shared()
    states, _ = states_of(method, case.schedule, count)
    again, _ = states_of(method, case.schedule, count, after=3)
    assert_same_bits(again[-1], states[-1])


def test_a_few_steps_lower_the_loss(case, start):
    method = case.shared()
    loss = jax.jit(
        lambda synthetic, inner, batch: method.loss(synthetic, inner, batch, KEY)[0]
    )
    states, _ = states_of(method, case.schedule)
    learned = jax.tree.map(jnp.asarray, states[-1].synthetic)
    before, after = (loss(s, *problem(method)) for s in (start, learned))
    assert after < before - 0.05 * abs(before)
