"""One folder a run: who may use it, what it was made with, where things lie in it."""

import json
import os
import sys
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from jaxdistill.errors import Damaged, InputError, Trouble
from jaxdistill.run.environment import device_name, git_commit, versions
from jaxdistill.run.files import plain, read_record, remove_leftovers, write_json
from jaxdistill.run.kept import note, set_aside, usable
from jaxdistill.run.places import place
from jaxdistill.run.troubles import explain_os_errors

# Fingerprints that older records lack, or that some who read the data do not take.
NEWER = (
    *("init_images", "patients_without_labels", "training_patients"),
    *("validation_patients", "test_patients"),
)
SHOWN = 6  # differing keys that a refusal spells out
RECORD, COPY = "config.json", ".config.json"


@dataclass(frozen=True)
class Workdir:
    """A folder held by this run until closed, or until the process ends, however.

    `notes` tells what differs from the run that the folder was made with, harmlessly.
    """

    path: Path
    notes: tuple[str, ...]
    lock: BinaryIO

    @property
    def checkpoints(self) -> Path:
        """Folder of the numbered checkpoints."""
        return self.path / "checkpoints"

    @property
    def synthetic(self) -> Path:
        """Folder of the distilled sets."""
        return self.path / "synthetic"

    @property
    def figures(self) -> Path:
        """Folder of the pictures."""
        return self.path / "figures"

    @property
    def eval(self) -> Path:
        """Folder of the scores per network."""
        return self.path / "eval"

    @property
    def profile(self) -> Path:
        """Folder of the profiler's traces."""
        return self.path / "profile"

    @property
    def metrics(self) -> Path:
        """File of one JSON object per logged step."""
        return self.path / "metrics.jsonl"

    @property
    def summary(self) -> Path:
        """The one file to read."""
        return self.path / "summary.json"

    @property
    def finished(self) -> bool:
        """Whether a summary with `"complete": true` is there."""
        told = usable(self.summary, lambda file: read_record(file, "complete"))
        return told is not None and told["complete"] is True

    def close(self) -> None:
        """Let another run use the folder."""
        self.lock.close()

    def __enter__(self) -> "Workdir":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def read_workdir(
    path: Path,
    config: Mapping[str, Any],
    said: str,
    usual: Mapping[str, Any] | None = None,
) -> bool:
    """Whether a folder that this user may not write to holds a finished run.

    Raises `InputError` where that is of another config. Nothing is locked or written.
    """
    if os.access(path, os.W_OK) or not (before := record_at(path)):
        return False
    _compared(path, before, {"config": plain(config), "inputs": None}, (), said, usual)
    told = read_record(path / "summary.json", "complete")
    return told["complete"] is True


def open_workdir(
    path: str | os.PathLike,
    config: Mapping[str, Any],
    volatile: Collection[str] = (),
    said: str = "--workdir",
    usual: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Any] | None = None,
) -> Workdir:
    """Make or resume a work folder for `config`; `volatile` dotted keys may change.

    `said` is the flag or key that names the folder, for sentences about it. `usual`
    are values of dotted keys that records made before the key existed stand for.
    `inputs` are fingerprints of what the run reads, which may not change either.
    Raises `InputError`, and leaves the folder as it was, where it cannot be written, is
    in use, belongs to another config or other data, or holds files of something else.
    """
    path = place(path, said)
    _refuse_foreign(path, said)
    with explain_os_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        lock = open(path / ".lock", "a+b")  # noqa: SIM115
    try:
        _lock(lock, path, said)
        for folder in (path, path / "synthetic", path / "figures", path / "eval"):
            remove_leftovers(folder)
        asked = {"config": plain(config), "inputs": plain(inputs)}
        notes = _write_record(path, asked, volatile, said, usual or {})
    except BaseException:
        lock.close()
        raise
    return Workdir(path, notes, lock)


def record_at(path: Path) -> dict[str, Any] | None:
    """What a run's folder says that it was made with; None where it does not.

    The record is written twice: the copy serves where the record is lost or damaged.
    Raises `Damaged` where both are.
    """
    damage: Damaged | None = None
    for file in (path / RECORD, path / COPY):
        if not file.exists():
            continue
        try:
            found = read_record(file, "config")
        except Damaged as error:
            damage = damage or error
            continue
        if not isinstance(found["config"], dict):
            raise InputError(f"{file} is no run's record: choose another folder")
        if file.name == COPY:
            why = (
                f"damaged, kept as {set_aside(path / RECORD).name}"
                if damage
                else "lost"
            )
            note(f"{path / RECORD} is {why}: its copy serves")
        return found
    if damage:
        raise damage
    return None


def require_inputs(
    path: Path,
    record: Mapping[str, Any],
    inputs: Mapping[str, Any],
    said: str = "--workdir",
) -> bool:
    """Whether a run's record tells of its data, which then are these.

    Raises `InputError` for others.
    """
    read, now = record.get("inputs"), plain(inputs)
    if not isinstance(read, dict):
        return False
    read, now = (
        {k: v for k, v in one.items() if k in other or k not in NEWER}
        for one, other in ((read, now), (now, read))
    )
    if changed := _differences(read, now):
        raise InputError(
            f"{said}={path} was begun on other data, with {', '.join(changed.values())}"
            f": go back to those to resume it, or choose a new {said}"
        )
    return True


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested config by its dotted keys; an empty part stands for itself."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _refuse_foreign(path: Path, said: str) -> None:
    """A folder with visible files but no record is somebody's, not a run's."""
    with explain_os_errors(path, "read"):
        if not path.is_dir() or any((path / name).exists() for name in (RECORD, COPY)):
            return
        others = sorted(p.name for p in path.iterdir() if not p.name.startswith("."))
    if others:
        raise InputError(
            f"{said}={path} holds {others[0]} but no {RECORD}, so it is no "
            "run's: choose an empty or a new folder"
        )


def _lock(file: BinaryIO, path: Path, said: str) -> None:
    """Hold `file` alone; the kernel lets go when the process ends, even if killed."""
    try:
        import fcntl
    except ImportError:  # Windows: no lock, no harm to a single run
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        owner = file.read().decode(errors="replace").strip() or "unknown"
        raise Trouble(
            f"{said}={path} is in use by another run (process {owner}): wait for "
            "it, stop it, or choose another folder"
        ) from error
    except OSError:  # a network disk without locks
        return
    file.truncate(0)
    file.write(str(os.getpid()).encode())
    file.flush()


def _write_record(
    path: Path,
    asked: dict[str, Any],
    volatile: Collection[str],
    said: str,
    usual: Mapping[str, Any],
) -> tuple[str, ...]:
    """Compare with what the folder was made with, then write how it is run now."""
    now: dict[str, Any] = {
        **asked,
        "versions": versions(),
        "git_commit": git_commit(),
        "device": device_name(),
        "argv": sys.argv,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    notes: tuple[str, ...] = ()
    if before := record_at(path):
        notes = _compared(path, before, asked, volatile, said, usual)
        made = before.get("versions")
        packages = _differences(made if isinstance(made, dict) else {}, now["versions"])
        notes = (*notes, *packages.values())
        now["started"] = before.get("started", now["started"])
    for name in (RECORD, COPY):
        write_json(path / name, now)
    return notes


def _compared(
    path: Path,
    before: Mapping[str, Any],
    asked: Mapping[str, Any],
    volatile: Collection[str],
    said: str,
    usual: Mapping[str, Any] | None,
) -> tuple[str, ...]:
    """What differs harmlessly from a folder's record; `InputError` for all else."""
    known = flatten(asked["config"])
    stood = {key: value for key, value in (usual or {}).items() if key in known}
    changed = _differences({**stood, **flatten(before["config"])}, known)
    # What a record told once and none tells now was left free since.
    changed = {k: t for k, t in changed.items() if k in known or k not in volatile}
    _refuse_changed(path, changed, volatile, said)
    notes = tuple(changed.values())
    if asked["inputs"] and not require_inputs(path, before, asked["inputs"], said):
        told = f"{path / RECORD} does not tell of its data: taken to be the same"
        notes = (told, *notes)
    return notes


def _refuse_changed(
    path: Path, changed: dict[str, str], volatile: Collection[str], said: str
) -> None:
    """`InputError` for differences in keys that change results."""
    fatal = [text for key, text in changed.items() if key not in volatile]
    if fatal:
        more = f" and {len(fatal) - SHOWN} more" if len(fatal) > SHOWN else ""
        raise InputError(
            f"{said}={path} holds another run, with {', '.join(fatal[:SHOWN])}{more}: "
            f"go back to those values to resume it, or choose a new {said}"
        )


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """By key, `key=old (now new)`."""
    keys = dict.fromkeys([*before, *now])
    return {
        key: f"{key}={_told(before, key)} (now {_told(now, key)})"
        for key in keys
        if key not in before or key not in now or before[key] != now[key]
    }


def _told(values: Mapping[str, Any], key: str) -> str:
    return json.dumps(values[key]) if key in values else "unset"
