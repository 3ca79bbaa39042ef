"""Elements that are made ahead of the steps that need them, in threads, by Grain.

The element of a step is a pure function of its number. So the number is all of the
reader's position, and it is in every checkpoint: a run that goes on at step s starts a
reader there, and sees what it would have seen.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

from jaxdistill.errors import InputError

INSTALL = 'pip install "jaxdistill[stream]"'


def streamed(count: int, make: Callable[[int], Any]) -> Callable[[int], Any]:
    """`make` for the numbers below `count`, quick where they are asked for in order.

    Raises `InputError` where Grain is not installed; what `make` raises is raised for
    its number.
    """
    try:
        import grain
    except ImportError:
        raise InputError(
            f"films are streamed by Grain, which is not installed: {INSTALL}, or set "
            "films.stream=false, which holds them in memory"
        ) from None
    threads = os.cpu_count() or 1
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    reader: Iterator[Any] = iter(())
    expected = -1

    def read(number: int) -> Any:
        nonlocal reader, expected
        if number != expected:
            numbers = grain.MapDataset.range(number, count)
            reader = iter(numbers.map(make).to_iter_dataset(options))
        expected = number + 1
        return next(reader)

    return read
