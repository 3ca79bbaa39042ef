"""One file from the network: resumed where it stopped, checked, then put in place."""

import contextlib
import hashlib
import http.client
import os
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from jaxdistill.errors import InputError

BLOCK = 1 << 18  # bytes read at once
TIMEOUT = 10.0  # seconds without an answer: an offline machine is told at once


def download(url: str, target: Path, md5: str, timeout: float = TIMEOUT) -> Path:
    """Fetch `url` into `target`; an interrupted `target.part` is continued.

    The file appears under its name only when its MD5 is right. Of several processes one
    fetches it while the others wait. Raises `InputError` when
    the network, the disk or the checksum fails, saying which file to put where.
    """
    part = target.with_name(target.name + ".part")
    by_hand = f"download {url} by another way and put it at {target}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(part):
            if target.exists() and file_md5(target) == md5:
                part.unlink(missing_ok=True)
                return target  # another process has fetched it meanwhile
            _continue(url, part, timeout)
            found = file_md5(part)
            if found == md5:
                os.replace(part, target)
            else:  # while others wait: it would be theirs a moment later
                part.unlink(missing_ok=True)
    except (OSError, http.client.HTTPException) as error:
        if _is_network(error):
            raise InputError(
                f"{target.name} could not be downloaded ({_reason(error)}): try again "
                f"to continue where it stopped, or {by_hand}"
            ) from error
        raise InputError(
            f"{part} cannot be written ({_reason(error)}): free space or name another "
            "folder with JAXDISTILL_DATA or data.root"
        ) from error
    if found != md5:
        raise InputError(
            f"{target.name} arrived with MD5 {found} instead of {md5} and was dropped: "
            f"try again, or {by_hand}"
        )
    return target


def file_md5(path: Path) -> str:
    """The MD5 of a file, as its publishers give it; no protection against malice."""
    with open(path, "rb") as file:
        return hashlib.file_digest(
            file, lambda: hashlib.md5(usedforsecurity=False)
        ).hexdigest()


@contextlib.contextmanager
def _alone(part: Path) -> Iterator[None]:
    """Hold a file against other processes; the kernel lets go of it with the process.

    What was held before may have been moved into place meanwhile: then it is another.
    """
    held = False
    while not held:
        with open(part, "ab") as file:
            with contextlib.suppress(ImportError, OSError):  # Windows; network disks
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX)
            held = _is_at(file, part)
            if not held:
                continue
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    if not part.stat().st_size:
                        part.unlink()


def _is_at(file: IO, path: Path) -> bool:
    """Whether an open file is still the one at its path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _continue(url: str, part: Path, timeout: float) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url)
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        # 416: nothing lies beyond what we have, so it is whole, or of another file.
        if error.code == 416 and have:
            return
        raise
    with response:
        resumed = response.status == 206 and _starts_at(response, have)
        start = have if resumed else 0
        left = response.headers.get("Content-Length")
        total = start + int(left) if left else None
        _copy(response, part, start, total)
    if total is not None and part.stat().st_size < total:
        raise http.client.IncompleteRead(b"", total - part.stat().st_size)


def _copy(response: Any, part: Path, start: int, total: int | None) -> None:
    bar = tqdm(
        desc=part.stem,
        total=total,
        initial=start,
        unit="B",
        unit_scale=True,
        disable=None,
    )
    with open(part, "ab" if start else "wb") as file, bar:
        while block := response.read(BLOCK):
            file.write(block)
            bar.update(len(block))


def _starts_at(response: Any, have: int) -> bool:
    answer = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return answer is not None and int(answer[1]) == have


def _is_network(error: Exception) -> bool:
    # A full disk and a refused connection are both OSError.
    kinds = (urllib.error.URLError, http.client.HTTPException, TimeoutError)
    return isinstance(error, (*kinds, ConnectionError, ssl.SSLError))


def _reason(error: Exception) -> str:
    inner = getattr(error, "reason", error)
    if isinstance(inner, http.client.IncompleteRead):
        return f"the connection ended {inner.expected} bytes early"
    return getattr(inner, "strerror", None) or str(inner) or type(inner).__name__
