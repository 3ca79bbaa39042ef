"""What a comparison comprises: every cell's configuration, checked by its keys.

A cell is one run of one variant, at one ipc, from one seed. Variants change how a set
is distilled and nothing of what it is judged by.
"""

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxdistill.distillation.coresets import KNOWN
from jaxdistill.distillation.initial import STARTS
from jaxdistill.errors import InputError
from jaxdistill.jobs.judging.evaluating import record_of
from jaxdistill.jobs.settings.varying import changed, require_fair, require_row
from jaxdistill.ranges import words_of

# What all cells have in common, or that the comparison itself sets.
SHARED = (
    *("seed", "ipc", "data", "network", "eval", "devices", "init.count"),
    *("experts.folder", "compare", "study"),
)
FREE = ("eval.every",)
SURE = 10.0  # a margin of logits from which labels count as one-hot


class Cell(NamedTuple):
    """One run: its place in the table, and its configuration."""

    variant: str
    ipc: int
    seed: int
    config: dict[str, Any]

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.variant}_ipc{self.ipc}_seed{self.seed}"


class Plan(NamedTuple):
    """The cells in the table's order, and what stands beside them."""

    cells: tuple[Cell, ...]
    coresets: tuple[str, ...]
    ipcs: tuple[int, ...]
    labels: tuple[str, ...]
    augmentation: tuple[str, ...]


def plan(config: Mapping[str, Any]) -> Plan:
    """The comparison that `config.compare` asks for; `InputError` for a wrong key."""
    settings = config["compare"]
    if count := config["init"]["count"]:
        raise InputError(
            f"init.count={count} makes sets of another size than compare.ipc says: set "
            "it to 0"
        )
    ipcs, seeds = (tuple(dict.fromkeys(settings[key])) for key in ("ipc", "seeds"))
    named = ("coresets", "labels", "augmentation")
    coresets, labels, augmentation = (words_of(settings[key]) for key in named)
    if "hard" not in labels:
        raise InputError(
            f"compare.labels={settings['labels']!r} leaves out hard, the labels of "
            "real images: write soft,hard"
        )
    if not settings["methods"]:
        raise InputError(
            "compare.methods is empty: name a variant, as in "
            'variants({"dm": {"method": "distribution"}})'
        )
    made = {
        name: varied(config, name, values)
        for name, values in settings["methods"].items()
    }
    _require_labels(labels, coresets, made)
    cells = tuple(
        Cell(name, ipc, seed, {**copy.deepcopy(made[name]), "ipc": ipc, "seed": seed})
        for ipc in ipcs
        for name in made
        for seed in seeds
    )
    return Plan(cells, coresets, ipcs, labels, augmentation)


def varied(
    config: Mapping[str, Any], name: str, values: Mapping[str, Any]
) -> dict[str, Any]:
    """The configuration of a variant: the common one with other values."""
    require_row("compare.methods", name, (*KNOWN, "full"))
    require_fair(f"compare.methods.{name}", values, SHARED, FREE)
    return record_of(changed(config, values, f"compare.methods.{name}"))


def of_fresh_starts(config: Mapping[str, Any]) -> dict[str, Any]:
    """What real images are judged by: networks of fresh starts, whatever is distilled.

    A network that is distilled for one fixed start would be one network again and
    again, without a spread.
    """
    if config["method"] != "soft_label":
        return dict(config)
    return {**config, "soft_label": {**config["soft_label"], "start": "random"}}


def learns_labels(config: Mapping[str, Any]) -> bool:
    """Whether the labels of what is distilled are, or become, soft."""
    moved = config["optimizer"]["labels"]["name"] != "none"
    init = config["init"]
    told = config["relabel"] or init["labels"] == "experts"
    given = init["images"] not in STARTS  # what such a file holds is not known yet
    return moved or told or given or init["label_margin"] < SURE


def _require_labels(
    labels: tuple[str, ...], coresets: tuple[str, ...], made: Mapping[str, Any]
) -> None:
    """`InputError` for sets with soft labels where only hard ones are compared."""
    if "soft" in labels:
        return
    soft = [name for name in coresets if name == "random_soft"]
    soft += [name for name, config in made.items() if learns_labels(config)]
    if soft:
        raise InputError(
            f"compare.labels='hard', but {soft[0]} has soft labels: write soft,hard, "
            f"or leave {soft[0]} out"
        )
