"""Dice, IoU and volumes against NumPy, and what a user can hand in wrongly."""

import jax
import numpy as np
import pytest

from jaxdistill.errors import InputError
from jaxdistill.evaluation.overlap import (
    count_classes,
    dice,
    iou,
    volume_difference,
    volume_difference_ml,
)
from jaxdistill.evaluation.segmentation import segmentation_scores
from jaxdistill.types import IGNORED

SHAPE = (4, 9, 7)
SPACING = (2.5, 0.6, 0.6)


def labels(seed, classes=4, shape=SHAPE):
    return np.random.default_rng(seed).integers(0, classes, shape).astype(np.uint8)


def by_sets(predicted, truth, label):
    """Of sets of voxels: |P|, |G|, |P and G|, |P or G|."""
    p, g = (set(np.flatnonzero(mask == label)) for mask in (predicted, truth))
    return len(p), len(g), len(p & g), len(p | g)


@pytest.mark.parametrize("where", [np.asarray, jax.numpy.asarray])
def test_scores_are_those_of_sets_on_host_and_device(where):
    predicted, truth = labels(0), labels(1)
    counts = count_classes(where(predicted), where(truth), 4)
    for label in range(4):
        p, g, both, either = by_sets(predicted, truth, label)
        np.testing.assert_allclose(dice(counts)[label], 2 * both / (p + g), rtol=1e-6)
        np.testing.assert_allclose(iou(counts)[label], both / either, rtol=1e-6)
        np.testing.assert_allclose(
            volume_difference(counts)[label], (p - g) / g, rtol=1e-6
        )
        np.testing.assert_allclose(
            volume_difference_ml(counts, SPACING)[label], (p - g) * 0.9e-3, rtol=1e-6
        )


def test_counts_are_the_same_under_jit():
    predicted, truth = labels(0), labels(1)
    got = jax.jit(count_classes, static_argnums=2)(predicted, truth, 4)
    for ours, want in zip(got, count_classes(predicted, truth, 4), strict=True):
        np.testing.assert_array_equal(ours, want)


def test_counts_of_parts_add_up():
    predicted, truth = labels(0), labels(1)
    whole = count_classes(predicted, truth, 4)
    parts = [count_classes(predicted[i], truth[i], 4) for i in range(len(truth))]
    np.testing.assert_array_equal(np.sum(parts, axis=0), np.array(whole))


@pytest.mark.parametrize(
    ("ignore_empty", "right", "wrong"), [(True, np.nan, np.nan), (False, 1.0, 0.0)]
)
def test_an_empty_truth(ignore_empty, right, wrong):
    """Class 2 is rightly not predicted, class 3 wrongly is."""
    truth = np.zeros(SHAPE, np.uint8)
    truth[0, 0, :3] = 1
    predicted = truth.copy()
    predicted[1, 1, 1] = 3
    got = segmentation_scores(predicted, truth, SPACING, 4, ignore_empty=ignore_empty)
    for name in ("dice", "iou"):
        np.testing.assert_array_equal(got[name], [1.0, right, wrong])
    np.testing.assert_array_equal(got["volume_difference"], [0.0, np.nan, np.nan])
    np.testing.assert_array_equal(got["hd95"], [0.0, np.nan, np.inf])
    np.testing.assert_array_equal(got["nsd"], [1.0, np.nan, 0.0])
    np.testing.assert_allclose(got["volume_difference_ml"], [0.0, 0.0, 0.9e-3])


def test_a_class_that_is_missed_scores_nothing():
    truth = np.zeros(SHAPE, np.uint8)
    truth[1, 2:5, 2:5] = 1
    got = segmentation_scores(np.zeros_like(truth), truth, SPACING, 2)
    assert got["dice"] == got["iou"] == got["nsd"] == 0.0
    assert got["volume_difference"] == -1.0
    assert np.isinf([got["hd"], got["hd95"], got["assd"]]).all()


def test_ignored_voxels_count_nowhere():
    """Whatever is predicted there, every score is the same."""
    truth, predicted = labels(1, 3), labels(0, 3)
    truth[:, :3, :] = IGNORED
    other = predicted.copy()
    other[:, :3, :] = labels(5, 3)[:, :3, :]
    got, same = (segmentation_scores(p, truth, SPACING, 3) for p in (predicted, other))
    for name, values in got.items():
        np.testing.assert_array_equal(values, same[name])
    for label in (1, 2):
        p, g, both, _ = by_sets(predicted[:, 3:], truth[:, 3:], label)
        np.testing.assert_allclose(got["dice"][label - 1], 2 * both / (p + g))


GOOD = {
    "predicted": labels(0, 3),
    "truth": labels(1, 3),
    "spacing": SPACING,
    "classes": 3,
    "tolerance": 1.0,
}


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("truth", labels(1, 3)[:2], "the same slices x rows x columns"),
        ("predicted", labels(1, 3)[0], "mask\\[None\\]"),
        ("spacing", (0.6, 0.6), "three numbers above 0"),
        ("spacing", (0.0, 0.6, 0.6), "three numbers above 0"),
        ("spacing", (np.nan, 0.6, 0.6), "use \\(1, 1, 1\\)"),
        ("tolerance", -1.0, "at least 0, in mm"),
        ("tolerance", float("nan"), "at least 0, in mm"),
        ("truth", labels(1, 3) / 2, "whole numbers, a class each"),
        ("classes", 1, "the background counted"),
        ("classes", 2, "holds the label 2, but of classes=2 the last is 1"),
    ],
)
def test_what_does_not_fit_is_told(key, value, said):
    with pytest.raises(InputError, match=said):
        segmentation_scores(**(GOOD | {key: value}))


def test_scores_equal_those_of_surface_distance():
    """DeepMind's package measures areas of triangles; Dice it counts as we do."""
    peer = pytest.importorskip("surface_distance")
    predicted, truth = labels(0, 2), labels(1, 2)
    got = segmentation_scores(predicted, truth, SPACING, 2)["dice"]
    want = peer.compute_dice_coefficient(truth == 1, predicted == 1)
    np.testing.assert_allclose(got, [want])
