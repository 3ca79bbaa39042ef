"""What pretraining, fine-tuning and their comparison can be told."""

from types import SimpleNamespace
from typing import Annotated, NamedTuple

from jaxdistill.data.sources import SOURCES
from jaxdistill.evaluation.evaluate import REAL_LR
from jaxdistill.jobs.settings.records import Devices, Further, Pace, Policies
from jaxdistill.networks import NETWORKS
from jaxdistill.networks.backbones import BACKBONES
from jaxdistill.networks.heads import class_head
from jaxdistill.networks.parts import settings_of_part
from jaxdistill.ranges import Count, Each, Listed, Many, OneOf, Range, Seed, Weight
from jaxdistill.run.limits import Limit
from jaxdistill.selfsupervised.descent import Regime
from jaxdistill.selfsupervised.recipes import PRETEXTS, RECIPES
from jaxdistill.selfsupervised.viewing import KINDS, Viewing
from jaxdistill.settings import Chosen, Section, Small, settings_of, usually, without

SCRATCH, TRANSFER = "scratch", "transfer"
RANDOM, DISTILLED = "random", "distilled"
FRESH = (RANDOM, DISTILLED)  # rows of `network`, trained as `fresh` says
ROWS = (SCRATCH, TRANSFER, *PRETEXTS, *FRESH)
DECIDED = ("batch", "epochs", "lr_batch", "warmup", "momentum", "frozen")
USUAL = Regime(lr=3e-4, lr_last=0.0, weight_decay=0.05, weight_decay_last=0.05)


class Labelling(NamedTuple):
    """The run as a whole."""

    job: Annotated[str, OneOf(("labels",)), "what the configuration is for"] = "labels"
    pretext: Annotated[str, OneOf(PRETEXTS), "what `pretrain` trains by"] = "byol"
    start: Annotated[str, "weights that `finetune` begins with; empty: random"] = ""


class Labels(NamedTuple):
    """What is compared, at how many labels, over how many draws of them."""

    rows: Annotated[str, Listed(ROWS), "what is compared"] = (
        "scratch,byol,simsiam,mae,skd"
    )
    per_class: Annotated[
        tuple[int, ...], Each(Range(1, 10**6), int), "labelled films", Small((2,))
    ] = (1, 5, 10, 20, 50)
    draws: Annotated[
        Many, "of labelled films, and of what begins at random", Small(2)
    ] = 5
    seed: Annotated[Seed, "of pretraining and of the draws"] = 0
    transfer: Annotated[str, "weights of the row transfer, such as of other films"] = ""
    distilled: Annotated[
        str, "runs or files of the row distilled, {k} for films a class: sets/ipc{k}"
    ] = ""


class Tuning(NamedTuple):
    """How a network learns from the labelled films, beside its regime."""

    steps: Annotated[Many, "of every tuning, whatever the films", Small(2)] = 300
    most: Annotated[Many, "films a step, or all where there are fewer"] = 32
    probe: Annotated[bool, "train the head alone, on features as they are"] = False
    views: Annotated[str, OneOf(KINDS), "whose recipe of views"] = "distl"
    least: Annotated[float, Range(0, 1), "least share of a film shown; 0: usual"] = 0.0


class Judging(NamedTuple):
    """How films are judged."""

    blur: Annotated[Weight, "deviation of a Gaussian before, in pixels; 0: none"] = 0.0


class Fresh(NamedTuple):
    """How the networks of the rows `random` and `distilled` learn."""

    augment: Annotated[
        str, Policies(("auto",)), "of what they learn; auto: by the kind of data"
    ] = "auto"
    epochs: Annotated[Count, "passes over it", Small(2)] = 1000
    lr: Annotated[
        float, Range(0, 1000, above=True), "on labelled films; a set has its own"
    ] = REAL_LR


def root() -> Section:
    """Every setting of a comparison of ways to do with few labels."""
    tuning = usually(settings_of(Regime), USUAL)
    tuning["lr"] = tuning["lr"]._replace(meaning="highest rate, whatever the batch")
    return {
        **settings_of(Labelling),
        "data": Chosen(SOURCES, "phantom"),
        "films": settings_of(Further),
        "labels": settings_of(Labels),
        "backbone": Chosen(BACKBONES, "vit"),
        "classes": without(settings_of(class_head), "outputs"),
        **{name: _pretext(name) for name in PRETEXTS},
        "tuning": settings_of(Tuning) | without(tuning, *DECIDED),
        "network": Chosen(NETWORKS, "convnet"),
        "fresh": settings_of(Fresh),
        "eval": settings_of(Judging),
        "devices": without(settings_of(Devices), "population"),
        "limit": settings_of(Limit),
        **settings_of(Pace),
    }


def _pretext(name: str) -> Section:
    """A pretext's own settings, its regime, its parts and its views, as published."""
    recipe = RECIPES[name]
    parts = {
        key: usually(settings_of_part(part), SimpleNamespace(**part.settings))
        for key, part in recipe.parts.items()
    }
    return {
        **settings_of(PRETEXTS[name]),
        **without(usually(settings_of(Regime), recipe.regime), *recipe.without),
        "views": without(
            usually(settings_of(Viewing), recipe.viewing), *recipe.without
        ),
        **parts,
    }
