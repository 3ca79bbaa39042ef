"""Relational distillation: how the images of a batch lie to each other.

Park et al. 2019, arXiv:1904.05068, eq. 4 to 8. Each image is the mean of its high
level's features;

    distances   huber(|x_i - x_j| / mean) of student and teacher, over all pairs
    angles      huber(cos of the angle at j of i, j, k), over all triples

with weights 25 and 50 as in common programs.
"""

from functools import partial
from typing import Annotated

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxdistill.ranges import Weight
from jaxdistill.segmentation.term import Features, Masks, Term, on_levels
from jaxdistill.settings import declared
from jaxdistill.types import Scalar


def relation_distance(
    student: Features,
    teacher: Float[Array, "n h w c2"],
    masks: Masks,
    axis: str | None = None,
    distances: float = 25.0,
    angles: float = 50.0,
) -> Scalar:
    """Weighted Huber distances of pairwise distances and of angles."""
    del masks
    s, t = student.mean((1, 2)), teacher.mean((1, 2))
    if axis is not None:  # images of all devices
        s, t = (jax.lax.all_gather(x, axis, tiled=True) for x in (s, t))
    far = optax.losses.huber_loss(_distances(s), _distances(t)).mean()
    turned = optax.losses.huber_loss(_angles(s), _angles(t)).mean()
    return distances * far + angles * turned


@declared("losses.relational")
def relational(
    *,
    distances: Annotated[Weight, "of distances"] = 25.0,
    angles: Annotated[Weight, "of angles"] = 50.0,
) -> Term:
    """Relations between the images of a batch at the high level; see the head."""

    distance = partial(relation_distance, distances=distances, angles=angles)
    return on_levels(distance, levels=(1,), whole=True)


def _distances(x: Float[Array, "n c"]) -> Float[Array, "n n"]:
    """Distances in units of their mean over pairs of two."""
    square = jnp.square(x[:, None] - x[None]).sum(axis=-1)
    far = jnp.sqrt(jnp.maximum(square, 1e-12)) * (1.0 - jnp.eye(len(x)))
    mean = far.sum() / max(1, len(x) * (len(x) - 1))
    return far / jnp.maximum(mean, 1e-12)


def _angles(x: Float[Array, "n c"]) -> Float[Array, "n n n"]:
    """Cosine at j between the ways to i and to k."""
    ways = x[None] - x[:, None]  # from j to i
    square = jnp.square(ways).sum(axis=-1, keepdims=True)
    ways = ways * jax.lax.rsqrt(jnp.maximum(square, 1e-12))
    return jnp.einsum("jic,jkc->jik", ways, ways)
