r"""Adaptive affinity: which pixels resemble each other, within classes and across them.

Loussaief et al. 2024, arXiv:2404.02738; a reconstruction, as the paper's text was not
available: only its abstract is. With s_i, t_i the feature vectors of pixel i at unit
length, N pixels in an image and y_i their classes,

    E_same  = sum_{y_i = y_j}  (s_i . s_j - t_i . t_j)^2 / #{y_i = y_j}
    E_other = sum_{y_i /= y_j} (s_i . s_j - t_i . t_j)^2 / #{y_i /= y_j}
    L = w_1 E_same + w_2 E_other,   w = softmax(u), u moved by gradient ascent

The N x N affinities are never built. With S, R the N x C matrices of a class's rows,

    || S S^T - R R^T ||^2 = || S^T S ||^2 + || R^T R ||^2 - 2 || S^T R ||^2

(Frobenius), which takes N C^2 products and C^2 numbers, holds for any numbers of
channels, and summed over classes gives the pairs of equal class exactly. Pairs of two
classes k and l come from the products of both, <X, Y> the sum of X * Y:

    2 (< S_k^T S_k, S_l^T S_l > + < R_k^T R_k, R_l^T R_l > - 2 < S_k^T R_k, S_l^T R_l >)

and not as all pairs less those of one class: of a small class a float32 keeps nothing.
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.ranges import OneOf
from jaxdistill.segmentation.term import (
    Features,
    Lesson,
    Masks,
    Outputs,
    Term,
    ascended,
    counted,
    masks_at,
    regions,
    resize,
    unit,
)
from jaxdistill.settings import declared
from jaxdistill.types import Params, PRNGKey, Scalar

WEIGHTS = ("ascent", "fixed")
EXACT = jax.lax.Precision.HIGHEST  # three terms cancel where student and teacher agree


class Energies(NamedTuple):
    """Mean squared differences of affinities, over pairs of one class and of two."""

    same: Float[Array, " n"]
    other: Float[Array, " n"]


def affinity_energies(
    student: Features, teacher: Float[Array, "n h w c2"], masks: Masks, classes: int
) -> Energies:
    """E_same and E_other of every image, exactly, in O(h w c^2) (see the head).

    Ignored pixels are in no pair. A kind of pair that an image lacks counts 0.
    """
    here = regions(masks, classes).reshape(len(masks), -1, classes)
    s, t = (unit(x).reshape(len(masks), -1, x.shape[-1]) for x in (student, teacher))
    # A pixel is in one class: the products of all pixels are the sum over classes.
    grams = [
        _grams(s * here[..., k : k + 1], t * here[..., k : k + 1])
        for k in range(classes)
    ]
    same, before = _distance(grams[0], grams[0]), grams[0]
    other = jnp.zeros_like(same)
    for gram in grams[1:]:
        same += _distance(gram, gram)
        other += 2.0 * _distance(gram, before)
        before = jax.tree.map(jnp.add, before, gram)
    counts = here.sum(axis=1)
    pairs, inside = counts.sum(axis=1) ** 2, (counts**2).sum(axis=1)
    return Energies(_mean(same, inside), _mean(other, pairs - inside))


def affinity_distance(
    student: Features, teacher: Float[Array, "n h w c2"], masks: Masks
) -> Scalar:
    """Mean over images and all pairs of pixels of `(s_i . s_j - t_i . t_j)^2`."""
    here = counted(masks).reshape(len(masks), -1, 1)
    s, t = (unit(x).reshape(len(masks), -1, x.shape[-1]) for x in (student, teacher))
    gram = _grams(s * here, t * here)
    return _mean(_distance(gram, gram), here.sum((1, 2)) ** 2).mean()


@declared("losses.affinity")
def affinity(
    *,
    classes: int,
    weights: Annotated[
        str, OneOf(WEIGHTS), "of same and other classes: moved by ascent, or 1/2 each"
    ] = "ascent",
) -> Term:
    """The adaptive affinity term of both levels; see the head."""

    def init(key: PRNGKey, student: Outputs, teacher: Outputs) -> Params:
        del key
        return jnp.zeros((len(student.levels), 2)) if weights == "ascent" else ()

    def value(params: Params, student: Outputs, lesson: Lesson) -> Scalar:
        assert lesson.teachers is not None
        total = jnp.zeros(())
        for level, mine in enumerate(student.levels):
            w = jnp.full((2,), 0.5)
            if weights == "ascent":
                w = jax.nn.softmax(ascended(params[level]))
            for theirs in lesson.teachers.levels[level]:
                size = theirs.shape[1:3]
                masks = masks_at(lesson.masks, size)
                found = affinity_energies(resize(mine, size), theirs, masks, classes)
                both = w[0] * found.same + w[1] * found.other
                total += both.mean() / len(lesson.teachers.levels[level])
        return total

    return Term(init, value)


class _Grams(NamedTuple):
    student: Float[Array, "n c c"]
    teacher: Float[Array, "n c2 c2"]
    between: Float[Array, "n c c2"]


def _grams(s: Array, t: Array) -> _Grams:
    def product(a, b):
        return jnp.einsum("npc,npd->ncd", a, b, precision=EXACT)

    return _Grams(product(s, s), product(t, t), product(s, t))


def _distance(some: _Grams, others: _Grams) -> Float[Array, " n"]:
    """The squared differences, over pairs of a pixel of `some` and one of `others`."""
    products = ((a * b).sum((1, 2)) for a, b in zip(some, others, strict=True))
    mine, theirs, between = products
    return jnp.maximum(mine + theirs - 2.0 * between, 0.0)  # below by rounding alone


def _mean(total: Array, count: Array) -> Array:
    return total / jnp.maximum(count, 1.0)
