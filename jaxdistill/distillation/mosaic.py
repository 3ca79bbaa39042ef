"""Multi-formation: one stored image as a mosaic of smaller ones. Kim et al., ICML 2022
(IDC), arXiv:2205.14959, section 4.

    decode(x) = the factor x factor cells of x, each enlarged to full size (bilinear)

A stored image trains as factor^2 images, in exchange for their detail: compare sets by
bytes. It is a change of variables, so that every method works on it as it is.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.errors import InputError
from jaxdistill.types import Method, Synthetic


def require_factor(factor: int, image_shape: tuple[int, ...]) -> None:
    """`InputError` unless the factor divides height and width."""
    h, w = image_shape[:2]
    if factor < 1 or h % factor or w % factor:
        raise InputError(
            f"mosaic={factor} must be 1 or more and divide the image size {h} x {w}: "
            "choose a divisor"
        )


def decode_images(
    images: Float[Array, "m h w c"], factor: int
) -> Float[Array, "n h w c"]:
    """The cells of every mosaic at full size, those of one mosaic together."""
    m, h, w, c = images.shape
    require_factor(factor, (h, w))
    if factor == 1:
        return images
    cells = images.reshape(m, factor, h // factor, factor, w // factor, c)
    cells = cells.transpose(0, 1, 3, 2, 4, 5).reshape(-1, *cells.shape[2::2], c)
    return jax.image.resize(cells, (len(cells), h, w, c), "bilinear")


def encode_images(
    images: Float[Array, "n h w c"], factor: int
) -> Float[Array, "m h w c"]:
    """Mosaics of full-size images; factor^2 of them in each.

    They are shrunk to the pixel next above and to the left of each place (nearest
    neighbour as in IDC's and NCFM's programs), which keeps their contrast.
    """
    _, h, w, c = images.shape
    require_factor(factor, (h, w))
    cells = images[:, ::factor, ::factor]
    rows = cells.reshape(-1, factor, factor, *cells.shape[1:])
    return rows.transpose(0, 1, 3, 2, 4, 5).reshape(-1, h, w, c)


def decode(synthetic: Synthetic, factor: int) -> Synthetic:
    """The set as networks see it; every cell has its mosaic's label."""
    return synthetic._replace(
        images=decode_images(synthetic.images, factor),
        logits=jnp.repeat(synthetic.logits, factor**2, axis=0),
    )


def multi_formation(method: Method, factor: int) -> Method:
    """The method on mosaics: the same losses of the decoded set.

    Raises `InputError` for a factor below 1.
    """
    if factor < 1:
        raise InputError(f"mosaic={factor} must be 1 or more: 1 is none")
    if factor == 1:
        return method

    def loss(synthetic, inner, batch, key):
        return method.loss(decode(synthetic, factor), inner, batch, key)

    def advance(inner, residual, synthetic, batch, key):
        return method.advance(inner, residual, decode(synthetic, factor), batch, key)

    return method._replace(loss=loss, advance=advance, mosaic=factor)
