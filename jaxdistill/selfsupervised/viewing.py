"""Which views of a film a way to learn looks at: two large ones, some small ones."""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.augment.presets import PRESETS, View
from jaxdistill.augment.views import make_views
from jaxdistill.errors import InputError
from jaxdistill.ranges import OneOf, Range
from jaxdistill.selfsupervised.pretext import Batch
from jaxdistill.settings import Small, require
from jaxdistill.types import PRNGKey

# By whose recipe: names of `PRESETS` for the first, the second and the small views.
KINDS: dict[str, tuple[str, str, str]] = {
    "distl": ("distl_global", "distl_global", "distl_local"),
    "dino": ("dino_first", "dino_second", "dino_local"),
    "byol": ("byol_first", "byol_second", "dino_local"),
    "simsiam": ("simsiam", "simsiam", "dino_local"),
    "mae": ("mae", "mae", "dino_local"),
}
Least = Annotated[float, Range(0, 1), "least share of a film that one shows; 0: usual"]


class Viewing(NamedTuple):
    """What is shown of each film."""

    kind: Annotated[str, OneOf(KINDS), "whose recipe of views"] = "distl"
    size: Annotated[
        int, Range(0, 4096), "pixels a side of large views; 0: the films'", Small(16)
    ] = 0
    local: Annotated[
        int, Range(0, 4096), "pixels a side of small ones; 0: half the large", Small(8)
    ] = 0
    locals: Annotated[int, Range(0, 64), "small views of each film", Small(1)] = 8
    least: Least = 0.0


class Views(NamedTuple):
    """The views themselves; `whole` shows a film as it is, at the large views' size."""

    whole: View
    first: View
    second: View
    local: View
    locals: int


def viewing(settings: Viewing, side: int) -> Views:
    """The views of films of `side` pixels; `InputError` for views larger than they."""
    require(settings, "views")
    size = settings.size or side
    local = settings.local or size // 2
    for key, value in {"size": size, "local": local}.items():
        if value > side:
            raise InputError(
                f"views.{key}={value} is larger than the films, of {side} pixels a "
                "side: lower it, or raise data.size"
            )
    first, second, small = (PRESETS[name] for name in KINDS[settings.kind])
    if settings.least:
        first, second = (
            one._replace(scale=(settings.least, 1.0)) for one in (first, second)
        )
    return Views(
        PRESETS["whole"]._replace(size=size),
        first._replace(size=size),
        second._replace(size=size),
        small._replace(size=local),
        settings.locals,
    )


def show(batch: Batch, key: PRNGKey, view: View) -> Float[Array, "1 n s s c"]:
    """One view of each film, in [0, 1]."""
    return make_views(batch.images, key, view, 1, index=batch.numbers)


def show_large(batch: Batch, key: PRNGKey, views: Views) -> Float[Array, "2 n s s c"]:
    """The first and the second view of each film, in [0, 1]."""
    if views.first == views.second:
        return make_views(batch.images, key, views.first, 2, index=batch.numbers)
    first, second = jax.random.split(key)
    return jnp.concatenate(
        [show(batch, first, views.first), show(batch, second, views.second)]
    )


def show_second(batch: Batch, key: PRNGKey, views: Views) -> Float[Array, "1 n s s c"]:
    """The second of `show_large` alone."""
    if views.first == views.second:
        shown, numbers = views.first, batch.numbers
        return make_views(batch.images, key, shown, 1, index=numbers, first=1)
    return show(batch, jax.random.split(key)[1], views.second)


def show_small(batch: Batch, key: PRNGKey, views: Views) -> Float[Array, "v n s s c"]:
    """All small views of each film, of which there is one at least, in [0, 1]."""
    small, count = views.local, views.locals
    return make_views(batch.images, key, small, count, index=batch.numbers)
