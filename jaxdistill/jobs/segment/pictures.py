"""Which slices of a run are shown: of every site the first, and the best and worst."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxdistill.jobs.segment.figure import Shown, by_site, overlays
from jaxdistill.jobs.segment.judging import Judged, predicted, score
from jaxdistill.jobs.segment.lessons import Room, Seat
from jaxdistill.jobs.segment.plan import ALONE, TEACHER, Plan
from jaxdistill.jobs.segment.table import Row
from jaxdistill.run.workdir import Workdir
from jaxdistill.types import Case

COLUMNS = (TEACHER, ALONE, "distilled")
MOST = 6  # sites in the picture of all of them

Config = Mapping[str, Any]
Bench = Mapping[tuple[str, str, int], Judged]


def draw(
    home: Workdir,
    room: Room,
    config: Config,
    wanted: Plan,
    bench: Bench,
    rows: list[Row],
) -> None:
    """Write all pictures of a run."""
    by_site(home.figures / "by_site.png", rows)
    seed = wanted.seeds[0]
    last = "distilled" if config["distil"] else ALONE
    middles, extremes = [], []
    for unseen, fold in list(wanted.folds.items())[:MOST]:
        if (last, unseen, seed) not in bench:
            continue
        seat = Seat(unseen, fold, seed)
        dice = _dice(score(room, config, seat, bench[last, unseen, seed]))
        scored = [case for case in fold.test if np.isfinite(dice[case.name])]
        if not (ranked := sorted(scored, key=lambda case: dice[case.name])):
            continue
        here = {
            n: bench[n, unseen, seed] for n in COLUMNS if (n, unseen, seed) in bench
        }
        middles.append(_shown(room, config, seat, ranked[len(ranked) // 2], here))
        extremes += [(dice[c.name], c, seat, here) for c in (ranked[0], ranked[-1])]
    if not middles:
        return
    overlays(home.figures / "overlays.png", middles)
    extremes.sort(key=lambda one: one[0])
    ends = extremes[:2] + extremes[-2:]
    overlays(
        home.figures / "worst_and_best.png",
        [_shown(room, config, seat, case, here) for _, case, seat, here in ends],
    )


def _shown(
    room: Room, config: Config, seat: Seat, case: Case, here: Mapping[str, Judged]
) -> Shown:
    """The slice of a case with the most foreground."""
    area = ((case.mask > 0) & (case.mask < 255)).sum((1, 2))
    at = int(np.argmax(area))
    masks = {"truth": case.mask[at]}
    captions = {}
    for name, one in here.items():
        masks[name] = predicted(room, config, one.networks, case)[at]
        found = _dice(score(room, config, seat, one))[case.name]
        captions[name] = f"Dice {found:.3f}"
    return Shown(f"{case.site}\n{case.name}", case.image[at], masks, captions)


def _dice(record: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(np.nanmean(np.array(case["dice"], float)))
        for name, case in record["test"].items()
    }
