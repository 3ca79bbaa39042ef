"""One fold and seed of a segmentation run: everyone in it, trained and scored.

Who fails is told, and ends nobody else: a teacher those who listen to it, a student
itself.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxdistill.errors import Diverged
from jaxdistill.jobs.segment.judging import Judged, score
from jaxdistill.jobs.segment.lessons import (
    Room,
    Seat,
    Tutors,
    begun,
    class_of,
    facts_of,
    tutors,
)
from jaxdistill.jobs.segment.models import load_model
from jaxdistill.jobs.segment.plan import TEACHER, Pupil, of_teacher, told_of
from jaxdistill.jobs.settings import build_segmentation as build
from jaxdistill.run.files import digest
from jaxdistill.run.kept import usable
from jaxdistill.run.weights_file import write_weights

Config = Mapping[str, Any]
Bench = dict[tuple[str, str, int], Judged]  # by name, site left out, seed


def run_fold(
    room: Room,
    config: Config,
    seat: Seat,
    pupils: Sequence[Pupil],
    reasons: dict[str, str],
) -> Bench:
    """Everyone of one fold and seed, trained and scored; failures by name."""
    bench: Bench = {}
    taught: dict[str, Tutors | None] = {}
    own = next((p for p in pupils if p.name == "distilled"), pupils[0])

    def judge(one: Judged) -> None:
        try:
            score(room, config, seat, one)
        except Diverged as error:
            fail(room, seat, one.name, str(error), reasons)
        else:
            bench[one.name, seat.unseen, seat.seed] = one

    def teachers(pupil: Pupil) -> Tutors | None:
        """Those of a student, judged as well; None where their training failed."""
        key = _voice(pupil.config)
        if key not in taught:
            first = next(p for p in pupils if _voice(p.config) == key)
            name = TEACHER if key == _voice(own.config) else told_of(first)
            try:
                taught[key] = found = tutors(room, pupil.config, seat)
            except Diverged as error:
                taught[key] = None
                fail(room, seat, name, str(error), reasons)
            else:
                judge(Judged(name, key, found))
        return taught[key]

    teachers(own)
    missing = [p for p in pupils if _kept(room, p, seat) is None]
    for group in begun(room, seat, pupils, missing):
        if (taught_by := teachers(group[-1])) is None:
            for pupil in (p for p in group if p in missing and _listens(p.config)):
                fail(room, seat, pupil.name, "its teacher's training failed", reasons)
            group = [p for p in group if not _listens(p.config)]
        trained = _learned(room, seat, group, taught_by or Tutors(), reasons)
        for pupil in group:
            if pupil in missing and pupil.name in trained:
                _keep(room, pupil, seat, trained[pupil.name])
    for pupil in pupils:
        if _listens(pupil.config):
            teachers(pupil)
        if (one := _kept(room, pupil, seat)) is not None:
            judge(one)
    return bench


def _learned(
    room: Room,
    seat: Seat,
    group: list[Pupil],
    taught_by: Tutors,
    reasons: dict[str, str],
) -> dict[str, Any]:
    """The students of a class that came to its end, by name; the others' reasons."""
    trained: dict[str, Any] = {}
    reason = "its training left the finite numbers: lower learning.lr"
    if not group:
        return trained
    try:
        trained = class_of(room, seat, group, taught_by)
    except Diverged as error:
        reason = str(error)
    for pupil in group:
        if pupil.name not in trained:
            fail(room, seat, pupil.name, reason, reasons)
    return trained


def fail(
    room: Room, seat: Seat, name: str, reason: str, reasons: dict[str, str]
) -> None:
    """Tell why someone has no row, now and in the table."""
    at = f"{name}, {seat.unseen} left out, seed {seat.seed}"
    room.say(f"{at}, failed: {reason}")
    reasons[at] = reason


def _kept(room: Room, pupil: Pupil, seat: Seat) -> Judged | None:
    """A student whose weights are in a file."""
    network = build.build_network(pupil.config, room.pool, "student")
    one = Judged(pupil.name, pupil.digest, Tutors((network,)))
    path = one.file(room, seat, "models", ".safetensors")
    if (model := usable(path, load_model)) is None:
        return None
    found = Tutors((network,), (model.params,), (path,))
    return one._replace(networks=found)


def _keep(room: Room, pupil: Pupil, seat: Seat, params: Any) -> None:
    one = Judged(pupil.name, pupil.digest, Tutors())
    path = one.file(room, seat, "models", ".safetensors")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_weights(path, params, facts_of(room, pupil.config, "student"))


def _voice(config: Config) -> str:
    """A digest of the teachers that a configuration asks for."""
    return digest(of_teacher(config) | {"teachers": config["teachers"]})


def _listens(config: Config) -> bool:
    return any(one["weight"] for one in config["losses"].values())
