"""Backbones: vision transformers of any size, and what all backbones promise."""

import functools
import itertools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_networks import np_dense, np_layer_norm, np_vit, random_params

from jaxdistill.errors import InputError
from jaxdistill.networks.backbones import BACKBONES, build_backbone, resnet, with_head
from jaxdistill.networks.heads import class_head
from jaxdistill.networks.positions import bicubic, fixed_positions, resize_positions
from jaxdistill.networks.transformer import (
    Encoder,
    attention_weights,
    depth_gates,
    encode_blocks,
    fused_attention,
    fused_is_fast,
)
from jaxdistill.networks.vit import assemble, patches, vit, vit_tiny

SHAPE = (16, 12, 1)
TINY = {"patch": 4, "width": 12, "depth": 2, "heads": 3}
SMALL = {
    "vit": TINY,
    "resnet": {"width": 4, "norm": "affine"},
    "convnet": {"width": 4, "depth": 2, "norm": "none"},
}


@functools.cache
def tiny(**settings):
    return vit(SHAPE, **(TINY | settings))


@functools.cache
def images(n=3, shape=SHAPE):
    rng = np.random.default_rng(7)
    return rng.normal(size=(n, *shape)).astype(np.float32)


@functools.cache
def params():
    """Every weight random, so that scales and biases take part."""
    return jax.tree.map(lambda x: x.astype(np.float32), random_params(tiny()))


def loud(tree):
    """Weights so large that what a block does to its tokens shows."""
    return jax.tree.map(lambda x: 2 * x, tree)


# ---- what all backbones promise ------------------------------------------------------


@pytest.mark.parametrize("name", BACKBONES)
def test_features_have_one_width_for_images_of_any_size(name):
    backbone = build_backbone(name, SHAPE, **SMALL[name])
    shapes = jax.eval_shape(backbone.init, jax.random.key(0))
    for size in ((16, 12), (8, 8), (32, 20)):
        batch = jax.ShapeDtypeStruct((2, *size, 1), jnp.float32)
        out = jax.eval_shape(backbone.features, shapes, batch)
        assert (out.shape, out.dtype) == ((2, backbone.width), jnp.float32)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_weight_has_a_gradient(name):
    backbone = build_backbone(name, SHAPE, **SMALL[name])
    along = jax.random.normal(jax.random.key(1), (3, backbone.width))
    batch = jnp.asarray(images())

    @jax.jit
    def slope(params):
        return jax.grad(lambda p: (backbone.features(p, batch) * along).sum())(params)

    for path, leaf in jax.tree.leaves_with_path(slope(loud(params_of(backbone)))):
        assert np.abs(leaf).max() > 1e-6, jax.tree_util.keystr(path)


def params_of(backbone):
    return jax.tree.map(lambda x: x.astype(np.float32), random_params(backbone))


@pytest.mark.parametrize("name", BACKBONES)
def test_a_head_makes_a_network_of_a_backbone(name):
    backbone = build_backbone(name, SHAPE, **SMALL[name])
    network = with_head(backbone, class_head(backbone.width, outputs=5, hidden=8))
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    assert set(shapes) == {"trunk", "head"}
    assert jax.eval_shape(network.apply, shapes, images()).shape == (3, 5)
    assert jax.eval_shape(network.embed, shapes, images()).shape == (3, backbone.width)
    assert network.name.startswith(backbone.name)


def test_names_tell_apart_whatever_shapes_a_backbone():
    made = [build_backbone(name, SHAPE, **SMALL[name]) for name in BACKBONES]
    changes = ({"depth": 3}, {"pool": "mean"}, {"positions": "fixed"}, {"heads": 4})
    made += [tiny(**change) for change in changes]
    made += [resnet((48, 48, 1), width=4, stem=s) for s in ("small", "large")]
    made += [vit((16, 16, 1), **TINY)]
    assert len({backbone.name for backbone in made}) == len(made)
    assert tiny(drop_path=0.5, compute="bfloat16").name == tiny().name


# ---- the vision transformer ----------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "parameters"),
    [
        ({"width": 192}, 5_524_416),  # Touvron et al. 2021: Ti 5.7 M with a head
        ({"patch": 8}, 21_670_272),  # Caron et al. 2021: S/8 21 M
        ({}, 21_665_664),
        ({"width": 768}, 85_798_656),  # Dosovitskiy et al. 2021: B 86 M
    ],
)
def test_sizes_are_those_of_the_literature(settings, parameters):
    backbone = vit((224, 224, 3), **settings)
    shapes = jax.eval_shape(backbone.init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == parameters
    assert shapes["Encoder_0"]["attention"]["qkv"]["bias"].shape[0] % (3 * 64) == 0


def test_features_equal_numpy():
    weights = random_params(tiny())
    batch = np.random.default_rng(1).normal(size=(3, *SHAPE))
    with jax.enable_x64(True):
        got = jax.jit(tiny().features)(weights, batch)
    np.testing.assert_allclose(got, np_vit(weights, batch), rtol=1e-9, atol=1e-9)


def test_the_tiny_network_is_of_the_same_modules():
    network = vit_tiny(SHAPE, 2, **TINY)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    assert shapes["trunk"] == jax.eval_shape(tiny().init, jax.random.key(0))


def test_attention_is_what_the_features_take_from_each_token():
    one = tiny(depth=1)
    weights = random_params(one)
    weights["Encoder_0"]["attention"]["qkv"]["kernel"] *= 3
    batch = np.random.default_rng(1).normal(size=(2, *SHAPE))
    with jax.enable_x64(True):
        got = np.asarray(jax.jit(one.attention)(weights, batch))
        mean = tiny(depth=1, pool="mean").attention
        mean = np.asarray(jax.jit(mean)(weights, batch))
    want = np_weights(weights, batch)
    assert got.shape == (2, 3, 1 + 4 * 3)
    np.testing.assert_allclose(got, want[:, :, 0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(mean, want[:, :, 1:].mean(2), rtol=1e-9, atol=1e-12)
    for rows in (got, mean):
        np.testing.assert_allclose(rows.sum(-1), 1, rtol=1e-12)


def np_weights(p, x, side=4, heads=3):
    corners = itertools.product(range(0, x.shape[1], side), range(0, x.shape[2], side))
    cut = [x[:, i : i + side, j : j + side].reshape(len(x), -1) for i, j in corners]
    x = np_dense(np.stack(cut, 1), p["embed"])
    token = np.broadcast_to(p["class_token"], (len(x), 1, x.shape[-1]))
    x = np.concatenate([token, x], 1) + p["places"]
    block = p["Encoder_0"]
    y = np_dense(np_layer_norm(x, block["LayerNorm_0"]), block["attention"]["qkv"])
    q, k, _ = (part.reshape(*part.shape[:2], heads, -1) for part in np.split(y, 3, -1))
    scores = np.einsum("nqhs,nkhs->nhqk", q, k) / np.sqrt(q.shape[-1])
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def test_features_of_the_mean_are_normalised_after_it():
    weights = params()
    tokens = jax.jit(tiny(pool="mean").tokens)(weights, images())
    features = jax.jit(tiny(pool="mean").features)(weights, images())
    norm = weights["LayerNorm_0"]
    plain = (features - norm["bias"][None]) / norm["scale"][None]
    np.testing.assert_allclose(plain.mean(1), 0, atol=1e-4)
    np.testing.assert_allclose(plain.std(1), 1, rtol=1e-3)
    assert not np.allclose(features, tokens[:, 1:].mean(1), atol=1e-2)


def test_kept_patches_are_encoded_as_if_there_were_no_others():
    """In any order, since a token knows its place."""
    order = jnp.stack([jnp.roll(jnp.arange(12), i) for i in range(3)])
    tokens = jax.jit(tiny().tokens)
    whole, turned = tokens(params(), images()), tokens(params(), images(), order)
    rows = jnp.arange(3)[:, None]
    np.testing.assert_allclose(turned[:, 0], whole[:, 0], atol=2e-5)
    np.testing.assert_allclose(turned[:, 1:], whole[rows, order + 1], atol=2e-5)
    few = tokens(params(), images(), order[:, :5])
    squares = patches(jnp.asarray(images()), 4).at[rows, order[:, 5:]].set(9.0)
    other = tokens(params(), assemble(squares, (4, 3), 4), order[:, :5])
    np.testing.assert_array_equal(few, other)


def test_bfloat16_is_close_and_leaves_weights_and_features_long():
    short = tiny(compute="bfloat16")
    along, batch = jax.random.normal(jax.random.key(1), (3, 12)), jnp.asarray(images())

    def value(backbone):
        def loss(p):
            features = backbone.features(p, batch)
            return (features * along).sum(), features

        return jax.jit(jax.grad(loss, has_aux=True))(params())

    (want, exact), (got, near) = value(tiny()), value(short)
    assert near.dtype == jnp.float32
    for a, b in zip(*map(jax.tree.leaves, (want, got)), strict=True):
        assert b.dtype == jnp.float32
        assert np.linalg.norm(a - b) < 0.05 * np.linalg.norm(a)
    error = np.linalg.norm(exact - near) / np.linalg.norm(exact)
    assert 1e-5 < error < 0.02
    rows = jax.jit(short.attention)(params(), images()).sum(-1)
    np.testing.assert_allclose(rows, 1, rtol=1e-6)  # the softmax is not short


@pytest.mark.parametrize(("tokens", "asking"), [(8, 8), (13, 13), (13, 1)])
def test_fused_attention_is_attention(tokens, asking):
    """By XLA, where cuDNN is not: what is added to the tokens has no part."""
    q, k, v = jax.random.normal(jax.random.key(0), (3, 2, 3, tokens, 4))
    q = q[:, :, :asking]
    got = jax.jit(fused_attention, static_argnums=3)(q, k, v, "xla")
    want = jax.jit(lambda q, k, v: attention_weights(q, k) @ v)(q, k, v)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)
    assert not fused_is_fast(q)


# ---- positions -----------------------------------------------------------------------


def test_positions_are_as_they_are_at_the_size_they_were_made_for():
    np.testing.assert_array_equal(bicubic(7, 7), np.eye(7))
    table = jax.random.normal(jax.random.key(0), (1, 13, 5))
    assert resize_positions(table, (4, 3), (4, 3)) is table


def test_positions_are_resized_as_images_are():
    """Keys' kernel in a loop over targets and taps, rows and columns one by one."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(1, 13, 5))
    with jax.enable_x64(True):
        got = resize_positions(jnp.asarray(table), (4, 3), (7, 2))
    np.testing.assert_array_equal(got[:, :1], table[:, :1])
    want = along_rows(table[0, 1:].reshape(4, 3, 5), 7)
    want = along_rows(want.swapaxes(0, 1), 2).swapaxes(0, 1)
    np.testing.assert_allclose(got[0, 1:], want.reshape(14, 5), atol=1e-12)


def along_rows(image, to):
    size, a = len(image), -0.75
    out = np.zeros((to, *image.shape[1:]))
    for i in range(to):
        at = (i + 0.5) * size / to - 0.5
        for tap in range(int(np.floor(at)) - 1, int(np.floor(at)) + 3):
            d = abs(at - tap)
            near = (a + 2) * d**3 - (a + 3) * d**2 + 1
            far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
            out[i] += (near if d <= 1 else far) * image[min(max(tap, 0), size - 1)]
    return out


@pytest.mark.parametrize("to", [(5, 5), (9, 4), (14, 20)])
def test_positions_are_resized_as_pytorch_does(to):
    torch = pytest.importorskip("torch")
    table = np.random.default_rng(0).normal(size=(1, 1 + 7 * 7, 3)).astype(np.float32)
    got = resize_positions(jnp.asarray(table), (7, 7), to)[0, 1:].reshape(*to, 3)
    image = torch.tensor(table[:, 1:].reshape(1, 7, 7, 3)).permute(0, 3, 1, 2)
    want = torch.nn.functional.interpolate(image, to, mode="bicubic")
    np.testing.assert_allclose(got, want[0].permute(1, 2, 0), atol=1e-5)


def test_one_set_of_weights_sees_whole_images_and_crops_alike():
    """Of patches that look the same, the class token's features stay near."""
    backbone = vit((32, 32, 1), **TINY)
    weights = jax.jit(backbone.init)(jax.random.key(0))
    rows = jnp.linspace(-1, 1, 9 * 9).reshape(9, 9)[:8, :8]
    table = jnp.stack([rows] * 12, -1).reshape(1, 64, 12)
    weights["places"] = jnp.concatenate([weights["places"][:, :1], table], axis=1)
    features = jax.jit(backbone.features)
    whole, crop = (features(weights, jnp.ones((1, s, s, 1))) for s in (32, 16))
    assert np.linalg.norm(whole - crop) < 0.02 * np.linalg.norm(whole)


def test_fixed_positions_equal_numpy():
    """Columns first, then rows; sines, then cosines."""
    rows, columns, width = 2, 3, 8
    want = np.zeros((1 + rows * columns, width))
    for i, j, k in itertools.product(range(rows), range(columns), range(2)):
        speed = 1 / 10_000 ** (k / 2)
        at = 1 + i * columns + j
        want[at, k], want[at, 2 + k] = np.sin(j * speed), np.cos(j * speed)
        want[at, 4 + k], want[at, 6 + k] = np.sin(i * speed), np.cos(i * speed)
    np.testing.assert_allclose(fixed_positions((2, 3), 8)[0], want, atol=1e-12)


def test_fixed_positions_are_no_weights():
    fixed = jax.eval_shape(tiny(positions="fixed").init, jax.random.key(0))
    learned = jax.eval_shape(tiny().init, jax.random.key(0))
    assert set(learned) - set(fixed) == {"places"}


def test_patches_are_put_together_again():
    np.testing.assert_array_equal(
        assemble(patches(jnp.asarray(images()), 4), (4, 3), 4), images()
    )


# ---- stochastic depth ----------------------------------------------------------------


def test_branches_are_kept_for_certain_without_a_key():
    dropping = tiny(drop_path=0.9)
    still = jax.jit(dropping.features)(params(), images())
    np.testing.assert_array_equal(still, jax.jit(tiny().features)(params(), images()))
    moved = jax.jit(dropping.features)(params(), images(), jax.random.key(0))
    assert not np.allclose(still, moved, atol=1e-3)


def test_branches_are_unbiased_in_the_mean():
    gates = np.asarray(depth_gates(jax.random.key(0), 20_000, 4, 0.6))
    for block, rate in enumerate((0.0, 0.2, 0.4, 0.6)):
        values = gates[:, block]
        assert np.all(np.isclose(values, 0) | np.isclose(values, 1 / (1 - rate)))
        spread = np.sqrt(rate / (1 - rate) / 20_000)
        assert np.all(np.abs(values.mean(0) - 1) <= 4 * spread + 1e-6)
    pairs = np.corrcoef(gates[:, 1:].reshape(len(gates), -1).T) - np.eye(6)
    assert np.abs(pairs).max() < 0.03  # branches fall one by one


def test_what_is_dropped_of_an_image_depends_on_its_key_alone():
    keys = jax.random.split(jax.random.key(0), 5)
    whole = depth_gates(keys, 5, 3, 0.5)
    parts = [depth_gates(keys[i : i + 1], 1, 3, 0.5) for i in range(5)]
    np.testing.assert_array_equal(whole, jnp.concatenate(parts))
    by_one = depth_gates(jax.random.key(0), 5, 3, 0.5)
    np.testing.assert_array_equal(whole, by_one)


def test_a_dropped_branch_leaves_its_image_as_it_is():
    """With all of the last block dropped, features are those of one block fewer."""
    two, one = tiny(drop_path=0.5), tiny(depth=1)
    keys = jax.random.split(jax.random.key(3), 40)
    gates = depth_gates(keys, 40, 2, 0.5)[:, 1]
    both, none = (int(np.flatnonzero((gates == g).all(1))[0]) for g in (2.0, 0.0))
    few = {name: leaf for name, leaf in params().items() if name != "Encoder_1"}
    chosen = keys[jnp.array([none, both, none])]
    got = jax.jit(two.features)(params(), images(), chosen)
    want = jax.jit(one.features)(few, images())
    np.testing.assert_allclose(got[0], want[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(got[2], want[2], rtol=1e-5, atol=1e-5)
    assert not np.allclose(got[1], want[1], atol=1e-3)


# ---- what is refused -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("vat", {}, ["backbone.name='vat'", "mean 'vit'"]),
        ("vit", {"patch": 5}, ["backbone.patch=5", "16 x 12", "data.size"]),
        ("vit", {"patch": 16}, ["backbone.patch=16", "16 x 12"]),
        ("vit", {"patch": 4, "heads": 7}, ["backbone.width=384", "backbone.heads=7"]),
        ("vit", {"drop_path": 1.0}, ["backbone.drop_path=1.0", "below 1"]),
        ("vit", {"pool": "max"}, ["backbone.pool='max'", "token, mean"]),
        (
            "vit",
            {"patch": 4, "width": 6, "positions": "fixed"},
            ["4 divides", "not 6"],
        ),
        ("resnet", {"stem": "huge"}, ["backbone.stem='huge'", "small, large"]),
        ("resnet", {"norm": "layer"}, ["backbone.norm='layer'"]),
        ("convnet", {"depth": 5}, ["16 x 12", "28 x 28", "fewer blocks"]),
    ],
)
def test_wrong_settings_are_refused_in_one_sentence(name, settings, words):
    with pytest.raises(InputError) as caught:
        build_backbone(name, SHAPE, **settings)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("vit", (1, 18, 12, 1), ["18 x 12", "4 x 4", "crops"]),
        ("vit", (1, 2, 12, 1), ["2 x 12"]),
        ("vit", (1, 16, 12, 3), ["(1, 16, 12, 3)", "1 channel"]),
        ("resnet", (1, 16, 12, 3), ["(1, 16, 12, 3)", "1 channel"]),
        ("vit", (16, 12, 1), ["(16, 12, 1)", "(images, height, width, channels)"]),
    ],
)
def test_images_that_do_not_suit_are_refused_in_one_sentence(name, shape, words):
    backbone = build_backbone(name, SHAPE, **SMALL[name])
    shapes = jax.eval_shape(backbone.init, jax.random.key(0))
    with pytest.raises(InputError) as caught:
        jax.eval_shape(backbone.features, shapes, jnp.zeros(shape))
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("first", [None, 1])
def test_blocks_in_a_loop_are_blocks_in_a_row(first):
    """Also where the last computes no more than the class token."""
    backbone = vit((8, 8, 1), patch=4, width=8, depth=4, heads=2)
    params = backbone.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (3, 5, 8))
    gates = jax.random.uniform(jax.random.key(2), (3, 4, 2))
    block = Encoder(heads=2, parent=None)

    def in_a_row(params, x):
        for i in range(4):
            given = {"params": params[f"Encoder_{i}"]}
            x, weights = block.apply(given, x, gates[:, i])
        return x[:, :first], weights[:, :, :first]

    class Blocks(nn.Module):
        depth: int = 4
        heads: int = 2
        dtype: Any = None

        @nn.compact
        def __call__(self, x):
            return encode_blocks(self, x, gates, first)

    def looped(params, x):
        return Blocks().apply({"params": params}, x)

    def loss(blocks, params, x):
        x, weights = blocks(params, x)
        return jnp.sum(x**3) + jnp.sum(weights**2)

    with jax.enable_x64(True):
        held = {name: params[name] for name in params if name.startswith("Encoder")}
        wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), (held, x))
        found, wanted = (
            jax.grad(functools.partial(loss, blocks), (0, 1))(*wide)
            for blocks in (looped, in_a_row)
        )
    # Biases of keys change nothing: their gradient is rounding alone.
    close = functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-14)
    jax.tree.map(close, found, wanted)


def test_the_class_token_is_the_same_alone_and_among_all():
    """Of blocks in a row, and in a loop."""
    for depth in (2, 3):
        backbone = tiny(depth=depth)
        weights = loud(backbone.init(jax.random.key(0)))
        alone = jax.jit(backbone.features)(weights, images())
        among = jax.jit(backbone.tokens)(weights, images())[:, 0]
        np.testing.assert_allclose(alone, among, rtol=1e-4, atol=1e-5)


def test_a_single_block_is_dropped_as_often_as_asked():
    gates = np.asarray(depth_gates(jax.random.key(0), 2000, 1, 0.5))
    assert set(np.unique(gates)) == {0.0, 2.0}


def test_branches_fall_in_short_floats_too():
    dropping = tiny(drop_path=0.5, depth=3)
    short = jax.tree.map(
        lambda x: x.astype(jnp.bfloat16), dropping.init(jax.random.key(0))
    )
    seen = jnp.asarray(images(), jnp.bfloat16)
    assert dropping.features(short, seen, jax.random.key(1)).shape == (
        3,
        dropping.width,
    )


@pytest.mark.parametrize(("stem", "least"), [("small", 9), ("large", 33)])
def test_a_resnet_refuses_images_of_which_its_norm_would_leave_nothing(stem, least):
    settings = {"width": 4, "stem": stem}
    with pytest.raises(InputError, match=f"smaller than the {least} x {least}"):
        resnet((least - 1, least - 1, 1), **settings)
    network = resnet((2 * least, 2 * least, 1), **settings)
    params = jax.eval_shape(network.init, jax.random.key(0))
    small = jax.ShapeDtypeStruct((2, least - 1, least - 1, 1), jnp.float32)
    with pytest.raises(InputError, match="another norm or stem"):
        jax.eval_shape(network.features, params, small)
    assert resnet((least - 1, least - 1, 1), norm="group", **settings | {"width": 8})


def test_settings_of_backbones_are_named_as_such():
    with pytest.raises(InputError, match=r"backbone\.width=6 .* backbone\.norm"):
        build_backbone("resnet", (32, 32, 1), width=6, norm="group")
