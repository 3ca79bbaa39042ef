"""One cell: a network tuned on a few labelled films, in one compiled call.

Steps are as many for every number of films, so that cells of one number share a
program, and differ in the films and keys that they are given.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from jaxdistill.engine.mesh import make_mesh, map_update
from jaxdistill.engine.sampling import random_subset
from jaxdistill.errors import Diverged, InputError
from jaxdistill.jobs.labels.plan import Cell, digest_of_pretraining
from jaxdistill.jobs.lessons.films import films_of, relabel
from jaxdistill.jobs.lessons.starting import begin_with
from jaxdistill.jobs.lessons.training import (
    Lesson,
    Room,
    Taught,
    facts_of,
    taught,
)
from jaxdistill.jobs.settings import build_labelling as build
from jaxdistill.jobs.settings.build_backbones import build_backbones
from jaxdistill.selfsupervised.course import Course
from jaxdistill.selfsupervised.descent import Regime
from jaxdistill.selfsupervised.learning import Films, Resident, State, begin, learn
from jaxdistill.selfsupervised.pretext import UNKNOWN
from jaxdistill.types import Params, Pool, PRNGKey

Config = Mapping[str, Any]


def pretrained(room: Room, config: Config, name: str) -> Taught:
    """The backbone that a pretext trains on all training films, and on further ones."""
    seed, films = config["labels"]["seed"], films_of(room.pool, room.further)
    count = len(films.labels)
    pretext = build.build_pretraining(config, room.pool, name)
    regime = build.build_regime(config, name)
    course = Course(count, regime.batch, regime.epochs, seed)
    key = jax.random.key(seed)
    hidden = relabel(films, np.full(count, UNKNOWN, np.int32))
    told = f"{name}_seed{seed}_{digest_of_pretraining(config, name)}"

    def start() -> State:
        return begin(pretext, regime, pretext.init(key))

    rows = np.arange(count)
    lesson = Lesson(told, told, pretext, regime, course, hidden, rows, key, start)
    return taught(room, config, lesson, facts_of(config, room.pool))


class Draw(NamedTuple):
    """The films of a draw, the same in every row, and the keys of what learns them."""

    rows: Int[np.ndarray, " n"]
    init: PRNGKey
    run: PRNGKey


def draw_key(config: Config, cell: Cell) -> PRNGKey:
    """Of all that is random in a draw."""
    return jax.random.fold_in(jax.random.key(config["labels"]["seed"]), cell.draw)


def draw_of(pool: Pool, config: Config, cell: Cell) -> Draw:
    """`InputError` for more labelled films than there are of some class."""
    films = np.bincount(np.asarray(pool.train.labels), minlength=pool.classes)
    rare = int(films.argmin())
    if cell.per_class > films[rare]:
        raise InputError(
            f"labels.per_class={cell.per_class} asks for more films than the "
            f"{films[rare]} of class {pool.class_names[rare]!r}: lower it"
        )
    k_rows, k_init, k_run = jax.random.split(draw_key(config, cell), 3)
    rows = random_subset(pool.train.labels, pool.classes, cell.per_class, k_rows)
    return Draw(np.asarray(rows), k_init, k_run)


class Tuner:
    """Tunes networks by one configuration; what is compiled serves all draws."""

    def __init__(self, room: Room, config: Config) -> None:
        self.room, self.config = room, config
        self.pretext = build.build_tuning(config, room.pool)
        self.backbone = build_backbones(config, room.pool).backbone
        self.films = Films(room.pool.train.images, room.pool.train.labels)
        self._programs: dict[Regime, Callable] = {}

    def tune(self, cell: Cell, start: Path | None) -> Params:
        """The network of a cell after its steps, from a file's backbone or none.

        Raises `Diverged` for weights that are not finite.
        """
        rows, k_init, k_run = draw_of(self.room.pool, self.config, cell)
        params = self.pretext.init(k_init)
        if start is not None:
            params = begin_with(start, params, self.backbone, self.room.say)
        regime, course = build.build_course(self.config, len(rows), cell.draw)
        state = begin(self.pretext, regime, params)
        steps = range(self.config["tuning"]["steps"])
        fed = jax.tree.map(lambda *x: np.stack(x), *map(course.feed, steps))
        fed = fed._replace(films=rows[fed.films])
        run, here = self._program(regime), Resident(self.films, course.pace)
        state, _ = run(state, here, fed, np.arange(len(steps)), k_run)
        if not all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(state.params)):
            raise Diverged(
                f"the weights of {cell.name} are not finite: lower tuning.lr"
            )
        return state.params

    def _program(self, regime: Regime) -> Callable:
        if regime not in self._programs:
            learner = learn(self.pretext, regime)
            # One device: a few films are too few to be divided.
            self._programs[regime] = map_update(learner, make_mesh(1))
        return self._programs[regime]
