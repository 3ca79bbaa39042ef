"""A configuration of segmentation to calls of the library."""

import inspect
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jaxdistill.augment.paired import Paired
from jaxdistill.data.site_sources import load_sites
from jaxdistill.networks import build_segmenter
from jaxdistill.segmentation.drawing import Patches
from jaxdistill.segmentation.losses import TERMS
from jaxdistill.segmentation.teaching import Practice
from jaxdistill.segmentation.term import Term
from jaxdistill.types import Segmenter, SitePool

Config = Mapping[str, Any]


def build_sites(config: Config) -> SitePool:
    """The cases of `config.data`."""
    return load_sites(**config["data"])


def build_network(config: Config, pool: SitePool, role: str, **more: Any) -> Segmenter:
    """The network of `config.teacher` or `config.student`, for images of the pool."""
    text = json.dumps({**config[role], **more}, sort_keys=True)
    return _network(text, channels_of(config, pool), pool.classes)


@lru_cache(maxsize=64)  # what was compiled for a network serves for its equals
def _network(settings: str, channels: int, classes: int) -> Segmenter:
    return build_segmenter(channels=channels, classes=classes, **json.loads(settings))


def channels_of(config: Config, pool: SitePool) -> int:
    """What a network sees: the slice's channels, and those of its neighbours."""
    planes = 2 * config["protocol"]["neighbours"] + 1
    return planes * pool.cases[0].image.shape[-1]


def build_terms(config: Config, classes: int) -> dict[str, tuple[float, Term]]:
    """The losses of `config.losses` that have a weight."""
    made = {}
    for name, settings in config["losses"].items():
        rest = dict(settings)
        weight = rest.pop("weight")
        if weight:
            at_hand = {"classes": classes, **rest}
            taken = inspect.signature(TERMS[name]).parameters
            made[name] = (weight, TERMS[name](**{key: at_hand[key] for key in taken}))
    return made


def build_practice(config: Config, role: str) -> Practice:
    """How the teacher or the student trains: `config.teaching`, `config.learning`."""
    return Practice(**config[role])


def build_patches(config: Config) -> Patches:
    """What a batch is made of."""
    return Patches(**config["patches"])


def build_policy(config: Config, pool: SitePool) -> Paired:
    """How images and masks are moved together; sides stay where they mean something."""
    policy = Paired(**config["augment"])
    return policy if pool.mirrored else policy._replace(left_right=0.0)
