"""The films of a lesson: on the device, or read when a step needs them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from jaxdistill.data.streaming import streamed
from jaxdistill.data.unlabelled import Read, Unlabelled
from jaxdistill.selfsupervised.course import Course
from jaxdistill.selfsupervised.learning import Films
from jaxdistill.selfsupervised.pretext import UNKNOWN, Batch
from jaxdistill.types import Pool


class Shelf(NamedTuple):
    """Films that stay where they are until a step needs them."""

    read: Read
    labels: Int[np.ndarray, " n"]

    def batch(self, course: Course, step: int) -> Batch:
        """The films of a step, on the host."""
        fed = course.feed(step)
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


def chosen(films: Films | Shelf, rows: np.ndarray, labels: Any) -> Films | Shelf:
    """The films of these rows, with labels of their own."""
    if isinstance(films, Films):
        return Films(films.images[rows], jnp.asarray(labels))
    return Shelf(lambda at: films.read(rows[at]), np.asarray(labels))


def supply(
    films: Films | Shelf, course: Course
) -> tuple[Films | tuple[()], Callable[[int], Any]]:
    """What is resident while a course runs, and what feeds each of its steps."""
    if isinstance(films, Films):
        return films, course.feed
    return (), streamed(course.steps, lambda step: films.batch(course, step))
