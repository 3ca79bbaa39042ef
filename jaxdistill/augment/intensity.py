"""What scanners do to the grey values of one image: pure functions of given strengths.

Inputs are about z-scores over a volume, so that they have no natural black: where one
is needed it is the image's minimum. Statistics are of all channels together, which a
slice and its neighbours share.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdistill.augment.warp import Image
from jaxdistill.types import PRNGKey, Scalar

DEGREE = 3  # of the polynomial of a bias field
TINY = 1e-6


def bias_field(image: Image, coefficients: Float[Array, "4 4"]) -> Image:
    """The image above its minimum times `exp(sum_ij c_ij y^i x^j)`, i + j <= 3.

    y and x run from -1 to 1; the constant is left out. The field of a receiver coil,
    as of Van Leemput et al. (1999).
    """
    h, w, _ = image.shape
    power = np.arange(DEGREE + 1)
    used = np.add.outer(power, power)
    used = ((used > 0) & (used <= DEGREE)).astype(np.float32)
    down, right = (_powers(size) for size in (h, w))
    field = jnp.exp(down @ (coefficients * used) @ right.T)
    low = image.min()
    return (image - low) * field[:, :, None] + low


def gamma(image: Image, exponent: Scalar) -> Image:
    """`x^exponent` of the image scaled to [0, 1] and back, with its mean and deviation.

    As nnU-Net does (Isensee et al. 2021): the curve changes, brightness and contrast
    do not.
    """
    low = image.min()
    span = image.max() - low
    curved = ((image - low) / (span + TINY)) ** exponent
    scaled = (curved - curved.mean()) / (curved.std() + TINY)
    return scaled * image.std() + image.mean()


def contrast(image: Image, factor: Scalar) -> Image:
    """`mean + (x - mean) factor`, kept within the image's range."""
    mean = image.mean()
    return jnp.clip(mean + (image - mean) * factor, image.min(), image.max())


def brightness(image: Image, offset: Scalar) -> Image:
    """`x + offset`, in standard deviations of the volume."""
    return image + offset


def noise(image: Image, deviation: Scalar, key: PRNGKey) -> Image:
    """`x + deviation n`, n normal, as Rician noise is too where there is signal."""
    return image + deviation * jax.random.normal(key, image.shape, image.dtype)


def blur(image: Image, sigma: Scalar, radius: int) -> Image:
    """Gaussian of `sigma` pixels, cut off at `radius`; the edge goes on beyond it."""
    steps = jnp.arange(-radius, radius + 1)
    weights = jnp.exp(-0.5 * (steps / sigma) ** 2)
    weights = weights / weights.sum()
    for axis in (0, 1):
        size = image.shape[axis]
        pad = [(radius, radius) if a == axis else (0, 0) for a in range(3)]
        wide = jnp.pad(image, pad, mode="edge")
        shifted = (
            jax.lax.slice_in_dim(wide, i, i + size, axis=axis)
            for i in range(2 * radius + 1)
        )
        image = sum(w * x for w, x in zip(weights, shifted, strict=True))
    return image


def low_resolution(image: Image, share: Scalar) -> Image:
    """Sampled at `share` of the pixels a side, nearest, and back again, linearly."""
    for axis in (0, 1):
        first, second, part = _coarse(image.shape[axis], share)
        part = part.reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        near, far = (_pixels(image, at, axis) for at in (first, second))
        image = near + part * (far - near)
    return image


def _coarse(
    size: int, share: Scalar
) -> tuple[Int[Array, " n"], Int[Array, " n"], Float[Array, " n"]]:
    """The pixels that the coarse neighbours of each pixel hold, and how far between."""
    coarse = jnp.round(jnp.clip(size * share, 1, size))
    place = (jnp.arange(size) + 0.5) * coarse / size - 0.5
    place = jnp.clip(place, 0, coarse - 1)
    before = jnp.floor(place)
    after = jnp.minimum(before + 1, coarse - 1)
    # A centre that falls between two pixels must not be rounded to the one before.
    centres = [(at + 0.5) * size / coarse + 1e-3 for at in (before, after)]
    first, second = (centre.astype(jnp.int32) for centre in centres)
    return first, second, place - before


def _pixels(image: Image, at: Int[Array, " n"], axis: int) -> Image:
    return jnp.take(image, at, axis=axis, mode="clip")


def _powers(size: int) -> Float[np.ndarray, "size 4"]:
    along = np.linspace(-1, 1, size) if size > 1 else np.zeros(1)
    return np.vander(along, DEGREE + 1, increasing=True).astype(np.float32)
