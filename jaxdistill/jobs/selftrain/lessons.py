"""The lessons of self-training: labels alone, then stage after stage."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from jaxdistill.data.folds import Folds
from jaxdistill.evaluation.robustness import corrupt_labels
from jaxdistill.foreign.files import expanded
from jaxdistill.jobs.lessons.films import Shelf, films_of, relabel
from jaxdistill.jobs.lessons.starting import begin_with
from jaxdistill.jobs.lessons.training import (
    Config,
    Lesson,
    Room,
    Taught,
    facts_of,
    taught,
)
from jaxdistill.jobs.selftrain.plan import (
    CEILING,
    SUPERVISED,
    Plan,
    Way,
    at_length,
    digest_of_first,
)
from jaxdistill.jobs.settings import build_selftraining as build
from jaxdistill.jobs.settings.build_backbones import build_backbones
from jaxdistill.selfsupervised.course import Course
from jaxdistill.selfsupervised.learning import Films, State, begin
from jaxdistill.selfsupervised.pretext import UNKNOWN, Pretext
from jaxdistill.types import Params, PRNGKey


class School(NamedTuple):
    """Where lessons are held, all films for them, and who of these has a label."""

    room: Room
    folds: Folds
    films: Films | Shelf


def school_of(room: Room, folds: Folds, config: Config) -> School:
    """All films, and which have a label; of the labels a share may be made wrong."""
    school = School(room, folds, films_of(room.pool, room.further))
    return relabelled(school, config) if config["films"]["wrong"] else school


def relabelled(school: School, config: Config) -> School:
    """The same films, of whose kept labels `films.wrong` are wrong."""
    told, pool, rows = config["films"], school.room.pool, school.folds.labelled
    key, right = jax.random.key(told["seed"]), pool.train.labels[rows]
    labels = np.array(school.films.labels)
    labels[rows] = corrupt_labels(right, key, told["wrong"], pool.classes)
    return school._replace(films=relabel(school.films, labels))


def check(folds: Folds, wanted: Plan) -> None:
    """`InputError` for a training that has fewer films than its batches."""
    for way in wanted.ways:
        regime = build.build_regime(way.config, "first")
        Course(len(folds.labelled), regime.batch, regime.epochs).require("first.batch")
        course_of(folds, way.config, 0, 1).require("stage.batch")


def supervised(school: School, config: Config, seed: int) -> Taught:
    """Stage 0: the labelled films alone."""
    return _labelled(school, config, seed, SUPERVISED, _kept(school))


def ceiling(school: School, config: Config, seed: int) -> Taught:
    """All training films with their labels, right ones whatever `films.wrong` is."""
    pool = school.room.pool
    longer = at_length(config, config["protocol"]["ceiling"])
    return _labelled(school, longer, seed, CEILING, np.asarray(pool.train.labels))


def stage(school: School, way: Way, seed: int, number: int, before: Taught) -> Taught:
    """The stage of a number from 1, from the network that the one before left."""
    lesson = stage_lesson(school, way, seed, number, before)
    facts = facts_of(way.config, school.room.pool)
    return taught(school.room, way.config, lesson, facts)


def stage_lesson(
    school: School, way: Way, seed: int, number: int, before: Taught | None
) -> Lesson:
    """Folds up to a number without their labels, the labelled films behind them."""
    pool, folds = school.room.pool, school.folds
    known = jnp.asarray(school.films.labels)[folds.labelled]
    shares = jax.nn.one_hot(known, pool.classes).mean(0)
    pretext = build.build_stage(way.config, pool, shares)
    regime = build.build_regime(way.config, "stage")
    passes = build.build_passes(way.config)
    if passes.fixed:
        regime = regime._replace(momentum=1.0)
    rows = np.concatenate([*folds.unlabelled[:number], folds.labelled])
    films = relabel(school.films, _kept(school))
    course = course_of(folds, way.config, seed, number)
    key = jax.random.fold_in(jax.random.key(seed), number)

    def start() -> State:
        """At stage 1 both networks are the student of stage 0."""
        assert before is not None
        fresh = pretext.init(key)
        student = {**fresh, **before.student}
        first = number == 1 or passes.fixed
        teacher = student if first else {**fresh, **before.teacher}
        if passes.restart:
            again = jax.random.fold_in(key, 1)
            student = _fresh(school, way.config, pretext, again)
        return begin(pretext, regime, student, jax.tree.map(jnp.array, teacher))

    name = f"seed{seed}_{way.name}{number}_{way.digest}"
    told = (name, way.program, pretext, regime, course, films, rows, key, start)
    return Lesson(*told)


def _kept(school: School) -> Int[np.ndarray, " n"]:
    """The labels that are kept: nothing can learn from what is not there."""
    labels = np.asarray(school.films.labels)
    known = np.isin(np.arange(len(labels)), school.folds.labelled)
    return np.where(known, labels, UNKNOWN)


def _fresh(school: School, config: Config, pretext: Pretext, key: PRNGKey) -> Params:
    """Before all training: fresh parameters, or fresh ones on weights of a file."""
    params = pretext.init(key)
    if not config["start"]:
        return params
    backbone = build_backbones(config, school.room.pool).backbone
    return begin_with(expanded(config["start"]), params, backbone, school.room.say)


def course_of(folds: Folds, config: Config, seed: int, number: int) -> Course:
    """The order of films in a stage, with its passes over labelled ones."""
    regime, passes = build.build_regime(config, "stage"), build.build_passes(config)
    free = sum(map(len, folds.unlabelled[:number]))
    labelled = len(folds.labelled)
    return Course(free, regime.batch, regime.epochs, seed, labelled, passes.every)


def _labelled(
    school: School, config: Config, seed: int, name: str, labels: np.ndarray
) -> Taught:
    """A training on the labels that are known; those of further films never are."""
    pool = school.room.pool
    labels = labels[: pool.train.size]
    rows = np.flatnonzero(labels != UNKNOWN)
    pretext = build.build_first(config, pool)
    regime = build.build_regime(config, "first")
    course = Course(len(rows), regime.batch, regime.epochs, seed)
    films = Films(pool.train.images, jnp.asarray(labels))
    key = jax.random.key(seed)

    def start() -> State:
        return begin(pretext, regime, _fresh(school, config, pretext, key))

    told = f"seed{seed}_{name}_{digest_of_first(config)}"
    program = f"{SUPERVISED}_{digest_of_first(at_length(config, 1))}"
    lesson = Lesson(told, program, pretext, regime, course, films, rows, key, start)
    return taught(school.room, config, lesson, facts_of(config, pool))
