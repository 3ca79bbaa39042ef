"""The files of a folder or of a zip, listed alike and read in memory."""

import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from jaxdistill.data.images import SUFFIXES, is_dicom
from jaxdistill.errors import InputError

JUNK = {"__MACOSX", "Thumbs.db", "desktop.ini"}
MOST_BYTES = 1 << 30  # one member of a zip; more is no image


class Tree(NamedTuple):
    """Sorted image files, other files and folders, as paths relative to the top."""

    path: Path
    images: tuple[PurePosixPath, ...]
    others: tuple[PurePosixPath, ...]
    folders: frozenset[PurePosixPath]
    read: Callable[[PurePosixPath], bytes]

    @property
    def files(self) -> tuple[PurePosixPath, ...]:
        """All files, sorted."""
        return tuple(sorted(self.images + self.others))

    def name(self, file: PurePosixPath) -> str:
        """How a message names a file."""
        return f"{self.path}/{file}"


def open_tree(path: str | os.PathLike, holding: str = "one folder per class") -> Tree:
    """List a folder or a zip; hidden files and the litter of desktops are left out.

    `holding` tells what it should hold. Raises `InputError` when the path does not
    exist, or is a damaged or locked zip.
    """
    top = Path(path).expanduser()
    if top.is_dir():
        return _folder(top)
    if top.is_file() and (zipfile.is_zipfile(top) or top.suffix.lower() == ".zip"):
        return _zip(top)
    if top.is_file():
        raise InputError(
            f"{top} is neither a folder nor a zip: name the folder or .zip that holds "
            f"{holding}"
        )
    raise InputError(
        f"{top} does not exist: name the folder or .zip that holds {holding}"
    )


def narrowed(tree: Tree, folder: str) -> Tree:
    """The tree without what lies outside a folder of it, found by its last name.

    Raises `InputError` where there is no such folder.
    """
    if not folder:
        return tree
    wanted = PurePosixPath(folder).parts
    for top in sorted(tree.folders):
        if top.parts[-len(wanted) :] == wanted:
            return tree._replace(
                images=tuple(f for f in tree.images if f.is_relative_to(top)),
                others=tuple(f for f in tree.others if f.is_relative_to(top)),
                folders=frozenset(f for f in tree.folders if f.is_relative_to(top))
                | frozenset(top.parents) - {PurePosixPath(".")},
            )
    known = sorted({one.name for one in tree.folders})
    raise InputError(
        f"{tree.path} holds no folder {folder!r}: name one of {', '.join(known[:8])}"
    )


def _folder(top: Path) -> Tree:
    files: list[PurePosixPath] = []
    folders: set[PurePosixPath] = set()
    for here, below, names in os.walk(top):
        relative = PurePosixPath(Path(here).relative_to(top).as_posix())
        below[:] = [name for name in below if not _is_junk(name)]
        folders.update(relative / name for name in below)
        files += [relative / name for name in names if not _is_junk(name)]

    def read(file: PurePosixPath) -> bytes:
        try:
            return (top / file).read_bytes()
        except OSError as error:
            raise InputError(
                f"{top / file} cannot be read ({error.strerror}): check its permissions"
            ) from error

    def head(file: PurePosixPath) -> bytes:
        try:
            with open(top / file, "rb") as handle:
                return handle.read(132)
        except OSError:
            return b""  # then it is no image; as one, `read` would say why

    return _tree(top, files, folders, read, head)


def _zip(top: Path) -> Tree:
    try:
        archive = zipfile.ZipFile(top)
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise InputError(
            f"{top} is truncated or not a zip ({error}): copy or download it again"
        ) from error
    files: list[PurePosixPath] = []
    folders: set[PurePosixPath] = set()
    entries: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        file = PurePosixPath(entry.filename.replace("\\", "/"))
        if any(_is_junk(part) for part in file.parts):
            continue
        folders.update(file.parents)
        if entry.is_dir():
            folders.add(file)
        else:
            files.append(file)
            entries[file] = entry

    def read(file: PurePosixPath) -> bytes:
        return _unpack(archive, entries[file], f"{top}/{file}")

    def head(file: PurePosixPath) -> bytes:
        try:
            with archive.open(entries[file]) as handle:
                return handle.read(132)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError):
            return b""  # as in _folder

    return _tree(top, files, folders - {PurePosixPath(".")}, read, head)


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> bytes:
    if entry.file_size > MOST_BYTES:
        raise InputError(
            f"{name} unpacks to {entry.file_size:,} bytes; an image of this size is "
            "not read: remove it from the zip"
        )
    try:
        return archive.read(entry)
    # RuntimeError: the member is encrypted.
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise InputError(
            f"{name} cannot be unpacked ({error}): copy or download the zip again, "
            "without a password"
        ) from error


def _tree(top: Path, files: list, folders: set, read: Callable, head: Callable) -> Tree:
    images: list[PurePosixPath] = []
    others: list[PurePosixPath] = []
    for file in sorted(files):
        suffix = file.suffix.lower()
        # DICOM exports often carry no suffix, or a number that looks like one.
        numbered = not suffix or suffix[1:].isdigit()
        is_image = suffix in SUFFIXES or (numbered and is_dicom(head(file)))
        (images if is_image else others).append(file)
    return Tree(top, tuple(images), tuple(others), frozenset(folders), read)


def _is_junk(name: str) -> bool:
    return name in JUNK or name.startswith(".")
