"""Experts on disk: trained in groups that fit in memory, read one snapshot at a time.

    config.json              what they were trained with; another config is refused
    group_000/snapshots/     a checkpoint an epoch, an entry an expert
    group_000/checkpoints/   the last exact state, from which a killed run goes on

A folder that holds all of them is read, not trained again: so one may be shared that
its users cannot write to.
"""

import contextlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdistill import data
from jaxdistill.distillation.experts import Experts, expert_training
from jaxdistill.engine.mesh import require_multiple
from jaxdistill.engine.training import Recipe, class_balanced, of_split
from jaxdistill.errors import Damaged, Trouble
from jaxdistill.run.checkpoint import Checkpoints
from jaxdistill.run.files import write_json
from jaxdistill.run.kept import note, set_aside
from jaxdistill.run.loop import Event, Loop, train
from jaxdistill.run.snapshots import read_part, rewind, saved_steps, seals_of
from jaxdistill.run.workdir import open_workdir, read_workdir
from jaxdistill.types import Network, Params, Pool


class Teaching(NamedTuple):
    """All that decides what experts become; `settings` is the config's own section."""

    network: Network
    pool: Pool
    recipe: Recipe
    settings: Mapping[str, Any]
    population: str = "auto"
    seed: int = 0  # of the run, which a refusal tells beside the key made of it


def ensure_experts(folder: Path, teaching: Teaching, loop: Loop) -> Experts:
    """The experts in `folder`, trained first where they are not there yet.

    Raises `InputError` where the folder holds experts of another network, data set or
    recipe.
    """
    settings = teaching.settings
    count, at_once = settings["count"], settings["at_once"]
    require_teaching(settings, loop)
    record = {
        "network": teaching.network.name,
        "data": data.fingerprint(teaching.pool),
        "recipe": teaching.recipe._asdict(),
        "lr": settings["lr"],
        "count": count,
        "at_once": at_once,
        "balanced": settings["balanced"],
        "precision": settings["precision"],
        "seed": teaching.seed,
        "key": jax.random.key_data(loop.key).tolist(),
    }
    # What records that lack these keys stand for.
    new: dict[str, Any] = {"balanced": False, "recipe.average": 0.0}
    new |= {"seed": teaching.seed}
    new |= {"recipe.protocol": teaching.recipe.protocol}  # of evaluations alone
    groups = [folder / _group(i, at_once) for i in range(0, count, at_once)]
    lost = [one for one in groups if _missing(one, teaching.recipe.epochs)]
    if not lost and read_workdir(folder, record, "experts.folder", new):
        return _open(folder, teaching.network, settings)
    with open_workdir(folder, record, said="experts.folder", usual=new) as home:
        if not home.finished or lost:
            for start in range(0, count, at_once):
                ids = range(start, min(start + at_once, count))
                _train_group(home.path, ids, teaching, loop)
            write_json(home.summary, {"complete": True, "count": count})
    first = folder / _group(0, at_once) / "snapshots" / "0"
    with contextlib.suppress(Damaged):  # who reads it tells
        if not seals_of(first):
            note(
                f"the experts in {folder} have no checksums: they are taken as they are"
            )
    return _open(folder, teaching.network, settings)


def require_teaching(settings: Mapping[str, Any], loop: Loop) -> None:
    """`InputError` for the `experts` section of a config that cannot be used."""
    count, at_once = settings["count"], settings["at_once"]
    require_multiple("experts.at_once", min(at_once, count), loop.mesh)
    if count > at_once:
        require_multiple("experts.count", count % at_once, loop.mesh)


def _train_group(home: Path, ids: range, teaching: Teaching, loop: Loop) -> None:
    recipe, settings, pool = teaching.recipe, teaching.settings, teaching.pool
    folder = home / _group(ids.start, settings["at_once"])
    if not (missing := _missing(folder, recipe.epochs)):
        return
    # The state from which a missing snapshot comes again is one before it.
    rewind(folder / "checkpoints", missing[0])
    learner = expert_training(
        teaching.network,
        ids,
        lr=settings["lr"],
        recipe=recipe,
        population=teaching.population,
    )
    dtype = jnp.dtype(settings["precision"])
    here = loop._replace(
        folder=folder,
        steps=recipe.epochs,
        unit=f"experts {ids.start}-{ids.stop - 1}: epoch",
    )
    with Checkpoints(folder / "snapshots") as snapshots:

        def keep(epoch: int, params: Params) -> None:
            entries = {
                _entry(i): jax.tree.map(lambda x, row=row: x[row].astype(dtype), params)
                for row, i in enumerate(ids)
            }
            snapshots.save(epoch, entries, {})
            # On the disk before the state that comes after it: none is ever missing.
            snapshots.wait()

        if 0 not in saved_steps(folder / "snapshots"):
            k_init, _ = jax.random.split(loop.key)
            keep(0, learner.init(k_init).nets.result)
        event = Event(1, lambda now: keep(now.step, now.state.nets.result))
        examples = of_split(pool.train, pool.classes)
        if settings["balanced"]:
            examples = class_balanced(examples)
        train(here, learner, examples, lambda step: (), (event,))


def _missing(folder: Path, epochs: int) -> list[int]:
    """The epochs of which a group has no snapshot."""
    there = set(saved_steps(folder / "snapshots"))
    return [epoch for epoch in range(epochs + 1) if epoch not in there]


def _open(folder: Path, network: Network, settings: Mapping[str, Any]) -> Experts:
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    size = sum(4 * leaf.size for leaf in jax.tree.leaves(shapes))
    room = max(2, int(settings["cache_gb"] * 1e9 / size))

    @lru_cache(maxsize=room)
    def read(expert: int, epoch: int) -> Params:
        group = folder / _group(expert, settings["at_once"]) / "snapshots"
        try:
            return read_part(group, epoch, (_entry(expert),), shapes)
        except Damaged as error:
            kept = set_aside(group / str(epoch))
            raise Trouble(
                f"{error.what}: it is kept as {kept}, and the same command trains "
                "these experts again"
            ) from error

    return Experts(settings["count"], settings["epochs"], network.name, read)


def _group(expert: int, at_once: int) -> str:
    return f"group_{expert // at_once:03d}"


def _entry(expert: int) -> str:
    return f"expert_{expert:04d}"
