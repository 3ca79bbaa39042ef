"""A run's files and its data stay apart: pictures of a run are nobody's films."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxdistill.data.pool import located
from jaxdistill.errors import InputError


def require_outside(config: Mapping[str, Any], workdir: Path) -> None:
    """`InputError` for a work folder within a folder of its own data."""
    if workdir == Path():  # nothing is written
        return
    root = config["data"].get("root") or ""
    for section, key in (("data", "path"), ("films", "unlabelled")):
        named = str(config.get(section, {}).get(key) or "")
        films = located(named, root) if named else Path()
        inside = named and os.path.isdir(films)
        if inside and workdir.resolve().is_relative_to(films.resolve()):
            raise InputError(
                f"--workdir={workdir} lies within {section}.{key}={named}, so that its "
                "pictures would count as data: choose a folder outside of the data"
            )
