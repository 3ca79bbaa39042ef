"""The data sets of a study: each the common configuration with values of its own."""

from collections.abc import Mapping
from typing import Any

from jaxdistill.errors import InputError
from jaxdistill.jobs.compare.plan import plan
from jaxdistill.jobs.settings.varying import (
    changed,
    require_file_name,
    require_variant,
)
from jaxdistill.ranges import words_of
from jaxdistill.run.workdir import flatten

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

    Another source, network or method drops what it does not have, see
    `settings.resolve`; every other value replaces its own key alone.
    """
    require_file_name("study.sets", name)
    values = config["study"]["sets"][name]
    require_variant(f"study.sets.{name}", values)
    for key in flatten(values):
        if key.partition(".")[0] in OWN:
            raise InputError(
                f"study.sets.{name}.{key} belongs to the whole study: set it for all"
            )
    common = {key: value for key, value in config.items() if key != "study"}
    made = changed(common, values, f"study.sets.{name}")
    del made["study"]
    coresets = made["compare"]["coresets"]
    if "random" not in words_of(coresets):
        made["compare"]["coresets"] = f"random,{coresets}"
    return made
