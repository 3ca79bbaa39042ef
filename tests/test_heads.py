"""Heads of self-supervision against NumPy, and over a batch on several devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from scipy.special import erf
from test_networks import np_dense, random_params, relu

from jaxdistill.engine.mesh import AXIS, make_mesh
from jaxdistill.errors import InputError
from jaxdistill.networks.heads import (
    HEADS,
    batch_norm,
    build_head,
    class_head,
    dino_head,
    predictor,
    projector,
    unit,
)
from jaxdistill.networks.masked import masked_decoder
from jaxdistill.networks.positions import fixed_positions
from jaxdistill.networks.resnet import resnet18
from jaxdistill.networks.vit import vit

WIDTH = 6
SMALL = {
    "dino": {"outputs": 9, "hidden": 8, "bottleneck": 4, "learned_gain": True},
    "classes": {"outputs": 3, "hidden": 8},
    "projector": {"outputs": 5, "hidden": 8, "layers": 3},
    "predictor": {"hidden": 4},
}


def rows(n=7):
    return np.random.default_rng(2).normal(size=(n, WIDTH))


def np_unit(x, axis=-1):
    return x / np.sqrt((x**2).sum(axis, keepdims=True))


def np_batch_norm(x, p=None):
    y = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    return y if p is None else y * p["scale"] + p["bias"]


def np_dino(p, x):
    for i in range(2):
        x = np_dense(x, p[f"Dense_{i}"])
        x = x * (1 + erf(x / np.sqrt(2))) / 2
    x = np_unit(np_dense(x, p["Dense_2"]))
    return x @ np_unit(p["last"], 0) * p.get("gain", 1.0)


def np_classes(p, x):
    for i in range(2):
        x = relu(np_dense(x, p[f"Dense_{i}"]))
    return np_dense(x, p["Dense_2"])


def np_mlp(p, x, hidden=1, last_norm=False):
    for i in range(hidden):
        x = relu(np_batch_norm(x @ p[f"Dense_{i}"]["kernel"], p[f"BatchNorm_{i}"]))
    last = p[f"Dense_{hidden}"]
    x = x @ last["kernel"] + last.get("bias", 0.0)
    return np_batch_norm(x) if last_norm else x


@pytest.mark.parametrize(
    ("head", "reference", "weights"),
    [
        (dino_head(WIDTH, **SMALL["dino"]), np_dino, {"last", "gain"}),
        (
            dino_head(WIDTH, outputs=9, hidden=8, bottleneck=4),
            np_dino,
            {"Dense_2", "last"},
        ),
        (class_head(WIDTH, outputs=3, hidden=8), np_classes, {"Dense_2"}),
        (projector(WIDTH, outputs=5, hidden=8), np_mlp, {"Dense_1"}),
        (
            projector(WIDTH, outputs=5, hidden=8, layers=3, last_norm=True),
            functools.partial(np_mlp, hidden=2, last_norm=True),
            {"BatchNorm_1"},
        ),
        (predictor(WIDTH, hidden=4), np_mlp, {"BatchNorm_0"}),
    ],
    ids=["dino-gain", "dino", "classes", "byol", "simsiam", "predictor"],
)
def test_heads_equal_numpy(head, reference, weights):
    params = random_params(head)
    assert weights <= set(params)
    with jax.enable_x64(True):
        got = jax.jit(head.apply)(params, rows())
    np.testing.assert_allclose(got, reference(params, rows()), rtol=1e-9, atol=1e-9)
    assert got.shape == (7, head.width)


@pytest.mark.parametrize(
    ("head", "parameters"),
    [
        # Weights + biases, layer by layer, as the papers' tables have them.
        (
            dino_head(384),
            385 * 2048 + 2049 * 2048 + 2049 * 256 + 256 * 65536,
        ),
        (class_head(384), 385 * 256 + 257 * 256 + 257),
        (projector(2048), 2048 * 4096 + 2 * 4096 + 4096 * 256),
        (predictor(2048), 2048 * 512 + 2 * 512 + 513 * 2048),
    ],
)
def test_heads_have_the_sizes_of_their_papers(head, parameters):
    shapes = jax.eval_shape(head.init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == parameters


@pytest.mark.parametrize("name", HEADS)
def test_every_weight_has_a_gradient(name):
    head = build_head(name, WIDTH, **SMALL[name])
    params = jax.tree.map(np.float32, random_params(head))
    along = jax.random.normal(jax.random.key(1), (7, head.width))
    x = jnp.asarray(rows(), jnp.float32)
    slope = jax.jit(jax.grad(lambda p: (head.apply(p, x) * along).sum()))(params)
    for path, leaf in jax.tree.leaves_with_path(slope):
        assert np.abs(leaf).max() > 1e-5, jax.tree_util.keystr(path)


def test_logits_of_dino_are_cosines_even_of_nothing():
    head = dino_head(WIDTH, outputs=9, hidden=8, bottleneck=4)
    params = head.init(jax.random.key(0))
    logits = head.apply(params, jnp.full((2, WIDTH), 1e4))
    assert np.abs(logits).max() <= 1 + 1e-6
    zeros = jax.tree.map(jnp.zeros_like, params)
    value, slope = jax.value_and_grad(lambda p: head.apply(p, jnp.ones((2, 6))).sum())(
        zeros
    )
    assert value == 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))
    assert unit(jnp.ones((2, 3), jnp.bfloat16)).dtype == jnp.float32


@pytest.mark.parametrize("engine", ["shard_map", "pmap"])
def test_statistics_of_all_devices_are_those_of_the_whole_batch(engine):
    """Outputs and gradients on four devices equal those on one, in float64."""
    head = projector(WIDTH, outputs=5, hidden=8, layers=2, last_norm=True)
    with jax.enable_x64(True):
        params = jax.tree.map(jnp.asarray, random_params(head))
        x, along = (
            jnp.asarray(rows(8)),
            jnp.asarray(np.random.default_rng(3).normal(size=(8, 5))),
        )

        def part(params, x, along, axis=None):
            def loss(params, x):
                y = head.apply(params, x, axis)
                return (y * along).mean(), y

            got = jax.grad(loss, (0, 1), has_aux=True)(params, x)
            (by_params, by_x), y = got
            if axis:
                by_params = jax.lax.pmean(by_params, axis)
            return by_params, by_x, y

        want = jax.jit(part)(params, x, along)
        mesh, one = make_mesh(4), functools.partial(part, axis=AXIS)
        if engine == "shard_map":
            mapped = jax.shard_map(
                one,
                mesh=mesh,
                in_specs=(P(), P(AXIS), P(AXIS)),
                out_specs=(P(), P(AXIS), P(AXIS)),
                check_vma=False,
            )
            got = jax.jit(mapped)(params, x, along)
        else:
            split = [a.reshape(4, 2, -1) for a in (x, along)]
            mapped = jax.pmap(one, AXIS, in_axes=(None, 0, 0), out_axes=(None, 0, 0))
            by_params, by_x, y = mapped(params, *split)
            got = by_params, by_x.reshape(x.shape), y.reshape(along.shape)
    (by_params, by_x, y), want = jax.tree.map(np.asarray, (got, want))
    close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)
    jax.tree.map(close, by_params, want[0])
    close(by_x / 4, want[1])  # each device's loss is the mean of a quarter
    close(y, want[2])


def test_a_batch_may_be_one_image_on_each_device():
    x = jnp.asarray(rows(4), jnp.float32)
    mapped = jax.shard_map(
        lambda x: batch_norm(x, AXIS),
        mesh=make_mesh(4),
        in_specs=P(AXIS),
        out_specs=P(AXIS),
    )
    np.testing.assert_allclose(jax.jit(mapped)(x), np_batch_norm(rows(4)), atol=1e-4)


# ---- the decoder of masked autoencoders ----------------------------------------------


@functools.cache
def decoder():
    backbone = vit((8, 12, 1), patch=4, width=12, depth=1, heads=3)
    return masked_decoder(backbone, 1, width=8, depth=1, heads=2)


def test_the_decoder_equals_numpy():
    """Of a depth in which blocks do nothing: what they do is tested with the ViT."""
    params = random_params(decoder())
    for name in ("attention", "Dense_1"):
        part = params["Encoder_0"][name]
        params["Encoder_0"][name] = jax.tree.map(np.zeros_like, part)
    rng = np.random.default_rng(0)
    tokens, kept = rng.normal(size=(2, 3, 12)), np.array([[4, 1], [0, 5]])
    with jax.enable_x64(True):
        got = jax.jit(decoder().apply)(params, tokens, kept)
    x = np_dense(tokens, params["embed"])
    y = np.tile(params["mask_token"], (2, 6, 1))
    for i in range(2):
        y[i, kept[i]] = x[i, 1:]
    y = y + fixed_positions((2, 3), 8)[:, 1:]
    norm = params["LayerNorm_0"]
    y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-6)
    want = np_dense(y * norm["scale"] + norm["bias"], params["Dense_0"])
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)
    assert got.shape == (2, 6, 16)


def test_every_weight_of_the_decoder_has_a_gradient_and_any_grid_will_do():
    params = jax.tree.map(np.float32, random_params(decoder()))
    tokens = jax.random.normal(jax.random.key(0), (2, 4, 12))
    kept = jnp.array([[0, 2, 3], [8, 7, 1]])
    along = jax.random.normal(jax.random.key(1), (2, 9, 16))

    @jax.jit
    def slope(params):
        pixels = lambda p: decoder().apply(p, tokens, kept, (3, 3))  # noqa: E731
        return jax.grad(lambda p: (pixels(p) * along).sum())(params)

    for path, leaf in jax.tree.leaves_with_path(slope(params)):
        assert np.abs(leaf).max() > 1e-5, jax.tree_util.keystr(path)


# ---- what is refused -----------------------------------------------------------------


def shapes_of(head):
    return jax.eval_shape(head.init, jax.random.key(0))


def refused(fn, *words):
    with pytest.raises(InputError) as caught:
        fn()
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_wrong_heads_are_refused_in_one_sentence():
    refused(lambda: build_head("dyno", 6), "head.name='dyno'", "mean 'dino'")
    refused(lambda: build_head("dino", 6, output=3), "head.output", "mean 'outputs'")
    refused(lambda: class_head(6, outputs=0), "head.outputs=0", "at least 1")
    head = class_head(6)
    wrong = functools.partial(jax.eval_shape, head.apply, shapes_of(head))
    refused(lambda: wrong(jnp.zeros((2, 5))), "(2, 5)", "head for 6", "width")


def test_a_batch_of_one_has_no_statistics():
    head = projector(WIDTH, outputs=4, hidden=8)
    one = jnp.zeros((1, WIDTH))
    refused(
        lambda: jax.eval_shape(head.apply, shapes_of(head), one),
        "batch of 1",
        "2 or more",
    )


def test_wrong_decoders_are_refused_in_one_sentence():
    backbone = vit((8, 8, 1), patch=4, width=12, depth=1, heads=3)
    refused(
        lambda: masked_decoder(backbone, 1, width=8, heads=3),
        "decoder.width=8",
        "decoder.heads=3",
    )
    refused(lambda: masked_decoder(backbone, 1, width=6, heads=3), "of 4")
    blind = backbone._replace(tokens=None, name="resnet")
    refused(lambda: masked_decoder(blind, 1), "'resnet' has no tokens")
    wrong = functools.partial(jax.eval_shape, decoder().apply, shapes_of(decoder()))
    refused(
        lambda: wrong(jnp.zeros((2, 4, 12)), jnp.zeros((2, 2), jnp.int32)),
        "4 tokens",
        "2 patches kept",
    )


def test_every_network_still_has_its_own_head():
    assert set(shapes_of(resnet18((16, 16, 1), 2, width=4))) == {"trunk", "head"}
