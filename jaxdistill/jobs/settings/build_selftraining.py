"""A configuration of self-training to calls of the library."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Array, Float

from jaxdistill.data.folds import Folds, divide
from jaxdistill.data.unlabelled import Unlabelled
from jaxdistill.jobs.settings.build_backbones import build_backbones, build_views
from jaxdistill.jobs.settings.records import Further
from jaxdistill.jobs.settings.selftraining import Labels, Stage
from jaxdistill.networks.heads import dino_head
from jaxdistill.selfsupervised.descent import Regime
from jaxdistill.selfsupervised.pretext import Pretext
from jaxdistill.selfsupervised.selfevolving import selfevolving
from jaxdistill.selfsupervised.supervised import supervised
from jaxdistill.types import Pool

Config = Mapping[str, Any]


def build_folds(config: Config, pool: Pool, further: Unlabelled | None) -> Folds:
    """Who of all films has a label, and the folds of the others."""
    others = (*Labels._fields, *Further._fields)
    told = {k: v for k, v in config["films"].items() if k not in others}
    return divide(pool, further.groups if further else (), **told)


def build_first(config: Config, pool: Pool) -> Pretext:
    """Training on labels, as the first stage does, on the view that passes see."""
    built = build_backbones(config, pool)
    views = build_views(config["views"], built, pool)
    return supervised(built.backbone, built.classes, views.second, pool.standard)


def build_stage(
    config: Config, pool: Pool, shares: Float[Array, " c"] | None = None
) -> Pretext:
    """Training with labels, of these shares of classes, and without: later stages."""
    built = build_backbones(config, pool)
    views = build_views(config["views"], built, pool)
    head = dino_head(built.backbone.width, **config["head"])
    parts = built.backbone, head, built.classes, views, pool.standard
    return selfevolving(*parts, shares, **config["evolve"])


def build_regime(config: Config, section: str) -> Regime:
    """How long and how fast: `config.first` or `config.stage`."""
    told = {key: x for key, x in config[section].items() if key in Regime._fields}
    return Regime(**told)


def build_passes(config: Config) -> Stage:
    """What a stage does beside its regime."""
    return Stage(**{key: config["stage"][key] for key in Stage._fields})
