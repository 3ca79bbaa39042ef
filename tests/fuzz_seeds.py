"""Good files of every kind that strangers send, each with who reads it."""

import functools
import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from helpers import toy_pool, toy_synthetic
from PIL import Image
from test_data_dicom import dicom
from test_data_kinds import DEEP, RAMP, png, tiff

from jaxdistill import data
from jaxdistill.data.case_files import open_case
from jaxdistill.data.check import check
from jaxdistill.data.images import read_image, read_labels
from jaxdistill.data.site_pool import read_table
from jaxdistill.data.unlabelled import read_unlabelled
from jaxdistill.data.volumes import read_volume
from jaxdistill.engine.schedule import Schedule
from jaxdistill.jobs.judging.synthetic import load_synthetic, save_synthetic
from jaxdistill.jobs.lessons.starting import begin_with
from jaxdistill.jobs.segment.models import load_model
from jaxdistill.jobs.ship.compress import to_bytes
from jaxdistill.jobs.ship.regenerate import load_parcel
from jaxdistill.jobs.study.predict import read_study
from jaxdistill.networks import build_segmenter
from jaxdistill.networks.backbones import build_backbone
from jaxdistill.networks.public_names import VIT
from jaxdistill.networks.weights import public_weights, read_tensors
from jaxdistill.run.weights_file import write_weights
from jaxdistill.sharing.packing import pack
from jaxdistill.sharing.shipping import PROBES, Net, Parcel


class Seed(NamedTuple):
    """A good file, and the reader of such files; `parts` is what it is packed from."""

    file: str
    whole: bytes
    read: Callable[[Path], Any]
    parts: Any = None  # arrays of an npz, or the object of a JSON
    pack: Callable[[Any], bytes] | None = None


def npz(arrays: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def dumped(made: Any) -> bytes:
    return json.dumps(made).encode()


def unpacked(whole: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(whole)) as file:
        return dict(file)


def mnist(file: Path) -> Any:
    return data.mnist(root=str(file.parent), size=8)


def folder(file: Path) -> Any:
    return data.folder(file, 8)


def nnunet(file: Path) -> Any:
    return data.nnunet(file)


def checked(file: Path) -> Any:
    return check(file)


@functools.cache
def vit() -> tuple[Any, Any]:
    backbone = build_backbone("vit", (8, 8, 1), patch=4, width=8, depth=2, heads=2)
    return backbone, backbone.init(jax.random.key(0))


def begun(file: Path) -> Any:
    backbone, trunk = vit()
    return begin_with(file, {"trunk": trunk}, backbone, lambda line: None)


def unlabelled(file: Path) -> Any:
    return read_unlabelled(file, toy_pool(), group=r"(sick|normal)\d")


def table(file: Path) -> Any:
    return read_table(file, "case", "site")


def _set() -> bytes:
    with tempfile.TemporaryDirectory() as held:
        path = Path(held) / "set.npz"
        save_synthetic(path, toy_synthetic(), toy_pool())
        return path.read_bytes()


def _parcel() -> bytes:
    synthetic, pool = toy_synthetic(), toy_pool()
    settings = {"width": 4, "depth": 1}
    made = Parcel(
        net=Net("convnet", settings, pool.image_shape, pool.classes, 5),
        pixels=pack(synthetic.images, "uint8"),
        logits=np.asarray(synthetic.logits),
        rates=np.full((3, 2), 0.1, np.float32),
        schedule=Schedule(),
        mosaic=1,
        standard=pool.standard,
        class_names=pool.class_names,
        made={"device": "cpu", "jax": "0"},
        expected=np.ones((PROBES, pool.classes), np.float32),
    )
    return to_bytes(made)


def _study() -> dict[str, Any]:
    points = [{"set": name, "x": 0.5, "y": 0.6} for name in ("a", "b", "c")]
    config = {"eval": {"epochs": 9}, "compare": {"augmentation": "with,without"}}
    return {"points": points, "level": 0.9, "config": config}


def _mnist() -> dict[str, np.ndarray]:
    rng, labels = np.random.default_rng(0), np.arange(60) % 10
    made = {
        f"{s}_images": rng.integers(0, 255, (60, 8, 8), np.uint8)
        for s in ("train", "test")
    }
    return made | {"train_labels": labels, "test_labels": labels}


def _model() -> bytes:
    settings = {"name": "unet", "width": 4, "depth": 3}
    network = build_segmenter(channels=1, classes=2, **settings)
    like = jax.eval_shape(network.init, jax.random.key(0))
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
    facts = {
        "network": settings,
        "channels": 1,
        "classes": 2,
        "class_names": ["a", "b"],
    }
    with tempfile.TemporaryDirectory() as held:
        path = Path(held) / "model.safetensors"
        write_weights(path, params, facts)
        return path.read_bytes()


def _public() -> dict[str, np.ndarray]:
    tensors = public_weights(vit()[1], VIT, channels=1)
    return {name: np.ascontiguousarray(x) for name, x in tensors.items()}


def _kept() -> bytes:
    with tempfile.TemporaryDirectory() as held:
        path = Path(held) / "network.safetensors"
        write_weights(path, {"student": {"trunk": vit()[1]}}, {})
        return path.read_bytes()


def _volume(suffix: str, mask: bool = False) -> bytes:
    import nibabel

    rng = np.random.default_rng(0)
    values = rng.integers(0, 2 if mask else 90, (6, 5, 4)).astype(np.int16)
    kind = nibabel.MGHImage if suffix == ".mgz" else nibabel.Nifti1Image
    with tempfile.TemporaryDirectory() as held:
        path = Path(held) / f"a{suffix}"
        nibabel.save(kind(values.astype(np.int32), np.eye(4)), path)
        return path.read_bytes()


def _picture(kind: str, colour: bool) -> bytes:
    pixels = np.random.default_rng(1).integers(0, 255, (12, 10, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels if colour else pixels[..., 0]).save(file, kind)
    return file.getvalue()


def _zip(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


def _films() -> dict[str, bytes]:
    rng = np.random.default_rng(2)
    made = {}
    for name in ("normal", "sick"):
        for number in range(4):
            file = io.BytesIO()
            Image.fromarray(rng.integers(0, 255, (8, 8), np.uint8)).save(file, "PNG")
            made[f"films/{name}/{name}{number}__1.png"] = file.getvalue()
    return made


def _cases() -> dict[str, bytes]:
    labels = {"labels": {"background": 0, "organ": 1}}
    made = {"set/dataset.json": dumped(labels)}
    for name in ("a", "b"):
        made[f"set/imagesTr/{name}_0000.nii.gz"] = _volume(".nii.gz")
        made[f"set/labelsTr/{name}.nii.gz"] = _volume(".nii.gz", mask=True)
    return made


@functools.cache
def seeds() -> dict[str, Seed]:
    """All of them by name; the readers take every one without a word."""
    small, deep = RAMP[:12], DEEP[:12]
    a_set, parcel = _set(), _parcel()
    tensors = {"w": np.ones((3, 2), np.float32), "b": np.ones(2, np.float32)}
    made = {
        "set": Seed("set.npz", a_set, load_synthetic, unpacked(a_set), npz),
        "parcel": Seed("parcel.npz", parcel, load_parcel, unpacked(parcel), npz),
        "study": Seed("study.json", dumped(_study()), read_study, _study(), dumped),
        "mnist": Seed("mnist.npz", npz(_mnist()), mnist, _mnist(), npz),
        "check npz": Seed("mnist.npz", npz(_mnist()), checked, _mnist(), npz),
        "weights": Seed("w.npz", npz(tensors), read_tensors, tensors, npz),
        "public": Seed("w.npz", npz(_public()), begun, _public(), npz),
        "backbone": Seed("network.safetensors", _kept(), begun),
        "unlabelled": Seed("films.zip", _zip(_films()), unlabelled),
        "model": Seed("model.safetensors", _model(), load_model),
        "films": Seed("films.zip", _zip(_films()), folder),
        "check zip": Seed("films.zip", _zip(_films(), zipfile.ZIP_BZIP2), checked),
        "lzma": Seed("films.zip", _zip(_films(), zipfile.ZIP_LZMA), folder),
        "cases": Seed("set.zip", _zip(_cases()), nnunet),
        "table": Seed("t.csv", b"case,site\na,1\nb,2\n", table),
    }
    for suffix in (".nii", ".nii.gz", ".mgz"):
        made[suffix] = Seed(f"a{suffix}", _volume(suffix), read_volume)
    made["case"] = Seed("a.nii.gz", _volume(".nii.gz"), open_case)
    pictures = {
        kind: _picture(kind, kind != "PPM")
        for kind in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM", "GIF")
    }
    pictures |= {"deep PNG": png(np.repeat(deep[..., None], 3, 2), 2)}
    pictures |= {"deep TIFF": tiff(np.repeat(deep[..., None], 3, 2), 2)}
    pictures |= {
        "white is 0": tiff(deep, 0),
        "wide TIFF": tiff(small.astype(np.uint32)),
    }
    pictures |= {"float TIFF": tiff(small.astype(np.float32))}
    pictures |= {
        "DICOM": dicom(),
        "DICOM 8": dicom(small, 8, RescaleSlope=1, RescaleIntercept=0),
    }
    pictures |= {"window": dicom(WindowCenter=40, WindowWidth=80, PixelPaddingValue=0)}
    for name, whole in pictures.items():
        made[name] = Seed("film", whole, read_image)
    pictures |= {
        "grey PNG": _picture("PNG", False),
        "grey TIFF": _picture("TIFF", False),
    }
    for name in ("grey PNG", "grey TIFF", "wide TIFF", "deep PNG"):
        made[f"mask {name}"] = Seed("mask", pictures[name], read_labels)
    return made
