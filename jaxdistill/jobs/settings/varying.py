"""Variants of a configuration: the common one with other values for some keys."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from jaxdistill.errors import InputError
from jaxdistill.jobs.settings.resolve import override, resolve
from jaxdistill.run.workdir import flatten


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
    if not re.fullmatch(r"[A-Za-z0-9-]+(_[A-Za-z0-9-]+)*", name):
        raise InputError(
            f"{said} names {name!r}, which must serve as a file name: use "
            "letters, digits, - and single _"
        )
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
    """`InputError` for a value of a key that all variants share."""
    for key in flatten(values):
        if key not in free and any(f"{key}.".startswith(f"{one}.") for one in shared):
            raise InputError(
                f"{said}.{key} would make the comparison unfair, as "
                f"{key} is what all variants share: set it for all of them"
            )
