"""Two views of every film that are compared by direction: what such pretexts share."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.selfsupervised.pretext import wide
from jaxdistill.types import Head, Params, Scalar

Pair = Float[Array, "2 n d"]
TINY = 1e-12  # no vector is divided by less


def by_view(
    head: Head, params: Params, seen: Float[Array, "v n d"], axis: str | None
) -> Float[Array, "v n k"]:
    """What a head makes of every view, each with the statistics of its own batch."""
    return jax.vmap(lambda view: head.apply(params, view, axis))(seen)


def across(one: Pair, other: Pair) -> Float[Array, "2 n"]:
    """Cosines of each view and the other one, of which nothing is learned."""
    return jnp.sum(unit(one) * unit(jax.lax.stop_gradient(other))[::-1], axis=-1)


def spread(seen: Float[Array, "v n d"], axis: str | None = None) -> Scalar:
    """How directions differ over the whole batch: 1 evenly, 0 where all are one."""
    directions = unit(jax.lax.stop_gradient(seen))
    mean, square = directions.mean(1), jnp.square(directions).mean(1)
    if axis is not None:
        mean, square = jax.lax.pmean((mean, square), axis)
    deviation = jnp.sqrt(jnp.maximum(square - jnp.square(mean), 0))
    return deviation.mean() * jnp.sqrt(seen.shape[-1])


def unit(x: Float[Array, "... d"]) -> Float[Array, "... d"]:
    """Vectors of length one, in float32 or longer."""
    x = wide(x)
    square = jnp.square(x).sum(-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(square, TINY**2))
