"""The cells of a comparison: each a run in its own folder, with experts in common.

A cell that cannot be, by a rule or because it diverged, leaves its reason in
failed.json and is tried again once its configuration has changed.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdistill.distillation.experts import Experts
from jaxdistill.engine.mesh import map_update, shardings
from jaxdistill.errors import Diverged, InputError
from jaxdistill.jobs.compare.plan import Cell
from jaxdistill.jobs.distil.distilling import (
    Parts,
    Ready,
    Way,
    complete,
    prepare,
    ready,
    teach,
)
from jaxdistill.jobs.settings.resolve import free
from jaxdistill.run.files import plain, read_json, write_json
from jaxdistill.run.workdir import flatten
from jaxdistill.types import Learner, Method

FAILED = "failed.json"
EXPERTS = ("lr", "count", "at_once", "balanced", "precision")


class Checked(NamedTuple):
    """A cell before it runs: ready, finished (`parts` alone), or refused."""

    cell: Cell
    folder: Path
    parts: Parts | None = None
    ready: Ready | None = None
    reason: str = ""


def check(cell: Cell, folder: Path, like: Parts) -> Checked:
    """Apply all the rules of a cell; `InputError` where another run is in its folder.

    A rule that the cell breaks is its reason to fail.
    """
    record, failed = folder / "config.json", folder / FAILED
    if failed.exists():
        told = read_json(failed)
        if told.get("config") == plain(cell.config):
            return Checked(cell, folder, reason=told["reason"])
    elif record.exists():
        _require_same(folder, read_json(record)["config"], plain(cell.config))
    try:
        parts = prepare(cell.config, folder, None, like)
        if _finished(folder):
            return Checked(cell, folder, parts)
        return Checked(cell, folder, parts, ready(parts))
    except InputError as error:
        return Checked(cell, folder, reason=str(error))


def distil(checked: Checked, way: Way, say: Callable = print) -> Checked:
    """Run a cell to its end, or go on from where it stopped; a failure is recorded."""
    cell, folder = checked.cell, checked.folder
    if checked.parts is not None and checked.ready is None:
        return checked
    if (folder / FAILED).exists() and not _known(checked):
        shutil.rmtree(folder)  # what failed with another configuration
    if checked.ready is not None:
        say(f"cell {cell.name}")
        try:
            complete(checked.ready, say, way=way)
            return checked._replace(ready=None)
        except (InputError, Diverged) as error:
            checked = checked._replace(parts=None, ready=None, reason=str(error))
    if not _known(checked):
        write_json(folder / FAILED, {"reason": checked.reason, "config": cell.config})
    say(f"cell {cell.name} failed: {checked.reason}")
    return checked


def common_experts(base: Parts, folder: Path) -> Callable[[Parts, Path], Experts]:
    """A `Way.teach` by which cells of equal expert settings have the same experts.

    They are those of the comparison's own seed, whatever the cell's, and lie in
    `experts.folder` where the settings are the comparison's own, else below `folder`.
    """

    def common(parts: Parts, own: Path) -> Experts:
        del own
        config, named = parts.config, base.config["experts"]["folder"]
        if named and _described(parts) == _described(base):
            home = Path(named).expanduser()
        else:
            text = json.dumps(_described(parts), sort_keys=True)
            home = folder / hashlib.sha256(text.encode()).hexdigest()[:8]
        settings = {**config["experts"], "folder": ""}
        mine = {**config, "seed": base.config["seed"], "experts": settings}
        return teach(parts._replace(config=mine), home)

    return common


def step_memory(parts: Parts, method: Method, learner: Learner) -> dict[str, Any]:
    """Bytes that the compiled step asks for: arguments, outputs and temporaries.

    Arguments hold the resident data; what is donated counts once. None where the
    backend does not tell.
    """
    loop, source = parts.loop, method.source
    update = map_update(learner, loop.mesh, loop.engine)
    if not hasattr(update, "lower"):  # pmap goes through a Python function
        return {"step_memory_bytes": None}
    like = jax.eval_shape(learner.init, loop.key)
    state = jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
        like,
        shardings(learner.sharded, like, loop.mesh),
    )
    steps = range(min(loop.per_call, loop.steps))
    fed = jax.tree.map(lambda *leaves: np.stack(leaves), *map(source.feed, steps))
    numbers = jax.numpy.arange(len(steps))
    resident = source.resident(parts.judge.pool)
    compiled = update.lower(state, resident, fed, numbers, loop.key).compile()
    stats = compiled.memory_analysis()
    if stats is None:
        return {"step_memory_bytes": None}
    total = stats.temp_size_in_bytes + stats.argument_size_in_bytes
    total += stats.output_size_in_bytes - stats.alias_size_in_bytes
    return {"step_memory_bytes": total}


def _described(parts: Parts) -> dict[str, Any]:
    """What decides an expert beside the network, the data and the seed."""
    settings, recipe = parts.teaching.settings, parts.teaching.recipe
    return plain({key: settings[key] for key in EXPERTS} | {"recipe": recipe})


def _finished(folder: Path) -> bool:
    summary = folder / "summary.json"
    return summary.exists() and read_json(summary).get("complete") is True


def _known(checked: Checked) -> bool:
    """Whether the folder tells already that this very cell failed."""
    file = checked.folder / FAILED
    return file.exists() and read_json(file).get("config") == plain(checked.cell.config)


def _require_same(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    old, new = flatten(before), flatten(now)
    for key in [*old, *new]:
        if old.get(key) != new.get(key) and key not in free():
            raise InputError(
                f"{folder} holds another run, with {key}={old.get(key)!r} (now "
                f"{new.get(key)!r}): rename the variant, or delete that folder"
            )
