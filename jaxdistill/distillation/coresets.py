"""Real images as small training sets: what every distilled set is measured against.

Features, probabilities and records of training come from networks trained on the same
training split, and from nothing else. Indices come class by class: rows `c * ipc` to
`(c + 1) * ipc` belong to class `c`. Each choice raises `InputError` for a class without
`ipc` images, and for features or scores that are not finite.
"""

from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from jaxdistill.data.standard import standardise
from jaxdistill.engine.sampling import check_ipc, class_table
from jaxdistill.errors import InputError, require_name
from jaxdistill.evaluation.checks import require_label_row, require_labels
from jaxdistill.types import Network, Params, Split

Features = Float[np.ndarray, "n d"]
Labels = Int[np.ndarray, " n"]
Scores = Float[np.ndarray, " n"] | Int[np.ndarray, " n"]
Indices = Int[np.ndarray, " m"]

ROUNDS = 100  # a bound; Lloyd's iteration rests by itself


def herding(features: Features, labels: Labels, ipc: int) -> Indices:
    """Indices of `ipc` images per class whose running mean stays nearest the class
    mean.

    Welling (2009): with mu the class mean and s_j the sum of those chosen so far, the
    next is argmin over x of || (j + 1) mu - s_j - f(x) ||.
    """

    def choose(own: np.ndarray, c: int) -> list[int]:
        del c
        chosen: list[int] = []
        mu, total, free = own.mean(axis=0), np.zeros(own.shape[1]), np.ones(len(own))
        for j in range(ipc):
            distance = np.linalg.norm((j + 1) * mu - total - own, axis=1)
            best = int(np.argmin(np.where(free > 0, distance, np.inf)))
            free[best] = 0
            total += own[best]
            chosen.append(best)
        return chosen

    return _per_class(choose, features, labels, ipc)


def k_center(features: Features, labels: Labels, ipc: int) -> Indices:
    """Indices of `ipc` images per class that leave no image of the class far from them.

    The next is argmax over x of min over chosen s of || f(x) - f(s) ||, after the image
    nearest the class mean: within twice the least possible radius (Gonzalez 1985), for
    coresets Sener and Savarese (2018, arXiv 1708.00489).
    """

    def choose(own: np.ndarray, c: int) -> list[int]:
        del c
        chosen = [int(np.argmin(_squares(own, own.mean(axis=0))))]
        nearest = _squares(own, own[chosen[0]])
        while len(chosen) < ipc:
            nearest[chosen[-1]] = -1.0  # below a copy of a chosen image, which has 0
            chosen.append(int(np.argmax(nearest)))
            nearest = np.minimum(nearest, _squares(own, own[chosen[-1]]))
        return chosen

    return _per_class(choose, features, labels, ipc)


def k_means_medoids(features: Features, labels: Labels, ipc: int, seed: int) -> Indices:
    """Indices of the images that stand for the `ipc` k-means centres of every class.

    Each centre gets the image nearest to it. Where centres share one, the distinct
    images with the least sum of squared distances are taken.
    """

    def choose(own: np.ndarray, c: int) -> np.ndarray:
        # Near the origin the products in `_cells` lose no digits.
        own = own - own.mean(axis=0)
        centres = k_means(own, ipc, np.random.default_rng((seed, c)))
        return linear_sum_assignment(cdist(centres, own, "sqeuclidean"))[1]

    return _per_class(choose, features, labels, ipc)


def easiest(scores: Scores, labels: Labels, ipc: int, seed: int) -> Indices:
    """Indices of the `ipc` lowest scores of every class; the seed orders equal ones.

    The usual choice at few images per class: there a network first needs what is
    typical, and the highest scores gather rare images and wrong labels (Sorscher et al.
    2022, arXiv 2206.14486).
    """

    def choose(own: np.ndarray, c: int) -> np.ndarray:
        # Many images are never forgotten; in stored order they may be one patient's.
        lots = np.random.default_rng((seed, c)).random(len(own))
        return np.lexsort((lots, own))[:ipc]

    return _per_class(choose, scores, labels, ipc)


def hardest(scores: Scores, labels: Labels, ipc: int, seed: int) -> Indices:
    """Indices of the `ipc` highest scores of every class; the seed orders equal ones.

    What the scores were made for: pruning a part of a large set, not choosing a few.
    """
    return easiest(-np.asarray(scores, np.float64), labels, ipc, seed)


def el2n_scores(
    probabilities: Float[np.ndarray, "nets n k"], labels: Labels
) -> Float[np.ndarray, " n"]:
    """Mean over networks of || p(x) - onehot(y) ||_2, Paul et al. (2021, arXiv
    2107.07075).

    The networks are those of an early epoch. Raises `InputError` for rows that are no
    probabilities, and for labels of other classes.
    """
    require_labels(np.asarray(labels), *probabilities.shape[1:])
    sums = probabilities.sum(axis=2, dtype=np.float64)
    if not (np.all(probabilities >= 0) and np.allclose(sums, 1, atol=1e-2)):
        raise InputError(
            f"probabilities hold rows with sums from {np.min(sums):.3g} to "
            f"{np.max(sums):.3g} or negative entries; EL2N needs them non-negative "
            "with sum 1: give the softmax of the logits"
        )
    onehot = labels[:, None] == np.arange(probabilities.shape[2])
    return np.linalg.norm(probabilities - onehot, axis=2).mean(axis=0)


def forgetting_counts(
    correct: Bool[np.ndarray, "epochs n"],
) -> Int[np.ndarray, " n"]:
    """How often each image turned from correct to wrong, Toneva et al. (2019, arXiv
    1812.05159).

    An image that was never correct counts as forgotten in every epoch, more than any
    other, as in the reference program. Counts of several runs add up.
    """
    forgotten = np.sum(correct[:-1] & ~correct[1:], axis=0)
    return np.where(correct.any(axis=0), forgotten, len(correct))


CORESETS: dict[str, Callable[[np.ndarray, np.ndarray, int, int], np.ndarray]] = {
    "herding": lambda features, labels, ipc, seed: herding(features, labels, ipc),
    "k_center": lambda features, labels, ipc, seed: k_center(features, labels, ipc),
    "k_means": k_means_medoids,
}
DRAWN = ("random", "random_soft")  # another subset for every network
RECORDED = ("el2n", "forgetting")  # by what networks in training made of each image
KNOWN = (*DRAWN, *CORESETS, *RECORDED)


def coreset(
    name: str, features: Features, labels: Labels, ipc: int, seed: int
) -> Indices:
    """Indices of one of `CORESETS`, the choices that need no more than features.

    Raises `InputError` for another name.
    """
    require_name("coreset", name, CORESETS)
    return CORESETS[name](features, labels, ipc, seed)


def k_means(
    points: Features, count: int, rng: np.random.Generator
) -> Float[np.ndarray, "count d"]:
    """Centres where Lloyd's iteration rests, from k-means++ starts.

    Arthur and Vassilvitskii (2007): each start is drawn with the probability
    D(x)^2 / sum D^2, D the distance to the nearest start before it.
    """
    starts = [int(rng.integers(len(points)))]
    nearest = _squares(points, points[starts[0]])
    while len(starts) < count:
        total = nearest.sum()
        odds = nearest / total if total > 0 else None  # all are copies of the starts
        starts.append(int(rng.choice(len(points), p=odds)))
        nearest = np.minimum(nearest, _squares(points, points[starts[-1]]))
    centres = points[starts]
    for _ in range(ROUNDS):
        member = np.eye(count)[_cells(points, centres)]
        sizes = member.sum(axis=0)[:, None]
        means = member.T @ points / np.maximum(sizes, 1)
        moved = np.where(sizes > 0, means, centres)  # an empty cell's centre stays
        if np.array_equal(moved, centres):
            break
        centres = moved
    return centres


def embed_split(
    network: Network, params: Params, split: Split, chunk: int = 256
) -> Features:
    """Features of every image of a split, computed in chunks."""
    embed = jax.jit(lambda x, s: network.embed(params, standardise(x, s)))
    chunk = min(chunk, split.size)
    # The last chunk is filled with images of the split, as some networks normalise
    # over all of a batch.
    places = [np.arange(i, i + chunk) % split.size for i in range(0, split.size, chunk)]
    parts = [embed(split.images[at], split.standard) for at in places]
    return np.concatenate([np.asarray(p) for p in parts])[: split.size]


def _per_class(
    choose: Callable, values: np.ndarray, labels: np.ndarray, ipc: int
) -> np.ndarray:
    """Indices in the set of `choose(values of a class, class)`, class after class."""
    values, labels = np.asarray(values, np.float64), np.asarray(labels)
    finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not finite.all():
        raise InputError(
            f"image {int(np.argmin(finite))} has a feature or score that is not a "
            "finite number; a coreset needs finite ones: train the network that gave "
            "it at a lower learning rate"
        )
    require_label_row(labels, len(values))
    classes = int(labels.max(initial=0)) + 1
    check_ipc(class_table(labels, classes), ipc)
    members = [np.flatnonzero(labels == c) for c in range(classes)]
    return np.concatenate(
        [rows[choose(values[rows], c)] for c, rows in enumerate(members)]
    )


def _cells(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The nearest centre of every point, by || c ||^2 - 2 x.c, one matrix product."""
    return np.argmin(np.sum(centres**2, axis=1) - 2 * points @ centres.T, axis=1)


def _squares(points: np.ndarray, point: np.ndarray) -> np.ndarray:
    return np.sum((points - point) ** 2, axis=1)
