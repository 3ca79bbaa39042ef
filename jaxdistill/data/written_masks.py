"""Masks written as the files of their cases were: orientation, shape, space, values."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from jaxdistill.data.pixels import resize_masks
from jaxdistill.data.volume_files import SUFFIXES
from jaxdistill.data.volumes import Origin, start_of, turn_of
from jaxdistill.errors import InputError
from jaxdistill.foreign.files import expanded

OURS = "jaxdistill"  # what written files say of who made them
WRITTEN = tuple(suffix for suffix in SUFFIXES if suffix != ".mnc")


def write_mask(
    path: str | os.PathLike, mask: UInt8[np.ndarray, "d h w"], origin: Origin
) -> None:
    """Write a mask of a case's shape in the orientation, shape and space of its file.

    Volumes as .nii, .nii.gz, .mgh or .mgz with the image's affine and header, pictures
    as .png. A mask of shrunk slices is brought to the file's size by nearest neighbour.
    Raises `InputError` for another format or number of slices.
    """
    path = expanded(path)
    table = np.arange(256)
    table[: len(origin.values)] = origin.values
    try:
        if not origin.codes:
            _write_picture(path, mask, table, origin)
        elif path.name.lower().endswith(WRITTEN):
            _write_volume(path, mask, table, origin)
        else:
            raise InputError(
                f"{path} is no name for a volume: let it end in {', '.join(WRITTEN)}"
            )
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}): check the folder "
            "and its permissions"
        ) from error


def is_ours(path: Path) -> bool:
    """Whether a mask was written by `write_mask`, as a NIfTI or a PNG file tells."""
    try:
        if path.suffix.lower() == ".png":
            with Image.open(path, formats=("PNG",)) as picture:
                return getattr(picture, "text", {}).get("Software") == OURS
        import nibabel

        header: Any = nibabel.load(path).header
        return bytes(header["descrip"].tobytes()).rstrip(b"\0") == OURS.encode()
    except Exception:  # a file of whatever kind: not one of ours
        return False


def _write_picture(path: Path, mask: Any, table: np.ndarray, origin: Origin) -> None:
    height, width = origin.shape
    if path.suffix.lower() != ".png" or len(mask) != 1:
        raise InputError(
            f"{path} with {len(mask)} slices cannot hold the mask of the picture "
            f"{origin.file}: write one slice, to a .png"
        )
    stored = table[resize_masks(mask, height, width)[0]]
    wide = stored.max(initial=0) > 255
    told = PngInfo()
    told.add_text("Software", OURS)
    picture = Image.fromarray(stored.astype(np.uint16 if wide else np.uint8))
    picture.save(path, pnginfo=told)


def _write_volume(path: Path, mask: Any, table: np.ndarray, origin: Origin) -> None:
    import nibabel
    from nibabel import orientations as turns

    turn = turn_of(origin.affine, origin.codes)
    there = (*origin.shape, 1, 1, 1)[:3]
    slices, height, width = np.array(there)[np.argsort(turn[:, 0])]
    if len(mask) != slices:
        raise InputError(
            f"the mask for {path} has {len(mask)} slices, but {origin.file} has "
            f"{slices}: give one mask a slice"
        )
    stored = table[resize_masks(mask, int(height), int(width))]
    stored = stored.astype(np.uint8 if stored.max(initial=0) < 256 else np.int32)
    back = turns.ornt_transform(
        turns.axcodes2ornt(origin.codes), start_of(origin.affine)
    )
    stored = turns.apply_orientation(stored, back).reshape(origin.shape)
    kind: Any = nibabel.Nifti1Image
    if path.suffix.lower() in (".mgh", ".mgz"):
        kind = nibabel.MGHImage
    elif isinstance(origin.header, nibabel.Nifti2Header):
        kind = nibabel.Nifti2Image
    image = kind(stored, origin.affine, _header(kind, origin.header, stored.dtype))
    if kind is not nibabel.MGHImage:
        image.header["descrip"] = OURS.encode()
    nibabel.save(image, path)


def _header(kind: Any, header: Any, dtype: np.dtype) -> Any:
    """The image's header, of the mask's type, without what can tell of the patient:
    extensions and free text.
    """
    import nibabel

    if not isinstance(header, nibabel.Nifti1Header):
        header = header if isinstance(header, kind.header_class) else None
    if header is None:
        return None
    made = kind.header_class.from_header(header)
    made.set_data_dtype(dtype)
    if isinstance(made, nibabel.Nifti1Header):
        del made.extensions[:]
        for text in ("descrip", "aux_file", "intent_name"):
            made[text] = b""
        if "db_name" in made:  # of NIfTI-1 alone
            made["db_name"] = b""
        made["cal_min"] = made["cal_max"] = 0
        made.set_slope_inter(1, 0)
    return made
