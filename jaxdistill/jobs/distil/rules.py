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

from jaxdistill.distillation.distill import require_shared, require_step
from jaxdistill.distillation.experts import Experts
from jaxdistill.errors import InputError
from jaxdistill.jobs.judging.judge import Judge
from jaxdistill.jobs.settings.build import Given, build_method, build_policy
from jaxdistill.types import Network, Pool, Synthetic


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
    if config["mosaic"] > 1 and judge.pool.standard.whitening is not None:
        raise InputError(
            f"mosaic={config['mosaic']} cuts images in cells, and data.zca=true "
            "whitens whole ones: leave one of them out"
        )
    network, name = judge.network, config["method"]
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    nothing = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    experts = Experts(
        config["experts"]["count"],
        config["experts"]["epochs"],
        network.name,
        lambda expert, epoch: nothing,
    )
    given = Given(network, judge.pool, build_policy(config, judge.pool), experts)
    method = build_method(config, given)
    shared = "segments" if "segments" in config[name] else "nets"
    require_shared(method, mesh, f"{name}.{shared}")
    require_step(method, start, method.source.resident(judge.pool), judge.pool)
