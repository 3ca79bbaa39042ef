"""Before a run goes on: what its folder has lost of the steps behind it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxdistill.jobs.distil.choosing import set_file
from jaxdistill.jobs.judging.synthetic import load_synthetic
from jaxdistill.run.files import read_record
from jaxdistill.run.kept import note, set_aside, usable
from jaxdistill.run.snapshots import rewind, saved_steps
from jaxdistill.run.workdir import Workdir
from jaxdistill.run.writer import read_metrics, rewrite_metrics
from jaxdistill.types import Synthetic

VALIDATION = "val_"


def scalars(found: Mapping[str, Any]) -> dict[str, float]:
    """A validation as metrics.jsonl tells it: means and spreads of its numbers."""
    return {
        f"{VALIDATION}{name}{part}": value[stat]
        for name, value in found.items()
        for part, stat in (("", "mean"), ("_std", "std"))
        if isinstance(value["mean"], float)
    }


def finished(folder: Path) -> dict[str, Any] | None:
    """The summary of a run that is finished; None where there is more to do.

    That is so as well where the set that was chosen is missing or damaged.
    """
    file = folder / "summary.json"
    told = usable(file, lambda f: read_record(f, "complete", "synthetic"))
    if told is None or told["complete"] is not True:
        return None
    chosen = folder / told["synthetic"]
    missing = not chosen.exists()
    if usable(chosen, load_synthetic) is None:
        what = f"{chosen} is missing: " if missing else ""
        note(f"{what}{file} is kept as {set_aside(file).name}, and the run goes on")
        return None
    return told


def recover(
    home: Workdir, every: int, steps: int, score: Callable[[Synthetic], Any]
) -> None:
    """Make sure of the sets and validations of all steps that are behind.

    A run goes on from before a set that is missing or damaged; a validation that
    metrics.jsonl does not tell is taken again, of its set.
    """
    for step in _judged(home, every, steps):
        file = set_file(home, step)
        missing = not file.exists()
        if usable(file, load_synthetic) is None:
            what = f"{file} is missing: " if missing else ""
            rewind(home.checkpoints, step)
            note(f"{what}the run goes on from before step {step}")
            break
    lines = read_metrics(home.metrics)
    told = {one["step"] for one in lines if any(VALIDATION in key for key in one)}
    lost = [step for step in _judged(home, every, steps) if step not in told]
    if lost:
        named = ", ".join(map(str, lost))
        note(f"{home.metrics} tells no validation of step {named}: it is taken again")
        for step in lost:
            found = score(load_synthetic(set_file(home, step)).synthetic)
            lines.append({"step": step, **scalars(found)})
        rewrite_metrics(home.metrics, sorted(lines, key=lambda one: one["step"]))


def _judged(home: Workdir, every: int, steps: int) -> list[int]:
    """The steps up to the last checkpoint at which sets were saved and judged."""
    last = max(saved_steps(home.checkpoints), default=0)
    due = list(range(every, last + 1, every))
    return [*due, steps] if last == steps and steps % every else due
