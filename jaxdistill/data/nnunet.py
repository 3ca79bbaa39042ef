"""A set in the layout of nnU-Net or the Medical Segmentation Decathlon, read as it is.

imagesTr/CASE_0000.nii.gz   a file for each channel; without the number where one
labelsTr/CASE.nii.gz
dataset.json                names of labels, both ways about; it may be missing
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any

from jaxdistill.data.case_files import (
    CaseSize,
    Files,
    Geometry,
    Normalise,
    Reading,
    numbers_in,
    stem,
)
from jaxdistill.data.labels import Labels, as_found, numbered
from jaxdistill.data.pool import Channels, Root
from jaxdistill.data.site_pool import (
    BadCases,
    file_once,
    open_sites,
    read_sites,
    read_table,
)
from jaxdistill.data.tree import Tree
from jaxdistill.data.volumes import Axis, is_volume
from jaxdistill.errors import InputError
from jaxdistill.foreign.json_files import parse_json
from jaxdistill.foreign.names import shown
from jaxdistill.ranges import Filled
from jaxdistill.settings import declared
from jaxdistill.types import SitePool

HOLDING = "imagesTr and labelsTr"
CHANNEL = re.compile(r"(.+)_(\d{4})")
MOST_LABEL = 2**31 - 1
IGNORE = "ignore"  # nnU-Net's name for what does not count


@declared("data")
def nnunet(
    path: Annotated[str | os.PathLike, Filled(), "folder or zip with imagesTr"],
    size: CaseSize = 0,
    channels: Channels = 1,
    *,
    root: Root = "",
    sites: Annotated[str, "CSV file of case,site; empty: one site"] = "",
    axis: Axis = "auto",
    normalise: Normalise = "zscore",
    geometry: Geometry = "affine",
    mirrored: Annotated[bool, "left and right may be exchanged"] = False,
    bad_cases: BadCases = "refuse",
) -> SitePool:
    """The training cases of an nnU-Net or Decathlon set, volumes or pictures.

    A path that is not there is looked for under the data root. `channels` is of
    pictures; volumes have a channel a file. Raises `InputError` for another layout,
    files without a partner, or labels that are not whole numbers of their own.
    """
    tree = open_sites(path, root, HOLDING)
    listed, faults = list_nnunet(tree)
    if sites:
        listed = with_sites(listed, read_table(sites, "case", "site"), sites)
    labels = labels_of(tree) or as_found(numbers_in(tree, listed), f"{tree.path}")
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


def list_nnunet(tree: Tree) -> tuple[list[Files], list[str]]:
    """Every training case of one site, and a sentence for each file left alone."""
    masks: dict[str, PurePosixPath] = {}
    for file in _within(tree, "labelstr"):
        file_once(tree, masks, stem(file), file)
    images: dict[str, dict[int, PurePosixPath]] = {}  # by number of the channel
    for file in _within(tree, "imagestr"):
        name, number, named = stem(file), 0, CHANNEL.fullmatch(stem(file))
        # A case may end in four digits of its own: its label tells.
        if named and name not in masks:
            name, number = named[1], int(named[2])
        file_once(tree, images.setdefault(name, {}), number, file)
    if not images or not masks:
        raise InputError(
            f"{tree.path} holds {len(images)} images in imagesTr and {len(masks)} masks"
            f" in labelsTr: name the folder or zip that holds {HOLDING}"
        )
    sets = [tuple(sorted(files)) for files in images.values()]
    usual = Counter(sets).most_common(1)[0][0]
    site = shown(tree.path.name).split(".")[0]
    listed = [
        Files(name, site, tuple(files[number] for number in usual), masks[name])
        for name, files in sorted(images.items())
        if name in masks and tuple(sorted(files)) == usual
    ]
    faults = [
        f"{tree.name(_first(files))} is of a case with channels {_told(files)}, others "
        f"have {_told(usual)}: add the missing files or remove the case"
        for files in images.values()
        if tuple(sorted(files)) != usual
    ]
    faults += [
        f"{tree.name(_first(files))} has no mask {name} in labelsTr: add it or remove "
        "the image"
        for name, files in images.items()
        if name not in masks
    ]
    faults += [
        f"{tree.name(file)} is a mask without its image in imagesTr: add the image or "
        "remove the mask"
        for name, file in masks.items()
        if name not in images
    ]
    return listed, faults


def with_sites(listed: list[Files], table: dict[str, str], path: str) -> list[Files]:
    """The cases with the sites that a table gives them, by site."""
    for files in listed:
        if files.name not in table:
            raise InputError(
                f"data.sites={path!r} has no line for the case {files.name!r}: add "
                f"'{files.name},SITE'"
            )
    placed = [files._replace(site=table[files.name]) for files in listed]
    return sorted(placed, key=lambda files: (files.site, files.name))


def labels_of(tree: Tree) -> Labels | None:
    """What `dataset.json` says of labels, in either key style; None without the file.

    nnU-Net writes `"liver": 1`, the Decathlon `"1": "liver"`.
    """
    files = [file for file in tree.files if file.name == "dataset.json"]
    if not files:
        return None
    name = tree.name(files[0])
    try:
        given = parse_json(tree.read(files[0]), name)["labels"]
        pairs = [
            (_number(key, name), str(value))
            if str(key).isdigit()
            else (_number(value, name), str(key))
            for key, value in given.items()
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{name} does not tell of labels; it needs an entry such as "
            '"labels": {"background": 0, "prostate": 1}: add it or remove the file'
        ) from error
    ignored = next((value for value, label in pairs if label == IGNORE), None)
    names = {value: label for value, label in sorted(pairs) if label != IGNORE}
    if len(names) + (ignored is not None) < len(pairs) or 0 not in names:
        raise InputError(
            f"{name} gives two labels one number, or none the number 0, which is the "
            "background: number them 0, 1, 2 and so on"
        )
    return numbered(names, ignored)


def _first(files: Mapping[int, PurePosixPath]) -> PurePosixPath:
    return files[min(files)]


def _told(numbers: Iterable[int]) -> str:
    return ", ".join(f"{number:04}" for number in sorted(numbers))


def _within(tree: Tree, folder: str) -> list[PurePosixPath]:
    """Volumes and pictures that lie right in a folder of that name."""
    pictures = set(tree.images)
    return [
        file
        for file in tree.files
        if file.parent.name.lower() == folder and (is_volume(file) or file in pictures)
    ]


def _number(value: Any, name: str) -> int:
    if isinstance(value, list):
        raise InputError(
            f"{name} has regions, labels of several numbers such as {value}: give each "
            "pixel one label"
        )
    number = int(value)
    if not 0 <= number <= MOST_LABEL or number != float(value):
        raise ValueError(value)
    return number
