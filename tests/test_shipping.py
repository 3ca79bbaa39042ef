"""A network shipped as images: the same bits elsewhere, honest scores, refusals."""

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from helpers import CLASSES, assert_same_bits, toy_pool, toy_synthetic

from jaxdistill.cli.arguments import parse
from jaxdistill.cli.main import main
from jaxdistill.engine.schedule import Schedule
from jaxdistill.engine.training import of_synthetic, train_fresh
from jaxdistill.errors import InputError
from jaxdistill.evaluation.evaluate import predict
from jaxdistill.evaluation.metrics import scores
from jaxdistill.jobs.settings import build
from jaxdistill.jobs.ship.compress import to_bytes
from jaxdistill.jobs.ship.regenerate import load_parcel, made_here
from jaxdistill.networks import convnet
from jaxdistill.run.files import write_json
from jaxdistill.sharing import shipping
from jaxdistill.sharing.packing import pack, to_float, unpack
from jaxdistill.sharing.shipping import Net, Parcel, from_arrays, to_arrays

CONFIGS = Path(__file__).parents[1] / "configs"
ROWS = ("learned", "regenerated")
SEED = 5
SOFT_LABEL = {
    "method": "soft_label",
    "steps": 2,
    "soft_label.start": "fixed",
    "soft_label.start_seed": SEED,
    "soft_label.batch_real": 4,
    "init.lr": 0.3,
    "eval.every": 2,
    "eval.seeds": 1,
    "eval.final_seeds": 1,
    "eval.draws": 1,
}


def scheduled():
    """The toy set with six rates, each another."""
    raw = np.log(np.expm1(0.2)) + 0.1 * np.arange(6.0)
    return toy_synthetic()._replace(raw_lr=jnp.asarray(raw.reshape(3, 2), jnp.float32))


@functools.cache
def parcel(pixels: str = "float32") -> Parcel:
    """The toy set from a fixed start of the toy ConvNet."""
    synthetic, pool = scheduled(), toy_pool()
    settings = {"width": 4, "depth": 1}
    open_parcel = Parcel(
        net=Net("convnet", settings, pool.image_shape, pool.classes, SEED),
        pixels=pack(synthetic.images, pixels),
        logits=np.asarray(synthetic.logits),
        rates=np.asarray(synthetic.lr),
        schedule=Schedule(),
        mosaic=1,
        standard=pool.standard,
        class_names=pool.class_names,
        made=made_here(),
        expected=np.zeros((0, CLASSES), np.float32),
    )
    return shipping.sealed(open_parcel)[0]


def written(path: Path, content: Parcel) -> Path:
    path.write_bytes(to_bytes(content))
    return path


@functools.cache
def finished() -> Path:
    """A distillation that has ended."""
    workdir = tiny.root() / "soft_label"
    flags = [f"--config.{key}={value}" for key, value in SOFT_LABEL.items()]
    assert tiny.call("distill", workdir, *flags) == 0
    return workdir


def compress(workdir: Path, out: Path, *flags: str) -> int:
    arguments = ["compress", f"--workdir={workdir}", f"--out={out}", *flags]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXDISTILL_DATA", str(tiny.root() / "data"))
        return main(arguments)


def changed_run(tmp_path: Path, **arrays) -> Path:
    """A copy of the run with other arrays in its selected set."""
    workdir = tmp_path / "run"
    shutil.copytree(finished(), workdir)
    file = workdir / tiny.summary(workdir)["synthetic"]
    np.savez(file, **tiny.arrays(file) | arrays)
    return workdir


def refusal(capsys, *arguments) -> str:
    """The one line with which the tool turns these arguments down."""
    capsys.readouterr()
    assert main([str(a) for a in arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert len(told.err.splitlines()) == 1
    return told.err


def refused_regeneration(capsys, file: Path) -> str:
    out = file.parent / "weights.npz"
    told = refusal(capsys, "regenerate", file, f"--out={out}")
    assert not out.exists()
    assert str(file) in told
    return told


def test_a_fresh_process_trains_the_evaluated_network_bit_for_bit(tmp_path):
    file, out = written(tmp_path / "model.npz", parcel()), tmp_path / "weights.npz"
    done = subprocess.run(
        [sys.executable, "-c", tiny.START, "regenerate", str(file), f"--out={out}"],
        env=os.environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "the same network bit for bit" in done.stdout
    synthetic, pool = scheduled(), toy_pool()
    network = convnet(pool.image_shape, pool.classes, width=4, depth=1)
    fixed = network._replace(init=lambda key: network.init(jax.random.key(SEED)))
    examples = of_synthetic(synthetic, pool.standard)
    run = jax.jit(lambda x, lr, k: train_fresh(fixed, Schedule(), x, lr, k))
    trained = run(examples, synthetic.lr, jax.random.key(0))
    found = tiny.arrays(out)
    assert found.keys() == shipping.weights(trained).keys()
    for name, expected in shipping.weights(trained).items():
        np.testing.assert_array_equal(found[name], expected)


def test_weights_are_named_by_their_paths():
    params = {"a": {"kernel": jnp.ones((2, 3))}, "b": jnp.zeros(1)}
    found = shipping.weights(params)
    assert {name: x.shape for name, x in found.items()} == {
        "a/kernel": (2, 3),
        "b": (1,),
    }


@pytest.mark.parametrize(("pixels", "levels"), [("uint8", 255), ("uint16", 65535)])
def test_whole_pixels_are_half_a_level_off_at_most(pixels, levels):
    images = np.asarray(toy_synthetic().images) * np.arange(1, 7).reshape(6, 1, 1, 1)
    packed = pack(images, pixels)
    assert packed.values.dtype == pixels
    low, high = images.min(axis=(1, 2, 3)), images.max(axis=(1, 2, 3))
    off = np.abs(unpack(packed) - images).max(axis=(1, 2, 3))
    assert np.all(off <= 0.51 * (high - low) / levels + 1e-6)
    assert np.all(off > 0)


def test_a_flat_image_and_float_pixels_come_back():
    images = np.full((2, 3, 3, 1), 0.7, np.float32)
    np.testing.assert_array_equal(unpack(pack(images, "uint8")), images)
    images = np.asarray(toy_synthetic().images)
    np.testing.assert_array_equal(unpack(pack(images, "float32")), images)
    half = images.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(unpack(pack(images, "float16")), half)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: pack(x, "int4"), "pixels='int4' is not known"),
        (lambda x: to_float(x, "uint8"), "labels='uint8' is not known"),
        (lambda x: pack(1e6 * x, "float16"), "float16 cannot hold values up to"),
    ],
)
def test_precisions_that_do_not_serve_are_refused(call, said):
    with pytest.raises(InputError, match=said):
        call(np.ones((1, 2, 2, 1), np.float32))


@pytest.mark.parametrize("pixels", ["float16", "uint8"])
def test_a_parcel_survives_its_file(tmp_path, pixels):
    sent = parcel(pixels)
    got = load_parcel(written(tmp_path / "model.npz", sent))
    assert got._replace(pixels=(), standard=(), logits=(), rates=(), expected=()) == (
        sent._replace(pixels=(), standard=(), logits=(), rates=(), expected=())
    )
    arrays = ("pixels", "logits", "rates", "expected")
    for name in arrays:
        assert_same_bits(getattr(got, name), getattr(sent, name))
    assert_same_bits(got.standard[:2], sent.standard[:2])


def test_coarser_pixels_are_another_network_and_say_so():
    sent = parcel()
    coarse = shipping.fingerprint(parcel("uint8"), shipping.regenerate(parcel("uint8")))
    found = shipping.match(sent, coarse)
    assert not found.same_bits
    scale = np.abs(sent.expected).max()
    assert found.apart == pytest.approx(np.abs(coarse - sent.expected).max() / scale)


def test_a_mosaic_trains_by_its_cells():
    whole, cut = parcel(), parcel()._replace(mosaic=2)
    assert shipping.regenerate(cut).keys() == shipping.regenerate(whole).keys()
    found = shipping.fingerprint(cut, shipping.regenerate(cut))
    assert not shipping.match(whole, found).passes()


def test_tampered_rates_are_refused_by_how_much_they_matter(tmp_path, capsys):
    sent = parcel()
    arrays = to_arrays(sent) | {"rates": 2 * sent.rates}
    file = tmp_path / "model.npz"
    np.savez(file, **arrays)
    assert "checksum differs" in refused_regeneration(capsys, file)
    forged = written(file, sent._replace(rates=2 * sent.rates))
    told = refused_regeneration(capsys, forged)
    apart = shipping.match(
        sent,
        shipping.fingerprint(
            sent, shipping.regenerate(sent._replace(rates=2 * sent.rates))
        ),
    ).apart
    assert f"differ by {apart:.2g} of the largest (allowed: 0.001)" in told
    assert told.count(f"{made_here()['device']} with JAX {jax.__version__}") == 2


def test_small_differences_pass_and_are_told(tmp_path, capsys):
    sent = parcel()
    scale = np.abs(sent.expected).max()
    near = sent.expected + np.float32(5e-4) * scale
    file, out = tmp_path / "model.npz", tmp_path / "weights.npz"
    written(file, sent._replace(expected=near))
    assert main(["regenerate", str(file), f"--out={out}"]) == 0
    assert "its device and versions are the sender's: expected equal bits" in (
        capsys.readouterr().out
    )
    elsewhere = dict(sent.made) | {"device": "8 x Abacus", "jax": "0.0.1"}
    written(file, sent._replace(expected=near, made=elsewhere))
    assert main(["regenerate", str(file), f"--out={out}"]) == 0
    assert "sent from 8 x Abacus with JAX 0.0.1" in capsys.readouterr().out
    far = sent.expected + np.float32(5e-3) * scale
    written(tmp_path / "far.npz", sent._replace(expected=far, made=elsewhere))
    out.unlink()
    told = refused_regeneration(capsys, tmp_path / "far.npz")
    assert "differ by 0.005" in told
    assert "sent from 8 x Abacus with JAX 0.0.1, regenerated on" in told


def test_files_that_are_no_parcels_are_refused(tmp_path, capsys):
    whole = to_bytes(parcel())
    file = tmp_path / "file.npz"
    file.write_bytes(whole[: len(whole) // 2])
    assert "damaged, or not an npz file" in refused_regeneration(capsys, file)
    np.savez(file, images=np.zeros(3))
    assert "is no parcel" in refused_regeneration(capsys, file)
    np.savez(file, about=np.zeros(3))
    assert "is no parcel" in refused_regeneration(capsys, file)
    file.unlink()
    assert "does not exist" in refused_regeneration(capsys, file)


def test_a_newer_format_and_an_unknown_network_are_refused(tmp_path, capsys):
    arrays = to_arrays(parcel())
    about = json.loads(arrays["about"].tobytes()) | {"format": 2}
    newer = np.frombuffer(json.dumps(about).encode(), np.uint8)
    np.savez(tmp_path / "newer.npz", **arrays | {"about": newer})
    told = refused_regeneration(capsys, tmp_path / "newer.npz")
    assert "format 2, but this jaxdistill reads up to 1" in told
    net = parcel().net._replace(name="perceptron")
    strange = written(tmp_path / "strange.npz", parcel()._replace(net=net))
    assert "network.name='perceptron'" in refused_regeneration(capsys, strange)
    with pytest.raises(InputError, match="the parcel is no parcel"):
        from_arrays({})


def test_compressing_reports_the_run_and_counts_real_bytes(tmp_path, capsys):
    out = tmp_path / "model.npz"
    assert compress(finished(), out) == 0
    report = json.loads((tmp_path / "compress.json").read_text())
    summary = tiny.summary(finished())
    assert report["scores"]["full"] == summary["full"]
    for row in ROWS:
        for name in ("accuracy", "auc", "sensitivity", "specificity"):
            expected = summary["distilled"][name]["mean"]
            np.testing.assert_allclose(report["scores"][row][name]["mean"], expected)
    assert report["agreement"] == 1.0
    floats = sum(x.size for x in shipping.weights(regenerated(out)).values())
    size = out.stat().st_size
    assert report["bytes"] == {
        "weights": 4 * floats,
        "shipped": size,
        "ratio": size / (4 * floats),
    }
    told = capsys.readouterr().out
    for row in ("whole training set", "distilled set, float32", "regenerated"):
        assert f"\n| {row} " in told


def regenerated(file: Path):
    return shipping.regenerate(load_parcel(file))


def test_scores_are_those_of_the_values_that_travel(tmp_path):
    """Half precision cannot tell these logits apart, so that their labels are even."""
    file = finished() / tiny.summary(finished())["synthetic"]
    classes = tiny.arrays(file)["logits"].argmax(axis=1)
    logits = np.float32(4096 + 1.9 * np.eye(2)[classes])
    workdir, out = changed_run(tmp_path, logits=logits), tmp_path / "model.npz"
    assert compress(workdir, out, "--pixels=uint8", "--labels=float16") == 0
    report = json.loads((tmp_path / "compress.json").read_text())
    config = report["config"]
    config["data"]["root"] = str(tiny.root() / "data")
    pool = build.build_pool(config)
    network = build.build_network(config, pool)
    sent, labels = load_parcel(out), np.asarray(pool.test.labels)
    assert (sent.pixels.values.dtype, sent.logits.dtype) == (np.uint8, np.float16)
    exact = sent._replace(
        pixels=pack(tiny.arrays(file)["images"], "float32"), logits=logits
    )
    called = []
    for one, row in ((exact, "learned"), (sent, "regenerated")):
        found = predict(network, shipping.regenerate(one), pool.test)
        called.append(np.argmax(found, axis=1))
        expected = scores(np.asarray(found), labels)
        for name in ("accuracy", "auc", "sensitivity"):
            reported = report["scores"][row][name]["mean"]
            np.testing.assert_allclose(reported, expected[name], rtol=1e-6)
    assert report["agreement"] == pytest.approx(np.mean(called[0] == called[1]))
    learned, travelled = (report["scores"][row]["auc"] for row in ROWS)
    assert learned["mean"] > travelled["mean"] + 0.2


def test_runs_that_make_no_one_network_are_refused(tmp_path, capsys):
    workdir, out = changed_run(tmp_path), tmp_path / "model.npz"
    command = ("compress", f"--workdir={workdir}", f"--out={out}")
    record = json.loads((workdir / "config.json").read_text())

    def refused_with(key, value, section="soft_label"):
        changed = json.loads(json.dumps(record))
        changed["config"][section][key] = value
        write_json(workdir / "config.json", changed)
        return refusal(capsys, *command)

    told = refused_with("start", "random")
    assert "method=soft_label and soft_label.start=random" in told
    assert "needs soft_label from a fixed start" in told
    assert "data.zca=True" in refused_with("zca", True, "data")
    write_json(workdir / "config.json", record)
    summary = tiny.summary(workdir) | {"complete": False}
    write_json(workdir / "summary.json", summary)
    assert "holds no finished distillation" in refusal(capsys, *command)
    (workdir / "summary.json").unlink()
    assert "holds no summary.json" in refusal(capsys, *command)
    command = ("compress", f"--workdir={workdir}", f"--out={tmp_path}/compress.json")
    assert "is where the report goes" in refusal(capsys, *command)
    assert not out.exists()


def test_a_network_that_is_not_finite_is_not_shipped(tmp_path, capsys):
    workdir = changed_run(tmp_path, raw_lr=np.full((3, 1), 3e38, np.float32))
    out = tmp_path / "model.npz"
    capsys.readouterr()
    assert compress(workdir, out) == 2
    assert "answers are not finite" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("mode", "labels", "count"),
    [("full", "adam", 0), ("hard", "none", 0), ("five", "adam", 5)],
)
def test_the_modes_of_the_mnist_config(mode, labels, count):
    config, _ = parse([f"--config={CONFIGS / 'soft_label_mnist.py'}:{mode}"], ())
    assert config["optimizer"]["labels"]["name"] == labels
    assert config["init"]["count"] == count
    assert (config["init"]["label_margin"] == 100.0) == (mode == "hard")
    assert config["soft_label"]["start"] == "fixed"


def test_a_mode_that_a_config_lacks_is_refused():
    with pytest.raises(InputError, match="'hard': choose one of full, smoke"):
        parse([f"--config={CONFIGS / 'quickstart.py'}:hard"], ())
    with pytest.raises(InputError, match="choose one of full, hard, five, smoke"):
        parse([f"--config={CONFIGS / 'soft_label_mnist.py'}:soft"], ())
