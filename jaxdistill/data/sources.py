"""Every source of data by its name, and `load`: a `data` section to a call of one."""

import dataclasses
from collections.abc import Callable
from functools import partial, update_wrapper
from pathlib import Path
from typing import Annotated, Any

from jaxdistill.data.class_folders import folder, patients
from jaxdistill.data.film_phantom import phantom
from jaxdistill.data.npz_sets import medmnist, mnist
from jaxdistill.data.pool import ImageSize, Root, Whiten, data_root
from jaxdistill.data.registry import MEDMNIST
from jaxdistill.data.tfds_sets import tfds
from jaxdistill.errors import InputError
from jaxdistill.ranges import Seed
from jaxdistill.settings import choose, declared
from jaxdistill.types import Pool

CHEST_XRAY = ("chest_xray_128.zip", "chest_xray_128", "chest_xray")
COVID_RADIOGRAPHY = (
    "COVID-19_Radiography_Dataset",
    "COVID-19_Radiography_Dataset.zip",
    "covid_radiography",
    "covid_radiography.zip",
)


@declared("data")
def chest_xray(root: Root = "", size: ImageSize = 64, *, zca: Whiten = False) -> Pool:
    """Paediatric chest X-rays (Kermany et al. 2018), in the splits of their folders.

    Patients are told by names as in `PATIENT__FILE`; those of other names are not.
    """
    path = find_under(data_root(root), CHEST_XRAY, "chest_xray")
    return _renamed(folder(path, size, zca=zca), "chest_xray")


@declared("data")
def covid_radiography(
    root: Root = "",
    size: ImageSize = 112,
    seed: Annotated[Seed, "of the split"] = 0,
    *,
    zca: Whiten = False,
) -> Pool:
    """The COVID-19 Radiography set in its own layout, split by `seed` 70 : 15 : 15."""
    path = find_under(data_root(root), COVID_RADIOGRAPHY, "covid_radiography")
    return _renamed(folder(path, size, seed=seed, zca=zca), "covid_radiography")


def of_medmnist(name: str) -> Callable[..., Pool]:
    """`medmnist` of one of its sets."""
    return update_wrapper(partial(medmnist, name), medmnist)


SOURCES: dict[str, Callable[..., Pool]] = {
    "phantom": phantom,
    "folder": folder,
    "chest_xray": chest_xray,
    "covid_radiography": covid_radiography,
    "mnist": mnist,
    "tfds": tfds,
    **{name: of_medmnist(name) for name in MEDMNIST},
}


def load(name: str, **settings: Any) -> Pool:
    """The data set that `data.name` and the settings of that source ask for.

    Raises `InputError` for an unknown source or setting, and whatever the source
    refuses.
    """
    return choose("data", SOURCES, name.lower(), settings)(**settings)


def known_patients(name: str, **settings: Any) -> dict[str, str]:
    """The split of every patient of a source that its files tell by a name."""
    if name == "folder":
        return patients(**settings)
    places = {"chest_xray": CHEST_XRAY, "covid_radiography": COVID_RADIOGRAPHY}
    if name not in places:
        return {}
    path = find_under(data_root(settings.get("root", "")), places[name], name)
    return patients(path, seed=settings.get("seed", 0))


def find_under(root: Path, names: tuple[str, ...], source: str) -> Path:
    """The first of several usual names that lies under the data root."""
    for name in names:
        if (root / name).exists():
            return root / name
    raise InputError(
        f"data.name={source!r} needs {names[0]} in {root}: put it there, or name its "
        "folder with JAXDISTILL_DATA or data.root"
    )


def _renamed(pool: Pool, name: str) -> Pool:
    return dataclasses.replace(pool, name=name)
