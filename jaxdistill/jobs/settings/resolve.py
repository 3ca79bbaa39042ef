"""A configuration is what it changes: from there to every setting of a run.

    changes   what a config file and flags say, nested: {"data": {"name": "folder"}}
    full      every setting of the chosen method, network and source, and no other

Sections that a name chooses hold the settings of the chosen one alone: another name
keeps what both have, drops what it has not, and takes its own usual values for the
rest.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxdistill.distillation.distillers import METHODS
from jaxdistill.errors import InputError, require_name
from jaxdistill.jobs.settings.roots import METHOD, distils, root_of
from jaxdistill.ranges import OneOf
from jaxdistill.run.files import plain
from jaxdistill.settings import Chosen, Section, Setting, require_settings, section_of

Changes = Mapping[str, Any]
Full = dict[str, Any]


def resolve(changes: Changes) -> Full:
    """Every setting, in its range; a full configuration stays what it is.

    Raises `InputError` for a key that there is not and a value that makes no sense.
    """
    full = fill(changes)
    for key, setting, value in leaves(schema(full), full):
        _put(full, key, setting.accept(key, value))
    return full


def fill(changes: Changes) -> Full:
    """Every setting, with its usual value where nothing is said; of any value.

    Raises `InputError` for a key that there is not.
    """
    if distils(changes):
        _require_method(changes)
    return _filled(schema(changes), changes, "")


def schema(changes: Changes) -> Section:
    """The settings that there are, as these changes choose among them."""
    return _expanded(root_of(changes), changes, "")


def override(changes: Changes, others: Changes) -> Full:
    """The changes, and what others change of them.

    Where these choose another method, network or source, what it has not is dropped.
    """
    made = copy.deepcopy(dict(changes))
    method = others.get("method", made.get("method", METHOD))
    for name in METHODS:
        if name != method and "method" in others:
            made.pop(name, None)
    if not distils(made):
        _drop(root_of(made), made, others)
    elif isinstance(method, str) and method in METHODS:
        _drop(root_of({"method": method}), made, others)
    return _merged(made, others)


def leaves(section: Section, full: Changes, at: str = "") -> Iterator[tuple]:
    """`(dotted key, setting, value)` of every setting of an expanded section."""
    for name, node in section.items():
        if isinstance(node, Setting):
            yield f"{at}{name}", node, full[name]
        elif isinstance(node, dict):
            yield from leaves(node, full[name], f"{at}{name}.")


def free(changes: Changes | None = None) -> tuple[str, ...]:
    """What a resumed run may change, by dotted key: none of it changes a result."""
    full = fill(changes or {})
    return tuple(key for key, setting, _ in leaves(schema(full), full) if setting.free)


def lasting(config: Changes, section: str, later: Sequence[str]) -> Full:
    """What a work folder belongs to: all but what may be added to a section later."""
    kept = {key: one for key, one in config[section].items() if key not in later}
    return {**copy.deepcopy(dict(config)), section: kept}


def usual(changes: Changes) -> Full:
    """The usual value of every setting, by dotted key, as a record tells it.

    Records that were made before a setting existed stand for these.
    """
    full = fill(changes)
    return {key: plain(one.usual) for key, one, _ in leaves(schema(full), full)}


def _require_method(changes: Changes) -> None:
    method = changes.get("method", METHOD)
    require_name("method", method, METHODS)
    for name in METHODS:
        if name != method and _says(changes.get(name, {})):
            raise InputError(
                f"{name} holds settings of method={name!r}, but method={method!r} is "
                "chosen: set method, or leave them out"
            )


def _chosen(node: Chosen, given: Any, at: str) -> str:
    name = given.get("name", node.usual) if isinstance(given, Mapping) else node.usual
    require_name(f"{at}name", name, node.makers)
    return name


def _expanded(section: Section, given: Any, at: str) -> Section:
    """The section with those that a name chooses as sections of the chosen one."""
    made: Section = {}
    for name, node in section.items():
        below = given.get(name, {}) if isinstance(given, Mapping) else {}
        here = f"{at}{name}."
        if isinstance(node, Chosen):
            chosen = _chosen(node, below, here)
            named = Setting(str, node.usual, "which one", (OneOf(node.makers),))
            node = {"name": named, **section_of(node.makers[chosen])}
        made[name] = _expanded(node, below, here) if isinstance(node, dict) else node
    return made


def _filled(section: Section, given: Changes, at: str) -> Full:
    name = given.get("name", section["name"].usual) if "name" in section else ""
    said = [key for key, value in given.items() if _says(value)]
    require_settings(at, section, said, name if isinstance(name, str) else "")
    made: Full = {}
    for name, node in section.items():
        value = given.get(name)
        if isinstance(node, Setting):
            if isinstance(value, Mapping) and node.kind is not dict:
                below = f"{at}{name}.{next(iter(value), '')}"
                raise InputError(
                    f"{at}{name} is no section, so that there is no {below}: see "
                    "--help for all that there is"
                )
            value = node.usual if name not in given else value
            made[name] = node.cast(copy.deepcopy(value))
        elif isinstance(node, dict):
            if value is not None and not isinstance(value, Mapping):
                raise InputError(
                    f"{at}{name}={value!r}, but {at}{name} is a section: set its keys "
                    f"one by one, as in --config.{at}{name}.{next(iter(node))}"
                )
            made[name] = _filled(node, value or {}, f"{at}{name}.")
    return made


def _says(value: Any) -> bool:
    """Whether a value, or anything in a section, is given."""
    return not isinstance(value, Mapping) or any(map(_says, value.values()))


def _drop(section: Section, made: Full, others: Changes) -> None:
    """Take from `made` what sections chosen anew by `others` do not have."""
    for name, node in section.items():
        mine, theirs = made.get(name), others.get(name)
        if not isinstance(mine, dict) or not isinstance(theirs, Mapping):
            continue
        chosen = theirs.get("name")
        if (
            isinstance(node, Chosen)
            and isinstance(chosen, str)
            and chosen in node.makers
        ):
            known = section_of(node.makers[chosen])
            made[name] = {k: v for k, v in mine.items() if k in known}
        elif isinstance(node, dict):
            _drop(node, mine, theirs)


def _merged(made: Full, others: Changes) -> Full:
    for name, value in others.items():
        if isinstance(value, Mapping) and isinstance(made.get(name), Mapping):
            made[name] = _merged(dict(made[name]), value)
        else:
            made[name] = copy.deepcopy(value)
    return made


def _put(full: Full, key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        full = full[section]
    full[last] = value


def nested(values: Mapping[str, Any]) -> Full:
    """Values by dotted key, as sections within sections."""
    made: Full = {}
    for key, value in values.items():
        *sections, last = key.split(".")
        part = made
        for section in sections:
            part = part.setdefault(section, {})
        part[last] = value
    return made
