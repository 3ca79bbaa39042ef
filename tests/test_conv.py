"""Every kind of convolution against XLA's own, with derivatives to second order."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.networks.canonical import BAND
from jaxdistill.networks.conv import conv
from jaxdistill.networks.depthwise import depthwise
from jaxdistill.networks.upward import conv_doubled, conv_transpose

CONVS = {
    "square": ((3, 3), {"padding": 1}),
    "wide padding": ((3, 3), {"padding": 3}),
    "5 x 1": ((5, 1), {"padding": (2, 0)}),
    "1 x 3": ((1, 3), {"padding": (0, 1)}),
    "1 x 1": ((1, 1), {}),
    "stride 2": ((3, 3), {"stride": 2, "padding": 1}),
    "stride 2, 7": ((7, 7), {"stride": 2, "padding": 3}),
    "patches": ((2, 2), {"stride": 2}),
    "every other pixel": ((1, 1), {"stride": 2}),
    "stride by rows": ((3, 2), {"stride": (3, 1), "padding": (1, 0)}),
    "dilation 2": ((3, 3), {"dilation": 2, "padding": 2}),
    "dilation 2, less padding": ((3, 3), {"dilation": 2, "padding": 1}),
    "dilation 3 by rows": ((3, 1), {"dilation": (3, 1), "padding": (3, 0)}),
    "dilation beyond the image": ((3, 3), {"dilation": 9, "padding": 9}),
    "dilation and stride": ((3, 3), {"dilation": 2, "stride": 2, "padding": 2}),
}
TRANSPOSED = {
    "2 x 2": ((2, 2), {"stride": 2}),
    "3 x 3": ((3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    "4 x 3": ((4, 3), {"stride": (2, 3), "padding": (1, 0)}),
    "window below the stride": ((1, 2), {"stride": 3, "output_padding": (2, 1)}),
    "stride 1": ((3, 3), {"padding": 1}),
}
DEPTHWISE = {
    "square": ((3, 3), {"padding": 1}),
    "stride 2": ((3, 3), {"stride": 2, "padding": 1}),
    "dilation 2": ((3, 1), {"dilation": (2, 1), "padding": (2, 0)}),
    "dilation and stride": ((3, 3), {"dilation": 2, "stride": 2, "padding": 2}),
}
CASES = [
    pytest.param(kind, *case, id=f"{kind.__name__}, {name}")
    for kind, cases in (
        (conv, CONVS),
        (conv_transpose, TRANSPOSED),
        (depthwise, DEPTHWISE),
        (conv_doubled, {"twice the size": ((3, 3), {})}),
    )
    for name, case in cases.items()
]


def second_order(kind, settings, lowering, images, kernel, direction):
    """The loss of a curved function of the output, its gradients, and theirs."""
    ours = partial(kind, **settings, lowering=lowering)

    def loss(images, kernel):
        return jnp.sin(ours(images, kernel)).sum()

    def slope(images, kernel):
        return jax.jvp(lambda k: loss(images, k), (kernel,), (direction,))[1]

    first = jax.grad(loss, (0, 1))(images, kernel)
    return ours(images, kernel), first, jax.grad(slope, (0, 1))(images, kernel)


@pytest.mark.parametrize(("kind", "window", "settings"), CASES)
def test_all_lowerings_agree_to_second_order(kind, window, settings):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, 8, 7, 3))
    shape = (*window, 3, 4) if kind is not depthwise else (*window, 3)
    kernel, direction = rng.normal(size=(2, *shape))
    hows = ("lax", "canonical", "gemm") if kind is not depthwise else ("lax", "shift")

    @jax.jit
    def every(*arrays):
        return [second_order(kind, settings, how, *arrays) for how in hows]

    with jax.enable_x64(True):
        want, *others = every(images, kernel, direction)
    for other in others:
        jax.tree.map(partial(np.testing.assert_allclose, atol=1e-10), other, want)


@pytest.mark.parametrize("padding", [0, 1, (1, 0)])
def test_a_window_too_large_for_the_cache_is_summed_over_its_bands(padding):
    rng = np.random.default_rng(1)
    images = rng.normal(size=(4, 37, 44, 3))
    kernel, direction = rng.normal(size=(2, 3, 3, 3, 16))
    window = 4 * images.shape[1] * images.shape[2] * 16 * images.itemsize
    assert window > 1.3 * BAND
    every = jax.jit(partial(second_order, conv, {"padding": padding}), static_argnums=0)
    with jax.enable_x64(True):
        arrays = [jnp.asarray(x) for x in (images, kernel, direction)]
        ours, lax = (every(how, *arrays) for how in ("canonical", "lax"))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-9), ours, lax)


SHARED = [
    *((conv, (3, 3), {"padding": 1}, how) for how in ("canonical", "gemm", "winograd")),
    (conv_transpose, (2, 2), {"stride": 2}, "canonical"),
    (conv_doubled, (3, 3), {}, "canonical"),
    (depthwise, (3, 3), {"padding": 1}, "shift"),
]


@pytest.mark.parametrize(("kind", "window", "settings", "how"), SHARED)
def test_gradients_are_summed_over_devices_as_shard_map_has_it(
    kind, window, settings, how
):
    rng = np.random.default_rng(2)
    images = rng.normal(size=(4, 8, 6, 3)).astype(np.float32)
    shape = (*window, 3, 3) if kind is not depthwise else (*window, 3)
    kernel = rng.normal(size=shape).astype(np.float32)

    def loss(kernel, images):
        return jnp.sin(kind(images, kernel, **settings, lowering=how)).mean()

    def shared(kernel, images):
        return jax.lax.pmean(loss(kernel, images), "d")

    mesh = jax.make_mesh((2,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    specs = {"in_specs": (jax.P(), jax.P("d")), "out_specs": jax.P()}
    over_two = jax.shard_map(shared, mesh=mesh, **specs)
    found = jax.jit(jax.grad(over_two))(kernel, images)
    want = jax.jit(jax.grad(loss))(kernel, images)
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-6)
