"""Who trains, who validates, who tests: leave one site out, by patients.

The test set is a whole site that training never sees; validation comes from the other
sites, at least one patient of each, as the authors of the six-site prostate set do
(Liu et al. 2020, arXiv 2007.02035).
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Annotated, NamedTuple

from jaxdistill.data.class_layout import compile_group, group_of
from jaxdistill.errors import InputError, require_name
from jaxdistill.ranges import ManyOrNone, Range, Seed
from jaxdistill.settings import declared
from jaxdistill.types import Case, SitePool

PATTERN = "protocol.patients"  # the setting that names it
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
    patients: str = "",
) -> Fold:
    """A fold of cases: `site` is the test set, the others train and validate.

    Patients stay together, whatever their sites: the pattern `patients` finds them in
    the names of cases, by default a name without a last L or R after a digit. Order is
    by a hash of seed and patient, so that a new case moves no other. Raises
    `InputError` for an unknown site, a pool of one, too few sites, a source site with
    a single patient, or patients of the test set in another site.
    """
    require_name("protocol.unseen", site, pool.sites)
    pattern = compile_group(patients, PATTERN)
    whose = {case.name: patient(case, pattern) for case in pool.cases}
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
    test = tuple(case for case in pool.cases if case.site == site)
    sources = [other for other in others if other in taken]
    known = [case for other in sources for case in pool.cases if case.site == other]
    _require_apart(known, test, whose)
    held: set[str] = set()
    for other in sources:
        cases = [case for case in known if case.site == other]
        held |= _held_out(cases, whose, val_fraction, seed)
    train = tuple(case for case in known if whose[case.name] not in held)
    val = tuple(case for case in known if whose[case.name] in held)
    if lost := sorted(set(sources) - {case.site for case in train}):
        raise InputError(
            f"all patients of {lost[0]!r} validate, some as patients of another site: "
            "lower split.val_fraction, or merge the two sites"
        )
    return Fold(train, val, test)


def patient(case: Case, pattern: re.Pattern | None = None) -> str:
    """Whose the case is, by its name."""
    if pattern is not None:
        return group_of(case.name, pattern, PATTERN)
    eye = EYE.fullmatch(case.name)
    return eye[1] if eye else case.name


def _require_apart(
    known: list[Case], test: tuple[Case, ...], whose: Mapping[str, str]
) -> None:
    """`InputError` where a patient of the unseen site is of another site, too."""
    unseen = {whose[case.name]: case for case in test}
    for case in known:
        if (who := whose[case.name]) in unseen:
            other = unseen[who]
            raise InputError(
                f"{case.name!r} of {case.site!r} and {other.name!r} of the unseen site "
                f"{other.site!r} are of one patient, {who!r}: leave out one of them, "
                "or scores would flatter"
            )


def _held_out(
    cases: list[Case], whose: Mapping[str, str], fraction: float, seed: int
) -> set[str]:
    """The share of a site's patients that validate: one at least, not all."""
    names = sorted(
        {whose[case.name] for case in cases}, key=lambda name: _rank(seed, name)
    )
    if len(names) < 2:
        raise InputError(
            f"the site {cases[0].site!r} has one patient, {names[0]!r}; a site to "
            "train on needs another to validate with: add cases or remove the site"
        )
    count = min(max(1, round(fraction * len(names))), len(names) - 1)
    return set(names[:count])


def _rank(seed: int, name: str) -> bytes:
    text = f"{seed}:{name}".encode(errors="surrogateescape")
    return hashlib.blake2b(text, digest_size=8).digest()
