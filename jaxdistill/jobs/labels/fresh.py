"""The rows of a fresh network: what it says once it has learned a distilled set, or as
many labelled films by the same recipe. Between the two stands what distilling is worth,
and between these films and the row `scratch` what the network is.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from jaxdistill.distillation.mosaic import decode
from jaxdistill.engine.schedule import Schedule
from jaxdistill.engine.training import Examples, Recipe, of_split, of_synthetic
from jaxdistill.errors import InputError
from jaxdistill.evaluation.evaluate import REAL_LR, evaluator
from jaxdistill.jobs.judging.synthetic import load_synthetic, require_fits
from jaxdistill.jobs.labels.plan import Cell, file_of
from jaxdistill.jobs.labels.tuning import draw_of
from jaxdistill.jobs.settings import build_labelling as build
from jaxdistill.jobs.settings.labelling import RANDOM
from jaxdistill.types import Pool

Config = Mapping[str, Any]


class Learned(NamedTuple):
    """What a network learns from, and how."""

    examples: Examples
    how: Recipe | Schedule
    rate: float | Array


def said_fresh(config: Config, pool: Pool, cell: Cell) -> dict[str, np.ndarray]:
    """The probabilities of validation and test films, by the network of a cell."""
    learned = _drawn if cell.row == RANDOM else _set
    films = learned(config, pool, cell)
    key = jax.random.key(config["labels"]["seed"])
    keys = jax.random.fold_in(key, cell.draw)[None]
    run = evaluator(build.build_judge(config, pool), films.how)
    said = run(films.examples, (pool.val, pool.test), films.rate, keys)[0]
    return {"val": said[: pool.val.size], "test": said[pool.val.size :]}


def _drawn(config: Config, pool: Pool, cell: Cell) -> Learned:
    """The labelled films of a draw, those that the other rows tune on."""
    rows = draw_of(pool, config, cell).rows
    films = pool.train._replace(
        images=pool.train.images[rows], labels=pool.train.labels[rows]
    )
    return Learned(of_split(films, pool.classes), Recipe(), REAL_LR)


def _set(config: Config, pool: Pool, cell: Cell) -> Learned:
    """A distilled set of as many images, by the rates that were learned with it."""
    file = file_of(config, cell)
    saved = load_synthetic(file)
    require_fits(saved, file, pool)
    wanted = cell.per_class * pool.classes
    if len(saved.synthetic.images) != wanted:
        raise InputError(
            f"{file} holds {len(saved.synthetic.images)} images, and {wanted} are "
            f"{cell.per_class} of each class: name a set of this size"
        )
    rate = saved.synthetic.lr
    whole = decode(saved.synthetic, max(saved.mosaic, 1))
    how = Schedule() if np.ndim(rate) else Recipe()
    return Learned(of_synthetic(whole, pool.train.standard), how, rate)
