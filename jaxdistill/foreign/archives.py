"""Zip archives within bounds: of their directory, of members, of what they unpack to.

An archive is judged by its directory before any member is unpacked:

    members       at most 400,000, by the bytes that the directory takes
    all of it     unpacks to at most 256 MB, or a hundred times its own size: what
                  compresses better holds nothing but repetition
    a member      at most 512 MB, as declared; more than declared is never unpacked
"""

import os
import stat
import struct
import weakref
import zipfile
from typing import Any, BinaryIO, NamedTuple

from jaxdistill.errors import Damaged, InputError
from jaxdistill.foreign.files import open_file, short
from jaxdistill.foreign.names import shown

MOST_DIRECTORY = 40_000_000  # bytes; 46 and a name are a member's
MOST_MEMBERS = 400_000
MOST_MEMBER = 1 << 29
EASY = 1 << 28  # bytes that may come of any archive
RATIO = 100

_END = struct.Struct("<4s4H2LH")  # PKZIP's end of the central directory
_END_64 = struct.Struct("<4sQ2H2L4Q")
_COMMENT = 1 << 16
_LOCATOR = 20  # bytes of what tells where the longer end record is


class Archive(NamedTuple):
    """An open zip, and its members by their names without what leads to a root."""

    said: str
    members: dict[str, zipfile.ZipInfo]
    folders: frozenset[str]
    links: tuple[str, ...]
    opened: zipfile.ZipFile

    def read(self, name: str, first: int = 0) -> bytes:
        """A member's bytes, or its `first` ones; `InputError` for a damaged one."""
        entry = self.members[name]
        said = f"{self.said}/{shown(name)}"
        if entry.file_size > MOST_MEMBER and not first:
            raise InputError(
                f"{said} unpacks to {entry.file_size:,} bytes; at most "
                f"{MOST_MEMBER:,} are read from a zip: remove it, or unpack the zip"
            )
        try:
            with self.opened.open(entry) as file:
                return file.read(first) if first else file.read()
        except MemoryError as error:
            raise InputError(
                f"{said} is too large for this machine's memory"
            ) from error
        # Each kind of compression has errors of its own; one is of a password.
        except Exception as error:
            raise Damaged(
                f"{said} cannot be unpacked ({short(error)})",
                "copy or download the zip again, without a password",
            ) from error

    def close(self) -> None:
        """Close the file."""
        file = self.opened.fp
        self.opened.close()
        if file is not None:
            file.close()


def open_archive(path: str | os.PathLike, kind: str = "a zip") -> Archive:
    """The directory of a zip, or of what is one and called otherwise.

    Raises `InputError` for what is no zip, a damaged one, two members of one name, and
    a directory or contents beyond the bounds of this file.
    """
    said = shown(path)
    try:
        file = open_file(path)
        try:
            size = os.fstat(file.fileno()).st_size
            _check_directory(file, size, said)
            opened = zipfile.ZipFile(file)
        except BaseException:
            file.close()
            raise
        # Closed with the last that reads from it, whoever that is.
        weakref.finalize(opened, file.close)
        return _judged(opened, size, said)
    except InputError:
        raise
    except Exception as error:  # `zipfile` raises many kinds on damaged directories
        raise Damaged(
            f"{said} is truncated or damaged, or not {kind} ({short(error)})",
            "copy or download it again",
        ) from error


def _check_directory(file: BinaryIO, size: int, said: str) -> None:
    """`InputError` for a directory that would take much to read."""
    if (directory := _directory_bytes(file, size)) > MOST_DIRECTORY:
        raise InputError(
            f"{said} has a directory of {directory:,} bytes, for more than "
            f"{MOST_MEMBERS:,} members: unpack it, or split it into several"
        )


def _judged(opened: zipfile.ZipFile, size: int, said: str) -> Archive:
    """The archive, within its bounds."""
    entries = opened.infolist()
    if len(entries) > MOST_MEMBERS:
        raise InputError(
            f"{said} has {len(entries):,} members; at most {MOST_MEMBERS:,} are read: "
            "unpack it, or split it into several"
        )
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > max(EASY, RATIO * size):
        raise InputError(
            f"{said} has {size:,} bytes and would unpack to {unpacked:,}, more than "
            f"{RATIO} times as many, as decompression bombs do: ask for another file"
        )
    members: dict[str, zipfile.ZipInfo] = {}
    folders: set[str] = set()
    links: list[str] = []
    for entry in entries:
        name = _below(entry.filename)
        if _is_link(entry):
            links.append(name)
            continue
        if entry.is_dir() or not name:
            folders.add(name)
            continue
        if name in members:
            raise InputError(
                f"{said} has two members called {shown(name)}; each needs a name of "
                "its own: pack it again"
            )
        members[name] = entry
    return Archive(said, members, frozenset(folders - {""}), tuple(links), opened)


def _below(name: str) -> str:
    """A member's path below the top, wherever it wants to be put."""
    parts = name.replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in ("", ".", ".."))


def _is_link(entry: zipfile.ZipInfo) -> bool:
    """Whether a member is a link, whose contents are a path and no image."""
    return stat.S_ISLNK(entry.external_attr >> 16)


def _directory_bytes(file: BinaryIO, size: int) -> int:
    """How long the directory says to be; 0 where its end is not found.

    `zipfile` reads that many bytes, and makes a record of each member, before anyone
    can stop it.
    """
    file.seek(max(0, size - _COMMENT - _END.size - _END_64.size - _LOCATOR))
    tail = file.read()
    file.seek(0)
    end = tail.rfind(b"PK\5\6")
    found = _at(_END, tail, b"PK\5\6")
    # `zipfile` goes by the longer record wherever its locator stands before the end.
    located = end >= _LOCATOR and tail[end - _LOCATOR :].startswith(b"PK\6\7")
    longer = _at(_END_64, tail[:end], b"PK\6\6") if located else None
    return int(longer[8] if longer else found[5] if found else 0)


def _at(form: struct.Struct, data: bytes, mark: bytes) -> Any:
    start = data.rfind(mark)
    if start < 0 or len(data) < start + form.size:
        return None
    return form.unpack_from(data, start)
