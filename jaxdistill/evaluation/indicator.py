"""Will distillation work here? Small random real subsets tell, and how surely.

Li et al. 2024, arXiv:2407.14429, found over medical data sets that the accuracy of a
network trained on a few random real images goes with that of one trained on the
distilled set. This is a reconstruction from the abstract:

    a_dist ~ w0 + w1 * a_rand        one point = data set x method x ipc

so that a new data set costs a few short trainings before anyone distils it. All scores
are fractions in [0, 1], from one protocol.

Points of one data set err together, and data sets are few. Hence every number here
takes the data set, not the point, as its unit: repeating the measurements of the same
data sets narrows no interval.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped
from scipy.stats import t as student_t

from jaxdistill.errors import InputError
from jaxdistill.evaluation.ranking import require_fractions

Values = Float[np.ndarray, " n"]
Groups = Shaped[np.ndarray, " n"]  # the data set of each point, names or numbers
Interval = tuple[float, float]


class HeldOut(NamedTuple):
    """For each point, the line fitted without its data set, and how it misses."""

    intercepts: Values
    slopes: Values
    errors: Values  # measured - predicted
    weights: Values  # one over the points of the data set


class Relation(NamedTuple):
    """`a_dist = intercept + slope * a_rand`, with what an interval needs."""

    intercept: float
    slope: float
    std: float  # of the residuals, see `fit_relation`
    points: int
    sets: int
    mean: float  # of a_rand
    spread: float  # sum of (a_rand - mean)^2
    held_out: HeldOut

    @property
    def freedom(self) -> int:
        """Degrees of freedom: two less than the data sets, never less than one."""
        return max(self.sets - 2, 1)


class Prediction(NamedTuple):
    """An accuracy and its interval, all in [0, 1]."""

    expected: float
    low: float
    high: float


class Correlation(NamedTuple):
    """Pearson's r and Spearman's rho, with bootstrap intervals over data sets."""

    pearson: float
    spearman: float
    pearson_interval: Interval
    spearman_interval: Interval


def fit_relation(x: Values, y: Values, groups: Groups) -> Relation:
    """Least squares of `y` (distilled) on `x` (random subset) over all points.

    std^2 = RSS / n * G / (G - 2) for n points of G data sets: unbiased where the points
    of a data set agree (each set is then one point) and large where they do not; with
    one point per data set it is the usual RSS / (n - 2). Raises `InputError` for fewer
    than 3 points or 2 data sets, values that are not fractions, or a constant `x`.
    """
    _require_points(x, y, groups)
    intercept, slope = _line(x, y)
    n, sets = len(x), len(np.unique(groups))
    # Two data sets leave nothing to estimate their scatter with; n - 2 is a stopgap.
    per_point = max(sets / max(sets - 2, 1), n / (n - 2))
    residual = y - intercept - slope * x
    return Relation(
        intercept,
        slope,
        std=float(np.sqrt(np.mean(residual**2) * per_point)),
        points=n,
        sets=sets,
        mean=float(np.mean(x)),
        spread=float(np.sum((x - np.mean(x)) ** 2)),
        held_out=_held_out(x, y, groups),
    )


def predict(relation: Relation, x: float, level: float = 0.9) -> Prediction:
    """The distilled accuracy to expect on a new data set whose subsets score `x`.

    The wider, on each side, of two intervals, clipped to [0, 1]:
    Student's, `+- t_{G-2} std sqrt(1 + 1/G + n (x - mean)^2 / (G spread))`, the
    textbook's with data sets for points; it assumes a line and normal errors.
    Jackknife+ (Barber et al. 2021, Ann. Statist. 49(1)), from the lines and absolute
    errors of leaving one data set out, each set sharing one weight among its points
    (Lee, Barber and Willett, arXiv:2306.06342); it assumes exchangeable data sets and
    ensures coverage `2 level - 1`, in practice about `level`.

    Fewer than `level / (1 - level)` data sets (9 at 0.9) cannot support jackknife+ at
    this level: its end is then the farthest one there is, which ensures less.
    """
    require_fractions(x=x)
    _require_level(level)
    expected = relation.intercept + relation.slope * x
    leverage = (x - relation.mean) ** 2 * relation.points / relation.spread
    scale = relation.std * np.sqrt(1 + (1 + leverage) / relation.sets)
    half = student_t.ppf((1 + level) / 2, relation.freedom) * scale
    held = relation.held_out
    lines, misses = held.intercepts + held.slopes * x, np.abs(held.errors)
    shares = held.weights / (relation.sets + 1)  # the last share is the new set's own
    high = max(expected + half, _quantile(lines + misses, shares, level))
    low = min(expected - half, -_quantile(misses - lines, shares, level))
    return Prediction(*(float(np.clip(v, 0, 1)) for v in (expected, low, high)))


def leave_one_group_out(
    x: Values, y: Values, groups: Groups
) -> dict[str | int, np.ndarray]:
    """Measured minus predicted of each data set's points, by the line of all others.

    Where all others share one `x` the line is flat, through their mean. Raises
    `InputError` as `fit_relation` does.
    """
    _require_points(x, y, groups)
    errors = _held_out(x, y, groups).errors
    return {name: errors[groups == name] for name in np.unique(groups).tolist()}


def mean_absolute_error(errors: dict[str | int, np.ndarray]) -> float:
    """MAE of `leave_one_group_out`: the mean over data sets of each one's own."""
    return float(np.mean([np.mean(np.abs(e)) for e in errors.values()]))


def correlation(
    x: Values,
    y: Values,
    groups: Groups,
    *,
    level: float = 0.9,
    draws: int = 2000,
    seed: int = 0,
) -> Correlation:
    """How closely the two accuracies go together, and how surely.

    Intervals are percentiles over `draws` resamples of whole data sets, with
    replacement; resamples where an accuracy is constant have no correlation and are
    left out. Percentiles of few data sets are too narrow rather than too wide. Raises
    `InputError` as `fit_relation` does, and for a constant `y`.
    """
    _require_points(x, y, groups)
    _require_level(level)
    if np.ptp(y) == 0:
        raise InputError(f"y={y[0]} at every point has no correlation: add points")
    if draws < 100:
        raise InputError(f"draws={draws} is too few for percentiles: set 100 or more")
    names, place = np.unique(groups, return_inverse=True)
    rng = np.random.default_rng(seed)
    sets = len(names)
    counts = rng.multinomial(sets, np.full(sets, 1 / sets), size=draws)[:, place]
    weights = np.concatenate([np.ones_like(counts[:1]), counts]).astype(np.float64)
    pearson = _correlations(x, y, weights)
    spearman = _correlations(_ranks(x, weights), _ranks(y, weights), weights)
    both = np.stack([pearson, spearman])
    low, high = np.nanquantile(both[:, 1:], [0.5 - level / 2, 0.5 + level / 2], axis=1)
    intervals = zip(low.tolist(), high.tolist(), strict=True)
    return Correlation(*both[:, 0].tolist(), *intervals)


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Intercept and slope; flat where `x` is constant."""
    off = x - x.mean()
    slope = off @ (y - y.mean()) / (off @ off) if np.ptp(x) > 0 else 0.0
    return float(y.mean() - slope * x.mean()), float(slope)


def _held_out(x: Values, y: Values, groups: Groups) -> HeldOut:
    """Every point against the line of the other data sets."""
    lines, weights = np.zeros((len(x), 2)), np.zeros(len(x))
    for name in np.unique(groups):
        own = groups == name
        lines[own] = _line(x[~own], y[~own])
        weights[own] = 1 / own.sum()
    intercepts, slopes = lines.T
    return HeldOut(intercepts, slopes, y - intercepts - slopes * x, weights)


def _quantile(values: np.ndarray, shares: np.ndarray, level: float) -> float:
    """The least value with `level` of the shares at or below it, or the largest."""
    order = np.argsort(values)
    reached = np.cumsum(shares[order]) >= level - 1e-9
    return float(values[order][np.argmax(reached) if reached.any() else -1])


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Midranks [draws, n] where point i occurs `weights[:, i]` times."""
    below = (values[None] < values[:, None]) + 0.5 * (values[None] == values[:, None])
    return weights @ below.T + 0.5


def _correlations(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pearson's r [draws] with repeated points; nan where either is constant."""

    def centred(values):
        mean = np.sum(weights * values, axis=1) / weights.sum(axis=1)
        return values - mean[:, None]

    def constant(values):
        drawn = np.where(weights > 0, values, np.nan)
        return np.nanmax(drawn, axis=1) == np.nanmin(drawn, axis=1)

    a, b = centred(x), centred(y)
    product, squares = (weights * a * b).sum(1), (weights * a**2).sum(1)
    scale = np.sqrt(squares * (weights * b**2).sum(1))
    undefined = constant(x) | constant(y)
    r = product / np.where(undefined, 1.0, scale)
    return np.where(undefined, np.nan, np.clip(r, -1, 1))


def _require_points(x: Values, y: Values, groups: Groups) -> None:
    """Raise `InputError` for points that no line, or no interval, can come from."""
    require_fractions(x=x, y=y)
    if len(x) < 3:
        raise InputError(f"{len(x)} points leave a line no scatter: give 3 or more")
    sets = len(np.unique(groups))
    if sets < 2:
        raise InputError(
            f"groups hold {sets} data set, and its points say nothing of another: add "
            "points of a second one"
        )
    if np.ptp(x) == 0:
        raise InputError(f"x={x[0]} at every point gives no slope: add other data sets")


def _require_level(level: float) -> None:
    if not 0 < level < 1:
        raise InputError(f"level={level} must lie between 0 and 1: try 0.9")
