"""DD-Ranking's scores at values found by hand, and which way they turn."""

import math

import numpy as np
import pytest

from jaxdistill.errors import InputError
from jaxdistill.evaluation.ranking import augmentation_robust_score, label_robust_score

NEUTRAL = (1 - math.exp(-1)) / (math.e - math.exp(-1))
SCORES = (label_robust_score, augmentation_robust_score)


def test_label_robust_score_by_hand():
    # IOR 0.1, HLR 0.3: 0.5 * 0.1 - 0.5 * 0.3 = -0.1; 0.8 * 0.1 - 0.2 * 0.3 = 0.02
    half = (0.904837418 - 0.367879441) / 2.350402387
    most = (1.020201340 - 0.367879441) / 2.350402387
    assert label_robust_score(0.9, 0.6, 0.7, 0.6) == pytest.approx(half, abs=1e-9)
    assert label_robust_score(0.9, 0.6, 0.7, 0.6, 0.8) == pytest.approx(most, abs=1e-9)


def test_augmentation_robust_score_by_hand():
    # 0.5 * 0.2 + 0.5 * 0.1 = 0.15; 0.2 * 0.2 + 0.8 * 0.1 = 0.12
    half = (1.161834243 - 0.367879441) / 2.350402387
    less = (1.127496852 - 0.367879441) / 2.350402387
    found = augmentation_robust_score(0.7, 0.5, 0.6, 0.5)
    assert found == pytest.approx(half, abs=1e-9)
    found = augmentation_robust_score(0.7, 0.5, 0.6, 0.5, weight=0.2)
    assert found == pytest.approx(less, abs=1e-9)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_ends_and_the_neutral_point(weight):
    assert label_robust_score(0, 1, 1, 0, weight) == pytest.approx(1)
    assert label_robust_score(1, 0, 0, 1, weight) == pytest.approx(0)
    assert augmentation_robust_score(1, 0, 1, 0, weight) == pytest.approx(1)
    assert augmentation_robust_score(0, 1, 0, 1, weight) == pytest.approx(0)
    for score in SCORES:
        assert score(0.4, 0.4, 0.7, 0.7, weight) == pytest.approx(NEUTRAL)


@pytest.mark.parametrize(
    ("score", "signs"),
    [(label_robust_score, (-1, 1, 1, -1)), (augmentation_robust_score, (1, -1, 1, -1))],
)
def test_each_accuracy_counts_in_its_own_direction(score, signs):
    before = score(0.5, 0.5, 0.5, 0.5)
    for place, sign in enumerate(signs):
        moved = [0.5] * 4
        moved[place] = 0.6
        assert np.sign(score(*moved) - before) == sign


@pytest.mark.parametrize("score", SCORES)
def test_what_lifts_set_and_rival_alike_earns_nothing(score):
    """A teacher's labels or an augmentation that help any subset by as much."""
    np.testing.assert_allclose(
        score(0.6, 0.5, 0.9, 0.8, 0.3), score(0.4, 0.3, 0.4, 0.3, 0.3), rtol=1e-12
    )


@pytest.mark.parametrize("score", SCORES)
def test_arrays_are_scored_entry_by_entry(score):
    values = np.random.default_rng(0).uniform(size=(4, 3, 2))
    found = score(*values, weight=0.7)
    expected = [
        [score(*map(float, values[:, i, j]), weight=0.7) for j in range(2)]
        for i in range(3)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(
        score(0.9, *values[1:]), score(np.full((3, 2), 0.9), *values[1:]), rtol=1e-12
    )


def test_single_precision_is_not_lost_in_the_exponential():
    values = np.float32([0.9, 0.6, 0.7, 0.6]).reshape(4, 1)
    expected = label_robust_score(*map(float, values[:, 0]))
    np.testing.assert_allclose(label_robust_score(*values), [expected], rtol=1e-15)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("value", [71.0, -0.01, math.nan, 1.001])
def test_percent_and_missing_scores_are_refused(score, value):
    with pytest.raises(InputError, match=rf"={value} is not a fraction .* by 100"):
        score(0.5, 0.5, value, 0.5)
    with pytest.raises(InputError, match=rf"={value} is not a fraction"):
        score(0.5, np.array([0.5, value]), 0.5, 0.5)
    with pytest.raises(InputError, match=rf"^weight={value} is not a fraction"):
        score(0.5, 0.5, 0.5, 0.5, value)


def test_the_refusal_names_the_accuracy():
    with pytest.raises(InputError, match=r"^random_own=60\.0 is"):
        label_robust_score(0.9, 0.6, 0.7, 60.0)
    with pytest.raises(InputError, match=r"^syn_plain=60\.0 is"):
        augmentation_robust_score(0.9, 0.6, 60.0, 0.7)
