"""A sweep of programs over sizes, against NumPy in float64."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

CLASSES = 3
Make = Callable[[np.random.Generator, int], tuple[np.ndarray, ...]]


class Case(NamedTuple):
    """A program, what it must give, and its inputs at each size."""

    program: Callable
    reference: Callable
    inputs: Make
    sizes: tuple[int, ...]
    calls: int = 1  # of the compiled program, where some calls went wrong


def normal(*shapes: tuple[int, ...]) -> Make:
    """Normal arrays of these shapes, in which 0 stands for the size."""

    def make(rng, size):
        full = [tuple(n or size for n in shape) for shape in shapes]
        return tuple(rng.normal(size=shape).astype(np.float32) for shape in full)

    return make


def labelled(width: int) -> Make:
    """Rows with their labels."""

    def make(rng, size):
        x = rng.normal(size=(size, width)).astype(np.float32)
        return x, rng.integers(CLASSES, size=size).astype(np.int32)

    return make


def stored(rng, size) -> tuple[np.ndarray, ...]:
    """Images as bytes."""
    return (rng.integers(256, size=(size, 28, 28, 1)).astype(np.uint8),)


def shares(rng, size) -> tuple[np.ndarray, ...]:
    """Positive numbers in a column."""
    return (rng.random((size, 1)).astype(np.float32),)


def swept(case: Case) -> dict[int, float]:
    """The greatest error at every size."""
    return {size: _worst(case, size) for size in case.sizes}


def _worst(case: Case, size: int) -> float:
    inputs = case.inputs(np.random.default_rng(size), size)
    exact = [np.float64(x) if x.dtype == np.float32 else x for x in inputs]
    want, program = case.reference(*exact), jax.jit(case.program)
    return max(_error(program(*inputs), want) for _ in range(case.calls))


def _error(got: Any, want: Any) -> float:
    """The greatest difference over the greatest value, so that one wrong row shows."""
    pairs = zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True)
    return max(
        float(np.abs(np.float64(g) - w).max() / np.abs(w).max()) for g, w in pairs
    )
