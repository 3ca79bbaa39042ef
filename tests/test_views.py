"""Views against Pillow, colorsys and NumPy, and their rules of randomness."""

import colorsys
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageOps
from scipy import ndimage

from jaxdistill.augment import resample, tone, views
from jaxdistill.augment.presets import PRESETS, View
from jaxdistill.augment.resample import to_lines
from jaxdistill.errors import InputError

KEY = jax.random.key(5)
PLAIN = PRESETS["whole"]._replace(size=8)


def pictures(n=3, h=12, w=10, c=1, seed=0):
    return np.random.default_rng(seed).random((n, h, w, c), dtype=np.float32)


def on_lines(function, images, *args):
    """A function of lines, compiled, on pictures."""
    run = jax.jit(lambda x, *a: to_lines(function(to_lines(x), *a)))
    return np.asarray(run(jnp.asarray(images), *args))


def make_view(images, *args, **index):
    return np.asarray(views.make_view(jnp.asarray(images), *args, **index))


def make_views(images, *args):
    return np.asarray(views.make_views(jnp.asarray(images), *args))


def full(value, n=3):
    return jnp.full(n, value, jnp.float32)


# ---- crops -----------------------------------------------------------------------


@functools.partial(jax.jit, static_argnames=("out", "cubic"))
def cropped(images, boxes, out, cubic):
    top, height, left, width = boxes.T
    rows = resample.resizing((top, height), images.shape[1], out, cubic=cubic)
    cols = resample.resizing((left, width), images.shape[2], out, cubic=cubic)
    return to_lines(resample.through(to_lines(images), rows, cols))


@pytest.mark.parametrize("cubic", [True, False])
@pytest.mark.parametrize("out", [6, 15])
def test_a_crop_is_what_pillow_resizes_it_to(cubic, out):
    """Enlarged, shrunk, both at once; Pillow works in double on single precision."""
    images = pictures(n=4, h=20, w=17)
    boxes = np.array([[0, 20, 0, 17], [3, 9, 2, 13], [5, 4, 10, 3], [1, 19, 6, 5]])
    got = cropped(jnp.asarray(images), jnp.asarray(boxes, jnp.float32), out, cubic)
    how = Image.Resampling.BICUBIC if cubic else Image.Resampling.BILINEAR
    for i, (top, height, left, width) in enumerate(boxes):
        part = images[i, top : top + height, left : left + width, 0]
        expected = Image.fromarray(np.ascontiguousarray(part)).resize((out, out), how)
        np.testing.assert_allclose(got[i, :, :, 0], np.asarray(expected), atol=2e-6)


@functools.partial(jax.jit, static_argnames=("size", "out", "cubic", "longest"))
def sized(images, span, mirror, size, out, cubic, longest):
    def bands(longest):
        return resample.resizing(
            span, size, out, cubic=cubic, mirror=mirror, longest=longest
        )

    both = [bands(longest), bands(np.inf)]
    lines = to_lines(images)
    return both[0], [to_lines(resample.through(lines, b, b)) for b in both]


@pytest.mark.parametrize("cubic", [True, False])
@pytest.mark.parametrize(
    ("out", "longest"), [(64, 128), (64, 96), (128, None), (90, 80)]
)
def test_windows_of_few_pixels_leave_out_nothing(cubic, out, longest):
    """Spans as long as may be, at both ends of the line, short ones, mirrored too."""
    size, most = 128, longest or 128
    first = jnp.array([0, 128 - most, 17, 128 - 30, 3], jnp.float32)
    length = jnp.array([most, most, most / 2, 30, 1], jnp.float32)
    mirror = jnp.array([False, True, True, False, True])
    images = pictures(n=5, h=size, w=size)
    bands, (got, dense) = sized(
        images, (first, length), mirror, size, out, cubic, longest
    )
    assert bands.weights.shape[3] <= size // 2
    np.testing.assert_allclose(got, dense, atol=1e-6)


@pytest.mark.parametrize("most", [2.0, 4.0])
@pytest.mark.parametrize("c", [1, 3])
def test_a_blur_that_ends_is_the_whole_gaussian(most, c):
    images = pictures(n=3, h=40, w=24, c=c)
    radius = jnp.array([0.0, most / 3, most])
    assert 2 * resample.DEVIATIONS * most < resample.TAPS
    got, whole = (
        on_lines(functools.partial(resample.blur, most=reach), images, radius)
        for reach in (most, np.inf)
    )
    np.testing.assert_array_equal(got[0], images[0])
    np.testing.assert_allclose(got, whole, atol=1e-5)


def test_ranges_that_grow_past_what_was_compiled_are_compiled_anew():
    """Crops and blurs of a longer range are right, whatever ran before."""
    images = pictures(n=2, h=192, w=192)
    view = View(size=96, scale=(0.1, 0.1), ratio=(1.0, 1.0), blur=1.0)
    make_view(images, KEY, view._replace(blur_radius=(0.5, 1.0)))
    further = view._replace(scale=(1.0, 1.0), flip=0.0, blur_radius=(2.0, 2.0))
    got = make_view(images, KEY, further)
    span = (jnp.zeros(2), jnp.full(2, 192.0))
    bands = resample.resizing(span, 192, 96, cubic=True, longest=np.inf)
    lines = jnp.clip(
        resample.through(to_lines(jnp.asarray(images)), bands, bands), 0, 1
    )
    expected = to_lines(resample.blur(lines, jnp.full(2, 2.0)))
    np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(64, 64), (40, 100), (5, 7)])
@pytest.mark.parametrize("scale", [(1e-5, 1e-5), (1e-3, 0.3), (0.3, 0.4), (0.5, 1.0)])
@pytest.mark.parametrize("ratio", [(3 / 4, 4 / 3), (1, 1), (0.01, 100), (100, 100)])
def test_no_crop_is_longer_than_what_is_compiled_for(shape, scale, ratio):
    """Those that do not fit, and those that round to nothing, are drawn whole."""
    (high, broad), _ = views._bounds(View(scale=scale, ratio=ratio), shape)
    _, height, _, width = draw_many(shape, scale, ratio, n=500).T
    assert height.max() <= high <= shape[0]
    assert width.max() <= broad <= shape[1]


def test_views_are_the_same_as_on_machines_that_multiply_whole_matrices(monkeypatch):
    """Whole, in parts, in any order, in bytes: pictures are large enough for bands."""
    images = (pictures(n=4, h=96, w=80, c=3) * 255).astype(np.uint8)
    near = {"scale": (0.1, 0.3), "blur_radius": (0.1, 0.5)}
    view = ALL._replace(size=64, equalise=0.0, **near)  # levels are steps
    got = make_view(images, KEY, view)
    order = jnp.array([2, 0, 3, 1])
    moved = make_view(images[np.asarray(order)], KEY, view, index=order)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    views._make.clear_cache()
    whole = make_view(images, KEY, view)
    monkeypatch.undo()
    monkeypatch.setattr(views, "AT_ONCE", 2 * 96 * 80 * 3)
    views._make.clear_cache()
    parts = make_view(images, KEY, view)
    views._make.clear_cache()
    for other in (whole, parts, np.asarray(moved)[np.argsort(order)]):
        np.testing.assert_allclose(got, other, atol=2e-5)


@functools.partial(jax.jit, static_argnames=("shape",))
def many(keys, shape, scale, ratio):
    draw = functools.partial(resample.draw_crop, shape=shape, scale=scale, ratio=ratio)
    return jax.vmap(draw)(keys)


def draw_many(shape, scale, ratio, n=4000):
    return np.asarray(many(jax.random.split(KEY, n), shape, scale, ratio))


def test_crops_are_drawn_within_the_picture_as_shares_of_its_area():
    top, height, left, width = draw_many((100, 120), (0.2, 0.6), (3 / 4, 4 / 3)).T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height).max() == 100
    assert (left + width).max() <= 120
    share, shape = height * width / 12000, np.log(width / height)
    assert 0.19 < share.min() < 0.21
    assert 0.59 < share.max() < 0.61
    assert abs(share.mean() - 0.4) < 0.01
    assert abs(shape.mean()) < 0.01
    assert abs(shape).max() < np.log(4 / 3) + 0.03
    for x in (top, height, left, width):
        np.testing.assert_array_equal(x, np.round(x))


def test_a_crop_that_never_fits_is_the_largest_in_the_middle():
    boxes = draw_many((40, 100), (1.0, 1.0), (1.0, 1.0), n=3)
    np.testing.assert_array_equal(boxes, [[0, 40, 30, 40]] * 3)
    tall = draw_many((90, 30), (1.0, 1.0), (0.5, 0.5), n=2)
    np.testing.assert_array_equal(tall, [[15, 60, 0, 30]] * 2)
    thin = draw_many((32, 32), (1.0, 1.0), (100.0, 100.0), n=2)
    np.testing.assert_array_equal(thin[:, [1, 3]], [[1, 32]] * 2)


@pytest.mark.parametrize("c", [1, 3])
def test_the_whole_picture_is_left_as_it_is(c):
    images = pictures(h=8, w=8, c=c)
    np.testing.assert_array_equal(make_view(images, KEY, PLAIN), images)


def test_flips_mirror_columns_as_often_as_asked():
    images = pictures(n=400, h=8, w=8)
    got = np.asarray(make_view(images, KEY, PLAIN._replace(flip=0.25)))
    same = (got == images).all((1, 2, 3))
    np.testing.assert_array_equal(got[~same], images[~same][:, :, ::-1])
    assert 0.15 < 1 - same.mean() < 0.35


def test_bytes_become_what_their_floats_do_a_few_at_a_time_too(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype(np.uint8)
    view = View(size=6)
    floats = make_view(images.astype(np.float32) / 255, KEY, view)
    got = make_view(images, KEY, view)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, floats, atol=1e-6)
    monkeypatch.setattr(views, "AT_ONCE", 2 * 8 * 8 * 3)
    views._make.clear_cache()
    np.testing.assert_allclose(make_view(images, KEY, view), got, atol=1e-6)
    views._make.clear_cache()


# ---- rotation and blur -----------------------------------------------------------


def test_rotation_equals_scipy_and_fills_black():
    images = pictures(c=3) + 1
    degrees = np.array([-14.0, 3.0, 170.0])
    radians = jnp.asarray(np.deg2rad(degrees), jnp.float32)
    got = on_lines(resample.rotate, images, radians)
    centre = (np.array(images.shape[1:3]) - 1) / 2
    for i, angle in enumerate(np.deg2rad(degrees)):
        turn = np.array(
            [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
        )
        offset = centre - turn @ centre
        for c in range(3):
            expected = ndimage.affine_transform(
                images[i, :, :, c], turn, offset, order=1, mode="grid-constant"
            )
            np.testing.assert_allclose(got[i, :, :, c], expected, atol=2e-5)


def test_blur_equals_a_normalised_convolution():
    images, radius = pictures(c=3), np.array([0.0, 0.7, 2.0])
    got = on_lines(resample.blur, images, jnp.asarray(radius, jnp.float32))
    np.testing.assert_array_equal(got[0], images[0])
    for i in (1, 2):
        reach = np.arange(-12, 13)
        tap = np.exp(-(reach**2) / (2 * radius[i] ** 2))
        kernel = tap[:, None] * tap
        inside = ndimage.convolve(np.ones(images.shape[1:3]), kernel, mode="constant")
        for c in range(3):
            x = images[i, :, :, c].astype(float)
            expected = ndimage.convolve(x, kernel, mode="constant") / inside
            np.testing.assert_allclose(got[i, :, :, c], expected, atol=1e-5)


# ---- tones -----------------------------------------------------------------------


def levels(seed=0):
    """Bytes of many kinds: narrow, peaked, constant, two-valued, few."""
    rng = np.random.default_rng(seed)
    shape = (24, 20)
    return np.stack(
        [
            rng.integers(0, 256, shape),
            rng.integers(90, 130, shape),
            np.clip(rng.normal(40, 20, shape), 0, 255),
            np.full(shape, 77),
            rng.choice([3, 250], shape),
            np.where(rng.random(shape) < 0.7, 255, rng.integers(0, 255, shape)),
            np.where(rng.random(shape) < 0.995, 0, rng.integers(0, 255, shape)),
        ]
    ).astype(np.uint8)[..., None]


def test_equalisation_is_exactly_that_of_pillow():
    images = np.concatenate([levels(), levels(1), levels(2)], axis=3)
    got = on_lines(tone.equalise, images.astype(np.float32) / 255) * 255
    for i, image in enumerate(images):
        expected = np.asarray(ImageOps.equalize(Image.fromarray(image)))
        np.testing.assert_array_equal(np.round(got[i]), expected)
        np.testing.assert_allclose(got[i], expected, atol=1e-4)


def test_autocontrast_is_that_of_pillow_but_for_whole_levels():
    images = levels()
    got = on_lines(tone.autocontrast, images.astype(np.float32) / 255) * 255
    for i, image in enumerate(images):
        expected = np.asarray(ImageOps.autocontrast(Image.fromarray(image[..., 0])))
        behind = got[i, :, :, 0] - expected
        assert (behind > -1e-3).all()
        assert (behind < 1.001).all()


def test_a_blank_crop_stays_blank_whatever_resampling_rounds():
    stretching = PLAIN._replace(size=16, scale=(0.3, 0.9), autocontrast=1.0)
    for value in (np.uint8(255), np.uint8(180), np.float32(0.7)):
        made = make_view(np.full((4, 20, 20, 1), value), KEY, stretching)
        assert np.ptp(made) < 1e-5


@pytest.mark.usefixtures("unchecked")
def test_whole_numbers_without_a_range_are_refused():
    with pytest.raises(InputError, match="pictures of int32 have no known range"):
        make_view(np.ones((1, 8, 8, 1), np.int32), KEY, PLAIN)


def test_solarisation_is_exactly_that_of_pillow():
    images = levels()
    got = on_lines(tone.solarise, images.astype(np.float32) / 255) * 255
    for i, image in enumerate(images):
        expected = np.asarray(ImageOps.solarize(Image.fromarray(image[..., 0])))
        np.testing.assert_allclose(got[i, :, :, 0], expected, atol=1e-4)


@pytest.mark.parametrize("factor", [0.0, 0.6, 1.0, 1.4])
def test_brightness_contrast_and_saturation_equal_their_formulas(factor):
    x = pictures(c=3)
    luma = (x @ np.array([0.299, 0.587, 0.114]))[..., None]
    mean = luma.mean((1, 2, 3), keepdims=True)
    expected = {
        "brightness": factor * x,
        "contrast": mean + factor * (x - mean),
        "saturation": luma + factor * (x - luma),
    }
    for name, value in expected.items():
        got = on_lines(getattr(tone, name), x, full(factor))
        np.testing.assert_allclose(got, np.clip(value, 0, 1), atol=1e-6, err_msg=name)
    np.testing.assert_allclose(on_lines(tone.grey, x), luma.repeat(3, 3), atol=1e-6)


@pytest.mark.parametrize("turn", [-0.5, -0.1, 0.0, 0.3])
def test_hue_turns_as_in_colorsys(turn):
    x = pictures(n=3, h=5, w=4, c=3)
    x[0, 0, 0], x[0, 0, 1] = 0.0, 0.5
    got = on_lines(tone.hue, x, full(turn))
    for place in np.ndindex(x.shape[:3]):
        h, s, v = colorsys.rgb_to_hsv(*(float(q) for q in x[place]))
        expected = colorsys.hsv_to_rgb((h + turn) % 1, s, v)
        np.testing.assert_allclose(got[place], expected, atol=1e-5)


def test_colour_leaves_grey_pictures_grey():
    x = pictures()
    for name in ("saturation", "hue"):
        np.testing.assert_array_equal(on_lines(getattr(tone, name), x, full(0.3)), x)
    np.testing.assert_array_equal(on_lines(tone.grey, x), x)


# ---- the chain -------------------------------------------------------------------

ALL = View(
    size=8,
    rotate=15.0,
    colour=0.5,
    grey=0.5,
    autocontrast=0.5,
    equalise=0.5,
    blur=0.5,
    solarise=0.5,
)


def test_a_view_depends_on_its_key_and_number_alone():
    images = pictures(n=4, c=3)
    got = make_view(images, KEY, ALL)
    assert ((got >= 0) & (got <= 1)).all()
    np.testing.assert_array_equal(make_view(images, KEY, ALL), got)
    order = jnp.array([2, 0, 3, 1])
    moved = make_view(images[np.asarray(order)], KEY, ALL, index=order)
    np.testing.assert_allclose(moved, got[order], atol=1e-6)
    assert not np.allclose(make_view(images, jax.random.key(6), ALL), got)
    twice = make_view(np.repeat(images[:1], 4, 0), KEY, ALL)
    assert not np.allclose(twice[0], twice[1])


def test_many_views_are_each_one_of_its_own_and_compile_once():
    images = pictures(n=4, c=3)
    views._make.clear_cache()
    got = make_views(images, KEY, ALL, 3)
    assert got.shape == (3, 4, 8, 8, 3)
    np.testing.assert_allclose(got[0], make_view(images, KEY, ALL), atol=1e-6)
    assert not np.allclose(got[0], got[1])
    gentle = ALL._replace(blur=0.1, scale=(0.5, 0.9), hue=0.0, flip=0.1)
    make_views(images, jax.random.key(9), gentle, 3)
    assert views._make._cache_size() == 2  # one for three views, one for a single


def test_every_operation_happens_as_often_as_its_share():
    """On one picture that each of them changes, whatever it draws."""
    image = np.linspace(0.1, 0.75, 64 * 3, dtype=np.float32).reshape(1, 8, 8, 3)
    images = np.repeat(image, 300, 0)
    for name in ("colour", "grey", "autocontrast", "equalise", "blur", "solarise"):
        view = PLAIN._replace(**{name: 0.3}, blur_radius=(1.0, 2.0))
        changed = (make_view(images, KEY, view) != images).any((1, 2, 3)).mean()
        assert 0.2 < changed < 0.4, name


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_colours_change_by_up_to_the_setting(name):
    """Each picture is what its tone makes of it at one strength of the range."""
    image = 0.35 + 0.3 * pictures(n=1, h=8, w=8, c=3)  # stays within [0, 1]
    none = dict.fromkeys(("brightness", "contrast", "saturation", "hue"), 0.0)
    view = PLAIN._replace(colour=1.0, **none | {name: 0.4})
    made = make_view(np.repeat(image, 120, 0), KEY, view)
    tried = np.linspace(-0.45, 0.45, 361, dtype=np.float32)
    middle = 0 if name == "hue" else 1
    repeated = np.repeat(image, len(tried), 0)
    known = on_lines(getattr(tone, name), repeated, middle + tried)
    gaps = np.stack([np.abs(known - one).mean((1, 2, 3)) for one in made])
    found = tried[gaps.argmin(axis=1)]
    assert gaps.min(axis=1).max() < 2e-3
    assert found.min() + 1e-3 >= -0.4
    assert found.min() < -0.36
    assert 0.36 < found.max() <= 0.4 + 1e-3


def test_a_view_is_turned_by_up_to_its_angle():
    """Of pictures whose first two channels rise down and along."""
    down, along = np.mgrid[:15, :15] / 14
    image = np.stack([down, along, 0 * down], axis=-1).astype(np.float32)
    view = PLAIN._replace(size=15, rotate=15.0)
    got = np.asarray(make_view(np.repeat(image[None], 100, 0), KEY, view))
    by_row, by_column = (np.gradient(got, axis=axis)[:, 7, 7] for axis in (1, 2))
    angles = np.degrees(np.arctan2(by_column[:, 0], by_row[:, 0]))
    assert 13.5 < np.abs(angles).max() <= 15.1
    assert angles.min() < -13.5 < 13.5 < angles.max()


@pytest.mark.parametrize("name", PRESETS)
def test_presets_give_what_they_say(name):
    view = PRESETS[name]._replace(size=4)
    shape = jax.eval_shape(
        lambda x: views.make_view(x, KEY, view),
        jax.ShapeDtypeStruct((2, 6, 6, 1), "uint8"),
    )
    assert (shape.shape, shape.dtype) == ((2, 4, 4, 1), jnp.float32)


def test_presets_hold_the_published_numbers():
    local = PRESETS["distl_local"]
    assert local[:3] == (128, True, (0.2, 0.6))
    assert (local.rotate, local.equalise, local.blur_radius) == (15.0, 0.5, (0.1, 2.0))
    assert PRESETS["distl_global"].autocontrast == 0.3
    assert PRESETS["mae"] == View()  # crop and flip only


def test_single_precision_is_the_least_that_is_computed_in():
    half = jnp.asarray(pictures(c=3), jnp.bfloat16)
    got = views.make_view(half, KEY, ALL)
    assert got.dtype == jnp.bfloat16
    exact = views.make_view(half.astype(jnp.float32), KEY, ALL)
    np.testing.assert_array_equal(got, exact.astype(jnp.bfloat16))


def test_settings_that_make_no_sense_are_refused():
    wrong = {
        r"view\.flip=1\.5": PLAIN._replace(flip=1.5),
        r"view\.size=0": PLAIN._replace(size=0),
        r"view\.scale=\(0\.8, 0\.2\) must be two": PLAIN._replace(scale=(0.8, 0.2)),
        r"view\.ratio=\(1\.0,\) must be two": PLAIN._replace(ratio=(1.0,)),
        r"view\.scale=\(0\.0, 1\.0\)": PLAIN._replace(scale=(0.0, 1.0)),
    }
    for words, view in wrong.items():
        with pytest.raises(InputError, match=words):
            make_view(pictures(), KEY, view)
    with pytest.raises(InputError, match="2 channels"):
        make_view(pictures(c=2), KEY, PLAIN)
    with pytest.raises(InputError, match="0 views"):
        make_views(pictures(), KEY, PLAIN, 0)
