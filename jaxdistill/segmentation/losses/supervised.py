"""What every segmenter learns from masks: Dice and cross-entropy, or Dice and focal.

    dice_ce      mean cross-entropy + (1 - Dice), as nnU-Net (Isensee et al. 2021)
    focal_dice   half focal, half Dice of the foreground over the whole batch, as Qin et
                 al. 2021, arXiv:2108.09987

Dice is soft, of P and G the sums of probabilities and of the mask, I that of their
product, the background left out:

    dice_ce      (2 I + 2) / (P + G + 2) by image and class (`optax.losses.dice_loss`)
    focal_dice   (2 I + 1) / (P + G + 1) by class, over the batch

Ignored pixels count nowhere. `axis` names the mesh axis that the batch is divided over.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxdistill.segmentation.term import Masks, counted, regions, total
from jaxdistill.types import Scalar


def dice_ce(
    logits: Float[Array, "n h w k"], masks: Masks, axis: str | None = None
) -> Scalar:
    """Mean cross-entropy, and the mean over images and classes of 1 - Dice."""
    classes = logits.shape[-1]
    truth, here = regions(masks, classes), counted(masks)
    crossed = -(jax.nn.log_softmax(logits) * truth).sum(axis=-1)
    # An ignored pixel counts as background that is seen as such: no part of any class.
    sure = jnp.where(jnp.arange(classes) == 0, 1e4, 0.0).astype(logits.dtype)
    shown = jnp.where(here[..., None] > 0, logits, sure[None, None, None])
    dice = optax.losses.dice_loss(shown, truth, ignore_background=True, axis=(1, 2))
    crossed, pixels = total(jnp.stack([crossed.sum(), here.sum()]), axis)
    return crossed / jnp.maximum(pixels, 1.0) + dice.mean()


def focal_dice(
    logits: Float[Array, "n h w k"], masks: Masks, axis: str | None = None
) -> Scalar:
    """Half focal (gamma 2, its factor constant), half Dice over the whole batch."""
    classes = logits.shape[-1]
    truth, here = regions(masks, classes), counted(masks)
    p = jax.nn.softmax(logits)
    right = (p * truth).sum(axis=-1)
    crossed = -(jax.nn.log_softmax(logits) * truth).sum(axis=-1)
    focal = jax.lax.stop_gradient((1.0 - right) ** 2) * crossed
    p, truth = (p * here[..., None])[..., 1:], truth[..., 1:]
    both, sizes = (x.sum((0, 1, 2)) for x in (p * truth, p + truth))
    both, sizes = total(jnp.stack([both, sizes]), axis)
    dice = 1.0 - (2.0 * both + 1.0) / (sizes + 1.0)
    focal, pixels = total(jnp.stack([focal.sum(), here.sum()]), axis)
    return 0.5 * focal / jnp.maximum(pixels, 1.0) + 0.5 * dice.mean()


SUPERVISED: dict[str, Callable[[Array, Masks, str | None], Scalar]] = {
    "dice_ce": dice_ce,
    "focal_dice": focal_dice,
}
