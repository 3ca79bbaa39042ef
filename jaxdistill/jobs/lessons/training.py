"""Training in a run's folder: each lesson with checkpoints of its own.

    workdir/lessons/NAME/    checkpoints, metrics, network.safetensors

The weights hold student and teacher, where one follows: another lesson may begin from
both.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int

from jaxdistill.data.unlabelled import Unlabelled
from jaxdistill.engine.mesh import require_multiple
from jaxdistill.errors import Diverged
from jaxdistill.jobs.lessons.films import Shelf, supply
from jaxdistill.jobs.lessons.watch import collapse
from jaxdistill.jobs.settings.build_loop import build_loop
from jaxdistill.run.kept import usable
from jaxdistill.run.limits import remembered
from jaxdistill.run.loop import train
from jaxdistill.run.weights_file import fill, read_weights, write_weights
from jaxdistill.selfsupervised.course import Course
from jaxdistill.selfsupervised.descent import Regime
from jaxdistill.selfsupervised.learning import Films, State, learn
from jaxdistill.selfsupervised.pretext import Pretext
from jaxdistill.types import Learner, Params, Pool

Config = Mapping[str, Any]
FILE = "network.safetensors"


class Room(NamedTuple):
    """What all lessons of a run share."""

    folder: Path
    pool: Pool
    mesh: Mesh
    say: Callable
    learners: dict[str, Learner]  # by program, as far as lessons were held
    further: Unlabelled | None = None  # films beside those of the pool


class Lesson(NamedTuple):
    """What a training consists of; `begin` gives its state before the first step.

    Lessons of one `program` have equal pretexts and regimes, and are compiled once:
    they differ in what they begin with, in their course and in the rows that it shows.
    """

    name: str
    program: str
    pretext: Pretext
    regime: Regime
    course: Course
    films: Films | Shelf
    rows: Int[np.ndarray, " n"]
    key: jax.Array
    begin: Callable[[], State]


class Taught(NamedTuple):
    """A trained network: where its weights lie, student, and teacher if one follows."""

    file: Path
    student: Params
    teacher: Params


def taught(room: Room, config: Config, lesson: Lesson, facts: Config) -> Taught:
    """The network of a lesson: trained, or gone on with, or read."""
    folder = room.folder / "lessons" / lesson.name
    file = folder / FILE
    found = usable(file, lambda path: _read(path, lesson))
    if found is None:
        require_multiple("batch", lesson.regime.batch, room.mesh)
        room.say(f"{lesson.name}: {lesson.course.steps} steps")
        if 0 < lesson.regime.epochs <= lesson.regime.warmup:
            room.say(
                "note: the rate rises to the end, as the warmup of "
                f"{lesson.regime.warmup:g} epochs is no shorter than all "
                f"{lesson.regime.epochs}: lower warmup beside these epochs"
            )
        fresh = learn(lesson.pretext, lesson.regime)
        learner = room.learners.setdefault(lesson.program, fresh)
        learner = learner._replace(init=lambda key: lesson.begin())
        events = (collapse(config["log_every"], room.say, lesson.name),)
        key, steps = jax.random.fold_in(lesson.key, 1), lesson.course.steps
        loop = build_loop(config, folder, steps, key, room.mesh, keep=1)
        folder.mkdir(parents=True, exist_ok=True)
        resident, feed = supply(lesson.films, lesson.rows, lesson.course)
        with remembered(folder, loop.limit):
            state, _ = train(loop, learner, resident, feed, events)
            _require_finite(lesson.name, state.params)
        both = {"student": state.params, "teacher": state.target}
        write_weights(file, jax.device_get(both), facts)
        found = _read(file, lesson)
    return found


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


def _read(file: Path, lesson: Lesson) -> Taught:
    like = jax.eval_shape(lesson.pretext.init, lesson.key)
    followed = like if lesson.pretext.follows else ()
    both = {"student": like, "teacher": followed}
    found = fill(file, both, read_weights(file)[0])
    return Taught(file, found["student"], found["teacher"])


def _require_finite(name: str, params: Params) -> None:
    if not all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(params)):
        raise Diverged(f"the weights of {name} are not finite: lower its lr")
