"""The cells of a comparison at few labels: what each is worth, from its file or anew.

    workdir/cells/ROW_kK_drawD_DIGEST.json    scores on test and validation, or why not

A cell that diverged leaves its reason and is not tried again with the same
configuration; one that was refused, such as for a file that is missing, is.
"""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxdistill.errors import Diverged, InputError
from jaxdistill.jobs.labels.fresh import said_fresh
from jaxdistill.jobs.labels.plan import Cell, digest_of, file_of
from jaxdistill.jobs.labels.tuning import Tuner, draw_of, pretrained
from jaxdistill.jobs.lessons.judging import Record, looking, probabilities, scored
from jaxdistill.jobs.lessons.training import Room
from jaxdistill.jobs.settings.build_backbones import build_backbones
from jaxdistill.jobs.settings.labelling import FRESH, SCRATCH
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
        try:
            digest = digest_of(self.config, cell)
        except InputError as error:  # such as of a run that has not ended
            self.room.say(f"cell {cell.name} failed: {error}")
            return {FAILED: str(error), "final": False}
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
        draw_of(self.room.pool, self.config, cell)  # before pretexts that take hours
        return self.tuner.tune(cell, self.start(cell.row))

    def _scored(self, cell: Cell) -> Record:
        pool = self.room.pool
        parts = {"val": pool.val, "test": pool.test}
        if cell.row in FRESH:
            said = said_fresh(self.config, pool, cell)
        else:
            network = build_backbones(self.config, pool).network
            params = self.model(cell)
            params = {"trunk": params["trunk"], "head": params["classes"]}
            blur = self.config["eval"]["blur"]
            look = looking(network, blur, params, pool.standard)
            said = {name: probabilities(look, part) for name, part in parts.items()}
        found = scored(said, pool)
        kept = (*parts, "threshold")
        return {name: found[name] for name in kept if name in found}
