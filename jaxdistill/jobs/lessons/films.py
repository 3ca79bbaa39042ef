"""The films of a lesson: on the device, or read when a step needs them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from jaxdistill.data.streaming import streamed
from jaxdistill.data.unlabelled import Read, Unlabelled
from jaxdistill.selfsupervised.course import Course, Fed
from jaxdistill.selfsupervised.learning import Films, Resident
from jaxdistill.selfsupervised.pretext import UNKNOWN, Batch
from jaxdistill.types import Pool


class Shelf(NamedTuple):
    """Films that stay where they are until a step needs them."""

    read: Read
    labels: Int[np.ndarray, " n"]

    def batch(self, fed: Fed) -> Batch:
        """The films of a step, on the host."""
        images, labels = self.read(fed.films), self.labels[fed.films]
        return Batch(images, labels, fed.numbers)  # type: ignore[arg-type]


def films_of(pool: Pool, further: Unlabelled | None) -> Films | Shelf:
    """The training films, and behind them those that have no label at all."""
    if further is None:
        return Films(pool.train.images, pool.train.labels)
    own, more = pool.train.size, len(further.groups)
    unknown = np.full(more, UNKNOWN, pool.train.labels.dtype)
    labels = np.concatenate([np.asarray(pool.train.labels), unknown])
    if not further.streamed:
        images = [pool.train.images, jnp.asarray(further.read(np.arange(more)))]
        return Films(jnp.concatenate(images), jnp.asarray(labels))
    held = np.asarray(pool.train.images)

    def read(rows: np.ndarray) -> np.ndarray:
        made = np.empty((len(rows), *held.shape[1:]), held.dtype)
        behind = rows >= own
        made[~behind] = held[rows[~behind]]
        if behind.any():
            made[behind] = further.read(rows[behind] - own)
        return made

    return Shelf(read, labels)


def relabel(films: Films | Shelf, labels: Int[np.ndarray, " n"]) -> Films | Shelf:
    """The same films, with other labels."""
    if isinstance(films, Films):
        return Films(films.images, jnp.asarray(labels))
    return Shelf(films.read, labels)


def supply(
    films: Films | Shelf, rows: Int[np.ndarray, " n"], course: Course
) -> tuple[Resident, Callable[[int], Any]]:
    """What is resident while a course over these rows runs, and what feeds its steps.

    All films are resident whatever the rows, so that courses over some of them share a
    program.
    """

    def feed(step: int) -> Fed:
        fed = course.feed(step)
        return fed._replace(films=rows[fed.films].astype(np.int32))

    if isinstance(films, Films):
        return Resident(films, course.pace), feed
    read = streamed(course.steps, lambda step: films.batch(feed(step)))
    return Resident((), course.pace), read
