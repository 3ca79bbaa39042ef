"""Scores of class probabilities, in NumPy and float64: small, exact, on the host."""

import numpy as np
from jaxtyping import Float, Int
from scipy.special import softmax
from scipy.stats import rankdata

BY_CLASS = ("sensitivity", "specificity", "harmonic_means")
SELECTABLE = ("accuracy", "balanced_accuracy", "auc", "f1_weighted", "harmonic_mean")


def as_probabilities(
    logits: Float[np.ndarray, "*batch k"],
) -> Float[np.ndarray, "*batch k"]:
    """The softmax of logits in float64: in float32 what is sure is all equally sure,
    from a margin of some 17 on, and has no order.
    """
    return softmax(logits.astype(np.float64), axis=-1)


def scores(
    probabilities: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"]
) -> dict[str, float | np.ndarray]:
    """Every score that is reported, for one network.

    Scalars: accuracy, balanced_accuracy, auc, f1_weighted, harmonic_mean (macro). For
    each class against the rest: sensitivity, specificity, harmonic_means. And the
    confusion matrix, rows are true classes and sum to 1. A class absent from `labels`
    is nan in its own scores and left out of the means; all is nan where a probability
    is not finite.
    """
    k = probabilities.shape[1]
    if not np.isfinite(probabilities).all():
        by_class = np.full(k, np.nan)  # a network that diverged says nothing
        return {
            **dict.fromkeys(SELECTABLE, float("nan")),
            **dict.fromkeys(BY_CLASS, by_class),
            "confusion": np.full((k, k), np.nan),
        }
    predicted = probabilities.argmax(axis=1)
    counts = np.zeros((k, k))
    np.add.at(counts, (labels, predicted), 1)
    per_class = class_scores(counts)
    with np.errstate(invalid="ignore"):
        confusion = counts / counts.sum(axis=1, keepdims=True)
    return {
        "accuracy": float(np.trace(counts) / counts.sum()),
        "balanced_accuracy": float(np.nanmean(per_class["sensitivity"])),
        "auc": macro_auc(probabilities, labels),
        "f1_weighted": float(
            np.nansum(per_class["f1"] * counts.sum(axis=1)) / counts.sum()
        ),
        "harmonic_mean": float(np.nanmean(per_class["harmonic_means"])),
        "sensitivity": per_class["sensitivity"],
        "specificity": per_class["specificity"],
        "harmonic_means": per_class["harmonic_means"],
        "confusion": confusion,
    }


def class_scores(counts: Float[np.ndarray, "k k"]) -> dict[str, np.ndarray]:
    """One class against the rest, from counts of [true, predicted].

    Sensitivity TP/(TP+FN), specificity TN/(TN+FP), their harmonic mean
    2 Sen Spe / (Sen + Spe), and F1 = 2 TP / (2 TP + FP + FN).
    """
    hit = np.diag(counts)
    true, predicted, total = counts.sum(axis=1), counts.sum(axis=0), counts.sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        sensitivity = hit / true
        specificity = (total - true - predicted + hit) / (total - true)
        both = sensitivity + specificity
        harmonic = np.where(both > 0, 2 * sensitivity * specificity / both, 0.0)
        f1 = 2 * hit / (true + predicted)
    harmonic = np.where(np.isnan(both), np.nan, harmonic)
    return {
        "sensitivity": sensitivity,
        "specificity": specificity,
        "harmonic_means": harmonic,
        "f1": f1,
    }


def macro_auc(
    probabilities: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"]
) -> float:
    """Mean over classes of the one-against-rest area under the ROC curve.

    The rank statistic of Mann and Whitney, ties counted half. Classes that are absent,
    or alone, have no area and are left out; nan where none is left.
    """
    areas = [
        binary_auc(column, labels == c) for c, column in enumerate(probabilities.T)
    ]
    known = [a for a in areas if not np.isnan(a)]
    return float(np.mean(known)) if known else float("nan")


def binary_auc(score: Float[np.ndarray, " n"], positive: np.ndarray) -> float:
    """P(score of a positive > score of a negative) + half the ties; nan if alone."""
    ups = int(positive.sum())
    downs = len(positive) - ups
    if not ups or not downs:
        return float("nan")
    ranks = rankdata(score)[positive].sum()
    return float((ranks - ups * (ups + 1) / 2) / (ups * downs))


def summarise(runs: list[dict]) -> dict[str, dict]:
    """`{metric: {"mean", "std", "n"}}` over networks; lists for scores per class.

    The standard deviation is the sample's (n - 1), 0 for a single run.
    """
    out = {}
    for name in runs[0]:
        values = np.stack([np.asarray(r[name], np.float64) for r in runs])
        spread = values.std(axis=0, ddof=1) if len(runs) > 1 else 0 * values[0]
        out[name] = {
            "mean": values.mean(axis=0).tolist(),
            "std": spread.tolist(),
            "n": len(runs),
        }
    return out
