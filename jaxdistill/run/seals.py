"""Checksums of what is stored, so that a flipped bit is noticed wherever it lies.

    JSON           a last key `sha256`, of all the others
    JSON lines     a last key `crc32` in every line
    checkpoints    `sha256` of every array, beside it in the same step
    safetensors    `sha256` of weights and facts, among the facts
    npz            the zip's own CRC-32 of every array

What has none was written before there were any, and is taken as it is.
"""

import hashlib
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path
from jaxtyping import PyTree

from jaxdistill.foreign.files import expanded

SHA256, CRC32, ARRAYS = "sha256", "crc32", "sha256_of_arrays"


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record in plain values with its checksum as the last key."""
    kept = {key: value for key, value in record.items() if key != SHA256}
    return {**kept, SHA256: hashlib.sha256(_canonical(kept)).hexdigest()}


def unsealed(record: Any) -> tuple[Any, bool]:
    """The record without its checksum, and whether it is the one that was sealed."""
    if not isinstance(record, dict) or SHA256 not in record:
        return record, True
    kept = {key: value for key, value in record.items() if key != SHA256}
    return kept, record[SHA256] == sealed(kept)[SHA256]


def sealed_line(record: Mapping[str, Any]) -> bytes:
    """A record in plain values as one line of JSON, with its checksum."""
    crc = f"{zlib.crc32(_canonical(record)):08x}"
    return (json.dumps({**record, CRC32: crc}, allow_nan=False) + "\n").encode()


def unsealed_line(line: bytes) -> dict[str, Any] | None:
    """The record of a line without its checksum; None where it is torn or damaged."""
    try:
        record = json.loads(line)
        crc = record.pop(CRC32, None)
    except (ValueError, AttributeError, TypeError):
        return None
    whole = crc is None or crc == f"{zlib.crc32(_canonical(record)):08x}"
    return record if whole else None


def of_file(path: Path) -> str:
    """Sixteen digits of a file's content."""
    return hashlib.sha256(expanded(path).read_bytes()).hexdigest()[:16]


def of_array(value: Any) -> str:
    """Checksum of an array's bytes, dtype and shape; a random key by its words."""
    array = np.asarray(value)
    digest = hashlib.sha256(f"{array.dtype.name}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def of_arrays(tree: PyTree) -> dict[str, str]:
    """Checksums of the arrays of a tree by their dotted paths.

    Those that lie on other machines as well are left out.
    """
    found = {}
    for path, leaf in tree_flatten_with_path(tree)[0]:
        if hasattr(leaf, "dtype") and getattr(leaf, "is_fully_addressable", True):
            if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                leaf = jax.random.key_data(leaf)
            found[keystr(path, simple=True, separator=".")] = of_array(leaf)
    return found


def _canonical(record: Mapping[str, Any]) -> bytes:
    """The same bytes for equal records, before and after a file."""
    return json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
