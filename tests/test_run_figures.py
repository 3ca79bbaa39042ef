"""Pictures: whole PNG files of modest size whose pixels say what they should."""

import os
import sys

import numpy as np
import pytest
from PIL import Image

from jaxdistill.errors import InputError
from jaxdistill.run import figures

pytest.importorskip("matplotlib")


def draw_grid(path, synthetic, labels, real, real_labels, **options):
    names = [f"class {k}" for k in range(int(np.max(real_labels)) + 1)]
    figures.synthetic_grid(
        path, synthetic, labels, names, real=real, real_labels=real_labels, **options
    )
    with Image.open(path) as image:
        image.load()
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("channels", [1, 3])
def test_grid_of_noise_is_whole_and_small(tmp_path, channels):
    rng = np.random.default_rng(0)
    synthetic = rng.normal(0.5, 0.3, (40, 32, 32, channels)).astype(np.float32)
    real = rng.integers(0, 256, (60, 32, 32, channels), dtype=np.uint8)
    labels, real_labels = np.repeat(np.arange(4), 10), np.arange(60) % 4
    draw_grid(tmp_path / "grid.png", synthetic, labels, real, real_labels)
    assert os.listdir(tmp_path) == ["grid.png"]
    assert (tmp_path / "grid.png").stat().st_size < figures.MOST_BYTES


def test_one_display_range_a_side_so_that_flat_images_stay_flat(tmp_path):
    """An image of little contrast beside one of much must not be stretched."""
    strong = np.tile([0.0, 1.0], (8, 4))[..., None]
    weak = np.tile([0.48, 0.52], (8, 4))[..., None]
    synthetic = np.stack([strong, weak]).astype(np.float32)
    real = (synthetic * 255).astype(np.uint8)
    labels = np.array([0, 1])
    pixels = draw_grid(tmp_path / "grid.png", synthetic, labels, real, labels)
    mid = (pixels > 100) & (pixels < 150)
    height = len(pixels)
    # The weak image fills the second row with middle grey on both sides.
    weak_row = mid[int(height * 0.6) : int(height * 0.75)].all(axis=-1)
    assert weak_row.mean() > 0.4


def test_soft_labels_missing_classes_and_nan_are_drawn(tmp_path):
    synthetic = np.full((3, 8, 12, 1), np.nan, np.float32)
    soft = np.array([[0.6, 0.3, 0.1], [0.2, 0.1, 0.7], [0.5, 0.4, 0.1]], np.float32)
    real = np.zeros((3, 8, 12, 1), np.uint8)
    shown = draw_grid(tmp_path / "a.png", synthetic, soft, real, np.arange(3))
    assert shown.shape[0] > 100
    hard = draw_grid(
        tmp_path / "b.png",
        synthetic,
        soft.argmax(1),
        real,
        np.arange(3),
        max_per_class=1,
    )
    assert hard.shape != shown.shape


def test_many_classes_stay_small(tmp_path):
    labels = np.repeat(np.arange(30), 2)
    synthetic = np.random.default_rng(0).random((60, 8, 8, 3)).astype(np.float32)
    real = (synthetic * 255).astype(np.uint8)
    draw_grid(tmp_path / "grid.png", synthetic, labels, real, labels)
    assert (tmp_path / "grid.png").stat().st_size < figures.MOST_BYTES


def test_curve_and_confusion_are_written(tmp_path):
    figures.curve(
        tmp_path / "curve.png",
        [0, 100, 200],
        [0.5, 0.8, 0.78],
        [0.05, 0.02, 0.01],
        "balanced_accuracy",
        references={"random": (0.6, 0.05), "full": (0.9, 0.01)},
        selected_step=100,
    )
    both = {100: (0.7, 0.02), 200: (0.75, 0.02)}
    figures.curve(
        tmp_path / "rounds.png",
        [100, 200],
        [0.8, 0.7],
        [0.1, 0.1],
        "auc",
        finalists=both,
        selected_step=200,
    )
    figures.curve(tmp_path / "single.png", [0], [0.5], [0.1], "auc")
    matrix = np.array([[8, 2], [0, 0]])  # a class without a case
    figures.confusion(tmp_path / "confusion.png", matrix, ["normal", "pneumonia"])
    for name in ("curve.png", "rounds.png", "single.png", "confusion.png"):
        with Image.open(tmp_path / name) as image:
            image.load()
            assert min(image.size) > 300


def test_without_matplotlib_the_remedy_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert not figures.available()
    with pytest.raises(InputError, match=r'pip install "jaxdistill\[figures\]"'):
        figures.confusion(tmp_path / "x.png", np.eye(2), ["a", "b"])
    assert os.listdir(tmp_path) == []
