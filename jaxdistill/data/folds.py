"""A labelled start and folds of films without labels, patients never parted.

arXiv:2202.06431, section 6.3 of whose programs: shuffle once, the first tenth keeps its
labels, the rest in three equal folds.
"""

from typing import Annotated, NamedTuple

import numpy as np
from jaxtyping import Int

from jaxdistill.data.splits import rank
from jaxdistill.errors import InputError
from jaxdistill.ranges import Many, Range, Seed
from jaxdistill.settings import declared
from jaxdistill.types import Pool


class Folds(NamedTuple):
    """Rows of the training split: those with labels, and those without, by fold."""

    labelled: Int[np.ndarray, " n"]
    unlabelled: tuple[Int[np.ndarray, " m"], ...]


@declared("films")
def divide(
    pool: Pool,
    *,
    labelled: Annotated[
        float, Range(0, 1, above=True), "share of training films that keep labels"
    ] = 0.1,
    folds: Annotated[Many, "parts of the others; they come in one by one"] = 3,
    seed: Annotated[Seed, "of who keeps labels"] = 0,
) -> Folds:
    """The training films of a pool, divided by groups in the order of a hash.

    Raises `InputError` for a class of which no film keeps its label, and folds without
    a film.
    """
    labels = np.asarray(pool.train.labels)
    groups = np.asarray(pool.train.groups)
    names, of = np.unique(groups, return_inverse=True)
    order = sorted(range(len(names)), key=lambda i: rank(seed, str(names[i])))
    sizes = np.bincount(of)[order]
    ends = np.cumsum(sizes)
    first = max(1, int(np.searchsorted(ends, labelled * ends[-1] - 0.5)) + 1)
    own, others = order[:first], order[first:]
    rows = _rows(of, own)
    for number, class_name in enumerate(pool.class_names):
        if not (labels[rows] == number).any():
            raise InputError(
                f"no film of class {class_name!r} is among the {len(rows)} that keep "
                f"labels, films.labelled={labelled} of the training films: raise it, "
                "or try another films.seed"
            )
    if len(others) < folds:
        raise InputError(
            f"{len(others)} patients without labels cannot fill films.folds={folds}: "
            "lower films.folds or films.labelled"
        )
    share = np.cumsum(np.bincount(of)[others])
    bounds = [int(np.searchsorted(share, share[-1] * k / folds)) for k in range(folds)]
    parts = [others[a:b] for a, b in zip(bounds, [*bounds[1:], None], strict=True)]
    return Folds(rows, tuple(_rows(of, part) for part in parts))


def _rows(of: np.ndarray, groups: list[int]) -> Int[np.ndarray, " n"]:
    return np.flatnonzero(np.isin(of, groups)).astype(np.int32)
