"""Judging a distilled set: validation while it is made, the test split once at the end.

Beside it, at equal size, random subsets and herding, and the whole training set. Every
piece of the final table is a file in eval/, so that an interrupted evaluation goes on.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxdistill.distillation.mosaic import decode
from jaxdistill.engine.schedule import Schedule
from jaxdistill.engine.training import Examples, Recipe, of_synthetic
from jaxdistill.evaluation.evaluate import evaluator, subset_evaluator
from jaxdistill.evaluation.metrics import scores, summarise
from jaxdistill.jobs.settings.build import eval_recipe, more_networks, own_schedule
from jaxdistill.run.files import read_record, write_json
from jaxdistill.run.kept import made_once
from jaxdistill.run.places import file_name
from jaxdistill.types import Network, Pool, Synthetic


class Judge(NamedTuple):
    """What an evaluation needs of a run; `settings` is the config's `eval` section."""

    network: Network
    pool: Pool
    config: Mapping[str, Any]
    policy: tuple[str, ...]  # of the evaluation
    key: jax.Array
    mesh: Mesh
    schedule: Schedule | None = None  # of a set that tells its own

    @property
    def settings(self) -> Mapping[str, Any]:
        """The config's section."""
        return self.config["eval"]

    @property
    def population(self) -> str:
        """How networks are mapped."""
        return self.config["devices"]["population"]

    def how(self, lr: Any, epochs: int) -> Recipe | Schedule:
        """A set with a rate for every step trains by these, any other by the recipe."""
        if np.ndim(lr):
            return self.schedule or own_schedule(self.config)
        return eval_recipe(self.config, self.policy, epochs)

    def examples(self, synthetic: Synthetic) -> Examples:
        """A distilled set as networks see it."""
        return of_synthetic(
            decode(synthetic, self.config["mosaic"]), self.pool.standard
        )


# What the numbers of its keys train, after the judge's own.
FIRST_ROUND, FINALISTS = 0, 5


def validation(judge: Judge, numbered: int = FIRST_ROUND, seeds: int = 0):
    """`synthetic -> {metric: {"mean", "std", "n"}}` on the validation split.

    Each call trains the same networks, so that iterates differ by their images alone:
    `seeds` of them, or `eval.seeds`, from the keys of that number.
    """
    s = judge.settings
    key = jax.random.fold_in(judge.key, numbered)
    keys = jax.random.split(key, seeds or s["seeds"])
    val = judge.pool.val
    labels = np.asarray(val.labels)

    def score(synthetic: Synthetic) -> dict[str, dict]:
        run = evaluator(
            judge.network,
            judge.how(synthetic.lr, s["epochs"]),
            mesh=judge.mesh,
            population=judge.population,
        )
        out = run(judge.examples(synthetic), val, synthetic.lr, keys)
        return summarise([scores(p, labels) for p in out])

    return score


class Candidate(NamedTuple):
    """A training set to be judged: examples, or real images by their indices."""

    examples: Examples
    lrs: tuple[Any, ...]  # numbers, or the rates of a schedule
    epochs: int
    subsets: np.ndarray | None = None


def final_scores(
    judge: Judge,
    rows: Mapping[str, Candidate],
    folder: Path,
    progress=lambda text: None,
) -> dict[str, dict]:
    """Test and validation scores of every row, on the run's network; cached in
    `folder`.

    `{"distilled": {"test": {...}, "val": {...}, "lr": ..., "epochs": ...}, ...}`
    """
    out: dict[str, dict] = {}
    for name, row in rows.items():

        def make(name: str = name, row: Candidate = row) -> None:
            progress(f"evaluating {name} ...")
            found = judge_row(judge, judge.network, row)
            write_json(folder / f"{name}.json", found)

        out[name] = made_once(folder / f"{name}.json", scores_in, make)
    if "distilled" in out and "distilled_last" not in out:
        out["distilled_last"] = out["distilled"]
    return out


def cross_architecture(
    judge: Judge,
    rows: Mapping[str, Candidate],
    folder: Path,
    progress=lambda text: None,
) -> dict[str, dict]:
    """The scores of `eval.networks` trained on the distilled and the random sets.

    A learning rate made for one network can fail another: each chooses on validation
    between it and the real sets' rates.
    """
    out: dict[str, dict] = {}
    for text, network in more_networks(judge.config, judge.pool).items():
        for name in (name for name in ("distilled", "random") if name in rows):
            path = folder / f"{name}_{file_name(text)}.json"

            def make(
                path: Path = path,
                said: str = f"{name} on {text}",
                network: Network = network,
                row: Candidate = rows[name],
            ) -> None:
                progress(f"evaluating {said} ...")
                more = tuple(float(lr) for lr in judge.settings["real_lrs"])
                known = tuple(lr for lr in row.lrs if np.ndim(lr) or lr not in more)
                row = row._replace(lrs=(*known, *more))
                write_json(path, judge_row(judge, network, row))

            out.setdefault(text, {})[name] = made_once(path, scores_in, make)
    return out


def scores_in(path: Path) -> dict[str, Any]:
    """The scores that a file holds; `Damaged` for anything else."""
    return read_record(path, "test", "val", "lr", "epochs", "images", "protocol")


def judge_row(judge: Judge, network: Network, row: Candidate) -> dict[str, Any]:
    """The scores of a row, each the mean and spread over networks."""
    found = run_row(judge, network, row)
    return found | {part: summarise(found[part]) for part in ("test", "val")}


def run_row(judge: Judge, network: Network, row: Candidate) -> dict[str, Any]:
    """Train fresh networks on a row at the rate validation prefers; score each."""
    pool, s = judge.pool, judge.settings
    both = (pool.val, pool.test)  # one training serves both
    count = s["final_seeds"] if row.subsets is None else len(row.subsets)
    keys = jax.random.split(jax.random.fold_in(judge.key, 2), count)

    def run(lr: Any) -> np.ndarray:
        recipe = judge.how(lr, row.epochs)
        if row.subsets is None:
            whole = evaluator(
                network, recipe, mesh=judge.mesh, population=judge.population
            )
            return whole(row.examples, both, lr, keys)
        part = subset_evaluator(
            network, recipe, mesh=judge.mesh, population=judge.population
        )
        return part(row.examples, row.subsets, both, lr, keys)

    tried = [run(lr) for lr in row.lrs]
    val, test = np.asarray(pool.val.labels), np.asarray(pool.test.labels)
    on_val = [[scores(p[: len(val)], val) for p in out] for out in tried]
    worth = [summarise(runs)[s["select"]]["mean"] for runs in on_val]
    best = int(np.argmax(np.nan_to_num(worth, nan=-1.0)))
    how = judge.how(row.lrs[best], row.epochs)
    return {
        "test": [scores(p[len(val) :], test) for p in tried[best]],
        "val": on_val[best],
        "lr": np.asarray(row.lrs[best]).tolist(),
        "epochs": row.epochs,
        "protocol": how.protocol if isinstance(how, Recipe) else "its own rates",
        "images": int(
            row.examples.size if row.subsets is None else row.subsets.shape[1]
        ),
    }
