"""Real images as small training sets: what every distilled set is measured against."""

import jax
import numpy as np
from jaxtyping import Float, Int

from jaxdistill.errors import InputError
from jaxdistill.standard import standardise
from jaxdistill.types import Network, Params, Split


def herding(
    features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], ipc: int
) -> Int[np.ndarray, " m"]:
    """Indices of `ipc` images per class whose running mean stays nearest the class
    mean.

    Welling (2009): with mu the class mean and s_j the sum of those chosen so far, the
    next is argmin over x of || (j + 1) mu - s_j - f(x) ||. Raises `InputError` for a
    class with fewer images.
    """
    features = np.asarray(features, np.float64)
    chosen = []
    for c in np.unique(labels):
        members = np.flatnonzero(labels == c)
        if len(members) < ipc:
            raise InputError(
                f"ipc={ipc} exceeds the {len(members)} training images of class {c}: "
                "lower ipc"
            )
        own = features[members]
        mu, total, free = own.mean(axis=0), np.zeros(own.shape[1]), np.ones(len(own))
        for j in range(ipc):
            distance = np.linalg.norm((j + 1) * mu - total - own, axis=1)
            best = int(np.argmin(np.where(free > 0, distance, np.inf)))
            free[best] = 0
            total += own[best]
            chosen.append(members[best])
    return np.asarray(chosen)


def embed_split(
    network: Network, params: Params, split: Split, chunk: int = 256
) -> Float[np.ndarray, "n d"]:
    """Features of every image of a split, computed in chunks."""
    embed = jax.jit(lambda x, s: network.embed(params, standardise(x, s)))
    starts = range(0, split.size, chunk)
    parts = [embed(split.images[i : i + chunk], split.standard) for i in starts]
    return np.concatenate([np.asarray(p) for p in parts])
