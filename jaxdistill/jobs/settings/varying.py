"""Variants of a configuration: the common one with other values for some keys."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from jaxdistill.errors import InputError
from jaxdistill.jobs.settings.resolve import override, resolve
from jaxdistill.run.workdir import flatten


def require_variant(said: str, values: Any) -> None:
    """`InputError` for a variant that is no table of keys and values."""
    if not isinstance(values, Mapping):
        raise InputError(
            f"{said} is {values!r}, which changes nothing: name keys and their values, "
            'as in {"method": "distribution"}'
        )


def require_file_name(said: str, name: Any) -> None:
    """`InputError` for a variant's name that no file can have."""
    pattern = r"[A-Za-z0-9-]+(_[A-Za-z0-9-]+)*"
    if not (isinstance(name, str) and re.fullmatch(pattern, name)):
        raise InputError(
            f"{said} names {name!r}, which must serve as a file name: use "
            "letters, digits, - and single _"
        )


def changed(
    config: Mapping[str, Any], values: Mapping[str, Any], said: str
) -> dict[str, Any]:
    """The full configuration with other values; `said` names them in a refusal."""
    try:
        made = resolve(override(config, values))
    except InputError as error:
        raise InputError(f"{said}: {error}") from error
    made["devices"]["cpu"] = 0  # whoever asks has split it
    return made


def require_row(said: str, name: str, others: Collection[str]) -> None:
    """`InputError` for a variant's name that no file can have, or that others have."""
    require_file_name(said, name)
    if name in others:
        raise InputError(
            f"{said} names {name!r}, which is another row of the table: "
            "rename the variant"
        )


def require_fair(
    said: str,
    values: Mapping[str, Any],
    shared: Collection[str],
    free: Collection[str] = (),
) -> None:
    """`InputError` for a value of a key that all variants share, and for no values."""
    require_variant(said, values)
    for key in flatten(values):
        if key not in free and any(f"{key}.".startswith(f"{one}.") for one in shared):
            raise InputError(
                f"{said}.{key} would make the comparison unfair, as "
                f"{key} is what all variants share: set it for all of them"
            )
