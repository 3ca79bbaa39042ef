"""Training in a run's folder: teachers one by one, students in classes.

    workdir/teachers/FOLD_seedS_DIGEST/    one teacher
    workdir/classes/FOLD_seedS_DIGEST/     the students of one class

each with the checkpoints and metrics of a run of its own. A class that was begun is
ended before another begins, so that a student added later costs itself alone.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxdistill.data.protocol import Fold
from jaxdistill.engine.mesh import require_multiple
from jaxdistill.errors import Diverged
from jaxdistill.jobs.segment.models import load_model
from jaxdistill.jobs.segment.plan import Pupil, of_teacher, safe
from jaxdistill.jobs.settings import build_segmentation as build
from jaxdistill.jobs.settings.build_loop import build_loop
from jaxdistill.run.files import digest, read_record, write_json
from jaxdistill.run.kept import usable
from jaxdistill.run.limits import remembered
from jaxdistill.run.loop import train
from jaxdistill.run.weights_file import write_weights
from jaxdistill.segmentation.drawing import Stock, stock
from jaxdistill.segmentation.teaching import (
    Practice,
    Progress,
    Resident,
    Student,
    numbers,
    teach,
)
from jaxdistill.types import Case, Learner, Params, Segmenter, SitePool, Slices

Config = Mapping[str, Any]


class Room(NamedTuple):
    """What all lessons of a run share: its folder, its cases, how they are sliced.

    `slices` of the whole pool stay on the device, also those that a fold leaves out:
    folds differ in the rows that they draw from, and seeds in the state that they begin
    with, so that `learners` of equal lessons are compiled once for all of them.
    """

    folder: Path
    pool: SitePool
    shape: tuple[int, int]
    mesh: Mesh
    say: Callable
    slices: Slices
    learners: dict[str, Learner]  # by program, as far as lessons were held


class Seat(NamedTuple):
    """One fold and one seed: where a student sits."""

    unseen: str
    fold: Fold
    seed: int

    @property
    def name(self) -> str:
        """The name of its folders."""
        return f"{safe(self.unseen)}_seed{self.seed}"


class Tutors(NamedTuple):
    """Trained networks that speak together, and the files of their weights."""

    networks: tuple[Segmenter, ...] = ()
    params: tuple[Params, ...] = ()
    files: tuple[Path, ...] = ()


def tutors(room: Room, config: Config, seat: Seat) -> Tutors:
    """The teachers that a configuration asks for, trained or read."""
    files = [
        _teacher(room, config, cases, (name, seat, member))
        for cases, name in _of_whom(config, seat)
        for member in range(config["teachers"]["count"])
    ]
    network = build.build_network(config, room.pool, "teacher")
    params = tuple(load_model(file).params for file in files)
    return Tutors((network,) * len(files), params, tuple(files))


def facts_of(room: Room, config: Config, role: str) -> dict[str, Any]:
    """What a file tells of a network: how to build it, and what it was made for."""
    return {
        "network": config[role],
        "channels": build.channels_of(config, room.pool),
        "classes": room.pool.classes,
        "class_names": room.pool.class_names,
        "neighbours": config["protocol"]["neighbours"],
        "shape": room.shape,
        "values": values_of(room.pool),
        "data": config["data"],
    }


def values_of(pool: SitePool) -> tuple[int, ...]:
    """What masks of the pool hold for its classes; classes themselves by default."""
    values = getattr(pool.cases[0].origin, "values", ())
    return tuple(map(int, values)) or tuple(range(pool.classes))


def class_of(
    room: Room, seat: Seat, pupils: Sequence[Pupil], taught_by: Tutors
) -> dict[str, Params]:
    """The students of one class after their training, by name.

    A student whose numbers are no longer finite is not among them.
    """
    config = pupils[0].config
    pool = room.pool
    students = {
        p.name: Student(
            build.build_network(p.config, pool, "student"),
            build.build_terms(p.config, pool.classes),
        )
        for p in pupils
    }
    wanted = {p.name: p.digest for p in pupils}
    folder = room.folder / "classes" / f"{seat.name}_{digest(wanted)}"
    listening = any(student.terms for student in students.values())
    if not listening:
        taught_by = Tutors()
    practice = build.build_practice(config, "learning")
    program = digest([wanted, len(taught_by.networks)])
    learner = _learner(room, program, config, students, taught_by.networks, practice)
    key = jax.random.fold_in(jax.random.key(seat.seed), 1)
    room.say(f"class {seat.name}: {', '.join(students)}")
    write_json(folder / "class.json", wanted)
    data = Resident(_stock(room, seat.fold.train), taught_by.params)
    state = _trained(room, folder, config, practice, learner, data, key)
    return {n: one.params for n, one in state.students.items() if _finite(one)}


def begun(
    room: Room, seat: Seat, pupils: Sequence[Pupil], missing: Iterable[Pupil]
) -> list[list[Pupil]]:
    """The classes to hold for students without weights: first those begun before.

    These are whole, also where some of their students have weights already: the class
    may have ended, and handed over only these.
    """
    left = list(missing)
    groups = []
    for file in sorted((room.folder / "classes").glob(f"{seat.name}_*/class.json")):
        wanted = usable(file, read_record) or {}
        here = [p for p in pupils if wanted.get(p.name) == p.digest]
        if len(here) == len(wanted) and any(p in left for p in here):
            groups.append(here)
            left = [p for p in left if p not in here]
    by: dict[str, list[Pupil]] = {}
    for pupil in left:
        by.setdefault(pupil.common, []).append(pupil)
    return [*groups, *by.values()]


def _of_whom(config: Config, seat: Seat) -> list[tuple[tuple[Case, ...], str]]:
    """The cases that each teacher learns from, and a name for them."""
    cases = seat.fold.train
    if config["teachers"]["each"] == "fold":
        return [(cases, f"but-{safe(seat.unseen)}")]
    sites = dict.fromkeys(case.site for case in cases)
    return [
        (tuple(c for c in cases if c.site == site), f"only-{safe(site)}")
        for site in sites
    ]


def _teacher(
    room: Room,
    config: Config,
    cases: tuple[Case, ...],
    who: tuple[str, Seat, int],
) -> Path:
    """The weights of one teacher, trained if they are not there."""
    name, seat, member = who
    told = {"config": of_teacher(config), "cases": [case.name for case in cases]}
    label = f"{name}_seed{seat.seed}" + (f"_{member}" if member else "")
    folder = room.folder / "teachers" / f"{label}_{digest(told)}"
    file = folder / "network.safetensors"
    if usable(file, load_model) is not None:
        return file
    network = build.build_network(config, room.pool, "teacher")
    practice = build.build_practice(config, "teaching")
    student = {"teacher": Student(network)}
    learner = _learner(room, digest(told["config"]), config, student, (), practice)
    key = jax.random.fold_in(jax.random.key(seat.seed), 100 + member)
    room.say(f"teacher {label}")
    data = Resident(_stock(room, cases), ())
    state = _trained(room, folder, config, practice, learner, data, key)
    trained = state.students["teacher"]
    if not _finite(trained):
        raise Diverged(
            f"the weights of teacher {label} are not finite: lower teaching.lr"
        )
    write_weights(file, trained.params, facts_of(room, config, "teacher"))
    return file


def _learner(
    room: Room,
    program: str,
    config: Config,
    students: Mapping[str, Student],
    teachers: tuple[Segmenter, ...],
    practice: Practice,
) -> Learner:
    """That of a class, or the one of an equal class before it."""
    if program in room.learners:
        return room.learners[program]
    patches = build.build_patches(config)
    require_multiple("patches.batch", patches.batch, room.mesh)
    channels = build.channels_of(config, room.pool)
    policy = build.build_policy(config, room.pool)
    room.learners[program] = teach(
        students, teachers, practice, patches, policy, channels=channels
    )
    return room.learners[program]


def _trained(
    room: Room,
    folder: Path,
    config: Config,
    practice: Practice,
    learner: Learner,
    data: Resident,
    key: jax.Array,
) -> Any:
    loop = build_loop(config, folder, practice.steps, key, room.mesh, keep=1)
    folder.mkdir(parents=True, exist_ok=True)
    feed = numbers(build.build_patches(config))
    with remembered(folder, loop.limit):
        state, _ = train(loop, learner, data, feed)
    return jax.tree.map(np.asarray, state)


def _stock(room: Room, cases: Sequence[Case]) -> Stock:
    """The pool's slices, to be drawn from these cases."""
    ends = np.cumsum([len(case.mask) for case in room.pool.cases])
    rows = {
        case.name: np.arange(end - len(case.mask), end)
        for case, end in zip(room.pool.cases, ends, strict=True)
    }
    taken = np.concatenate([rows[case.name] for case in cases])
    return stock(room.slices, room.pool.classes, taken)


def _finite(student: Progress) -> bool:
    leaves = jax.tree.leaves(student.params)
    return all(bool(jnp.isfinite(leaf).all()) for leaf in leaves)
