"""A distilled set as a file: what it takes to train on it, and pixels to look at."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill.data.standard import to_unit
from jaxdistill.errors import InputError
from jaxdistill.run.files import load_npz, save_npz
from jaxdistill.types import Pool, Standard, Synthetic, Whitening


class SavedSet(NamedTuple):
    """A distilled set with what its inputs mean."""

    synthetic: Synthetic
    standard: Standard
    class_names: tuple[str, ...]


def save_synthetic(path: Path, synthetic: Synthetic, pool: Pool) -> None:
    """Write one npz: inputs, logits, learning rate, standardisation, bytes to view.

    `images` are standardised inputs (float32); `pixels` the same as uint8, clipped.
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
    }
    if pool.standard.whitening is not None:
        whitening = pool.standard.whitening._asdict()
        arrays |= {f"zca_{name}": value for name, value in whitening.items()}
    save_npz(path, **arrays)


def load_synthetic(path: Path) -> SavedSet:
    """Read what `save_synthetic` wrote; `InputError` for another or a damaged file."""
    required = ("images", "logits", "raw_lr", "mean", "std", "class_names")
    arrays = load_npz(path, required)
    images, logits = arrays["images"], arrays["logits"]
    if images.ndim != 4 or logits.shape != (len(images), len(arrays["class_names"])):
        raise InputError(
            f"{path} holds images of shape {images.shape} and logits of shape "
            f"{logits.shape}, which do not belong together: distil it again"
        )
    rates = arrays["raw_lr"]
    if not len(images) or (rates.ndim != 0 and (rates.ndim != 2 or not rates.size)):
        raise InputError(
            f"{path} holds {len(images)} images and a learning rate of shape "
            f"{rates.shape}; one image or more are needed, and one rate, or one for "
            "every epoch and step: distil it again"
        )
    if not all(np.isfinite(part).all() for part in (images, logits, rates)):
        raise InputError(f"{path} holds NaN or infinite values: distil it again")
    whitening = None
    if "zca_forward" in arrays:
        parts = [jnp.asarray(arrays[f"zca_{name}"]) for name in Whitening._fields]
        whitening = Whitening(*parts)
    return SavedSet(
        Synthetic(*(jnp.asarray(arrays[name]) for name in Synthetic._fields)),
        Standard(jnp.asarray(arrays["mean"]), jnp.asarray(arrays["std"]), whitening),
        tuple(str(name) for name in arrays["class_names"]),
    )


def require_fits(saved: SavedSet, path: Path, pool: Pool) -> None:
    """`InputError` unless the set has the pool's image shape and classes."""
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
