"""Time and memory of our outer gradients, and of the convolution's lowerings.

The outer gradient with respect to images and rates, ConvNet 128x3, ten 32x32x3 images.
"""

import jax
import jax.numpy as jnp
from common import arguments, compiled, medians, relative_error, report

from jaxdistill.engine.losses import soft_cross_entropy
from jaxdistill.engine.microbatch import microbatch
from jaxdistill.engine.unroll import unroll
from jaxdistill.networks import convnet

CLASSES = 10
FULL = {"width": 128, "depth": 3}
SMOKE = {"width": 8, "depth": 1}
MOST_BYTES = 4_000_000_000  # what needs more is compiled, not run


def outer_gradient(network, steps: int, gradient: str = "sweep"):
    """`(images, lr, params, target)` -> gradients; Cazenavette et al. 2022, eq. 2."""

    def loss(params, images, rows):
        return soft_cross_entropy(
            network.apply(params, images[rows]), jnp.eye(CLASSES)[rows]
        )

    def outer(images, lr, params, target):
        rates = jnp.full((steps,), lr)
        rows = jnp.arange(CLASSES).reshape(
            -1, microbatch(network, images.shape[1:], CLASSES)
        )
        given = jnp.broadcast_to(rows, (steps, *rows.shape))
        final = unroll(loss, params, images, rates, given, gradient=gradient)
        return _squared(final, target) / _squared(params, target)

    return jax.grad(outer, (0, 1))


def problem(network, shape):
    """Images, learning rate, start and target, the arguments of `outer_gradient`."""
    keys = jax.random.split(jax.random.key(0), 3)
    images = jax.random.normal(keys[0], (CLASSES, *shape))
    return images, jnp.asarray(0.01), network.init(keys[1]), network.init(keys[2])


def _squared(a, b):
    return sum(jax.tree.leaves(jax.tree.map(lambda x, y: jnp.sum((x - y) ** 2), a, b)))


def main():
    """Rows by gradient and length, then by lowering."""
    args = arguments(__doc__)
    shape, size = ((8, 8, 3), SMOKE) if args.smoke else ((32, 32, 3), FULL)
    lengths, repeats = ((3,), 1) if args.smoke else ((30, 100), 3)
    network = convnet(shape, CLASSES, **size)
    rows = []
    for steps in lengths:
        ways = {way: (network, steps, way) for way in ("sweep", "checkpoint", "plain")}
        rows += measure(ways, f"{steps}_steps", shape, repeats)
    lowerings = {
        how: (convnet(shape, CLASSES, **size, conv=how), 2)
        for how in ("canonical", "gemm", "lax", "winograd")
    }
    rows += measure(lowerings, "2_steps", shape, repeats)
    report("unroll", args, rows)


def measure(ways: dict, suffix: str, shape, repeats: int) -> list[dict]:
    """One row for each way to compute the same gradient; errors against the first."""
    rows, calls = [], []
    for way, (network, *choice) in ways.items():
        call, size = compiled(
            outer_gradient(network, *choice), *problem(network, shape)
        )
        rows.append({"name": f"{way}_{suffix}", "seconds": None, "bytes": size})
        if size <= MOST_BYTES:
            calls.append((rows[-1], call))
    seconds = medians(repeats, *(call for _, call in calls))
    want = calls[0][1]()
    for (row, call), taken in zip(calls, seconds, strict=True):
        row |= {"seconds": taken, "relative_error": relative_error(call(), want)}
    return rows


if __name__ == "__main__":
    main()
