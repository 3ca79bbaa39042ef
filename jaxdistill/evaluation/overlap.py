"""How far two masks agree, class by class: Dice, IoU and the difference of volumes.

Over a whole volume, not over slices, with P and G a class's voxels in prediction and
truth:

    Dice  2 |P ∩ G| / (|P| + |G|)
    IoU   |P ∩ G| / |P ∪ G|
    volume difference  (|P| - |G|) / |G|, or (|P| - |G|) voxels in ml

All are read off three counts, which add up over parts of a volume. Voxels whose truth
is `IGNORED` are in none of them. Where the truth is empty a score is NaN, to be left
out of means (`numpy.nanmean`). The other convention, `ignore_empty=False`, gives Dice
and IoU of 1 where the prediction is empty too, else 0.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer

from jaxdistill.types import IGNORED

Labels = Integer[Array, "*volume"] | Integer[np.ndarray, "*volume"]
Mask = Bool[Array, "*volume"] | Bool[np.ndarray, "*volume"]
Counted = Int[Array, " k"] | Int[np.ndarray, " k"]
Scores = Float[Array, " k"] | Float[np.ndarray, " k"]


class Counts(NamedTuple):
    """Voxels of each class in the prediction, in the truth, and in both."""

    predicted: Counted
    truth: Counted
    both: Counted


def count_classes(predicted: Labels, truth: Labels, classes: int) -> Counts:
    """Counts of every class, the background too; NumPy stays NumPy, JAX stays JAX."""
    xp = _library(predicted, truth)
    known = truth != IGNORED
    rows = [
        count_mask((predicted == label) & known, truth == label)
        for label in range(classes)
    ]
    return Counts(*(xp.stack(column) for column in zip(*rows, strict=True)))


def count_mask(predicted: Mask, truth: Mask) -> tuple[Any, Any, Any]:
    """|P|, |G| and |P ∩ G| of one class, from its masks."""
    count = _library(predicted, truth).count_nonzero
    return count(predicted), count(truth), count(predicted & truth)


def dice(counts: Counts, ignore_empty: bool = True) -> Scores:
    """2 |P ∩ G| / (|P| + |G|) of each class."""
    total = counts.predicted + counts.truth
    return _share(2 * counts.both, total, counts, ignore_empty)


def iou(counts: Counts, ignore_empty: bool = True) -> Scores:
    """|P ∩ G| / |P ∪ G| of each class, the Jaccard index."""
    union = counts.predicted + counts.truth - counts.both
    return _share(counts.both, union, counts, ignore_empty)


def volume_difference(counts: Counts) -> Scores:
    """(|P| - |G|) / |G| of each class: above 0 where too much is predicted."""
    xp = _library(*counts)
    excess = counts.predicted - counts.truth
    return xp.where(counts.truth > 0, excess / xp.maximum(counts.truth, 1), np.nan)


def volume_difference_ml(counts: Counts, spacing: Sequence[float]) -> Scores:
    """(|P| - |G|) of each class in ml, from the spacing in mm; 0 where both are empty.

    A difference is known where the truth is empty, too.
    """
    return (counts.predicted - counts.truth) * (float(np.prod(spacing)) / 1000)


def _share(part: Counted, whole: Counted, counts: Counts, ignore_empty: bool) -> Scores:
    xp = _library(part, whole)
    share = xp.where(whole > 0, part / xp.maximum(whole, 1), 1.0)
    return xp.where(counts.truth > 0, share, np.nan) if ignore_empty else share


def _library(*arrays):
    """`jax.numpy` under jit and on the device, NumPy on the host."""
    return jnp if any(isinstance(a, jax.Array) for a in arrays) else np
