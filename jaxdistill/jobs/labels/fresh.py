"""The rows of a fresh network: what it says once it has learned a distilled set, or as
many labelled films, by one recipe. Between the two stands what distilling is worth, and
between these films and the row `scratch` what network and recipe are.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from jaxdistill.distillation.mosaic import decode
from jaxdistill.engine.schedule import Schedule
from jaxdistill.engine.training import Examples, of_split, of_synthetic
from jaxdistill.errors import Diverged, InputError
from jaxdistill.evaluation.evaluate import evaluator
from jaxdistill.jobs.judging.synthetic import load_synthetic, require_fits
from jaxdistill.jobs.labels.plan import Cell, file_of
from jaxdistill.jobs.labels.tuning import draw_key, draw_of
from jaxdistill.jobs.settings import build_labelling as build
from jaxdistill.jobs.settings.labelling import RANDOM
from jaxdistill.types import Pool

NETWORK = 3  # of a draw's keys; films and tunings have those before

Config = Mapping[str, Any]


class Learned(NamedTuple):
    """What a network learns from, and how where the recipe does not say."""

    examples: Examples
    schedule: Schedule | None
    rate: float | Array


def said_fresh(config: Config, pool: Pool, cell: Cell) -> dict[str, np.ndarray]:
    """The probabilities of validation and test films, by the network of a cell."""
    learned = _drawn if cell.row == RANDOM else _set
    examples, schedule, rate = learned(config, pool, cell)
    network, recipe = build.build_fresh(config, pool)
    draw = draw_key(config, cell)
    keys = jax.random.fold_in(draw, NETWORK)[None]
    run = evaluator(network, schedule or recipe)
    said = run(examples, (pool.val, pool.test), rate, keys)[0]
    if not np.isfinite(said).all():
        raise Diverged(
            f"the network of {cell.name} comes to no finite answers at a learning rate "
            f"of {np.max(rate):.3g}: "
            + ("lower fresh.lr" if cell.row == RANDOM else "its set learned this rate")
        )
    return {"val": said[: pool.val.size], "test": said[pool.val.size :]}


def _drawn(config: Config, pool: Pool, cell: Cell) -> Learned:
    """The labelled films of a draw, those that the other rows tune on."""
    rows = draw_of(pool, config, cell).rows
    films = pool.train._replace(
        images=pool.train.images[rows], labels=pool.train.labels[rows]
    )
    return Learned(of_split(films, pool.classes), None, config["fresh"]["lr"])


def _set(config: Config, pool: Pool, cell: Cell) -> Learned:
    """A distilled set, by the rate or the rates that were learned with it."""
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
    schedule = (saved.schedule or Schedule()) if np.ndim(rate) else None
    return Learned(of_synthetic(whole, pool.train.standard), schedule, rate)
