"""Networks against plain NumPy, their sizes, and the convolution's lowerings."""

import itertools
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from jaxdistill.errors import InputError
from jaxdistill.networks import (
    NETWORKS,
    alexnet,
    build,
    convnet,
    lenet,
    mlp,
    resnet18,
    vgg11,
    vit_tiny,
)
from jaxdistill.networks.conv import conv
from jaxdistill.networks.vit import default_patch

SHAPE = (28, 28, 1)
SMALL = {
    "convnet": {"width": 8, "depth": 2},
    "mlp": {"width": 8},
    "lenet": {},
    "alexnet": {},
    "vgg11": {"width": 4},
    "resnet18": {"width": 4},
    "vit_tiny": {"width": 12, "depth": 2},
}


# ---- the reference: NumPy, one loop per window offset --------------------------------


def np_conv(x, p, stride=1, padding=1):
    kernel = p["kernel"]
    kh, kw, _, out = kernel.shape
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    n, h, w, _ = x.shape
    oh, ow = (h - kh) // stride + 1, (w - kw) // stride + 1
    y = np.zeros((n, oh, ow, out))
    for i, j in itertools.product(range(kh), range(kw)):
        window = x[:, i : i + oh * stride : stride, j : j + ow * stride : stride]
        y += window[:, :oh, :ow] @ kernel[i, j]
    return y + p.get("bias", 0.0)


def np_norm(x, p, kind):
    if kind == "none":
        return x
    n, c = x.shape[0], x.shape[-1]
    if kind == "batch":
        mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
        return (x - mean) / np.sqrt(var + 1e-5) * p["scale"] + p["bias"]
    groups = {"instance": c, "group": 4, "layer": 1}[kind]
    y = np.empty_like(x)
    for i, g in itertools.product(range(n), range(groups)):
        part = slice(g * c // groups, (g + 1) * c // groups)
        block = x[i, :, :, part]
        y[i, :, :, part] = (block - block.mean()) / np.sqrt(block.var() + 1e-5)
    return y * p["scale"] + p["bias"]


def np_pool(x, how):
    n, h, w, c = x.shape
    y = np.empty((n, h // 2, w // 2, c))
    for i, j in itertools.product(range(h // 2), range(w // 2)):
        y[:, i, j] = how(x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2], axis=(1, 2))
    return y


def np_dense(x, p):
    return x @ p["kernel"] + p["bias"]


def relu(x):
    return np.maximum(x, 0.0)


def flat(x):
    return x.reshape(len(x), -1)


def np_convnet(p, x, *, depth=2, norm="instance", act=relu, pool=np.mean, first=3):
    for i in range(depth):
        x = np_conv(x, p[f"Conv_{i}"], padding=first if i == 0 else 1)
        x = act(np_norm(x, p.get(f"Norm_{i}"), norm))
        x = x if pool is None else np_pool(x, pool)
    return flat(x)


def np_mlp(p, x):
    x = flat(x)
    for i in range(2):
        x = relu(np_dense(x, p[f"Dense_{i}"]))
    return x


def np_lenet(p, x, act=relu, pool=np.max):
    for i, padding in enumerate((2, 0)):
        x = np_pool(act(np_conv(x, p[f"Conv_{i}"], padding=padding)), pool)
    x = flat(x)
    for i in range(2):
        x = act(np_dense(x, p[f"Dense_{i}"]))
    return x


def np_alexnet(p, x):
    for i, padding in enumerate((4, 2, 1, 1, 1)):
        x = relu(np_conv(x, p[f"Conv_{i}"], padding=padding))
        x = np_pool(x, np.max) if i in (0, 1, 4) else x
    return flat(x)


def np_vgg11(p, x, norm="instance"):
    for i in range(8):
        x = np_conv(x, p[f"Conv_{i}"], padding=3 if i == 0 else 1)
        x = relu(np_norm(x, p[f"Norm_{i}"], norm))
        x = np_pool(x, np.max) if i in (0, 1, 3, 5, 7) else x
    return x.mean((1, 2))


def np_resnet18(p, x, norm="instance"):
    x = relu(np_norm(np_conv(x, p["Conv_0"]), p["Norm_0"], norm))
    for i in range(8):
        q = p[f"Block_{i}"]
        stride = 2 if i in (2, 4, 6) else 1
        y = relu(np_norm(np_conv(x, q["Conv_0"], stride), q["Norm_0"], norm))
        y = np_norm(np_conv(y, q["Conv_1"]), q["Norm_1"], norm)
        if "shortcut" in q:
            x = np_conv(x, q["shortcut"], stride, 0)
            x = np_norm(x, q["shortcut_norm"], norm)
        x = relu(x + y)
    return x.mean((1, 2))


def np_layer_norm(x, p):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-6) * p["scale"] + p["bias"]


def np_attention(p, x, heads=3):
    size = x.shape[-1] // heads
    q, k, v = np.split(np_dense(x, p["qkv"]), 3, axis=-1)
    mixed = []
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        score = q[..., part] @ k[..., part].swapaxes(1, 2) / np.sqrt(size)
        weight = np.exp(score - score.max(-1, keepdims=True))
        mixed.append(weight / weight.sum(-1, keepdims=True) @ v[..., part])
    return np_dense(np.concatenate(mixed, -1), p["out"])


def np_vit(p, x, side=4):
    n, h, w, _ = x.shape
    corners = itertools.product(range(0, h, side), range(0, w, side))
    cut = [flat(x[:, i : i + side, j : j + side]) for i, j in corners]
    x = np_dense(np.stack(cut, 1), p["embed"])
    token = np.broadcast_to(p["class_token"], (n, 1, x.shape[-1]))
    x = np.concatenate([token, x], 1) + p["places"]
    for i in range(2):
        q = p[f"Encoder_{i}"]
        x = x + np_attention(q["attention"], np_layer_norm(x, q["LayerNorm_0"]))
        y = np_dense(np_layer_norm(x, q["LayerNorm_1"]), q["Dense_0"])
        x = x + np_dense(y * (1 + erf(y / np.sqrt(2))) / 2, q["Dense_1"])
    return np_layer_norm(x, p["LayerNorm_0"])[:, 0]


REFERENCE = {
    "convnet": np_convnet,
    "mlp": np_mlp,
    "lenet": np_lenet,
    "alexnet": np_alexnet,
    "vgg11": np_vgg11,
    "resnet18": np_resnet18,
    "vit_tiny": np_vit,
}


def random_params(network):
    """Every weight random, so that scales and biases take part."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    return jax.tree.map(lambda s: rng.normal(0.0, 0.3, s.shape), shapes)


def assert_equals_reference(network, reference, image_shape, **options):
    params = random_params(network)
    images = np.random.default_rng(1).normal(size=(3, *image_shape))
    features = reference(params["trunk"], images, **options)
    with jax.enable_x64(True):
        both = jax.jit(lambda p, x: (network.embed(p, x), network.apply(p, x)))
        got, logits = both(params, images)
        assert logits.dtype == jnp.float64
    np.testing.assert_allclose(got, features, rtol=1e-9, atol=1e-9)
    expected = np_dense(features, params["head"])
    np.testing.assert_allclose(logits, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NETWORKS)
def test_forward_pass_equals_numpy(name):
    network = build(name, SHAPE, 5, **SMALL[name])
    assert_equals_reference(network, REFERENCE[name], SHAPE)


@pytest.mark.parametrize("norm", ["instance", "group", "layer", "batch", "none"])
def test_convnet_norms_equal_numpy(norm):
    network = convnet((12, 13, 3), 4, width=8, depth=2, norm=norm)
    assert_equals_reference(network, np_convnet, (12, 13, 3), norm=norm, first=1)


def test_resnet_with_batch_norm_equals_numpy():
    network = resnet18((16, 16, 3), 4, width=4, norm="batch")
    assert_equals_reference(network, np_resnet18, (16, 16, 3), norm="batch")


@pytest.mark.parametrize(
    ("activation", "pooling", "options"),
    [
        ("sigmoid", "max", {"act": lambda x: 1 / (1 + np.exp(-x)), "pool": np.max}),
        (
            "leaky",
            "none",
            {"act": lambda x: np.where(x > 0, x, 0.01 * x), "pool": None},
        ),
        ("swish", "avg", {"act": lambda x: x / (1 + np.exp(-x))}),
    ],
)
def test_convnet_choices_equal_numpy(activation, pooling, options):
    choices = {"activation": activation, "pooling": pooling, "grey_padding": False}
    network = convnet((9, 8, 1), 4, width=4, depth=2, **choices)
    assert_equals_reference(network, np_convnet, (9, 8, 1), first=1, **options)


def test_smooth_lenet_equals_numpy():
    network = lenet((28, 28, 1), 4, activation="tanh", pooling="avg")
    assert_equals_reference(network, np_lenet, (28, 28, 1), act=np.tanh, pool=np.mean)


# ---- sizes and starts ----------------------------------------------------------------


def count(network):
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    return sum(s.size for s in jax.tree.leaves(shapes))


@pytest.mark.parametrize(
    ("image_shape", "classes", "parameters"),
    [
        ((32, 32, 3), 10, 320_010),
        ((28, 28, 1), 10, 317_706),
        ((64, 64, 3), 10, 467_850),
        ((112, 112, 3), 4, 599_812),
        ((112, 112, 1), 4, 597_508),
        ((128, 128, 3), 10, 615_690),
        ((224, 224, 3), 4, 747_652),
    ],
)
def test_convnet_has_the_published_number_of_parameters(
    image_shape, classes, parameters
):
    assert count(convnet(image_shape, classes)) == parameters


@pytest.mark.parametrize(
    ("network", "parameters"),
    [
        # The sums below are of weights + biases, layer by layer.
        (mlp((28, 28, 1), 10), 784 * 128 + 128 + 128 * 128 + 128 + 1290),
        (lenet((32, 32, 3), 10), 456 + 2416 + 48_120 + 10_164 + 850),
        (resnet18((32, 32, 3), 10), 11_173_962),
        (vit_tiny((224, 224, 3), 1000), 5_717_416),
    ],
)
def test_other_networks_have_the_known_number_of_parameters(network, parameters):
    assert count(network) == parameters


@pytest.mark.parametrize("size", [28, 32, 64, 112, 128, 224])
def test_grey_padding_gives_the_dense_size_of_the_literature(size):
    grey = convnet((size, size, 1), 2, width=1)
    shapes = jax.eval_shape(grey.init, jax.random.key(0))
    counted = 32 if size == 28 else size
    depth = {32: 3, 64: 4, 112: 5, 128: 5, 224: 6}[counted]
    assert shapes["head"]["kernel"].shape[0] == (counted // 2**depth) ** 2
    assert f"Conv_{depth - 1}" in shapes["trunk"]
    assert f"Conv_{depth}" not in shapes["trunk"]


def test_patches_of_the_vision_transformer_follow_the_image():
    sizes = [default_patch((size, size, 1)) for size in (28, 32, 64, 112, 128, 224)]
    assert sizes == [4, 4, 8, 16, 16, 16]


def test_lenet_starts_as_glorot_and_bengio_write():
    params = lenet((28, 28, 1), 10, start="xavier").init(jax.random.key(0))
    layers = {**params["trunk"], "head": params["head"]}
    for name, layer in layers.items():
        *window, fan_in, fan_out = layer["kernel"].shape
        std = math.sqrt(2 / (math.prod(window) * (fan_in + fan_out)))
        spread = 4 * std / math.sqrt(2 * layer["kernel"].size)
        assert abs(layer["kernel"].std() - std) < spread, name
        assert not layer["bias"].any()


def test_weights_start_within_the_bounds_of_their_fan_in():
    params = convnet(SHAPE, 3, width=32).init(jax.random.key(0))
    for name, fan_in in (("Conv_0", 9), ("Conv_1", 9 * 32)):
        kernel = np.asarray(params["trunk"][name]["kernel"])
        bound = fan_in**-0.5
        assert 0.95 * bound < np.abs(kernel).max() <= bound
        np.testing.assert_allclose(kernel.std(), bound / np.sqrt(3), rtol=0.1)
        bias = np.asarray(params["trunk"][name]["bias"])
        assert 0 < np.abs(bias).max() <= bound
    assert np.abs(params["head"]["bias"]).max() <= (16 * 32) ** -0.5
    np.testing.assert_array_equal(params["trunk"]["Norm_0"]["scale"], 1.0)
    np.testing.assert_array_equal(params["trunk"]["Norm_0"]["bias"], 0.0)


# ---- the convolution -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("window", "stride", "padding"),
    [(3, 1, 3), (3, 1, 1), (3, 2, 1), (1, 2, 0)],
)
def test_all_lowerings_agree_to_second_order(window, stride, padding):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, 8, 7, 3))
    kernel, direction = rng.normal(size=(2, window, window, 3, 4))

    @partial(jax.jit, static_argnums=0)
    def value_and_sweep(lowering, images, kernel, direction):
        def loss(images, kernel):
            y = conv(images, kernel, stride=stride, padding=padding, lowering=lowering)
            return jnp.sin(y).sum()

        def slope(images, kernel):
            along = jax.jvp(lambda k: loss(images, k), (kernel,), (direction,))
            return along[1]

        first = jax.grad(loss, (0, 1))(images, kernel)
        return loss(images, kernel), first, jax.grad(slope, (0, 1))(images, kernel)

    with jax.enable_x64(True):
        lax, *others = (
            value_and_sweep(how, images, kernel, direction)
            for how in ("lax", "gemm", "canonical", "winograd")
        )
    for other in others:
        jax.tree.map(partial(np.testing.assert_allclose, atol=1e-10), other, lax)


@pytest.mark.parametrize("size", [(2, 16, 16, 128), (3, 9, 6, 64)])
def test_winograd_rounds_no_worse_than_float32_does(size):
    rng = np.random.default_rng(0)
    images, kernel = rng.normal(size=size), rng.normal(size=(3, 3, size[-1], 64))
    with jax.enable_x64(True):
        exact = conv(
            jnp.asarray(images), jnp.asarray(kernel), padding=1, lowering="lax"
        )
        scale = np.sqrt(9 * size[-1])  # of a sum of so many unit normal products
    short = jnp.asarray(images, jnp.float32), jnp.asarray(kernel, jnp.float32)
    with jax.default_matmul_precision("highest"):
        for lowering in ("gemm", "winograd"):
            y = conv(*short, padding=1, lowering=lowering)
            error = np.sqrt(np.mean((y - np.asarray(exact)) ** 2)) / scale
            assert error < 1e-6, lowering


@pytest.mark.parametrize("lowering", ["gemm", "lax", "canonical", "winograd"])
def test_a_population_is_a_loop_over_networks(lowering):
    network = convnet((10, 10, 1), 3, width=4, depth=2, conv=lowering)
    keys = jax.random.split(jax.random.key(0), 2)
    images = jax.random.normal(jax.random.key(1), (2, 4, 10, 10, 1))
    params = jax.jit(jax.vmap(network.init))(keys)
    logits = jax.jit(jax.vmap(network.apply))(params, images)
    apply = jax.jit(network.apply)
    for i in range(2):
        alone = apply(network.init(keys[i]), images[i])
        np.testing.assert_allclose(logits[i], alone, rtol=1e-4, atol=1e-5)


def test_lenet_is_named_by_what_is_not_usual():
    usual = lenet((28, 28, 1), 10)
    assert usual.name == lenet((28, 28, 1), 10, activation="relu", pooling="max").name
    smooth = lenet((28, 28, 1), 10, activation="tanh", pooling="avg")
    assert "tanh" in smooth.name
    assert "avg" in smooth.name
    with pytest.raises(InputError, match="none"):
        lenet((28, 28, 1), 10, pooling="none")


def test_the_lowering_changes_neither_weights_nor_name():
    a, b = (convnet(SHAPE, 2, width=4, conv=how) for how in ("gemm", "lax"))
    assert a.name == b.name
    same = jax.tree.map(
        np.array_equal, a.init(jax.random.key(0)), b.init(jax.random.key(0))
    )
    assert all(jax.tree.leaves(same))


# ---- what a network promises ---------------------------------------------------------


def test_names_tell_apart_whatever_shapes_a_network():
    names = [build(name, SHAPE, 2).name for name in NETWORKS]
    names += [
        convnet(SHAPE, 2, **{key: value}).name
        for key, value in {
            "width": 64,
            "depth": 2,
            "norm": "none",
            "activation": "swish",
            "pooling": "max",
            "grey_padding": False,
        }.items()
    ]
    names += [convnet(SHAPE, 3).name, convnet((32, 32, 1), 2).name]
    names += [alexnet(SHAPE, 2, grey_padding=False).name, vgg11(SHAPE, 2, width=8).name]
    assert len(set(names)) == len(names)
    assert convnet(SHAPE, 2, depth=3).name == convnet(SHAPE, 2).name


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("convnat", {}, ["network.name='convnat'", "convnet", "resnet18"]),
        (
            "convnet",
            {"widht": 3},
            ["network.widht is no setting", "mean 'width'", "depth"],
        ),
        ("convnet", {"width": 0}, ["network.width=0"]),
        ("convnet", {"width": -1}, ["network.width=-1"]),
        ("convnet", {"depth": 6}, ["network.depth=6", "data.size=28", "at most 5"]),
        ("convnet", {"norm": "batchnorm"}, ["network.norm='batchnorm'", "instance"]),
        (
            "convnet",
            {"norm": "group", "width": 6},
            ["network.width=6", "multiple of 4"],
        ),
        ("convnet", {"activation": "cube"}, ["network.activation='cube'", "relu"]),
        ("convnet", {"pooling": "min"}, ["network.pooling='min'", "avg"]),
        ("convnet", {"conv": "fft"}, ["network.conv='fft'", "gemm"]),
        ("vgg11", {"grey_padding": False}, ["data.size", "28 x 28", "32 x 32"]),
        ("vit_tiny", {"patch": 5}, ["network.patch=5", "28 x 28"]),
        ("vit_tiny", {"heads": 5}, ["network.width=192", "network.heads=5"]),
    ],
)
def test_wrong_settings_are_refused_in_one_sentence(name, settings, words):
    with pytest.raises(InputError) as caught:
        build(name, SHAPE, 2, **settings)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_deepest_convnet_that_is_allowed_runs():
    network = convnet(SHAPE, 2, width=2, depth=5)
    logits = jax.eval_shape(
        network.apply,
        jax.eval_shape(network.init, jax.random.key(0)),
        jnp.ones((2, *SHAPE)),
    )
    assert logits.shape == (2, 2)
