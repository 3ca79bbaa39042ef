"""The k x k convolution in four lowerings, each differentiable to any order.

"lax" is XLA's own, with JAX's derivatives. "gemm" is one product of shifted slices,
which a population of networks turns into a batched product. "canonical" is XLA's own
with derivatives that stay on its fast path for CPUs (stride 1; others go to "gemm").
"winograd" has less than half the products for windows of 3 and stride 1 (others go to
"canonical"). "auto" takes the fastest that was measured on the backend.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxdistill.networks.canonical import canonical_conv
from jaxdistill.networks.winograd import winograd_conv

FEW, MANY = 32, 64  # channels on either side; `benchmarks/unroll.py`
LOWERINGS = ("auto", "canonical", "gemm", "lax", "winograd")


def conv(
    images: Float[Array, "n h w c"],
    kernel: Float[Array, "kh kw c o"],
    *,
    stride: int = 1,
    padding: int = 0,
    lowering: str = "auto",
) -> Float[Array, "n oh ow o"]:
    """Cross-correlation, with `padding` zeros on every side of the images."""
    if lowering == "auto":
        lowering = _fastest(kernel)
    dtype = jnp.result_type(images, kernel)
    images, kernel = images.astype(dtype), kernel.astype(dtype)
    lower = {
        "canonical": _canonical,
        "gemm": _gemm,
        "lax": _lax,
        "winograd": _winograd,
    }[lowering]
    return lower(images, kernel, stride, padding)


def _fastest(kernel: Array) -> str:
    # Other backends: XLA's own until a measurement on the device says otherwise.
    if jax.default_backend() != "cpu":
        return "lax"
    *window, channels, out = kernel.shape
    if max(channels, out) < FEW:
        return "gemm"
    wide = min(channels, out) >= MANY and window == [3, 3]
    return "winograd" if wide else "canonical"


def _lax(images: Array, kernel: Array, stride: int, padding: int) -> Array:
    return lax.conv_general_dilated(
        images,
        kernel,
        window_strides=(stride, stride),
        padding=((padding, padding), (padding, padding)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _canonical(images: Array, kernel: Array, stride: int, padding: int) -> Array:
    if stride > 1:
        return _gemm(images, kernel, stride, padding)
    # The output, which is the kernel of the kernel's derivative, may not outgrow the
    # images: a larger one leaves the fast path.
    inside = min(padding, *((size - 1) // 2 for size in kernel.shape[:2]))
    images = _pad(images, padding - inside)
    return canonical_conv(images, kernel, (inside, inside))


def _winograd(images: Array, kernel: Array, stride: int, padding: int) -> Array:
    if stride > 1 or kernel.shape[:2] != (3, 3):
        return _canonical(images, kernel, stride, padding)
    inside = min(padding, 2)
    return winograd_conv(_pad(images, padding - inside), kernel, inside)


def _gemm(images: Array, kernel: Array, stride: int, padding: int) -> Array:
    *window, _, out = kernel.shape
    columns = _columns(images, window, stride, padding)
    return columns @ kernel.reshape(-1, out)


def _columns(images: Array, window: list[int], stride: int, padding: int) -> Array:
    """What each output pixel sees, laid out along the last axis as the kernel is."""
    kh, kw = window
    images = _pad(images, padding)
    n, h, w, c = images.shape
    rows = (h - kh) // stride * stride + 1
    cols = (w - kw) // stride * stride + 1
    shifted = [
        lax.slice(
            images, (0, i, j, 0), (n, i + rows, j + cols, c), (1, stride, stride, 1)
        )
        for i in range(kh)
        for j in range(kw)
    ]
    return jnp.concatenate(shifted, axis=-1) if len(shifted) > 1 else shifted[0]


def _pad(images: Array, padding: int) -> Array:
    sides = (padding, padding)
    return jnp.pad(images, ((0, 0), sides, sides, (0, 0))) if padding else images
