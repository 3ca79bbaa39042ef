"""One update, any number of devices: the only place that knows how work is mapped.

An update is written for one device, with collectives over a named axis. Here it is
mapped over a mesh by `jax.shard_map`, or by `jax.pmap` for those who ask for it. A
state outside this file always has its global shape, so that a run can change engine or
device count.
"""

from collections.abc import Callable
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import PyTree

from jaxdistill.errors import InputError, Trouble, require_name
from jaxdistill.types import Learner

AXIS = "nets"
ENGINES = ("shard_map", "pmap")


def split_cpu(count: int) -> None:
    """Make a CPU look like `count` devices, 0 leaves it whole; before any computation.

    Raises `InputError` where JAX has begun to compute.
    """
    if not count:
        return
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError as error:
        raise InputError(
            f"devices.cpu={count} comes too late, as this process computes already: "
            "use a fresh process, or set devices.cpu to 0"
        ) from error


def make_mesh(count: int = 0) -> Mesh:
    """A mesh over the first `count` devices, or over all of them for 0."""
    devices = jax.devices()
    if count < 0 or count > len(devices):
        raise InputError(
            f"devices.count={count} is not to be had: this machine has {len(devices)} "
            f"device(s); choose 0 for all, or 1 to {len(devices)}"
        )
    devices = devices[: count or len(devices)]
    # Explicit axes, the default of make_mesh, reject gathers on sharded arrays.
    return jax.make_mesh(
        (len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices
    )


def require_multiple(key: str, value: int, mesh: Mesh) -> None:
    """`Trouble` unless `value` divides evenly over the devices, which others may do."""
    if value % mesh.size:
        raise Trouble(
            f"{key}={value} must be a multiple of {mesh.size} devices: change it or "
            "set devices.count"
        )


def shardings(sharded: PyTree, like: PyTree, mesh: Mesh) -> PyTree:
    """A sharding for every leaf of `like`, from a prefix of True (split) and False."""
    return jax.tree.map(
        lambda split, part: jax.tree.map(
            lambda _: NamedSharding(mesh, P(AXIS) if split else P()), part
        ),
        sharded,
        like,
    )


def initialise(learner: Learner, key: jax.Array, mesh: Mesh) -> PyTree:
    """A fresh state, laid out over the mesh as it is computed."""
    like = jax.eval_shape(learner.init, key)
    out = shardings(learner.sharded, like, mesh)
    return jax.jit(learner.init, out_shardings=out)(key)


def map_update(learner: Learner, mesh: Mesh, engine: str = "shard_map") -> Callable:
    """`(state, resident, fed, steps, key) -> (state, mean metrics)` over several steps.

    `fed` has a leading axis of steps and a second one that is split over the devices;
    all the steps run in one compiled call. The old state is donated. The same update,
    again, is what was compiled before: another state or other data are no new program.
    """
    require_name("devices.map", engine, ENGINES)
    return _mapped(learner.update, learner.sharded, mesh, engine)


@lru_cache(maxsize=8)
def _mapped(update: Callable, sharded: PyTree, mesh: Mesh, engine: str) -> Callable:
    axis = AXIS if mesh.size > 1 or engine == "pmap" else None

    def several(state, resident, fed, steps, key):
        def body(state, item):
            _, now = item
            return update(state, resident, now, key, axis)

        state, metrics = jax.lax.scan(body, state, (steps, fed))
        # A mean shows the trend of a noisy loss, and a NaN of any step.
        return state, jax.tree.map(lambda x: x.mean(axis=0), metrics)

    mapper = {"shard_map": _by_shard_map, "pmap": _by_pmap}[engine]
    return mapper(several, sharded, mesh)


def _by_shard_map(several: Callable, sharded: PyTree, mesh: Mesh) -> Callable:
    spec = jax.tree.map(lambda split: P(AXIS) if split else P(), sharded)
    # check_vma=False: gradients stay local to the device, as under pmap, so that the
    # one pmean in the update is right in both; the default would sum them a second
    # time.
    mapped = jax.shard_map(
        several,
        mesh=mesh,
        in_specs=(spec, P(), P(None, AXIS), P(), P()),
        out_specs=(spec, P()),
        check_vma=False,
    )
    return jax.jit(mapped, donate_argnums=0)


def _by_pmap(several: Callable, sharded: PyTree, mesh: Mesh) -> Callable:
    devices = list(mesh.devices.flat)
    axes = jax.tree.map(lambda split: 0 if split else None, sharded)
    mapped = jax.pmap(
        several,
        axis_name=AXIS,
        in_axes=(axes, None, 1, None, None),
        out_axes=(axes, None),
        devices=devices,
    )

    def call(state, resident, fed, steps, key):
        state = _on_prefix(sharded, lambda x: split_leading(x, mesh.size), state)
        fed = jax.tree.map(lambda x: split_leading(x, mesh.size, axis=1), fed)
        state, metrics = mapped(state, resident, fed, steps, key)
        return _on_prefix(sharded, merge_leading, state), metrics

    return call


def spread(fn: Callable, mesh: Mesh) -> Callable:
    """`(shared, *stacked) -> fn(shared, *stacked)`, the stack divided over the devices.

    `fn` maps over the first axis itself. A stack that does not divide is padded with
    its first entries, whose extra results are dropped.
    """

    def call(shared: PyTree, *stacked: PyTree) -> PyTree:
        if mesh.size == 1:
            return fn(shared, *stacked)
        size = jax.tree.leaves(stacked)[0].shape[0]
        short = -size % mesh.size
        rows = jnp.arange(size + short) % size
        padded = jax.tree.map(lambda x: x[rows], stacked)
        specs = (P(), *(P(AXIS) for _ in stacked))
        mapped = jax.shard_map(
            fn, mesh=mesh, in_specs=specs, out_specs=P(AXIS), check_vma=False
        )
        return jax.tree.map(lambda x: x[:size], mapped(shared, *padded))

    return call


def split_leading(
    x: jax.Array | np.ndarray, parts: int, axis: int = 0
) -> jax.Array | np.ndarray:
    """`[.., n, ..] -> [.., parts, n / parts, ..]` at `axis`."""
    shape = x.shape
    return x.reshape(*shape[:axis], parts, shape[axis] // parts, *shape[axis + 1 :])


def merge_leading(x: jax.Array) -> jax.Array:
    """`[parts, n, ..] -> [parts * n, ..]`."""
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def _on_prefix(sharded: PyTree, change: Callable, state: PyTree) -> PyTree:
    return jax.tree.map(
        lambda split, part: jax.tree.map(change, part) if split else part,
        sharded,
        state,
    )
