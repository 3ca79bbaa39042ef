"""A distilled set as a file: what it takes to train on it, and pixels to look at."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill.data.standard import to_unit
from jaxdistill.engine.schedule import INNERS, Schedule
from jaxdistill.errors import InputError
from jaxdistill.foreign import Field, read_npz
from jaxdistill.foreign.arrays import MOST
from jaxdistill.run.files import read_record, save_npz
from jaxdistill.types import Pool, Standard, Synthetic, Whitening

REMEDY = "distil it again"
MOST_STEPS = 100_000
FIELDS = {
    "images": Field("m h w c"),
    "logits": Field("m k"),
    "raw_lr": Field("..."),
    "mean": Field("c"),
    "std": Field("c"),
    "class_names": Field("k", "U"),
    "mosaic": Field("", "iu", needed=False),
    "inner": Field("", "U", needed=False),
    "passes": Field("", "iu", needed=False),
    "zca_centre": Field("d", needed=False),
    "zca_forward": Field("d d", needed=False),
    "zca_inverse": Field("d d", needed=False),
}


class SavedSet(NamedTuple):
    """A distilled set with what its inputs mean."""

    synthetic: Synthetic
    standard: Standard
    class_names: tuple[str, ...]
    mosaic: int = 0  # k: an image holds k x k; 0: the file does not tell
    schedule: Schedule | None = None  # of a rate for every step, where the file tells


def save_synthetic(
    path: Path,
    synthetic: Synthetic,
    pool: Pool,
    mosaic: int = 1,
    schedule: Schedule | None = None,
) -> None:
    """Write one npz: inputs, logits, learning rate, standardisation, bytes to view.

    `images` are standardised inputs (float32); `pixels` the same as uint8, clipped.
    With a rate for every step goes the `schedule` that these were learned by.
    """
    unit = np.asarray(to_unit(synthetic.images, pool.standard))
    arrays: dict[str, Any] = {
        "images": synthetic.images,
        "logits": synthetic.logits,
        "labels": jax.nn.softmax(synthetic.logits),
        "raw_lr": synthetic.raw_lr,
        "lr": synthetic.lr,
        "pixels": np.clip(np.round(unit * 255), 0, 255).astype(np.uint8),
        "mean": pool.standard.mean,
        "std": pool.standard.std,
        "class_names": np.asarray(pool.class_names),
        "mosaic": mosaic,
    }
    if schedule is not None and np.ndim(synthetic.raw_lr):
        arrays |= schedule._asdict()
    if pool.standard.whitening is not None:
        whitening = pool.standard.whitening._asdict()
        arrays |= {f"zca_{name}": value for name, value in whitening.items()}
    save_npz(path, **arrays)


def set_file(path: Path) -> Path:
    """The file of a set: of a finished distillation's folder, the one it chose."""
    summary = path / "summary.json"
    if not summary.is_file():
        return path
    chosen = read_record(summary).get("synthetic")
    if not isinstance(chosen, str):
        raise InputError(
            f"{path} holds no finished distillation: name a set, or the folder of a "
            "jaxdistill distill that has ended"
        )
    return path / chosen


def load_synthetic(path: Path) -> SavedSet:
    """Read what `save_synthetic` wrote; `InputError` for another or a damaged file."""
    arrays = read_npz(path, FIELDS, remedy=REMEDY)
    seen = len(arrays["images"]) * int(arrays.get("mosaic", 1)) ** 2
    _require_rates(path, arrays["raw_lr"], seen)
    if not (arrays["std"] > 0).all():
        raise InputError(f"{path} holds a deviation of 0 or less: {REMEDY}")
    single = {
        name: jnp.asarray(values, jnp.float32)
        for name, values in arrays.items()
        if name not in ("class_names", "mosaic", *Schedule._fields)
    }
    parts: list[Any] = [single.get(f"zca_{name}") for name in Whitening._fields]
    pixels = math.prod(arrays["images"].shape[1:])
    whitened = [part is not None and len(part) == pixels for part in parts]
    if any(part is not None for part in parts) and not all(whitened):
        raise InputError(
            f"{path} holds a whitening that is not of its {pixels} pixels: {REMEDY}"
        )
    return SavedSet(
        Synthetic(*(single[name] for name in Synthetic._fields)),
        Standard(
            single["mean"], single["std"], Whitening(*parts) if all(whitened) else None
        ),
        tuple(str(name) for name in arrays["class_names"]),
        int(arrays.get("mosaic", 0)),
        _schedule(path, arrays),
    )


def _schedule(path: Path, arrays: Mapping[str, np.ndarray]) -> Schedule | None:
    if not set(Schedule._fields) <= set(arrays):
        return None
    made = Schedule(str(arrays["inner"]), int(arrays["passes"]))
    if made.inner not in INNERS or made.passes < 1:
        raise InputError(
            f"{path} was learned by inner={made.inner!r} in passes={made.passes}; it "
            f"must be one of {', '.join(INNERS)}, in 1 or more: {REMEDY}"
        )
    return made


def require_readable(synthetic: Synthetic, standard: Standard) -> None:
    """`InputError` for a set so large that `load_synthetic` would refuse it."""
    # Images and labels are as long again as what is read of them.
    held = jax.tree.leaves((synthetic, standard))
    if (size := sum(4 * leaf.size for leaf in held)) > MOST:
        raise InputError(
            f"a set of {size:,} bytes; at most {MOST:,} are read of a set's file: "
            "lower ipc or data.size, or set data.zca=false"
        )


def _require_rates(path: Path, rates: np.ndarray, images: int) -> None:
    """`InputError` unless there is one rate, or one for every epoch and step."""
    scheduled = rates.ndim == 2 and 0 < rates.size <= MOST_STEPS
    if rates.ndim and (not scheduled or images % rates.shape[1]):
        raise InputError(
            f"{path} holds {images} images and a learning rate of shape "
            f"{rates.shape}; there must be one rate, or one for every epoch and step, "
            f"whose steps divide the images: {REMEDY}"
        )


def require_fits(
    saved: SavedSet, path: Path, pool: Pool, mosaic: int | None = None
) -> None:
    """`InputError` unless the set has the pool's image shape and classes.

    So it does where it is a mosaic and `mosaic` is another number, unless that is None.
    """
    if mosaic and saved.mosaic and saved.mosaic != mosaic:
        raise InputError(
            f"{path} holds images of {saved.mosaic} x {saved.mosaic} smaller ones, "
            f"where mosaic={mosaic}: set mosaic={saved.mosaic}"
        )
    shape = saved.synthetic.images.shape[1:]
    if shape != pool.image_shape or saved.class_names != pool.class_names:
        raise InputError(
            f"{path} holds images of shape {shape} of {', '.join(saved.class_names)}, "
            f"but {pool.name} has {pool.image_shape} of {', '.join(pool.class_names)}: "
            "use it with the data it was distilled from"
        )
    whitened = [one.whitening is not None for one in (saved.standard, pool.standard)]
    if whitened[0] != whitened[1]:
        raise InputError(
            f"{path} was distilled with data.zca={whitened[0]} where {pool.name} has "
            f"data.zca={whitened[1]}: use it with the data it was distilled from"
        )
    for mine, other in zip(saved.standard[:2], pool.standard[:2], strict=True):
        if not np.allclose(mine, other, rtol=1e-3, atol=1e-3):
            raise InputError(
                f"{path} was standardised by {np.asarray(mine).tolist()} where "
                f"{pool.name} has {np.asarray(other).tolist()}: use it with "
                "the data it was distilled from"
            )
