"""Corruptions against NumPy and Pillow, and the curves that they bend."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from jaxdistill.errors import InputError
from jaxdistill.evaluation import robustness as room
from jaxdistill.evaluation.robustness import (
    CORRUPTIONS,
    STRENGTHS,
    corrupt,
    corrupt_labels,
    robustness,
)

KEY = jax.random.key(2)


def corrupted(x, *args):
    return np.asarray(corrupt(jnp.asarray(x), KEY, *args))


def pictures(n=2, h=24, w=20, c=1):
    return np.random.default_rng(0).random((n, h, w, c), dtype=np.float32)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_strength_zero_changes_nothing_and_more_is_worse(name):
    x = pictures(h=32, w=32)
    np.testing.assert_allclose(corrupted(x, name, 0.0), x, atol=1e-6)
    far = [float(np.abs(corrupted(x, name, s) - x).mean()) for s in STRENGTHS]
    assert far == sorted(far)
    assert far[0] > 0
    got = corrupted(x, name, "severe")
    assert ((got >= 0) & (got <= 1)).all()


def test_noise_has_its_deviation_and_every_picture_its_own():
    x = np.full((2, 60, 60, 1), 0.5, np.float32)
    got = corrupted(x, "noise", "moderate") - 0.5
    np.testing.assert_allclose(got.std((1, 2, 3)), 0.05, rtol=0.05)
    assert abs(np.corrcoef(got[0].ravel(), got[1].ravel())[0, 1]) < 0.1


def test_blur_is_a_gaussian_of_a_share_of_the_shorter_side():
    x = np.zeros((1, 41, 50, 1), np.float32)
    x[0, 20, 25] = 1.0
    got = corrupted(x, "blur", "severe")[0, :, :, 0]
    expected = gaussian_filter(x[0, :, :, 0], 0.04 * 41, truncate=8)
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_contrast_shrinks_about_the_mean_of_each_channel():
    x = pictures(c=3)
    mean = x.mean((1, 2), keepdims=True)
    got = corrupted(x, "contrast", "strong")
    np.testing.assert_allclose(got, mean + 0.25 * (x - mean), atol=1e-6)


def test_resolution_is_pillow_there_and_back():
    x = pictures()
    got = corrupted(x, "resolution", "moderate")
    for i in range(2):
        small = Image.fromarray(x[i, :, :, 0]).resize(
            (10, 12), Image.Resampling.BILINEAR
        )
        back = small.resize((20, 24), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(got[i, :, :, 0], np.asarray(back), atol=2e-6)


def test_a_curve_falls_with_what_the_classifier_reads(monkeypatch):
    """Stripes against dots at the finest scale, read by their edges."""
    monkeypatch.setattr(room, "CHUNK", 8)
    labels = np.arange(20) % 2
    x = np.full((20, 16, 16, 1), 0.5, np.float32)
    x[labels == 1, ::2] = 0.8
    x = np.clip(x + 0.01 * pictures(20, 16, 16), 0, 1)

    def predict(images):
        edge = jnp.abs(jnp.diff(images, axis=1)).mean((1, 2, 3))
        return jnp.stack([jnp.full_like(edge, 0.15), edge], axis=1)

    curve = robustness(
        predict, jnp.asarray(x), labels, KEY, corruption="blur", score="accuracy"
    )
    assert curve.names == ("none", *STRENGTHS)
    assert curve.strengths == (0.0, *CORRUPTIONS["blur"].strengths)
    assert (curve.scores[0], curve.scores[-1]) == (1.0, 0.5)
    assert list(curve.scores) == sorted(curve.scores, reverse=True)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_the_same_share_of_every_class_is_wrong_and_evenly_spread(share, classes):
    labels = np.repeat(np.arange(classes), 10 * np.arange(1, classes + 1))
    got = np.asarray(corrupt_labels(jnp.asarray(labels), KEY, share, classes))
    for c in range(classes):
        new = got[labels == c]
        counts = np.bincount(new, minlength=classes)
        assert counts[c] == len(new) - round(share * len(new))
        others = np.delete(counts, c)
        assert others.max() - others.min() <= 1


def test_which_labels_are_wrong_is_the_keys_choice():
    labels = jnp.arange(60) % 3
    one, again, other = (
        np.asarray(corrupt_labels(labels, jax.random.key(k), 0.5, 3)) for k in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_what_does_not_exist_is_refused():
    x = pictures()
    labels = np.array([0, 1])
    wrong = {
        "did you mean 'noise'": lambda: corrupted(x, "noises", "mild"),
        "strength='mid'": lambda: corrupted(x, "noise", "mid"),
        "strength=1.5": lambda: corrupted(x, "noise", 1.5),
        "score='aucs'": lambda: robustness(
            lambda v: v, jnp.asarray(x), labels, KEY, corruption="blur", score="aucs"
        ),
        "share=2": lambda: corrupt_labels(jnp.asarray(labels), KEY, 2.0, 2),
    }
    for words, call in wrong.items():
        with pytest.raises(InputError, match=words):
            call()


@pytest.mark.usefixtures("unchecked")
def test_bytes_are_read_as_their_floats():
    x = np.random.default_rng(0).integers(0, 255, (2, 8, 8, 1), np.uint8)
    for strength in (0.0, "mild"):
        got, want = (
            corrupt(jnp.asarray(one), jax.random.key(0), "noise", strength)
            for one in (x, x.astype(np.float32) / 255)
        )
        np.testing.assert_allclose(got, want, atol=1e-7)
    with pytest.raises(InputError, match="no known range"):
        corrupt(jnp.asarray(x, jnp.int32), jax.random.key(0), "noise", 0.0)


def test_every_strength_has_the_same_draws():
    seen = []

    def predict(images):
        seen.append(np.asarray(images))
        return jnp.zeros((len(images), 2))

    grey = jnp.full((6, 8, 8, 1), 0.5)
    robustness(predict, grey, np.arange(6) % 2, KEY, corruption="noise")
    clean, *worse = seen
    strengths = CORRUPTIONS["noise"].strengths
    draws = [(x - clean) / s for x, s in zip(worse[:2], strengths[:2], strict=True)]
    np.testing.assert_allclose(*draws, atol=1e-4)
    assert draws[0].std() > 0.9


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (255 * pictures(4), np.arange(4) % 2, "would be clipped"),
        (pictures(4), np.arange(3) % 2, "one label for each"),
        (pictures(4)[:0], np.zeros(0, int), "0 pictures"),
    ],
)
def test_pictures_and_labels_that_make_no_curve_are_refused(
    images, labels, said, unchecked
):
    with pytest.raises(InputError, match=said):
        robustness(
            lambda x: jnp.zeros((len(x), 2)),
            jnp.asarray(images),
            labels,
            KEY,
            corruption="blur",
        )


def test_labels_of_other_classes_are_not_exchanged():
    with pytest.raises(InputError, match="labels from 1 to 2"):
        corrupt_labels(jnp.array([1, 2, 1]), KEY, 0.5, 2)


@pytest.mark.parametrize("wrong", [-1, 2])
def test_a_label_that_is_no_class_is_refused(wrong):
    labels = np.array([0, 1, wrong])
    pictures = jnp.full((3, 8, 8, 1), 0.5)
    with pytest.raises(InputError, match=f"{wrong}.* do not fit .* 2 classes"):
        robustness(
            lambda x: jnp.zeros((len(x), 2)),
            pictures,
            labels,
            jax.random.key(0),
            corruption="noise",
        )
