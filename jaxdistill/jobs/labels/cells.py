"""The cells of a comparison at few labels: what each is worth, from its file or anew.

    workdir/cells/ROW_kK_drawD_DIGEST.json    scores on test and validation, or why not

A cell that diverged leaves its reason and is not tried again with the same
configuration; one that was refused, such as for a file that is missing, is.
"""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxdistill.distillation.mosaic import decode
from jaxdistill.engine.schedule import Schedule
from jaxdistill.engine.training import Recipe, of_synthetic
from jaxdistill.errors import Diverged, InputError
from jaxdistill.evaluation.evaluate import evaluator
from jaxdistill.jobs.judging.synthetic import load_synthetic, require_fits
from jaxdistill.jobs.labels.plan import Cell, digest_of, file_of
from jaxdistill.jobs.labels.tuning import Tuner, pretrained
from jaxdistill.jobs.lessons.judging import Record, looking, probabilities, scored
from jaxdistill.jobs.lessons.training import Room
from jaxdistill.jobs.settings import build_labelling as build
from jaxdistill.jobs.settings.build_backbones import build_backbones
from jaxdistill.jobs.settings.labelling import DISTILLED, SCRATCH
from jaxdistill.run.files import read_record, write_json
from jaxdistill.run.kept import usable
from jaxdistill.selfsupervised.recipes import PRETEXTS
from jaxdistill.types import Params

Config = Mapping[str, Any]
FAILED = "failed"


class Bench:
    """Scores the cells of one configuration."""

    def __init__(self, room: Room, config: Config) -> None:
        self.room, self.config = room, config
        self.tuner = Tuner(room, config)

    def score(self, cell: Cell) -> Record:
        """The scores of a cell, or `{"failed": reason}`; final if it diverged."""
        digest = digest_of(self.config, cell)
        file = self.room.folder / "cells" / f"{cell.name}_{digest}.json"
        record = usable(file, read_record)
        if record is None:
            self.room.say(f"cell {cell.name}")
            try:
                found = self._scored(cell)
            except (InputError, Diverged) as error:
                self.room.say(f"cell {cell.name} failed: {error}")
                found = {FAILED: str(error), "final": isinstance(error, Diverged)}
                if not found["final"]:
                    return found  # the next call tries again
            write_json(file, found)
            record = read_record(file)
        return record

    def keep(self, rows: Sequence[str]) -> None:
        """Every pretrained backbone is whole, also where all cells were done before."""
        for row in rows:
            if row in PRETEXTS:
                with contextlib.suppress(InputError, Diverged):  # its cells tell
                    self.start(row)

    def start(self, row: str) -> Path | None:
        """The file with the backbone that a row begins with."""
        if row == SCRATCH:
            return None
        if row in PRETEXTS:
            return pretrained(self.room, self.config, row).file
        return file_of(self.config, Cell(row, 0, 0))

    def model(self, cell: Cell) -> Params:
        """The network of a cell, the same at every call."""
        self.tuner.require_films(cell)  # before a pretext that may take hours
        return self.tuner.tune(cell, self.start(cell.row))

    def _scored(self, cell: Cell) -> Record:
        pool = self.room.pool
        parts = {"val": pool.val, "test": pool.test}
        if cell.row == DISTILLED:
            said = self._of_set(cell)
        else:
            network = build_backbones(self.config, pool).network
            params = self.model(cell)
            params = {"trunk": params["trunk"], "head": params["classes"]}
            blur = self.config["eval"]["blur"]
            look = looking(network, blur, params, pool.test)
            said = {name: probabilities(look, part) for name, part in parts.items()}
        found = scored(said, pool)
        return {name: found[name] for name in parts}

    def _of_set(self, cell: Cell) -> dict[str, np.ndarray]:
        """What a fresh network says that was trained on a distilled set."""
        pool = self.room.pool
        file = file_of(self.config, cell)
        saved = load_synthetic(file)
        require_fits(saved, file, pool)
        wanted = cell.per_class * pool.classes
        if len(saved.synthetic.images) != wanted:
            raise InputError(
                f"{file} holds {len(saved.synthetic.images)} images, and {wanted} are "
                f"{cell.per_class} of each class: name a set of this size"
            )
        rate = saved.synthetic.lr
        how = Schedule() if np.ndim(rate) else Recipe()
        run = evaluator(build.build_judge(self.config, pool), how)
        whole = decode(saved.synthetic, max(saved.mosaic, 1))
        examples = of_synthetic(whole, pool.train.standard)
        key = jax.random.key(self.config["labels"]["seed"])
        keys = jax.random.fold_in(key, cell.draw)[None]
        said = run(examples, (pool.val, pool.test), rate, keys)[0]
        return {"val": said[: pool.val.size], "test": said[pool.val.size :]}
