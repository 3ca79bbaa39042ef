"""Gradients of a batch as means over parts of it that stay in a core's cache.

Between two convolutions a network only reads and writes activations. On a CPU those of
a whole batch go through main memory, those of a few images stay in the second-level
cache: an epoch of a ConvNet of width 32 in batches of 128 takes 0.7 of the time in
parts of 16, and a tenth of the memory (`benchmarks/microbatch.py`), more where other
work shares the memory's bandwidth. An accelerator takes the whole batch at once.

Parts have equal sizes, so that the mean of their means is the mean; only networks that
normalise over the batch are not the sum of their images, and are never divided.
"""

from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from jaxdistill.types import Network

CACHE = 5 * 2**19  # bytes of one activation; larger parts spill, smaller ones are slow
# Parts that are written out side by side: the element-wise work of one, on one core,
# then overlaps the products of another. A tenth of the time, for a longer compilation.
FEW = 5


@lru_cache(maxsize=256)
def microbatch(network: Network, image_shape: tuple[int, ...], batch: int) -> int:
    """How many images of a batch to run at once on this backend, a divisor of it."""
    if jax.default_backend() != "cpu" or mixes_images(network):
        return batch
    params = jax.eval_shape(network.init, jax.random.key(0))
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    jaxpr = jax.make_jaxpr(network.apply)(params, image)
    # Every part transforms the kernels of such convolutions anew: fewer parts then.
    limit = 2 * CACHE if "winograd_conv" in str(jaxpr) else CACHE
    fit = max(1, limit // _largest(jaxpr.jaxpr))
    return max(size for size in range(1, min(fit, batch) + 1) if batch % size == 0)


def mixes_images(network: Network) -> bool:
    """Whether an image's logits depend on the others of its batch, as by batch norm."""
    return "norm=batch" in network.name


def mean_over(fn: Callable[[PyTree], PyTree], parts: PyTree) -> PyTree:
    """The mean of `fn(part)` over the leading axis of `parts`, one after another."""
    count = jax.tree.leaves(parts)[0].shape[0]
    first = jax.tree.map(lambda x: x[0], parts)
    if count == 1:
        return fn(first)
    zero = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(fn, first)
    )

    def add(total: PyTree, part: PyTree) -> tuple[PyTree, None]:
        return jax.tree.map(jnp.add, total, fn(part)), None

    total, _ = jax.lax.scan(add, zero, parts, unroll=count <= FEW)
    return jax.tree.map(lambda x: x / count, total)


def _largest(jaxpr: Any) -> int:
    """Bytes of the largest array that a computation makes of one image."""
    sizes = [
        prod(out.aval.shape) * out.aval.dtype.itemsize
        for eqn in jaxpr.eqns
        for out in eqn.outvars
        if not jax.dtypes.issubdtype(out.aval.dtype, jax.dtypes.extended)
        # Parameters in another layout are not activations.
        and out.aval.shape[:1] == (1,)
    ]
    inner = [
        _largest(getattr(value, "jaxpr", value))
        for eqn in jaxpr.eqns
        for value in eqn.params.values()
        if hasattr(getattr(value, "jaxpr", value), "eqns")
    ]
    return max([1, *sizes, *inner])
