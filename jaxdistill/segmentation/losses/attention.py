"""Attention transfer: where a layer is active (Zagoruyko and Komodakis 2017).

arXiv:1612.03928, section 3.1. With Q = vec(mean over channels of F^2) / || . || of an
image,

    code    mean over images and pixels of (Q_s - Q_t)^2, as the authors' program has it
    paper   sum over images of || Q_s - Q_t ||, as eq. 2 has it (a factor aside)
"""

from typing import Annotated

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.ranges import OneOf
from jaxdistill.segmentation.term import Features, Masks, Term, on_levels, total
from jaxdistill.settings import declared
from jaxdistill.types import Scalar

FORMS = ("code", "paper")


def attention_distance(
    student: Features, teacher: Float[Array, "n h w c2"], masks: Masks
) -> Scalar:
    """The form of the authors' program."""
    del masks
    return jnp.square(attention_map(student) - attention_map(teacher)).mean()


def attention_norm(
    student: Features,
    teacher: Float[Array, "n h w c2"],
    masks: Masks,
    axis: str | None = None,
) -> Scalar:
    """The form of the paper; `axis` names the mesh axis that divides the batch."""
    del masks
    apart = attention_map(student) - attention_map(teacher)
    square = jnp.square(apart).sum(axis=1)
    return total(jnp.sqrt(jnp.maximum(square, 1e-12)).sum(), axis)


def attention_map(features: Features, power: int = 2) -> Float[Array, "n p"]:
    """`vec(mean over channels of F^power)` at unit length."""
    activity = (features**power).mean(axis=-1).reshape(len(features), -1)
    square = jnp.square(activity).sum(axis=1, keepdims=True)
    return activity * jax.lax.rsqrt(jnp.maximum(square, 1e-24))


@declared("losses.attention")
def attention(
    *, form: Annotated[str, OneOf(FORMS), "the program's, or the paper's"] = "code"
) -> Term:
    """Attention transfer at both levels; see the head."""
    if form == "code":
        return on_levels(attention_distance)
    return on_levels(attention_norm, whole=True)
