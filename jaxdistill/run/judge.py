"""Judging a distilled set: validation while it is made, the test split once at the end.

Beside it, at equal size, random subsets and herding, and the whole training set. Every
piece of the final table is a file in eval/, so that an interrupted evaluation goes on.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxdistill.coresets import embed_split, herding
from jaxdistill.errors import InputError
from jaxdistill.evaluate import evaluator, subset_evaluator
from jaxdistill.metrics import scores, summarise
from jaxdistill.run.build import eval_recipe, more_networks
from jaxdistill.run.files import read_json, write_json
from jaxdistill.sampling import random_subset
from jaxdistill.training import Examples, of_split, of_synthetic, train_network
from jaxdistill.types import Network, Pool, Split, Synthetic

SELECTABLE = ("accuracy", "balanced_accuracy", "auc", "f1_weighted", "harmonic_mean")


class Judge(NamedTuple):
    """What an evaluation needs of a run; `settings` is the config's `eval` section."""

    network: Network
    pool: Pool
    config: Mapping[str, Any]
    policy: tuple[str, ...]  # of the evaluation
    key: jax.Array
    mesh: Mesh

    @property
    def settings(self) -> Mapping[str, Any]:
        """The config's section."""
        return self.config["eval"]

    @property
    def population(self) -> str:
        """How networks are mapped."""
        return self.config["devices"]["population"]


def require_settings(settings: Mapping[str, Any]) -> None:
    """`InputError` for evaluation settings that cannot be used."""
    for key in ("every", "seeds", "final_seeds", "draws", "epochs", "full_epochs"):
        if settings[key] < 1:
            raise InputError(f"eval.{key}={settings[key]} must be at least 1")
    if settings["select"] not in SELECTABLE:
        raise InputError(
            f"eval.select={settings['select']!r} is not a score: choose one of "
            f"{', '.join(SELECTABLE)}"
        )
    rates = settings["real_lrs"]
    if not rates or not all(isinstance(lr, int | float) and lr > 0 for lr in rates):
        raise InputError(
            f"eval.real_lrs={tuple(rates)} must name learning rates "
            "above 0, such as (0.01,)"
        )


def validation(judge: Judge):
    """`synthetic -> {metric: {"mean", "std", "n"}}` on the validation split.

    Each call trains the same networks, so that iterates differ by their images alone.
    """
    s = judge.settings
    recipe = eval_recipe(judge.config, judge.policy, s["epochs"])
    run = evaluator(judge.network, recipe, mesh=judge.mesh, population=judge.population)
    keys = jax.random.split(jax.random.fold_in(judge.key, 0), s["seeds"])
    val = judge.pool.val
    labels = np.asarray(val.labels)

    def score(synthetic: Synthetic) -> dict[str, dict]:
        examples = of_synthetic(synthetic, judge.pool.standard)
        out = run(examples, val, synthetic.lr, keys)
        return summarise([scores(p, labels) for p in out])

    return score


class Candidate(NamedTuple):
    """A training set to be judged: examples, or real images by their indices."""

    examples: Examples
    lrs: tuple[float, ...]
    epochs: int
    subsets: np.ndarray | None = None


def candidates(
    judge: Judge, best: Synthetic, last: Synthetic | None = None
) -> dict[str, Candidate]:
    """The rows of the final table, by name; `last` is None where it is the best."""
    s, pool = judge.settings, judge.pool
    ipc = best.images.shape[0] // pool.classes
    real = of_split(pool.train, pool.classes)
    lrs = tuple(float(lr) for lr in s["real_lrs"])
    keys = jax.random.split(jax.random.fold_in(judge.key, 1), s["draws"])
    draws = [random_subset(pool.train.labels, pool.classes, ipc, k) for k in keys]
    chosen = _herded(judge, real, ipc)
    rows = {"distilled": _distilled(best, judge)}
    if last is not None:
        rows["distilled_last"] = _distilled(last, judge)
    herded = np.tile(chosen, (s["final_seeds"], 1))
    rows["random"] = Candidate(real, lrs, s["epochs"], np.stack(draws))
    rows["herding"] = Candidate(real, lrs, s["epochs"], herded)
    rows["full"] = Candidate(real, lrs, s["full_epochs"])
    return rows


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
        path = folder / f"{name}.json"
        if path.exists():
            out[name] = read_json(path)
            continue
        progress(f"evaluating {name} ...")
        out[name] = judge_row(judge, judge.network, row)
        write_json(path, out[name])
    if "distilled_last" not in out:
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
        for name in ("distilled", "random"):
            path = folder / f"{name}_{_file_name(text)}.json"
            if not path.exists():
                progress(f"evaluating {name} on {text} ...")
                row = rows[name]
                more = tuple(float(lr) for lr in judge.settings["real_lrs"])
                row = row._replace(lrs=tuple(dict.fromkeys((*row.lrs, *more))))
                write_json(path, judge_row(judge, network, row))
            out.setdefault(text, {})[name] = read_json(path)
    return out


def judge_row(judge: Judge, network: Network, row: Candidate) -> dict[str, Any]:
    """Train fresh networks on a row at the rate validation prefers; score them."""
    recipe = eval_recipe(judge.config, judge.policy, row.epochs)
    pool, s = judge.pool, judge.settings
    both = _joined(pool.val, pool.test)
    count = s["final_seeds"] if row.subsets is None else len(row.subsets)
    keys = jax.random.split(jax.random.fold_in(judge.key, 2), count)

    def run(lr: float) -> np.ndarray:
        if row.subsets is None:
            whole = evaluator(
                network, recipe, mesh=judge.mesh, population=judge.population
            )
            return whole(row.examples, both, lr, keys)
        part = subset_evaluator(
            network, recipe, mesh=judge.mesh, population=judge.population
        )
        return part(row.examples, row.subsets, both, lr, keys)

    tried = {lr: run(lr) for lr in row.lrs}
    val, test = np.asarray(pool.val.labels), np.asarray(pool.test.labels)
    on_val = {
        lr: summarise([scores(p[: len(val)], val) for p in out])
        for lr, out in tried.items()
    }
    best = max(on_val, key=lambda lr: on_val[lr][s["select"]]["mean"])
    on_test = summarise([scores(p[len(val) :], test) for p in tried[best]])
    return {
        "test": on_test,
        "val": on_val[best],
        "lr": best,
        "epochs": row.epochs,
        "images": int(
            row.examples.size if row.subsets is None else row.subsets.shape[1]
        ),
    }


def _distilled(synthetic: Synthetic, judge: Judge) -> Candidate:
    examples = of_synthetic(synthetic, judge.pool.standard)
    return Candidate(examples, (float(synthetic.lr),), judge.settings["epochs"])


def _herded(judge: Judge, real: Examples, ipc: int) -> np.ndarray:
    """Herding by the features of a network of its own, trained on the whole split."""
    s = judge.settings
    recipe = eval_recipe(judge.config, judge.policy, s["full_epochs"])
    key = jax.random.fold_in(judge.key, 3)
    lr = jnp.asarray(float(s["real_lrs"][0]))
    train = jax.jit(lambda x: train_network(judge.network, recipe, x, lr, key)[0])
    features = embed_split(judge.network, train(real), judge.pool.train)
    return herding(features, np.asarray(judge.pool.train.labels), ipc)


def _joined(first: Split, second: Split) -> Split:
    """Two splits as one, so that one training serves both."""
    pairs = zip(first[:3], second[:3], strict=True)
    images, labels, groups = (jnp.concatenate(pair) for pair in pairs)
    return Split(images, labels, groups, first.standard)


def _file_name(text: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in text)
