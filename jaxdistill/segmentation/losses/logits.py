"""What the teacher thinks of every pixel: the oldest distillation loss.

Hinton, Vinyals and Dean 2015, arXiv:1503.02531, eq. 4, over the pixels of an image (the
"LM" of arXiv:2404.02738, the "PMD" of Qin et al. 2021, arXiv:2108.09987):

    L = T^2 mean over pixels of KL(softmax(t / T) || softmax(s / T))
"""

from functools import partial
from typing import Annotated

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxdistill.ranges import Positive
from jaxdistill.segmentation.term import Masks, Term, counted, on_logits, total
from jaxdistill.settings import declared
from jaxdistill.types import Scalar


def pixel_divergence(
    student: Float[Array, "n h w k"],
    teacher: Float[Array, "n h w k"],
    masks: Masks,
    axis: str | None = None,
    temperature: float = 4.0,
) -> Scalar:
    """`T^2 KL` over the pixels that count."""
    divergence = optax.losses.kl_divergence_with_log_targets(
        jax.nn.log_softmax(student / temperature),
        jax.nn.log_softmax(teacher / temperature),
    )
    here = counted(masks)
    told, pixels = total(jnp.stack([(divergence * here).sum(), here.sum()]), axis)
    return temperature**2 * told / jnp.maximum(pixels, 1.0)


@declared("losses.logits")
def logits(
    *, temperature: Annotated[Positive, "T, softens what both say"] = 4.0
) -> Term:
    """Pixel logits; see the head."""
    distance = partial(pixel_divergence, temperature=temperature)
    return on_logits(distance, whole=True)
