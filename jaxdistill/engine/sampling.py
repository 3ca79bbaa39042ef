"""Draws of image indices that are balanced over classes, pure under jit and vmap."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from jaxdistill.errors import InputError
from jaxdistill.types import PRNGKey


class ClassTable(NamedTuple):
    """Where the images of each class are; short rows repeat their last."""

    indices: Int[Array, "k most"]
    counts: Int[Array, " k"]


def class_table(
    labels: Int[Array, " n"] | Int[np.ndarray, " n"], classes: int
) -> ClassTable:
    """The table of a labelled set, made once on the host.

    Raises `InputError` for labels out of range and for a class without an image.
    """
    labels = np.asarray(labels)
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise InputError(
            f"labels run from {labels.min()} to {labels.max()}; with {classes} classes "
            f"they must lie in 0 to {classes - 1}: correct the labels"
        )
    counts = np.bincount(labels, minlength=classes)
    if not counts.all():
        raise InputError(
            f"class {int(np.argmin(counts))} has no image to draw from; every class "
            "needs one: add images or remove the class"
        )
    rows = [np.flatnonzero(labels == k) for k in range(classes)]
    most = int(np.max(counts))
    indices = np.stack([np.pad(row, (0, most - len(row)), mode="edge") for row in rows])
    return ClassTable(jnp.asarray(indices, jnp.int32), jnp.asarray(counts, jnp.int32))


def draw_balanced(
    table: ClassTable, key: PRNGKey, per_class: int
) -> Int[Array, "k per_class"]:
    """`per_class` images of every class, uniform and distinct within a class.

    A class with fewer images gives all of them and then starts again. Raises
    `InputError` for a `per_class` below 1.
    """
    if per_class < 1:
        raise InputError(f"per_class={per_class} draws nothing: use 1 or more")
    most = table.indices.shape[1]

    def draw(row: Array, count: Array, key: PRNGKey) -> Array:
        # The smallest of random scores are a uniform draw; padding never scores low.
        score = jnp.where(
            jnp.arange(most) < count, jax.random.uniform(key, (most,)), 2.0
        )
        order = jax.lax.top_k(-score, min(per_class, most))[1]
        return row[order[jnp.arange(per_class) % jnp.minimum(count, len(order))]]

    keys = jax.random.split(key, len(table.counts))
    return jax.vmap(draw)(table.indices, table.counts, keys)


def random_subset(
    labels: Int[Array, " n"] | Int[np.ndarray, " n"],
    classes: int,
    ipc: int,
    key: PRNGKey,
) -> Int[Array, " m"]:
    """Indices of `ipc` distinct images per class, in the order of the classes.

    Raises `InputError` for an `ipc` below 1 or above what a class holds.
    """
    table = class_table(labels, classes)
    check_ipc(table, ipc)
    return draw_balanced(table, key, ipc).reshape(-1)


def check_ipc(table: ClassTable, ipc: int) -> None:
    """`InputError` unless every class holds at least `ipc` images, and `ipc` one."""
    if ipc < 1:
        raise InputError(f"ipc={ipc} leaves nothing to distil: use 1 or more")
    counts = np.asarray(table.counts)
    if counts.min() < ipc:
        raise InputError(
            f"ipc={ipc} asks for more images than class {int(np.argmin(counts))} holds "
            f"({counts.min()}); every class needs at least ipc images: lower ipc or "
            "add images"
        )
