"""The cells of a comparison: each a run in its own folder, with experts in common.

A cell that fails leaves its reason in failed.json. Only what its configuration itself
rules out is final: a rule that it breaks, or that it diverged. All else, such as a full
disk, is tried again by the next call, which goes on where the cell stopped; nothing of
it is removed.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdistill.distillation.experts import Experts
from jaxdistill.engine.mesh import map_update, shardings
from jaxdistill.errors import Diverged, InputError, Trouble
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
from jaxdistill.jobs.distil.recovery import finished
from jaxdistill.jobs.settings.resolve import free, usual
from jaxdistill.run.files import plain, read_record, write_json
from jaxdistill.run.kept import note, set_aside, usable
from jaxdistill.run.places import place
from jaxdistill.run.troubles import explain_os_errors
from jaxdistill.run.workdir import RECORD, flatten, record_at, require_inputs
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
    final: bool = True  # whether the reason lies in the configuration


def check(cell: Cell, folder: Path, like: Parts) -> Checked:
    """Apply all the rules of a cell; `InputError` where another run is in its folder.

    A rule that the cell breaks is its reason to fail.
    """
    if (told := _known(cell, folder)) is not None and told["final"]:
        return Checked(cell, folder, reason=told["reason"])
    record = record_at(folder)
    same = record is not None and not _changed(record["config"], plain(cell.config))
    if record is not None and not same and _failed(folder) is None:
        _require_same(folder, record["config"], plain(cell.config))
    try:
        parts = prepare(cell.config, folder, None, like)
        if same and record is not None:
            require_inputs(folder, record, parts.inputs, "cell")
        if same and finished(folder) is not None:
            return Checked(cell, folder, parts)
        return Checked(cell, folder, parts, ready(parts))
    except InputError as error:
        rule = not isinstance(error, Trouble)
        return Checked(cell, folder, reason=str(error), final=rule)


def distil(checked: Checked, way: Way, say: Callable = print) -> Checked:
    """Run a cell to its end, or go on from where it stopped; a failure is recorded."""
    cell, folder = checked.cell, checked.folder
    if checked.parts is not None and checked.ready is None:
        return checked
    _make_room(cell, folder)
    diverged = bool((_known(cell, folder) or {}).get("final"))
    if checked.ready is not None:
        say(f"cell {cell.name}")
        try:
            with explain_os_errors(folder, "use"):
                complete(checked.ready, say, way=way)
            (folder / FAILED).unlink(missing_ok=True)
            return checked._replace(ready=None)
        except (InputError, Diverged) as error:
            diverged = isinstance(error, Diverged)
            checked = Checked(cell, folder, reason=str(error), final=diverged)
    say(f"cell {cell.name} failed: {checked.reason}")
    with contextlib.suppress(Trouble):  # of a full disk: it is said, and tried again
        told = {"reason": checked.reason, "config": cell.config}
        write_json(folder / FAILED, told | {"final": diverged})
    return checked


def _make_room(cell: Cell, folder: Path) -> None:
    """Set aside a cell that failed with another configuration."""
    if _failed(folder) is None:
        return
    if not (folder / RECORD).exists():  # a rule was broken: there is nothing else
        (folder / FAILED).unlink()
    elif _known(cell, folder) is None:
        kept = set_aside(folder)
        note(f"what failed with other settings is kept as {kept}")


def common_experts(base: Parts, folder: Path) -> Callable[[Parts, Path], Experts]:
    """A `Way.teach` by which cells of equal expert settings have the same experts.

    They are those of the comparison's own seed, whatever the cell's, and lie in
    `experts.folder` where the settings are the comparison's own, else below `folder`.
    """

    def common(parts: Parts, own: Path) -> Experts:
        del own
        config, named = parts.config, base.config["experts"]["folder"]
        told = _described(parts)
        if (network := parts.judge.network.name) != base.judge.network.name:
            told |= {"network": network}  # a fixed start is part of it
        if named and told == _described(base):
            home = place(named, "experts.folder")
        else:
            text = json.dumps(told, sort_keys=True)
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


def _failed(folder: Path) -> dict[str, Any] | None:
    """What the folder tells of a failure."""
    read = lambda file: read_record(file, "reason", "config")  # noqa: E731
    told = usable(folder / FAILED, read)
    # What older versions wrote does not say whether it is final.
    return None if told is None else {"final": False, **told}


def _known(cell: Cell, folder: Path) -> dict[str, Any] | None:
    """What the folder tells of a failure of this very cell."""
    told = _failed(folder)
    if told is None or _changed(told["config"], plain(cell.config)):
        return None
    return told


def _changed(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The keys that differ and change a result."""
    new, stood = flatten(now), usual(now)
    old = {k: v for k, v in stood.items() if k in new} | flatten(before)
    keys = [key for key in dict.fromkeys([*old, *new]) if key not in free()]
    return [key for key in keys if old.get(key) != new.get(key)]


def _require_same(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    for key in _changed(before, now):
        old, new = flatten(before).get(key), flatten(now).get(key)
        raise InputError(
            f"{folder} holds another run, with {key}={old!r} (now {new!r}): rename the "
            "variant, or move that folder away"
        )
