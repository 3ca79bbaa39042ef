"""The data sets of a study: each the common configuration with values of its own."""

import copy
import difflib
import re
from collections.abc import Mapping
from typing import Any

from jaxdistill.errors import InputError
from jaxdistill.jobs.compare.plan import KINDS, plan
from jaxdistill.run.workdir import flatten

NAMED = ("network", "trajectory.weighting")  # their keys depend on their name
OPEN = ("data.", *(f"{part}." for part in NAMED), "compare.methods.")
OWN = ("study", "devices")  # belong to the whole study
Config = dict[str, Any]


def sets_of(config: Mapping[str, Any]) -> dict[str, Config]:
    """The comparison that each of `study.sets` comes to, by name.

    Random subsets are always among its coresets. Raises `InputError` for an empty
    study, a name that is no file name, keys or values that no comparison has, and
    experts for more than one set.
    """
    sets = config["study"]["sets"]
    if not sets:
        raise InputError(
            "study.sets is empty: name a data set, as in "
            'variants({"films": {"data.name": "folder", "data.path": "films"}})'
        )
    made = {name: set_config(config, name) for name in sets}
    owners: dict[str, str] = {}
    for name, one in made.items():
        plan(one)
        folder = one["experts"]["folder"]
        if folder and (other := owners.setdefault(folder, name)) != name:
            raise InputError(
                f"experts.folder={folder!r} would teach {other} and {name}, but "
                "experts know one data set: name it in study.sets for that one alone"
            )
    return made


def set_config(config: Mapping[str, Any], name: str) -> Config:
    """The common configuration with the values of one of `study.sets`.

    A network or a weighting with a name replaces the common one; every other value
    replaces its own key alone.
    """
    if not re.fullmatch(r"[A-Za-z0-9-]+(_[A-Za-z0-9-]+)*", name):
        raise InputError(
            f"study.sets names {name!r}, which must serve as a file name: use letters, "
            "digits, - and single _"
        )
    made = {key: copy.deepcopy(config[key]) for key in config if key != "study"}
    values = flatten(config["study"]["sets"][name])
    for part in NAMED:
        if f"{part}.name" in values:
            *above, last = part.split(".")
            _section(made, above)[last] = {}
    usual = flatten({key: config[key] for key in config})
    for key, value in values.items():
        _require(f"study.sets.{name}.{key}", key, value, usual)
        *above, last = key.split(".")
        kept = usual.get(key)
        whole = type(kept) is float and type(value) is int
        _section(made, above)[last] = float(value) if whole else copy.deepcopy(value)
    made["devices"]["cpu"] = 0  # the study itself has split it
    coresets = made["compare"]["coresets"]
    if "random" not in coresets.replace(" ", "").split(","):
        made["compare"]["coresets"] = f"random,{coresets}"
    return made


def _require(said: str, key: str, value: Any, usual: Mapping[str, Any]) -> None:
    """`InputError` unless sets may have the key, with a value of the usual type."""
    if key.partition(".")[0] in OWN:
        raise InputError(
            f"{said}={value!r}, but {key} belongs to the whole study: set it for all"
        )
    if any(other.startswith(f"{key}.") for other in usual):
        raise InputError(f"{said}={value!r}, but {key} is a section: set its keys")
    if key not in usual:
        if key.startswith(OPEN):
            return
        close = difflib.get_close_matches(key, usual, n=1)
        remedy = f"did you mean {close[0]}?" if close else "see --help for the keys"
        raise InputError(f"{said}={value!r}: the config has no key {key}: {remedy}")
    kind = type(usual[key])
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise InputError(
            f"{said}={value!r} must be {KINDS.get(kind, kind.__name__)}, as in "
            f"{key}={usual[key]!r}"
        )


def _section(config: Config, above: list[str]) -> Config:
    for name in above:
        config = config.setdefault(name, {})
    return config
