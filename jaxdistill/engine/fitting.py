"""Whether what a caller brings belongs together: networks, sets, splits and pools."""

import jax
import jax.numpy as jnp

from jaxdistill.errors import InputError
from jaxdistill.types import Network, Split, Synthetic

Shape = tuple[int, ...]


def require_network(network: Network, shape: Shape, classes: int, said: str) -> None:
    """`InputError` unless a network takes such images and tells so many classes apart.

    `said` is where the images come from. Nothing is computed.
    """
    like = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    try:
        params = jax.eval_shape(network.init, jax.random.key(0))
        found = jax.eval_shape(network.apply, params, like).shape[-1]
    except Exception as error:  # of the network's own making, of any kind
        raise InputError(
            f"the network {network.name} does not take images of shape {shape}, which "
            f"those of {said} have: build it for them"
        ) from error
    if found != classes:
        raise InputError(
            f"the network {network.name} tells {found} classes apart, but {said} has "
            f"{classes}: build it for as many"
        )


def require_split(split: Split, said: str) -> None:
    """`InputError` for a split without an image, or with labels for only some.

    So it does for pixels that are not bytes: they would be standardised as if they
    were.
    """
    images, labels = split.images.shape, split.labels.shape
    if len(images) != 4 or not images[0] or labels != images[:1]:
        raise InputError(
            f"{said} has images of shape {images} and labels of shape {labels}; there "
            "must be some of (count, height, width, channels), and one label for each"
        )
    if split.images.dtype != jnp.uint8:
        raise InputError(
            f"{said} has images of {split.images.dtype}; pixels of a split are uint8 "
            "from 0 to 255, and standardised where they are used: make it with "
            "jaxdistill.data.make_pool"
        )
    if not jnp.issubdtype(split.labels.dtype, jnp.integer):
        raise InputError(
            f"{said} has labels of {split.labels.dtype}; they must be whole numbers, "
            "from 0"
        )


def require_set(
    synthetic: Synthetic, shape: Shape, classes: int | None, said: str
) -> None:
    """`InputError` for a distilled set that is none, or of other images or classes."""
    images, logits = synthetic.images.shape, synthetic.logits.shape
    if len(images) != 4 or not images[0] or len(logits) != 2 or logits[0] != images[0]:
        raise InputError(
            f"the distilled set has images of shape {images} and logits of shape "
            f"{logits}; there must be some of (count, height, width, channels), and a "
            "row of logits for each"
        )
    if images[1:] != shape:
        raise InputError(
            f"the distilled set has images of shape {images[1:]}, those of {said} have "
            f"{shape}: use the data it was distilled from"
        )
    if classes is not None and logits[1] != classes:
        raise InputError(
            f"the distilled set tells {logits[1]} classes apart, but {said} has "
            f"{classes}: use the data it was distilled from"
        )
