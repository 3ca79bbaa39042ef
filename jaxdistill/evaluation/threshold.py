"""Where to cut a probability of two classes, in NumPy on the host.

    J(t) = sensitivity(t) + specificity(t) - 1,    positive where p >= t

(Youden 1950). A model that ranks well may still say one half at another place than its
films are parted at: a threshold is chosen on validation, and judged on test.
"""

import numpy as np
from jaxtyping import Float, Int

from jaxdistill.errors import InputError
from jaxdistill.evaluation.checks import require_labels, require_probabilities


def chosen_threshold(
    probabilities: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"]
) -> float:
    """The threshold of greatest J on these films, the middle one of all that are.

    A threshold lies in the middle between two probabilities that were said. Raises
    `InputError` for labels of one class alone, and others than 0 and 1.
    """
    _require(probabilities, labels)
    positive = labels == 1
    said = np.unique(probabilities)
    cuts = np.concatenate([[0.0], (said[1:] + said[:-1]) / 2])
    # How many of each class lie below every cut.
    missed = np.searchsorted(np.sort(probabilities[positive]), cuts) / positive.sum()
    spared = np.searchsorted(np.sort(probabilities[~positive]), cuts)
    gain = spared / (~positive).sum() - missed
    best = cuts[gain >= gain.max() - 1e-12]
    return float(best[len(best) // 2])


def balanced_accuracy_at(
    threshold: float,
    probabilities: Float[np.ndarray, " n"],
    labels: Int[np.ndarray, " n"],
) -> float:
    """The mean of sensitivity and specificity where `p >= threshold` is class 1.

    Raises `InputError` as `chosen_threshold`.
    """
    _require(probabilities, labels)
    called = probabilities >= threshold
    return float(np.mean([(called == c)[labels == c].mean() for c in (0, 1)]))


def _require(probabilities: np.ndarray, labels: np.ndarray) -> None:
    require_probabilities(probabilities)
    require_labels(labels, len(probabilities), 2)
    if labels.all() or not labels.any():
        raise InputError(
            "a threshold parts two classes, and the films are of one alone: give some "
            "of either"
        )
