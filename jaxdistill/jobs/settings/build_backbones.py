"""Films, backbones and views, for every job that learns by a pretext."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdistill.data.sources import known_patients, load
from jaxdistill.data.unlabelled import Unlabelled, read_unlabelled, require_apart
from jaxdistill.errors import InputError
from jaxdistill.networks.backbones import build_backbone, with_head
from jaxdistill.networks.heads import class_head
from jaxdistill.selfsupervised.viewing import Viewing, Views, viewing
from jaxdistill.types import Backbone, Head, Network, Pool

Config = Mapping[str, Any]


class Built(NamedTuple):
    """A backbone, its class head, and both as a network that is judged."""

    backbone: Backbone
    classes: Head
    network: Network


def build_films(config: Config) -> Pool:
    """The data of `config.data`.

    Raises `InputError` for films that views cannot be made of: not square, whitened.
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
    return pool


def build_unlabelled(config: Config, pool: Pool) -> Unlabelled | None:
    """The films of `films.unlabelled`; `InputError` for patients of the pool."""
    if not config["films"]["unlabelled"]:
        return None
    data = dict(config["data"])
    places = {key: data[key] for key in ("root", "group") if key in data}
    told = config["films"]
    found = read_unlabelled(told["unlabelled"], pool, stream=told["stream"], **places)
    require_apart(found, pool, known_patients(**data))
    return found


def build_backbones(config: Config, pool: Pool) -> Built:
    """The networks of `config.backbone` and `config.classes`, for films of the pool."""
    return built(config, pool.image_shape, pool.classes)


def built(config: Config, image_shape: tuple[int, int, int], classes: int) -> Built:
    """The same for films of that shape, of so many classes."""
    text = json.dumps({key: config[key] for key in ("backbone", "classes")})
    return _built(text, image_shape, classes)


@lru_cache(maxsize=64)  # what was compiled for a network serves for its equals
def _built(settings: str, image_shape: tuple[int, int, int], classes: int) -> Built:
    told = json.loads(settings)
    backbone = build_backbone(image_shape=image_shape, **told["backbone"])
    logits = 1 if classes == 2 else classes
    head = class_head(backbone.width, outputs=logits, **told["classes"])
    return Built(backbone, head, with_head(backbone, head))


def build_views(settings: Mapping[str, Any], built: Built, pool: Pool) -> Views:
    """The views of settings; `InputError` where their sizes do not fit the backbone."""
    views = viewing(Viewing(**settings), pool.image_shape[0])
    backbone, channels = built.backbone, pool.image_shape[2]
    like = jax.eval_shape(backbone.init, jax.random.key(0))
    sizes = {"size": views.first.size}
    sizes |= {"local": views.local.size} if views.locals else {}
    for key, size in sizes.items():
        image = jax.ShapeDtypeStruct((1, size, size, channels), np.float32)
        try:
            jax.eval_shape(lambda p, x: backbone.features(p, x), like, image)
        except InputError as error:
            raise InputError(f"views.{key} is {size} pixels, and {error}") from error
    return views
