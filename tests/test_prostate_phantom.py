"""The embedded set with sites: repeatable, whole glands, sites apart as asked."""

import numpy as np
import pytest
from scipy import ndimage

from jaxdistill.data.prostate_phantom import SITES, prostate_phantom
from jaxdistill.data.site_sources import load_sites
from jaxdistill.errors import InputError


def small(**settings):
    return prostate_phantom(**{"size": 32, "slices": 6, "cases": 3, **settings})


def contrasts(pool) -> np.ndarray:
    """How grey the gland is against what is right around it, site by site."""
    found = []
    for site in pool.sites:
        here = []
        for case in (c for c in pool.cases if c.site == site):
            inside = case.mask > 0
            around = ndimage.binary_dilation(inside, np.ones((1, 5, 5))) & ~inside
            grey = case.image[..., 0]
            here.append(grey[inside].mean() - grey[around].mean())
        found.append(np.mean(here))
    return np.array(found)


def test_sites_cases_and_shapes():
    pool = small()
    assert pool.sites == ("S1", "S2", "S3", "S4", "S5", "S6") == tuple(SITES)
    assert pool.class_names == ("background", "prostate")
    assert [case.name for case in pool.cases[:4]] == [
        "S1_000",
        "S1_001",
        "S1_002",
        "S2_000",
    ]
    for case in pool.cases:
        assert case.image.shape == (6, 32, 32, 1)
        assert case.image.dtype == np.float32
        assert case.image.mean() == pytest.approx(0, abs=1e-4)
        assert case.image.std() == pytest.approx(1, abs=1e-4)
    spacings = {case.site: case.spacing for case in pool.cases}
    assert len(set(spacings.values())) == 6
    assert spacings["S1"] == pytest.approx((7.2, 4.0, 4.0))


def test_a_patient_is_a_function_of_seed_site_and_number():
    one, more, other = small(), small(cases=4), small(seed=1)
    kept = {case.name: case for case in more.cases}
    for case, second in zip(one.cases, other.cases, strict=True):
        np.testing.assert_array_equal(case.image, kept[case.name].image)
        np.testing.assert_array_equal(case.mask, kept[case.name].mask)
        assert not np.array_equal(case.mask, second.mask)


@pytest.mark.parametrize("variation", [0.0, 1.0, 1.5])
def test_glands_are_whole_and_of_plausible_volume(variation):
    for case in prostate_phantom(cases=2, variation=variation).cases:
        parts, _ = ndimage.label(case.mask)
        sizes = np.bincount(parts.ravel())[1:]
        assert sizes.max() > 0.995 * sizes.sum()
        millilitres = case.mask.sum() * np.prod(case.spacing) / 1000
        assert 8 < millilitres < 110
        middle = case.mask[4:8].any((1, 2))
        assert middle.all()


def test_sites_differ_as_much_as_strength_says():
    pools = [small(strength=s, cases=4) for s in (0.0, 0.5, 1.0)]
    spreads = [contrasts(pool).std() for pool in pools]
    assert spreads[0] < spreads[1] < spreads[2]
    assert spreads[2] > 2 * spreads[0]
    assert len({case.spacing for case in pools[0].cases}) == 1


def test_the_drawing_stays_what_it_was():
    """Golden counts: results that users publish must be had again."""
    pool = small()
    counts = [int(case.mask.sum()) for case in pool.cases[::3]]
    np.testing.assert_allclose(counts, GOLDEN_VOXELS, atol=2)
    greys = [float(np.abs(case.image).mean()) for case in pool.cases[::3]]
    np.testing.assert_allclose(greys, GOLDEN_GREYS, atol=2e-3)


def test_settings_are_refused_in_words():
    for settings, rule in (
        ({"size": 8}, r"data\.size=8"),
        ({"cases": 1}, r"data\.cases=1"),
        ({"strength": -1.0}, r"data\.strength=-1"),
        ({"strenght": 1.0}, "did you mean 'strength'"),
    ):
        with pytest.raises(InputError, match=rule):
            load_sites("prostate_phantom", **settings)
    assert load_sites("prostate_phantom", size=16, slices=4, cases=2).classes == 2


GOLDEN_VOXELS = [271, 232, 197, 245, 298, 174]
GOLDEN_GREYS = [0.8216, 0.7694, 0.8138, 0.8054, 0.7951, 0.8337]
