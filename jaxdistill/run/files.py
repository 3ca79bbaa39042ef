"""Files that are either whole or absent."""

import contextlib
import hashlib
import json
import math
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from jaxdistill import foreign
from jaxdistill.errors import Damaged, InputError, Trouble
from jaxdistill.run.seals import sealed, unsealed
from jaxdistill.run.troubles import explain_os_errors, explain_reading

MOST_BYTES = 1 << 34  # of the arrays of one of our own files


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A file to write that takes the place of `path` if, and only if, all goes well.

    It is written beside its target, flushed to the disk, then renamed: a kill at any
    moment leaves the old file or the new one. Raises `InputError` where the disk fails.
    """
    path = Path(path)
    temp = path.with_name(f".{path.name}.{threading.get_native_id()}.tmp")
    with explain_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temp, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temp, path)
        except BaseException:
            temp.unlink(missing_ok=True)
            raise
    _sync_folder(path.parent)


@contextlib.contextmanager
def moved_in(path: Path) -> Iterator[Path]:
    """A name beside `path`, whose file takes its place if, and only if, all goes well.

    For libraries that write files by themselves, and go by how their names end.
    """
    part = path.with_name(f".part.{path.name}")
    try:
        yield part
        with explain_os_errors(path):
            os.replace(part, path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Delete what `replacing` left in `folder` when its process was killed."""
    for temp in folder.glob(".*.tmp"):
        temp.unlink(missing_ok=True)


def write_atomic(path: str | os.PathLike, data: bytes) -> None:
    """Write a whole file or none; `InputError` where the disk fails."""
    with replacing(path) as file:
        file.write(data)


def write_json(path: str | os.PathLike, obj: Any) -> None:
    """Write an object as JSON in the order given, an object with keys with a checksum.

    See `plain` for what is converted.
    """
    obj = plain(obj)
    obj = sealed(obj) if isinstance(obj, dict) else obj
    text = json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False)
    # A name that is not UTF-8 becomes an escape, which JSON knows as well.
    write_atomic(path, (text + "\n").encode("utf-8", "backslashreplace"))


def read_json(path: str | os.PathLike) -> Any:
    """What a JSON file holds, without its checksum.

    Raises `InputError` where it is missing, `Damaged` where it is not what was written.
    """
    with explain_reading(path):
        held, whole = unsealed(foreign.read_json(path))
    if not whole:
        raise Damaged(
            f"{path} is damaged or was changed by hand (its sha256 is of other values)",
            "restore it from a copy, or take the key sha256 out to vouch for it",
        )
    return held


def read_record(path: str | os.PathLike, *keys: str) -> dict[str, Any]:
    """What a JSON file holds, with these keys; `Damaged` for one of another kind."""
    held = read_json(path)
    if not isinstance(held, dict) or not set(keys) <= set(held):
        missing = "" if not isinstance(held, dict) else f" of {', '.join(keys)}"
        raise Damaged(f"{path} is no record{missing}", "restore it from a copy")
    return held


def read_bytes(path: str | os.PathLike) -> bytes:
    """All of a file; `InputError` where it is missing or cannot be read."""
    try:
        with explain_os_errors(path, "read"):
            return Path(path).read_bytes()
    except InputError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise InputError(f"{path} does not exist: check the path") from error
        raise


def plain(obj: Any) -> Any:
    """The same in Python's own types: arrays as lists, records as dicts, paths as text.

    NaN and infinities become None, since JSON has no word for them.
    """
    if obj is None or isinstance(obj, str | bool | int):
        return obj
    if isinstance(obj, float):
        return float(obj) if math.isfinite(obj) else None
    if isinstance(obj, Mapping):
        return {str(key): plain(value) for key, value in obj.items()}
    if hasattr(obj, "_asdict"):
        return plain(obj._asdict())
    if isinstance(obj, list | tuple | set | frozenset | range):
        items = sorted(obj) if isinstance(obj, set | frozenset) else obj
        return [plain(item) for item in items]
    if isinstance(obj, os.PathLike):
        return str(obj)
    if hasattr(obj, "__array__"):
        array = np.asarray(obj)
        native = array if array.dtype.kind in "biufU" else array.astype(np.float64)
        return plain(native.tolist())
    raise TypeError(f"{type(obj).__name__} has no JSON form")


def require_writable(path: Path, said: str) -> None:
    """`InputError` where a file cannot be written because a folder stands there."""
    if os.path.isdir(path):
        raise InputError(f"{said}={path} is a folder: name the file to write")


def save_npz(path: str | os.PathLike, /, **arrays: Any) -> None:
    """Write arrays to one uncompressed npz, whole or not at all.

    Raises `InputError` where the disk fails, `TypeError` for what npz cannot hold
    without pickle.
    """
    values = {name: np.asarray(value) for name, value in arrays.items()}
    for name, value in values.items():
        if value.dtype.kind in "OV":
            raise TypeError(f"{name} has dtype {value.dtype}, which npz cannot hold")
    with replacing(path) as file:
        np.savez(file, **values)  # type: ignore[arg-type]


def load_npz(
    path: str | os.PathLike, required: tuple[str, ...] = ()
) -> dict[str, np.ndarray]:
    """All arrays of an npz; `InputError` if missing, pickled or incomplete.

    Raises `Damaged` where its own checksums or its form say so.
    """
    try:
        with explain_reading(path):
            arrays = foreign.read_npz(path, most=MOST_BYTES)
    except InputError as error:
        system = isinstance(error.__cause__, OSError)
        if isinstance(error, Trouble) or system or "pickled" in str(error):
            raise
        # Of our own files, what makes no sense was not written so.
        raise Damaged(
            f"{path} is truncated or damaged ({foreign.short(error)})",
            "fetch or make it again",
        ) from error
    missing = [name for name in required if name not in arrays]
    if missing:
        raise InputError(
            f"{path} lacks the array {missing[0]!r} (it holds {', '.join(arrays)}): "
            "choose a file that this program wrote"
        )
    return arrays


def _sync_folder(folder: Path) -> None:
    """Make a rename outlive a power cut, where the system can do so for folders."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def digest(record: Any) -> str:
    """Sixteen hexadecimal digits that name a record of plain values."""
    text = json.dumps(plain(record), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
