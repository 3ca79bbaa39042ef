"""How the sets of a comparison are scored: all in the same ways, on fresh networks.

A way is a kind of labels (as they are, or hard: the arg max, one-hot) and whether
images are augmented as the kind of data allows. Every score is one training a network,
kept in a file of its own; validation chooses the rate, and nothing sees the test split
but the networks that stay.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import augment
from jaxdistill.jobs.compare.plan import Plan
from jaxdistill.jobs.judging.judge import Candidate, Judge, run_row, scores_in
from jaxdistill.jobs.judging.sets import real_lrs
from jaxdistill.run.files import write_json
from jaxdistill.run.kept import made_once
from jaxdistill.run.places import file_name
from jaxdistill.types import Network, Synthetic

Scores = dict[str, dict[str, Any]]  # by `way`: what `run_row` found


class Entry(NamedTuple):
    """A set to be scored: its place in the table, and how to get it."""

    name: str
    ipc: int  # 0: the whole split
    kind: str  # distilled, coreset, whole
    soft: bool
    judge: Judge
    row: Callable[[], Candidate]
    folder: Path
    facts: dict[str, Any]


def way(labels: str, augmentation: str) -> str:
    """The name of a way to score, such as `soft_with`."""
    return f"{labels}_{augmentation}"


def score(entry: Entry, plan: Plan, say: Callable = print) -> Scores:
    """The scores of a set in every way; those in files are read."""
    kinds = plan.labels if entry.soft else ("hard",)
    found = {}
    for labels in kinds:
        for augmentation in plan.augmentation:
            name = way(labels, augmentation)
            path = entry.folder / "eval" / f"{name}.json"
            judge = _augmented(entry.judge, augmentation)

            def make(
                path: Path = path,
                said: str = f"{entry.folder.name}, {name} augmentation",
                hard: bool = labels == "hard",
                judge: Judge = judge,
                augmentation: str = augmentation,
            ) -> None:
                say(f"scoring {said} ...")
                row = hardened(entry.row()) if hard else entry.row()
                row = _with_rates(row, judge, augmentation)
                write_json(path, run_row(judge, judge.network, row))

            found[name] = made_once(path, scores_in, make)
    return found


def across(
    entry: Entry,
    augmentation: str,
    networks: Mapping[str, Network],
    say: Callable = print,
) -> dict[str, dict[str, Any]]:
    """The scores of other networks, trained on a set with its own labels."""
    judge, found = _augmented(entry.judge, augmentation), {}
    for text, network in networks.items():
        path = entry.folder / "eval" / f"{augmentation}_{file_name(text)}.json"

        def make(path: Path = path, said: str = text, other: Network = network) -> None:
            say(f"scoring {entry.folder.name} on {said} ...")
            row = _with_rates(entry.row(), judge, augmentation)
            write_json(path, run_row(judge, other, row))

        found[text] = made_once(path, scores_in, make)
    return found


def hardened(row: Candidate) -> Candidate:
    """The set with every label one-hot at its largest entry."""
    targets = row.examples.targets
    hard = jax.nn.one_hot(targets.argmax(axis=1), targets.shape[1])
    return row._replace(examples=row.examples._replace(targets=hard))


def has_soft_labels(synthetic: Synthetic) -> bool:
    """Whether some label is not one-hot."""
    return bool(jax.nn.softmax(synthetic.logits).max(axis=1).min() < 0.999)


def stored_bytes(images: tuple[int, ...], classes: int, rates: int) -> int:
    """What a set weighs: a byte a pixel, four a label's entry, four a learning rate."""
    return int(np.prod(images)) + 4 * images[0] * classes + 4 * rates


def set_facts(synthetic: Synthetic, factor: int) -> dict[str, Any]:
    """How many images a distilled set stores and trains as, and its bytes."""
    count, classes = synthetic.logits.shape
    return {
        "images": count,
        "trained_images": count * factor**2,
        "bytes": stored_bytes(synthetic.images.shape, classes, synthetic.raw_lr.size),
    }


def real_facts(judge: Judge, count: int) -> dict[str, Any]:
    """The same for `count` real images, whose one rate validation chooses."""
    pool = judge.pool
    weight = stored_bytes((count, *pool.image_shape), pool.classes, 1)
    return {"images": count, "trained_images": count, "bytes": weight}


def _augmented(judge: Judge, augmentation: str) -> Judge:
    policy = augment.policy(judge.pool.kind) if augmentation == "with" else ()
    return judge._replace(policy=policy)


def _with_rates(row: Candidate, judge: Judge, augmentation: str) -> Candidate:
    """The row with the rates to choose from: its own, and those of real sets.

    A schedule of rates knows no augmentation, which takes those of real sets alone.
    """
    more = real_lrs(judge)
    own: list[Any] = []
    for lr in row.lrs:
        if jnp.ndim(lr):
            own += [lr] if augmentation == "without" else []
        elif not np.isclose(lr, more, rtol=1e-3).any():
            own.append(lr)
    return row._replace(lrs=(*own, *more))
