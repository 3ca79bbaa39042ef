"""Volumes that nibabel reads, turned so that their slices come first.

    orientation   turned by whole axes to anatomical directions: slices run to the
                  patient's right, front or head; pictures lie as a radiologist hangs
                  them, the front or head above and the patient's right on the left
    slices        along the only axis of one voxel; else along the largest spacing; of
                  spacings equal within a hundredth, the first of head, front, right
    spacing       lengths of the affine's columns, in mm

Nothing is resampled, so that a mask finds its way back, see `written_masks`.
"""

import os
from typing import Annotated, Any, NamedTuple

import numpy as np
from jaxtyping import Float, Num

from jaxdistill.data.volume_files import (
    SUFFIXES,
    check_header,
    on_disk,
    open_volume,
    values_of,
)
from jaxdistill.errors import InputError
from jaxdistill.ranges import OneOf

MILLIMETRES = {"meter": 1000.0, "micron": 0.001}
# Where slices, rows and columns run, in the letters of nibabel's axis codes.
PLANES = {"axial": "SPL", "coronal": "AIL", "sagittal": "RIP"}

Axis = Annotated[
    str, OneOf(("auto", *PLANES)), "plane of the slices; auto: across the widest gaps"
]


class Origin(NamedTuple):
    """Where a case came from: what a mask needs to be written as its image was."""

    file: str
    shape: tuple[int, ...]  # of the file
    codes: str = ""  # a value of PLANES; empty for pictures
    affine: Any = None
    header: Any = None
    values: tuple[int, ...] = ()  # that classes have in the file, where not 0, 1, 2 ...


class Volume(NamedTuple):
    """Voxels of one file, their spacing in mm, and where they lie."""

    voxels: Num[np.ndarray, "d h w"]
    spacing: tuple[float, float, float]
    affine: Float[np.ndarray, "4 4"]  # of `voxels`, to mm of the scanner
    origin: Origin


def is_volume(name: str | os.PathLike) -> bool:
    """Whether a file's suffix is that of a volume."""
    return os.fspath(name).lower().endswith(SUFFIXES)


def read_volume(
    source: str | os.PathLike | bytes,
    name: str = "",
    *,
    axis: Axis = "auto",
    placed: Any = None,
    labels: bool = False,
) -> Volume:
    """Voxels of one volume as stored (scaled by its header), given by path or bytes.

    `placed` is an affine to be trusted instead of the file's own; `labels` says that
    they are numbers of classes, from which scaling may have taken them away. Raises
    `InputError` naming the file when it is empty, truncated, no volume, of four
    dimensions, in colour, holds NaN or no slice, or lies nowhere.
    """
    name = name or (
        f"{len(source)} bytes" if isinstance(source, bytes) else f"{source}"
    )
    with on_disk(source, name) as path:
        image = open_volume(path, name)
        check_header(image, path, name)
        voxels = values_of(image, name)
    voxels = _unscaled(voxels, image) if labels else voxels
    affine = np.array(image.affine if placed is None else placed, np.float64)
    _check_affine(affine, name)
    affine[:3] *= MILLIMETRES.get(_unit(image), 1.0) if placed is None else 1.0
    voxels = voxels.reshape((*voxels.shape, 1, 1, 1)[:3])
    codes = PLANES[_plane(affine, voxels.shape) if axis == "auto" else axis]
    turn = turn_of(affine, codes)
    from nibabel.orientations import apply_orientation, inv_ornt_aff

    turned = affine @ inv_ornt_aff(turn, voxels.shape)
    rows, columns, slices = (
        float(n) for n in np.linalg.norm(turned[:3, [1, 2, 0]], axis=0)
    )
    return Volume(
        np.ascontiguousarray(apply_orientation(voxels, turn)),
        (slices, rows, columns),
        turned,
        Origin(name, tuple(image.shape), codes, np.array(image.affine), image.header),
    )


def _unscaled(values: np.ndarray, image: Any) -> np.ndarray:
    """Whole numbers where the steps of a file's scale went past them."""
    step = abs(float(getattr(image.dataobj, "slope", 0.0) or 0.0))
    near = np.rint(values)
    # Half a step is what rounding to it can do; single precision adds a little.
    close = np.abs(values - near) <= 0.51 * step
    return near if 0 < step < 1 and close.all() else values


def start_of(affine: np.ndarray) -> np.ndarray:
    """Where a file's axes run, as nibabel's orientation."""
    from nibabel.orientations import io_orientation

    return io_orientation(affine)


def turn_of(affine: np.ndarray, codes: str) -> np.ndarray:
    """What turns a file's axes to those that `codes` name."""
    from nibabel.orientations import axcodes2ornt, ornt_transform

    return ornt_transform(start_of(affine), axcodes2ornt(codes))


def _check_affine(affine: np.ndarray, name: str) -> None:
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    finite = affine.shape == (4, 4) and np.isfinite(affine).all() and sides.all()
    if not finite or abs(np.linalg.det(affine[:3, :3] / sides)) < 1e-3:
        raise InputError(
            f"{name} has an affine that cannot be inverted, so its voxels lie nowhere "
            "in space: correct the header (sform, qform or pixdim)"
        )


def _unit(image: Any) -> str:
    try:
        return image.header.get_xyzt_units()[0]
    except (AttributeError, KeyError):
        return "mm"


def _plane(affine: np.ndarray, shape: tuple[int, ...]) -> str:
    towards = start_of(affine)[:, 0].astype(int)  # the file's axes: right, front, head
    sizes, counts = np.empty(3), np.empty(3, int)
    sizes[towards], counts[towards] = np.linalg.norm(affine[:3, :3], axis=0), shape
    names = ("sagittal", "coronal", "axial")
    if (counts == 1).sum() == 1:
        return names[int(np.argmin(counts))]
    return names[int(np.flatnonzero(sizes > 0.99 * sizes.max())[-1])]
