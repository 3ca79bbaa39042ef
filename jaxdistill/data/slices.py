"""Cases to slices of one size, and masks of slices back to a case.

Slices are laid in the middle of the frame: what is too large loses its border, what is
too small gains one, in which images repeat their last pixels (so that no edge is made
that no scanner made) and masks are `IGNORED`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from jaxdistill.errors import InputError
from jaxdistill.types import IGNORED, Case, Slices

MULTIPLE = 32  # of usual strides

Shape = tuple[int, int]


def slices_of(
    cases: Sequence[Case],
    sites: Sequence[str],
    *,
    shape: Shape | None = None,
    neighbours: int = 0,
) -> Slices:
    """All slices of all cases on the device; sites are numbered as in `sites`.

    `shape` is by default `frame(cases)`. With `neighbours` n, a slice has 2n + 1 times
    the channels: those of the n slices before it, its own, those of the n after; ends
    are repeated. Raises `InputError` for no case, or for more than the device holds.
    """
    if not cases:
        raise InputError("there is no case to take slices of: add cases to the set")
    shape = shape or frame(cases)
    _check_memory(cases, shape, neighbours)
    numbers = {site: number for number, site in enumerate(sites)}
    images = [planes_of(case, shape, neighbours) for case in cases]
    masks = [_fit(case.mask, shape, constant_values=IGNORED) for case in cases]
    owners = [np.full(len(case.mask), numbers[case.site]) for case in cases]
    return Slices(
        jnp.asarray(np.concatenate(images)),
        jnp.asarray(np.concatenate(masks)),
        jnp.asarray(np.concatenate(owners), jnp.int32),
    )


def frame(cases: Sequence[Case], multiple: int = MULTIPLE) -> Shape:
    """Height and width that hold every slice, rounded up to a multiple."""
    sides = np.array([case.mask.shape[1:] for case in cases])
    height, width = (-(-sides.max(0) // multiple) * multiple).tolist()
    return height, width


def planes_of(
    case: Case, shape: Shape, neighbours: int = 0
) -> Float[np.ndarray, "d h w c"]:
    """A case's slices as `slices_of` lays them, on the host: what networks predict."""
    images = _fit(case.image, shape, mode="edge")
    places = np.arange(len(images))
    beside = [
        images[np.clip(places + step, 0, len(images) - 1)]
        for step in range(-neighbours, neighbours + 1)
    ]
    return np.concatenate(beside, axis=-1)


def restore(
    masks: UInt8[np.ndarray, "d h w"], case: Case
) -> UInt8[np.ndarray, "d h2 w2"]:
    """Masks of the planes of a case at its own size; what was cut off is background."""
    return _fit(masks, case.mask.shape[1:], constant_values=0)


def _fit(planes: np.ndarray, shape: Shape, **padding) -> np.ndarray:
    """Crop and pad rows and columns about the middle; its own inverse where it pads."""
    pads, cuts = [(0, 0)], [slice(None)]
    for have, want in zip(planes.shape[1:3], shape, strict=True):
        before = (abs(want - have)) // 2
        if want >= have:
            pads.append((before, want - have - before))
            cuts.append(slice(None))
        else:
            pads.append((0, 0))
            cuts.append(slice(before, before + want))
    pads += [(0, 0)] * (planes.ndim - 3)
    return np.pad(planes[tuple(cuts)], pads, **padding)


def _check_memory(cases: Sequence[Case], shape: Shape, neighbours: int) -> None:
    """Refuse before the device is full, where the device tells what it holds."""
    slices = sum(len(case.mask) for case in cases)
    channels = cases[0].image.shape[-1] * (2 * neighbours + 1)
    needed = slices * shape[0] * shape[1] * (4 * channels + 1)
    told = jax.devices()[0].memory_stats() or {}
    if needed > told.get("bytes_limit", needed):
        raise InputError(
            f"{slices} slices of {shape[0]} x {shape[1]} with {channels} channels take "
            f"{needed:,} bytes, but the device holds {told['bytes_limit']:,}: make "
            "data.size smaller, or take fewer neighbours or cases"
        )
