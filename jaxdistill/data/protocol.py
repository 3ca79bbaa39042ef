"""Who trains, who validates, who tests: leave one site out, by patients.

The test set is a whole site that training never sees; validation comes from the other
sites, at least one patient of each, as the authors of the six-site prostate set do
(Liu et al. 2020, arXiv 2007.02035).
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Annotated, NamedTuple

from jaxdistill.errors import InputError, require_name
from jaxdistill.ranges import ManyOrNone, Range, Seed
from jaxdistill.settings import declared
from jaxdistill.types import Case, SitePool

EYE = re.compile(r"(.*\d)[_-]?[LR]")  # Image_01L and Image_01R are one patient's


class Fold(NamedTuple):
    """Cases to learn from, to choose by, and of the site that is left out."""

    train: tuple[Case, ...]
    val: tuple[Case, ...]
    test: tuple[Case, ...]


@declared("split")
def leave_one_out(
    pool: SitePool,
    site: str,
    *,
    val_fraction: Annotated[
        float, Range(0, 1, above=True, below=True), "of each site's patients"
    ] = 0.2,
    few: Annotated[ManyOrNone, "sites to train on; 0: all but the one"] = 0,
    seed: Annotated[Seed, "of the split, and of the few sites"] = 0,
    groups: Mapping[str, str] | None = None,
) -> Fold:
    """A fold of cases: `site` is the test set, the others train and validate.

    Patients stay together: `groups` gives those of cases by name (see
    `site_pool.read_table`), by default a name without a last L or R after a digit.
    Order is by a hash of seed and patient, so that a new case moves no other. Raises
    `InputError` for an unknown site, a pool of one, too few sites, or a source site
    with a single patient.
    """
    require_name("protocol.unseen", site, pool.sites)
    others = [other for other in pool.sites if other != site]
    if not others:
        raise InputError(
            f"{pool.name} has one site, {site!r}; leaving it out leaves none to train "
            "on: add sites, or say in a table which case is whose (data.sites)"
        )
    if few > len(others):
        raise InputError(
            f"split.few={few} is more than the {len(others)} sites of {pool.name} "
            f"beside {site!r}: use fewer, or 0 for all"
        )
    taken = sorted(others, key=lambda other: _rank(seed, other))[: few or None]
    train: list[Case] = []
    val: list[Case] = []
    for other in (name for name in others if name in taken):
        cases = [case for case in pool.cases if case.site == other]
        held = _held_out(cases, groups, val_fraction, seed)
        val += [case for case in cases if patient(case, groups) in held]
        train += [case for case in cases if patient(case, groups) not in held]
    test = tuple(case for case in pool.cases if case.site == site)
    return Fold(tuple(train), tuple(val), test)


def patient(case: Case, groups: Mapping[str, str] | None = None) -> str:
    """Whose the case is: what `groups` says, else by its name."""
    if groups is not None and case.name in groups:
        return groups[case.name]
    eye = EYE.fullmatch(case.name)
    return eye[1] if eye else case.name


def _held_out(
    cases: list[Case], groups: Mapping[str, str] | None, fraction: float, seed: int
) -> set[str]:
    """The share of a site's patients that validate: one at least, not all."""
    names = sorted(
        {patient(case, groups) for case in cases}, key=lambda name: _rank(seed, name)
    )
    if len(names) < 2:
        raise InputError(
            f"the site {cases[0].site!r} has one patient, {names[0]!r}; a site to "
            "train on needs another to validate with: add cases or remove the site"
        )
    count = min(max(1, round(fraction * len(names))), len(names) - 1)
    return set(names[:count])


def _rank(seed: int, name: str) -> bytes:
    return hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest()
