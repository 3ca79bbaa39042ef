"""Public weights, read without PyTorch: names and layouts, there and back.

    kernel[in, out] = weight[out, in],    kernel[h, w, in, out] = weight[out, in, h, w]

by the name maps of `jaxdistill.networks.public_names`. Files are safetensors or NumPy's
npz: names and arrays, and no programs. Weights for three channels suit grey images,
too: their sum over channels does the same as three equal channels would.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path

from jaxdistill import foreign
from jaxdistill.errors import InputError
from jaxdistill.networks.layers import EPS
from jaxdistill.networks.positions import Grid, fit_positions
from jaxdistill.networks.public_names import Row, Table, rows_of
from jaxdistill.types import Params

Tensors = Mapping[str, Any]
MOST_BYTES = 1 << 34  # of all weights
SHOWN = 4  # names in a sentence


class Loaded(NamedTuple):
    """Parameters, and what did not find its counterpart."""

    params: Params
    missing: tuple[str, ...]  # ours, which kept their values
    unused: tuple[str, ...]  # public names


def read_tensors(path: Path | str) -> dict[str, np.ndarray]:
    """Names and arrays of a `.safetensors` or `.npz` file.

    Raises `InputError` where there is no such file, or it cannot be read as one.
    """
    path = Path(path)
    if path.suffix not in (".safetensors", ".npz"):
        raise InputError(
            f"{path} must be a .safetensors or .npz file: where PyTorch is at hand, "
            "safetensors.torch.save_file(model.state_dict(), ...) writes one"
        )
    if path.suffix == ".npz":
        return foreign.read_npz(path, most=MOST_BYTES, remedy="fetch it again")
    return foreign.read_tensors(path)[0]


def load_weights(
    tensors: Tensors,
    table: Table,
    params: Params,
    *,
    grid: Grid | None = None,
    within: str = "",
    strict: bool = True,
) -> Loaded:
    """The parameters with what public weights hold in their places.

    `params` are a backbone's, a head's or, with trunk and head, a network's. Only names
    that begin with `within` count, say "backbone." or "module.". Positions of a public
    table are taken to be of a square of patches, and resized to `grid`, the backbone's,
    else to a square.

    Raises `InputError` for shapes that differ, and if `strict` for parameters that are
    not found and for weights that nothing asks for.
    """
    named = {
        n.removeprefix(within): x for n, x in tensors.items() if n.startswith(within)
    }
    leaves = _flat(params)
    found: dict[str, jax.Array] = {}
    used = set()
    for row in rows_of(table, params):
        if row.public in named and row.ours in leaves:
            used.add(row.public)
            found[row.ours] = _turned(row, named[row.public], leaves[row.ours], grid)
    missing = tuple(ours for ours in leaves if ours not in found)
    unused = tuple(n for n, x in named.items() if n not in used and not _idle(n, x))
    if not found:
        raise InputError(_nothing(tensors, table, within))
    if strict and (missing or unused):
        raise InputError(_unlike(missing, unused))
    values = [found.get(ours, leaf) for ours, leaf in leaves.items()]
    filled = jax.tree.unflatten(jax.tree.structure(params), values)
    return Loaded(filled, missing, unused)


def public_weights(
    params: Params, table: Table, channels: int = 3
) -> dict[str, np.ndarray]:
    """Our parameters by their public names, for images of so many channels.

    Raises `InputError` where patches of so many channels are not squares.
    """
    leaves, written = _flat(params), {}
    for row in reversed(rows_of(table, params)):  # the first of several names wins
        if row.ours in leaves:
            written[row.ours] = row
    return {
        written[ours].public: _back(written[ours].turn, np.asarray(leaf), channels)
        for ours, leaf in leaves.items()
        if ours in written
    }


def fold_norms(tensors: Tensors) -> dict[str, Any]:
    """Batch norms as they are in evaluation, folded into their scales and biases.

        scale' = scale / sqrt(var + 1e-5),   bias' = bias - mean scale'

    For backbones with `norm="affine"`, whose outputs are then those of evaluation. A
    norm without a scale or a bias of its own has 1 and 0.
    """
    folded = {n: x for n, x in tensors.items() if not _of_running(n)}
    for name in tensors:
        if name.endswith("running_mean"):
            at = name.removesuffix("running_mean")
            mean, var = (
                np.asarray(tensors[at + f"running_{m}"]) for m in ("mean", "var")
            )
            own = np.asarray(tensors.get(at + "weight", 1.0))
            scale = folded[at + "weight"] = own / np.sqrt(var + EPS)
            bias = np.asarray(tensors.get(at + "bias", 0.0))
            folded[at + "bias"] = bias - mean * scale
    return folded


def starts_of(tensors: Tensors, table: Table) -> list[str]:
    """What most names of the table's kind begin with, as "backbone." or "module.".

    Several where networks of one kind lie side by side; "" for names as they are.
    """
    known = [row.public.format(i=0, s=1, b=0) for row in table]
    found = Counter(
        name.removesuffix(public)
        for name in tensors
        for public in known
        if name == public or name.endswith("." + public)
    )
    most = max(found.values(), default=0)
    return sorted(start for start, count in found.items() if count == most)


def has_running(tensors: Tensors) -> bool:
    """Whether weights hold batch norms' statistics, see `fold_norms`."""
    return any(name.endswith("running_mean") for name in tensors)


def _flat(params: Params) -> dict[str, Any]:
    leaves, _ = tree_flatten_with_path(params)
    return {keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _turned(row: Row, tensor: Any, like: Any, grid: Grid | None) -> jax.Array:
    """A public array in our layout, shape and type."""
    tensor = np.asarray(tensor)
    if not jnp.issubdtype(tensor.dtype, np.number) or not tensor.size:
        raise InputError(
            f"weights {row.public!r} are {tensor.dtype} of shape {tensor.shape}, and "
            "hold no number: fetch the file again"
        )
    turned = tensor
    if row.turn == "places":
        turned = _resized(tensor, like, grid)
    elif tensor.ndim == RANKS.get(row.turn, tensor.ndim):
        turned = TURNS[row.turn](tensor, like.shape)
    if turned.shape != like.shape:
        large = row.public == "conv1.weight" and tensor.shape[2:] == (7, 7)
        remedy = ", with stem='large'" if large else ""
        raise InputError(
            f"weights {row.public!r} of shape {tensor.shape} do not fit {row.ours} of "
            f"shape {like.shape}: build the network in the size that they were made "
            f"for{remedy}"
        )
    return jnp.asarray(turned, like.dtype)


def _resized(table: np.ndarray, like: Any, grid: Grid | None) -> Any:
    """Positions for the grid of ours, or as they are where that is not possible."""
    own = math.isqrt(max(0, like.shape[1] - 1))
    to = grid or (own, own)
    if to[0] * to[1] + 1 != like.shape[1]:
        return table
    return fit_positions(jnp.asarray(table, like.dtype), to)


def _kernel(tensor: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    out, channels, h, w = tensor.shape
    if channels == 3 and math.prod(shape) == out * h * w:  # for grey images
        tensor = tensor.sum(1, keepdims=True)
    return tensor.transpose(2, 3, 1, 0)


TURNS: dict[str, Callable[[np.ndarray, tuple[int, ...]], np.ndarray]] = {
    "same": lambda x, shape: x,
    "dense": lambda x, shape: x.T,
    "gain": lambda x, shape: x.reshape(-1),
    "conv": _kernel,
    "patch": lambda x, shape: _kernel(x, shape).reshape(-1, x.shape[0]),
}
RANKS = {"dense": 2, "gain": 2, "conv": 4, "patch": 4}  # of what can be turned


def _back(turn: str, leaf: np.ndarray, channels: int) -> np.ndarray:
    """An array of ours in the public layout."""
    if turn == "patch":
        rows, width = leaf.shape
        side = math.isqrt(rows // channels)
        if side**2 * channels != rows:
            raise InputError(
                f"channels={channels} does not suit patches of {rows} values: pass the "
                "channels of the images"
            )
        leaf, turn = leaf.reshape(side, side, channels, width), "conv"
    axes = {"dense": (1, 0), "conv": (3, 2, 0, 1)}.get(turn)
    return leaf[:, None] if turn == "gain" else leaf.transpose(axes) if axes else leaf


def _of_running(name: str) -> bool:
    return name.endswith(("running_mean", "running_var", "num_batches_tracked"))


def _idle(name: str, tensor: Any) -> bool:
    """Whether a network does the same without: a counter, or gains of 1."""
    gain = name.endswith(("weight_g", "parametrizations.weight.original0"))
    return name.endswith("num_batches_tracked") or (
        gain and bool(np.all(np.asarray(tensor) == 1))
    )


def _nothing(tensors: Tensors, table: Table, within: str) -> str:
    """A sentence about names that are none of the table's."""
    known = [row.public.format(i=0, s=1, b=0) for row in table]
    starts = starts_of(tensors, table)
    remedy = f"pass within={_some(map(repr, starts), ' or ')}"
    return (
        f"within={within!r}: no weights have names such as {known[0]!r} there, but "
        f"{_some(tensors)}: {remedy if starts else 'choose the table of their kind'}"
    )


def _unlike(missing: tuple[str, ...], unused: tuple[str, ...]) -> str:
    """A sentence about weights and parameters that are not each other's."""
    parts = []
    if missing:
        parts.append(
            f"{len(missing)} parameters are not in the weights ({_some(missing)})"
        )
    if unused:
        parts.append(f"{len(unused)} weights have no place ({_some(unused)})")
    remedy = "build the network that they are of, or pass strict=False"
    if any(map(_of_running, unused)):
        remedy = 'pass fold_norms(tensors) to a network of norm="affine"'
    return f"{' and '.join(parts)}: {remedy}"


def _some(names: Iterable[str], between: str = ", ") -> str:
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return between.join(names[:SHOWN]) + more
