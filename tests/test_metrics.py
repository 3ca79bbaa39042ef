"""Scores against scikit-learn, and cases small enough to count by hand."""

import numpy as np
import pytest
from sklearn import metrics as sk

from jaxdistill.evaluation.metrics import (
    as_probabilities,
    binary_auc,
    class_scores,
    macro_auc,
    scores,
    summarise,
)


def random_case(seed, classes=4, size=60, ties=False):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, size)])
    raw = rng.gamma(1.0, size=(len(labels), classes))
    raw[np.arange(len(labels)), labels] += 0.5
    if ties:
        raw = np.round(raw * 2) + 1
    return raw / raw.sum(axis=1, keepdims=True), labels


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("classes", [2, 4])
def test_scores_agree_with_scikit_learn(classes, ties):
    probabilities, labels = random_case(classes, classes, ties=ties)
    ours = scores(probabilities, labels)
    said = probabilities.argmax(axis=1)
    one_hot = np.eye(classes)[labels]
    expected = {
        "accuracy": sk.accuracy_score(labels, said),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, said),
        "f1_weighted": sk.f1_score(labels, said, average="weighted"),
        "auc": sk.roc_auc_score(one_hot, probabilities, average="macro"),
        "confusion": sk.confusion_matrix(labels, said, normalize="true"),
        "sensitivity": sk.recall_score(labels, said, average=None),
        "specificity": [
            sk.recall_score(labels != c, said != c) for c in range(classes)
        ],
    }
    for name, value in expected.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-12, err_msg=name)
    if classes > 2:
        ovr = sk.roc_auc_score(labels, probabilities, multi_class="ovr")
        np.testing.assert_allclose(ours["auc"], ovr, rtol=1e-12)


def test_harmonic_means_of_a_table_counted_by_hand():
    counts = np.array([[8.0, 2.0], [1.0, 9.0]])
    found = class_scores(counts)
    np.testing.assert_allclose(found["sensitivity"], [0.8, 0.9])
    np.testing.assert_allclose(found["specificity"], [0.9, 0.8])
    np.testing.assert_allclose(found["harmonic_means"], [1.44 / 1.7] * 2)
    np.testing.assert_allclose(found["f1"], [16 / 19, 18 / 21])


def test_an_absent_class_is_nan_alone_and_left_out_of_the_means():
    probabilities = np.array(
        [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1], [0.1, 0.2, 0.7]]
    )
    labels = np.array([0, 1, 1, 1])
    ours = scores(probabilities, labels)
    np.testing.assert_allclose(ours["sensitivity"], [1, 1 / 3, np.nan])
    np.testing.assert_allclose(ours["specificity"], [2 / 3, 1, 3 / 4])
    np.testing.assert_allclose(ours["balanced_accuracy"], 2 / 3)
    np.testing.assert_allclose(ours["harmonic_mean"], (0.8 + 0.5) / 2)
    assert np.isnan(ours["harmonic_means"][2])
    assert np.isnan(ours["confusion"][2]).all()
    np.testing.assert_allclose(
        ours["f1_weighted"], sk.f1_score(labels, [0, 1, 0, 2], average="weighted")
    )
    areas = [sk.roc_auc_score(labels == c, probabilities[:, c]) for c in (0, 1)]
    np.testing.assert_allclose(ours["auc"], np.mean(areas))


def test_a_class_never_right_scores_zero_not_nan():
    found = class_scores(np.array([[0.0, 3.0], [2.0, 0.0]]))
    for name in ("sensitivity", "specificity", "harmonic_means", "f1"):
        np.testing.assert_array_equal(found[name], [0, 0])


def test_areas_with_ties_and_without_a_rival():
    assert binary_auc(np.zeros(4), np.array([True, False, True, False])) == 0.5
    assert binary_auc(np.array([0.1, 0.9]), np.array([False, True])) == 1.0
    assert np.isnan(binary_auc(np.array([0.1, 0.9]), np.array([True, True])))
    assert np.isnan(macro_auc(np.full((3, 2), 0.5), np.zeros(3, int)))


def test_summaries_hold_mean_sample_deviation_and_count():
    runs = [
        {"a": 1.0, "v": np.array([0.0, 2.0])},
        {"a": 3.0, "v": np.array([2.0, 2.0])},
    ]
    assert summarise(runs) == {
        "a": {"mean": 2.0, "std": pytest.approx(2**0.5), "n": 2},
        "v": {"mean": [1.0, 2.0], "std": [pytest.approx(2**0.5), 0.0], "n": 2},
    }
    assert summarise(runs[:1])["v"] == {"mean": [0.0, 2.0], "std": [0.0, 0.0], "n": 1}


def test_films_that_are_sure_keep_their_order():
    """In float32 all margins above some 17 would be one probability, a tie."""
    margins = np.linspace(10, 34, 25, dtype=np.float32)
    said = as_probabilities(np.stack([np.zeros_like(margins), margins], axis=1))
    assert said.dtype == np.float64
    assert (np.diff(said[:, 1]) > 0).all()
    assert (np.diff(said[:, 0]) < 0).all()
    np.testing.assert_allclose(said.sum(axis=1), 1, rtol=1e-15)


def test_a_network_that_diverged_has_no_score():
    """It did not say class 0, whatever share of the films is of it."""
    p, labels = random_case(0)
    p[3, 1] = np.nan
    found = scores(p, labels)
    assert set(found) == set(scores(np.nan_to_num(p), labels))
    for value in found.values():
        assert np.isnan(value).all()
