"""Files to a `Case`: a volume or picture, its mask, and the field that it shows."""

import os
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Annotated, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxdistill.data.images import SUFFIXES as PICTURES
from jaxdistill.data.images import read_image, read_labels
from jaxdistill.data.labels import NEAR, Labels, positive
from jaxdistill.data.pixels import resize_images, resize_masks, with_channels
from jaxdistill.data.tree import Tree
from jaxdistill.data.volume_files import SUFFIXES as VOLUMES
from jaxdistill.data.volume_files import by
from jaxdistill.data.volumes import PLANES, Origin, Volume, is_volume, read_volume
from jaxdistill.errors import InputError
from jaxdistill.foreign.files import expanded, read_bytes
from jaxdistill.ranges import OneOf, Range
from jaxdistill.settings import Small
from jaxdistill.types import IGNORED, Case

QUANTILES = (0.01, 0.99)
MISPLACED = 0.25  # of a voxel: what rounding in headers can do is far less

Normalise = Annotated[
    str,
    OneOf(("zscore", "percentile")),
    "of a volume: mean 0 and deviation 1, or 0 to 1 between its quantiles .01 and .99",
]
Geometry = Annotated[
    str,
    OneOf(("affine", "shape")),
    "what a mask shares with its image; shape trusts the image's affine alone",
]
CaseSize = Annotated[
    int, Range(0, 4096), "most pixels a side of slices; 0: as they are", Small(64)
]


class Files(NamedTuple):
    """What belongs to one case: paths below the top of a tree."""

    name: str
    site: str
    images: tuple[PurePosixPath, ...]  # a channel each
    mask: PurePosixPath | None
    view: PurePosixPath | None = None  # what lies outside of it is `IGNORED`


class Reading(NamedTuple):
    """How files become cases; `alter(voxels, name, site)` comes before all else."""

    axis: str = "auto"
    normalise: str = "zscore"
    geometry: str = "affine"
    channels: int = 1  # of pictures
    size: int = 0
    alter: Callable[[np.ndarray, str, str], np.ndarray] | None = None


READING = Reading()
UNKNOWN = positive("background", "foreground")


def read_case(tree: Tree, files: Files, labels: Labels, reading: Reading) -> Case:
    """One case; without a mask, nobody knows and all of it is `IGNORED`.

    Raises `InputError` naming the file for one that cannot be read, a mask of another
    shape or place than its image, with unknown labels, or without any foreground.
    """
    read = _read_volumes if is_volume(files.images[0].name) else _read_picture
    voxels, values, placed = read(tree, files, reading)
    mask = np.full(voxels.shape[:3], IGNORED, np.uint8)
    if files.mask is not None:
        mask = labels.classes(values, tree.name(files.mask)).astype(np.uint8)
        _check_filled(mask, tree.name(files.mask))
        if files.view is not None:
            seen = _view(tree, files, placed, reading.geometry)
            mask = np.where(seen, mask, IGNORED).astype(np.uint8)
            _check_filled(
                mask, f"{tree.name(files.mask)} within {tree.name(files.view)}"
            )
    if reading.alter is not None:
        voxels = reading.alter(voxels, files.name, files.site)
    case = Case(
        files.name,
        files.site,
        normalised(voxels, reading.normalise),
        mask,
        placed.spacing,
        placed.origin._replace(values=labels.values),
    )
    return shrink(case, reading.size)


def open_case(
    path: str | os.PathLike, *others: str | os.PathLike, reading: Reading = READING
) -> Case:
    """A volume or picture by itself, to predict: nobody knows its mask.

    `others` are its further channels, files of the same folder. `reading` must be what
    the network was trained with. Raises `InputError` as `read_case` does.
    """
    folder = expanded(path).parent
    for one in map(expanded, others):
        if one.parent != folder:
            raise InputError(
                f"{one} is not in the folder of {expanded(path)}; the channels of a "
                "case lie in one folder: move it there"
            )

    def read(file: PurePosixPath) -> bytes:
        return read_bytes(folder / file)

    tree = Tree(folder, (), (), frozenset(), read)
    images = tuple(PurePosixPath(expanded(one).name) for one in (path, *others))
    return read_case(tree, Files(stem(images[0]), "", images, None), UNKNOWN, reading)


def stem(file: PurePosixPath) -> str:
    """The name of a file without the suffix of a volume or a picture."""
    lower = file.name.lower()
    known = sorted((*VOLUMES, *PICTURES), key=len, reverse=True)
    suffix = next((end for end in known if lower.endswith(end)), "")
    return file.name[: len(file.name) - len(suffix)]


def normalised(
    voxels: Float[np.ndarray, "d h w c"], how: str = "zscore"
) -> Float[np.ndarray, "d h w c"]:
    """Each channel over all voxels: `(v - mean) / std`, or its quantiles to 0 and 1.

    "percentile" is `clip((v - q) / (p - q), 0, 1)` with q, p the quantiles .01 and .99.
    """
    values = voxels.astype(np.float64)
    over = (0, 1, 2)
    if how == "percentile":
        low, high = np.quantile(values, QUANTILES, axis=over)
        made = np.clip((values - low) / np.maximum(high - low, 1e-12), 0, 1)
    else:
        made = values - values.mean(over)
        made /= np.maximum(made.std(over), 1e-12)
    return made.astype(np.float32)


def shrink(case: Case, size: int) -> Case:
    """The case with slices of at most `size` pixels a side; 0 leaves it as it is."""
    height, width = case.mask.shape[1:]
    scale = size / max(height, width)
    if not size or scale >= 1:
        return case
    new = [max(1, round(n * scale)) for n in (height, width)]
    slices, rows, columns = case.spacing
    return Case(
        case.name,
        case.site,
        resize_images(case.image, *new),
        resize_masks(case.mask, *new),
        (slices, rows * height / new[0], columns * width / new[1]),
        case.origin,
    )


def numbers_in(tree: Tree, listed: Sequence[Files]) -> list[set[int]]:
    """The whole numbers of each mask; what else is wrong with it, its case tells."""
    found = []
    for file in (files.mask for files in listed if files.mask is not None):
        try:
            data, name = tree.read(file), tree.name(file)
            values = (  # wherever they lie
                read_volume(data, name, placed=np.eye(4), labels=True).voxels
                if is_volume(file)
                else read_labels(data, name)
            )
        except InputError:
            continue
        near = (float(value) for value in np.unique(values))
        found.append({round(x) for x in near if abs(x - round(x)) <= NEAR})
    return found


def _read_volumes(tree: Tree, files: Files, reading: Reading) -> tuple:
    """Channels side by side, the mask's values, and where they lie."""
    file, *more = files.images
    first = read_volume(tree.read(file), tree.name(file), axis=reading.axis)
    rest = [_beside(tree, one, first, reading.geometry) for one in more]
    voxels = np.stack([one.voxels for one in (first, *rest)], axis=-1)
    values = None
    if files.mask is not None:
        values = _beside(tree, files.mask, first, reading.geometry, labels=True).voxels
    return voxels.astype(np.float32), values, first


def _beside(
    tree: Tree,
    file: PurePosixPath,
    image: Volume,
    geometry: str,
    *,
    labels: bool = False,
) -> Volume:
    """A volume that lies where another does, in its planes."""
    plane = next(p for p, codes in PLANES.items() if codes == image.origin.codes)
    placed = image.origin.affine if geometry == "shape" else None
    name = tree.name(file)
    other = read_volume(tree.read(file), name, axis=plane, placed=placed, labels=labels)
    _check_place(image, other, name, image.origin.file, placed=placed is not None)
    return other


def _check_place(
    image: Volume, other: Volume, name: str, beside: str, *, placed: bool
) -> None:
    if image.voxels.shape != other.voxels.shape:
        raise InputError(
            f"{name} has {by(other.origin.shape)} voxels but {beside} has "
            f"{by(image.origin.shape)}; both must have one shape: export them again"
        )
    if placed:
        return
    corners = np.stack(np.meshgrid(*((0, n - 1) for n in image.voxels.shape)), -1)
    apart = corners.reshape(-1, 3) @ (image.affine - other.affine)[:3, :3].T
    apart = apart + (image.affine - other.affine)[:3, 3]
    worst = float(np.linalg.norm(apart, axis=1).max())
    if worst > MISPLACED * min(image.spacing):
        raise InputError(
            f"{name} lies {worst:.3g} mm away from {beside}; both must share one "
            "affine: correct its header, or train with data.geometry='shape', which "
            "trusts the shape"
        )


class _Picture(NamedTuple):
    spacing: tuple[float, float, float]
    origin: Origin


def _read_picture(tree: Tree, files: Files, reading: Reading) -> tuple:
    made = [
        with_channels(read_image(tree.read(file), tree.name(file)), reading.channels)
        for file in files.images
    ]
    for file, one in zip(files.images, made, strict=True):
        _check_size(one.shape[:2], made[0].shape[:2], tree, file, files.images[0])
    pixels = np.concatenate(made, axis=-1)
    values = None
    if files.mask is not None:
        values = read_labels(tree.read(files.mask), tree.name(files.mask))[None]
        _check_size(
            values.shape[1:], pixels.shape[:2], tree, files.mask, files.images[0]
        )
    origin = Origin(tree.name(files.images[0]), pixels.shape[:2])
    return pixels[None].astype(np.float32), values, _Picture((1.0, 1.0, 1.0), origin)


def _view(tree: Tree, files: Files, image: Any, geometry: str) -> np.ndarray:
    """Where the field of view is."""
    assert files.view is not None
    file, name = files.view, tree.name(files.view)
    if is_volume(file) != is_volume(files.images[0]):
        raise InputError(
            f"{name} and {tree.name(files.images[0])} are a picture and a volume: give "
            "an image and its field of view one kind"
        )
    if is_volume(file):
        shown = _beside(tree, file, image, geometry, labels=True).voxels
    else:
        shown = read_labels(tree.read(file), name)[None]
        _check_size(shown.shape[1:], image.origin.shape, tree, file, files.images[0])
    if not shown.any():
        raise InputError(
            f"{name} is empty: a field of view shows a part of its image: complete or "
            "remove it"
        )
    return shown > shown.max() / 2


def _check_size(
    found: tuple, wanted: tuple, tree: Tree, file: PurePosixPath, beside: PurePosixPath
) -> None:
    if tuple(found) != tuple(wanted):
        raise InputError(
            f"{tree.name(file)} is {found[1]} x {found[0]} pixels but "
            f"{tree.name(beside)} is {wanted[1]} x {wanted[0]}; both must have one "
            "size: export them again"
        )


def _check_filled(mask: np.ndarray, name: str) -> None:
    if not ((mask > 0) & (mask != IGNORED)).any():
        raise InputError(
            f"{name} is empty: nothing can be learned from a case without foreground, "
            "nor scored on it: complete the mask or remove the case"
        )
