"""Calibration against loops over bins, and cases with a known answer."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from jaxdistill.errors import InputError
from jaxdistill.evaluation.calibration import (
    brier_score,
    calibration_error,
    reliability,
    top_label,
)


def case(seed=0, n=500, k=3):
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(n, k))
    truth = softmax(logits / 1.7, 1)
    labels = (truth.cumsum(1) > rng.random((n, 1))).argmax(1)
    return softmax(logits, 1), labels


def by_loop(confidence, right, bins):
    total = 0.0
    for b in range(bins):
        low, high = b / bins, (b + 1) / bins
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            gap = abs(right[inside].mean() - confidence[inside].mean())
            total += inside.mean() * gap
    return total


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_top_label_error_equals_a_loop_over_bins(bins):
    p, labels = case()
    expected = by_loop(p.max(1), p.argmax(1) == labels, bins)
    assert expected > 0.05
    np.testing.assert_allclose(calibration_error(p, labels, bins), expected, rtol=1e-12)


def test_the_two_class_error_is_of_the_positive_probability():
    p, labels = case(k=2)
    expected = by_loop(p[:, 1], labels == 1, 10)
    found = calibration_error(p[:, 1], labels, 10)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    # Errs towards 1 on either side of a half: the chosen class alone cannot tell.
    biased = np.repeat([0.4, 0.6], 100)
    happened = np.tile(np.arange(100) < 50, 2).astype(int)
    assert calibration_error(biased, happened, 10) == pytest.approx(0.1)
    drift = np.repeat([0.4, 0.8], 100)
    happened = np.concatenate([np.arange(100) < 20, np.arange(100) < 60]).astype(int)
    rows = np.stack([1 - drift, drift], 1)
    assert calibration_error(drift, happened, 1) == pytest.approx(0.2)
    assert calibration_error(rows, happened, 1) == pytest.approx(0.0)


def test_the_curve_is_that_of_scikit_learn_and_knows_its_films():
    p, labels = case(k=2)
    curve = reliability(p[:, 1], labels, 10)
    share, said = calibration_curve(labels, p[:, 1], n_bins=10)
    filled = curve.films > 0
    np.testing.assert_allclose(curve.share[filled], share)
    np.testing.assert_allclose(curve.confidence[filled], said)
    assert curve.films.sum() == len(labels)


def test_ends_belong_to_a_bin_and_empty_bins_are_nan():
    curve = reliability(np.array([0.0, 0.25, 0.5, 1.0]), np.array([0, 1, 1, 0]), 4)
    np.testing.assert_array_equal(curve.films, [2, 1, 0, 1])
    np.testing.assert_array_equal(curve.share, [0.5, 1, np.nan, 0])
    assert curve.worst == 1.0
    np.testing.assert_allclose(curve.error, (2 * 0.375 + 0.5 + 1) / 4)


def test_a_calibrated_model_has_little_error_and_a_certain_wrong_one_all():
    rng = np.random.default_rng(0)
    said = rng.random(20000)
    assert calibration_error(said, (rng.random(20000) < said).astype(int)) < 0.015
    assert calibration_error(np.ones(5), np.zeros(5, int)) == 1.0


@pytest.mark.parametrize("k", [2, 4])
def test_brier_scores_are_those_of_scikit_learn(k):
    p, labels = case(k=k)
    if k == 2:
        one = brier_score(p[:, 1], labels)
        np.testing.assert_allclose(one, brier_score_loss(labels, p[:, 1]))
        np.testing.assert_allclose(brier_score(p, labels), 2 * one)
    expected = brier_score_loss(labels, p, scale_by_half=False)
    np.testing.assert_allclose(brier_score(p, labels), expected)


def test_the_chosen_class_and_whether_it_was_right():
    p = np.array([[0.7, 0.3], [0.2, 0.8]])
    confidence, right = top_label(p, np.array([0, 0]))
    np.testing.assert_array_equal(confidence, [0.7, 0.8])
    np.testing.assert_array_equal(right, [True, False])


def test_single_precision_is_summed_in_double():
    p, labels = case(n=5000)
    low = p.astype(np.float32)
    assert calibration_error(low, labels) == pytest.approx(
        calibration_error(low.astype(np.float64), labels), abs=1e-12
    )


def test_what_is_no_probability_is_refused():
    p, labels = case(n=6)
    two = np.array([0, 1, 0, 1, 0, 1])
    wrong = {
        r"is no probability": lambda: calibration_error(3 * p - 1, labels),
        "nan is no probability": lambda: brier_score(np.full(6, np.nan), two),
        "sums to 1.5": lambda: top_label(np.full((6, 3), 0.5), labels),
        "do not fit probabilities of 2": lambda: brier_score(p[:, 1], two + 1),
        "of 3 classes": lambda: brier_score(p, two + 2),
        "bins=0": lambda: reliability(p[:, 0], two, 0),
        "0 films": lambda: reliability(p[:0, 0], two[:0]),
        "no films": lambda: brier_score(p[:0], labels[:0]),
    }
    for words, call in wrong.items():
        with pytest.raises(InputError, match=words):
            call()


@pytest.mark.usefixtures("unchecked")
def test_labels_in_a_column_or_of_other_films_are_refused():
    p, labels = softmax(np.zeros((4, 3)), 1), np.array([0, 1, 2, 1])
    for wrong in (labels[:, None], labels[:3], labels.astype(float)):
        for score in (calibration_error, brier_score, top_label):
            with pytest.raises(InputError, match="labels of shape"):
                score(p, wrong)
        with pytest.raises(InputError, match="labels of shape"):
            brier_score(p[:, 1], wrong)
    with pytest.raises(InputError, match="does not fit outcomes"):
        reliability(p[:, 0], labels[:3])


@pytest.mark.parametrize("outcome", [[-1, 1], [1, 2], [np.nan, np.nan]])
def test_outcomes_are_zero_or_one(outcome, unchecked):
    with pytest.raises(InputError, match="outcomes must be 0 or 1"):
        reliability(np.array([0.2, 0.8]), np.array(outcome))
