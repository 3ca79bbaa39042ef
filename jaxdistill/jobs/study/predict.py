"""The predict verb: a few short trainings on random images, and a study's line.

Nothing here sees the test split: before anything is trained, the validation split takes
its place.
"""

import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from jaxdistill.engine.mesh import split_cpu
from jaxdistill.errors import InputError
from jaxdistill.evaluation.indicator import Relation, predict
from jaxdistill.foreign import as_record
from jaxdistill.jobs.compare.plan import Plan, of_fresh_starts
from jaxdistill.jobs.compare.scores import Entry, score, way
from jaxdistill.jobs.compare.table import Group
from jaxdistill.jobs.distil.distilling import prepare
from jaxdistill.jobs.judging.judge import Candidate, Judge
from jaxdistill.jobs.judging.sets import everything, random_draws, real
from jaxdistill.jobs.settings.records import Comparison, Study
from jaxdistill.jobs.settings.resolve import resolve
from jaxdistill.jobs.study.advice import advice, text
from jaxdistill.jobs.study.points import METRIC, Point, relation_of
from jaxdistill.jobs.study.sets import set_config
from jaxdistill.ranges import Filled, Range, words_of
from jaxdistill.run.files import plain, read_json, write_atomic, write_json
from jaxdistill.run.places import absolute
from jaxdistill.settings import Setting, settings_of

WHOLE = 3  # networks on the whole set, at most
MOST_POINTS = 10_000
USED = ("augmentation",)  # of a study's comparison
COUNTS = (
    "every",
    "seeds",
    "finalists",
    "finalist_seeds",
    "final_seeds",
    "draws",
    "networks",
    "full_epochs",
)
UNSET = "unset"
Told = dict[str, Any]


def run(
    config: Mapping[str, Any],
    file: Path,
    leave_out: str = "",
    *,
    fast: bool = False,
    say: Callable = print,
) -> Told:
    """What to expect of distilling a configuration's data set, by the study in `file`.

    `leave_out` fits without that data set; where the configuration's own study has it,
    that set is measured. `fast` trains nothing on the whole set. Raises `InputError`
    for a study of fewer than two data sets.
    """
    config, study = resolve(config), read_study(file)
    points = remaining(study, file, leave_out)
    relation = relation_of(points)
    split_cpu(config["devices"]["cpu"])  # the settings of a set leave it to us
    own = leave_out in config["study"]["sets"]
    config = set_config(config, leave_out) if own else config
    ipcs = _sizes(config)
    parts = prepare(of_fresh_starts(config) | {"ipc": max(ipcs)}, Path(), None)
    for note in _differences(study["config"], config, own):
        say(f"note: {note}")
    judge = blind(parts.judge)
    ways = words_of(study["config"]["compare"]["augmentation"])
    plan = Plan((), ("random",), ipcs, ("hard",), ways)
    whole = None if fast else _whole(judge, plan, say)
    rows = [_row(_random(judge, ipc, plan, say), ipc, relation, study) for ipc in ipcs]
    for row in rows:
        row["fraction"] = _of(row, whole["mean"] if whole else None)
    seen = [point["x"] for point in points]
    told: Told = {
        "data": judge.pool.name,
        "rows": rows,
        "whole": whole,
        "level": study["level"],
        "sets": sorted({point["set"] for point in points}),
        "left_out": leave_out or None,
        "seen": (min(seen), max(seen)),
        "study": str(file),
    }
    return told | {"advice": advice(told)}


def read_study(file: Path) -> Told:
    """What a study found; `InputError` for a file that no study wrote."""
    study = read_json(absolute(file, "--study"))
    keys = {"points", "level", "config"}
    if not isinstance(study, dict) or not keys <= set(study):
        raise InputError(
            f"--study={file} is no study's: name the study.json of a folder that "
            "jaxdistill study made"
        )
    try:
        _require_sound(study)
    except InputError as error:
        raise InputError(
            f"--study={file} is no sound study, as {error}: ask for it again"
        ) from error
    return study


class _Said(NamedTuple):
    """What of a study's point a prediction rests on."""

    set: Annotated[str, Filled(), "the data set"]
    x: Annotated[float, Range(0, 1), "the score of random images"]
    y: Annotated[float, Range(0, 1), "the score of distilled ones"]


def _require_sound(study: Told) -> None:
    """`InputError` for a value that no study writes."""
    points, config = study["points"], study["config"]
    if not isinstance(points, list) or len(points) > MOST_POINTS:
        raise InputError(f"its points are no list of up to {MOST_POINTS:,}")
    for number, point in enumerate(points):
        as_record(_Said, point, f"points[{number}]")
    as_record(Study, {"level": study["level"]}, "study")
    parts = config if isinstance(config, dict) else {}
    if not all(isinstance(parts.get(name), dict) for name in ("eval", "compare")):
        raise InputError("its config lacks the sections eval and compare")
    as_record(Comparison, {k: parts["compare"].get(k) for k in USED}, "compare")


def remaining(study: Mapping[str, Any], file: Path, leave_out: str) -> list[Point]:
    """The points without one data set's; at least two sets must be left."""
    names = sorted({point["set"] for point in study["points"]})
    if leave_out and leave_out not in names:
        raise InputError(
            f"--leave_out={leave_out} is not in --study={file}: choose one of "
            f"{', '.join(names) or 'none'}"
        )
    left = [name for name in names if name != leave_out]
    if len(left) < 2:
        without = f" without {leave_out}" if leave_out else ""
        raise InputError(
            f"--study={file}{without} holds {len(left)} data set(s) with points, and "
            "fewer than 2 say nothing of another: finish more sets of the study"
        )
    return [point for point in study["points"] if point["set"] in left]


def blind(judge: Judge) -> Judge:
    """The judge with the validation split in the place of the test split."""
    pool = dataclasses.replace(judge.pool, test=judge.pool.val)
    return judge._replace(pool=pool)


def write(told: Mapping[str, Any], folder: Path) -> None:
    """The prediction as predict.json and predict.md in a folder."""
    write_json(folder / "predict.json", told)
    write_atomic(folder / "predict.md", text(told).encode())


def _sizes(config: Mapping[str, Any]) -> tuple[int, ...]:
    """`compare.ipc` where something is compared or it is set, else `ipc`."""
    compare, usual = config["compare"], settings_of(Comparison)["ipc"]
    assert isinstance(usual, Setting)
    asked = tuple(dict.fromkeys(compare["ipc"]))
    if not compare["methods"] and asked == usual.usual:
        return (config["ipc"],)
    return asked


def _random(judge: Judge, ipc: int, plan: Plan, say: Callable) -> Told:
    return _measured(judge, lambda: real(judge, random_draws(judge, ipc)), plan, say)


def _whole(judge: Judge, plan: Plan, say: Callable) -> Told:
    settings = dict(judge.settings)
    settings["final_seeds"] = min(WHOLE, settings["final_seeds"])
    few = judge._replace(config={**judge.config, "eval": settings})
    return _measured(few, lambda: everything(few), plan, say)


def _measured(
    judge: Judge, row: Callable[[], Candidate], plan: Plan, say: Callable
) -> Told:
    """Validation scores as a comparison takes them: mean, spread, number."""
    with tempfile.TemporaryDirectory(prefix="jaxdistill-") as held:
        candidate = row()
        count = candidate.subsets
        name = "whole" if count is None else f"random_{count.shape[1]}_images"
        folder = Path(held) / name
        entry = Entry(name, 0, "real", False, judge, lambda: candidate, folder, {})
        group = Group((entry,), (score(entry, plan, say),))
    chosen = group.preferred("hard", judge.settings["select"])
    return (group.pooled(way("hard", chosen), "val") or {})[METRIC]


def _row(random: Told, ipc: int, relation: Relation, study: Mapping[str, Any]) -> Told:
    said = predict(relation, float(random["mean"]), study["level"])
    return {"ipc": ipc, "random": random, **said._asdict()}


def _of(row: Mapping[str, Any], whole: float | None) -> dict[str, float] | None:
    """Expected score and interval as fractions of the whole set's."""
    if not whole:
        return None
    return {key: row[key] / whole for key in ("expected", "low", "high")}


def _differences(
    theirs: Mapping[str, Any], ours: Mapping[str, Any], own: bool
) -> Sequence[str]:
    """A sentence where a study was scored by another protocol, or on another network.

    A set of the study's `own` may have a network of its own.
    """
    other = []
    for section in ("eval", *(() if own else ("network",))):
        said, here = theirs.get(section) or {}, plain(ours[section])
        for key in dict.fromkeys([*here, *said]):
            mine, his = here.get(key, UNSET), said.get(key, UNSET)
            if said and key not in COUNTS and mine != his:
                other.append(f"{section}.{key}={mine!r} (the study: {his!r})")
    if not other:
        return []
    return [f"{', '.join(other)}: its line holds for scores by its own protocol"]
