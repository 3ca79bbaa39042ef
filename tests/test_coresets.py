"""Choices of real images against loops that follow the sentences word by word."""

import functools
import itertools

import jax
import numpy as np
import pytest
from helpers import tanh_network, toy_pool
from scipy.special import softmax

from jaxdistill.data.standard import standardise
from jaxdistill.distillation.coresets import (
    CORESETS,
    coreset,
    easiest,
    el2n_scores,
    embed_split,
    forgetting_counts,
    hardest,
    herding,
    k_center,
    k_means,
    k_means_medoids,
)
from jaxdistill.errors import InputError

# Every choice as a function of features, labels, ipc and seed.
CHOICES = {name: functools.partial(coreset, name) for name in CORESETS} | {
    "easiest": lambda features, *rest: easiest(features[:, 0], *rest),
    "hardest": lambda features, *rest: hardest(features[:, 0], *rest),
}


@pytest.fixture(params=CHOICES)
def choice(request):
    return CHOICES[request.param]


def random_set(size=40, width=5, seed=0):
    """Features around a far point, and labels of three classes of unequal size."""
    rng = np.random.default_rng(seed)
    features = 30 + rng.normal(size=(size, width))
    return features, np.minimum(rng.permutation(size) % 4, 2)


def blobs(count, members, seed):
    """`count` groups of unequal size, far apart, as features of one class."""
    rng = np.random.default_rng(seed)
    group = np.concatenate([np.arange(count)] * 3 + [np.zeros(members, int)])
    middles = 100 * np.eye(count)
    return middles[group] + rng.normal(size=(len(group), count)), group


def herding_by_hand(features, labels, ipc):
    chosen = []
    for c in sorted(set(labels)):
        members = [i for i, label in enumerate(labels) if label == c]
        mu = sum(features[i] for i in members) / len(members)
        own = []
        for j in range(ipc):
            running = sum((features[i] for i in own), np.zeros_like(mu))
            free = [i for i in members if i not in own]
            own.append(
                min(
                    free,
                    key=lambda i: np.linalg.norm((j + 1) * mu - running - features[i]),
                )
            )
        chosen += own
    return chosen


def k_center_by_hand(features, labels, ipc):
    chosen = []
    for c in sorted(set(labels)):
        members = [i for i, label in enumerate(labels) if label == c]
        mu = sum(features[i] for i in members) / len(members)
        own = [min(members, key=lambda i: np.linalg.norm(features[i] - mu))]
        while len(own) < ipc:
            free = [i for i in members if i not in own]
            gap = lambda i: min(np.linalg.norm(features[i] - features[j]) for j in own)  # noqa: E731, B023
            own.append(max(free, key=gap))
        chosen += own
    return chosen


def test_every_class_in_turn_and_no_image_twice(choice):
    features, labels = random_set()
    rows = choice(features, labels, 4, 3)
    np.testing.assert_array_equal(labels[rows], np.repeat([0, 1, 2], 4))
    assert len(set(rows)) == 12


def test_a_whole_class_is_taken_and_copies_are_images_too(choice):
    features, labels = np.ones((10, 3)), np.arange(10) % 2
    rows = choice(features, labels, 5, 0)
    np.testing.assert_array_equal(np.sort(rows[:5]), np.arange(0, 10, 2))
    np.testing.assert_array_equal(np.sort(rows[5:]), np.arange(1, 10, 2))


def test_a_seed_gives_one_choice(choice):
    features, labels = random_set()
    np.testing.assert_array_equal(
        choice(features, labels, 4, 7), choice(features, labels, 4, 7)
    )


@pytest.mark.parametrize("name", ["herding", "k_center", "easiest", "hardest"])
def test_the_order_of_the_images_does_not_matter(name):
    features, labels = random_set()
    order = np.random.default_rng(4).permutation(len(labels))
    moved = CHOICES[name](features[order], labels[order], 5, 0)
    expected = CHOICES[name](features, labels, 5, 0)
    np.testing.assert_array_equal(order[moved], expected)


def test_a_class_with_too_few_images(choice):
    with pytest.raises(InputError, match=r"ipc=4 .* class 1 holds \(3\).*lower ipc"):
        choice(np.zeros((8, 2)), np.array([0] * 5 + [1] * 3), 4, 0)


def test_a_class_without_images(choice):
    with pytest.raises(InputError, match="class 1 has no image"):
        choice(np.zeros((4, 2)), np.array([0, 0, 2, 2]), 1, 0)


def test_no_images(choice):
    with pytest.raises(InputError, match=r"ipc=0 .* 1 or more"):
        choice(np.zeros((4, 2)), np.array([0, 0, 1, 1]), 0, 0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite(choice, value):
    features, labels = random_set()
    features[6, 0] = value
    with pytest.raises(InputError, match=r"image 6 .* lower learning rate"):
        choice(features, labels, 2, 0)


def test_an_unknown_coreset():
    known = r"coreset='luck' .* herding, k_center, k_means"
    with pytest.raises(InputError, match=known):
        coreset("luck", *random_set(), 2, 0)


def test_each_name_is_its_own_choice():
    features, labels = random_set()
    for name, expected in {
        "herding": herding(features, labels, 4),
        "k_center": k_center(features, labels, 4),
        "k_means": k_means_medoids(features, labels, 4, 9),
    }.items():
        np.testing.assert_array_equal(coreset(name, features, labels, 4, 9), expected)


def test_herding_is_the_greedy_loop():
    features, labels = random_set()
    expected = herding_by_hand(features, labels, 6)
    np.testing.assert_array_equal(herding(features, labels, 6), expected)


def test_herding_follows_the_mean_better_than_chance():
    rng = np.random.default_rng(2)
    features, labels = rng.normal(size=(200, 4)), np.zeros(200, int)
    off = lambda rows: np.linalg.norm(features[rows].mean(0) - features.mean(0))  # noqa: E731
    assert off(herding(features, labels, 10)) < 0.3 * off(np.arange(10))


def test_k_center_is_the_greedy_loop():
    features, labels = random_set()
    expected = k_center_by_hand(features, labels, 6)
    np.testing.assert_array_equal(k_center(features, labels, 6), expected)


@pytest.mark.parametrize("seed", range(5))
def test_k_center_stays_within_twice_the_least_radius(seed):
    features = np.random.default_rng(seed).normal(size=(10, 2))
    gaps = np.linalg.norm(features[:, None] - features[None], axis=2)
    radius = lambda rows: gaps[:, list(rows)].min(axis=1).max()  # noqa: E731
    least = min(radius(rows) for rows in itertools.combinations(range(10), 3))
    assert least <= radius(k_center(features, np.zeros(10, int), 3)) <= 2 * least


@pytest.mark.parametrize("seed", range(5))
def test_k_means_rests_where_each_centre_is_the_mean_of_its_cell(seed):
    points = np.random.default_rng(seed).normal(size=(60, 3))
    centres = k_means(points, 6, np.random.default_rng(seed))
    cell = [int(np.argmin([np.linalg.norm(p - c) for c in centres])) for p in points]
    means = [points[np.equal(cell, c)].mean(axis=0) for c in range(6)]
    np.testing.assert_allclose(centres, means, rtol=1e-10)


@pytest.mark.parametrize("seed", range(8))
def test_k_means_takes_the_image_in_the_middle_of_every_group(seed):
    features, group = blobs(6, 40, 0)
    expected = set()
    for g in range(6):
        members = np.flatnonzero(group == g)
        off = features[members] - features[members].mean(axis=0)
        expected.add(members[np.argmin(np.linalg.norm(off, axis=1))])
    rows = k_means_medoids(features, np.zeros(len(group), int), 6, seed)
    assert set(rows) == expected


def test_centres_without_an_image_stay_where_they_are():
    points = np.repeat([[5.0], [6.0]], 3, axis=0)
    centres = k_means(points, 4, np.random.default_rng(0))
    assert set(centres.ravel()) == {5.0, 6.0}


@pytest.mark.parametrize("seed", range(4))
def test_centres_that_share_an_image_part_at_the_least_cost(seed):
    along = np.array([0.0, 1, 2, 3, 3, 3])
    # On an arc short moves sum to more than one long move, and their squares to less.
    features = np.stack([along, 0.2 * along * (3 - along)], axis=1)
    own = features - features.mean(axis=0)
    centres = k_means(own, 6, np.random.default_rng((seed, 0)))
    cost = np.sum((centres[:, None] - own[None]) ** 2, axis=2)
    total = lambda rows: sum(cost[i, row] for i, row in enumerate(rows))  # noqa: E731
    assert len(set(cost.argmin(axis=1))) < 6
    least = min(total(rows) for rows in itertools.permutations(range(6)))
    rows = k_means_medoids(features, np.zeros(6, int), 6, seed)
    np.testing.assert_allclose(total(rows), least, atol=1e-12)


def test_k_means_far_from_the_origin_is_as_exact():
    features, labels = random_set(80)
    features = np.round(features * 2**10) / 2**10  # the sums below are exact
    expected = k_means_medoids(features, labels, 4, 0)
    moved = k_means_medoids(features + 2.0**30, labels, 4, 0)
    np.testing.assert_array_equal(moved, expected)


def test_one_image_is_the_one_nearest_the_class_mean():
    features, labels = random_set()
    expected = herding(features, labels, 1)
    np.testing.assert_array_equal(k_center(features, labels, 1), expected)
    np.testing.assert_array_equal(k_means_medoids(features, labels, 1, 5), expected)


def test_other_seeds_start_k_means_elsewhere():
    features, labels = random_set(80)
    found = {tuple(k_means_medoids(features, labels, 6, seed)) for seed in range(4)}
    assert len(found) > 1


def test_the_ends_of_the_sorted_scores():
    scores, labels = np.array([5, 1, 4, 2, 3, 9, 7, 8]), np.array([0] * 5 + [1] * 3)
    np.testing.assert_array_equal(easiest(scores, labels, 2, 0), [1, 3, 6, 7])
    np.testing.assert_array_equal(hardest(scores, labels, 2, 0), [0, 2, 5, 7])


@pytest.mark.parametrize("choose", [easiest, hardest])
def test_the_seed_draws_among_equal_scores(choose):
    scores, labels = np.array([0] * 10 + [1] * 10), np.zeros(20, int)
    drawn = [choose(scores, labels, 3, seed) for seed in range(6)]
    assert len({tuple(rows) for rows in drawn}) > 1
    assert all(len(set(scores[rows])) == 1 for rows in drawn)


def test_el2n_is_the_mean_norm_of_the_error():
    rng = np.random.default_rng(0)
    probabilities = softmax(rng.normal(size=(3, 7, 4)), axis=2)
    labels = rng.integers(0, 4, 7)
    expected = np.zeros(7)
    for i in range(7):
        for net in range(3):
            error = probabilities[net, i].copy()
            error[labels[i]] -= 1
            expected[i] += np.sqrt(np.sum(error**2)) / 3
    np.testing.assert_allclose(el2n_scores(probabilities, labels), expected, rtol=1e-12)


def test_el2n_runs_from_sure_and_right_to_sure_and_wrong():
    probabilities = np.eye(3)[None, [0, 0]]
    found = el2n_scores(probabilities, np.array([0, 2]))
    np.testing.assert_allclose(found, [0, np.sqrt(2)])


@pytest.mark.parametrize("rows", [[[3.0, 1.0]], [[1.5, -0.5]], [[np.nan, 1.0]]])
def test_el2n_of_logits(rows):
    with pytest.raises(InputError, match="give the softmax of the logits"):
        el2n_scores(np.array([rows]), np.array([0]))


def test_forgetting_counts_turns_from_correct_to_wrong():
    rng = np.random.default_rng(0)
    correct = rng.random((9, 30)) < 0.4
    correct[:, 0], correct[:, 1] = False, True
    expected = []
    for record in correct.T:
        turns = sum(a and not b for a, b in itertools.pairwise(record))
        expected.append(turns if any(record) else 9)
    np.testing.assert_array_equal(forgetting_counts(correct), expected)
    assert expected[:2] == [9, 0]


@pytest.mark.parametrize("chunk", [5, 15, 256])
def test_features_do_not_depend_on_the_chunk(chunk):
    network, split = tanh_network(), toy_pool().val
    params = network.init(jax.random.key(0))
    expected = network.embed(params, standardise(split.images, split.standard))
    ours = embed_split(network, params, split, chunk)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
