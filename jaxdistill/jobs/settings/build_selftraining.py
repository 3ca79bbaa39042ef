"""A configuration of self-training to calls of the library."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdistill.data.folds import Folds, divide
from jaxdistill.data.sources import load
from jaxdistill.errors import InputError
from jaxdistill.jobs.settings.selftraining import Stage
from jaxdistill.networks.backbones import build_backbone, with_head
from jaxdistill.networks.heads import class_head, dino_head
from jaxdistill.selfsupervised.descent import Regime
from jaxdistill.selfsupervised.pretext import Pretext
from jaxdistill.selfsupervised.selfevolving import selfevolving
from jaxdistill.selfsupervised.supervised import supervised
from jaxdistill.selfsupervised.viewing import Viewing, Views, viewing
from jaxdistill.types import Backbone, Head, Network, Pool

Config = Mapping[str, Any]


class Parts(NamedTuple):
    """The networks' parts, the views, and the network that is judged."""

    backbone: Backbone
    dino: Head
    classes: Head
    views: Views
    network: Network


def build_films(config: Config) -> tuple[Pool, Folds]:
    """The data, and who of its training films keeps a label.

    Raises `InputError` for films that are not square or are whitened.
    """
    pool = load(**config["data"])
    height, width, _ = pool.image_shape
    if height != width:
        raise InputError(
            f"films of {height} x {width} pixels are not square, which views are: set "
            "data.size"
        )
    if pool.standard.whitening is not None:
        raise InputError(
            "data.zca=true whitens films of one size, and views have several: leave "
            "it out"
        )
    return pool, divide(pool, **config["films"])


def build_parts(config: Config, pool: Pool) -> Parts:
    """What a network consists of; `InputError` where views and patches do not fit."""
    backbone, dino, classes, network = _networks(
        json.dumps({key: config[key] for key in ("backbone", "head", "classes")}),
        pool.image_shape,
        pool.classes,
    )
    views = viewing(Viewing(**config["views"]), pool.image_shape[0])
    like = jax.eval_shape(backbone.init, jax.random.key(0))
    for size in {views.first.size, *([views.local.size] if views.locals else [])}:
        image = jax.ShapeDtypeStruct((1, size, size, pool.image_shape[2]), np.float32)
        jax.eval_shape(lambda p, x: backbone.features(p, x), like, image)
    return Parts(backbone, dino, classes, views, network)


@lru_cache(maxsize=64)  # what was compiled for a network serves for its equals
def _networks(
    settings: str, image_shape: tuple[int, int, int], classes: int
) -> tuple[Backbone, Head, Head, Network]:
    told = json.loads(settings)
    backbone = build_backbone(image_shape=image_shape, **told["backbone"])
    dino = dino_head(backbone.width, **told["head"])
    logits = 1 if classes == 2 else classes
    top = class_head(backbone.width, outputs=logits, **told["classes"])
    return backbone, dino, top, with_head(backbone, top)


def build_first(config: Config, pool: Pool) -> Pretext:
    """Training on labels, as the first stage does."""
    parts = build_parts(config, pool)
    return supervised(parts.backbone, parts.classes, parts.views.first, pool.standard)


def build_stage(config: Config, pool: Pool) -> Pretext:
    """Training with labels and without, as all later stages do."""
    parts = build_parts(config, pool)
    return selfevolving(
        parts.backbone,
        parts.dino,
        parts.classes,
        parts.views,
        pool.standard,
        **config["evolve"],
    )


def build_regime(config: Config, section: str) -> Regime:
    """How long and how fast: `config.first` or `config.stage`."""
    return Regime(**{key: config[section][key] for key in Regime._fields})


def build_passes(config: Config) -> Stage:
    """What a stage does beside its regime."""
    return Stage(**{key: config["stage"][key] for key in Stage._fields})
