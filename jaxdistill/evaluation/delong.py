"""How far to trust an area under the ROC curve, and a difference between two models.

DeLong, DeLong and Clarke-Pearson (1988), Biometrics 44:837, in O(n log n) by midranks
as Sun and Xu (2014), IEEE Signal Processing Letters 21:1389. With midranks T in the
pooled scores, and T' among the film's own kind,

    V(i) = (T(i) - T'(i)) / n          for each of the m positives
    V(j) = 1 - (T(j) - T'(j)) / m      for each of the n negatives
    AUC  = mean V over either,         var AUC = S_pos / m + S_neg / n

where S are sample variances: V is the share of the other kind that a film stands on the
right side of, ties counted half.

**More than two classes.** The macro AUC is the mean over classes c of c against the
rest, each a U-statistic over the same films. To first order each is a sum over films,

    AUC_c - E AUC_c = sum_i e_c(i),    e_c(i) = (V_c(i) - AUC_c) / N_c(i)

with N_c(i) the number of films on i's side of c, so their mean is a sum over films too,
of e(i) = mean_c e_c(i). Films are independent, AUCs of classes are not: e adds them up
within each film before anything is squared, which is their covariance. Then

    var = sum over classes k of n_k (S_k + mean_k(e)^2)

where S_k and mean_k are of e over the n_k films of class k. The second term is what
chance does to how the rest is made up; it is zero with two classes, where all of this
is DeLong's. The same with e(first) - e(second) compares two models on the same films.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Real
from scipy.special import expit, logit, ndtr, ndtri
from scipy.stats import rankdata

from jaxdistill.errors import InputError
from jaxdistill.evaluation.checks import require_label_row

LEVEL = 0.95
Bounds = tuple[float, float]


class Area(NamedTuple):
    """An area under the ROC curve, with the variance that the choice of films gives it.

    `pairs` is how many pairs of films, of two kinds, share no film: the films of the
    rarest class.
    """

    auc: float
    variance: float
    pairs: int

    def interval(self, level: float = LEVEL) -> Bounds:
        """The interval on the logit scale, `logit(auc) ± z sd / (auc (1 - auc))`.

        The one to report: it stays within [0, 1], and holds what it promises near the
        ends and with few films, where the plain one does not. Where no pair is in the
        wrong order the variance is 0, which says nothing; the lower end is then
        `((1 - level) / 2)^(1 / pairs)`, which `pairs` independent pairs prove, and
        likewise at 0. Raises `InputError` for a level outside (0, 1).
        """
        tail = _tail(level)
        if self.auc in (0.0, 1.0):
            proven = tail ** (1 / self.pairs)
            return (proven, 1.0) if self.auc == 1.0 else (0.0, 1 - proven)
        reach = -ndtri(tail) * self.variance**0.5 / (self.auc * (1 - self.auc))
        middle = logit(self.auc)
        return float(expit(middle - reach)), float(expit(middle + reach))

    def plain_interval(self, level: float = LEVEL) -> Bounds:
        """`auc ± z sd`, cut to [0, 1], as most papers report it."""
        reach = float(-ndtri(_tail(level)) * self.variance**0.5)
        return max(0.0, self.auc - reach), min(1.0, self.auc + reach)


class Difference(NamedTuple):
    """Two models on the same films: how their areas differ, and how surely."""

    first: Area
    second: Area
    variance: float  # of first - second, less their covariance

    @property
    def value(self) -> float:
        """`first - second`."""
        return self.first.auc - self.second.auc

    @property
    def z(self) -> float:
        """The difference in its standard deviations.

        0 for models that order the films alike; nan where areas differ but the films
        give no variance, as when one separates them and the other is constant.
        """
        if self.variance > 0:
            return self.value / self.variance**0.5
        return 0.0 if self.value == 0 else float("nan")

    @property
    def p(self) -> float:
        """Two-sided: how often equal models would differ as much."""
        return float(2 * ndtr(-abs(self.z)))

    def interval(self, level: float = LEVEL) -> Bounds:
        """`value ± z sd`, cut to [-1, 1]; nan where the variance says nothing."""
        if np.isnan(self.z):
            return float("nan"), float("nan")
        reach = float(-ndtri(_tail(level)) * self.variance**0.5)
        return max(-1.0, self.value - reach), min(1.0, self.value + reach)


def auc_delong(
    scores: Real[np.ndarray, " n *k"], labels: Int[np.ndarray, " n"]
) -> Area:
    """The area and DeLong's variance; macro, one against the rest, for columns.

    A vector holds scores of class 1 against 0; columns hold one score for each class.
    Only the order of scores within a column counts, so columns of two models must mean
    the same: give probabilities rather than logits. Raises `InputError` for scores that
    are not numbers and for a class with fewer than two films.
    """
    area, _ = _shares(_columns(scores, labels), labels)
    return area


def delong_test(
    first: Real[np.ndarray, " n *k"],
    second: Real[np.ndarray, " n *j"],
    labels: Int[np.ndarray, " n"],
) -> Difference:
    """Whether two models differ in (macro) area on the same films; see `auc_delong`.

    Raises `InputError` as that does, and for scores of two shapes.
    """
    if np.shape(first) != np.shape(second):
        raise InputError(
            f"scores of {np.shape(first)} and {np.shape(second)} do not belong to the "
            "same films and classes: score both models on one test set"
        )
    one, of_first = _shares(_columns(first, labels), labels)
    other, of_second = _shares(_columns(second, labels), labels)
    return Difference(one, other, _variance(of_first - of_second, labels))


def _columns(scores: np.ndarray, labels: np.ndarray) -> dict[int, np.ndarray]:
    """The scores of each class that is held against the rest."""
    fits = scores.ndim == 1 or (scores.ndim == 2 and scores.shape[1] > 1)
    if not fits:
        raise InputError(
            f"scores of shape {scores.shape} do not fit {len(labels)} labels: give one "
            "score for each film, or a row with one for each class"
        )
    require_label_row(labels, len(scores))
    wrong = int(np.isnan(scores).any(axis=tuple(range(1, scores.ndim))).sum())
    if wrong:
        raise InputError(
            f"scores of {wrong} of {len(scores)} films are nan: a model that diverged "
            "has no area under its curve"
        )
    classes = 2 if scores.ndim == 1 else scores.shape[1]
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise InputError(
            f"labels from {labels.min()} to {labels.max()} do not fit scores of "
            f"{classes} classes: number them from 0 to {classes - 1}"
        )
    films = np.bincount(labels, minlength=classes)
    if (films < 2).any():
        rare = int(films.argmin())
        raise InputError(
            f"class {rare} has {films[rare]} of the test set's films: the variance of "
            "its area needs two or more of every class"
        )
    return {1: scores} if scores.ndim == 1 else dict(enumerate(scores.T))


def _shares(
    columns: dict[int, np.ndarray], labels: np.ndarray
) -> tuple[Area, Float[np.ndarray, " n"]]:
    """The area, and each film's share e(i) in what it is off by."""
    each = [_one_against_rest(score, labels == c) for c, score in columns.items()]
    areas, shares = zip(*each, strict=True)
    share = np.mean(shares, axis=0)
    pairs = int(np.bincount(labels).min())
    return Area(float(np.mean(areas)), _variance(share, labels), pairs), share


def _one_against_rest(
    score: Real[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]
) -> tuple[float, Float[np.ndarray, " n"]]:
    pooled, m = rankdata(score), int(positive.sum())
    n = len(score) - m
    placed = np.empty(len(score))
    placed[positive] = (pooled[positive] - rankdata(score[positive])) / n
    placed[~positive] = 1 - (pooled[~positive] - rankdata(score[~positive])) / m
    area = float(placed[positive].mean())
    return area, (placed - area) / np.where(positive, m, n)


def _variance(share: Float[np.ndarray, " n"], labels: np.ndarray) -> float:
    within = [share[labels == k] for k in np.unique(labels)]
    return float(sum(len(e) * (e.var(ddof=1) + e.mean() ** 2) for e in within))


def _tail(level: float) -> float:
    if not 0 < level < 1:
        raise InputError(
            f"level={level} is no confidence between 0 and 1: 0.95 is usual"
        )
    return (1 - level) / 2
