"""The files of a folder or of a zip, listed alike and read in memory.

Links to folders are followed, each folder once and the real ones first, so that no
circle of links has an end that we wait for.
"""

import os
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from jaxdistill.data.images import SUFFIXES, is_dicom
from jaxdistill.errors import InputError
from jaxdistill.foreign.archives import open_archive
from jaxdistill.foreign.files import expanded, open_file, read_bytes
from jaxdistill.foreign.names import shown

# What desktops and storage boxes leave beside the files of their users.
JUNK = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "#recycle"}
JUNK |= {"@recycle", "@recently-snapshot", "$recycle.bin", "lost+found"}
JUNK |= {"system volume information", "#snapshot"}
MOST_FILES = 2_000_000
MARK = 132  # bytes up to the end of DICOM's mark


class Tree(NamedTuple):
    """Sorted image files, other files and folders, as paths relative to the top.

    `passed` are sentences on what is there and was not looked at.
    """

    path: Path
    images: tuple[PurePosixPath, ...]
    others: tuple[PurePosixPath, ...]
    folders: frozenset[PurePosixPath]
    read: Callable[[PurePosixPath], bytes]
    passed: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[PurePosixPath, ...]:
        """All files, sorted."""
        return tuple(sorted(self.images + self.others))

    @property
    def title(self) -> str:
        """What a set that lies here is called."""
        return shown(self.path.stem)

    def name(self, file: PurePosixPath) -> str:
        """How a message names a file."""
        return shown(f"{self.path}/{file}")


def open_tree(path: str | os.PathLike, holding: str = "one folder per class") -> Tree:
    """List a folder or a zip; hidden files and the litter of desktops are left out.

    `holding` tells what it should hold. Raises `InputError` when the path does not
    exist, or is a damaged or locked zip.
    """
    top = expanded(path)
    try:
        mode = os.stat(top).st_mode
    except (OSError, ValueError) as error:
        raise InputError(
            f"{shown(top)} does not exist: name the folder or .zip that holds {holding}"
        ) from error
    if stat.S_ISDIR(mode):
        return _folder(top)
    if stat.S_ISREG(mode) and (top.suffix.lower() == ".zip" or zipfile.is_zipfile(top)):
        return _zip(top)
    raise InputError(
        f"{shown(top)} is neither a folder nor a zip: name the folder or .zip that "
        f"holds {holding}"
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
    passed: list[str] = []
    for here, names in _walk(top, passed):
        relative = PurePosixPath(Path(here).relative_to(top).as_posix())
        folders.add(relative)
        files += [relative / name for name in names if not _is_junk(name)]
        if len(files) > MOST_FILES:
            raise InputError(
                f"{shown(top)} holds more than {MOST_FILES:,} files: name the folder "
                "of the images alone, or remove links that lead out of it"
            )

    def read(file: PurePosixPath) -> bytes:
        return read_bytes(top / file)

    def head(file: PurePosixPath) -> bytes:
        try:
            with open_file(top / file) as handle:
                return handle.read(MARK)
        except (InputError, OSError):
            return b""  # then it is no image; as one, `read` would say why

    return _tree(top, files, folders - {PurePosixPath(".")}, (read, head), passed)


def _walk(top: Path, passed: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Folders and the files in them; every folder once, those that are no links first.

    A link to what holds the whole tree would only lead out of it.
    """
    seen = {_place(str(parent)) for parent in top.resolve().parents}
    waiting = [str(top)]
    while waiting:
        start = waiting.pop(0)
        if _place(start) in seen:
            passed.append(
                f"{shown(start)} is a link to a folder that is read already or holds "
                "this one, and is passed over"
            )
            continue
        for here, below, names in os.walk(start, onerror=_refuse):
            seen.add(_place(here))
            inner = sorted(name for name in below if not _is_junk(name))
            linked = [name for name in inner if os.path.islink(f"{here}/{name}")]
            waiting += [f"{here}/{name}" for name in linked]
            below[:] = [
                name
                for name in inner
                if name not in linked and _place(f"{here}/{name}") not in seen
            ]
            yield here, names


def _refuse(error: OSError) -> None:
    raise InputError(
        f"{shown(str(error.filename))} cannot be listed ({error.strerror}): mend its "
        "permissions, or remove it"
    ) from error


def _place(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _zip(top: Path) -> Tree:
    archive = open_archive(top)
    files: list[PurePosixPath] = []
    folders: set[PurePosixPath] = set()
    for name in (*archive.members, *archive.folders):
        path = PurePosixPath(name)
        if not any(map(_is_junk, path.parts)):
            folders.update(path.parents if name in archive.members else [path])
            files += [path] if name in archive.members else []
    passed = [
        f"{shown(top)}/{shown(name)} is a link, which a zip cannot follow, and is "
        "passed over"
        for name in archive.links
    ]

    def read(file: PurePosixPath) -> bytes:
        return archive.read(str(file))

    def head(file: PurePosixPath) -> bytes:
        try:
            return archive.read(str(file), MARK)
        except InputError:
            return b""  # as in _folder

    return _tree(top, files, folders - {PurePosixPath(".")}, (read, head), passed)


def _tree(top: Path, files: list, folders: set, ways: tuple, passed: list) -> Tree:
    read, head = ways
    images: list[PurePosixPath] = []
    others: list[PurePosixPath] = []
    for file in sorted(files):
        suffix = file.suffix.lower()
        # DICOM exports often carry no suffix, or a number that looks like one.
        numbered = not suffix or suffix[1:].isdigit()
        is_image = suffix in SUFFIXES or (numbered and is_dicom(head(file)))
        (images if is_image else others).append(file)
    return Tree(
        top, tuple(images), tuple(others), frozenset(folders), read, tuple(passed)
    )


def _is_junk(name: str) -> bool:
    return name.lower() in JUNK or name.startswith(".")
