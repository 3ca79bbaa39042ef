"""What a comparison comprises: every cell's configuration, checked by its keys.

A cell is one run of one variant, at one ipc, from one seed. Variants change how a set
is distilled and nothing of what it is judged by.
"""

import copy
import difflib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxdistill.errors import InputError
from jaxdistill.jobs.judging.evaluating import record_of
from jaxdistill.jobs.judging.sets import KNOWN
from jaxdistill.run.workdir import flatten

# What all cells have in common, or that the comparison itself sets.
SHARED = ("seed", "ipc", "data", "network", "eval", "devices", "init.count")
FREE = ("eval.every",)
OPEN = "trajectory.weighting"  # its keys depend on its name
SURE = 10.0  # a margin of logits from which labels count as one-hot
LABELS = ("soft", "hard")
AUGMENTATION = ("with", "without")
KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    tuple: "a list of numbers",
}


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
    ipcs = _numbers(settings, "ipc", least=1)
    seeds = _numbers(settings, "seeds", least=0)
    coresets = _names(settings, "coresets", KNOWN)
    labels = _names(settings, "labels", LABELS)
    augmentation = _names(settings, "augmentation", AUGMENTATION)
    if "hard" not in labels:
        raise InputError(
            f"compare.labels={settings['labels']!r} leaves out hard, the labels of "
            "real images: write soft,hard"
        )
    if not augmentation:
        raise InputError("compare.augmentation is empty: write with,without")
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
    if not re.fullmatch(r"[A-Za-z0-9-]+(_[A-Za-z0-9-]+)*", name):
        raise InputError(
            f"compare.methods names {name!r}, which must serve as a file name: use "
            "letters, digits, - and single _"
        )
    if name in (*KNOWN, "full"):
        raise InputError(
            f"compare.methods names {name!r}, which is another row of the table: "
            "rename the variant"
        )
    made = copy.deepcopy(record_of(config))
    made["devices"]["cpu"] = 0  # the comparison itself has split it
    flat, usual = flatten(values), flatten(made)
    if any(key.startswith(OPEN) for key in flat):
        before = made["trajectory"]["weighting"]["name"]
        made["trajectory"]["weighting"] = {"name": before}
    for key, value in flat.items():
        _set(made, key, _checked(f"compare.methods.{name}.{key}", key, value, usual))
    return made


def learns_labels(config: Mapping[str, Any]) -> bool:
    """Whether the labels of what is distilled are, or become, soft."""
    moved = config["optimizer"]["labels"]["name"] != "none"
    init = config["init"]
    told = config["relabel"] or init["labels"] == "experts"
    return moved or told or init["label_margin"] < SURE


def _checked(said: str, key: str, value: Any, usual: Mapping[str, Any]) -> Any:
    """The value, if variants may set the key and it has the type of the usual one."""
    if key.startswith(f"{OPEN}.") and key not in usual:
        return value
    if any(other.startswith(f"{key}.") for other in usual):
        raise InputError(f"{said}={value!r}, but {key} is a section: set its keys")
    if key not in usual:
        close = difflib.get_close_matches(key, usual, n=1)
        remedy = f"did you mean {close[0]}?" if close else "see --help for the keys"
        raise InputError(f"{said}={value!r}: the config has no key {key}: {remedy}")
    if key not in FREE and any(f"{key}.".startswith(f"{one}.") for one in SHARED):
        raise InputError(
            f"{said}={value!r} would make the comparison unfair, as {key} is what all "
            "variants share: set it for all of them"
        )
    kind = type(usual[key])
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise InputError(
            f"{said}={value!r} must be {KINDS.get(kind, kind.__name__)}, as in "
            f"{key}={usual[key]!r}"
        )
    return value


def _set(config: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        config = config[section]
    config[last] = value


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


def _numbers(settings: Mapping[str, Any], key: str, least: int) -> tuple[int, ...]:
    found = tuple(dict.fromkeys(settings[key]))
    if not found or not all(type(n) is int and n >= least for n in found):
        raise InputError(
            f"compare.{key}={settings[key]} must list whole numbers from {least} on, "
            "such as (1,10)"
        )
    return found


def _names(
    settings: Mapping[str, Any], key: str, known: tuple[str, ...]
) -> tuple[str, ...]:
    words = filter(None, settings[key].replace(" ", "").split(","))
    found = tuple(dict.fromkeys(words))
    for name in found:
        if name not in known:
            raise InputError(
                f"compare.{key} names {name!r}, which is not known: choose from "
                f"{', '.join(known)}"
            )
    return found
