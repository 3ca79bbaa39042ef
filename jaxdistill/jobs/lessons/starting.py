"""Where a training may begin: the backbone of a file of ours, or of public weights.

Public weights (ViT, DINO, ResNet; safetensors or npz) are found by the name maps of
`jaxdistill.networks.public_names`; what finds no counterpart is listed.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxdistill.errors import InputError
from jaxdistill.foreign.tensors import read_tensors as read_marked
from jaxdistill.networks.positions import fit_positions
from jaxdistill.networks.public_names import RESNET, VIT
from jaxdistill.networks.weights import (
    fold_norms,
    has_running,
    load_weights,
    read_tensors,
    starts_of,
)
from jaxdistill.run.weights_file import MARK, fill, read_weights
from jaxdistill.types import Backbone, Params

PUBLIC = {"vit": VIT, "resnet": RESNET}
PREFIXES = ("student.trunk.", "trunk.")
PLACES = "places"  # the table of positions, which films of another size change
SHOWN = 12  # names in a note


def begin_with(
    file: Path, params: Params, backbone: Backbone, say: Callable = print
) -> Params:
    """Fresh parameters with the backbone of a file; its heads are not taken.

    Positions that were learned on films of another size are resized to the backbone's.
    Raises `InputError` for a file that holds another backbone or nothing of it, and
    for statistics of batches where the backbone has another norm.
    """
    if not file.expanduser().is_file():
        raise InputError(f"{file} is no file: name weights to begin with")
    if _is_ours(file):
        held = _placed(_trunk(file), backbone)
        return {**params, "trunk": fill(file, params["trunk"], held)}
    family = backbone.name.partition("-")[0].partition(",")[0]
    if family not in PUBLIC:
        raise InputError(
            f"{file} was not written by jaxdistill, and there is no map of public "
            f"names for {family!r}: choose backbone.name={' or '.join(PUBLIC)}"
        )
    tensors = read_tensors(file)
    if has_running(tensors):
        if "norm=affine" not in backbone.name:
            raise InputError(
                f"{file} holds batch norms with their statistics, which another norm "
                "does not have: set backbone.norm=affine"
            )
        tensors = fold_norms(tensors)
    table, grid = PUBLIC[family], backbone.grid if backbone.patch else None
    starts = starts_of(tensors, table)
    if len(starts) > 1:
        raise InputError(
            f"{file} holds several networks, under {', '.join(map(repr, starts))}: "
            "save the one to begin with in a file of its own"
        )
    loaded = load_weights(
        tensors,
        table,
        params["trunk"],
        grid=grid,
        within="".join(starts),
        strict=False,
    )
    for what, names in {"missing": loaded.missing, "unused": loaded.unused}.items():
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            say(f"note: {what} in {file}: {', '.join(names[:SHOWN])}{more}")
    return {**params, "trunk": loaded.params}


def _is_ours(file: Path) -> bool:
    return file.suffix == ".safetensors" and MARK in read_marked(file, finite=False)[1]


def _trunk(file: Path) -> Mapping[str, np.ndarray]:
    tensors: dict[str, Any] = read_weights(file)[0]
    for prefix in PREFIXES:
        own = {
            name.removeprefix(prefix): leaf
            for name, leaf in tensors.items()
            if name.startswith(prefix)
        }
        if own:
            return own
    return tensors


def _placed(trunk: Mapping[str, Any], backbone: Backbone) -> Mapping[str, Any]:
    if PLACES not in trunk or not backbone.patch:
        return trunk
    return {**trunk, PLACES: fit_positions(jnp.asarray(trunk[PLACES]), backbone.grid)}
