"""What self-training can be told, beside what its parts declare themselves."""

from typing import Annotated, NamedTuple

from jaxdistill.data.folds import divide
from jaxdistill.data.sources import SOURCES
from jaxdistill.jobs.settings.records import Devices, Further, Pace
from jaxdistill.networks.backbones import BACKBONES
from jaxdistill.networks.heads import class_head, dino_head
from jaxdistill.ranges import CountOrZero, Each, Listed, OneOf, Range, Weight
from jaxdistill.run.limits import Limit
from jaxdistill.selfsupervised.descent import Regime
from jaxdistill.selfsupervised.selfevolving import selfevolving
from jaxdistill.selfsupervised.viewing import Viewing
from jaxdistill.settings import Chosen, Section, Small, settings_of, without

# By name, what an ablation changes; `restart` and the like are settings of `stage`.
ABLATIONS: dict[str, dict] = {
    "ssl_only": {"evolve": {"ramp": 0.0}},
    "selftrain_only": {"evolve": {"ssl": 0.0}},
    "no_correction": {"stage": {"every": 0}},
    "cropped_teacher": {"evolve": {"original": False}},
    "noisy_student": {
        "evolve": {"ssl": 0.0},
        "stage": {"fixed": True, "restart": True},
    },
}
UNHEARD = ("momentum", "frozen")  # of labels alone: a stage begins with the student


class SelfTraining(NamedTuple):
    """The run as a whole."""

    job: Annotated[str, OneOf(("selftrain",)), "what the configuration is for"] = (
        "selftrain"
    )
    start: Annotated[
        str, "weights to begin with, ours or public ones by name; empty: random"
    ] = ""


class Protocol(NamedTuple):
    """What is trained beside the stages themselves."""

    seeds: Annotated[
        tuple[int, ...],
        Each(Range(0, 2**32 - 1), int),
        "of networks, views and orders; spreads run over them",
        Small((0,)),
    ] = (0, 1, 2)
    first_epochs: Annotated[
        tuple[int, ...],
        Each(Range(1, 1_000_000), int, empty=True),
        "passes over the labels, of which validation chooses; empty: first.epochs",
        Small(()),
    ] = ()
    ablations: Annotated[
        str, Listed(ABLATIONS, empty=True), "other ways through the stages, beside"
    ] = ""
    ceiling: Annotated[
        CountOrZero, "epochs on all labels of all folds, beside; 0: none", Small(1)
    ] = 30
    wrong: Annotated[
        tuple[float, ...],
        Each(Range(0, 1, above=True, below=True), float, empty=True),
        "shares of wrong labels to learn from, beside",
    ] = ()
    variants: Annotated[dict, "more ways by name, and what each changes"] = {}  # noqa: RUF012


class Labels(NamedTuple):
    """What is done to the labels that are kept."""

    wrong: Annotated[
        float, Range(0, 1, below=True), "share of them, of every class, that is wrong"
    ] = 0.0


class Stage(NamedTuple):
    """What a stage does beside its regime."""

    every: Annotated[
        CountOrZero, "batches between passes over labelled films; 0: none"
    ] = 500
    fixed: Annotated[
        bool, "the teacher stays as it was, and the student takes over"
    ] = False
    restart: Annotated[bool, "the student of every stage starts anew"] = False


class Judging(NamedTuple):
    """How films are judged."""

    blur: Annotated[Weight, "deviation of a Gaussian before, in pixels; 0: none"] = 0.0
    robustness: Annotated[bool, "curves under noise, blur, contrast, resolution"] = True
    maps: Annotated[CountOrZero, "films whose attention is drawn", Small(1)] = 4


def root() -> Section:
    """Every setting of a self-training run."""
    return {
        **settings_of(SelfTraining),
        "data": Chosen(SOURCES, "phantom"),
        "films": settings_of(divide) | settings_of(Labels) | settings_of(Further),
        "protocol": settings_of(Protocol),
        "backbone": Chosen(BACKBONES, "vit"),
        "head": settings_of(dino_head),
        "classes": without(settings_of(class_head), "outputs"),
        "views": settings_of(Viewing),
        "first": without(settings_of(Regime), *UNHEARD),
        "evolve": settings_of(selfevolving),
        "stage": settings_of(Regime) | settings_of(Stage),
        "eval": settings_of(Judging),
        "devices": without(settings_of(Devices), "population"),
        "limit": settings_of(Limit),
        **settings_of(Pace),
    }
