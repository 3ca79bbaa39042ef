"""What a comparison at few labels comprises: rows, labels per class, draws.

A cell is one network, tuned on one draw of labelled films, from what its row begins
with. Draw d takes the same films and keys in every row.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxdistill.errors import InputError
from jaxdistill.foreign.files import expanded
from jaxdistill.jobs.judging.synthetic import set_file
from jaxdistill.jobs.settings.labelling import (
    DISTILLED,
    FRESH,
    RANDOM,
    SCRATCH,
    TRANSFER,
)
from jaxdistill.ranges import words_of
from jaxdistill.run.files import digest
from jaxdistill.run.seals import of_file
from jaxdistill.selfsupervised.recipes import PRETEXTS

TUNED = "tuned"  # the row of `finetune`: from the file `start`
TUNING = ("data", "backbone", "classes", "tuning", "eval")
TRAINING = ("data", "backbone", "steps_per_call")

Config = Mapping[str, Any]


class Cell(NamedTuple):
    """One row at one number of labels, in one draw of them."""

    row: str
    per_class: int
    draw: int

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.row}_k{self.per_class}_draw{self.draw}"


class Plan(NamedTuple):
    """The rows, and the cells in the table's order."""

    rows: tuple[str, ...]
    per_class: tuple[int, ...]
    cells: tuple[Cell, ...]


def plan(config: Config, rows: tuple[str, ...] = ()) -> Plan:
    """The comparison that a configuration asks for, or that of some rows of it.

    Raises `InputError` for rows that need a file which is not named.
    """
    told = config["labels"]
    rows = rows or words_of(told["rows"])
    needs = {TRANSFER: "labels.transfer", DISTILLED: "labels.distilled"}
    for row, key in needs.items():
        if row in rows and not told[key.partition(".")[2]]:
            raise InputError(
                f"labels.rows names {row}, which needs {key}: name its file, or leave "
                "the row out"
            )
    fresh = [row for row in rows if row in FRESH]
    if fresh and config["eval"]["blur"]:
        raise InputError(
            f"eval.blur={config['eval']['blur']} does not blur the films that "
            f"{' and '.join(fresh)} are judged by: set it to 0, or leave these rows out"
        )
    per_class = tuple(dict.fromkeys(told["per_class"]))
    if DISTILLED in rows and len(per_class) > 1 and "{k}" not in told["distilled"]:
        raise InputError(
            f"labels.distilled={told['distilled']!r} is one set for {len(per_class)} "
            "numbers of films a class: write {k} where the number stands in the name"
        )
    draws = range(told["draws"])
    cells = tuple(
        Cell(row, k, draw) for row in rows for k in per_class for draw in draws
    )
    return Plan(rows, per_class, cells)


def digest_of(config: Config, cell: Cell) -> str:
    """Of all that decides a cell, the content of its file included, but its name."""
    told: dict[str, Any] = {key: config[key] for key in TUNING}
    told["seed"] = config["labels"]["seed"]
    if cell.row in PRETEXTS:
        told["pretraining"] = digest_of_pretraining(config, cell.row)
    if cell.row in FRESH:
        told = {key: config[key] for key in ("data", "network", "fresh")}
        told["seed"] = config["labels"]["seed"]
    if cell.row not in (*PRETEXTS, SCRATCH, RANDOM):
        file = file_of(config, cell)
        told["file"] = of_file(file) if file.is_file() else str(file)
    return digest(told)


def digest_of_pretraining(config: Config, name: str) -> str:
    """Of all that decides a backbone that a pretext trains."""
    told = {key: config[key] for key in TRAINING}
    if named := config["films"]["unlabelled"]:
        told["unlabelled"] = named
    return digest([name, told, config[name], config["labels"]["seed"]])


def file_of(config: Config, cell: Cell) -> Path:
    """The weights that a cell begins with, or its distilled set."""
    named = config["start"] if cell.row == TUNED else config["labels"].get(cell.row)
    path = expanded(named.replace("{k}", str(cell.per_class)))
    return set_file(path) if cell.row == DISTILLED else path
