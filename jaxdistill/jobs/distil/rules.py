"""What a configuration must satisfy: all that can be told before anything is trained.

Rules of arrays and networks stand beside what they rule; a step is traced here on
experts that are only shapes, so that those rules speak before hours of training.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxdistill.distillation.experts import Experts
from jaxdistill.engine.mesh import ENGINES, require_multiple
from jaxdistill.engine.population import MODES
from jaxdistill.errors import InputError, require_name
from jaxdistill.jobs.judging.judge import Judge
from jaxdistill.jobs.settings.build import Given, build_method, build_policy
from jaxdistill.types import Network, Pool, Synthetic

SEEDS = 2**32


def require_plain(config: Mapping[str, Any]) -> None:
    """`InputError` for single values that no run can use."""
    seed, average, devices = config["seed"], config["average"], config["devices"]
    if not 0 <= seed < SEEDS:
        raise InputError(f"seed={seed} must be from 0 to {SEEDS - 1}: choose another")
    if not 0 <= average < 1:
        raise InputError(
            f"average={average} is a decay and must be at least 0 and below 1: 0 "
            "keeps no average, 0.999 is usual"
        )
    for key, known in (("map", ENGINES), ("population", MODES)):
        require_name(f"devices.{key}", devices[key], known)


def split_cpu(count: int) -> None:
    """Make a CPU look like `count` devices, 0 leaves it whole; before any computation.

    Raises `InputError` for a negative count, or where JAX has begun to compute.
    """
    if count < 0:
        raise InputError(f"devices.cpu={count} must be at least 0: 0 splits nothing")
    if not count:
        return
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError as error:
        raise InputError(
            f"devices.cpu={count} comes too late, as this process computes already: "
            "use a fresh process, or set devices.cpu to 0"
        ) from error


def require_runs(network: Network, pool: Pool) -> None:
    """`InputError` for a network that has no room in the pool's images."""
    image = jax.ShapeDtypeStruct((1, *pool.image_shape), jnp.float32)
    jax.eval_shape(
        network.apply, jax.eval_shape(network.init, jax.random.key(0)), image
    )


def require_method(
    config: Mapping[str, Any], judge: Judge, start: Synthetic, mesh: Mesh
) -> None:
    """`InputError` for a method that does not fit the set, the experts or the mesh."""
    if config["method"] == "trajectory":
        _require_trajectory(config["trajectory"], mesh)
    network, key = judge.network, jax.random.key(0)
    shapes = jax.eval_shape(network.init, key)
    nothing = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    experts = Experts(
        config["experts"]["count"],
        config["experts"]["epochs"],
        network.name,
        lambda expert, epoch: nothing,
    )
    given = Given(network, judge.pool, build_policy(config, judge.pool), experts)
    method = build_method(config, given)
    source = method.source
    batch = jax.eval_shape(
        source.draw, source.resident(judge.pool), source.feed(0), key
    )
    inner = jax.eval_shape(method.init, key)
    if method.population:
        size = jax.tree.leaves(inner)[0].shape[0]
        require_multiple(f"{config['method']}.nets", size, mesh)
    jax.eval_shape(method.loss, start, inner, batch, key)


def _require_trajectory(settings: Mapping[str, Any], mesh: Mesh) -> None:
    for key in ("unroll_steps", "expert_epochs", "segments"):
        if settings[key] < 1:
            raise InputError(f"trajectory.{key}={settings[key]} must be at least 1")
    for key in ("batch", "momentum", "threshold", "shape_weight", "grown_at"):
        if settings[key] < 0:
            raise InputError(f"trajectory.{key}={settings[key]} must be at least 0")
    require_multiple("trajectory.segments", settings["segments"], mesh)
