"""What a set of cases with masks holds, site by site, and what is wrong with it.

It is read by the same functions as `jaxdistill segment` reads it.
"""

import os
import warnings
from collections.abc import Iterator

import numpy as np

from jaxdistill.data.check import Report
from jaxdistill.data.site_sources import load_sites
from jaxdistill.errors import InputError
from jaxdistill.foreign.names import shown
from jaxdistill.types import IGNORED, Case, SitePool

LAYOUTS = ("site_folders", "prostate", "nnunet")


def check_sites(path: str | os.PathLike, layout: str) -> Report:
    """Describe and judge a set of sites as a run would; nothing is raised."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            pool = load_sites(layout, path=os.fspath(path), bad_cases="skip")
        except InputError as error:
            return Report([], [str(error)], [])
    passed = [str(one.message) for one in warned if one.category is UserWarning]
    lines = [f"classes: {', '.join(map(shown, pool.class_names))}"]
    for site in pool.sites:
        lines.append(_line(site, [case for case in pool.cases if case.site == site]))
    return Report(lines, list(pool.skipped), [*passed, *_remarks(pool)])


def _line(site: str, cases: list[Case]) -> str:
    slices = sum(case.image.shape[0] for case in cases)
    sizes = sorted({case.image.shape[1:3] for case in cases})
    gaps = sorted({tuple(round(gap, 3) for gap in case.spacing) for case in cases})
    return (
        f"{shown(site)}: {len(cases)} cases, {slices} slices of {_range(sizes)} "
        f"pixels, spacing {_range(gaps)}"
    )


def _range(found: list[tuple]) -> str:
    first, last = (" x ".join(f"{n:g}" for n in found[i]) for i in (0, -1))
    return first if first == last else f"{first} to {last}"


def _remarks(pool: SitePool) -> Iterator[str]:
    if len(pool.sites) == 1:
        yield "there is one site, so that none can be left out as unseen"
    for case in pool.cases:
        drawn = set(np.unique(case.mask)) - {0, IGNORED}
        if not drawn:
            yield f"the mask of {shown(case.name)} is empty: it holds background alone"
