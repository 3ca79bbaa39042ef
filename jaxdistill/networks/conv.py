"""Convolutions in four lowerings, each differentiable to any order.

"lax" is XLA's own, with JAX's derivatives. "gemm" is one product of shifted slices,
which a population of networks turns into a batched product. "canonical" is XLA's own
with derivatives that stay on its fast path for CPUs. "winograd" has less than half the
products for windows of 3, stride 1 and no dilation (others go to "canonical"). "auto"
takes the fastest that was measured on the backend.

Outside of "lax", strided, dilated and transposed convolutions are rearranged to one of
stride 1 (`jaxdistill.networks.rearrange`), a window of one pixel is a product of
matrices, and one window a channel is a sum of shifted products
(`jaxdistill.networks.depthwise`).
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxdistill.networks.canonical import canonical_conv
from jaxdistill.networks.depthwise import depthwise_conv
from jaxdistill.networks.rearrange import (
    Pair,
    batch_to_space,
    depth_to_space,
    folded_kernel,
    pair,
    resized,
    space_to_batch,
    space_to_depth,
    unfolded_kernel,
)
from jaxdistill.networks.winograd import winograd_conv

FEW, MANY = 32, 64  # channels on either side; `benchmarks/unroll.py`
LOWERINGS = ("auto", "canonical", "gemm", "lax", "winograd")
# "auto" where few channels come on large maps: the columns of "gemm" leave the caches.
ON_MAPS = "auto_on_maps"
LAYOUT = ("NHWC", "HWIO", "NHWC")

# `with in_lowering("lax"): ...`: every convolution takes it, whatever was asked for.
# What is compiled within and without is kept apart by JAX.
in_lowering = jax.make_user_context(default_value="")


def conv(
    images: Float[Array, "n h w c"],
    kernel: Float[Array, "kh kw c o"],
    *,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    lowering: str = "auto",
) -> Float[Array, "n oh ow o"]:
    """Cross-correlation, with `padding` zeros on every side of the images.

    Numbers for rows and columns each, or one for both.
    """
    lowering = _chosen(lowering, kernel)
    images, kernel = _of_one_type(images, kernel)
    stride, padding, dilation = pair(stride), pair(padding), pair(dilation)
    if lowering == "lax":
        return _lax(images, kernel, stride, padding, dilation)
    if dilation != (1, 1):
        kernel, padding = _within_reach(images, kernel, padding, dilation)
    if lowering == "gemm" or (stride != (1, 1) and dilation != (1, 1)):
        return _gemm(images, kernel, stride, padding, dilation)
    if stride != (1, 1):
        return _strided(images, kernel, stride, padding, lowering)
    if dilation != (1, 1):
        return _dilated(images, kernel, padding, dilation, lowering)
    return _plain(images, kernel, padding, lowering)


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
    lowering = _chosen(lowering, kernel)
    images, kernel = _of_one_type(images, kernel)
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
    lowering = _chosen(lowering, kernel)
    images, kernel = _of_one_type(images, kernel)
    n, h, w, c = images.shape
    if lowering == "lax":
        wide = jnp.broadcast_to(images[:, :, None, :, None], (n, h, 2, w, 2, c))
        wide = wide.reshape(n, 2 * h, 2 * w, c)
        return _lax(wide, kernel, (1, 1), (1, 1), (1, 1))
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
    seen = conv(_pad(images, (1, 1)), small, lowering=lowering)
    blocks = seen.reshape(n, h + 1, w + 1, 2, 2, -1)
    places = [
        jnp.stack([blocks[:, a : a + h, b : b + w, a, b] for b in (0, 1)], axis=3)
        for a in (0, 1)
    ]
    return jnp.stack(places, axis=2).reshape(n, 2 * h, 2 * w, -1)


def depthwise(
    images: Float[Array, "n h w c"],
    kernel: Float[Array, "kh kw c"],
    *,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    lowering: str = "auto",
) -> Float[Array, "n oh ow c"]:
    """Cross-correlation of each channel with its own window (groups = channels)."""
    images, kernel = _of_one_type(images, kernel)
    stride, padding, dilation = pair(stride), pair(padding), pair(dilation)
    lowering = in_lowering.value or lowering
    if lowering in ("auto", ON_MAPS):
        lowering = "canonical" if jax.default_backend() == "cpu" else "lax"
    if lowering == "lax" or (stride != (1, 1) and dilation != (1, 1)):
        return _lax(
            images, kernel[:, :, None], stride, padding, dilation, kernel.shape[2]
        )
    if stride == (1, 1):
        return depthwise_conv(images, kernel, padding, dilation)
    images = _blocks(images, kernel, stride, padding)
    parts = depthwise_conv(images, folded_kernel(kernel, stride), (0, 0))
    return parts.reshape(*parts.shape[:3], -1, kernel.shape[2]).sum(3)


def _of_one_type(images: Array, kernel: Array) -> tuple[Array, Array]:
    dtype = jnp.result_type(images, kernel)
    return images.astype(dtype), kernel.astype(dtype)


def _chosen(lowering: str, kernel: Array) -> str:
    lowering = in_lowering.value or lowering
    if lowering not in ("auto", ON_MAPS):
        return lowering
    # Other backends: XLA's own until a measurement on the device says otherwise.
    if jax.default_backend() != "cpu":
        return "lax"
    *window, channels, out = kernel.shape
    if max(channels, out) < FEW and lowering != ON_MAPS:
        return "gemm"
    wide = min(channels, out) >= MANY and window == [3, 3]
    return "winograd" if wide else "canonical"


def _lax(
    images: Array,
    kernel: Array,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int = 1,
) -> Array:
    return lax.conv_general_dilated(
        images,
        kernel,
        window_strides=stride,
        padding=[(p, p) for p in padding],
        rhs_dilation=dilation,
        dimension_numbers=LAYOUT,
        feature_group_count=groups,
    )


def _within_reach(
    images: Array, kernel: Array, padding: Pair, dilation: Pair
) -> tuple[Array, Pair]:
    """The kernel without outer taps that see zeros alone, and the padding left."""
    cuts = []
    for size, k, p, d in zip(
        images.shape[1:3], kernel.shape[:2], padding, dilation, strict=True
    ):
        last = size + 2 * p - d * (k - 1) - 1  # row of the output
        cut = 0
        while (
            2 * (cut + 1) < k
            and p - (cut + 1) * d >= 0
            and cut * d - p + last < 0
            and (k - 1 - cut) * d - p >= size
        ):
            cut += 1
        cuts.append(cut)
    (top, left), (kh, kw) = cuts, kernel.shape[:2]
    kernel = kernel[top : kh - top, left : kw - left]
    return kernel, (padding[0] - top * dilation[0], padding[1] - left * dilation[1])


def _plain(images: Array, kernel: Array, padding: Pair, lowering: str) -> Array:
    """Stride 1, no dilation."""
    window = kernel.shape[:2]
    if window == (1, 1):
        n, h, w, c = (images := _pad(images, padding)).shape
        return (images.reshape(-1, c) @ kernel[0, 0]).reshape(n, h, w, -1)
    if lowering == "winograd" and window == (3, 3) and padding[0] == padding[1]:
        inside = min(padding[0], 2)
        images = _pad(images, (padding[0] - inside, padding[0] - inside))
        return winograd_conv(images, kernel, inside)
    # The output, which is the kernel of the kernel's derivative, may not outgrow the
    # images: a larger one leaves the fast path.
    rows, cols = (min(p, (k - 1) // 2) for p, k in zip(padding, window, strict=True))
    images = _pad(images, (padding[0] - rows, padding[1] - cols))
    return canonical_conv(images, kernel, (rows, cols))


def _strided(
    images: Array, kernel: Array, stride: Pair, padding: Pair, lowering: str
) -> Array:
    images = _blocks(images, kernel, stride, padding)
    return _plain(images, folded_kernel(kernel, stride), (0, 0), lowering)


def _blocks(images: Array, kernel: Array, stride: Pair, padding: Pair) -> Array:
    """The pixels that strided windows see, those of one stride as channels."""
    window, sizes = kernel.shape[:2], []
    for size, k, s, p in zip(images.shape[1:3], window, stride, padding, strict=True):
        outputs = (size + 2 * p - k) // s + 1
        sizes.append((outputs + -(-k // s) - 1) * s)
    kept = (min(stride[0], window[0]), min(stride[1], window[1]))
    return space_to_depth(resized(images, padding, (sizes[0], sizes[1])), stride, kept)


def _dilated(
    images: Array, kernel: Array, padding: Pair, dilation: Pair, lowering: str
) -> Array:
    before, inside, sizes, outputs = [], [], [], []
    for size, k, p, d in zip(
        images.shape[1:3], kernel.shape[:2], padding, dilation, strict=True
    ):
        within = min(p // d, (k - 1) // 2)
        outputs.append(size + 2 * p - d * (k - 1))
        before.append(p - within * d)
        inside.append(within)
        sizes.append((-(-outputs[-1] // d) + k - 1 - 2 * within) * d)
    images = resized(images, (before[0], before[1]), (sizes[0], sizes[1]))
    images = space_to_batch(images, dilation)
    images = _plain(images, kernel, (inside[0], inside[1]), lowering)
    return resized(batch_to_space(images, dilation), (0, 0), (outputs[0], outputs[1]))


def _gemm(
    images: Array, kernel: Array, stride: Pair, padding: Pair, dilation: Pair
) -> Array:
    *window, _, out = kernel.shape
    columns = _columns(_pad(images, padding), window, stride, dilation)
    return columns @ kernel.reshape(-1, out)


def _columns(images: Array, window: list[int], stride: Pair, dilation: Pair) -> Array:
    """What each output pixel sees, laid out along the last axis as the kernel is."""
    (kh, kw), (down, right) = window, dilation
    n, h, w, c = images.shape
    rows = (h - down * (kh - 1) - 1) // stride[0] * stride[0] + 1
    cols = (w - right * (kw - 1) - 1) // stride[1] * stride[1] + 1
    shifted = [
        lax.slice(images, (0, i, j, 0), (n, i + rows, j + cols, c), (1, *stride, 1))
        for i in range(0, down * kh, down)
        for j in range(0, right * kw, right)
    ]
    return jnp.concatenate(shifted, axis=-1) if len(shifted) > 1 else shifted[0]


def _pad(images: Array, padding: Pair) -> Array:
    if padding == (0, 0):
        return images
    return jnp.pad(images, ((0, 0), *((p, p) for p in padding), (0, 0)))
