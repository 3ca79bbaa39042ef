"""The six-site prostate MRI set (Liu et al. 2020, arXiv 2007.02035) as it is published.

    SITE/CaseXX.nii.gz, SITE/CaseXX_segmentation.nii.gz

One site writes `_Segmentation`, two hold zones (1 and 2) where the others hold the
whole gland, one lacks a number: names are paired whatever their capitals, and a mask is
whatever is above zero.
"""

import os
from pathlib import PurePosixPath
from typing import Annotated

from jaxdistill.data.case_files import (
    CaseSize,
    Files,
    Geometry,
    Normalise,
    Reading,
    stem,
)
from jaxdistill.data.labels import positive
from jaxdistill.data.pool import Root, data_root, located
from jaxdistill.data.site_pool import BadCases, file_once, read_sites
from jaxdistill.data.sources import find_under
from jaxdistill.data.tree import Tree, open_tree
from jaxdistill.data.volumes import Axis, is_volume
from jaxdistill.errors import InputError, meant
from jaxdistill.settings import declared
from jaxdistill.types import SitePool

SITES = ("RUNMC", "BMC", "I2CVB", "UCL", "BIDMC", "HK")
ALIASES = {"ISBI": "RUNMC", "ISBI_1.5": "BMC", "HCRUDB": "I2CVB"}
PLACES = ("prostate", "SAML", "Processed_data_nii", "prostate.zip", "SAML.zip")
MASK = "_segmentation"
HOLDING = "a folder for each of the sites " + ", ".join(SITES)


@declared("data")
def prostate(
    path: Annotated[
        str | os.PathLike, "folder or zip of the six sites; empty: under data.root"
    ] = "",
    size: CaseSize = 0,
    *,
    root: Root = "",
    axis: Axis = "auto",
    normalise: Normalise = "zscore",
    geometry: Geometry = "affine",
    bad_cases: BadCases = "refuse",
) -> SitePool:
    """The six-site prostate set; any of the sites may be missing.

    A case is named after its site and number, such as `BMC_Case03`. Raises `InputError`
    for another layout, and for images without a mask or masks without an image.
    """
    there = located(path, root) if path else None
    found = there or find_under(data_root(root), PLACES, "prostate")
    tree = open_tree(found, HOLDING)
    reading = Reading(axis, normalise, geometry, size=size)
    labels = positive("background", "prostate")
    listing = list_prostate(tree)
    return read_sites("prostate", tree, listing, labels, reading, bad_cases=bad_cases)


def list_prostate(tree: Tree) -> tuple[list[Files], list[str]]:
    """Every case, site by site, and a sentence for each file without its partner."""
    images: dict[tuple[str, str], PurePosixPath] = {}
    masks: dict[tuple[str, str], PurePosixPath] = {}
    for file in filter(is_volume, tree.files):
        site, name = _site(tree, file), stem(file)
        is_mask = name.lower().endswith(MASK)
        number = name[: -len(MASK)] if is_mask else name
        kind = masks if is_mask else images
        file_once(tree, kind, (site, number.lower()), file)
    if not images:
        raise InputError(f"{tree.path} holds no volume: name what holds {HOLDING}")
    listed = [
        Files(f"{site}_{stem(file)}", site, (file,), masks[site, number])
        for (site, number), file in images.items()
        if (site, number) in masks
    ]
    order = {site: number for number, site in enumerate(SITES)}
    listed.sort(key=lambda files: (order[files.site], files.name.lower()))
    faults = [
        f"{tree.name(file)} has no {stem(file)}{MASK} beside it: add the mask or "
        "remove the image"
        for key, file in images.items()
        if key not in masks
    ]
    faults += [
        f"{tree.name(file)} is a mask without its image {stem(file)[: -len(MASK)]}: "
        "add the image or remove the mask"
        for key, file in masks.items()
        if key not in images
    ]
    return listed, faults


def _site(tree: Tree, file: PurePosixPath) -> str:
    """The site that a file's folder names, by its name or an alias."""
    known = {name.upper(): name for name in SITES} | ALIASES
    name = file.parent.name
    if name.upper() not in known:
        raise InputError(
            f"{tree.name(file)} lies in no folder of a site{meant(name, known)}: sites "
            f"are {', '.join(known)}; for others use data.name='site_folders'"
        )
    return known[name.upper()]
