"""What ways to learn from films have in common: parameters, a loss, what follows them.

A `Pretext` is a loss of pure functions. Its parameters are `{"trunk": the backbone's,
...: its heads'}`, so that whatever was learned by any of them can go on with another.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxdistill.data.standard import from_unit
from jaxdistill.errors import InputError
from jaxdistill.ranges import Range
from jaxdistill.types import (
    Backbone,
    Decoder,
    Head,
    Params,
    PRNGKey,
    Standard,
)

UNKNOWN = -1  # the label of a film without one
Heat = Annotated[float, Range(0, 10, above=True)]


class Batch(NamedTuple):
    """Films as they are stored, their labels or `UNKNOWN`, and their places.

    What is random about a film follows its number among the whole batch, wherever the
    batch is divided.
    """

    images: Array  # uint8
    labels: Int[Array, " n"]
    numbers: Int[Array, " n"]


class Now(NamedTuple):
    """Where the training stands."""

    time: Int[Array, ""]  # steps on films, passes over labelled ones not counted
    times: Int[Array, ""]  # of them in all
    epoch: Int[Array, ""]
    epochs: Int[Array, ""]
    per_epoch: Int[Array, ""]  # steps on films
    correcting: Bool[Array, ""]  # whether this step is of such a pass


class Pretext(NamedTuple):
    """One way to learn.

        init(key) -> params
        loss(params, target, memory, batch, key, now, axis)
            -> (scalar, (metrics, memory))

    `target` is a moving average of the parameters where `follows`, else the parameters.
    `memory` is what is kept beside them, at its start. `axis` names the mesh axis that
    a batch is divided over, for what looks at all of it. `late` are paths of what waits
    for some epochs, `steady` the parts whose rate does not fall, `still` those that
    never move.
    """

    init: Callable[[PRNGKey], Params]
    loss: Callable[..., tuple[Array, tuple[dict[str, Array], PyTree]]]
    memory: PyTree = ()
    follows: bool = False
    late: tuple[tuple[str, ...], ...] = ()
    steady: tuple[str, ...] = ()
    still: tuple[str, ...] = ()


def init_parts(
    parts: Mapping[str, Backbone | Head | Decoder],
) -> Callable[[PRNGKey], Params]:
    """`init` of a backbone and what stands on it, each from a key of its own."""

    def init(key: PRNGKey) -> Params:
        keys = zip(parts, jax.random.split(key, len(parts)), strict=True)
        return {name: parts[name].init(k) for name, k in keys}

    return init


def require_films(count: int, batch: int, said: str, key: str = "batch") -> None:
    """`InputError` unless there are films enough for a batch, which is set at `key`."""
    if count < batch:
        raise InputError(
            f"{said} are {count}, fewer than {key}={batch}: lower {key}, or give more "
            "of them"
        )


def image_keys(key: PRNGKey, batch: Batch, views: int) -> Key[Array, "v n"]:
    """A key for every view of every film, by the film's number in the batch."""
    one = jax.vmap(jax.random.fold_in, (None, 0))
    return jax.vmap(lambda k: one(k, batch.numbers))(one(key, jnp.arange(views)))


def features(
    backbone: Backbone,
    params: Params,
    pictures: Float[Array, "v n h w c"],
    standard: Standard,
    keys: Key[Array, "v n"] | None = None,
) -> Float[Array, "v n d"]:
    """Features of views of one size, all in one go; keys switch dropping on."""
    v, n, *shape = pictures.shape
    flat = from_unit(pictures.reshape(v * n, *shape), standard)
    drop = None if keys is None else keys.reshape(v * n)
    return backbone.features(params["trunk"], flat, drop).reshape(v, n, -1)


def wide(x: Array) -> Array:
    """The same in float32 or longer."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
