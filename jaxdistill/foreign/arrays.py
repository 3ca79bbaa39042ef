"""Arrays of an npz: the headers first, then only what was asked for and is as asked.

An npz is a zip of .npy files, whose headers tell type and shape. Objects are never
read, as that runs code. Of what is read, at most `most` bytes are.
"""

import math
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxdistill.errors import Damaged, InputError
from jaxdistill.foreign.archives import Archive, open_archive
from jaxdistill.foreign.files import short
from jaxdistill.foreign.names import listed, shown

MOST = 1 << 29  # bytes of all arrays that are read
MOST_ARRAYS = 10_000
MOST_LETTERS = 1000  # of one text
NUMBERS, TEXT = "buif", "U"
PART = 1 << 22  # values that are looked at in one go
KINDS = {"b": "true or false", "u": "whole", "i": "whole", "f": "real", "U": "text"}
REMEDY = "use the file as it was written"


class Field(NamedTuple):
    """What an array of a file must be.

    `shape` names axes: a word stands for one length in all fields of a file, a number
    for itself, "..." for any axes; "?" after a word lets it be empty. `kinds` are
    letters of NumPy's kinds of types.
    """

    shape: str = "..."
    kinds: str = "f"
    needed: bool = True
    finite: bool = True


class Header(NamedTuple):
    """Type and shape that a file says an array has."""

    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """What it takes in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.dtype} of shape {self.shape}"


def headers(path: str | os.PathLike) -> dict[str, Header]:
    """Type and shape of every array of an npz; nothing else is read.

    Raises `InputError` for what is no npz, and for arrays of objects or records.
    """
    archive = open_archive(path, "an npz file")
    try:
        return _headers(archive)
    finally:
        archive.close()


def read_npz(
    path: str | os.PathLike,
    fields: Mapping[str, Field] | None = None,
    most: int = MOST,
    remedy: str = REMEDY,
) -> dict[str, np.ndarray]:
    """The arrays of an npz that are fields, checked; without fields, all as they are.

    Raises `InputError` as `headers` does, for a field that is missing, of another kind
    or shape, or not finite, for more than `most` bytes, and for damage.
    """
    archive = open_archive(path, "an npz file")
    try:
        said = _headers(archive)
        wanted = (
            list(said) if fields is None else _wanted(archive, said, fields, remedy)
        )
        size = sum(said[name].bytes for name in wanted)
        if size > most:
            raise InputError(
                f"{archive.said} holds arrays of {size:,} bytes; at most {most:,} are "
                f"read of such a file: {remedy}"
            )
        arrays = {name: _read(archive, name, said[name]) for name in wanted}
    finally:
        archive.close()
    for name in wanted if fields else ():
        if fields and fields[name].finite:
            require_finite(archive.said, name, arrays[name], remedy)
    return arrays


def require_finite(said: str, name: str, values: np.ndarray, remedy: str) -> None:
    """`InputError` for values that are not numbers of single precision."""
    if not is_finite(values, np.float32):
        raise InputError(
            f"{name} in {said} holds NaN or infinite values; all must be numbers of "
            f"single precision: {remedy}"
        )


def is_finite(values: np.ndarray, dtype: Any = None) -> bool:
    """Whether no value is NaN or infinite, or would be in another type.

    In parts, so that it takes no memory.
    """
    if values.dtype.kind in "biuSU":
        return True
    flat = values.reshape(-1)
    with np.errstate(over="ignore"):
        return all(
            np.isfinite(
                flat[at : at + PART].astype(dtype or flat.dtype, copy=False)
            ).all()
            for at in range(0, len(flat), PART)
        )


def fit(
    said: str,
    found: Mapping[str, Header],
    fields: Mapping[str, Field],
    remedy: str = REMEDY,
) -> None:
    """`InputError` unless every header is as its field wants, all axes together."""
    lengths: dict[str, tuple[int, str]] = {}
    for name, field in fields.items():
        if name not in found:
            continue
        header = found[name]
        wrong = header.dtype.kind not in field.kinds or _unlike(
            name, header.shape, field.shape.split(), lengths
        )
        if wrong:
            kinds = " or ".join(dict.fromkeys(KINDS[kind] for kind in field.kinds))
            rule = wrong if isinstance(wrong, str) else f"they must be {kinds}"
            raise InputError(f"{name} in {said} are {header}; {rule}: {remedy}")


def _unlike(
    name: str,
    shape: tuple[int, ...],
    axes: list[str],
    lengths: dict[str, tuple[int, str]],
) -> str:
    """What is wrong with a shape, if anything is."""
    if axes == ["..."]:
        return ""
    if len(shape) != len(axes):
        return f"their shape must be ({', '.join(axes)})"
    for axis, length in zip(axes, shape, strict=True):
        known, by = (
            (int(axis), "")
            if axis.isdigit()
            else lengths.setdefault(axis, (length, name))
        )
        if known != length:
            as_of = f" as of {by}" if by else ""
            return f"the axis {axis} must have the length {known}{as_of}"
        if length == 0 and not axis.endswith("?"):
            return f"the axis {axis} must not be empty"
    return ""


def _wanted(
    archive: Archive,
    said: Mapping[str, Header],
    fields: Mapping[str, Field],
    remedy: str,
) -> list[str]:
    for name, field in fields.items():
        if field.needed and name not in said:
            raise InputError(
                f"{archive.said} has no array {name!r} (it has {listed(said)}): "
                f"{remedy}"
            )
    fit(archive.said, said, fields, remedy)
    return [name for name in fields if name in said]


def _headers(archive: Archive) -> dict[str, Header]:
    if len(archive.members) > MOST_ARRAYS:
        raise InputError(
            f"{archive.said} has {len(archive.members):,} arrays; at most "
            f"{MOST_ARRAYS:,} are read: {REMEDY}"
        )
    names = [name for name in archive.members if name.endswith(".npy")]
    if not names:
        raise Damaged(
            f"{archive.said} is truncated or damaged, or not an npz file (it holds no "
            "array)",
            REMEDY,
        )
    return {name.removesuffix(".npy"): _header(archive, name) for name in names}


def _header(archive: Archive, member: str) -> Header:
    form, said = np.lib.format, f"{shown(member)} in {archive.said}"
    try:
        with archive.opened.open(archive.members[member]) as file:
            version = form.read_magic(file)
            read = {
                (1, 0): form.read_array_header_1_0,
                (2, 0): form.read_array_header_2_0,
            }[version]
            shape, _, dtype = read(file)
    except Exception as error:  # the header is a Python literal, wrong in any way
        if "allow_pickle" in str(error):
            raise InputError(_pickled(archive.said)) from error
        raise Damaged(
            f"{archive.said} is truncated or damaged ({short(error)})",
            "fetch or make it again",
        ) from error
    if dtype.hasobject:
        raise InputError(_pickled(archive.said))
    letters = 4 * MOST_LETTERS if dtype.kind in "US" else 16
    sized = 0 < dtype.itemsize <= letters
    if dtype.kind not in NUMBERS + "cSU" or not sized or dtype.subdtype:
        raise InputError(
            f"{said} is of {dtype}; only numbers and text are read: {REMEDY}"
        )
    header = Header(dtype, tuple(map(int, shape)))
    if min(header.shape, default=0) < 0 or not _holds(archive, member, header):
        raise Damaged(
            f"{archive.said} is truncated or damaged ({shown(member)} says to be "
            f"{header}, which its bytes are not)",
            "fetch or make it again",
        )
    return header


def _holds(archive: Archive, member: str, header: Header) -> bool:
    """Whether a member has the bytes of which its header tells."""
    return header.bytes <= archive.members[member].file_size


def _read(archive: Archive, name: str, header: Header) -> np.ndarray:
    try:
        with archive.opened.open(archive.members[f"{name}.npy"]) as file:
            values = np.lib.format.read_array(file, allow_pickle=False)
            file.read()  # to its end, where the checksum is
    except Exception as error:  # of unpacking and of NumPy, of many kinds
        raise Damaged(
            f"{archive.said} is truncated or damaged ({short(error)})",
            "fetch or make it again",
        ) from error
    del header
    native: Any = values.dtype.newbyteorder("=")
    return values.astype(native, copy=False)


def _pickled(said: str) -> str:
    return (
        f"{said} holds pickled objects, which could run any code when read; only plain "
        "arrays are accepted: save it again with plain numeric or text arrays"
    )
