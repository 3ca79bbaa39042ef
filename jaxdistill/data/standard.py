"""Bytes to network inputs and back: the only place where anything is normalised.

    z = (bytes / 255 - mean) / std     per channel
    z = (bytes / 255 - centre) W       with ZCA, W = U (L + eps)^(-1/2) U^T

with statistics of the training split, U L U^T the covariance of its flattened pixels in
[0, 1]. ZCA replaces the per-channel standardisation, as in the reference programs
(Cazenavette et al. 2022).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from jaxdistill.errors import InputError
from jaxdistill.types import Images, Standard, Whitening

EXACT = jax.lax.Precision.HIGHEST  # a small step of pixels is a difference of products
ZCA_MOST_PIXELS = 4096  # the d x d covariance takes 134 MB in float64 at this size


def fit(images: UInt8[np.ndarray, "n h w c"]) -> Standard:
    """Mean and standard deviation of every channel over all pixels in [0, 1]."""
    count = images.size // images.shape[-1]
    levels = np.arange(256) / 255.0
    # A histogram is exact and needs no float copy of the set.
    hist = np.stack(
        [np.bincount(images[..., c].ravel(), minlength=256) for c in _channels(images)]
    )
    mean = hist @ levels / count
    var = hist @ levels**2 / count - mean**2
    std = np.sqrt(np.maximum(var, 0.0))
    std = np.where(std > 1e-6, std, 1.0)  # a constant channel is left as it is
    return Standard(jnp.asarray(mean, jnp.float32), jnp.asarray(std, jnp.float32))


def fit_zca(images: UInt8[np.ndarray, "n h w c"], eps: float = 0.1) -> Standard:
    """Statistics with the ZCA of the pixels; `InputError` above 4,096 values."""
    size = int(np.prod(images.shape[1:]))
    if size > ZCA_MOST_PIXELS:
        shape = "x".join(map(str, images.shape[1:]))
        raise InputError(
            f"data.zca=True needs a {size} x {size} covariance for {shape} images, "
            f"offered up to {ZCA_MOST_PIXELS} values an image: set data.zca=False or a "
            "smaller data.size"
        )
    flat = images.reshape(len(images), -1)
    centre = flat.mean(axis=0, dtype=np.float64) / 255.0
    cov = np.zeros((size, size))
    for start in range(0, len(flat), 4096):
        rows = flat[start : start + 4096] / 255.0 - centre
        cov += rows.T @ rows
    eigenvalues, u = np.linalg.eigh(cov / len(flat))
    scale = np.sqrt(np.maximum(eigenvalues, 0.0) + eps)
    whitening = Whitening(
        centre=jnp.asarray(centre, jnp.float32),
        forward=jnp.asarray((u / scale) @ u.T, jnp.float32),
        inverse=jnp.asarray((u * scale) @ u.T, jnp.float32),
    )
    return fit(images)._replace(whitening=whitening)


def standardise(images: UInt8[Array, "n h w c"], standard: Standard) -> Images:
    """Network inputs of stored bytes."""
    return from_unit(images.astype(jnp.float32) / 255.0, standard)


def from_unit(pixels: Float[Array, "n h w c"], standard: Standard) -> Images:
    """Network inputs of pixels in [0, 1]; whitening is for pictures of one size."""
    if standard.whitening is None:
        return (pixels - _row(standard.mean)) / _row(standard.std)
    w = standard.whitening
    flat = pixels.reshape(len(pixels), -1) - w.centre[None]
    return jnp.matmul(flat, w.forward, precision=EXACT).reshape(pixels.shape)


def to_unit(inputs: Images, standard: Standard) -> Float[Array, "n h w c"]:
    """Pixels in [0, 1] of network inputs, not clipped; the inverse of `standardise`."""
    if standard.whitening is None:
        return inputs * _row(standard.std) + _row(standard.mean)
    w = standard.whitening
    flat = jnp.matmul(inputs.reshape(len(inputs), -1), w.inverse, precision=EXACT)
    return (flat + w.centre[None]).reshape(inputs.shape)


def _row(channels: Array) -> Array:
    return channels.reshape(1, 1, 1, -1)


def _channels(images: np.ndarray) -> range:
    return range(images.shape[-1])
