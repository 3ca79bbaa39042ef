"""Which lowering computes a convolution, and XLA's own."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from jaxdistill.networks.rearrange import Pair

FEW, MANY = 32, 64  # channels on either side; `benchmarks/unroll.py`
LOWERINGS = ("auto", "canonical", "gemm", "lax", "winograd")
# "auto" on the large maps of segmenters: what "gemm" and "winograd" lay out leaves the
# caches there, so that few channels are better "canonical", and many up to `WIDE`.
ON_MAPS, WIDE = "auto_on_maps", 256
LAYOUT = ("NHWC", "HWIO", "NHWC")

# `with in_lowering("lax"): ...`: every convolution takes it, whatever was asked for.
# What is compiled within and without is kept apart by JAX.
in_lowering = jax.make_user_context(default_value="")


def chosen(lowering: str, kernel: Array) -> str:
    """The lowering that is meant, for a kernel `kh kw c o`."""
    lowering = in_lowering.value or lowering
    if lowering not in ("auto", ON_MAPS):
        return lowering
    # Other backends: XLA's own until a measurement on the device says otherwise.
    if jax.default_backend() != "cpu":
        return "lax"
    *window, channels, out = kernel.shape
    if max(channels, out) < FEW and lowering != ON_MAPS:
        return "gemm"
    enough = WIDE if lowering == ON_MAPS else MANY
    wide = min(channels, out) >= enough and window == [3, 3]
    return "winograd" if wide else "canonical"


def of_one_type(images: Array, kernel: Array) -> tuple[Array, Array]:
    """Both in the type of their product."""
    dtype = jnp.result_type(images, kernel)
    return images.astype(dtype), kernel.astype(dtype)


def xla_conv(
    images: Array,
    kernel: Array,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    *,
    groups: int = 1,
) -> Array:
    """Cross-correlation by XLA, with the derivatives that JAX has for it."""
    return lax.conv_general_dilated(
        images,
        kernel,
        window_strides=stride,
        padding=[(p, p) for p in padding],
        rhs_dilation=dilation,
        dimension_numbers=LAYOUT,
        feature_group_count=groups,
    )
