"""Whether probabilities mean what they say, in NumPy and float64 on the host.

Films are put in bins of equal width by how sure the model was. In a calibrated model
each bin's share of right answers is its mean confidence; the expected calibration error
is how far they are apart, over films (Guo et al. 2017, arXiv:1706.04599, eq. 3):

    ECE = sum over bins b of  n_b / n |share_b - confidence_b|

Two readings of one curve: the confidence of the class that the model chose, right or
not (`top_label`, Guo's), or the probability of class 1, present or not. They differ for
two classes too: only the second sees a model that errs one way.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxdistill.errors import InputError
from jaxdistill.evaluation.checks import require_labels, require_probabilities

BINS = 15


class Reliability(NamedTuple):
    """A reliability curve: what was said and what came true, a value for each bin.

    Bins are `(low, high]`, the first with 0; one without films is nan in both means.
    """

    confidence: Float[np.ndarray, " b"]  # mean of what was said
    share: Float[np.ndarray, " b"]  # of films where it was so
    films: Int[np.ndarray, " b"]

    @property
    def error(self) -> float:
        """The expected calibration error, from 0 to 1."""
        return float(np.nansum(self.films * self._gaps) / self.films.sum())

    @property
    def worst(self) -> float:
        """The maximum calibration error: the gap of the worst bin (eq. 5)."""
        return float(np.nanmax(self._gaps))

    @property
    def _gaps(self) -> Float[np.ndarray, " b"]:
        return np.abs(self.share - self.confidence)


def reliability(
    confidence: Float[np.ndarray, " n"],
    outcome: Bool[np.ndarray, " n"] | Int[np.ndarray, " n"],
    bins: int = BINS,
) -> Reliability:
    """The curve of what was said, in [0, 1], against what came true, 0 or 1.

    Raises `InputError` for what is no probability, and for no film or no bin.
    """
    if bins < 1 or not len(confidence):
        raise InputError(
            f"{len(confidence)} films in bins={bins} give no curve: one of each is "
            f"the least, and bins={BINS} usual"
        )
    if np.shape(confidence) != np.shape(outcome) or np.ndim(confidence) != 1:
        raise InputError(
            f"confidence of shape {np.shape(confidence)} does not fit outcomes of "
            f"{np.shape(outcome)}: give one of each for every film"
        )
    require_probabilities(confidence)
    if not np.isin(outcome, (0, 1)).all():
        raise InputError("outcomes must be 0 or 1, or false or true: number them so")
    said, true = np.asarray(confidence, np.float64), np.asarray(outcome, np.float64)
    place = np.clip(np.ceil(said * bins - 1e-12).astype(int) - 1, 0, bins - 1)
    films = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean_said = np.bincount(place, said, minlength=bins) / films
        share = np.bincount(place, true, minlength=bins) / films
    return Reliability(mean_said, share, films)


def top_label(
    probabilities: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """The probability of the class that was chosen, and whether it was right.

    Raises `InputError` for rows that do not sum to 1, as logits do not.
    """
    _require_rows(probabilities, labels)
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == labels


def calibration_error(
    probabilities: Float[np.ndarray, " n *k"],
    labels: Int[np.ndarray, " n"],
    bins: int = BINS,
) -> float:
    """The expected calibration error of the chosen class, or of class 1.

    Rows hold a probability for each class, and the chosen one's counts; a vector holds
    that of class 1 against 0. Raises `InputError` as `reliability` and `top_label`.
    """
    if probabilities.ndim == 1:
        require_labels(labels, len(probabilities), 2)
        return reliability(probabilities, labels, bins).error
    return reliability(*top_label(probabilities, labels), bins).error


def brier_score(
    probabilities: Float[np.ndarray, " n *k"], labels: Int[np.ndarray, " n"]
) -> float:
    """Mean squared distance from probabilities to what was so: Brier (1950).

    Rows: `mean_i sum_c (p_ic - [c = y_i])^2`, from 0 to 2, as Brier has it. A vector,
    of class 1 against 0: `mean_i (p_i - y_i)^2`, from 0 to 1, half as much. Raises
    `InputError` for what is no probability.
    """
    p = np.asarray(probabilities, np.float64)
    if p.ndim == 1:
        require_labels(labels, len(p), 2)
        require_probabilities(p)
        return float(np.square(p - labels).mean())
    _require_rows(p, labels)
    return float(
        np.square(p - np.eye(p.shape[1])[np.asarray(labels, np.intp)])
        .sum(axis=1)
        .mean()
    )


def _require_rows(probabilities: np.ndarray, labels: np.ndarray) -> None:
    """Rows are distributions over classes that labels name."""
    require_probabilities(probabilities)
    sums, k = probabilities.sum(axis=1, dtype=np.float64), probabilities.shape[1]
    # Half precision is the least that a model may have summed in.
    if (wrong := np.abs(sums - 1) > 0.01).any():
        raise InputError(
            f"a row of probabilities sums to {sums[wrong][0]:.4g}, not 1: give the "
            "softmax over classes"
        )
    require_labels(labels, len(sums), k)
