"""What a config file is written with: changes, small versions, variants.

c = changes()                  # nothing yet: every setting has its usual value
c.data.name = "folder"
return smoke(c) if mode == "smoke" else c
"""

from typing import Any

from ml_collections import ConfigDict

from jaxdistill.distillation.distillers import METHODS
from jaxdistill.jobs.settings.resolve import (
    fill,
    leaves,
    nested,
    override,
    schema,
)
from jaxdistill.jobs.settings.roots import DISTIL, distils, root_of
from jaxdistill.jobs.settings.varying import require_variant
from jaxdistill.settings import Chosen, Section

SMALLEST = {"name": "convnet", "width": 4, "depth": 2}
VARIED = (("compare", "methods"), ("study", "sets"), ("protocol", "students"))


def changes(job: str = DISTIL) -> ConfigDict:
    """No change yet; its sections are there to be written to."""
    named = {} if job == DISTIL else {"job": job}
    methods: dict[str, Any] = {}
    if job == DISTIL:
        methods = {name: {} for name in METHODS}
    return config_dict(named | methods | _sections(root_of(named)))


def variants(methods: dict[str, Any]) -> ConfigDict:
    """Variants by name, of values by dotted key: `{"dm": {"distribution.nets": 2}}`."""
    for name, values in methods.items():
        require_variant(f"the variant {name}", values)
    return config_dict({name: nested(values) for name, values in methods.items()})


def smoke(c: ConfigDict) -> ConfigDict:
    """The same experiment at a size that ends in seconds and shows nothing."""
    made = c.to_dict()
    for group, key in VARIED:
        for name, values in made.get(group, {}).get(key, {}).items():
            made[group][key][name] = _small(override(made, values), within=values)
    return config_dict(override(made, _small(made)))


def _small(config: dict[str, Any], within: Any = None) -> dict[str, Any]:
    """The small values of a configuration's settings, or of those that stand within."""
    smallest = {"network": dict(SMALLEST)} if distils(config) else {}
    full = fill(config | smallest)
    known = leaves(schema(full), full)
    small = {key: s.small for key, s, _ in known if s.small is not None}
    if within is None:
        return nested(small) | smallest
    return _replaced(within, small, "")


def _replaced(values: dict[str, Any], small: dict[str, Any], at: str) -> dict[str, Any]:
    made = {}
    for name, value in values.items():
        key = f"{at}{name}"
        if key == "network":
            made[name] = dict(SMALLEST)
        elif isinstance(value, dict):
            made[name] = _replaced(value, small, f"{key}.")
        else:
            made[name] = small.get(key, value)
    return made


def _sections(section: Section) -> dict[str, Any]:
    return {
        name: _sections(node) if isinstance(node, dict) else {}
        for name, node in section.items()
        if isinstance(node, dict | Chosen)
    }


def config_dict(values: dict[str, Any]) -> ConfigDict:
    """Sections within sections as `ml_collections` has them, in the order given."""
    # Not sorted: rows come in the order of variants. A rate may be written as 1.
    made = ConfigDict(type_safe=False, sort_keys=False)
    for name, value in values.items():
        made[name] = config_dict(value) if isinstance(value, dict) else value
    return made
