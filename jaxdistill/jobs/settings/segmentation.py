"""What segmentation can be told, beside what its parts declare themselves."""

from typing import Annotated, NamedTuple

from jaxdistill.augment.paired import Paired
from jaxdistill.data.protocol import leave_one_out
from jaxdistill.data.site_sources import SITE_SOURCES
from jaxdistill.jobs.settings.records import Devices, Pace
from jaxdistill.networks import SEGMENTERS
from jaxdistill.ranges import (
    Each,
    Many,
    OneOf,
    Positive,
    Range,
    Weight,
)
from jaxdistill.run.limits import Limit
from jaxdistill.segmentation.drawing import Patches
from jaxdistill.segmentation.losses import TERMS
from jaxdistill.segmentation.teaching import Practice
from jaxdistill.settings import Chosen, Section, Small, settings_of, usually

# The reconstructed paper's loss has the weights of Qin et al. 2021; ours by choice.
WEIGHTS = {"logits": 0.1, "gram": 0.9, "affinity": 0.9}


class Segmentation(NamedTuple):
    """The run as a whole."""

    job: Annotated[str, OneOf(("segment",)), "what the configuration is for"] = (
        "segment"
    )
    distil: Annotated[
        bool, "the student called distilled, by the losses as they stand"
    ] = True


class Protocol(NamedTuple):
    """Who learns from which cases, and on which all are judged."""

    unseen: Annotated[
        str, "sites left out, one at a time, with commas; empty: every one"
    ] = ""
    seeds: Annotated[
        tuple[int, ...],
        Each(Range(0, 2**32 - 1), int),
        "of networks and draws; spreads run over them",
        Small((0,)),
    ] = (0, 1, 2)
    rates: Annotated[
        tuple[float, ...],
        Each(Range(0, 1000, above=True), float, empty=True),
        "of students, of which validation of the one alone chooses; empty: learning.lr",
        Small(()),
    ] = ()
    neighbours: Annotated[
        int, Range(0, 8), "slices before and after that a network sees as channels"
    ] = 0
    patients: Annotated[
        str,
        "pattern that finds the patient in a case's name; empty: it without L or R",
    ] = ""
    students: Annotated[dict, "more students by name, and what each changes"] = {}  # noqa: RUF012


class Teachers(NamedTuple):
    """Of whom the students of one class learn; several speak with one voice."""

    count: Annotated[Many, "for each set of cases, from seeds of their own"] = 1  # type: ignore
    each: Annotated[
        str, OneOf(("fold", "site")), "taught by all source sites, or by one each"
    ] = "fold"


class Judging(NamedTuple):
    """How masks are scored."""

    tolerance: Annotated[Positive, "of the surface Dice, mm (pixels without)"] = 1.0
    batch: Annotated[Many, "slices that a network looks at in one go"] = 8
    latency: Annotated[Many, "slices timed, one by one", Small(2)] = 20


class Weighted(NamedTuple):
    """A loss's weight in the sum."""

    weight: Annotated[Weight, "of this loss; 0: it is left out"] = 0.0


def root() -> Section:
    """Every setting of a segmentation run."""
    return {
        **settings_of(Segmentation),
        "data": Chosen(SITE_SOURCES, "prostate_phantom"),
        "protocol": settings_of(Protocol),
        "split": settings_of(leave_one_out),
        "teacher": Chosen(SEGMENTERS, "unet"),
        "student": Chosen(SEGMENTERS, "enet"),
        "teachers": settings_of(Teachers),
        "teaching": settings_of(Practice),
        "learning": settings_of(Practice),
        "patches": settings_of(Patches),
        "augment": settings_of(Paired),
        "losses": {name: _loss(name) for name in TERMS},
        "eval": settings_of(Judging),
        "devices": {
            name: one
            for name, one in settings_of(Devices).items()
            if name != "population"
        },
        "limit": settings_of(Limit),
        **settings_of(Pace),
    }


def _loss(name: str) -> Section:
    usual = Weighted(WEIGHTS.get(name, 0.0))
    return usually(settings_of(Weighted), usual) | settings_of(TERMS[name])
