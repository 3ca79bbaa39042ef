"""Augmentation of images and masks together, against NumPy and SciPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from jaxdistill.augment import intensity
from jaxdistill.augment.paired import Paired, _augment, augment_pairs
from jaxdistill.augment.warp import read_image, read_mask, sampling_grid, smooth_rows
from jaxdistill.errors import InputError
from jaxdistill.types import IGNORED

CHANCES = [name for name in Paired._fields if name.endswith("_p")]
OFF = Paired(left_right=0.0)._replace(**dict.fromkeys(CHANCES, 0.0))
SURE = Paired(1.0, 1.0)._replace(**dict.fromkeys(CHANCES, 1.0))
HALF = Paired(0.5, 0.5)._replace(**dict.fromkeys(CHANCES, 0.5))
KEY = jax.random.key(0)

augment = jax.jit(augment_pairs, static_argnames="policy")


def pictures(n=4, h=20, w=24, c=1, seed=0):
    return np.random.default_rng(seed).normal(size=(n, h, w, c)).astype(np.float32)


def outlines(n=4, h=20, w=24, seed=1):
    return np.random.default_rng(seed).integers(0, 4, (n, h, w)).astype(np.uint8)


def smooth(n=1, h=40, w=48):
    """A picture of one wide blob: bilinear values of it are near the truth."""
    down, along = np.mgrid[:h, :w]
    blob = np.exp(-((down - h / 2) ** 2 / 80 + (along - w / 2.5) ** 2 / 120))
    return np.repeat(blob[None, :, :, None], n, axis=0).astype(np.float32)


# ---- the policy ----------------------------------------------------------------------


@pytest.mark.parametrize("strength", ["p", "size"])
def test_nothing_changes_at_probability_or_strength_0(strength):
    none = OFF
    if strength == "size":
        sizes = [n for n in Paired._fields if n not in (*CHANCES, "elastic_grid")]
        none = SURE._replace(**dict.fromkeys(sizes, 0.0))
    images, masks = pictures(), outlines()
    moved, labels = augment(images, masks, KEY, none)
    np.testing.assert_array_equal(moved, images)
    np.testing.assert_array_equal(labels, masks)


def test_what_is_off_is_not_compiled():
    compiled = augment.lower(pictures(), outlines(), KEY, OFF).compile().as_text()
    assert "gather" not in compiled
    assert "conditional" not in compiled


@pytest.mark.parametrize(("name", "axis"), [("up_down", 1), ("left_right", 2)])
def test_mirrors_are_exact(name, axis):
    images, masks = pictures(c=2), outlines()
    moved, labels = augment(images, masks, KEY, OFF._replace(**{name: 1.0}))
    np.testing.assert_array_equal(moved, np.flip(images, axis))
    np.testing.assert_array_equal(labels, np.flip(masks, axis))


def test_the_same_key_gives_the_same_and_pairs_differ():
    images, masks = pictures(1, c=2).repeat(4, 0), outlines(1).repeat(4, 0)
    first, second = (augment(images, masks, KEY, HALF) for _ in range(2))
    other = augment(images, masks, jax.random.key(1), HALF)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    assert (first[0] != other[0]).mean() > 0.5
    assert (first[0][1:] != first[0][:1]).mean() > 0.5


def test_a_batch_is_augmented_as_each_pair_is():
    images, masks = pictures(c=2), outlines()
    moved, labels = augment(images, masks, KEY, HALF)
    for i in range(len(images)):
        one = augment(images[i : i + 1], masks[i : i + 1], KEY, HALF, jnp.array([i]))
        np.testing.assert_allclose(moved[i], one[0][0], atol=1e-5)
        np.testing.assert_array_equal(labels[i], one[1][0])


def test_accelerators_compute_the_same():
    """What they run, a `vmap`, against what CPUs run, a loop."""
    images, masks = pictures(c=2), outlines()
    keys = jax.vmap(jax.random.fold_in, (None, 0))(KEY, jnp.arange(len(images)))
    at_once = jax.jit(jax.vmap(functools.partial(_augment, policy=HALF)))
    want, want_masks = at_once(images, masks, keys)
    got, got_masks = augment(images, masks, KEY, HALF)
    np.testing.assert_allclose(got, want, atol=1e-5)
    np.testing.assert_array_equal(got_masks, want_masks)


def test_probabilities_are_kept():
    n = 2000
    images, masks = np.zeros((n, 1, 2, 1), np.float32), np.zeros((n, 1, 2), np.uint8)
    images[:, :, 0] = 1.0
    policy = OFF._replace(left_right=0.3, brightness_p=0.2)
    moved = np.asarray(augment(images, masks, KEY, policy)[0])
    turned = moved[:, 0, 1, 0] > moved[:, 0, 0, 0]
    offset = (moved.sum((1, 2, 3)) - 1) / 2
    brighter = abs(offset) > 1e-6
    assert abs(turned.mean() - 0.3) < 0.04
    assert abs(brighter.mean() - 0.2) < 0.04
    assert abs((turned & brighter).mean() - 0.06) < 0.02
    assert abs(offset).max() <= 0.4 + 1e-6
    assert abs(offset[brighter].mean()) < 0.05


def test_types_are_kept():
    images = jnp.asarray(pictures(1), jnp.bfloat16)
    moved, labels = augment(images, outlines(1), KEY, OFF._replace(shift_p=1.0))
    assert moved.dtype == jnp.bfloat16
    assert labels.dtype == jnp.uint8


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"noise_p": 1.5}, r"augment.noise_p=1.5 must be at least 0 and at most 1"),
        ({"rotation": -3.0}, "augment.rotation=-3.0 must be"),
        ({"low_resolution": 1.0}, "augment.low_resolution=1.0 must be"),
        ({"elastic_grid": 1}, "augment.elastic_grid=1 must be"),
    ],
)
def test_a_policy_that_makes_no_sense_is_told(change, said):
    with pytest.raises(InputError, match=said):
        augment(pictures(), outlines(), KEY, Paired()._replace(**change))


# ---- geometry ------------------------------------------------------------------------


@jax.jit
def move(image, mask, angle, factor, shift, displacement=None):
    places = sampling_grid(mask.shape, angle, factor, shift, displacement)
    return read_image(image, *places), read_mask(mask, *places)


NOWHERE = np.zeros(2, np.float32)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_are_exact(quarters):
    image, mask = pictures(1, 21, 21, 2)[0], outlines(1, 21, 21)[0]
    moved, labels = move(image, mask, quarters * np.pi / 2, 1.0, NOWHERE)
    np.testing.assert_allclose(moved, np.rot90(image, quarters), atol=2e-5)
    np.testing.assert_array_equal(labels, np.rot90(mask, quarters))


def test_a_shift_reads_the_edge_and_ignores_beyond_it():
    image, mask = pictures(1)[0], outlines(1)[0]
    moved, labels = move(image, mask, 0.0, 1.0, np.array([3.0, -2.0]))
    np.testing.assert_array_equal(moved[:-3, 2:], image[3:, :-2])
    np.testing.assert_array_equal(moved[-3:, 2:], image[[-1] * 3, :-2])
    np.testing.assert_array_equal(labels[:-3, 2:], mask[3:, :-2])
    assert (labels[-3:] == IGNORED).all()
    assert (labels[:, :2] == IGNORED).all()


def test_moves_equal_scipys():
    image, mask = pictures(1)[0], outlines(1)[0]
    angle, factor, shift = 0.3, 1.2, np.array([1.3, -0.7])
    cos, sin = np.cos(angle) / factor, np.sin(angle) / factor
    matrix = np.array([[cos, sin], [-sin, cos]])
    centre = (np.array(mask.shape) - 1) / 2
    offset = centre + shift - matrix @ centre
    moved, labels = move(image, mask, angle, factor, shift.astype(np.float32))
    linear = ndimage.affine_transform(
        image[..., 0], matrix, offset, order=1, mode="nearest"
    )
    np.testing.assert_allclose(moved[..., 0], linear, atol=2e-5)
    nearest = ndimage.affine_transform(
        mask, matrix, offset, order=0, mode="grid-constant", cval=IGNORED
    )
    assert (np.asarray(labels) != nearest).mean() < 0.01  # ties of rounding alone


def test_elastic_displacement_equals_scipys():
    image, mask = smooth()[0], np.zeros((40, 48), np.uint8)
    grid = np.random.default_rng(0).normal(size=(5, 5, 2)).astype(np.float32)
    moved, _ = move(image, mask, 0.0, 1.0, NOWHERE, grid)
    down, along = smooth_rows(40, 5), smooth_rows(48, 5)
    fields = np.einsum("hg,gkd,wk->dhw", down, grid, along)
    want = ndimage.map_coordinates(
        image[..., 0], np.mgrid[:40, :48] + fields, order=1, mode="nearest"
    )
    np.testing.assert_allclose(moved[..., 0], want, atol=1e-5)


def test_every_pixel_is_displaced_by_the_same_deviation():
    np.testing.assert_allclose(
        np.linalg.norm(smooth_rows(31, 6), axis=1), 1.0, rtol=1e-6
    )


def test_image_and_mask_move_together():
    """An image that is its own mask still is, up to pixels on the outline."""
    mask = (smooth(8)[..., 0] > 0.4).astype(np.uint8)
    moves = dict.fromkeys(["rotation_p", "scale_p", "shift_p", "elastic_p"], 1.0)
    policy = OFF._replace(**moves, left_right=0.5, up_down=0.5)
    moved, labels = augment(mask[..., None].astype(np.float32), mask, KEY, policy)
    known = np.asarray(labels) != IGNORED
    same = (np.asarray(moved[..., 0]) > 0.5) == (np.asarray(labels) == 1)
    assert known.mean() > 0.5
    assert same[known].mean() > 0.995
    assert (np.asarray(labels)[known] <= 1).all()


def test_channels_move_together():
    images = np.repeat(pictures(), 3, axis=3)
    moves = dict.fromkeys(["rotation_p", "elastic_p"], 1.0)
    moved, _ = augment(images, outlines(), KEY, OFF._replace(**moves))
    np.testing.assert_array_equal(moved[..., 0], moved[..., 2])


@pytest.mark.parametrize("shape", [(1, 7), (7, 1), (1, 1)])
def test_images_of_one_row_do(shape):
    image, mask = pictures(1, *shape)[0], outlines(1, *shape)[0]
    moved, labels = move(image, mask, 0.0, 1.0, NOWHERE)
    np.testing.assert_array_equal(moved, image)
    np.testing.assert_array_equal(labels, mask)


# ---- grey values ---------------------------------------------------------------------


def test_bias_field_equals_its_equation():
    image = pictures(1, 9, 12)[0]
    c = np.random.default_rng(0).uniform(-0.3, 0.3, (4, 4))
    y, x = np.linspace(-1, 1, 9)[:, None], np.linspace(-1, 1, 12)[None]
    terms = [(i, j) for i in range(4) for j in range(4) if 0 < i + j <= 3]
    field = np.exp(sum(c[i, j] * y**i * x**j for i, j in terms))[..., None]
    want = (image - image.min()) * field + image.min()
    got = jax.jit(intensity.bias_field)(image, c.astype(np.float32))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("exponent", [0.67, 1.0, 1.5])
def test_gamma_equals_its_equation(exponent):
    image = pictures(1)[0]
    x = image.astype(np.float64)
    curved = ((x - x.min()) / (x.max() - x.min())) ** exponent
    want = (curved - curved.mean()) / curved.std() * x.std() + x.mean()
    got = jax.jit(intensity.gamma)(image, exponent)
    np.testing.assert_allclose(got, want, atol=5e-5)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 1.7])
def test_blur_equals_scipys(sigma):
    image = pictures(1)[0]
    got = jax.jit(intensity.blur, static_argnums=2)(image, sigma, 6)
    want = ndimage.gaussian_filter(
        image.astype(np.float64), (sigma, sigma, 0), mode="nearest", radius=(6, 6, 0)
    )
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_contrast_and_brightness_equal_their_equations():
    image = pictures(1)[0]
    mean = image.mean()
    want = np.clip(mean + 1.2 * (image - mean), image.min(), image.max())
    np.testing.assert_allclose(jax.jit(intensity.contrast)(image, 1.2), want, 1e-5)
    brighter = jax.jit(intensity.brightness)(image, 0.3)
    np.testing.assert_allclose(brighter, image + 0.3, rtol=1e-6)


def test_low_resolution_samples_and_interpolates():
    """Half of 6 columns: pixels 1, 3, 5 at places 0.5, 2.5, 4.5."""
    row = np.array([0.0, 1.0, 4.0, 9.0, 16.0, 25.0], np.float32)
    image = np.broadcast_to(row[None, :, None], (4, 6, 1))
    got = jax.jit(intensity.low_resolution)(image, 0.5)[0, :, 0]
    want = np.interp(np.arange(6), [0.5, 2.5, 4.5], row[[1, 3, 5]])
    np.testing.assert_allclose(got, want, rtol=1e-6)
    whole = jax.jit(intensity.low_resolution)(image, 1.0)
    np.testing.assert_allclose(whole, image, atol=1e-6)


def test_noise_has_its_deviation():
    got = jax.jit(intensity.noise)(jnp.zeros((200, 200, 1)), 0.3, KEY)
    assert abs(float(got.std()) - 0.3) < 0.01


@pytest.mark.parametrize("name", ["gamma", "contrast", "low_resolution"])
def test_flat_images_stay_finite_and_flat(name):
    flat = jnp.full((6, 7, 1), 2.0)
    got = jax.jit(getattr(intensity, name))(flat, 0.8)
    np.testing.assert_allclose(got, flat, rtol=1e-6)


# ---- how far -------------------------------------------------------------------------

FAR = 0.9  # of what a setting allows is reached by some of many


def ramps(n, side=25):
    """Images of two channels that hold where each pixel lies, from the centre."""
    places = np.stack(np.mgrid[:side, :side], axis=-1) - (side - 1) / 2
    return np.repeat(places[None], n, axis=0).astype(np.float32)


def read_from(policy, n=150):
    """The maps by which pixels about the centre were read: matrices and shifts."""
    images = ramps(n)
    masks = np.zeros(images.shape[:3], np.uint8)
    moved, _ = augment(images, masks, KEY, policy)
    inner = slice(9, 16)
    to = images[0, inner, inner].reshape(-1, 2)
    plane = np.concatenate([to, np.ones((len(to), 1))], axis=1)
    found = np.asarray(moved)[:, inner, inner].reshape(n, -1, 2)
    fits = np.stack([np.linalg.lstsq(plane, one, rcond=None)[0] for one in found])
    residual = np.einsum("pk,nkd->npd", plane, fits) - found
    assert np.abs(residual).max() < 1e-3
    return fits[:, :2].transpose(0, 2, 1), fits[:, 2]


def test_angles_are_degrees_up_to_the_setting():
    matrices, shifts = read_from(OFF._replace(rotation_p=1.0, rotation=20.0))
    angles = np.degrees(np.arctan2(matrices[:, 0, 1], matrices[:, 0, 0]))
    assert FAR * 20 < np.abs(angles).max() <= 20
    assert angles.min() < -FAR * 20
    np.testing.assert_allclose(np.linalg.det(matrices), 1, atol=1e-3)
    np.testing.assert_allclose(shifts, 0, atol=1e-3)


def test_scales_are_factors_up_to_the_setting_and_one_by_it():
    matrices, _ = read_from(OFF._replace(scale_p=1.0, scale=0.25))
    factors = 1 / np.sqrt(np.linalg.det(matrices))
    assert 1 + FAR * 0.25 < factors.max() <= 1.25 + 1e-4
    assert 1 / 1.25 - 1e-4 <= factors.min() < 1 / (1 + FAR * 0.25)
    np.testing.assert_allclose(matrices[:, 0, 1], 0, atol=1e-3)


def test_shifts_are_shares_of_the_side():
    matrices, shifts = read_from(OFF._replace(shift_p=1.0, shift=0.1))
    for axis in (0, 1):
        assert FAR * 2.5 < np.abs(shifts[:, axis]).max() <= 2.5
    np.testing.assert_allclose(matrices, np.eye(2)[None].repeat(150, 0), atol=1e-3)


def test_elastic_displacements_have_the_deviation_of_the_setting():
    images = ramps(300)
    masks = np.zeros(images.shape[:3], np.uint8)
    policy = OFF._replace(elastic_p=1.0, elastic=0.04)
    moved, _ = augment(images, masks, KEY, policy)
    inner = (slice(None), slice(8, 17), slice(8, 17))
    gaps = (np.asarray(moved) - images)[inner]
    # Of deviations drawn from 0 to 1 of the setting the mean square is a third.
    assert np.sqrt((gaps**2).mean()) == pytest.approx(25 * 0.04 / np.sqrt(3), rel=0.15)


@pytest.mark.parametrize(
    ("name", "value", "least", "most", "operation"),
    [
        ("gamma", 0.5, 1 / 1.5, 1.5, intensity.gamma),
        ("contrast", 0.3, 0.7, 1.3, intensity.contrast),
        ("blur", 1.2, 0.6, 1.2, functools.partial(intensity.blur, radius=4)),
        ("low_resolution", 0.5, 0.5, 1.0, intensity.low_resolution),
    ],
)
def test_strengths_fill_the_range_of_the_setting(name, value, least, most, operation):
    """Each picture is what the operation makes of it at one strength of the range."""
    images = np.repeat(pictures(1, 16, 18), 80, axis=0)
    masks = outlines(80, 16, 18)
    policy = OFF._replace(**{name: value, f"{name}_p": 1.0})
    moved, labels = augment(images, masks, KEY, policy)
    np.testing.assert_array_equal(labels, masks)
    tried = np.linspace(0.8 * least, 1.1 * most, 400).astype(np.float32)
    if name == "low_resolution":
        tried = tried[tried <= 1]
    first = jnp.asarray(images[0])
    known = np.asarray(jax.jit(jax.vmap(lambda s: operation(first, s)))(tried))
    gaps = np.stack([np.abs(known - one).mean((1, 2, 3)) for one in np.asarray(moved)])
    found, span = tried[gaps.argmin(axis=1)], most - least
    # A coarser picture has whole pixels: shares nearby give the same.
    near = 0.5 / 16 if name == "low_resolution" else 0.01 * span + 0.01
    assert gaps.min(axis=1).max() < 0.02
    assert least - near <= found.min() < least + (1 - FAR) * span
    assert most - (1 - FAR) * span < found.max() <= most + near


def test_grey_values_change_in_the_order_that_is_told(monkeypatch):
    order = [
        "bias_field",
        "noise",
        "blur",
        "brightness",
        "contrast",
        "low_resolution",
        "gamma",
    ]
    done = []
    for name in order:

        def change(image, *_, name=name, **__):
            done.append(name)
            return image

        monkeypatch.setattr(intensity, name, change)
    one = functools.partial(_augment, policy=SURE)
    jax.eval_shape(one, pictures()[0], outlines()[0], KEY)
    assert done == order


def test_noise_has_deviations_up_to_the_setting():
    images, masks = np.zeros((150, 20, 24, 1), np.float32), outlines(150)
    moved, _ = augment(images, masks, KEY, OFF._replace(noise_p=1.0, noise=0.2))
    sizes = np.asarray(moved).std((1, 2, 3))
    assert sizes.min() < (1 - FAR) * 0.2
    assert FAR * 0.2 < sizes.max() < 1.1 * 0.2
    assert abs(np.asarray(moved).mean()) < 0.01


def test_bias_fields_have_coefficients_up_to_the_setting():
    """Of a flat picture with one dark pixel the field itself is left."""
    images, masks = np.ones((150, 20, 24, 1), np.float32), outlines(150)
    images[:, 0, 0] = 0.0
    moved, _ = augment(images, masks, KEY, OFF._replace(bias_p=1.0, bias=0.3))
    y, x = np.linspace(-1, 1, 20)[:, None], np.linspace(-1, 1, 24)[None]
    terms = [(i, j) for i in range(4) for j in range(4) if 0 < i + j <= 3]
    basis = np.stack([(y**i * x**j).ravel()[1:] for i, j in terms], axis=1)
    logs = np.log(np.asarray(moved)[..., 0].reshape(150, -1)[:, 1:])
    found = np.linalg.lstsq(basis, logs.T, rcond=None)[0]
    assert FAR * 0.3 < np.abs(found).max() < 0.301
    assert np.abs(found.mean()) < 0.03


@pytest.mark.parametrize(
    ("images", "masks", "said"),
    [
        (np.zeros((1, 8, 8, 1), np.uint8), outlines(1, 8, 8), "standardise them first"),
        (pictures(1, 8, 8), outlines(1, 8, 9), "do not fit images"),
        (pictures(1, 8, 8), outlines(1, 8, 8) > 0, "masks are bool"),
    ],
)
def test_what_is_no_pair_is_refused(images, masks, said, unchecked):
    with pytest.raises(InputError, match=said):
        augment(jnp.asarray(images), jnp.asarray(masks), KEY, SURE)
