"""Training in a run's folder: stage after stage, each with checkpoints of its own.

    workdir/lessons/seedS_NAME_DIGEST/    checkpoints, metrics, network.safetensors

The weights hold student and teacher: the next stage begins from both.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxdistill.data.folds import Folds
from jaxdistill.engine.mesh import require_multiple
from jaxdistill.errors import Diverged
from jaxdistill.jobs.selftrain.plan import (
    CEILING,
    SUPERVISED,
    Plan,
    Way,
    digest_of_first,
)
from jaxdistill.jobs.selftrain.watch import collapse
from jaxdistill.jobs.settings import build_selftraining as build
from jaxdistill.run.limits import Limit
from jaxdistill.run.loop import Loop, train
from jaxdistill.run.weights_file import fill, read_weights, write_weights
from jaxdistill.selfsupervised.course import Course
from jaxdistill.selfsupervised.descent import Regime
from jaxdistill.selfsupervised.learning import Films, State, begin, learn
from jaxdistill.selfsupervised.pretext import UNKNOWN, Pretext
from jaxdistill.types import Params, Pool

Config = dict[str, Any]
FILE = "network.safetensors"


class Room(NamedTuple):
    """What all lessons of a run share."""

    folder: Path
    pool: Pool
    folds: Folds
    mesh: Mesh
    say: Callable


class Taught(NamedTuple):
    """A trained network: where its weights lie, and student and teacher."""

    file: Path
    student: Params
    teacher: Params


class Lesson(NamedTuple):
    """What a training consists of, beside where it begins."""

    pretext: Pretext
    regime: Regime
    course: Course
    films: Films


def check(folds: Folds, wanted: Plan) -> None:
    """`InputError` for a training that has fewer films than its batches."""
    for way in wanted.ways:
        regime = build.build_regime(way.config, "first")
        Course(len(folds.labelled), regime.batch, regime.epochs).require()
        course_of(folds, way.config, 0, 1).require()


def supervised(room: Room, config: Config, seed: int) -> Taught:
    """Stage 0: the labelled films alone."""
    name = f"seed{seed}_{SUPERVISED}_{digest_of_first(config)}"
    return _labelled(room, config, seed, name, room.folds.labelled)


def ceiling(room: Room, config: Config, seed: int) -> Taught:
    """All training films with their labels."""
    name = f"seed{seed}_{CEILING}_{digest_of_first(config)}"
    return _labelled(room, config, seed, name, np.arange(room.pool.train.size))


def stage(room: Room, way: Way, seed: int, number: int, before: Taught) -> Taught:
    """The stage of a number from 1, from the network that the one before left."""
    name = f"seed{seed}_{way.name}{number}_{way.digest}"
    key = jax.random.fold_in(jax.random.key(seed), number)

    def start(lesson: Lesson) -> State:
        return _onward(room, way.config, lesson, before, number, key)

    return _lesson(
        room, way.config, name, _stage_of(room, way, seed, number), start, key
    )


def _labelled(
    room: Room, config: Config, seed: int, name: str, rows: np.ndarray
) -> Taught:
    pretext = build.build_first(config, room.pool)
    regime = build.build_regime(config, "first")
    course = Course(len(rows), regime.batch, regime.epochs, seed)
    train_films = room.pool.train
    films = Films(train_films.images[rows], train_films.labels[rows])
    key = jax.random.key(seed)

    def start(lesson: Lesson) -> State:
        params = pretext.init(key)
        if config["start"]:
            params |= begin_with(Path(config["start"]), params)
        return begin(lesson.pretext, lesson.regime, lesson.course, params)

    return _lesson(
        room, config, name, Lesson(pretext, regime, course, films), start, key
    )


def _stage_of(room: Room, way: Way, seed: int, number: int) -> Lesson:
    """Folds up to a number without their labels, the labelled films behind them."""
    pretext = build.build_stage(way.config, room.pool)
    regime = build.build_regime(way.config, "stage")
    if build.build_passes(way.config).fixed:
        regime = regime._replace(momentum=1.0)
    free = np.concatenate(room.folds.unlabelled[:number])
    known = room.folds.labelled
    rows = np.concatenate([free, known])
    labels = np.asarray(room.pool.train.labels)[rows]
    labels[: len(free)] = UNKNOWN  # nothing can learn from what is not there
    films = Films(room.pool.train.images[rows], jnp.asarray(labels))
    course = course_of(room.folds, way.config, seed, number)
    return Lesson(pretext, regime, course, films)


def course_of(folds: Folds, config: Config, seed: int, number: int) -> Course:
    """The order of films in a stage, with its passes over labelled ones."""
    regime, passes = build.build_regime(config, "stage"), build.build_passes(config)
    free = sum(map(len, folds.unlabelled[:number]))
    labelled = len(folds.labelled)
    return Course(free, regime.batch, regime.epochs, seed, labelled, passes.every)


def _onward(
    room: Room,
    config: Config,
    lesson: Lesson,
    before: Taught,
    number: int,
    key: jax.Array,
) -> State:
    """Where a stage begins: at stage 1 both networks are the student of stage 0."""
    passes = build.build_passes(config)
    fresh = lesson.pretext.init(key)
    student = {**fresh, **before.student}
    first = number == 1 or passes.fixed
    teacher = student if first else {**fresh, **before.teacher}
    if passes.restart:
        student = lesson.pretext.init(jax.random.fold_in(key, 1))
    copied = jax.tree.map(jnp.array, teacher)
    return begin(lesson.pretext, lesson.regime, lesson.course, student, copied)


def _lesson(
    room: Room,
    config: Config,
    name: str,
    lesson: Lesson,
    start: Callable[[Lesson], State],
    key: jax.Array,
) -> Taught:
    """Train, or go on, or read what was trained."""
    folder = room.folder / "lessons" / name
    file = folder / FILE
    if not file.exists():
        require_multiple("batch", lesson.regime.batch, room.mesh)
        room.say(f"{name}: {lesson.course.steps} steps")
        learner = learn(lesson.pretext, lesson.regime, lesson.course)
        loop = Loop(
            folder=folder,
            steps=lesson.course.steps,
            key=jax.random.fold_in(key, 1),
            mesh=room.mesh,
            engine=config["devices"]["map"],
            per_call=config["steps_per_call"],
            log_every=config["log_every"],
            checkpoint_every=config["checkpoint_every"],
            keep=1,
            tensorboard=config["tensorboard"],
            limit=Limit(**config["limit"]),
        )
        folder.mkdir(parents=True, exist_ok=True)
        began = learner._replace(init=lambda key: start(lesson))
        events = (collapse(config["log_every"], room.say, name),)
        state, _ = train(loop, began, lesson.films, lesson.course.feed, events)
        _require_finite(name, state.params)
        both = {"student": state.params, "teacher": state.target}
        write_weights(file, jax.device_get(both), facts_of(config, room.pool))
    return _read(file, jax.eval_shape(lesson.pretext.init, key))


def _read(file: Path, like: Params) -> Taught:
    tensors, _ = read_weights(file)
    both = fill(file, {"student": like, "teacher": like}, tensors)
    return Taught(file, both["student"], both["teacher"])


def facts_of(config: Config, pool: Pool) -> dict[str, Any]:
    """What a file tells of a network: how to build it, and what it was made for."""
    return {
        "job": config["job"],
        "backbone": config["backbone"],
        "classes": config["classes"],
        "image_shape": pool.image_shape,
        "class_names": pool.class_names,
        "data": config["data"],
    }


def begin_with(file: Path, params: Params) -> Params:
    """The backbone of a file in the place of a fresh one; its heads are not taken."""
    tensors, _ = read_weights(file)
    for prefix in ("student.trunk.", "trunk."):
        own = {
            k.removeprefix(prefix): v
            for k, v in tensors.items()
            if k.startswith(prefix)
        }
        if own:
            return {"trunk": fill(file, params["trunk"], own)}
    return {"trunk": fill(file, params["trunk"], tensors)}


def _require_finite(name: str, params: Params) -> None:
    if not all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(params)):
        raise Diverged(f"the weights of {name} are not finite: lower its lr")
