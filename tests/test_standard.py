"""Standardisation: exact statistics, exact inverse, white ZCA."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.data.standard import fit, fit_zca, standardise, to_unit
from jaxdistill.errors import InputError

RNG = np.random.default_rng(0)


def images(n: int, size: int, channels: int) -> np.ndarray:
    """Correlated pixels, so that whitening has something to do."""
    coarse = RNG.integers(0, 200, (n, size // 2, size // 2, channels))
    fine = RNG.integers(0, 56, (n, size, size, channels))
    return (coarse.repeat(2, 1).repeat(2, 2) + fine).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_moments_are_those_of_the_pixels(channels):
    x = images(50, 8, channels)
    standard = fit(x)
    np.testing.assert_allclose(standard.mean, (x / 255).mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(standard.std, (x / 255).std((0, 1, 2)), rtol=1e-5)
    z = standardise(jnp.asarray(x), standard)
    np.testing.assert_allclose(z.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(z.std((0, 1, 2)), 1, rtol=1e-4)


@pytest.mark.parametrize("how", [fit, fit_zca])
def test_to_unit_inverts(how):
    x = images(200, 8, 1)
    standard = how(x)
    back = to_unit(standardise(jnp.asarray(x), standard), standard)
    np.testing.assert_allclose(back, x / 255, atol=2e-5)


def test_zca_whitens_and_is_symmetric():
    x = images(4000, 4, 1)
    standard = fit_zca(x, eps=1e-6)
    z = np.asarray(standardise(jnp.asarray(x), standard)).reshape(len(x), -1)
    np.testing.assert_allclose(z.T @ z / len(z), np.eye(16), atol=2e-2)
    w = standard.whitening
    assert w is not None
    np.testing.assert_allclose(w.forward, np.asarray(w.forward).T, atol=1e-4)


def test_zca_shrinks_by_eps():
    x = images(500, 4, 1)
    flat = x.reshape(500, -1) / 255
    values = np.linalg.eigvalsh(np.cov(flat.T, bias=True))
    z = np.asarray(standardise(jnp.asarray(x), fit_zca(x, eps=0.1))).reshape(500, -1)
    got = np.linalg.eigvalsh(np.cov(z.T, bias=True))
    np.testing.assert_allclose(
        np.sort(got), np.sort(values / (values + 0.1)), rtol=1e-3
    )


def test_a_constant_channel_stays_finite():
    standard = fit(np.full((3, 4, 4, 1), 7, np.uint8))
    assert float(standard.std[0]) == 1.0


def test_zca_of_large_images_is_refused():
    with pytest.raises(InputError, match=r"data.zca=True.*65x65x1"):
        fit_zca(np.zeros((2, 65, 65, 1), np.uint8))
