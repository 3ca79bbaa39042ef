"""`load`: a configuration's `data` section to a call of one source."""

import dataclasses
import difflib
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxdistill.data.class_folders import folder
from jaxdistill.data.film_phantom import phantom
from jaxdistill.data.npz_sets import medmnist, mnist
from jaxdistill.data.pool import data_root
from jaxdistill.data.registry import MEDMNIST
from jaxdistill.data.tfds_sets import tfds
from jaxdistill.errors import InputError
from jaxdistill.types import Pool

CHEST_XRAY = ("chest_xray_128.zip", "chest_xray_128", "chest_xray")
COVID_RADIOGRAPHY = (
    "COVID-19_Radiography_Dataset",
    "COVID-19_Radiography_Dataset.zip",
    "covid_radiography",
    "covid_radiography.zip",
)
Root = str | os.PathLike | None


def chest_xray(root: Root = None, size: int = 64, *, zca: bool = False) -> Pool:
    """Paediatric chest X-rays (Kermany et al. 2018), split by patient."""
    path = find_under(data_root(root), CHEST_XRAY, "chest_xray")
    return _renamed(folder(path, size, zca=zca), "chest_xray")


def covid_radiography(
    root: Root = None, size: int = 112, seed: int = 0, *, zca: bool = False
) -> Pool:
    """The COVID-19 Radiography set in its own layout, split by `seed` 70 : 15 : 15."""
    path = find_under(data_root(root), COVID_RADIOGRAPHY, "covid_radiography")
    return _renamed(folder(path, size, seed=seed, zca=zca), "covid_radiography")


def _own_folder(path: str = "", root: Root = None, **settings) -> Pool:
    return folder(_below_root(path, root, "folder"), **settings)


def _prepared_tfds(path: str = "", root: Root = None, **settings) -> Pool:
    if not path:
        raise InputError("data.path='' names no TFDS set: give its name or its folder")
    return tfds(path, root=root, **settings)


SOURCES: dict[str, tuple[Callable[..., Pool], Callable[..., Pool]]] = {
    # name: (what is called, what documents its settings)
    "phantom": (phantom, phantom),
    "mnist": (mnist, mnist),
    "chest_xray": (chest_xray, chest_xray),
    "covid_radiography": (covid_radiography, covid_radiography),
    "folder": (_own_folder, folder),
    "tfds": (_prepared_tfds, tfds),
}
POSITIONAL = {"name", "name_or_dir"}  # given by `source` and `path`
EVERYWHERE = {
    "root",
    "path",
    "zca",
}  # every config may carry them; unused ones are empty


def load(source: str, **settings: Any) -> Pool:
    """The data set that `data.name` and its other settings ask for.

    `source` is one of `SOURCES` or a MedMNIST name; folders and TFDS sets are named by
    `path`, relative to the data root or to the working directory. Raises `InputError`
    for an unknown source or setting, and whatever the source refuses.
    """
    name = source.lower()
    known = [*SOURCES, *MEDMNIST]
    if name not in known:
        raise InputError(
            f"data.name={source!r} is unknown{_meant(name, known)}: use one of "
            f"{', '.join(known)}"
        )
    call, documented = SOURCES.get(name, (medmnist, medmnist))
    accepted = (set(inspect.signature(documented).parameters) - POSITIONAL) | EVERYWHERE
    for key in settings:
        if key not in accepted:
            raise InputError(
                f"data.{key} is not a setting of data.name={source!r}"
                f"{_meant(key, accepted)}: use {', '.join(sorted(accepted))}"
            )
    if name not in ("folder", "tfds"):
        if settings.pop("path", ""):
            raise InputError(
                f"data.path is not used by data.name={source!r}: leave it empty, or "
                "set data.name to 'folder' or 'tfds'"
            )
        if name == "phantom":
            settings.pop("root", "")
    return call(name, **settings) if name in MEDMNIST else call(**settings)


def find_under(root: Path, names: tuple[str, ...], source: str) -> Path:
    """The first of several usual names that lies under the data root."""
    for name in names:
        if (root / name).exists():
            return root / name
    raise InputError(
        f"data.name={source!r} needs {names[0]} in {root}: put it there, or name its "
        "folder with JAXDISTILL_DATA or data.root"
    )


def _below_root(path: str, root: Root, source: str) -> Path:
    if not path:
        raise InputError(
            f"data.path='' names no {source}: give the folder or zip that holds one "
            "folder per class"
        )
    given = Path(path).expanduser()
    return given if given.exists() else data_root(root) / given


def _meant(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _renamed(pool: Pool, name: str) -> Pool:
    return dataclasses.replace(pool, name=name)
