"""What methods that compare class with class share: real batches, rows by class.

The rows of a synthetic set are in the order of the classes, the same number for each.
"""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Key

from jaxdistill.data.standard import standardise
from jaxdistill.engine.microbatch import mixes_images
from jaxdistill.engine.sampling import ClassTable, class_table, draw_balanced
from jaxdistill.errors import InputError
from jaxdistill.types import Network, Pool, PRNGKey, Source, Split

ClassImages = Float[Array, "k b h w c"]


class Resident(NamedTuple):
    """The training split, and where its classes are."""

    train: Split
    table: ClassTable


def class_batches(per_class: int) -> Source:
    """Every step `per_class` distinct real images of every class, as inputs.

    Its batches are `ClassImages`. `resident` raises `InputError` for a class with fewer
    images.
    """

    def resident(pool: Pool) -> Resident:
        table = class_table(pool.train.labels, pool.classes)
        counts = np.asarray(table.counts)
        if not 1 <= per_class <= counts.min():
            name = pool.class_names[int(np.argmin(counts))]
            raise InputError(
                f"batch_real={per_class} must be from 1 to {counts.min()}, the number "
                f"of training images of class {name!r}: lower it"
            )
        return Resident(pool.train, table)

    def draw(resident: Resident, fed, key: PRNGKey) -> ClassImages:
        del fed
        rows = draw_balanced(resident.table, key, per_class)
        images = resident.train.images[rows.reshape(-1)]
        inputs = standardise(images, resident.train.standard)
        return inputs.reshape(*rows.shape, *inputs.shape[1:])

    return Source(resident, lambda step: (), draw)


def require_alone(network: Network, method: str) -> None:
    """`InputError` for a network whose statistics a batch of one class would bend.

    Batch norm takes the mean of the batch away, which is what a class is known by.
    """
    if mixes_images(network):
        raise InputError(
            f"network.norm=batch does not serve method={method}, which shows a network "
            "one class or one part at a time: set network.norm to instance or group"
        )


def by_class(rows: Float[Array, "m ..."], classes: int) -> Float[Array, "k ipc ..."]:
    """Rows of a synthetic set with an axis of classes.

    Raises `InputError` for a set that is no multiple of the classes.
    """
    if rows.shape[0] % classes:
        raise InputError(
            f"the synthetic set has {rows.shape[0]} images, which {classes} classes "
            "cannot share equally: give every class the same number"
        )
    return rows.reshape(classes, -1, *rows.shape[1:])


def class_keys(key: PRNGKey, classes: int) -> Key[Array, " k"]:
    """A key a class, so that its real and synthetic images are augmented alike."""
    return jax.random.split(key, classes)
