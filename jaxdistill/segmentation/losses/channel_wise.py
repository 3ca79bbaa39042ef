"""Channel-wise distillation: where each channel looks (Shu et al. 2021).

arXiv:2011.13256, eq. 2 and 3. With p = softmax over the pixels of x / tau, for every
image and channel,

    L = tau^2 / (B C) sum of KL(p_t || p_s)

on the logits, or on the feature maps of the high level, through a 1 x 1 adapter where
channels differ.
"""

from typing import Annotated

import jax
import optax

from jaxdistill.ranges import OneOf, Positive
from jaxdistill.segmentation.term import Features, Masks, Term, on_levels, on_logits
from jaxdistill.settings import declared
from jaxdistill.types import Scalar

PLACES = ("logits", "features")


def channel_divergence(
    student: Features, teacher: Features, masks: Masks, temperature: float = 1.0
) -> Scalar:
    """`tau^2 KL` of where channels look, mean over images and channels."""
    del masks

    def looks(x):
        n, h, w, c = x.shape
        return jax.nn.log_softmax(x.reshape(n, h * w, c) / temperature, axis=1)

    divergence = optax.losses.kl_divergence_with_log_targets(
        looks(student), looks(teacher), axis=1
    )
    return temperature**2 * divergence.mean()


@declared("losses.channel_wise")
def channel_wise(
    *,
    at: Annotated[str, OneOf(PLACES), "what it compares"] = "logits",
    temperature: Annotated[Positive, "tau; the authors' program has 1"] = 1.0,
) -> Term:
    """Channel-wise distillation; see the head."""

    def distance(student: Features, teacher: Features, masks: Masks) -> Scalar:
        return channel_divergence(student, teacher, masks, temperature)

    if at == "logits":
        return on_logits(distance)
    return on_levels(distance, adapt=True, levels=(1,))
