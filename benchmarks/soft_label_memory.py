"""Memory of `soft_label` by how many inner steps it goes back through.

ConvNet 128x3, ten 32x32x1 images and 64 real ones of each of ten classes; a step takes
20 images. A step that the sweep goes back through may add its parameters and no more:
30 steps are held to 1.2 times the sum of what 5 take and the parameters of the other
25. `plain`, which keeps every step's graph, shows what that rule is against. Memory is
the compiler's, of the temporaries of the gradient; nothing runs.
"""

import jax
import jax.numpy as jnp
from common import arguments, compiled, report

from jaxdistill.distillation.distillers.soft_label import soft_label
from jaxdistill.networks import convnet
from jaxdistill.types import Method, Synthetic

CLASSES = 10
STEPS = 5  # in a pass over the set
SLACK = 1.2


def main() -> None:
    """A row for each way back and number of steps."""
    args = arguments(__doc__)
    side, ipc, real = (8, 10, 8) if args.smoke else (32, 10, 64)
    choice = {"width": 8, "depth": 1} if args.smoke else {"width": 128, "depth": 3}
    network = convnet((side, side, 1), CLASSES, **choice)
    params = jax.eval_shape(network.init, jax.random.key(0))
    stored = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(params))
    rows = []
    for gradient in ("sweep", "plain"):
        method = soft_label(
            network, classes=CLASSES, batch_real=real, gradient=gradient
        )
        sizes = [temporaries(method, (side, ipc, real), passes) for passes in (1, 6)]
        rows += compare(gradient, sizes, stored)
    report("soft_label_memory", args, rows)


def temporaries(method: Method, size: tuple[int, int, int], passes: int) -> int:
    """Bytes of the gradient's temporaries after so many passes of `STEPS` steps."""
    side, ipc, real = size
    count = CLASSES * ipc
    synthetic = Synthetic(
        jnp.zeros((count, side, side, 1)),
        jnp.zeros((count, CLASSES)),
        jnp.zeros((passes, STEPS)),
    )
    key = jax.random.key(0)
    batch = jnp.zeros((CLASSES, real, side, side, 1))
    step = jax.value_and_grad(method.loss, has_aux=True)
    return compiled(step, synthetic, method.init(key), batch, key)[1]


def compare(gradient: str, sizes: list[int], stored: int) -> list[dict]:
    """Rows of the few steps and the many; the many beside what they are allowed."""
    few, many = sizes
    allowed = SLACK * (few + 5 * STEPS * stored)
    return [
        {"name": f"{gradient}_{STEPS}_steps", "bytes": few, "params_bytes": stored},
        {
            "name": f"{gradient}_{6 * STEPS}_steps",
            "bytes": many,
            "params_bytes": stored,
            "allowed_bytes": round(allowed),
            "within": many <= allowed,
        },
    ]


if __name__ == "__main__":
    main()
