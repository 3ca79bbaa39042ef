"""The set that distillation starts from: made of the data, or by another run.

A cheap method can so go before a dear one: `init.images=FILE`, a run's
`synthetic/step_002000.npz`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from jaxdistill.distillation.initial import STARTS, raw_rates
from jaxdistill.errors import InputError
from jaxdistill.foreign.files import expanded
from jaxdistill.jobs.judging.synthetic import load_synthetic, require_fits
from jaxdistill.jobs.settings.build import build_initial, rate_shape
from jaxdistill.run.seals import of_file
from jaxdistill.types import Pool, Synthetic


def beginning(config: Mapping[str, Any], pool: Pool, key: jax.Array) -> Synthetic:
    """The first set of a run, before experts label it.

    From a file it has the labels that were learned there, and the learning rate where
    it is of this method's kind, one or one for every step; otherwise `init.lr`. Raises
    `InputError` for a file of other data, classes, shapes or counts.
    """
    named = config["init"]["images"]
    if named in STARTS:
        return build_initial(config, pool, key)
    path = expanded(named)
    saved = load_synthetic(path)
    require_fits(saved, path, pool, config["mosaic"])
    _require_count(config, path, pool, len(saved.synthetic.images))
    shape = rate_shape(config)
    if saved.synthetic.raw_lr.shape == shape:
        return saved.synthetic
    fresh = raw_rates(config["init"]["lr"], shape)
    return saved.synthetic._replace(raw_lr=fresh)


def beginning_print(config: Mapping[str, Any]) -> dict[str, str]:
    """What tells that the file that a run begins from is another."""
    named = config["init"]["images"]
    path = Path() if named in STARTS else expanded(named)
    return {"init_images": of_file(path)} if path.is_file() else {}


def _require_count(
    config: Mapping[str, Any], path: Path, pool: Pool, found: int
) -> None:
    count, ipc = config["init"]["count"], config["ipc"]
    asked = f"init.count={count}" if count else f"ipc={ipc} of {pool.classes} classes"
    wanted = count or ipc * pool.classes
    if found != wanted:
        raise InputError(
            f"init.images={path} holds {found} images where {asked} asks for {wanted}: "
            "set what the run had that made it"
        )
