"""Each kind of convolution in a scan, ours against XLA's own with its derivatives.

A step of the scan is the convolution and both derivatives, for images as large as a
segmenter has them there, eight at a time.
"""

from functools import partial

import jax
import jax.numpy as jnp
from common import arguments, compiled, medians, relative_error, report

from jaxdistill.networks.conv import conv
from jaxdistill.networks.depthwise import depthwise
from jaxdistill.networks.upward import conv_transpose

STEPS = 2
# Side of the image, channels in and out, window, settings.
KINDS = {
    "3x3": (conv, 96, (16, 16), (3, 3), {"padding": 1}),
    "3x3_wide": (conv, 24, (64, 64), (3, 3), {"padding": 1}),
    "1x1": (conv, 48, (64, 16), (1, 1), {}),
    "5x1": (conv, 24, (32, 32), (5, 1), {"padding": (2, 0)}),
    "1x3": (conv, 24, (64, 64), (1, 3), {"padding": (0, 1)}),
    "3x3_stride_2": (conv, 48, (32, 64), (3, 3), {"stride": 2, "padding": 1}),
    "2x2_stride_2": (conv, 48, (16, 16), (2, 2), {"stride": 2}),
    "3x3_dilation_4": (conv, 24, (32, 32), (3, 3), {"dilation": 4, "padding": 4}),
    "transposed_2x2": (conv_transpose, 48, (16, 16), (2, 2), {"stride": 2}),
    "transposed_3x3": (
        conv_transpose,
        24,
        (64, 32),
        (3, 3),
        {"stride": 2, "padding": 1, "output_padding": 1},
    ),
    "depthwise": (depthwise, 24, (96, None), (3, 3), {"padding": 1}),
    "depthwise_stride_2": (
        depthwise,
        48,
        (96, None),
        (3, 3),
        {"stride": 2, "padding": 1},
    ),
}


def steps(kind, settings, lowering: str):
    """`(images, kernel) -> (images, kernel)` after a few steps downhill."""
    ours = partial(kind, **settings, lowering=lowering)

    def energy(images, kernel):
        return 0.5 * jnp.square(ours(images, kernel)).sum()

    def step(state, _):
        images, kernel = state
        along, across = jax.grad(energy, (0, 1))(images, kernel)
        pixels = images.size / images.shape[-1]
        return (images - 0.1 * along, kernel - across / pixels), None

    return lambda *state: jax.lax.scan(step, state, None, length=STEPS)[0]


def row(name: str, smoke: bool) -> dict:
    """Seconds of one step on either side, and how far the results are apart."""
    kind, side, (channels, out), window, settings = KINDS[name]
    side = side // 4 if smoke else side
    keys = jax.random.split(jax.random.key(0))
    images = jax.random.normal(keys[0], (1 if smoke else 8, side, side, channels))
    widths = (channels,) if out is None else (channels, out)
    kernel = jax.random.normal(keys[1], (*window, *widths)) / 10
    calls, _ = zip(
        *(
            compiled(steps(kind, settings, how), images, kernel)
            for how in ("canonical", "lax")
        ),
        strict=True,
    )
    ours, lax = (s / STEPS for s in medians(1 if smoke else 5, *calls))
    error = relative_error(calls[0](), calls[1]())
    return {
        "name": name,
        "ours_seconds": ours,
        "lax_seconds": lax,
        "ratio": lax / ours,
        "relative_error": error,
    }


def main():
    """A row for each kind."""
    args = arguments(__doc__, choice=True)
    names = [name for name in KINDS if args.only in name]
    report("convolutions", args, (row(name, args.smoke) for name in names))


if __name__ == "__main__":
    main()
