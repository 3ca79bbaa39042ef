"""Efficient medical distillation: importance maps and regions (Qin et al. 2021).

arXiv:2108.09987, sections III-B and III-C, as the authors' program has them. The sum
over both levels of

    importance   || A(s) - A(t) ||^2, A = vec(mean over channels of x^4) at unit length,
                 mean over images
    region       (cos(r0_s, r1_s) - cos(r0_t, r1_t))^2, r_k the mean of the features
                 over class k (masks by nearest neighbour), mean over images

Their third term is `logits`; their weights are 0.1, 0.9 and 0.9, after a supervised
loss of half focal, half Dice (`supervised.focal_dice`). Regions of more than two
classes: all pairs, which is ours.
"""

from itertools import combinations

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxdistill.segmentation.losses.attention import attention_map
from jaxdistill.segmentation.term import Features, Masks, Term, on_levels, regions
from jaxdistill.settings import declared
from jaxdistill.types import Scalar

POWER = 4


def importance_distance(
    student: Features, teacher: Float[Array, "n h w c2"], masks: Masks
) -> Scalar:
    """Squared distance of importance maps, mean over images."""
    del masks
    apart = attention_map(student, POWER) - attention_map(teacher, POWER)
    return jnp.square(apart).sum(axis=1).mean()


def region_distance(
    student: Features, teacher: Float[Array, "n h w c2"], masks: Masks, classes: int
) -> Scalar:
    """Squared difference of how alike regions are, mean over images and pairs."""
    here = regions(masks, classes)
    apart = _likeness(student, here) - _likeness(teacher, here)
    return jnp.square(apart).mean()


@declared("losses.importance")
def importance() -> Term:
    """Importance maps of both levels; see the head."""
    return on_levels(importance_distance)


@declared("losses.region")
def region(*, classes: int) -> Term:
    """Regions of both levels; see the head."""
    return on_levels(
        lambda student, teacher, masks: region_distance(
            student, teacher, masks, classes
        )
    )


def _likeness(features: Features, here: Float[Array, "n h w k"]) -> Array:
    """Cosines between the mean features of all pairs of regions: `n pairs`."""
    sums = jnp.einsum("nhwc,nhwk->nkc", features, here)
    # One pixel more in all but the background, as there: a region may be empty.
    extra = (jnp.arange(here.shape[-1]) > 0).astype(features.dtype)
    areas = here.sum((1, 2)) + extra[None]
    means = sums / jnp.maximum(areas, 1.0)[..., None]
    pairs = [
        optax.losses.cosine_similarity(means[:, a], means[:, b], epsilon=1e-8)
        for a, b in combinations(range(here.shape[-1]), 2)
    ]
    return jnp.stack(pairs, axis=1)
