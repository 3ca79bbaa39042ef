"""Where a training begins: files of ours, and public weights by their names."""

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxdistill.errors import InputError
from jaxdistill.jobs.lessons.starting import begin_with
from jaxdistill.networks.backbones import build_backbone
from jaxdistill.networks.positions import resize_positions
from jaxdistill.networks.public_names import RESNET, VIT
from jaxdistill.networks.weights import public_weights
from jaxdistill.run.weights_file import write_weights

SMALL = {"patch": 8, "width": 16, "depth": 1, "heads": 2}


@pytest.fixture(scope="module")
def vit():
    return build_backbone("vit", (16, 16, 1), **SMALL)


def equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("kept", ["student", "trunk", "bare"])
def test_a_backbone_of_ours_is_taken_whatever_lies_beside_it(vit, tmp_path, kept):
    trunk = vit.init(jax.random.key(0))
    whole = {"trunk": trunk, "classes": {"bias": np.ones(3)}}
    holds = {"student": {"student": whole, "teacher": whole}, "trunk": whole}
    file = tmp_path / "kept.safetensors"
    write_weights(file, holds.get(kept, trunk), {})
    fresh = {"trunk": vit.init(jax.random.key(1)), "classes": 5}
    found = begin_with(file, fresh, vit)
    equal(found["trunk"], trunk)
    assert found["classes"] == 5


def test_positions_of_films_of_another_size_are_resized(vit, tmp_path):
    larger = build_backbone("vit", (32, 32, 1), **SMALL)
    trunk, file = larger.init(jax.random.key(0)), tmp_path / "larger.safetensors"
    write_weights(file, {"trunk": trunk}, {})
    found = begin_with(file, {"trunk": vit.init(jax.random.key(1))}, vit)["trunk"]
    want = resize_positions(trunk["places"], (4, 4), (2, 2))
    equal(found, {**trunk, "places": want})


def test_public_weights_are_taken_and_what_is_left_is_listed(vit, tmp_path):
    trunk = vit.init(jax.random.key(0))
    tensors = public_weights(trunk, VIT, channels=1)
    gone = next(name for name in tensors if name.endswith("norm.bias"))
    del tensors[gone]
    tensors["head.weight"] = np.ones((2, 16), np.float32)
    file, said = tmp_path / "public.safetensors", []
    save_file({n: np.ascontiguousarray(x) for n, x in tensors.items()}, file)
    fresh = vit.init(jax.random.key(1))
    found = begin_with(file, {"trunk": fresh}, vit, said.append)["trunk"]
    same = jax.tree.map(lambda a, b: bool((a == b).all()), found, trunk)
    assert sum(not one for one in jax.tree.leaves(same)) <= 1
    assert any("unused" in line and "head.weight" in line for line in said)
    assert any("missing" in line for line in said)


def test_what_is_no_backbone_of_this_kind_is_refused(vit, tmp_path):
    other = build_backbone("vit", (16, 16, 1), **SMALL | {"width": 24})
    file = tmp_path / "other.safetensors"
    write_weights(file, {"trunk": other.init(jax.random.key(0))}, {})
    fresh = {"trunk": vit.init(jax.random.key(1))}
    with pytest.raises(InputError, match="of shape"):
        begin_with(file, fresh, vit)
    with pytest.raises(InputError, match="no file"):
        begin_with(tmp_path / "none.safetensors", fresh, vit)
    convnet = build_backbone("convnet", (16, 16, 1), width=4, depth=1)
    save_file({"a": np.ones(3, np.float32)}, file)
    with pytest.raises(InputError, match="public names for 'convnet'"):
        begin_with(file, {"trunk": convnet.init(jax.random.key(0))}, convnet)


def test_statistics_of_batches_need_the_norm_that_has_them(tmp_path):
    file = tmp_path / "resnet.safetensors"
    settings = {"width": 4, "stem": "large"}
    affine = build_backbone("resnet", (64, 64, 1), norm="affine", **settings)
    trunk = affine.init(jax.random.key(0))
    tensors = dict(public_weights(trunk, RESNET, channels=1))
    for name in [n for n in tensors if n.startswith("bn1.")]:
        at = name.rpartition(".")[0]
        tensors[f"{at}.running_mean"] = np.full(4, 3.0, np.float32)
        tensors[f"{at}.running_var"] = np.full(4, 0.25, np.float32)
    save_file({n: np.ascontiguousarray(x) for n, x in tensors.items()}, file)
    plain = build_backbone("resnet", (64, 64, 1), **settings)
    with pytest.raises(InputError, match=r"set backbone\.norm=affine"):
        begin_with(file, {"trunk": plain.init(jax.random.key(1))}, plain)
    found = begin_with(file, {"trunk": affine.init(jax.random.key(1))}, affine)
    np.testing.assert_allclose(found["trunk"]["Norm_0"]["scale"], 2.0, rtol=1e-4)


def test_a_prefix_that_all_names_have_is_found(vit, tmp_path):
    trunk = vit.init(jax.random.key(0))
    tensors = public_weights(trunk, VIT, channels=1)
    file = tmp_path / "wrapped.safetensors"
    named = {f"module.{n}": np.ascontiguousarray(x) for n, x in tensors.items()}
    save_file(named, file)
    found = begin_with(file, {"trunk": vit.init(jax.random.key(1))}, vit)["trunk"]
    equal(found, trunk)
    both = {f"{who}.{n}": x for who in ("student", "teacher") for n, x in named.items()}
    save_file(both, file)
    with pytest.raises(
        InputError, match=r"several networks, under 'student\.module\.', "
    ):
        begin_with(file, {"trunk": vit.init(jax.random.key(1))}, vit)


def test_the_prefix_of_a_resnet_is_found_whose_blocks_repeat_its_names(tmp_path):
    """Beside a head whose norm has no scale, as SimSiam's."""
    settings = {"width": 4, "norm": "affine"}
    net = build_backbone("resnet", (16, 16, 1), stem="large", **settings)
    trunk = net.init(jax.random.key(0))
    named = public_weights(trunk, RESNET, channels=1)
    tensors = {f"module.{n}": np.ascontiguousarray(x) for n, x in named.items()}
    ones = np.ones(4, np.float32)
    tensors |= {"fc.1.running_mean": 0 * ones, "fc.1.running_var": ones}
    file = tmp_path / "wrapped.safetensors"
    save_file(tensors, file)
    found = begin_with(file, {"trunk": net.init(jax.random.key(1))}, net)["trunk"]
    equal(found, trunk)
    small = build_backbone("resnet", (16, 16, 1), stem="small", **settings)
    with pytest.raises(InputError, match="they were made for, with stem='large'"):
        begin_with(file, {"trunk": small.init(jax.random.key(1))}, small)
