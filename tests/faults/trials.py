"""A fault done to a copy of a run, the calls after it, and what they came to."""

import json
import os
import shutil
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import tiny

from faults.harms import Harm, Spell, nothing
from faults.subjects import SUBJECTS, Subject
from faults.world import Ended, call, copied, fork

KEPT = ("checkpoints", "snapshots", "synthetic", "models", "cells", "teachers")


class Trial(NamedTuple):
    """A fault: what it is done to, and what is promised of it.

    `state` is the folder that it befalls: "ended", "midway" (all but the last files) or
    "new". `promise` is "goes on" (the same command ends, to the same bits) or
    "refused" (a sentence, and the same bits once the fault is undone).
    """

    subject: str
    name: str
    harm: Harm = nothing
    state: str = "midway"
    spell: Spell = lambda: None
    promise: str = "goes on"
    of_data: bool = False  # the harm is done to the data
    more: tuple[str, ...] = ()  # flags
    lost: tuple[str, ...] = ()  # what else a folder midway lacks
    where: str = ""  # an odd name for the folder that holds the work folder


class Outcome(NamedTuple):
    """What came of it; `why` is empty where all was as promised."""

    promised: bool
    lost: bool
    why: str


class World:
    """Data and one whole run of every subject, made once."""

    def __init__(self, home: Path) -> None:
        self.home, self.log = home, home / "log"
        self.here = home / "here"  # all runs have one path, which some record
        self.made: dict[str, Any] = {}
        shutil.rmtree(self.here, ignore_errors=True)  # of a campaign that was stopped
        if not (home / "data").exists():
            tiny.write_images(home / "data" / "tiny")
        os.environ["JAXDISTILL_DATA"] = str(home / "data")

    def whole(self, name: str) -> Path:
        """The folder of a whole run, which holds `run` and what it needs."""
        folder, subject = self.home / "whole" / name, SUBJECTS[name]
        if name not in self.made:
            if not folder.exists():
                self._make(subject, folder)
            self.made[name] = self.results(subject, folder)
        return folder

    def _make(self, subject: Subject, folder: Path) -> None:
        if subject.needs:
            self.whole(subject.needs)
        self.here.mkdir()
        self._prepare(subject, self.here)
        ended = call(subject.arguments(self.here), self.log)
        assert ended.status == 0, ended.said
        folder.parent.mkdir(exist_ok=True)
        self.here.rename(folder)

    def results(self, subject: Subject, folder: Path) -> Any:
        """The results of a folder, read in a process of their own; None for none."""
        file = self.home / "results.json"
        file.unlink(missing_ok=True)

        def act() -> int:
            file.write_text(json.dumps(subject.results(folder)))
            return 0

        ended = fork(act, self.home / "results.log")
        return json.loads(file.read_text()) if ended.status == 0 else None

    def copy(self, trial: Trial, folder: Path) -> None:
        """A folder in the state that a fault befalls."""
        subject = SUBJECTS[trial.subject]
        whole = self.whole(trial.subject)
        if trial.state == "new":
            folder.mkdir(parents=True)
            self._prepare(subject, folder)
            return
        copied(whole, folder)
        for gone in (*subject.undone, *trial.lost) if trial.state == "midway" else ():
            for path in (folder / "run").glob(gone):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _prepare(self, subject: Subject, folder: Path) -> None:
        if subject.needs:
            copied(self.whole(subject.needs) / "run", folder / "from")
        if subject.name == "segment-predict":
            _write_scan(folder / "scan.nii.gz")


def attempt(world: World, trial: Trial, number: int, seed: int) -> Outcome:
    """Do one fault, and call until the run has ended or is refused for good."""
    rng, subject = Random(seed * 1000 + number), SUBJECTS[trial.subject]
    world.whole(trial.subject)
    plain = world.here
    folder = world.home / trial.where if trial.where else plain
    world.copy(trial, folder)
    data = world.home / "data"
    before = _holdings(folder / "run")
    if trial.of_data:
        copied(data, world.home / "kept")
        trial.harm(data / "tiny", rng)
    else:
        trial.harm(folder, rng)
    arguments = subject.arguments(folder)
    ends = [call([*arguments, *trial.more], world.log, trial.spell)]
    if trial.of_data:
        shutil.rmtree(data)
        (world.home / "kept").rename(data)
    gone = _vanished(folder / "run", before)
    if trial.promise == "refused" and not trial.of_data and ends[0].status == 2:
        if trial.where:
            folder.rename(plain)
            folder, arguments = plain, subject.arguments(plain)
        else:  # the fault is undone
            shutil.rmtree(folder)
            world.copy(trial, folder)
    while ends[-1].status != 0 and len(ends) < 4:
        ends.append(call(arguments, world.log))
    gone |= _vanished(folder / "run", before)
    outcome = _judge(world, trial, folder, gone, ends)
    if outcome.promised:
        shutil.rmtree(folder)
    else:
        folder.rename(world.home / f"failed_{number}")
    return outcome


def _judge(
    world: World, trial: Trial, folder: Path, gone: set[str], ends: list[Ended]
) -> Outcome:
    found = world.results(SUBJECTS[trial.subject], folder)
    same = found is not None and found == world.made[trial.subject]
    wrong = [end.said[-400:] for end in ends if not end.clean]
    refused = ends[0].status == 2
    kept = refused if trial.promise == "refused" else ends[-1].status == 0
    checks = (
        (f"results differ or are absent: {ends[-1].said[-400:]}", same),
        (f"gone: {sorted(gone)[:3]}", not gone),
        (f"no sentence: {wrong[:1]}", not wrong),
        (f"status {ends[0].status}, {trial.promise} was promised", kept),
    )
    why = "; ".join(text for text, holds in checks if not holds)
    return Outcome(not why, bool(gone) or not same, why)


def _holdings(run: Path) -> set[str]:
    """What lies in the folders of which nothing may vanish."""
    found = set()
    for kind in KEPT:
        for folder in run.rglob(kind) if run.exists() else ():
            found |= {str(p.relative_to(run)) for p in folder.iterdir()}
    return {name for name in found if "tmp" not in name}


def _vanished(run: Path, before: set[str]) -> set[str]:
    """What is there no more, neither by its name nor set aside."""
    there = lambda name: any(  # noqa: E731
        path.name == Path(name).name or path.name.startswith(Path(name).name + ".aside")
        for path in (run / name).parent.glob("*")
    )
    return {name for name in before if not there(name) and not _within_aside(run, name)}


def _within_aside(run: Path, name: str) -> bool:
    parents = [p for p in Path(name).parents if p.name]
    return any(list((run / p).parent.glob(p.name + ".aside*")) for p in parents)


def _write_scan(path: Path) -> None:
    """A volume as a scanner writes it."""
    import nibabel
    import numpy as np

    voxels = np.random.default_rng(1).normal(size=(30, 26, 5)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([0.6, 0.7, 3.0, 1.0])), path)
