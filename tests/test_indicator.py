"""The indicator against SciPy, textbook intervals, and simulated new data sets."""

import itertools

import numpy as np
import pytest
from scipy import stats

from jaxdistill.errors import InputError
from jaxdistill.evaluation.indicator import (
    correlation,
    fit_relation,
    leave_one_group_out,
    mean_absolute_error,
    predict,
)


def simulate(rng, sets, each, between=0.05, within=0.02):
    """Points of data sets that differ in difficulty and in what distillation gains."""
    groups = np.repeat(np.arange(sets), each)
    x = (rng.uniform(0.25, 0.7, sets)[:, None] + 0.05 * np.arange(each)).ravel()
    effect = between * rng.standard_normal(sets)
    noise = within * rng.standard_normal(sets * each)
    return x, 0.15 + 0.7 * x + effect[groups] + noise, groups


def example(seed=0, sets=5, each=3):
    return simulate(np.random.default_rng(seed), sets, each)


def students(x, y, at, level):
    """The textbook's prediction interval of one more point."""
    line, n = stats.linregress(x, y), len(x)
    centre = line.intercept + line.slope * at
    rss = np.sum((y - line.intercept - line.slope * x) ** 2)
    off = (at - x.mean()) ** 2 / np.sum((x - x.mean()) ** 2)
    half = np.sqrt(rss / (n - 2) * (1 + 1 / n + off))
    half *= stats.t.ppf((1 + level) / 2, n - 2)
    return centre, centre - half, centre + half


def jackknife(x, y, groups, at, level):
    """Barber et al. 2021, eq. 1.3, of data sets with equally many points."""
    ends = []
    for name in set(groups.tolist()):
        rest = groups != name
        line = stats.linregress(x[rest], y[rest])
        for i in np.flatnonzero(~rest):
            miss = abs(y[i] - line.intercept - line.slope * x[i])
            centre = line.intercept + line.slope * at
            ends.append((centre - miss, centre + miss))
    lows, highs = np.sort(np.array(ends), axis=0).T
    sets = len(set(groups.tolist()))
    each = len(x) // sets
    rank = min(int(np.ceil(level * (sets + 1) * each)), len(x))
    return lows[len(x) - rank], highs[rank - 1]


def test_the_line_is_least_squares():
    x, y, groups = example()
    found, expected = fit_relation(x, y, groups), stats.linregress(x, y)
    np.testing.assert_allclose(
        [found.slope, found.intercept], [expected.slope, expected.intercept], rtol=1e-10
    )
    assert (found.points, found.sets, found.freedom) == (15, 5, 3)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
def test_one_point_per_data_set_gives_the_wider_of_the_two_textbook_intervals(level):
    wider = set()
    for seed in range(6):
        x, y, groups = example(seed, sets=19, each=1)  # 18 of 20 are 0.9 exactly
        for at in (0.3, 0.45, 0.7):
            found = predict(fit_relation(x, y, groups), at, level)
            centre, low, high = students(x, y, at, level)
            first, last = jackknife(x, y, groups, at, level)
            expected = (centre, min(low, first), max(high, last))
            np.testing.assert_allclose(found, expected, rtol=1e-9)
            wider |= {low < first, high > last}
    assert wider == {True, False}  # each of the two was needed


def test_jackknife_over_data_sets_when_their_points_scatter():
    """One data set far off the line of the others: jackknife+ is the wider."""
    x, y, groups = example(3, sets=12, each=2)
    y[groups == 4] += 0.2
    first, last = jackknife(x, y, groups, 0.5, 0.9)
    _, low, high = predict(fit_relation(x, y, groups), 0.5, 0.9)
    assert low <= first + 1e-12
    assert high == pytest.approx(last, abs=1e-12)


def test_repeated_measurements_buy_no_confidence():
    x, y, groups = example(sets=6, each=2)
    once = predict(fit_relation(x, y, groups), 0.4)
    again = [np.tile(v, 5) for v in (x, y, groups)]
    np.testing.assert_allclose(predict(fit_relation(*again), 0.4), once, rtol=1e-10)


def test_order_and_names_do_not_matter_and_scale_carries_over():
    x, y, groups = example()
    order = np.random.default_rng(1).permutation(len(x))
    names = np.array(["path", "blood", "derma", "organ", "chest"])[groups]
    expected = np.array(predict(fit_relation(x, y, groups), 0.5))
    moved = fit_relation(x[order] / 2, 0.1 + y[order] / 2, names[order])
    np.testing.assert_allclose(predict(moved, 0.25), 0.1 + expected / 2, rtol=1e-10)


def test_intervals_grow_with_level_and_distance_and_stay_fractions():
    relation = fit_relation(*example(sets=12))
    widths = [np.ptp(predict(relation, 0.5, level)) for level in (0.5, 0.8, 0.95)]
    assert widths == sorted(widths)
    assert len(set(widths)) == 3
    few = fit_relation(*simulate(np.random.default_rng(0), 4, 3, between=0.01))
    near, far = predict(few, few.mean), predict(few, few.mean + 0.25)
    assert far.high < 1
    assert np.ptp(far) > 1.2 * np.ptp(near)
    steep = fit_relation(
        np.array([0.1, 0.2, 0.3]), np.array([0.1, 0.4, 0.72]), np.arange(3)
    )
    assert predict(steep, 1.0).expected == predict(steep, 1.0).high == 1
    assert predict(steep, 0.0).expected == predict(steep, 0.0).low == 0


@pytest.mark.parametrize(
    ("sets", "each", "between", "within"),
    [(3, 2, 0.05, 0.01), (4, 6, 0.05, 0.02), (8, 4, 0.05, 0.01), (12, 3, 0.0, 0.03)],
)
def test_new_data_sets_fall_inside_as_often_as_promised(sets, each, between, within):
    rng, level, repeats, inside, naive = np.random.default_rng(sets), 0.8, 500, 0, 0
    for _ in range(repeats):
        x, y, groups = simulate(rng, sets + 1, each, between, within)
        old, new = groups < sets, len(x) - 1
        relation = fit_relation(x[old], y[old], groups[old])
        _, low, high = predict(relation, x[new], level)
        inside += low <= y[new] <= high
        _, low, high = students(x[old], y[old], x[new], level)
        naive += low <= y[new] <= high
    slack = 2 * np.sqrt(level * (1 - level) / repeats)
    assert inside / repeats > level - slack
    if between:  # the textbook's, with points for data sets, promises too much
        assert naive / repeats < level - slack


def test_rare_failures_of_distillation_are_covered():
    """Errors far from normal: one data set in five loses a quarter."""
    rng, repeats, inside = np.random.default_rng(0), 400, 0
    for _ in range(repeats):
        x, y, groups = simulate(rng, 16, 2, between=0.01)
        y = y - 0.25 * (rng.uniform(size=16) < 0.2)[groups]
        y, old = np.clip(y, 0, 1), groups < 15
        _, low, high = predict(fit_relation(x[old], y[old], groups[old]), x[-1], 0.9)
        inside += low <= y[-1] <= high
    assert inside / repeats > 0.9 - 2 * np.sqrt(0.09 / repeats)


def test_leaving_one_data_set_out_by_hand():
    x, y, groups = example(sets=4, each=2)
    names = np.array(["a", "b", "c", "d"])[groups]
    found = leave_one_group_out(x, y, names)
    assert list(found) == ["a", "b", "c", "d"]
    for name, errors in found.items():
        line = stats.linregress(x[names != name], y[names != name])
        own = names == name
        expected = y[own] - line.intercept - line.slope * x[own]
        np.testing.assert_allclose(errors, expected, rtol=1e-9)


def test_a_line_through_one_place_is_flat():
    x, y = np.array([0.2, 0.2, 0.6]), np.array([0.3, 0.5, 0.9])
    found = leave_one_group_out(x, y, np.array([0, 0, 1]))
    np.testing.assert_allclose(found[0], [-0.6, -0.4])
    np.testing.assert_allclose(found[1], [0.5])


def test_each_data_set_counts_once_in_the_error():
    errors = {"many": np.array([0.1, -0.1, 0.1, -0.1]), "one": np.array([-0.4])}
    assert mean_absolute_error(errors) == pytest.approx(0.25)


def test_correlations_and_every_resample_of_three_data_sets():
    """At 0.98 the ends are the extremes: the rarest resample has probability 1/27."""
    x, y, groups = example(2, sets=3, each=4)
    x = np.round(x, 1)  # with ties
    found = correlation(x, y, groups, level=0.98, draws=3000)
    assert found.pearson == pytest.approx(stats.pearsonr(x, y)[0], abs=1e-12)
    assert found.spearman == pytest.approx(stats.spearmanr(x, y)[0], abs=1e-12)
    resamples = [
        np.concatenate([np.flatnonzero(groups == g) for g in chosen])
        for chosen in itertools.combinations_with_replacement(range(3), 3)
    ]
    for ours, theirs in (
        (found.pearson_interval, stats.pearsonr),
        (found.spearman_interval, stats.spearmanr),
    ):
        values = [theirs(x[rows], y[rows])[0] for rows in resamples]
        np.testing.assert_allclose(ours, (min(values), max(values)), atol=1e-12)


def test_correlation_of_two_scattered_data_sets_is_unsure():
    """Within a data set nothing follows; only the pair of them makes a slope."""
    x = np.array([0.2, 0.2, 0.2, 0.8, 0.8, 0.8])
    y = np.array([0.2, 0.3, 0.4, 0.7, 0.8, 0.9])
    groups = np.repeat([0, 1], 3)
    found = correlation(x, y, groups)  # a data set alone has one x, and no r
    assert found.pearson_interval == pytest.approx((found.pearson,) * 2)
    x = np.array([0.2, 0.3, 0.4, 0.7, 0.8, 0.9])
    found = correlation(x, np.array([0.4, 0.3, 0.2, 0.9, 0.8, 0.7]), groups)
    assert found.pearson > 0.7
    assert found.pearson_interval == pytest.approx((-1, found.pearson))


def test_correlation_ignores_order_and_scale_and_keeps_its_seed():
    x, y, groups = example()
    expected = correlation(x, y, groups, seed=1)
    order = np.random.default_rng(1).permutation(len(x))
    moved = correlation(0.1 + x[order] / 3, y[order] / 2, groups[order], seed=1)
    for ours, theirs in zip(moved, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    bent = correlation(x**3, y, groups, seed=1)
    assert bent.spearman_interval == pytest.approx(expected.spearman_interval)
    assert bent.pearson != pytest.approx(expected.pearson, abs=1e-6)
    assert correlation(x, y, groups, seed=2) != expected
    assert correlation(x, y, groups, seed=1) == expected


@pytest.mark.parametrize("use", [fit_relation, leave_one_group_out, correlation])
def test_points_that_cannot_tell_are_refused(use):
    x, y, groups = example()
    with pytest.raises(InputError, match=r"^2 points .* give 3 or more"):
        use(x[:2], y[:2], np.arange(2))
    with pytest.raises(InputError, match=r"groups hold 1 data set.* second one"):
        use(x, y, np.zeros(len(x), int))
    with pytest.raises(InputError, match=r"^x=0\.5 at every point"):
        use(np.full_like(x, 0.5), y, groups)
    with pytest.raises(InputError, match=r"^y=nan is not a fraction"):
        use(x, np.where(groups == 1, np.nan, y), groups)
    with pytest.raises(InputError, match=r"^x=\d\d\.\d+ is not a fraction .* by 100"):
        use(100 * x, y, groups)


def test_levels_draws_and_new_values_are_checked():
    x, y, groups = example()
    relation = fit_relation(x, y, groups)
    with pytest.raises(InputError, match=r"^x=50\.0 is not a fraction"):
        predict(relation, 50.0)
    for level in (0, 1, 90):
        with pytest.raises(InputError, match=rf"^level={level} must lie between"):
            predict(relation, 0.5, level)
        with pytest.raises(InputError, match=rf"^level={level} must lie between"):
            correlation(x, y, groups, level=level)
    with pytest.raises(InputError, match=r"^draws=5 is too few .* 100 or more"):
        correlation(x, y, groups, draws=5)
    with pytest.raises(InputError, match=r"^y=0\.5 at every point"):
        correlation(x, np.full_like(y, 0.5), groups)
