"""Tensors of a safetensors file: names, arrays and a text, and no programs."""

import os

import numpy as np

from jaxdistill.errors import Damaged, InputError
from jaxdistill.foreign.arrays import is_finite
from jaxdistill.foreign.files import open_file, short
from jaxdistill.foreign.names import shown

MOST_BYTES = 1 << 34  # public weights of a billion numbers and more
MOST_HEADER = 1 << 24


def read_tensors(
    path: str | os.PathLike, *, finite: bool = True
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays by name, and the texts that stand beside them.

    Raises `InputError` for what is no regular file or no safetensors, and for numbers
    that are not finite.
    """
    said = shown(path)
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        header = int.from_bytes(file.read(8), "little")
    if header > min(size, MOST_HEADER) or size > MOST_BYTES:
        raise Damaged(
            f"{said} is truncated or damaged and cannot be read as safetensors (its "
            f"header would have {header:,} bytes of {size:,})",
            "fetch it again",
        )
    try:
        from safetensors import safe_open

        with safe_open(path, framework="numpy") as opened:
            told = opened.metadata() or {}
            names = list(opened.keys())
            tensors = {name: opened.get_tensor(name) for name in names}
    except ImportError as error:
        raise InputError(
            f"{said} needs safetensors to be read: pip install safetensors"
        ) from error
    except Exception as error:  # its reader raises most built-in kinds on damage
        raise Damaged(
            f"{said} is truncated or damaged and cannot be read as safetensors "
            f"({short(error)})",
            "fetch it again",
        ) from error
    for name, values in tensors.items() if finite else ():
        if not is_finite(values):
            raise InputError(
                f"{said} holds NaN or infinite weights in {shown(name)}: they would "
                "make every answer so: ask for the file again"
            )
    return tensors, told
