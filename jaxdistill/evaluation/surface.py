"""How far two surfaces lie apart, in millimetres: HD, HD95, ASSD, surface Dice.

A surface is what a mask loses by an erosion with its face neighbours, where the outside
counts as background: a mask that touches the border has surface there. With S_P and S_G
the surfaces of prediction and truth, and d the Euclidean distance of voxel centres,

    HD_q  max( percentile_q {d(p, S_G)}, percentile_q {d(g, S_P)} )
    ASSD  (sum_p d(p, S_G) + sum_g d(g, S_P)) / (|S_P| + |S_G|)
    NSD   (|{p: d(p, S_G) <= t}| + |{g: d(g, S_P) <= t}|) / (|S_P| + |S_G|)

Percentiles interpolate linearly within each direction. HD is `q = 100`. NSD at a
tolerance t is of Nikolov et al. (2021, arXiv 1809.04430), on voxels as in MONAI, not on
the triangles of the original. Both empty is NaN; one empty is infinitely far, NSD 0.
"""

from fractions import Fraction
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxdistill.errors import InputError
from jaxdistill.evaluation.distance import Mask, Spacing, distances_at
from jaxdistill.types import Scalar

TIES = 1e-6  # of a tolerance: how near to it counts as at it
Whole = Int[Array, ""]


class SurfaceDistances(NamedTuple):
    """Distances in mm of each surface's voxels to the other surface.

    Infinity fills up behind the number of voxels.
    """

    predicted: Float[Array, " most"]  # from the prediction's surface to the truth's
    truth: Float[Array, " most"]  # and back
    numbers: Int[Array, "2"]  # of the prediction's voxels, and of the truth's


def surface(mask: Mask) -> Mask:
    """The mask without its erosion by face neighbours; one slice is a picture."""
    inner = mask
    for axis, size in enumerate(mask.shape):
        if size > 1 or axis > 0:
            lower = [(1, 0) if a == axis else (0, 0) for a in range(3)]
            upper = [pair[::-1] for pair in lower]
            inner &= jax.lax.slice_in_dim(jnp.pad(mask, lower), 0, size, axis=axis)
            inner &= jax.lax.slice_in_dim(jnp.pad(mask, upper), 1, size + 1, axis=axis)
    return mask & ~inner


def surface_distances(
    predicted: Mask, truth: Mask, spacing: Spacing, most: int | None = None
) -> SurfaceDistances:
    """Distances between the surfaces of two masks.

    `most` bounds the voxels of a surface; by default all could be. Fewer save memory
    and time. A surface that has more gives NaN: never a number of a part.
    """
    most = predicted.size if most is None else most
    of_predicted, of_truth = surface(predicted), surface(truth)
    there, n = distances_at(of_predicted, of_truth, spacing, most)
    back, m = distances_at(of_truth, of_predicted, spacing, most)
    numbers = jnp.stack([n, m])
    whole = (numbers <= most).all()
    return SurfaceDistances(
        jnp.where(whole, there, jnp.nan), jnp.where(whole, back, jnp.nan), numbers
    )


def hausdorff(distances: SurfaceDistances, percentile: float = 100.0) -> Scalar:
    """HD_q in mm, the larger of both directions' percentiles; 95 for HD95.

    Raises `InputError` for a percentile outside [0, 100].
    """
    if not 0 <= percentile <= 100:
        raise InputError(
            f"percentile={percentile} must be from 0 to 100: 95 is HD95, 100 HD"
        )
    # Finer, and the products of whole numbers below would not fit 32 bits.
    share = Fraction(percentile).limit_denominator(100) / 100
    n, m = distances.numbers
    there = _quantile(distances.predicted, n, share)
    back = _quantile(distances.truth, m, share)
    return _defined(jnp.maximum(there, back), distances)


def average_distance(distances: SurfaceDistances) -> Scalar:
    """ASSD in mm, the mean over the distances of both directions together."""
    both, known = _known(distances)
    mean = jnp.where(known, both, 0.0).sum() / distances.numbers.sum()
    return _defined(mean, distances)


def surface_dice(distances: SurfaceDistances, tolerance: Scalar | float) -> Scalar:
    """NSD: the share of both surfaces that is within `tolerance` mm of the other."""
    both, known = _known(distances)
    # Distances are right to a few parts in ten million: none at t itself may be lost.
    near = known & (both <= tolerance * (1 + TIES))
    share = near.sum() / distances.numbers.sum()
    # 0 / 0 where both are empty.
    return jnp.where(jnp.isnan(both[0, 0]), jnp.nan, share)


def _known(
    distances: SurfaceDistances,
) -> tuple[Float[Array, "2 most"], Bool[Array, "2 most"]]:
    """Both directions, and which of their distances are of voxels that there are."""
    both = jnp.stack([distances.predicted, distances.truth])
    return both, jnp.arange(both.shape[1])[None] < distances.numbers[:, None]


def _defined(score: Scalar, distances: SurfaceDistances) -> Scalar:
    """Infinity where one surface is empty, NaN where both are."""
    empty = distances.numbers == 0
    score = jnp.where(empty.any(), jnp.inf, score)
    broken = jnp.isnan(distances.predicted[0]) | empty.all()
    return jnp.where(broken, jnp.nan, score)


def _quantile(values: Float[Array, " n"], number: Whole, share: Fraction) -> Scalar:
    """The quantile of the first `number` values with linear interpolation.

    Its place, `share (number - 1)`, is computed in whole numbers: float32 would miss
    the fraction by a thousandth from some ten thousand values on.
    """
    if share == 1:
        return jnp.where(jnp.arange(len(values)) < number, values, 0.0).max()
    top, bottom = share.as_integer_ratio()
    times, rest = jnp.divmod(jnp.maximum(number - 1, 0), bottom)
    rank = times * top + rest * top // bottom
    part = (rest * top % bottom) / bottom
    lower = _of_rank(values, rank)
    enough = (values <= lower).sum() > rank + 1
    upper = jnp.where(enough, lower, jnp.where(values > lower, values, jnp.inf).min())
    return jnp.where(part > 0, lower + part * (upper - lower), lower)


def _of_rank(values: Float[Array, " n"], rank: Whole) -> Scalar:
    """The value that `rank` others come before in rising order, without a sort.

    Floats that are not negative are ordered as their bits are: 31 counts find each bit
    of the greatest number that at most `rank` values lie below. On two cores that is
    ten times faster than a sort of ten thousand values.
    """
    bits = jax.lax.bitcast_convert_type(values, jnp.int32)

    def refine(i, found):
        higher = found | (1 << (30 - i))
        return jnp.where((bits < higher).sum(dtype=jnp.int32) <= rank, higher, found)

    found = jax.lax.fori_loop(0, 31, refine, jnp.int32(0))
    return jax.lax.bitcast_convert_type(found, jnp.float32)
