"""The depth of parameters, on the networks that there are and on a trickier one."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_same_bits
from jax.tree_util import keystr, tree_flatten_with_path
from test_networks import SHAPE, SMALL

from jaxdistill.distillation.distillers.weighting import deep_only
from jaxdistill.engine.depth import parameters_before
from jaxdistill.networks import NETWORKS, build
from jaxdistill.types import Network

STEMS = {"mlp": "trunk.Dense_0.kernel", "vit_tiny": "trunk.embed.kernel"}
RESNET = ["Conv_0", "Norm_0", *(f"Block_{i}" for i in range(8)), "head"]


def small(name):
    return build(name, SHAPE, 3, **SMALL[name])


def by_depth(network, shape=SHAPE):
    """Names of the arrays from the images on, and how many parameters each has."""
    before = parameters_before(network, shape)
    like = jax.eval_shape(network.init, jax.random.key(0))
    sizes = [leaf.size for leaf in jax.tree.leaves(like)]
    names = [
        keystr(p, simple=True, separator=".")
        for p, _ in tree_flatten_with_path(before)[0]
    ]
    found = sorted(zip(jax.tree.leaves(before), names, sizes, strict=True))
    counted = np.cumsum([0, *(size for _, _, size in found)])
    assert [first for first, _, _ in found] == counted[:-1].tolist()
    return [name for _, name, _ in found]


@pytest.mark.parametrize("name", NETWORKS)
def test_from_the_stem_to_the_head(name):
    found = by_depth(small(name))
    assert found[0] == STEMS.get(name, "trunk.Conv_0.kernel")
    assert found[-2:] == ["head.kernel", "head.bias"]
    assert found != sorted(found)  # the order of the tree is another
    # Layers of a kind are numbered as they are called, within each part of a network.
    for kind in ("Conv", "Dense", "Norm", "Block", "Encoder"):
        order = [re.findall(rf"^trunk\.{kind}_(\d+)\.", text) for text in found]
        numbers = [int(n) for one in order for n in one]
        assert numbers == sorted(numbers)


def test_a_residual_network_block_by_block():
    found = [name.removeprefix("trunk.") for name in by_depth(small("resnet18"))]
    assert list(dict.fromkeys(name.split(".")[0] for name in found)) == RESNET
    inside = [name.split(".", 2)[1:] for name in found if name.startswith("Block_2.")]
    order = ("Conv_0", "Norm_0", "Conv_1", "Norm_1", "shortcut", "shortcut_norm")
    assert tuple(dict.fromkeys(layer for layer, _ in inside)) == order


def test_parameters_are_met_where_images_are_not_where_they_are_prepared():
    """All cast at once, one only within a loop, one never."""

    def apply(params, images):
        cast = jax.tree.map(lambda p: 2 * p, params)
        x = images.reshape(len(images), -1) @ cast["z"]
        x, _ = jax.lax.scan(lambda x, w: (jnp.tanh(x * w[None]), None), x, cast["m"])
        return jax.jit(lambda x: x @ cast["a"])(x) + jnp.sum(cast["b"])

    def init(key):
        del key
        shapes = {"a": (3, 2), "b": (5,), "m": (4, 3), "y": (7,), "z": (16, 3)}
        return {name: jnp.zeros(shape) for name, shape in shapes.items()}

    network = Network(init, apply, apply, "tricky")
    assert by_depth(network, (4, 4, 1)) == ["z", "m", "a", "b", "y"]


@pytest.mark.parametrize("name", ["convnet", "resnet18"])
def test_deep_only_keeps_the_classifier_and_drops_the_stem(name):
    network = small(name)
    error = jax.tree.map(jnp.ones_like, network.init(jax.random.key(0)))
    weigh = jax.jit(
        lambda e: deep_only(0.25).weights((), e, parameters_before(network, SHAPE))
    )
    kept = weigh(error)
    sizes = [leaf.size for leaf in jax.tree.leaves(error)]
    share = sum(float(leaf.sum()) for leaf in jax.tree.leaves(kept)) / sum(sizes)
    assert share == pytest.approx(0.75, abs=1 / sum(sizes))
    assert_same_bits(kept["head"], error["head"])
    assert not np.any(kept["trunk"]["Conv_0"]["kernel"])
