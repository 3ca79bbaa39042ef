"""Time of a training epoch by the size of the parts that a batch is divided in.

ConvNet of width 32, depth 3, batches of 128 grey images of 28 pixels: the number behind
`jaxdistill.engine.microbatch.CACHE`.
"""

import jax
import jax.numpy as jnp
from common import arguments, compiled, medians, relative_error, report

from jaxdistill.data.standard import Standard
from jaxdistill.engine import microbatch
from jaxdistill.engine.training import Examples, Recipe, begin, train_epoch
from jaxdistill.networks import convnet

SHAPE = (28, 28, 1)
CLASSES = 2


def main() -> None:
    """A row for each limit on the bytes of one activation; errors against the whole."""
    args = arguments(__doc__)
    width, batch, repeats = (4, 8, 1) if args.smoke else (32, 128, 5)
    limits = [2**14, 2**15] if args.smoke else [2**n * 5 // 4 for n in range(18, 24)]
    network = convnet(SHAPE, CLASSES, width=width, depth=3)
    recipe = Recipe(batch=batch)
    images = jax.random.normal(jax.random.key(0), (4 * batch, *SHAPE))
    targets = jax.nn.one_hot(jnp.arange(4 * batch) % CLASSES, CLASSES)
    examples = Examples(images, targets, Standard(jnp.zeros(1), jnp.ones(1)))
    start = begin(network, recipe, jax.random.key(1))
    rows, calls = [], []
    for limit in (2**40, *limits):
        microbatch.CACHE = limit
        microbatch.microbatch.cache_clear()
        part = microbatch.microbatch(network, SHAPE, batch)

        def epoch(state, examples):
            key = jax.random.key(2)
            return train_epoch(network, recipe, state, examples, 0.01, key)

        call, size = compiled(epoch, start, examples)
        name = "whole_batch" if part == batch else f"parts_of_{part}"
        rows.append({"name": name, "cache_bytes": limit, "bytes": size})
        calls.append(call)
    want = calls[0]()
    taken = medians(repeats, *calls)
    for row, call, seconds in zip(rows, calls, taken, strict=True):
        row |= {"seconds": seconds, "images_per_second": 4 * batch / seconds}
        row |= {"relative_error": relative_error(call(), want)}
    report("microbatch", args, rows)


if __name__ == "__main__":
    main()
