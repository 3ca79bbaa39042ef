"""A labelled start and folds of films without labels, patients never parted.

arXiv:2202.06431, section 6.3 of whose programs: shuffle once, the first tenth keeps its
labels, the rest in three equal folds.
"""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import numpy as np
from jaxtyping import Int

from jaxdistill.data.splits import rank
from jaxdistill.errors import InputError
from jaxdistill.ranges import Many, Range, Seed
from jaxdistill.settings import declared
from jaxdistill.types import Pool


class Folds(NamedTuple):
    """Rows of the training split, and of what comes behind it.

    Those with labels, and those without, by fold.
    """

    labelled: Int[np.ndarray, " n"]
    unlabelled: tuple[Int[np.ndarray, " m"], ...]


@declared("films")
def divide(
    pool: Pool,
    further: Sequence[str] = (),
    *,
    labelled: Annotated[
        float, Range(0, 1, above=True), "share of training films that keep labels"
    ] = 0.1,
    folds: Annotated[Many, "parts of the others; they come in one by one"] = 3,
    seed: Annotated[Seed, "of who keeps labels"] = 0,
) -> Folds:
    """The training films of a pool, divided by groups in the order of a hash.

    `further` are the groups of films behind these that have no labels at all. Raises
    `InputError` for a class of which no film keeps its label, and folds without a film.
    """
    labels = np.asarray(pool.train.labels)
    named = [str(group) for group in np.asarray(pool.train.groups)]
    names, of = np.unique(
        [*named, *(f"+{group}" for group in further)], return_inverse=True
    )
    counts = np.bincount(of)
    order = sorted(range(len(names)), key=lambda i: rank(seed, str(names[i])))
    known = [i for i in order if not names[i].startswith("+")]
    first = _fill(counts[known], labelled * len(labels))
    own = known[:first]
    rows = _rows(of, own)
    for number, class_name in enumerate(pool.class_names):
        if not (labels[rows] == number).any():
            raise InputError(
                f"no film of class {class_name!r} is among the {len(rows)} that keep "
                f"labels, films.labelled={labelled} of the training films: raise it, "
                "or try another films.seed"
            )
    kept = set(own)
    others = [i for i in order if i not in kept]
    if len(others) < folds:
        raise InputError(
            f"{len(others)} patients without labels cannot fill films.folds={folds}: "
            "lower films.folds or films.labelled, or name more in films.unlabelled"
        )
    share = np.cumsum(counts[others])
    ends = share[-1] * np.arange(folds) / folds
    bounds = np.searchsorted(share, ends, side="right").tolist()
    parts = [others[a:b] for a, b in zip(bounds, [*bounds[1:], None], strict=True)]
    if not all(parts):
        raise InputError(
            f"the {len(others)} patients without labels have so many films each that "
            f"one of films.folds={folds} is left empty: lower films.folds"
        )
    return Folds(rows, tuple(_rows(of, part) for part in parts))


def _fill(counts: np.ndarray, wanted: float) -> int:
    """How many groups, from the first on, hold as many films as wanted, or nearly."""
    ends = np.cumsum(counts)
    return min(len(counts), max(1, int(np.searchsorted(ends, wanted - 0.5)) + 1))


def _rows(of: np.ndarray, groups: list[int]) -> Int[np.ndarray, " n"]:
    return np.flatnonzero(np.isin(of, groups)).astype(np.int32)
