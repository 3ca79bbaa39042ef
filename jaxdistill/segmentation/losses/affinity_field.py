r"""Adaptive affinity fields: neighbours agree or differ (Ke et al. 2018).

arXiv:1803.10335, eq. 6 to 10, as the authors' program has them. Pixel i is paired with
the eight neighbours j at offsets of exactly k, for k = 1, 2, 3. For class c, with
probabilities clipped to [1e-4, 1],

    KL_ijc = p_jc log(p_jc / p_ic) + (1 - p_jc) log((1 - p_jc) / (1 - p_ic))

and a pair is an edge in c where exactly one of its labels is c:

    L = 10^-progress sum_k [ mean over edges     w_e[y_i, k] max(0, 3 - KL)
                           + mean over non-edges w_n[y_i, k] KL ]

w are softmaxes over k, for each class, of variables that ascend. Pairs with a pixel
ignored or outside are left out. `edges` says who labels: the truth, or the teacher (the
`field` mode of the reconstructed arXiv:2404.02738).
"""

from itertools import product
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.ranges import OneOf, Positive
from jaxdistill.segmentation.term import (
    Lesson,
    Masks,
    Outputs,
    Term,
    ascended,
    mean_logits,
    regions,
    total,
)
from jaxdistill.settings import declared
from jaxdistill.types import IGNORED, Params, PRNGKey, Scalar

SIZES = (1, 2, 3)
LEAST = 1e-4
LABELLERS = ("truth", "teacher")


class FieldWeights(NamedTuple):
    """Of pairs that are edges and pairs that are not, before the softmax over sizes."""

    edge: Float[Array, "k sizes"]
    flat: Float[Array, "k sizes"]


def field_loss(
    logits: Float[Array, "n h w k"],
    masks: Masks,
    weights: FieldWeights,
    axis: str | None = None,
    margin: float = 3.0,
) -> Scalar:
    """The sum over sizes, without the factor of the progress."""
    p = jnp.clip(jax.nn.softmax(logits), LEAST, 1.0)
    maps = (p, regions(masks, logits.shape[-1]).astype(p.dtype), masks != IGNORED)
    # What lies outside is not known, so that all offsets see maps of one shape.
    around = ((0, 0), (SIZES[-1], SIZES[-1]), (SIZES[-1], SIZES[-1]))
    padded = [jnp.pad(x, (*around, (0, 0))[: x.ndim]) for x in maps]
    by_edge, by_flat = (jax.nn.softmax(w, axis=1) for w in weights)

    @jax.checkpoint  # recomputed for the derivative: 24 sets of maps are not kept
    def pairs(offset, size):
        there = [
            jax.lax.dynamic_slice(
                x, (0, *(offset + SIZES[-1]), 0)[: x.ndim], (*here.shape,)
            )
            for x, here in zip(padded, maps, strict=True)
        ]
        return _pairs(maps, there, (by_edge[:, size], by_flat[:, size]), margin)

    offsets = [
        tuple(k * step for step in way)
        for k in SIZES
        for way in product((-1, 0, 1), repeat=2)
        if any(way)
    ]
    which = jnp.arange(len(offsets)) // (len(offsets) // len(SIZES))
    found = jax.lax.map(lambda x: pairs(*x), (jnp.array(offsets), which))
    found = total(found, axis)
    edge, edges, flat, flats = found.reshape(len(SIZES), -1, 4).sum(axis=1).T
    means = edge / jnp.maximum(edges, 1.0) + flat / jnp.maximum(flats, 1.0)
    return means.sum()


@declared("losses.field")
def affinity_field(
    *,
    classes: int,
    edges: Annotated[str, OneOf(LABELLERS), "who says where they are"] = "truth",
    margin: Annotated[Positive, "of divergence across an edge"] = 3.0,
) -> Term:
    """Adaptive affinity fields of the student's probabilities; see the head."""

    def init(key: PRNGKey, student: Outputs, teacher: Outputs) -> Params:
        del key, student, teacher
        start = jnp.zeros((classes, len(SIZES)))
        return FieldWeights(start, start)

    def value(params: Params, student: Outputs, lesson: Lesson) -> Scalar:
        masks = lesson.masks
        if edges == "teacher":
            told = mean_logits(lesson).argmax(axis=-1).astype(masks.dtype)
            masks = jnp.where(masks == IGNORED, masks, told)
        moved = FieldWeights(*map(ascended, params))
        loss = field_loss(student.logits, masks, moved, lesson.axis, margin)
        return 10.0**-lesson.progress * loss

    return Term(init, value)


def _pairs(here, there, weights, margin) -> Float[Array, " 4"]:
    """Weighted sums and counts over the pairs at one offset: edges, then the rest."""
    (p_i, y_i, known_i), (p_j, y_j, known_j) = here, there
    known = (known_i & known_j)[..., None]
    edge = known & (y_i != y_j)
    flat = known & (y_i == y_j)
    q_i, q_j = (jnp.clip(1.0 - x, LEAST, 1.0) for x in (p_i, p_j))
    p_j = jnp.maximum(p_j, LEAST)  # zeros of the padding have no logarithm
    divergence = p_j * jnp.log(p_j / p_i) + q_j * jnp.log(q_j / q_i)
    w_edge, w_flat = ((y_i @ w)[..., None] for w in weights)  # by the centre's label
    parts = (
        jnp.where(edge, w_edge * jnp.maximum(0.0, margin - divergence), 0.0),
        edge,
        jnp.where(flat, w_flat * divergence, 0.0),
        flat,
    )
    return jnp.stack([part.sum(dtype=p_i.dtype) for part in parts])
