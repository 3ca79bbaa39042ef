"""A configuration of few labels to calls of the library."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jaxdistill import networks
from jaxdistill.engine.training import Recipe
from jaxdistill.jobs.settings.build import named_policy
from jaxdistill.jobs.settings.build_backbones import build_backbones, build_views
from jaxdistill.jobs.settings.labelling import Tuning
from jaxdistill.networks.parts import build_parts
from jaxdistill.selfsupervised.course import Course
from jaxdistill.selfsupervised.descent import Regime
from jaxdistill.selfsupervised.pretext import Pretext
from jaxdistill.selfsupervised.recipes import PRETEXTS, RECIPES, build_pretext
from jaxdistill.selfsupervised.supervised import supervised
from jaxdistill.settings import settings_of
from jaxdistill.types import Network, Pool

Config = Mapping[str, Any]
WARMUP = 0.1  # of a tuning: the share of its steps in which the rate rises


def build_pretraining(config: Config, pool: Pool, name: str) -> Pretext:
    """The pretext of a name, as `config` has it in the section of that name."""
    told, recipe = config[name], RECIPES[name]
    built = build_backbones(config, pool)
    changes = {part: told[part] for part in recipe.parts}
    parts = build_parts(recipe.parts, built.backbone, pool.image_shape[2], **changes)
    views = build_views(recipe.viewing._asdict() | told["views"], built, pool)
    own = {key: told[key] for key in settings_of(PRETEXTS[name])}
    return build_pretext(name, built.backbone, parts, views, pool.standard, **own)


def build_regime(config: Config, name: str) -> Regime:
    """How long and how fast a pretext is trained."""
    told = {key: config[name][key] for key in Regime._fields if key in config[name]}
    return RECIPES[name].regime._replace(**told)


def build_tuning(config: Config, pool: Pool) -> Pretext:
    """Training on labelled films."""
    told = Tuning(**{key: config["tuning"][key] for key in Tuning._fields})
    built = build_backbones(config, pool)
    seen = {"kind": told.views, "locals": 0, "least": told.least}
    view = build_views(seen, built, pool).first
    standard = pool.standard
    return supervised(built.backbone, built.classes, view, standard, probe=told.probe)


def build_course(config: Config, films: int, seed: int) -> tuple[Regime, Course]:
    """A tuning on so many films: steps, and so rates, are those of any other."""
    told = config["tuning"]
    steps, batch = told["steps"], min(told["most"], films)
    own = {key: told[key] for key in Regime._fields if key in told}
    per_epoch = films // batch
    epochs = -(-steps // per_epoch)
    regime = Regime(
        **own,
        batch=batch,
        lr_batch=batch,
        epochs=epochs,
        warmup=WARMUP * steps / per_epoch,
        frozen=0.0,
    )
    return regime, Course(films, batch, epochs, seed, batches=steps)


def build_fresh(config: Config, pool: Pool) -> tuple[Network, Recipe]:
    """The network of the rows `random` and `distilled`, and how it learns."""
    told = config["fresh"]
    policy = named_policy(told["augment"], pool)
    network = _network(json.dumps(config["network"]), pool.image_shape, pool.classes)
    return network, Recipe(epochs=told["epochs"], policy=policy)


@lru_cache(maxsize=16)  # what was compiled for a network serves for its equals
def _network(settings: str, shape: tuple[int, int, int], classes: int) -> Network:
    made = json.loads(settings)
    return networks.build(image_shape=shape, classes=classes, **made)
