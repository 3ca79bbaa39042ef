"""Sets, studies and parcels with one thing changed: refused by their verbs."""

import json

import numpy as np
import pytest
import tiny
from fuzz_seeds import dumped, npz, seeds
from refusals import told, untouched

TINY = f"--config={tiny.CONFIG}"
STUDY = seeds()["study"].parts
ARRAYS = seeds()["set"].parts
FILES = [  # a file of one kind with one thing changed, and what the refusal tells
    *[
        ("study", STUDY | change, part)
        for change, part in (
            ({"points": 3}, "its points are no list"),
            ({"points": [3]}, "points[0] must be a section"),
            ({"points": ["\ud800"]}, "points[0] must be a section, and is \ufffd"),
            ({"points": [{"set": "a", "x": 2, "y": 0}] * 3}, "points[0].x=2"),
            ({"points": [{"set": "a", "x": 0.5, "y": "b"}] * 3}, "points[0].y='b'"),
            ({"points": [{"x": 0.5, "y": 0.5}] * 3}, "points[0].set"),
            ({"points": [{"set": ["a"], "x": 0.5, "y": 0.5}]}, "points[0].set"),
            ({"points": []}, "holds 0 data set(s)"),
            ({"points": STUDY["points"][:1]}, "holds 1 data set(s)"),
            ({"level": 1}, "study.level=1"),
            ({"level": "high"}, "study.level='high'"),
            ({"level": None}, "study.level=None"),
            ({"config": None}, "lacks the sections"),
            ({"config": {"eval": {}}}, "lacks the sections"),
            ({"config": {"eval": 3, "compare": {}}}, "lacks the sections"),
            (
                {"config": {"eval": {}, "compare": {"augmentation": "x"}}},
                "augmentation='x'",
            ),
            (
                {"config": {"eval": {}, "compare": {"augmentation": 3}}},
                "augmentation=3",
            ),
        )
    ],
    *[
        ("set", ARRAYS | change, part)
        for change, part in (
            ({"raw_lr": np.float32(np.nan)}, "raw_lr in"),
            ({"raw_lr": np.zeros(3, np.float32)}, "a learning rate of shape (3,)"),
            ({"raw_lr": np.zeros((2, 4), np.float32)}, "whose steps divide the images"),
            (
                {"raw_lr": np.zeros((0, 2), np.float32)},
                "a learning rate of shape (0, 2)",
            ),
            ({"raw_lr": np.zeros((10**6, 1), np.float32)}, "a learning rate of shape"),
            ({"raw_lr": np.array("fast")}, "raw_lr in"),
            ({"raw_lr": np.int32(1)}, "raw_lr in"),
            (
                {"images": np.zeros((0, 8, 8, 1)), "logits": np.zeros((0, 3))},
                "not be empty",
            ),
            ({"images": np.full((6, 8, 8, 1), np.inf)}, "images in"),
            ({"images": np.zeros((6, 8, 8, 1), np.uint8)}, "they must be real"),
            ({"images": np.zeros((6, 8, 8, 2))}, "axis c"),
            ({"images": np.zeros((5, 8, 8, 1))}, "axis m"),
            ({"logits": np.zeros((6, 2))}, "axis k"),
            ({"logits": np.full((6, 3), 1e39)}, "single precision"),
            ({"mean": np.zeros(2)}, "axis c"),
            ({"std": np.zeros(1)}, "a deviation of 0"),
            ({"std": np.full(1, -1.0)}, "a deviation of 0"),
            ({"class_names": np.array(["a", "b"])}, "axis k"),
            ({"class_names": np.zeros(3)}, "they must be text"),
            ({"class_names": np.array(["x" * 2000] * 3)}, "only numbers and text"),
            ({"zca_forward": np.zeros((64, 64))}, "a whitening"),
            (
                {
                    "zca_centre": np.zeros(3),
                    "zca_forward": np.zeros((3, 3)),
                    "zca_inverse": np.zeros((3, 3)),
                },
                "a whitening that is not of its 64",
            ),
            ({"images": np.array([{}])}, "pickled objects"),
        )
    ],
]


@pytest.mark.parametrize("number", range(len(FILES)))
def test_a_file_with_one_thing_changed(number, tmp_path, capsys):
    kind, content, part = FILES[number]
    if kind == "study":
        (tmp_path / "study.json").write_bytes(dumped(content))
        argv = ("predict", TINY, f"--study={tmp_path / 'study.json'}")
    else:
        (tmp_path / "set.npz").write_bytes(npz(content))
        argv = ("evaluate", TINY, f"--workdir={tmp_path / 'run'}")
        argv = (*argv, f"--synthetic={tmp_path / 'set.npz'}")
    told(capsys, *argv, parts=(part,))
    assert untouched(tmp_path / "run")


def about(**changed) -> dict:
    return json.loads(seeds()["parcel"].parts["about"].tobytes()) | changed


NET = about()["net"]
PARCELS = [
    ({}, about(net=NET | {"seed": -1}), "net.seed=-1"),
    ({}, about(net=NET | {"seed": 2**70}), "net.seed="),
    ({}, about(net=NET | {"name": "nonsuch"}), "network.name='nonsuch'"),
    ({}, about(net=NET | {"settings": {"width": 65536, "depth": 2}}), "parameters"),
    ({}, about(net=NET | {"settings": {"classes": 2}}), "network.classes"),
    ({}, about(net=NET | {"settings": [1]}), "net.settings"),
    ({}, about(net=NET | {"image_shape": [9, 9, 1]}), "its network takes (9, 9, 1)"),
    ({}, about(net=NET | {"image_shape": "big"}), "net.image_shape"),
    ({}, about(net=NET | {"classes": 4}), "4 classes apart"),
    ({}, about(net=None), "net must be a section"),
    ({}, about(schedule={"inner": "lbfgs", "passes": 1}), "schedule.inner"),
    ({}, about(schedule={"inner": "sgd", "passes": 10**6}), "100,000 steps"),
    ({}, about(schedule={"inner": "sgd", "passes": 0}), "schedule.passes=0"),
    ({}, about(mosaic=3), "mosaic=3"),
    ({}, about(mosaic=0), "mosaic=0"),
    ({}, about(class_names=["a"]), "its labels do not"),
    ({}, about(class_names=[1, 2, 3]), "no names"),
    ({}, about(made={}), "on which device"),
    ({}, about(made=3), "about.made"),
    ({}, about(format=99), "format 99"),
    ({}, about(format="x"), "is no parcel"),
    ({}, about(parcel="other"), "is no parcel"),
    ({"expected": np.zeros((3, 3), np.float32)}, about(), "answers to 8 probes"),
    ({"expected": np.full((8, 3), np.nan, np.float32)}, about(), "expected in"),
    ({"rates": np.full((1, 4), 0.1, np.float32)}, about(), "do not divide"),
    ({"affine": np.zeros((0, 2), np.float32)}, about(), "image by image"),
    ({"standard": np.zeros((2, 1), np.float32)}, about(), "deviation of 0"),
    ({"pixels": np.zeros((6, 8, 8), np.uint8)}, about(), "(m, h, w, c)"),
    ({"logits": np.zeros((5, 3), np.float32)}, about(), "axis m"),
]


def sealed(arrays: dict, said: dict) -> bytes:
    """A parcel whose checksum is right, whatever it says."""
    from jaxdistill.sharing.shipping import ARRAYS as named
    from jaxdistill.sharing.shipping import _checksum

    whole = {name: seeds()["parcel"].parts[name] for name in named} | arrays
    said = {key: value for key, value in said.items() if key != "checksum"}
    said["checksum"] = _checksum(whole, said)
    return npz(whole | {"about": np.frombuffer(json.dumps(said).encode(), np.uint8)})


@pytest.mark.parametrize("number", range(len(PARCELS)))
def test_a_parcel_that_makes_no_sense(number, tmp_path, capsys):
    arrays, said, part = PARCELS[number]
    file = tmp_path / "parcel.npz"
    file.write_bytes(sealed(arrays, said))
    told(capsys, "regenerate", file, f"--out={tmp_path / 'w.npz'}", parts=(part,))
    assert not (tmp_path / "w.npz").exists()


def test_a_parcel_has_no_say_in_its_own_check(tmp_path, capsys):
    """With what it once could say, it is read, and then held to ours."""
    far = {"expected": seeds()["parcel"].parts["expected"] + np.float32(9)}
    (tmp_path / "p.npz").write_bytes(sealed(far, about(tolerance=1e9)))
    argv = ("regenerate", tmp_path / "p.npz", f"--out={tmp_path / 'w.npz'}")
    told(capsys, *argv, parts=("(allowed: 0.001)",))
