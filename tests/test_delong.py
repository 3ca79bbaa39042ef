"""DeLong's variance against its definition, other programs, and chance itself."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from jaxdistill.errors import InputError
from jaxdistill.evaluation.delong import (
    Area,
    Difference,
    _columns,
    auc_delong,
    delong_test,
)
from jaxdistill.evaluation.metrics import macro_auc

LABELS = np.array([0, 1, 1, 0, 0, 1, 0])


def films(seed, m=12, n=17, ties=False, gap=0.8):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([1, 0], [m, n]))
    scores = rng.normal(size=m + n) + gap * labels
    return (np.round(scores) if ties else scores), labels


def classes(rng, size, k=3, gap=1.0, shares=(0.6, 0.25, 0.15)):
    labels = rng.choice(k, size, p=shares)
    return softmax(rng.normal(size=(size, k)) + gap * np.eye(k)[labels], 1), labels


def by_definition(scores, others, labels):
    """Areas and their covariance from all pairs of films, as the paper writes them."""
    placed = []
    for s in (scores, others):
        up, down = s[labels == 1], s[labels == 0]
        wins = (up[:, None] > down) + 0.5 * (up[:, None] == down)
        placed.append((wins.mean(), wins.mean(1), wins.mean(0)))
    (a, a10, a01), (b, b10, b01) = placed
    covariance = np.cov(a10, b10)[0, 1] / len(a10) + np.cov(a01, b01)[0, 1] / len(a01)
    return a, b, covariance


# ---- two classes -----------------------------------------------------------------


def test_a_case_counted_by_hand():
    """Positives 2, 3, 3 and negatives 1, 2: wins 1, .5; 1, 1; 1, 1."""
    found = auc_delong(np.array([2, 3, 3, 1, 2]), np.array([1, 1, 1, 0, 0]))
    assert found.auc == pytest.approx(5.5 / 6)
    positive = np.var([0.75, 1, 1], ddof=1) / 3
    negative = np.var([1, 2.5 / 3], ddof=1) / 2
    assert found.variance == pytest.approx(positive + negative)
    assert found.pairs == 2


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_variance_and_covariance_equal_the_definition(seed, ties):
    scores, labels = films(seed, ties=ties)
    others = scores + np.random.default_rng(seed + 50).normal(size=len(labels))
    a, b, covariance = by_definition(scores, others, labels)
    found = delong_test(scores, others, labels)
    np.testing.assert_allclose([found.first.auc, found.second.auc], [a, b])
    np.testing.assert_allclose(a, roc_auc_score(labels, scores))
    variances = [by_definition(s, s, labels)[2] for s in (scores, others)]
    np.testing.assert_allclose(
        [found.first.variance, found.second.variance], variances, rtol=1e-10
    )
    expected = sum(variances) - 2 * covariance
    np.testing.assert_allclose(found.variance, expected, rtol=1e-9)
    np.testing.assert_allclose(found.z, (a - b) / expected**0.5, rtol=1e-9)


def test_an_independent_program_gives_the_same_test():
    peer = pytest.importorskip("MLstatkit")
    scores, labels = films(3, m=60, n=80)
    scores = 1 / (1 + np.exp(-scores))
    others = np.clip(scores + films(4, m=60, n=80)[0] * 0.2, 0, 1)
    z, p, *_ = peer.Delong_test(labels, scores, others)
    found = delong_test(scores, others, labels)
    np.testing.assert_allclose(abs(z), abs(found.z), rtol=1e-6)
    np.testing.assert_allclose(p, found.p, rtol=1e-6)


def test_only_the_order_counts_and_which_class_is_which_does_not():
    scores, labels = films(1)
    one = auc_delong(scores, labels)
    for other in (auc_delong(np.exp(scores), labels), auc_delong(-scores, 1 - labels)):
        np.testing.assert_allclose(other, one, rtol=1e-12)
    two = auc_delong(np.stack([-scores, scores], axis=1), labels)
    np.testing.assert_allclose(two, one, rtol=1e-12)


def test_scores_may_be_whole_numbers_of_any_kind_and_single_precision():
    rated = np.array([1, 3, 4, 2, 2, 5, 1], np.uint8)
    assert auc_delong(rated, LABELS) == auc_delong(rated.astype(np.float32), LABELS)


def test_scores_without_end_are_still_ordered():
    scores = np.array([-np.inf, np.inf, 1.0, 0.0])
    assert auc_delong(scores, np.array([0, 1, 1, 0])).auc == 1.0


# ---- intervals -------------------------------------------------------------------


def test_intervals_are_those_of_the_formulas():
    area = Area(0.9, 0.0016, 20)
    np.testing.assert_allclose(area.plain_interval(), (0.8216014, 0.9783986), rtol=1e-6)
    reach = 1.959964 * 0.04 / 0.09
    low, high = (1 / (1 + np.exp(-(np.log(9) + s * reach))) for s in (-1, 1))
    np.testing.assert_allclose(area.interval(), (low, high), rtol=1e-6)
    assert Area(0.99, 0.01, 20).plain_interval()[1] == 1.0
    assert area.interval(0.5)[0] > low


@pytest.mark.parametrize("side", [0, 1])
def test_films_told_apart_without_error_prove_what_independent_pairs_do(side):
    labels = np.repeat([0, 1], [30, 5])
    scores = labels if side else -labels
    area = auc_delong(scores.astype(float), labels)
    low, high = area.interval()
    assert area[:2] == (side, 0.0)
    assert (high - low) == pytest.approx(1 - 0.025 ** (1 / 5))
    assert area.auc in (low, high)


@pytest.mark.parametrize("gap", [0.5, 1.8])
def test_the_interval_holds_the_truth_as_often_as_it_says(gap):
    """Few films: the logit interval keeps 95 %, within three deviations of 300 runs."""
    from scipy.special import ndtr

    truth = ndtr(gap / 2**0.5)
    held = {"interval": 0, "plain_interval": 0}
    for seed in range(300):
        area = auc_delong(*films(seed, m=20, n=25, gap=gap))
        for name in held:
            low, high = getattr(area, name)()
            held[name] += low <= truth <= high
    assert 0.912 <= held["interval"] / 300 <= 0.988
    assert held["plain_interval"] <= held["interval"]


def test_equal_models_differ_by_chance_as_often_as_p_says():
    rng, small = np.random.default_rng(0), 0
    for _ in range(300):
        labels = np.repeat([0, 1], 30)
        truth = rng.normal(size=60) + labels
        pair = (truth + 0.7 * rng.normal(size=60) for _ in range(2))
        small += delong_test(*pair, labels).p < 0.1
    assert abs(small / 300 - 0.1) < 3 * (0.1 * 0.9 / 300) ** 0.5


# ---- more than two classes -------------------------------------------------------


def test_the_macro_area_is_that_of_the_metrics():
    scores, labels = classes(np.random.default_rng(0), 90)
    area = auc_delong(scores, labels)
    assert area.auc == pytest.approx(macro_auc(scores, labels), rel=1e-12)
    assert area.auc == pytest.approx(
        roc_auc_score(labels, scores, multi_class="ovr"), rel=1e-12
    )


def test_the_macro_variance_equals_the_jackknife_of_films():
    """Which knows nothing of placement: each film is left out in turn."""
    scores, labels = classes(np.random.default_rng(1), 200)
    others = softmax(np.log(scores) + np.random.default_rng(2).normal(size=(200, 3)), 1)
    without = [
        [macro_auc(np.delete(s, i, 0), np.delete(labels, i)) for s in (scores, others)]
        for i in range(200)
    ]
    spread = 199 * np.cov(np.array(without).T, ddof=0)
    found = delong_test(scores, others, labels)
    got = [found.first.variance, found.second.variance, found.variance]
    difference = spread[0, 0] + spread[1, 1] - 2 * spread[0, 1]
    np.testing.assert_allclose(got, [spread[0, 0], spread[1, 1], difference], rtol=0.03)


def test_the_macro_variance_is_that_of_repeated_studies():
    rng = np.random.default_rng(3)
    runs = [auc_delong(*classes(rng, 120)) for _ in range(300)]
    areas, variances = np.array([r[:2] for r in runs]).T
    np.testing.assert_allclose(variances.mean(), areas.var(ddof=1), rtol=0.2)
    truth = areas.mean()
    held = np.mean([r.interval()[0] <= truth <= r.interval()[1] for r in runs])
    assert 0.912 < held < 0.988


def test_classes_that_go_together_are_not_taken_for_independent():
    """Of two columns that mirror each other, the second knows nothing more."""
    scores, labels = films(6, m=20, n=20)
    one = auc_delong(scores, labels)
    two = auc_delong(np.stack([-scores, scores], 1), labels)
    assert two.variance == pytest.approx(one.variance, rel=1e-12)
    apart = auc_delong(np.stack([-films(9, 20, 20)[0], scores], 1), labels)
    assert apart.variance < one.variance


def test_films_may_come_in_any_order():
    scores, labels = classes(np.random.default_rng(5), 60)
    order = np.random.default_rng(6).permutation(60)
    np.testing.assert_allclose(
        auc_delong(scores[order], labels[order]), auc_delong(scores, labels), rtol=1e-9
    )


# ---- where there is nothing to tell ----------------------------------------------


def test_constant_scores_have_half_the_area_and_the_same_model_no_difference():
    flat = auc_delong(np.zeros(7), LABELS)
    assert flat[:2] == (0.5, 0.0)
    np.testing.assert_allclose(flat.interval(), (0.5, 0.5))
    scores, labels = films(2)
    same = delong_test(scores, 3 * scores + 1, labels)
    assert (same.value, same.z, same.p) == (0.0, 0.0, 1.0)
    assert same.interval() == (0.0, 0.0)


def test_a_perfect_and_a_constant_model_give_no_variance_to_judge_by():
    found = delong_test(LABELS.astype(float), np.zeros(7), LABELS)
    assert found.value == 0.5
    assert np.isnan([found.z, found.p, *found.interval()]).all()


def test_differences_are_signed_and_cut_to_what_is_possible():
    difference = Difference(Area(0.9, 0.1, 3), Area(0.2, 0.1, 3), 0.2)
    low, high = difference.interval()
    assert (difference.value, high) == (pytest.approx(0.7), 1.0)
    assert low < 0 < difference.z


def test_what_cannot_be_used_is_refused_in_a_sentence():
    good, k3 = np.linspace(0, 1, 7), np.full((7, 3), 1 / 3)
    wrong = {
        "nan": lambda: auc_delong(np.where(LABELS, np.nan, good), LABELS),
        "class 2 has 0 of": lambda: auc_delong(k3, LABELS),
        "class 1 has 1 of": lambda: auc_delong(good, np.eye(7, dtype=int)[0]),
        "labels from 0 to 2": lambda: auc_delong(good, LABELS * 2),
        "do not fit 7 films": lambda: _columns(good, LABELS[:6]),
        r"shape \(7, 1\) do not fit": lambda: auc_delong(good[:, None], LABELS),
        "same films": lambda: delong_test(good, k3, LABELS),
        "class 0 has 0 of": lambda: auc_delong(good[:0], LABELS[:0]),
        "level=95": lambda: auc_delong(good, LABELS).interval(95),
    }
    for words, call in wrong.items():
        with pytest.raises(InputError, match=words):
            call()


@pytest.mark.usefixtures("unchecked")
def test_labels_in_a_column_are_refused():
    scores, labels = films(0, 5, 5)
    for wrong in (labels[:, None], labels.astype(float), labels[:4]):
        with pytest.raises(InputError, match="labels of shape"):
            auc_delong(scores, wrong)
