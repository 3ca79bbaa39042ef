"""A run's files and its data stay apart: pictures of a run are nobody's films."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxdistill.data import data_root
from jaxdistill.errors import InputError
from jaxdistill.run.places import absolute


def require_outside(config: Mapping[str, Any], workdir: Path) -> None:
    """`InputError` for a work folder within the folder of its own data."""
    named = str(config["data"].get("path") or "")
    if not named:
        return
    given = absolute(named, "data.path")
    if not given.exists():
        given = data_root(config["data"].get("root")) / named
    films = given.resolve()
    if films.is_dir() and workdir.resolve().is_relative_to(films):
        raise InputError(
            f"--workdir={workdir} lies within data.path={named}, so that its pictures "
            "would count as data: choose a folder outside of the data"
        )
