"""Distances in millimetres against SciPy, and against what can be counted by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from jaxdistill.errors import InputError
from jaxdistill.evaluation.distance import distance_transform, distances_at
from jaxdistill.evaluation.segmentation import segmentation_scores
from jaxdistill.evaluation.surface import (
    SurfaceDistances,
    average_distance,
    hausdorff,
    surface,
    surface_dice,
    surface_distances,
)

SPACING = (2.5, 0.6, 0.7)
SHAPE = (5, 12, 9)


def blobs(seed, shape=SHAPE, above=0.3):
    rough = np.random.default_rng(seed).normal(size=shape)
    return ndimage.gaussian_filter(rough, 1.0, mode="constant") > above * 0.3


def ball(centre, radii, shape):
    at = np.indices(shape).astype(float)
    parts = [((a - c) / r) ** 2 for a, c, r in zip(at, centre, radii, strict=True)]
    return np.sum(parts, axis=0) < 1


def scipy_surface(mask):
    """Face connectivity in the plane for a picture, in space for a volume."""
    if len(mask) == 1:
        return mask ^ ndimage.binary_erosion(mask[0])[None]
    return mask ^ ndimage.binary_erosion(mask)


def by_scipy(predicted, truth, spacing, tolerance=1.0):
    """The definitions over SciPy's distance transform, in float64."""
    p, t = scipy_surface(predicted), scipy_surface(truth)
    there = ndimage.distance_transform_edt(~t, sampling=spacing)[p]
    back = ndimage.distance_transform_edt(~p, sampling=spacing)[t]
    both = np.concatenate([there, back])
    return {
        "hd": both.max(),
        "hd95": max(np.percentile(there, 95), np.percentile(back, 95)),
        "assd": both.mean(),
        "nsd": (both <= tolerance).mean(),
    }


@functools.partial(jax.jit, static_argnames="most")
def ours(predicted, truth, spacing=SPACING, tolerance=1.0, most=None):
    spacing = jnp.asarray(spacing, jnp.float32)
    distances = surface_distances(predicted, truth, spacing, most)
    return {
        "hd": hausdorff(distances),
        "hd95": hausdorff(distances, 95.0),
        "assd": average_distance(distances),
        "nsd": surface_dice(distances, tolerance),
    }


def assert_same(got, want, atol=1e-5):
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, atol=atol, err_msg=name)


# ---- the distance transform ----------------------------------------------------------


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), SPACING])
def test_distance_transform_equals_scipy(spacing):
    mask = np.random.default_rng(0).random(SHAPE) < 0.02
    got = jax.jit(distance_transform)(mask, jnp.asarray(spacing))
    want = ndimage.distance_transform_edt(~mask, sampling=spacing)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


def test_distances_of_a_batch_are_those_of_each():
    masks = np.stack([blobs(seed) for seed in range(3)])
    transform = jax.jit(jax.vmap(distance_transform, (0, None)))
    got = transform(masks, jnp.asarray(SPACING))
    want = [ndimage.distance_transform_edt(~mask, sampling=SPACING) for mask in masks]
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_nothing_is_infinitely_far_away():
    empty = np.zeros(SHAPE, bool)
    got = jax.jit(distance_transform)(empty, jnp.asarray(SPACING))
    assert np.isinf(got).all()


def test_long_distances_do_not_round():
    """A millimetre counts at half a metre, where float32 knows 3e-5."""
    mask = np.zeros((3, 900, 4), bool)
    mask[0, 0, 0] = True
    got = np.asarray(jax.jit(distance_transform)(mask, jnp.asarray((5.0, 0.6, 0.6))))
    want = ndimage.distance_transform_edt(~mask, sampling=(5.0, 0.6, 0.6))
    assert abs(got - want).max() < 1e-4


@pytest.mark.parametrize("most", [1, 7, 540])
def test_distances_at_some_voxels_come_in_their_order(most):
    places, mask = np.random.default_rng(1).random((2, *SHAPE)) < 0.1
    at = jax.jit(distances_at, static_argnums=3)
    found, number = at(places, mask, jnp.asarray(SPACING), most)
    want = ndimage.distance_transform_edt(~mask, sampling=SPACING)[places]
    assert number == len(want)
    known = min(most, len(want))
    np.testing.assert_allclose(found[:known], want[:known], atol=1e-5)
    assert np.isinf(found[known:]).all()


# ---- surfaces ------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [SHAPE, (1, 12, 9), (2, 3, 4)])
def test_surface_equals_scipys_erosion(shape):
    mask = np.random.default_rng(2).random(shape) < 0.8
    np.testing.assert_array_equal(jax.jit(surface)(mask), scipy_surface(mask))


def test_a_mask_at_the_border_has_surface_there():
    full = np.ones((3, 4, 5), bool)
    inner = np.zeros_like(full)
    inner[1:-1, 1:-1, 1:-1] = True
    np.testing.assert_array_equal(jax.jit(surface)(full), full ^ inner)


@pytest.mark.parametrize("seed", range(3))
def test_scores_equal_scipys(seed):
    predicted, truth = blobs(seed), blobs(seed + 10)
    assert_same(ours(predicted, truth), by_scipy(predicted, truth, SPACING))


def test_a_batch_is_scored_as_each_is():
    predicted, truth = (np.stack([blobs(s + o) for s in range(3)]) for o in (0, 10))
    got = jax.jit(jax.vmap(ours))(predicted, truth)
    for i, pair in enumerate(zip(predicted, truth, strict=True)):
        want = by_scipy(*pair, SPACING)
        assert_same({name: got[name][i] for name in got}, want)


def test_two_voxels_apart():
    predicted, truth = np.zeros((2, *SHAPE), bool)
    predicted[1, 2, 3] = truth[3, 6, 4] = True
    apart = np.sqrt((2 * 2.5) ** 2 + (4 * 0.6) ** 2 + 0.7**2)
    want = {"hd": apart, "hd95": apart, "assd": apart, "nsd": 0.0}
    assert_same(ours(predicted, truth), want)
    assert ours(predicted, truth, tolerance=6.0)["nsd"] == 1.0


@pytest.mark.parametrize("gap", [0.3, 0.15, 0.7, 1.0])
def test_what_lies_at_the_tolerance_is_within_it(gap):
    """Three voxels of .3 mm are .9 mm, whatever float32 makes of them."""
    predicted, truth = np.zeros((2, 1, 16, 16), bool)
    predicted[0, 2:6, 4:12] = truth[0, 5:9, 4:12] = True
    got = ours(predicted, truth, spacing=(1.0, gap, gap), tolerance=3 * gap)
    assert got["nsd"] == 1.0
    assert ours(predicted, truth, tolerance=np.inf)["nsd"] == 1.0


def test_identical_masks_touch():
    mask = blobs(0)
    assert_same(ours(mask, mask), {"hd": 0.0, "hd95": 0.0, "assd": 0.0, "nsd": 1.0}, 0)


def test_a_cube_moved_by_one_row():
    """The two faces across lie a row apart: half of 9 and 9 voxels of 26 each."""
    predicted, truth = np.zeros((2, 7, 9, 9), bool)
    predicted[2:5, 3:6, 3:6] = truth[2:5, 4:7, 3:6] = True
    got = ours(predicted, truth, spacing=(1.0, 1.0, 1.0), tolerance=0.5)
    assert got["hd"] == got["hd95"] == 1.0
    assert_same(got, by_scipy(predicted, truth, (1.0, 1.0, 1.0), tolerance=0.5))


def test_empty_masks_are_undefined_or_infinitely_far():
    empty, mask = np.zeros(SHAPE, bool), blobs(0)
    neither = ours(empty, empty)
    assert all(np.isnan(value) for value in neither.values())
    for pair in ((empty, mask), (mask, empty)):
        assert_same(ours(*pair), dict.fromkeys(("hd", "hd95", "assd"), np.inf))
        assert ours(*pair)["nsd"] == 0.0


def test_too_little_room_is_told():
    got = ours(blobs(0), blobs(1), most=5)
    assert all(np.isnan(value) for value in got.values())


@pytest.mark.parametrize("percentile", [0, 12.5, 50, 95, 99.9])
@pytest.mark.parametrize("number", [1, 2, 3, 20, 21, 97])
def test_percentiles_interpolate_as_numpys(percentile, number):
    values = np.random.default_rng(number).integers(0, 9, number).astype(np.float32)
    room = jnp.pad(jnp.asarray(values), (0, 128 - number), constant_values=jnp.inf)
    distances = SurfaceDistances(room, room, jnp.array([number, number]))
    got = _hausdorff(distances, percentile)
    np.testing.assert_allclose(got, np.percentile(values, percentile), rtol=1e-6)


@pytest.mark.parametrize("percentile", [-5.0, 950.0, float("nan")])
def test_a_percentile_that_is_none_is_refused(percentile):
    ones = jnp.ones(3)
    distances = SurfaceDistances(ones, ones, jnp.array([3, 3]))
    with pytest.raises(InputError, match="must be from 0 to 100"):
        hausdorff(distances, percentile)


def test_fine_percentiles_of_many_distances_do_not_overflow():
    values = jnp.linspace(0, 1, 40_000)
    distances = SurfaceDistances(values, values, jnp.array([40_000, 40_000]))
    for percentile in (99.99, 99.999):
        assert _hausdorff(distances, percentile) > 0.999


_hausdorff = jax.jit(hausdorff, static_argnums=1)


# ---- whole volumes, of any size ------------------------------------------------------


@pytest.mark.parametrize("shape", [(21, 40, 33), (1, 70, 30)])
def test_boxes_and_filling_change_nothing(shape):
    """Masks that touch the border and lie apart, in a volume of no standard size."""
    predicted = blobs(3, shape)
    truth = np.roll(predicted, 2, axis=1)
    spacing = SPACING if shape[0] > 1 else (1.0, 1.0, 1.0)
    got = segmentation_scores(*map(np.uint8, (predicted, truth)), spacing, 2, 1.0)
    assert_same(
        {name: got[name][0] for name in got}, by_scipy(predicted, truth, spacing), 1e-3
    )


def test_an_organ_in_one_slice_of_a_volume_is_all_surface():
    mask = np.zeros((4, 9, 9), np.uint8)
    mask[2, 2:7, 2:7] = 1
    moved = np.roll(mask, 1, axis=0)
    got = segmentation_scores(mask, moved, (3.0, 1.0, 1.0), 2)
    assert got["hd"] == got["assd"] == 3.0


def test_sizes_share_programs():
    from jaxdistill.evaluation.segmentation import _surface_scores

    before = _surface_scores._cache_size()
    for size in (33, 35, 37, 39):
        mask = np.uint8(ball((4, 20, 18), (3, 12, 11), (9, size + 8, size)))
        segmentation_scores(mask, mask, (2.0, 1.0, 1.0), 2)
    assert _surface_scores._cache_size() - before <= 1


# ---- peers, where they are installed -------------------------------------------------


def test_scores_equal_monais():
    torch, metrics = pytest.importorskip("torch"), pytest.importorskip("monai.metrics")
    predicted, truth = blobs(4), blobs(14)
    pair = [torch.tensor(np.stack([~m, m])[None]).float() for m in (predicted, truth)]
    distance = {"include_background": False, "spacing": SPACING}
    want = {
        "hd": metrics.compute_hausdorff_distance(*pair, **distance),
        "hd95": metrics.compute_hausdorff_distance(*pair, percentile=95, **distance),
        "assd": metrics.compute_average_surface_distance(
            *pair, symmetric=True, **distance
        ),
        "nsd": metrics.compute_surface_dice(*pair, [1.0], **distance),
    }
    got = ours(predicted, truth)
    assert_same(got, {name: float(value[0, 0]) for name, value in want.items()})
