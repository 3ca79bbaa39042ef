"""The voxels of a file, bounded by what its header says before any is read."""

import contextlib
import gzip
import math
import os
import re
import struct
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxdistill.errors import InputError
from jaxdistill.foreign.arrays import is_finite
from jaxdistill.foreign.files import expanded, short

INSTALL = 'pip install "jaxdistill[medical]"'
SUFFIXES = (".nii", ".nii.gz", ".mgh", ".mgz", ".mnc")
PLAIN = {".nii.gz": ".nii", ".mgz": ".mgh"}  # what is packed, and what is not
GZIP = b"\x1f\x8b"
MOST_VOXELS = 2**28  # 512 x 512 x 1024
MOST_BYTES = 2**30
MOST_HEADER = 2**24
PART = 2**24  # voxels that are read in one go
# How many bytes one byte of a file may stand for; deflate packs 1032 into one.
PACKED = {".nii": 1, ".mgh": 1, ".gz": 1032, ".mgz": 1032}


def by(shape: tuple[int, ...]) -> str:
    """A shape as messages tell it."""
    return " x ".join(map(str, shape))


@contextlib.contextmanager
def on_disk(source: str | os.PathLike | bytes, name: str) -> Iterator[Path]:
    """A path whose suffix is true, made for bytes and for files that are misnamed.

    nibabel tells kinds of files by their suffixes, and people rename what is packed.
    """
    if not isinstance(source, bytes):
        path = expanded(source)
        if not path.is_file() or _suffix(path.name, _start(path)) == _end(path.name):
            yield path
            return
        source = path.read_bytes()
    with tempfile.TemporaryDirectory(prefix="jaxdistill-") as folder:
        path = Path(folder) / f"volume{_suffix(name, source)}"
        path.write_bytes(source)
        yield path


def _start(path: Path) -> bytes:
    """The first bytes of a file, none of one that cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(GZIP))
    except OSError:
        return b""


def _end(name: str) -> str:
    lower = name.lower()
    return ".nii.gz" if lower.endswith(".nii.gz") else Path(lower).suffix


def _suffix(name: str, start: bytes) -> str:
    """The suffix of a name, of what is packed where its first bytes say so."""
    end, packed = _end(name), start.startswith(GZIP)
    if not start or end not in PLAIN.keys() | PLAIN.values():
        return end
    return next(p if packed else q for p, q in PLAIN.items() if end in (p, q))


def open_volume(path: Path, name: str) -> Any:
    try:
        import nibabel
    except ImportError as error:
        raise InputError(
            f"{name} is a volume; reading it needs nibabel: {INSTALL}"
        ) from error
    try:
        if path.stat().st_size == 0:
            raise InputError(
                f"{name} is empty (0 bytes); a volume must hold voxels: copy it again "
                "or remove it"
            )
        _check_offset(path, name)
        # Not mapped: a file that is truncated later would end the process.
        return nibabel.load(path, mmap=False)
    except InputError:
        raise
    except ModuleNotFoundError as error:
        raise InputError(
            f"{name} is of a format that needs {error.name}: pip install {error.name}, "
            "or convert it to .nii.gz"
        ) from error
    except Exception as error:  # nibabel raises many kinds on damaged headers
        raise _unreadable(path, name, error) from error


def _check_offset(path: Path, name: str) -> None:
    """`InputError` for a NIfTI header so long that nibabel would fill the memory."""
    lower = path.name.lower()
    if not lower.endswith((".nii", ".nii.gz")):
        return
    try:
        with (gzip.open if lower.endswith(".gz") else open)(path, "rb") as file:
            head = file.read(540)
    except (OSError, EOFError, zlib.error):
        return  # nibabel tells what is wrong with it
    for order in "<>":
        for size, at, form in ((348, 108, "f"), (540, 168, "q")):
            if len(head) >= size and struct.unpack(f"{order}i", head[:4])[0] == size:
                start = struct.unpack_from(f"{order}{form}", head, at)[0]
                if not start <= MOST_HEADER:
                    raise _damaged(name, f"its voxels would begin at byte {start:g}")


def _unreadable(path: Path, name: str, error: Exception) -> InputError:
    if isinstance(error, OSError) and error.strerror:
        return InputError(
            f"{name} cannot be read ({error.strerror}): check the path and its "
            "permissions"
        )
    if not path.name.lower().endswith(SUFFIXES):
        return InputError(
            f"{name} is not a volume of a known format; {', '.join(SUFFIXES)} are "
            "read: convert or remove it"
        )
    return _damaged(name, error)


def _damaged(name: str, error: Exception | str) -> InputError:
    told = error if isinstance(error, Exception) else ValueError(error)
    reason = re.sub(r'"?/\S*jaxdistill-\S+', "it", short(told, 120))
    return InputError(
        f"{name} is truncated or damaged ({reason}); the whole volume must be there: "
        "copy it again or remove it"
    )


def check_header(image: Any, path: Path, name: str) -> None:
    """Refuse what the header says before a voxel is read."""
    shape, kind = tuple(map(int, image.shape)), image.get_data_dtype()
    if 0 in shape or not shape:
        raise InputError(
            f"{name} has shape {by(shape)} and so no voxel; a volume must hold "
            "slices: export it again or remove it"
        )
    if any(n > 1 for n in shape[3:]):
        raise InputError(
            f"{name} has {len(shape)} dimensions ({by(shape)}); a case is one volume "
            "of three: split times or channels into files of their own"
        )
    if kind.kind not in "iuf":
        what = "in colour" if kind.kind == "V" else f"of {kind}"
        raise InputError(
            f"{name} is {what}; volumes are grey, a real number each voxel: convert it"
        )
    voxels = int(np.prod(shape, dtype=object))
    most = path.stat().st_size * PACKED.get(path.suffix.lower(), 10**6)
    too_many = voxels > MOST_VOXELS or voxels * kind.itemsize > MOST_BYTES
    if min(shape) < 0 or too_many:
        raise InputError(
            f"{name} declares {by(shape)} voxels of {kind.itemsize} bytes; at most "
            f"{MOST_VOXELS:,} in {MOST_BYTES:,} bytes are read, as a guard against "
            "damaged headers: cut or remove it"
        )
    if voxels * kind.itemsize > most:
        raise _damaged(name, f"its {by(shape)} voxels cannot be in it")


def values_of(image: Any, name: str) -> np.ndarray:
    """The voxels, part by part: scaled ones come in double precision."""
    shape, proxy = tuple(map(int, image.shape)), image.dataobj
    planes = max(1, PART // max(1, math.prod(shape[:2])))
    try:
        if len(shape) < 3 or planes >= shape[2]:
            made = _part(proxy[...], name)
        else:
            first = _part(proxy[:, :, :planes], name)
            made = np.empty(shape, first.dtype)
            made[:, :, :planes] = first
            for at in range(planes, shape[2], planes):
                made[:, :, at : at + planes] = _part(
                    proxy[:, :, at : at + planes], name
                )
    except InputError:
        raise
    except Exception as error:  # see `open_volume`
        raise _damaged(name, error) from error
    return made


def _part(values: Any, name: str) -> np.ndarray:
    with np.errstate(all="ignore"):
        values = np.asanyarray(values)
        if values.dtype.kind == "f":
            values = values.astype(np.float32)
    if not is_finite(values):
        raise InputError(
            f"{name} holds NaN or infinite voxels; every voxel must be a number: "
            "repair or remove the file"
        )
    return values.astype(values.dtype.newbyteorder("="), copy=False)
