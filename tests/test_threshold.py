"""Where two classes are parted, against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_curve

from jaxdistill.errors import InputError
from jaxdistill.evaluation.threshold import balanced_accuracy_at, chosen_threshold


@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_parts_better(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 80)
    said = np.round(rng.beta(2 + labels, 5 - labels), 2)  # with ties
    found = chosen_threshold(said, labels)
    down, up, _ = roc_curve(labels, said)
    best = (1 + (up - down).max()) / 2
    assert balanced_accuracy_at(found, said, labels) == pytest.approx(best)


def test_the_score_is_that_of_scikit_learn():
    rng = np.random.default_rng(1)
    labels, said = rng.integers(0, 2, 50), rng.random(50)
    for cut in (0.0, 0.3, 0.7, 1.1):
        with np.errstate(all="ignore"):
            wanted = balanced_accuracy_score(labels, said >= cut)
        assert balanced_accuracy_at(cut, said, labels) == pytest.approx(wanted)


def test_a_gap_is_parted_in_its_middle():
    said, labels = np.array([0.1, 0.2, 0.6, 0.9]), np.array([0, 0, 1, 1])
    assert chosen_threshold(said, labels) == pytest.approx(0.4)


def test_one_class_has_no_threshold():
    with pytest.raises(InputError, match="one alone"):
        chosen_threshold(np.array([0.1, 0.9]), np.array([1, 1]))


@pytest.mark.parametrize(
    ("said", "labels", "message"),
    [
        ([0.1, 0.9], [1, 2], "labels from 1 to 2"),
        ([0.1, 0.9], [-1, 1], "labels from -1 to 1"),
        ([0.1, np.nan], [0, 1], "nan is no probability"),
        ([0.1, 0.9, 0.5], [0, 1], "do not fit 3 films"),
    ],
)
def test_what_would_be_misread_is_refused(said, labels, message, unchecked):
    for score in (chosen_threshold, lambda p, y: balanced_accuracy_at(0.5, p, y)):
        with pytest.raises(InputError, match=message):
            score(np.array(said), np.array(labels))
