"""The order in which films are seen: epochs over all, and passes over labelled ones.

    |u|l l l|u u u ... u|u|l l l|u u ...     u films, l labelled films, a batch each

After the first of every `every` batches come all the labelled films once. Where a step
stands is a function of its number, and so is the order, so that a run goes on in the
middle of a pass.

A compiled step is told the lengths of its course as data, its `Pace`: courses of any
length share a program.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxdistill.selfsupervised.pretext import Now, require_films


class Fed(NamedTuple):
    """What the host tells a step: places in the batch, and which films stand there."""

    numbers: Any  # int32, " n", on the host or the device
    films: Any


class Pace(NamedTuple):
    """The lengths of a course, in batches, and its epochs."""

    times: Any  # of films in all
    per_epoch: Any
    epochs: Any
    every: Any  # of films between passes over the labelled
    per_pass: Any  # 0: no pass

    def now(self, step: Array) -> Now:
        """Where a step stands."""
        time, correcting, _ = self.place(step, jnp)
        epoch = time // self.per_epoch
        return Now(time, self.times, epoch, self.epochs, self.per_epoch, correcting)

    def place(self, step: Any, xp: Any) -> tuple[Any, Any, Any]:
        """Batches of films before it, whether it is of a pass, and where in the pass.

        A step of a pass stands at the time of the batch before it. `xp` is the module
        that computes: NumPy on the host, jax.numpy on the device.
        """
        block, rest = xp.divmod(step, self.every + self.per_pass)
        behind = xp.maximum(rest - self.per_pass, 0)
        correcting = (rest > 0) & (rest <= self.per_pass)
        # The batch before the pass is the first of its block.
        return block * self.every + behind, correcting, rest - 1


class Course(NamedTuple):
    """`films` come first in the store, the `labelled` of passes behind them."""

    films: int
    batch: int
    epochs: int
    seed: int = 0
    labelled: int = 0
    every: int = 0  # batches of films between passes over the labelled; 0: no pass
    batches: int = 0  # of films in all, where they are not whole epochs

    @property
    def per_epoch(self) -> int:
        """Batches of an epoch; films that do not fill one wait for the next epoch."""
        return self.films // self.batch

    @property
    def per_pass(self) -> int:
        """Batches of a pass over labelled films."""
        return self.labelled // self.batch if self.every else 0

    @property
    def times(self) -> int:
        """Batches of films in all."""
        return self.batches or self.per_epoch * self.epochs

    @property
    def steps(self) -> int:
        """Batches in all."""
        passes = -(-self.times // self.every) if self.every else 0
        return self.times + passes * self.per_pass

    def require(self, key: str = "batch") -> None:
        """`InputError` for fewer films than a batch, which is set at `key`."""
        require_films(self.films, self.batch, "the films of an epoch", key)
        if self.every:
            told = "the labelled films of a pass"
            require_films(self.labelled, self.batch, told, key)

    @property
    def pace(self) -> Pace:
        """Its lengths; `InputError` for a course with fewer films than a batch."""
        self.require()
        every = self.every or self.times  # without a pass, of one block
        told = (self.times, self.per_epoch, self.epochs, every, self.per_pass)
        return Pace(*map(np.int32, told))

    def feed(self, step: int) -> Fed:
        """The films of a step."""
        time, correcting, at = self.pace.place(np.int64(step), np)
        if correcting:
            order = _order(self.labelled, self.seed, 1, int(time // self.every))
            films = self.films + _part(order, int(at), self.batch)
        else:
            epoch, at = divmod(int(time), self.per_epoch)
            films = _part(_order(self.films, self.seed, 0, epoch), at, self.batch)
        return Fed(np.arange(self.batch, dtype=np.int32), films)


def _part(order: np.ndarray, at: int, batch: int) -> np.ndarray:
    return order[at * batch : (at + 1) * batch]


@lru_cache(maxsize=4)
def _order(count: int, seed: int, kind: int, turn: int) -> np.ndarray:
    """A permutation, a function of its arguments on any platform."""
    bits = np.random.Philox(key=[seed, 2 * turn + kind])
    return np.random.Generator(bits).permutation(count).astype(np.int32)
