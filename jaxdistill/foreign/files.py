"""The bytes of a regular file, and of no other: a device never ends, a pipe waits."""

import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

from jaxdistill.errors import InputError
from jaxdistill.foreign.names import shown

MOST_BYTES = 1 << 30  # of a file that is read as a whole


def expanded(path: str | os.PathLike) -> Path:
    """A path with its `~` replaced; `InputError` for the home of nobody."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(
            f"{shown(path)} begins with a user whose home is not known: write the "
            "whole path"
        ) from error


def open_file(path: str | os.PathLike) -> BinaryIO:
    """A regular file to read from.

    Raises `InputError` naming what is no file, a folder, a device, a pipe or a socket,
    and what the system does not let us read.
    """
    said = shown(path)
    try:
        # Opening a pipe would wait for its writer, were it not for this flag.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            os.close(handle)
            raise InputError(_irregular(said, mode))
        return os.fdopen(handle, "rb")
    except FileNotFoundError as error:
        raise InputError(f"{said} does not exist: check the path") from error
    except OSError as error:  # a socket is refused here
        if error.errno is not None and _is_irregular(path):
            raise InputError(_irregular(said, 0)) from error
        raise InputError(
            f"{said} cannot be read ({error.strerror}): check the path and its "
            "permissions"
        ) from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{said!r} is no path ({error}): check it") from error


def read_bytes(path: str | os.PathLike, most: int = MOST_BYTES) -> bytes:
    """All bytes of a regular file of at most so many; `InputError` for any other."""
    with open_file(path) as file:
        try:
            # Not the size that the system tells: some files have none, and do not end.
            data = file.read(most + 1)
        except (OSError, MemoryError) as error:
            raise InputError(
                f"{shown(path)} cannot be read ({short(error)}): check the disk, or "
                "copy the file again"
            ) from error
    if len(data) > most:
        raise InputError(
            f"{shown(path)} is larger than {most:,} bytes; no file of its kind is, so "
            "it is not read: cut, compress or remove it"
        )
    return data


def short(error: BaseException, most: int = 100) -> str:
    """One line about an error, for use within a sentence; no places in our memory."""
    text = re.sub(r"\s*<_io\S+ object at 0x\w+>", "", str(error))
    return shown(" ".join(text.split())[:most]) or type(error).__name__


def _is_irregular(path: str | os.PathLike) -> bool:
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _irregular(said: str, mode: int) -> str:
    if stat.S_ISDIR(mode):
        return f"{said} is a folder where a file is asked for: name the file"
    return (
        f"{said} is no regular file but a device, a pipe or a socket, which may have "
        "no end: name a file, or remove it"
    )
