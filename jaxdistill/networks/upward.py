"""Convolutions whose outputs are larger than their inputs."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxdistill.networks.conv import conv
from jaxdistill.networks.lowerings import LAYOUT, chosen, of_one_type, xla_conv
from jaxdistill.networks.rearrange import (
    Pair,
    depth_to_space,
    pair,
    resized,
    unfolded_kernel,
)


def conv_transpose(
    images: Float[Array, "n h w c"],
    kernel: Float[Array, "kh kw c o"],
    *,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    output_padding: int | Pair = 0,
    lowering: str = "auto",
) -> Float[Array, "n oh ow o"]:
    """The transpose of a strided convolution, as PyTorch's ConvTranspose2d has it.

        y[s r + i - p] = sum_r x[r] k[i],    oh = (h - 1) s - 2 p + kh + extra

    where `extra` is `output_padding`, rows that no window may reach. PyTorch's weight
    `c o kh kw` is this kernel transposed.
    """
    lowering = chosen(lowering, kernel)
    images, kernel = of_one_type(images, kernel)
    stride, padding, extra = pair(stride), pair(padding), pair(output_padding)
    window, given = kernel.shape[:2], images.shape[1:3]
    sizes = [
        (size - 1) * s - 2 * p + k + more
        for size, s, p, k, more in zip(
            given, stride, padding, window, extra, strict=True
        )
    ]
    if lowering == "lax":
        sides = [
            (k - 1 - p, k - 1 - p + more)
            for k, p, more in zip(window, padding, extra, strict=True)
        ]
        return lax.conv_general_dilated(
            images,
            kernel[::-1, ::-1],
            window_strides=(1, 1),
            padding=sides,
            lhs_dilation=stride,
            dimension_numbers=LAYOUT,
        )
    kernel = unfolded_kernel(kernel, stride)
    whole = (kernel.shape[0] - 1, kernel.shape[1] - 1)
    blocks = conv(images, kernel, padding=whole, lowering=lowering)
    before = (-padding[0], -padding[1])
    return resized(depth_to_space(blocks, stride), before, (sizes[0], sizes[1]))


def conv_doubled(
    images: Float[Array, "n h w c"],
    kernel: Float[Array, "3 3 c o"],
    *,
    lowering: str = "auto",
) -> Float[Array, "n h2 w2 o"]:
    """A 3 x 3 convolution, one zero around, of images with every pixel as 2 x 2.

        y[2 t] = x[t - 1] k[0] + x[t] (k[1] + k[2])
        y[2 t + 1] = x[t] (k[0] + k[1]) + x[t + 1] k[2]

    in rows, and so in columns: 16 products for 36, and no larger images in between.
    """
    lowering = chosen(lowering, kernel)
    images, kernel = of_one_type(images, kernel)
    n, h, w, c = images.shape
    if lowering == "lax":
        wide = jnp.broadcast_to(images[:, :, None, :, None], (n, h, 2, w, 2, c))
        wide = wide.reshape(n, 2 * h, 2 * w, c)
        return xla_conv(wide, kernel, (1, 1), (1, 1), (1, 1))
    rows = jnp.stack(
        [
            jnp.stack([kernel[0], kernel[1] + kernel[2]]),
            jnp.stack([kernel[0] + kernel[1], kernel[2]]),
        ]
    )  # place in the block, place in the window, column, c, o
    first, middle, last = rows[:, :, 0], rows[:, :, 1], rows[:, :, 2]
    small = jnp.stack(
        [jnp.stack([first, middle + last]), jnp.stack([first + middle, last])]
    )  # column's place, its window, row's place, its window, c, o
    small = small.transpose(3, 1, 4, 2, 0, 5).reshape(2, 2, c, -1)
    seen = conv(resized(images, (1, 1), (h + 2, w + 2)), small, lowering=lowering)
    # Split rather than indexed: the derivative is then one concatenation.
    parts = jnp.split(seen, 4, axis=-1)
    (first, second), (third, fourth) = (
        [parts[2 * a + b][:, a : a + h, b : b + w] for b in (0, 1)] for a in (0, 1)
    )
    above = jnp.stack([first, second], axis=3).reshape(n, h, 1, 2 * w, -1)
    below = jnp.stack([third, fourth], axis=3).reshape(n, h, 1, 2 * w, -1)
    return jnp.concatenate([above, below], axis=2).reshape(n, 2 * h, 2 * w, -1)
