"""What lies in a folder of checkpoints: which steps, what shapes, and parts read fast.

Orbax writes each leaf as a zarr array, named by its path, into one OCDBT store a step;
TensorStore reads single arrays out of it. Orbax's own partial restore first parses the
description of every leaf: 0.1 s for 1,600 leaves where this takes 4 ms (two CPU cores).
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path
from jaxtyping import PyTree

from jaxdistill.errors import Damaged, InputError, Trouble
from jaxdistill.run.kept import set_aside
from jaxdistill.run.seals import ARRAYS, of_array, unsealed
from jaxdistill.run.troubles import trouble_of

# The config key that most likely moved, by the name of a leaf and the differing axis.
_KEYS = {
    "images": ("ipc", "data.size", "data.size", "data.name"),
    "logits": ("ipc", "data.name"),
}


class LeafShape(NamedTuple):
    """Shape and dtype of one saved or wanted array."""

    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


def saved_steps(folder: Path) -> list[int]:
    """The finished steps in a folder of checkpoints, in order; none if it is absent."""
    if not Path(folder).is_dir():
        return []
    names = (entry.name for entry in Path(folder).iterdir())
    return sorted(int(name) for name in names if name.isdecimal())


def read_part(folder: Path, step: int, keys: tuple[str, ...], like: PyTree) -> PyTree:
    """The sub-tree at `keys` of one step, as NumPy arrays of the dtypes in `like`.

    Reads the index and these arrays, nothing else. Raises `Damaged` where these are not
    what was saved, `InputError` where they are absent or of another shape.
    """
    where = Path(folder).absolute() / str(step)
    if not where.is_dir():
        raise InputError(f"{folder} holds no checkpoint {step}: train first")
    leaves, _ = tree_flatten_with_path(like)
    names = [".".join((*keys, _name(path))) for path, _ in leaves]
    seals = seals_of(where)
    try:
        stores = _open(where, names)
    except ValueError as error:
        raise _absent(where, names, error) from error
    saved = {n: LeafShape(s.shape, "") for n, s in zip(names, stores, strict=True)}
    asked = {n: LeafShape(x.shape, "") for n, (_, x) in zip(names, leaves, strict=True)}
    same_shapes(where, saved, asked)
    try:
        values = [future.result() for future in [store.read() for store in stores]]
    except ValueError as error:
        raise unreadable(where, error) from error
    _require_sealed(where, seals, dict(zip(names, values, strict=True)))
    dtypes = [x.dtype for _, x in leaves]
    values = [v.astype(d, copy=False) for v, d in zip(values, dtypes, strict=True)]
    return jax.tree.unflatten(jax.tree.structure(like), values)


def check_whole(where: Path) -> bool:
    """Read every array of a step; whether there are checksums, which then hold.

    Raises `Damaged` where an array cannot be read or is not what was saved. Orbax
    would fail as well, but while other arrays are on their way, whose errors then
    appear on the terminal from a loop that is closed.
    """
    import tensorstore

    seals = seals_of(where)
    try:
        keys = tensorstore.KvStore.open(_spec(where, "")["kvstore"]).result().list()
        found = [key.decode() for key in keys.result()]
        names = [k.removesuffix("/.zarray") for k in found if k.endswith("/.zarray")]
        stores = dict(zip(names, _open(where, names), strict=True))
        for name, store in stores.items():
            _require_sealed(where, seals, {name: store.read().result()})
    except ValueError as error:
        raise unreadable(where, error) from error
    if not names or not set(seals) <= set(names):
        raise damaged(where)
    return bool(seals)


def seals_of(where: Path) -> dict[str, str]:
    """The checksums of a step's arrays by name; none where an older version saved it.

    Raises `Damaged` where their file is not what was written.
    """
    file = where / "extra" / "metadata"
    try:
        held, whole = unsealed(json.loads(file.read_bytes()))
    except (OSError, ValueError, RecursionError) as error:
        raise unreadable(where, error) from error
    if not whole or not isinstance(held, dict):
        raise damaged(where)
    return held.get(ARRAYS, {})


def rewind(folder: Path, step: int) -> None:
    """Set aside the steps from `step` on, so that a run goes on from before it."""
    for one in saved_steps(folder):
        if one >= step:
            set_aside(folder / str(one))


def _require_sealed(
    where: Path, seals: dict[str, str], arrays: dict[str, np.ndarray]
) -> None:
    """`Damaged` unless the arrays are those that were saved, as far as that is told."""
    for name, array in arrays.items():
        if name in seals and of_array(array) != seals[name]:
            raise damaged(where)


def named_leaves(tree: PyTree) -> dict[str, LeafShape]:
    """Every array of a tree by its dotted path; a random key counts as its words."""
    return {_name(path): _shape(leaf) for path, leaf in tree_flatten_with_path(tree)[0]}


def same_shapes(
    where: Path, saved: dict[str, LeafShape], asked: dict[str, LeafShape]
) -> None:
    """Raise `InputError` that names the first array in which two trees differ."""
    remedy = "go back to the config it was made with, or use a new --workdir"
    for name, want in asked.items():
        have = saved.get(name)
        if have is not None and have != want:
            kept, wanted = (have, want) if want.dtype else (have.shape, want.shape)
            raise InputError(
                f"checkpoint {where} has {name} of shape {kept} but the config asks "
                f"for {wanted}: did {_likely(name, have, want)} change? If so {remedy}"
            )
    for name in [*asked, *saved]:
        if (name in saved) != (name in asked):
            verb = "has" if name in saved else "lacks"
            raise InputError(
                f"checkpoint {where} {verb} {name}, unlike what the config asks for: "
                f"did the method, the optimiser or the network change? If so {remedy}"
            )


def damaged(where: Path) -> Damaged:
    """What to say of a step that is not what was saved."""
    return Damaged(
        f"checkpoint {where} is truncated or damaged", "restore it from a copy"
    )


def unreadable(where: Path, error: BaseException) -> Trouble:
    """What to say where a step cannot be read: for the moment, or as it is damaged."""
    missing = isinstance(error, FileNotFoundError)
    if not missing and (told := trouble_of(error, where, "read")):
        return told
    try:  # does the disk give all that there is?
        for file in where.rglob("*"):
            if file.is_file():
                file.read_bytes()
    except OSError as refused:
        return trouble_of(refused, where, "read") or damaged(where)
    return damaged(where)


def _absent(where: Path, names: list[str], error: Exception) -> InputError:
    """What to say of arrays that cannot be opened."""
    said = str(error)
    if "NOT_FOUND" not in said or not (where / "state/manifest.ocdbt").exists():
        return unreadable(where, error)
    lost = next((name for name in names if f'"{name}/' in said), names[0])
    return InputError(
        f"checkpoint {where} lacks {lost}: was it made with another network? Choose a "
        "folder made with this config"
    )


def _open(where: Path, names: list[str]) -> list[Any]:
    """TensorStore handles of the named arrays; `ValueError` if one cannot be opened."""
    import tensorstore

    # One cache for them all, else each opening reads the index anew.
    context = tensorstore.Context({"cache_pool": {"total_bytes_limit": 100_000_000}})
    opened = [
        tensorstore.open(_spec(where, name), read=True, context=context)
        for name in names
    ]
    return [future.result() for future in opened]


def _spec(where: Path, name: str) -> dict[str, Any]:
    """How TensorStore finds one array; a chunk that is lost must not read as zeros."""
    base = {"driver": "file", "path": f"{where}/state/"}
    return {
        "driver": "zarr",
        "kvstore": {"driver": "ocdbt", "base": base, "path": name},
        "fill_missing_data_reads": False,
    }


def _name(path: tuple[Any, ...]) -> str:
    return keystr(path, simple=True, separator=".")


def _shape(leaf: Any) -> LeafShape:
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.eval_shape(jax.random.key_data, leaf)
    return LeafShape(tuple(leaf.shape), np.dtype(leaf.dtype).name)


def _likely(name: str, saved: LeafShape, asked: LeafShape) -> str:
    """The config key that most likely explains a difference."""
    pairs = list(zip(saved.shape, asked.shape, strict=False))
    axis = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
    keys = _KEYS.get(name.rsplit(".", 1)[-1], ())
    return keys[axis] if axis is not None and axis < len(keys) else "the network"
