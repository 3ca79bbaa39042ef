"""How a stack of equal computations is mapped: a choice for the backend, not the
method.

`vmap` turns many small matrix products into batched ones, what an accelerator wants. On
a CPU each network alone stays in cache, and one after another keeps `lax.switch` a
branch, where vmap computes every branch and selects (`benchmarks/peer_torch.py`
compares the two).
"""

from collections.abc import Callable

import jax
from jaxtyping import PyTree

from jaxdistill.errors import require_name

MODES = ("auto", "vmap", "map")


def map_population(fn: Callable, *stacked: PyTree, mode: str = "auto") -> PyTree:
    """`fn` of every entry along the first axis of `stacked`, results stacked.

    `mode` is "vmap" (all at once), "map" (one after another) or "auto": "map" on CPUs,
    "vmap" elsewhere. Raises `InputError` for another mode.
    """
    require_name("devices.population", mode, MODES)
    if mode == "auto":
        mode = "map" if jax.default_backend() == "cpu" else "vmap"
    size = jax.tree.leaves(stacked)[0].shape[0]
    if size == 1:  # neither a batched product nor a loop for one entry
        alone = fn(*jax.tree.map(lambda x: x[0], stacked))
        return jax.tree.map(lambda x: x[None], alone)
    if mode == "vmap":
        return jax.vmap(fn)(*stacked)
    return jax.lax.map(lambda entry: fn(*entry), stacked)
