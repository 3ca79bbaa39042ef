"""A folder or zip with a folder a site, images and masks side by side in each.

    SITE/images/NAME.jpg    SITE/masks/NAME.png    SITE/fov/NAME.png, if there are any

Masks hold class numbers, of which 255 does not count; where no mask tells of more than
one class, whatever its values, the upper half of them is that class.
"""

import dataclasses
import os
from pathlib import PurePosixPath
from typing import Annotated

from jaxdistill.data.case_files import (
    CaseSize,
    Files,
    Geometry,
    Normalise,
    Reading,
    numbers_in,
    stem,
)
from jaxdistill.data.labels import Labels, are_classes, as_found, halves, numbered
from jaxdistill.data.pool import Channels, Root, data_root
from jaxdistill.data.site_pool import (
    BadCases,
    file_once,
    open_sites,
    read_sites,
)
from jaxdistill.data.sources import find_under
from jaxdistill.data.tree import Tree
from jaxdistill.data.volumes import Axis, is_volume
from jaxdistill.errors import InputError
from jaxdistill.foreign.names import look_alikes
from jaxdistill.ranges import Filled, words_of
from jaxdistill.settings import declared
from jaxdistill.types import IGNORED, SitePool

HOLDING = "a folder for each site, with images and masks in it"
KINDS = {
    **dict.fromkeys(("images", "image", "imgs"), "images"),
    **dict.fromkeys(("masks", "mask", "labels", "label"), "masks"),
    "fov": "fov",
}
ONE_OF = {"masks": "mask", "fov": "field of view"}
RETINAL_VESSELS = ("retinal_vessels_3site.zip", "retinal_vessels")
Found = dict[str, dict[str, dict[str, PurePosixPath]]]  # site, kind, name in capitals


@declared("data")
def site_folders(
    path: Annotated[str | os.PathLike, Filled(), "folder or zip of site folders"],
    size: CaseSize = 0,
    channels: Channels = 1,
    *,
    root: Root = "",
    classes: Annotated[str, "of masks, background first, with commas between"] = "",
    axis: Axis = "auto",
    normalise: Normalise = "zscore",
    geometry: Geometry = "affine",
    mirrored: Annotated[bool, "left and right may be exchanged"] = True,
    bad_cases: BadCases = "refuse",
) -> SitePool:
    """Pictures or volumes of several sites, in folders called images and masks.

    Images keep their sizes, which may differ. Without `classes`, masks say themselves
    what they hold. Raises `InputError` for another layout, images and masks of other
    names, or more values than classes.
    """
    tree = open_sites(path, root, HOLDING)
    listed, faults = list_sites(tree)
    labels = _labels(tree, listed, words_of(classes))
    reading = Reading(axis, normalise, geometry, channels, size)
    return read_sites(
        tree.title,
        tree,
        (listed, faults),
        labels,
        reading,
        bad_cases=bad_cases,
        mirrored=mirrored,
    )


@declared("data")
def retinal_vessels(
    root: Root = "",
    size: CaseSize = 0,
    channels: Channels = 3,
    *,
    normalise: Normalise = "zscore",
    bad_cases: BadCases = "refuse",
) -> SitePool:
    """Vessels of the retina in pictures of three sources: CHASE_DB1, HRF and STARE."""
    path = find_under(data_root(root), RETINAL_VESSELS, "retinal_vessels")
    pool = site_folders(
        path,
        size,
        channels,
        classes="background,vessel",
        normalise=normalise,
        bad_cases=bad_cases,
    )
    return dataclasses.replace(pool, name="retinal_vessels")


def list_sites(tree: Tree) -> tuple[list[Files], list[str]]:
    """Every case, site by site, and a sentence for each file without its partner."""
    found: Found = {}
    pictures = set(tree.images)
    for file in tree.files:
        kind = KINDS.get(file.parent.name.lower())
        read = file in pictures or is_volume(file)
        if kind and read and len(file.parts) > 2:
            here = found.setdefault(file.parts[-3], {})
            file_once(tree, here.setdefault(kind, {}), stem(file).upper(), file)
    if not found:
        raise InputError(f"{tree.path} holds no images: name what holds {HOLDING}")
    for alike in look_alikes(found):
        raise InputError(
            f"the sites {' and '.join(map(ascii, alike))} of {tree.path} look alike "
            "but are not one: merge them, or give them names that differ"
        )
    listed, faults = [], []
    for site, kinds in sorted(found.items()):
        images, masks = kinds.get("images", {}), kinds.get("masks", {})
        _check_names(tree, site, images, masks)
        beside = {kind: kinds[kind] for kind in ONE_OF if kind in kinds}
        for key, file in images.items():
            if lacking := [kind for kind, files in beside.items() if key not in files]:
                faults.append(
                    f"{tree.name(file)} has no {ONE_OF[lacking[0]]} {stem(file)} in "
                    f"{site}/{lacking[0]}: add it or remove the image"
                )
            else:
                view = kinds.get("fov", {}).get(key)
                case = _name(site, stem(file))
                listed.append(Files(case, site, (file,), masks[key], view))
        faults += [
            f"{tree.name(file)} is a {ONE_OF[kind]} without its image in "
            f"{site}/images: add the image or remove the {ONE_OF[kind]}"
            for kind, files in beside.items()
            for key, file in files.items()
            if key not in images
        ]
    return listed, faults


def _check_names(tree: Tree, site: str, images: dict, masks: dict) -> None:
    if set(images) & set(masks):
        return
    told = [
        ", ".join(file.name for file in [*files.values()][:2]) or "none"
        for files in (images, masks)
    ]
    raise InputError(
        f"the site {tree.path}/{site} has no image with a mask of its name (images: "
        f"{told[0]}; masks: {told[1]}): give an image and its mask one name, in "
        "folders called images and masks"
    )


def _name(site: str, name: str) -> str:
    """A case's name, which tells its site."""
    return name if name.upper().startswith(site.upper()) else f"{site}_{name}"


def _labels(tree: Tree, listed: list[Files], names: tuple[str, ...]) -> Labels:
    """As the classes say, or as the masks do."""
    if len(names) == 1:
        raise InputError(
            f"data.classes={names[0]!r} is one name; name the background, too: "
            f"'background,{names[0]}'"
        )
    if not names:
        return as_found(numbers_in(tree, listed), f"{tree.path}")
    if len(names) == 2 and not are_classes(found := numbers_in(tree, listed)):
        return halves(found, *names)
    return numbered(dict(enumerate(names)), IGNORED)
