"""Public weights: names, layouts, the way back, and the outputs of PyTorch's models."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file
from test_networks import random_params

from jaxdistill.errors import InputError
from jaxdistill.networks import vit_tiny
from jaxdistill.networks.backbones import resnet
from jaxdistill.networks.heads import dino_head
from jaxdistill.networks.masked import masked_decoder
from jaxdistill.networks.positions import resize_positions
from jaxdistill.networks.public_names import DINO_HEAD, MAE_DECODER, RESNET, VIT
from jaxdistill.networks.vit import vit
from jaxdistill.networks.weights import (
    fold_norms,
    load_weights,
    public_weights,
    read_tensors,
)

TINY = {"patch": 4, "width": 12, "depth": 2, "heads": 3}


@functools.cache
def tiny(shape=(16, 16, 3)):
    return vit(shape, **TINY)


def short(params):
    return jax.tree.map(np.float32, params)


def blank(network):
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    return jax.tree.map(lambda s: jnp.full(s.shape, 7.0), shapes)


NETWORKS = {
    "vit": (tiny(), VIT),
    "resnet": (resnet((16, 16, 3), width=4, norm="affine", stem="large"), RESNET),
    "dino": (dino_head(6, outputs=9, hidden=8, bottleneck=4), DINO_HEAD),
    "gain": (
        dino_head(6, outputs=9, hidden=8, bottleneck=4, learned_gain=True),
        DINO_HEAD,
    ),
    "mae": (masked_decoder(tiny(), 3, width=8, depth=2, heads=2), MAE_DECODER),
    "tiny": (vit_tiny((16, 16, 3), 5, **TINY), VIT),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_go_to_their_public_names_and_back(name):
    network, table = NETWORKS[name]
    params = short(random_params(network))
    public = public_weights(params, table)
    assert len(public) == len(jax.tree.leaves(params))
    loaded = load_weights(public, table, blank(network))
    assert (loaded.missing, loaded.unused) == ((), ())
    jax.tree.map(np.testing.assert_array_equal, loaded.params, params)


def test_names_and_shapes_are_those_of_timm():
    shapes = {n: x.shape for n, x in public_weights(blank(tiny()), VIT).items()}
    block = {
        "norm1.weight": (12,),
        "norm1.bias": (12,),
        "attn.qkv.weight": (36, 12),
        "attn.qkv.bias": (36,),
        "attn.proj.weight": (12, 12),
        "attn.proj.bias": (12,),
        "norm2.weight": (12,),
        "norm2.bias": (12,),
        "mlp.fc1.weight": (48, 12),
        "mlp.fc1.bias": (48,),
        "mlp.fc2.weight": (12, 48),
        "mlp.fc2.bias": (12,),
    }
    assert shapes == {
        "cls_token": (1, 1, 12),
        "pos_embed": (1, 17, 12),
        "patch_embed.proj.weight": (12, 3, 4, 4),
        "patch_embed.proj.bias": (12,),
        "norm.weight": (12,),
        "norm.bias": (12,),
        **{f"blocks.{i}.{n}": s for i in range(2) for n, s in block.items()},
    }


def test_names_and_shapes_are_those_of_maes_decoder():
    decoder, table = NETWORKS["mae"]
    shapes = {n: x.shape for n, x in public_weights(blank(decoder), table).items()}
    assert shapes["decoder_embed.weight"] == (8, 12)
    assert shapes["mask_token"] == (1, 1, 8)
    assert shapes["decoder_blocks.1.mlp.fc1.weight"] == (32, 8)
    assert shapes["decoder_pred.weight"] == (48, 8)
    assert len(shapes) == 2 + 1 + 2 * 12 + 2 + 2


def test_classifiers_have_timms_last_layer():
    public = public_weights(blank(NETWORKS["tiny"][0]), VIT)
    assert public["head.weight"].shape == (5, 12)


# ---- what PyTorch's models compute ---------------------------------------------------


def peer():
    pytest.importorskip("torch")
    import torch_models

    return torch_models


def of_torch(model, images):
    import torch

    with torch.no_grad():
        return model(torch.tensor(images).permute(0, 3, 1, 2)).numpy()


def pictures(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_a_vision_transformer_computes_what_pytorchs_does():
    models = peer()
    model = models.shaken(models.ViT(16, 4, 3, 12, 2, 3))
    params = load_weights(models.tensors_of(model), VIT, blank(tiny())).params
    features = jax.jit(tiny().features)
    for images in (pictures(2, 16, 16, 3), pictures(2, 24, 8, 3)):
        want = of_torch(model, images)
        np.testing.assert_allclose(features(params, images), want, atol=1e-4)


@pytest.mark.parametrize("gain", [True, False])
def test_a_dino_head_computes_what_pytorchs_does(gain):
    models = peer()
    model = models.shaken(models.DinoHead(6, 8, 4, 9))
    if not gain:
        model.last_layer.parametrizations.weight.original0.data.fill_(1.0)
    head, table = NETWORKS["gain" if gain else "dino"]
    params = load_weights(models.tensors_of(model), table, blank(head)).params
    features = pictures(5, 6)
    import torch

    want = model(torch.tensor(features)).detach().numpy()
    np.testing.assert_allclose(
        head.apply(params, jnp.asarray(features)), want, atol=1e-4
    )


def test_a_resnet_computes_what_pytorchs_does():
    """In evaluation, with its statistics folded in."""
    models = peer()
    model = models.shaken(models.ResNet18(4))
    tensors, images = fold_norms(models.tensors_of(model)), pictures(3, 40, 36, 3)
    backbone = resnet((32, 32, 3), width=4, norm="affine", stem="large")
    loaded = load_weights(tensors, RESNET, blank(backbone), strict=False)
    assert loaded.missing == ()
    assert loaded.unused == ("fc.weight", "fc.bias")
    want = of_torch(model, images)
    got = jax.jit(backbone.features)(loaded.params, images)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * np.abs(want).max())


# ---- sizes that differ ---------------------------------------------------------------


def test_positions_of_another_size_are_resized():
    public = public_weights(short(random_params(tiny())), VIT)
    wide = tiny((16, 24, 3))
    params = load_weights(public, VIT, blank(wide), grid=wide.grid).params
    want = resize_positions(jnp.asarray(public["pos_embed"]), (4, 4), (4, 6))
    np.testing.assert_array_equal(params["places"], want)
    square = tiny((24, 24, 3))
    params = load_weights(public, VIT, blank(square)).params
    want = resize_positions(jnp.asarray(public["pos_embed"]), (4, 4), (6, 6))
    np.testing.assert_array_equal(params["places"], want)


@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_weights_for_colour_see_grey_images_as_three_equal_channels(name):
    colour, table = NETWORKS[name]
    grey = {
        "vit": tiny((16, 16, 1)),
        "resnet": resnet((16, 16, 1), width=4, norm="affine", stem="large"),
    }[name]
    params = short(random_params(colour))
    one = load_weights(public_weights(params, table), table, blank(grey)).params
    images = pictures(2, 16, 16, 1)
    want = jax.jit(colour.features)(params, np.tile(images, 3))
    got = jax.jit(grey.features)(one, images)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * np.abs(want).max())


def test_norms_are_folded():
    rng = np.random.default_rng(0)
    w, b, m, v = rng.uniform(0.5, 2.0, (4, 3))
    names = ("weight", "bias", "running_mean", "running_var")
    tensors = {f"bn1.{n}": x for n, x in zip(names, (w, b, m, v), strict=True)}
    folded = fold_norms({**tensors, "bn1.num_batches_tracked": np.array(3)})
    assert set(folded) == {"bn1.weight", "bn1.bias"}
    x = rng.normal(size=(5, 3))
    want = (x - m) / np.sqrt(v + 1e-5) * w + b
    np.testing.assert_allclose(x * folded["bn1.weight"] + folded["bn1.bias"], want)


# ---- files ---------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_files_are_read_as_they_were_written(suffix, tmp_path):
    public = public_weights(short(random_params(tiny())), VIT)
    path = tmp_path / f"weights.{suffix}"
    public = {name: np.ascontiguousarray(x) for name, x in public.items()}
    save_file(public, path) if suffix == "safetensors" else np.savez(path, **public)
    read = read_tensors(path)
    assert set(read) == set(public)
    for name, x in public.items():
        np.testing.assert_array_equal(read[name], x)


def test_short_floats_become_the_types_of_the_parameters(tmp_path):
    from safetensors.flax import save_file as save_short

    public = public_weights(short(random_params(tiny())), VIT)
    brief = {name: jnp.asarray(x, jnp.bfloat16) for name, x in public.items()}
    save_short(brief, tmp_path / "brief.safetensors")
    read = read_tensors(tmp_path / "brief.safetensors")
    loaded = load_weights(read, VIT, blank(tiny())).params
    assert {leaf.dtype for leaf in jax.tree.leaves(loaded)} == {jnp.float32.dtype}
    want = short(random_params(tiny()))["embed"]["kernel"]
    np.testing.assert_allclose(loaded["embed"]["kernel"], want, rtol=2**-8)


# ---- what is refused -----------------------------------------------------------------


def refused(fn, *words):
    with pytest.raises(InputError) as caught:
        fn()
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_files_that_are_not_weights_are_refused_in_one_sentence(tmp_path):
    for name in ("a.pth", "a.bin"):
        (tmp_path / name).write_bytes(b"x")
        refused(
            lambda name=name: read_tensors(tmp_path / name), name, ".npz", "save_file"
        )
    refused(lambda: read_tensors(tmp_path / "b.npz"), "b.npz does not exist")
    for name in ("c.npz", "c.safetensors"):
        (tmp_path / name).write_bytes(b"no such thing")
        refused(
            lambda name=name: read_tensors(tmp_path / name),
            name,
            "truncated or damaged",
        )


def test_what_is_missing_or_unused_is_told():
    public = public_weights(short(random_params(tiny())), VIT)
    del public["blocks.1.attn.qkv.bias"]
    public["head.weight"] = np.zeros((5, 12))
    load = functools.partial(load_weights, public, VIT, blank(tiny()))
    refused(
        load,
        "1 parameters are not in the weights (Encoder_1/attention/qkv/bias)",
        "1 weights have no place (head.weight)",
        "strict=False",
    )
    loaded = load(strict=False)
    assert loaded.missing == ("Encoder_1/attention/qkv/bias",)
    assert loaded.unused == ("head.weight",)
    np.testing.assert_array_equal(
        loaded.params["Encoder_1"]["attention"]["qkv"]["bias"], 7
    )


def test_weights_within_a_checkpoint_are_found_by_how_their_names_begin():
    public = public_weights(short(random_params(tiny())), VIT)
    nested = {f"module.backbone.{name}": x for name, x in public.items()}
    nested["module.head.mlp.0.weight"] = np.zeros((8, 12))
    load = functools.partial(load_weights, nested, VIT, blank(tiny()))
    refused(load, "within=''", "pass within='module.backbone.'")
    loaded = load(within="module.backbone.")
    assert (loaded.missing, loaded.unused) == ((), ())
    refused(
        lambda: load_weights({"x": np.zeros(3)}, RESNET, {}), "conv1.weight", "table"
    )


def test_weights_of_another_size_are_refused_in_one_sentence():
    public = public_weights(short(random_params(tiny())), VIT)
    wide = vit((16, 16, 3), **(TINY | {"width": 24}))
    words = "'cls_token'", "(1, 1, 12)", "(1, 1, 24)", "class_token"
    refused(lambda: load_weights(public, VIT, blank(wide)), *words)
    public["patch_embed.proj.weight"] = np.zeros((12, 48))
    refused(
        lambda: load_weights(public, VIT, blank(tiny())), "(12, 48)", "embed/kernel"
    )
    refused(lambda: public_weights(blank(tiny()), VIT, channels=1), "channels=1", "48")


def test_gains_and_statistics_that_a_network_lacks_are_told():
    learned, table = NETWORKS["gain"]
    public = public_weights(short(random_params(learned)), table)
    fixed = blank(NETWORKS["dino"][0])
    refused(lambda: load_weights(public, table, fixed), "last_layer.weight_g")
    network, table = NETWORKS["resnet"]
    public = public_weights(short(random_params(network)), table)
    public["bn1.running_mean"] = np.zeros(4)
    refused(lambda: load_weights(public, table, blank(network)), "fold_norms(tensors)")


@pytest.mark.parametrize("made", [np.array(["a", "b"]), np.zeros((1, 5, 0))])
def test_weights_that_hold_no_numbers_are_refused(made):
    public = {**public_weights(short(random_params(tiny())), VIT), "pos_embed": made}
    with pytest.raises(InputError, match=r"'pos_embed' are .* hold no number"):
        load_weights(public, VIT, blank(tiny()))


def test_positions_of_as_many_tokens_on_another_grid_are_resized():
    wide = vit((8, 32, 1), patch=4, width=12, depth=1, heads=3)
    square = vit((16, 16, 1), patch=4, width=12, depth=1, heads=3)
    params = random_params(square)
    public = public_weights(params, VIT, channels=1)
    loaded = load_weights(public, VIT, blank(wide), grid=wide.grid).params
    want = resize_positions(jnp.asarray(params["places"]), (4, 4), (2, 8))
    np.testing.assert_allclose(loaded["places"], want, rtol=1e-6)
    assert not np.allclose(loaded["places"], params["places"])


def test_classifiers_have_the_name_of_their_kind():
    trunk = {"Conv_0": {"kernel": np.zeros((3, 3, 1, 4))}}
    head = {"kernel": np.zeros((4, 2)), "bias": np.zeros(2)}
    for table, name in ((RESNET, "fc"), (VIT, "head")):
        names = set(public_weights({"trunk": trunk, "head": head}, table))
        assert {f"{name}.weight", f"{name}.bias"} <= names
        assert len([n for n in names if n.endswith("bias")]) == 1
