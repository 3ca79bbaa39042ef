"""Differentiable augmentation against NumPy and SciPy, and its rules of randomness."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import ndimage

from jaxdistill.augment.siamese import (
    OPERATIONS,
    POLICIES,
    augment_each,
    augment_siamese,
    policy,
)
from jaxdistill.errors import InputError

ALMOST_ONE = 1.0 - 2.0**-23
UNIT_SCALE = (1 - 1 / 1.2) / (1.2 - 1 / 1.2)
NEUTRAL = {
    "flip": 0.5,
    "scale": UNIT_SCALE,
    "rotate": 0.5,
    "crop": 0.5,
    "color": 0.5,
    "brightness": 0.5,
    "saturation": 0.5,
    "contrast": 0.5,
}


def pictures(n=3, h=9, w=8, c=2, seed=0):
    return np.random.default_rng(seed).normal(size=(n, h, w, c)).astype(np.float32)


@functools.cache
def compiled(name):
    return jax.jit(OPERATIONS[name])


def run(name, images, u):
    """The operation with the same three draws, or rows of them, for the images."""
    rows = np.broadcast_to(np.asarray(u, images.dtype).reshape(-1, 1), (np.size(u), 3))
    return np.asarray(compiled(name)(images, rows))


def by_scipy(images, matrix):
    """Bilinear, about the centre of the image, zeros outside."""
    centre = (np.array(images.shape[1:3]) - 1) / 2
    offset = centre - matrix @ centre
    move = {"offset": offset, "order": 1, "mode": "grid-constant", "cval": 0.0}
    out = np.empty_like(images)
    for i, c in np.ndindex(images.shape[0], images.shape[3]):
        out[i, :, :, c] = ndimage.affine_transform(images[i, :, :, c], matrix, **move)
    return out


# ---- each operation ------------------------------------------------------------------


@pytest.mark.parametrize("name", NEUTRAL)
def test_the_middle_of_each_range_changes_nothing(name):
    images = pictures()
    np.testing.assert_allclose(run(name, images, NEUTRAL[name]), images, atol=3e-6)


@pytest.mark.parametrize("u", [0.0, 0.3, 0.7, ALMOST_ONE])
def test_rotation_equals_scipy(u):
    images = pictures(h=11, w=8)
    angle = np.deg2rad(-15 + 30 * u)
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    np.testing.assert_allclose(
        run("rotate", images, u), by_scipy(images, matrix), atol=2e-5
    )


@pytest.mark.parametrize("u", [0.0, 0.2, 0.8, ALMOST_ONE])
def test_scale_equals_scipy(u):
    images = pictures(h=11, w=8)
    factor = 1 / 1.2 + u * (1.2 - 1 / 1.2)
    expected = by_scipy(images, np.diag([factor, factor]))
    np.testing.assert_allclose(run("scale", images, u), expected, atol=2e-5)


def test_scale_draws_its_axes_apart():
    images = pictures(n=1)
    draws = jnp.array([[0.0, UNIT_SCALE, 0.5]])
    expected = by_scipy(images, np.diag([1 / 1.2, 1.0]))
    got = OPERATIONS["scale"](jnp.asarray(images), draws)
    np.testing.assert_allclose(got, expected, atol=2e-5)


def test_crop_shifts_by_whole_pixels_within_an_eighth_and_fills_zeros():
    images = pictures(h=32, w=28)
    seen = set()
    for u in np.linspace(0, ALMOST_ONE, 37):
        got = run("crop", images, u)
        down, along = int(np.floor(u * 9)) - 4, int(np.floor(u * 9)) - 4
        padded = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)))
        expected = padded[:, 4 + down : 36 + down, 4 + along : 32 + along]
        np.testing.assert_array_equal(got, expected)
        seen.add(down)
    assert seen == set(range(-4, 5))


@pytest.mark.parametrize(("size", "side", "places"), [(8, 4, 9), (9, 5, 9), (6, 3, 6)])
def test_cutout_is_a_square_clipped_at_the_border(size, side, places):
    images = pictures(n=1, h=size, w=size) + 10.0
    for centre in range(places):
        got = run("cutout", images, (centre + 0.5) / places)
        first = centre - side // 2
        part = slice(max(0, first), max(0, first + side))
        expected = images.copy()
        expected[:, part, part] = 0.0
        np.testing.assert_array_equal(got, expected)
    assert (run("cutout", images, 0.5) == 0).sum() == side * side * 2


@pytest.mark.parametrize("u", [0.0, 0.25, ALMOST_ONE])
def test_color_equals_its_formula(u):
    images = pictures(c=3).astype(np.float64)
    x = images + (u - 0.5)
    grey = x.mean(-1, keepdims=True)
    x = grey + (x - grey) * 2 * u
    mean = x.mean((1, 2, 3), keepdims=True)
    x = mean + (x - mean) * (u + 0.5)
    np.testing.assert_allclose(run("color", images, u), x, atol=1e-5)


def test_saturation_leaves_grey_images_alone():
    images = pictures(c=1)
    np.testing.assert_array_equal(run("saturation", images, 0.1), images)


def test_flip_mirrors_half_of_the_draws():
    images = pictures()
    np.testing.assert_array_equal(run("flip", images, 0.49), images[:, :, ::-1])
    np.testing.assert_array_equal(run("flip", images, 0.5), images)


@pytest.mark.parametrize("name", OPERATIONS)
def test_gradients_of_each_operation(name):
    with jax.enable_x64(True):
        images = jnp.asarray(pictures(n=2, h=6, w=5), jnp.float64)
        draws = jax.random.uniform(jax.random.key(3), (2, 3))
        loss = jax.jit(lambda x: jnp.sin(OPERATIONS[name](x, draws)).sum())
        check_grads(loss, (images,), order=2, modes=("fwd", "rev"))


# ---- randomness ----------------------------------------------------------------------


def test_siamese_gives_two_batches_the_same_transform():
    real, synthetic = pictures(n=3, seed=1), pictures(n=3, seed=2)
    move = jax.jit(lambda x, key: augment_siamese(x, key, POLICIES["natural"]))
    for seed in range(12):
        key = jax.random.key(seed)
        together = move(np.concatenate([real, synthetic]), key)
        np.testing.assert_allclose(together[:3], move(real, key), atol=1e-6)
        np.testing.assert_allclose(together[3:], move(synthetic, key), atol=1e-6)


def test_parameters_follow_the_index_and_not_the_place():
    images, order = pictures(n=6), np.array([3, 0, 5, 1, 4, 2])
    move = jax.jit(lambda x, key, at: augment_each(x, key, POLICIES["medical"], at))
    for seed in range(12):
        key = jax.random.key(seed)
        by_place = move(images, key, np.arange(6))
        moved = move(images[order], key, order)
        np.testing.assert_allclose(by_place[order], moved, atol=1e-6)


def test_a_part_of_a_batch_is_moved_as_the_whole_is():
    images, key = jnp.asarray(pictures(n=6)), jax.random.key(0)
    move = jax.jit(lambda images: augment_each(images, key, ("rotate",)))
    np.testing.assert_allclose(move(images)[:2], move(images[:2]), atol=1e-6)


def test_images_of_a_batch_get_parameters_of_their_own():
    images = jnp.broadcast_to(pictures(n=1), (4, 9, 8, 2))
    moved = np.asarray(augment_each(images, jax.random.key(0), ("brightness",)))
    shift = (moved - images).reshape(4, -1)
    np.testing.assert_allclose(shift, shift[:, :1].repeat(shift.shape[1], 1), atol=1e-6)
    assert len(np.unique(shift[:, 0].round(4))) == 4
    assert np.abs(shift).max() <= 0.5


def test_one_operation_is_drawn_for_each_call_and_each_as_often():
    images = jnp.asarray(pictures(n=2) + 10.0)
    keys = jax.random.split(jax.random.key(0), 400)
    names = ("brightness", "cutout", "contrast", "crop")
    moved = jax.jit(jax.vmap(lambda key: augment_each(images, key, names)))(keys)
    shift = np.asarray(moved) - np.asarray(images)
    brightness = np.ptp(shift, axis=(2, 3, 4)).max(1) < 1e-5
    zeros = (np.asarray(moved) == 0).any((1, 2, 3, 4))
    contrast = ~brightness & ~zeros
    assert 70 < brightness.sum() < 130
    assert 70 < contrast.sum() < 135  # a crop by nothing counts here at times
    assert 150 < zeros.sum() < 250


def test_a_population_of_keys_is_a_loop_over_keys():
    images = jnp.asarray(pictures(n=2))
    keys = jax.random.split(jax.random.key(0), 8)
    move = jax.jit(lambda key: augment_each(images, key, POLICIES["natural"]))
    together = jax.vmap(move)(keys)
    for key, mine in zip(keys, together, strict=True):
        np.testing.assert_allclose(move(key), mine, atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_type_of_the_images_is_kept(dtype):
    images = jnp.asarray(pictures(h=128, w=128), dtype)
    moved = jax.eval_shape(
        lambda key: augment_each(images, key, POLICIES["natural"]), jax.random.key(0)
    )
    assert moved.dtype == dtype
    assert moved.shape == images.shape


def test_bfloat16_images_move_by_whole_pixels_as_float32_ones_do():
    images = jnp.asarray(pictures(h=300, w=4), jnp.bfloat16)
    key = jax.random.key(0)
    low = augment_each(images, key, ("crop",))
    high = augment_each(images.astype(jnp.float32), key, ("crop",))
    np.testing.assert_array_equal(low.astype(jnp.float32), high)


def test_reverse_over_forward_through_augmentation_in_a_scan():
    """The unroll's object: grad of a jvp with respect to what images are shown to."""
    images = jnp.asarray(pictures(n=2))
    weights = jax.random.normal(jax.random.key(1), (9 * 8 * 2,))

    def slope(images, seed):
        def loss(weights):
            moved = augment_each(images, jax.random.key(seed), POLICIES["medical"])
            return jnp.tanh(moved.reshape(2, -1) @ weights).sum()

        return jax.jvp(loss, (weights,), (jnp.ones_like(weights),))[1]

    sensitivity = jax.jit(jax.grad(slope))

    def step(total, seed):
        return total + sensitivity(images, seed), None

    swept, _ = jax.lax.scan(step, jnp.zeros_like(images), jnp.arange(6))
    looped = sum(sensitivity(images, seed) for seed in range(6))
    np.testing.assert_allclose(swept, looped, rtol=1e-3, atol=1e-5)


# ---- policies ------------------------------------------------------------------------


def test_an_empty_policy_changes_nothing():
    images = jnp.asarray(pictures())
    key = jax.random.key(0)
    np.testing.assert_array_equal(augment_each(images, key, policy("none")), images)
    np.testing.assert_array_equal(augment_siamese(images, key, ()), images)


def test_medical_images_and_digits_are_not_mirrored():
    assert "flip" not in policy("medical")
    assert "flip" not in policy("digits")
    assert "flip" in policy("natural")


def test_a_policy_is_read_from_the_names_that_the_literature_uses():
    names = policy("color_crop_cutout_flip_scale_rotate")
    assert names == ("color", "crop", "cutout", "flip", "scale", "rotate")
    assert policy("") == ()


def test_an_unknown_operation_is_refused_in_one_sentence():
    with pytest.raises(InputError, match=r"augment='color_blur'.*'blur'.*cutout"):
        policy("color_blur")


@pytest.mark.parametrize("names", [("cutout",), ("color", "crop", "cutout")])
def test_a_composed_policy_does_all_of_it_in_turn(names):
    images, key = jax.random.normal(jax.random.key(1), (3, 8, 8, 1)), jax.random.key(2)
    draw = jax.random.split(key)[1]
    expected = images
    draws = jax.random.uniform(draw, (1, len(names), 3))
    for place, name in enumerate(names):
        expected = OPERATIONS[name](expected, draws[:, place])
    ours = augment_siamese(images, key, policy("+".join(names)))
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
    each = augment_each(images, key, policy("+".join(names)))
    alone = augment_each(images[2:], key, policy("+".join(names)), jnp.array([2]))
    np.testing.assert_allclose(each[2:], alone, rtol=1e-5, atol=1e-6)
    assert not np.allclose(each, expected)


def test_members_of_a_policy_may_be_composed_and_one_is_drawn():
    images = jax.random.normal(jax.random.key(1), (2, 8, 8, 1))
    both = policy("cutout_color+cutout")
    assert both == ("cutout", "color+cutout")
    kinds = set()
    for number in range(12):
        moved = np.asarray(augment_siamese(images, jax.random.key(number), both))
        assert np.any(moved == 0)  # either way a square is cut out
        kinds.add(bool(np.all((moved == 0) | (moved == images))))
    assert kinds == {True, False}


def test_a_composed_policy_names_what_it_does_not_know():
    with pytest.raises(InputError, match=r"'blur', which is none .* \+ to compose"):
        policy("color+blur")


@pytest.mark.parametrize("augment", [augment_siamese, augment_each])
def test_a_text_is_no_policy(augment, unchecked):
    with pytest.raises(InputError, match=r"policy='medical' must be a tuple"):
        augment(jnp.zeros((2, 8, 8, 1)), jax.random.key(0), "medical")
