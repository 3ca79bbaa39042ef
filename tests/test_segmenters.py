"""Segmenters: published sizes, features by name, and their odd blocks against NumPy."""

import itertools
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.errors import InputError
from jaxdistill.networks import (
    SEGMENTERS,
    build_segmenter,
    flops,
    parameters,
    segmenter,
    unet,
)
from jaxdistill.networks.conv import conv
from jaxdistill.networks.deeplab import Pyramid
from jaxdistill.networks.depthwise import depthwise
from jaxdistill.networks.enet import Bottleneck
from jaxdistill.networks.erfnet import Factorised
from jaxdistill.networks.maps import (
    pool_with_places,
    unpool,
    upsample_bilinear,
)
from jaxdistill.networks.rearrange import depth_to_space, space_to_depth
from jaxdistill.networks.upward import conv_transpose
from jaxdistill.run.weights_file import fill, read_weights, write_weights

SMALL = {
    "unet": {"width": 8, "depth": 4},
    "unet_plus_plus": {"width": 8, "depth": 4},
    "deeplab_v3_plus": {"width": 16, "depth": 18},
    "enet": {},
    "erfnet": {"width": 0.5},
    "mobilenet_v2": {"width": 0.1},
}
SIDE, CLASSES = 32, 3


# ---- weights in files ----------------------------------------------------------------


@pytest.mark.parametrize("name", list(SMALL))
def test_weights_come_back_from_their_file_in_every_shape(name, tmp_path):
    params = build_segmenter(name, 1, CLASSES, **SMALL[name]).init(jax.random.key(0))
    write_weights(tmp_path / "net.safetensors", params, {})
    found, _ = read_weights(tmp_path / "net.safetensors")
    again = fill(tmp_path / "net.safetensors", params, found)
    jax.tree.map(np.testing.assert_array_equal, again, params)


# ---- sizes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "settings", "count"),
    [("unet", {}, 34_525_954), ("unet_plus_plus", {"norm": "batch"}, 36_628_546)],
)
def test_networks_have_the_published_number_of_parameters(name, settings, count):
    assert parameters(build_segmenter(name, 1, 2, **settings)) == count


@pytest.mark.slow
@pytest.mark.parametrize("name", ["unet", "unet_plus_plus", "deeplab_v3_plus"])
def test_teachers_of_the_published_size_take_a_step(name):
    network = build_segmenter(name, 1, 2)
    params = network.init(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (1, 32, 32, 1))

    @jax.jit
    def stepped(params):
        loss = lambda p: jnp.square(network.apply(p, images) - 1).mean()  # noqa: E731
        value, slopes = jax.value_and_grad(loss)(params)
        moved = jax.tree.map(lambda p, s: p - 1e-3 * s, params, slopes)
        return value, loss(moved)

    assert parameters(params) > 20e6
    before, after = stepped(params)
    assert after < before


@pytest.mark.parametrize(
    ("name", "part", "built", "used"),
    [
        ("enet", "stage_3_5", 353_761, 335_966),
        ("erfnet", "encoder_head", 2_063_130, 2_062_872),
        ("mobilenet_v2", "classifier", 2_228_996, 2_226_434),
    ],
)
def test_parameters_that_are_published_and_never_used(name, part, built, used):
    network = build_segmenter(name, 1, 2, unused=True)
    shapes = dict(jax.eval_shape(network.init, jax.random.key(0)))
    assert parameters(shapes) == built
    del shapes[part]
    assert parameters(shapes) == used


def test_operations_equal_a_hand_count_whatever_the_lowering():
    # Convolutions of 3 x 3 at three levels of 8 x 8, then 4 x 4 and 2 x 2 pixels.
    macs = 9 * 64 * (1 * 4 + 4 * 4) + 9 * 16 * (4 * 8 + 8 * 8)
    macs += 9 * 4 * (8 * 16 + 16 * 16)
    macs += 9 * 16 * (16 * 8 + 16 * 8 + 8 * 8) + 9 * 64 * (8 * 4 + 8 * 4 + 4 * 4)
    macs += 64 * 4 * 2
    for lowering in ("lax", "canonical"):
        small = unet(1, 2, width=4, depth=3, conv=lowering)
        assert flops(small, (8, 8, 1)) == 2 * macs


def test_enet_computes_what_is_published():
    """2.2 GFLOPs with norms and activations; multiply-adds count twice."""
    assert 2.0e9 < flops(build_segmenter("enet", 1, 2), (384, 384, 1)) < 2.2e9


# ---- what every segmenter keeps to ---------------------------------------------------


@pytest.mark.parametrize("name", SEGMENTERS)
def test_a_segmenter_keeps_its_promises(name):
    """Shapes, features at strides 2 and 8, gradients to all, parameters none else."""
    network = build_segmenter(name, 1, CLASSES, norm="group", **SMALL[name])
    images = jax.random.normal(jax.random.key(1), (2, SIDE, SIDE, 1))
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda s: rng.normal(0, 0.3, s.shape).astype("f4"), shapes)
    weights = jax.random.normal(jax.random.key(2), (2, SIDE, SIDE, CLASSES))

    @jax.jit
    def program(params, images):
        def loss(params):
            logits, features = network.tap(params, images, network.levels)
            return (logits * weights).sum(), (logits, features)

        gradient, (logits, features) = jax.grad(loss, has_aux=True)(params)
        reached = jax.tree.map(lambda g: jnp.abs(g).max(), gradient)
        return logits, features, reached

    logits, features, reached = program(params, images)
    assert logits.shape == (2, SIDE, SIDE, CLASSES)
    low, high = (features[level] for level in network.levels)
    assert low.shape[1:3] == (SIDE // 2, SIDE // 2)
    assert high.shape[1:3] == (SIDE // 8, SIDE // 8)
    unreached = [
        jax.tree_util.keystr(path)
        for path, most in jax.tree_util.tree_leaves_with_path(reached)
        if not most > 0
    ]
    assert unreached == []


@pytest.mark.parametrize("norm", ["instance", "none"])
def test_jit_changes_nothing_but_rounding(norm):
    network = unet(1, 2, width=4, depth=3, norm=norm)
    params = network.init(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (1, 16, 8, 1))
    want = network.apply(params, images)
    got = jax.jit(network.apply)(params, images)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_squares_of_pixels_go_in_as_channels_and_come_out_as_logits():
    squares = unet(1, CLASSES, width=4, depth=3, patch=2)
    plain = unet(4, 4 * CLASSES, width=4, depth=3)
    params = plain.init(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (2, 16, 8, 1))
    logits, seen = squares.tap(params, images, squares.levels)
    expected = plain.apply(params, space_to_depth(images, (2, 2)))
    np.testing.assert_array_equal(logits, depth_to_space(expected, (2, 2)))
    sides = [image.shape[1] for image in seen.values()]
    assert sides == [8, 2]  # as near to strides of 2 and 8 as three levels come
    with pytest.raises(InputError, match="8"):
        squares.apply(params, images[:, :12])


@pytest.mark.parametrize("name", ["unet", "unet_plus_plus"])
def test_an_image_moved_by_the_stride_gives_moved_logits(name):
    network = build_segmenter(name, 1, 2, width=4, depth=3, norm="none")
    params = network.init(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (1, 128, 128, 1))
    moved = partial(jnp.roll, shift=(network.stride, 2 * network.stride), axis=(1, 2))
    apply = jax.jit(network.apply)
    inside = np.s_[:, 48:-48, 48:-48]
    got, want = apply(params, moved(images)), moved(apply(params, images))
    np.testing.assert_allclose(got[inside], want[inside], rtol=1e-5, atol=1e-6)
    assert np.abs(got - want).max() > 1e-4  # borders are not what is behind them


def test_instance_norm_leaves_an_image_alone():
    network = unet(1, 2, width=4, depth=3)
    params = network.init(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (3, 16, 16, 1))
    apply = jax.jit(network.apply)
    np.testing.assert_allclose(
        apply(params, images)[:1], apply(params, images[:1]), rtol=1e-4, atol=1e-5
    )


# ---- any module ----------------------------------------------------------------------


class Own(nn.Module):
    """What a user may bring."""

    @nn.compact
    def __call__(self, x, train: bool = False):
        x = nn.Conv(4, (3, 3), strides=2, name="wide")(x)
        x = nn.Dropout(0.5)(x, deterministic=not train)
        x = nn.Conv(2, (3, 3), name="narrow")(x)
        return jax.image.resize(
            x, (x.shape[0], 2 * x.shape[1], 2 * x.shape[2], 2), "nearest"
        )


class Counting(nn.Module):
    """A module that keeps averages."""

    @nn.compact
    def __call__(self, x):
        return nn.BatchNorm(use_running_average=False)(nn.Conv(2, (3, 3))(x))


def test_a_module_of_ones_own_is_tapped_by_its_layers_names():
    network = segmenter(Own(), 1, stride=2)
    assert network.layers == ("wide", "Dropout_0", "narrow")
    assert network.levels == ("wide", "narrow")
    params = network.init(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (2, 8, 6, 1))
    tap = jax.jit(network.tap, static_argnums=2)
    logits, features = tap(params, images, ("wide",))
    assert set(features) == {"wide"}
    np.testing.assert_allclose(logits, network.apply(params, images), atol=1e-6)
    wide = conv(images, params["wide"]["kernel"], stride=2, padding=0, lowering="lax")
    np.testing.assert_allclose(features["wide"][:, :-1, :-1], wide, atol=1e-5)
    keys = [jax.random.key(i) for i in (2, 2, 3)]
    one, same, other = (tap(params, images, (), key)[0] for key in keys)
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3
    assert np.abs(one - logits).max() > 1e-3


def test_what_is_not_asked_for_is_not_computed():
    network = segmenter(Own(), 1, stride=2)
    params = network.init(jax.random.key(0))
    images = jnp.ones((2, 8, 6, 1))
    plain = str(jax.make_jaxpr(network.apply)(params, images))
    none = jax.make_jaxpr(lambda p, x: network.tap(p, x, ())[0])(params, images)
    assert str(none) == plain


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (lambda n, p: n.tap(p, jnp.ones((1, 8, 8, 1)), ("wid",)), ["'wid'", "'wide'"]),
        (lambda n, p: n.apply(p, jnp.ones((1, 8, 9, 1))), ["multiples of 2", "8 x 9"]),
        (lambda n, p: n.apply(p, jnp.ones((1, 8, 8, 3))), ["(1, 8, 8, 3)"]),
        (lambda n, p: segmenter(Counting(), 1), ["Counting", "batch_stats"]),
        (lambda n, p: segmenter(Own(), 1, stride=1, levels=("a", "b")), ["'a'"]),
        (lambda n, p: segmenter(nn.Conv(2, (3, 3), strides=2), 1), ["Conv-1", "maps"]),
        (lambda n, p: unet(0, 2), ["channels=0"]),
        (lambda n, p: unet(1, 1), ["classes=1"]),
        (lambda n, p: unet(1, 2, norm="layer"), ["network.norm='layer'", "instance"]),
        (lambda n, p: unet(1, 2, width=6, norm="group"), ["network.width", "6"]),
        (lambda n, p: build_segmenter("u_net", 1, 2), ["'u_net'", "unet"]),
        (lambda n, p: build_segmenter("enet", 20, 2), ["network.width", "20"]),
    ],
)
def test_what_does_not_suit_is_refused_in_one_sentence(refused, words):
    network = segmenter(Own(), 1, stride=2)
    params = jax.eval_shape(network.init, jax.random.key(0))
    with pytest.raises(InputError) as caught:
        refused(network, params)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_names_tell_apart_whatever_shapes_a_network():
    names = [unet(1, 2, width=4, depth=3, **one).name for one in ({}, {"norm": "none"})]
    names += [unet(2, 2, width=4, depth=3).name, unet(1, 3, width=4, depth=3).name]
    assert len(set(names)) == len(names)


# ---- blocks against NumPy ------------------------------------------------------------


def test_unpooling_puts_maxima_back_where_they_were():
    x = np.random.default_rng(0).normal(size=(2, 4, 6, 3))
    x[0, :2, :2] = 1.0  # the first of equal ones counts
    want_pool, want = np.zeros((2, 2, 3, 3)), np.zeros_like(x)
    for n, i, j, c in np.ndindex(want_pool.shape):
        window = x[n, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, c]
        a, b = divmod(int(window.argmax()), 2)
        want_pool[n, i, j, c] = window.max()
        want[n, 2 * i + a, 2 * j + b, c] = 10 * window.max()
    with jax.enable_x64(True):
        pooled, places = pool_with_places(jnp.asarray(x))
        back = unpool(10 * pooled, places)
        slope = jax.grad(lambda x: (5 * pool_with_places(x)[0] ** 2).sum())(
            jnp.asarray(x)
        )
    np.testing.assert_array_equal(pooled, want_pool)
    np.testing.assert_allclose(back, want, rtol=1e-15)
    np.testing.assert_allclose(slope, want, rtol=1e-15)  # of 5 v^2 is 10 v


def test_upsampling_equals_the_usual_interpolation():
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 2))
    with jax.enable_x64(True):
        for factor, ours in (
            (2, partial(upsample_bilinear, factor=2)),
            (8, partial(upsample_bilinear, factor=8)),
        ):
            shape = (2, 3 * factor, 5 * factor, 2)
            want = jax.image.resize(jnp.asarray(x), shape, "bilinear")
            np.testing.assert_allclose(ours(jnp.asarray(x)), want, atol=1e-12)


def test_convolutions_equal_their_sums():
    """The definitions as loops: dilated, by channel, and PyTorch's transposed one."""
    rng = np.random.default_rng(0)
    x, k, own = (rng.normal(size=s) for s in ((2, 6, 5, 3), (3, 3, 3, 2), (3, 3, 3)))
    wide = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    dilated, each = np.zeros((2, 6, 5, 2)), np.zeros((2, 6, 5, 3))
    moved = np.zeros((2, 14, 12, 2))
    for i, j in itertools.product(range(3), range(3)):
        seen = wide[:, 2 * i : 2 * i + 6, 2 * j : 2 * j + 5]
        dilated += seen @ k[i, j]
        each += seen * own[i, j]
        moved[:, i : i + 11 : 2, j : j + 9 : 2] += x @ k[i, j]
    with jax.enable_x64(True):
        x, k, own = map(jnp.asarray, (x, k, own))
        far = {"padding": 2, "dilation": 2}
        got = conv(x, k, **far), depthwise(x, own, **far)
        up = conv_transpose(x, k, stride=2, padding=1, output_padding=1)
    np.testing.assert_allclose(got[0], dilated, rtol=1e-12)
    np.testing.assert_allclose(got[1], each, rtol=1e-12)
    np.testing.assert_allclose(up, moved[:, 1:13, 1:11], rtol=1e-12)


class Told(nn.Module):
    """A module that insists on being told whether it trains."""

    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.Conv(4, (3, 3))(x)
        return nn.Conv(2, (1, 1))(nn.Dropout(0.5, deterministic=not train)(x))


def test_a_module_that_must_be_told_whether_it_trains_is_told():
    made = segmenter(Told(), 1)
    params = made.init(jax.random.key(0))
    x = jnp.ones((1, 4, 4, 1))
    assert made.apply(params, x).shape == (1, 4, 4, 2)
    taught = made.tap(params, x, (), jax.random.key(1))[0]
    assert not np.allclose(taught, made.apply(params, x))


# ---- odd blocks, against sums over the taps of their windows -------------------------


def convolved(x, kernel, rates=(1, 1)):
    """A convolution of one image that keeps its size, in float64."""
    (rows, columns), (h, w) = kernel.shape[:2], x.shape[:2]
    reach = [
        rate * (size // 2) for rate, size in zip(rates, (rows, columns), strict=True)
    ]
    padded = np.pad(x, ((reach[0],) * 2, (reach[1],) * 2, (0, 0)))
    total = np.zeros((h, w, kernel.shape[3]))
    for i, j in itertools.product(range(rows), range(columns)):
        down, along = i * rates[0], j * rates[1]
        total += padded[down : down + h, along : along + w] @ kernel[i, j]
    return total


def drawn(module, x, seed=0):
    """Parameters of a module, and what it makes of an image with them."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x[None])
    params = jax.tree.map(lambda s: rng.normal(0, 0.5, s.shape).astype("f4"), shapes)
    made = jax.jit(module.apply)(params, x[None])[0]
    return jax.tree.map(np.float64, params["params"]), np.asarray(made)


def picture(channels, side=11):
    shape = (side, side, channels)
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("dilation", [1, 3])
def test_a_factorised_block_is_two_dilated_pairs_and_a_way_around(dilation):
    x = picture(3)
    p, found = drawn(Factorised(dilation, 0.0, "none", "lax"), x)

    def pair(y, name, rate):
        for place, rates in (("rows", (rate, 1)), ("columns", (1, rate))):
            y = np.maximum(y, 0) if place == "columns" else y
            layer = p[f"{name}_{place}"]
            y = convolved(y, layer["kernel"], rates) + layer["bias"]
        return y

    y = pair(np.maximum(pair(x, "first", 1), 0), "second", dilation)
    np.testing.assert_allclose(found, np.maximum(y + x, 0), rtol=1e-4, atol=1e-4)


def test_a_pyramid_sees_at_every_rate_and_the_mean():
    x, rates = picture(3), (2, 4)
    p, found = drawn(Pyramid(3, rates, "none", "lax"), x)
    seen = [(x, "ConvNorm_0", 1)]
    seen += [(x, f"ConvNorm_{n}", rate) for n, rate in enumerate(rates, 1)]
    seen.append((x.mean((0, 1), keepdims=True), "mean", 1))
    parts = [
        np.maximum(convolved(y, p[name]["Conv_0"]["kernel"], (rate, rate)), 0)
        for y, name, rate in seen
    ]
    parts[-1] = np.broadcast_to(parts[-1], parts[0].shape)
    last = p["ConvNorm_3"]["Conv_0"]["kernel"]
    wanted = np.maximum(convolved(np.concatenate(parts, axis=-1), last), 0)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("middle", [4, 0])
def test_a_bottleneck_goes_through_few_channels_and_around(middle):
    x = picture(6)
    p, found = drawn(Bottleneck(2, 6, middle, "none", "lax"), x)
    slopes = iter(p[f"PReLU_{n}"]["slope"] for n in range(3))

    def active(y):
        return np.where(y > 0, y, next(slopes) * y)

    y = active(convolved(x, p["reduce"]["kernel"]))
    if middle:
        y = convolved(y, p["middle"]["kernel"], (middle, middle))
    else:
        y = convolved(y, p["middle_rows"]["kernel"])
        y = convolved(y, p["middle_columns"]["kernel"])
    y = convolved(active(y), p["expand"]["kernel"])
    np.testing.assert_allclose(found, active(y + x), rtol=1e-4, atol=1e-4)
