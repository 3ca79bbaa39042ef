r"""Kernel matrix: which channels, or pixels, of a feature map go together.

The "KMM" of Loussaief et al. 2024, arXiv:2404.02738; a reconstruction, as only its
abstract was available; the Gram matrix is that of Gatys et al. 2016. With F the N x C
features of an image,

    channel   G = F^T F / (N C),       L = sum over levels of || G_s - G_t ||^2
    pixel     G = F F^T / N, rows of F at unit length: needs no adapter, and no N x N
              matrix either (`affinity.affinity_distance`)
"""

from typing import Annotated

import jax.numpy as jnp

from jaxdistill.ranges import OneOf
from jaxdistill.segmentation.losses.affinity import EXACT, affinity_distance
from jaxdistill.segmentation.term import Features, Masks, Term, on_levels
from jaxdistill.settings import declared
from jaxdistill.types import Scalar

KERNELS = ("channel", "pixel")


def gram_distance(student: Features, teacher: Features, masks: Masks) -> Scalar:
    """Squared Frobenius distance of the channels' Gram matrices, mean over images."""
    del masks
    apart = _gram(student) - _gram(teacher)
    return jnp.square(apart).sum((1, 2)).mean()


@declared("losses.gram")
def gram(
    *, kernel: Annotated[str, OneOf(KERNELS), "what goes together"] = "channel"
) -> Term:
    """The kernel matrix of both levels; see the head."""
    if kernel == "pixel":
        return on_levels(affinity_distance)
    return on_levels(gram_distance, adapt=True)


def _gram(features: Features):
    n, h, w, c = features.shape
    rows = features.reshape(n, h * w, c)
    return jnp.einsum("npc,npd->ncd", rows, rows, precision=EXACT) / (h * w * c)
