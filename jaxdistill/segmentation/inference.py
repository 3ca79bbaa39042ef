"""Masks of slices: whole ones, or by windows that overlap and count most inside.

A window's logits are weighted by a Gaussian about its centre, of a deviation of 1/8 of
its side, before they are averaged (Isensee et al. 2021; MONAI's sliding window).
"""

from collections.abc import Callable
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from jaxdistill.errors import Diverged, InputError
from jaxdistill.types import Params, Segmenter

SIGMA = 1 / 8  # of a window's side


def predict(
    networks: tuple[Segmenter, ...],
    params: tuple[Params, ...],
    images: Float[np.ndarray, "n h w c"],
    *,
    batch: int = 8,
    window: int = 0,
    overlap: float = 0.25,
) -> Float[np.ndarray, "n h w k"]:
    """Logits of slices, the mean over networks; `window` 0 looks at whole ones.

    Sides that a network's stride does not divide are padded by their edge. A network
    whose norm takes statistics of a batch says what depends on `batch`, too. Raises
    `InputError` for a window that no network takes, windows that leave gaps, and for no
    slice at all, `Diverged` for logits that are no finite numbers.
    """
    _require(networks, params, images, batch, window, overlap)
    look = _logits(networks)
    batch = min(batch, 1 << max(0, len(images) - 1).bit_length())
    stride = max(network.stride for network in networks)
    if window % stride:
        raise InputError(
            f"window={window} must be a multiple of {stride}, by which this network "
            "shrinks an image: change it, or use 0 for whole slices"
        )
    h, w = images.shape[1:3]
    least = window or 1
    padded = _padded(images, max(h, least), max(w, least), stride)

    def whole(part: np.ndarray) -> np.ndarray:
        short = -len(part) % batch
        full = np.concatenate([part, np.repeat(part[-1:], short, axis=0)])
        found = [look(params, full[i : i + batch]) for i in range(0, len(full), batch)]
        return np.concatenate(found)[: len(part)]

    if not window or padded.shape[1:3] == (window, window):
        found = whole(padded)[:, :h, :w]
    else:
        found = _windowed(whole, padded, window, overlap)[:, :h, :w]
    if not (finite := np.isfinite(found).all(axis=(1, 2, 3))).all():
        raise Diverged(
            f"logits of slice {int(np.argmin(finite))} are no finite numbers: its "
            "pixels or the weights are not, or the learning rate was too high"
        )
    return found


def masks_of(logits: Float[np.ndarray, "n h w k"]) -> UInt8[np.ndarray, "n h w"]:
    """The likeliest class of every pixel."""
    return logits.argmax(axis=-1).astype(np.uint8)


def _require(
    networks: tuple[Segmenter, ...],
    params: tuple[Params, ...],
    images: np.ndarray,
    batch: int,
    window: int,
    overlap: float,
) -> None:
    if isinstance(networks, Segmenter) or len(networks) != len(params):
        raise InputError(
            "networks and params go in pairs, also where there is one: "
            "predict((network,), (params,), images)"
        )
    if images.ndim != 4:
        raise InputError(
            f"slices of shape {images.shape} are not (count, height, width, channels): "
            "add what is missing"
        )
    if not len(images):
        raise InputError("there is no slice to predict: give one or more")
    if batch < 1 or window < 0 or not 0 <= overlap < 1:
        raise InputError(
            f"batch={batch}, window={window}, overlap={overlap}: a batch is 1 or more, "
            "a window 0 or more, an overlap from 0 to below 1"
        )


@lru_cache(maxsize=32)
def _logits(networks: tuple[Segmenter, ...]) -> Callable:
    """The compiled mean of what networks say, one program for each shape."""

    @jax.jit
    def look(params, images):
        said = [n.apply(p, images) for n, p in zip(networks, params, strict=True)]
        return jnp.stack(said).mean(axis=0)

    return lambda params, images: np.asarray(look(params, images))


def _padded(images: np.ndarray, height: int, width: int, stride: int) -> np.ndarray:
    """At least of that size, and of sides that the stride divides."""
    sizes = [-(-side // stride) * stride for side in (height, width)]
    short = [s - have for s, have in zip(sizes, images.shape[1:3], strict=True)]
    return np.pad(images, ((0, 0), (0, short[0]), (0, short[1]), (0, 0)), mode="edge")


def _windowed(
    whole: Callable, images: np.ndarray, window: int, overlap: float
) -> np.ndarray:
    """Weighted means over windows that cover the slices."""
    axis = np.arange(window) + 0.5 - window / 2
    bell = np.exp(-0.5 * (axis / (SIGMA * window)) ** 2)
    weight = np.maximum(bell[:, None] * bell[None], 1e-3)[None, :, :, None]
    total, weights = np.zeros(()), np.zeros((1, *images.shape[1:3], 1))
    for top in _starts(images.shape[1], window, overlap):
        for left in _starts(images.shape[2], window, overlap):
            here = (slice(None), slice(top, top + window), slice(left, left + window))
            found = whole(images[here])
            if not total.ndim:
                total = np.zeros((*images.shape[:3], found.shape[-1]))
            total[here] += weight * found
            weights[here] += weight
    return (total / weights).astype(np.float32)


def _starts(side: int, window: int, overlap: float) -> list[int]:
    """Where windows begin: evenly spread, overlapping by at least that share."""
    step = max(1, int(window * (1 - overlap)))
    count = -(-(side - window) // step) + 1
    return np.linspace(0, side - window, count).round().astype(int).tolist()
