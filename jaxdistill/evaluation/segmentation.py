"""All scores of one segmented volume, for users with arrays of any size on the host.

Distances are computed on the device, for the box around each class alone. Boxes are
filled up to a few standard shapes, so that a whole test set, whatever its sizes,
compiles a handful of programs. `surface` and `overlap` have the equations.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float

from jaxdistill.errors import InputError
from jaxdistill.evaluation.distance import Mask, Spacing
from jaxdistill.evaluation.overlap import (
    Counts,
    count_mask,
    dice,
    iou,
    volume_difference,
    volume_difference_ml,
)
from jaxdistill.evaluation.surface import (
    Whole,
    average_distance,
    hausdorff,
    surface_dice,
    surface_distances,
)
from jaxdistill.types import IGNORED, Scalar

Millimetres = Sequence[float]  # of slices, rows and columns

# The standard shapes; above the last of each, its multiples.
DEPTHS = (8, 16, 24, 32, 48, 64, 96, 128)
SIDES = (32, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 448, 512)
SMOOTH = 8  # of so many voxels of a box one at most is surface, or it is done again


def segmentation_scores(
    predicted: np.ndarray,
    truth: np.ndarray,
    spacing: Millimetres,
    classes: int,
    tolerance: float = 1.0,
    *,
    ignore_empty: bool = True,
) -> dict[str, Float[np.ndarray, " k"]]:
    """Scores of the classes 1, 2, ... of one volume; the background is left out.

    Both masks are whole numbers, slices x rows x columns.

    `dice`, `iou`, `volume_difference` (relative) and `volume_difference_ml`; in mm,
    with `spacing` of slices, rows and columns: `hd95`, `hd`, `assd`; and `nsd` within
    `tolerance` mm. A volume of one slice is a picture, whose surfaces are outlines.
    Voxels whose truth is `IGNORED` count nowhere: for distances they are background in
    both masks. NaN and infinity, where a class is empty, are as in `overlap` and
    `surface`.

    `InputError` for masks, spacings or labels that do not fit.
    """
    predicted, truth = np.asarray(predicted), np.asarray(truth)
    _check(predicted, truth, spacing, classes, tolerance)
    told = np.asarray(spacing, np.float32), np.float32(tolerance)
    known = truth != IGNORED
    rows, far = [], []
    for label in range(1, classes):
        ours, theirs = (predicted == label) & known, truth == label
        box = _box(ours | theirs)
        rows.append(count_mask(ours[box], theirs[box]))
        far.append(_distances(ours[box], theirs[box], len(truth) == 1, *told))
    counts = Counts(*np.array(rows).T)
    overlaps: dict[str, Any] = {
        "dice": dice(counts, ignore_empty),
        "iou": iou(counts, ignore_empty),
        "volume_difference": volume_difference(counts),
        "volume_difference_ml": volume_difference_ml(counts, spacing),
    }
    return overlaps | {name: np.array([row[name] for row in far]) for name in far[0]}


def _distances(
    predicted: Bool[np.ndarray, "d h w"],
    truth: Bool[np.ndarray, "d h w"],
    picture: bool,
    spacing: Float[np.ndarray, "3"],
    tolerance: np.floating,
) -> dict[str, float]:
    """Distances of one class, in its box; again with more room for a rough surface."""
    fill = _fill(predicted.shape, picture)
    pair = np.pad(predicted, fill), np.pad(truth, fill)
    some = pair[0].size // SMOOTH
    scores, number = jax.device_get(
        _surface_scores(*pair, spacing, tolerance, most=some)
    )
    if number > some:
        scores, _ = _surface_scores(*pair, spacing, tolerance, most=pair[0].size)
    return {name: float(value) for name, value in scores.items()}


@partial(jax.jit, static_argnames="most")
def _surface_scores(
    predicted: Mask, truth: Mask, spacing: Spacing, tolerance: Scalar, most: int
) -> tuple[dict[str, Scalar], Whole]:
    distances = surface_distances(predicted, truth, spacing, most)
    scores = {
        "hd95": hausdorff(distances, 95.0),
        "hd": hausdorff(distances),
        "assd": average_distance(distances),
        "nsd": surface_dice(distances, tolerance),
    }
    return scores, distances.numbers.max()


def _box(mask: Bool[np.ndarray, "d h w"]) -> tuple[slice, ...]:
    """The smallest box around a mask; around one voxel where there is none."""
    plane: np.ndarray = np.any(mask, axis=0)
    slices = np.any(mask.reshape(len(mask), -1), axis=1)
    found = []
    for line in (slices, np.any(plane, axis=1), np.any(plane, axis=0)):
        where = np.flatnonzero(line)
        where = where if where.size else np.zeros(1, int)
        found.append(slice(where[0], where[-1] + 1))
    return tuple(found)


def _fill(shape: tuple[int, ...], picture: bool) -> list[tuple[int, int]]:
    """What to add behind each axis; a picture stays one slice, a volume never is."""
    depth = 1 if picture else _standard(shape[0], DEPTHS)
    side = _standard(max(shape[1:]), SIDES)
    return [(0, to - size) for size, to in zip(shape, (depth, side, side), strict=True)]


def _standard(size: int, sizes: tuple[int, ...]) -> int:
    larger = [to for to in sizes if to >= size]
    return larger[0] if larger else -(-size // sizes[-1]) * sizes[-1]


def _check(
    predicted: np.ndarray,
    truth: np.ndarray,
    spacing: Millimetres,
    classes: int,
    tolerance: float,
) -> None:
    if predicted.shape != truth.shape or predicted.ndim != 3 or not predicted.size:
        raise InputError(
            f"predicted has shape {predicted.shape} and truth {truth.shape}: both must "
            "be the same slices x rows x columns (a picture is one slice, mask[None])"
        )
    good = len(spacing) == 3 and all(np.isfinite(mm) and mm > 0 for mm in spacing)
    if not good:
        raise InputError(
            f"spacing={spacing!r} must be three numbers above 0, the mm between "
            "slices, rows and columns: use (1, 1, 1) where they are not known"
        )
    if not tolerance >= 0:
        raise InputError(f"tolerance={tolerance!r} must be at least 0, in mm")
    if not 2 <= classes <= IGNORED:
        raise InputError(
            f"classes={classes!r} must be 2 to {IGNORED}, the background counted"
        )
    for name, mask in (("predicted", predicted), ("truth", truth)):
        _check_labels(name, mask, classes)


def _check_labels(name: str, mask: np.ndarray, classes: int) -> None:
    if mask.dtype.kind not in "iu":
        raise InputError(
            f"{name} has values of type {mask.dtype}: a mask holds whole numbers, a "
            "class each (mask.astype('uint8'))"
        )
    wrong = mask[((mask < 0) | (mask >= classes)) & (mask != IGNORED)]
    if wrong.size:
        raise InputError(
            f"{name} holds the label {wrong[0]}, but of classes={classes} the last is "
            f"{classes - 1}: give more classes, or {IGNORED} to what does not count"
        )
