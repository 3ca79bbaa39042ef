"""Folds leave a site out and keep patients whole; slices have one size, and go back."""

import numpy as np
import pytest

from jaxdistill.data import slices as slices_module
from jaxdistill.data.protocol import leave_one_out, patient
from jaxdistill.data.slices import frame, planes_of, restore, slices_of
from jaxdistill.errors import InputError
from jaxdistill.types import IGNORED, Case, SitePool


def case(name: str, site: str = "a", shape: tuple = (3, 5, 7), channels: int = 1):
    rng = np.random.default_rng(sum(map(ord, name + site)))
    image = rng.normal(size=(*shape, channels)).astype(np.float32)
    return Case(name, site, image, rng.integers(0, 3, shape, np.uint8), (1.0, 1.0, 1.0))


def pool(sites: str = "abcd", count: int = 10) -> SitePool:
    cases = [case(f"{s}{n:02}", s, (2, 4, 4)) for s in sites for n in range(count)]
    return SitePool("toy", tuple(cases), ("background", "organ"))


def names(cases) -> set[str]:
    return {case.name for case in cases}


def test_a_fold_leaves_one_site_out_and_validates_on_each_other():
    whole = pool()
    for site in whole.sites:
        fold = leave_one_out(whole, site, val_fraction=0.3)
        assert names(fold.test) == {c.name for c in whole.cases if c.site == site}
        parts = [names(fold.train), names(fold.val), names(fold.test)]
        assert sum(map(len, parts)) == len(set.union(*parts)) == 40
        for other in set(whole.sites) - {site}:
            assert sum(c.site == other for c in fold.val) == 3
            assert sum(c.site == other for c in fold.train) == 7
    least = leave_one_out(whole, "a", val_fraction=0.01)
    most = leave_one_out(whole, "a", val_fraction=0.99)
    assert len(least.val) == len(most.train) == 3


def test_splits_follow_the_seed_and_new_cases_move_no_other():
    whole = pool()
    one = leave_one_out(whole, "a", seed=1)
    assert one == leave_one_out(whole, "a", seed=1)
    assert names(one.val) != names(leave_one_out(whole, "a", seed=2).val)
    # A site's validation does not depend on which other site is left out.
    other = leave_one_out(whole, "b", seed=1)
    of_c = [{c.name for c in fold.val if c.site == "c"} for fold in (one, other)]
    assert of_c[0] == of_c[1]
    more = SitePool("toy", (*whole.cases, case("c99", "c", (2, 4, 4))), ("b", "o"))
    grown = leave_one_out(more, "a", seed=1)
    kept = {n for n in names(one.val) if n[0] != "c"}
    assert kept <= names(grown.val)
    assert len(names(one.val) & names(grown.val)) >= len(one.val) - 1


def test_few_sites():
    whole = pool("abcdef", 4)
    chosen = set()
    for seed in range(6):
        fold = leave_one_out(whole, "a", few=2, seed=seed)
        sources = {c.site for c in fold.train}
        assert len(sources) == 2
        assert sources == {c.site for c in fold.val}
        assert "a" not in sources
        chosen |= sources
    assert chosen > sources


def test_both_eyes_and_listed_patients_stay_together():
    eyes = [case(f"CHASEDB1_Image_{n:02}{e}", "a") for n in range(6) for e in "LR"]
    others = [case(f"im{n}", "b") for n in range(4)]
    whole = SitePool("eyes", (*eyes, *others), ("b", "v"))
    fold = leave_one_out(whole, "b", val_fraction=0.34)
    held = {patient(c) for c in fold.val}
    assert len(held) == 2
    assert len(fold.val) == 4
    assert not held & {patient(c) for c in fold.train}
    assert patient(case("HRF_01_dr")) == "HRF_01_dr"
    assert patient(case("scan_L")) == "scan_L"
    assert patient(case("eye_7-R")) == "eye_7"
    paired = [*eyes, *(case(f"im{n // 2}_{n}", "b") for n in range(4))]
    fold = leave_one_out(
        SitePool("eyes", tuple(paired), ("b", "v")), "a", patients=r"(.*)_"
    )
    assert names(fold.val) in ({"im0_0", "im0_1"}, {"im1_2", "im1_3"})


def test_what_cannot_be_left_out():
    whole = pool("abc", 2)
    for site, settings, rule in (
        ("d", {}, r"protocol\.unseen='d' is not known.*a, b, c"),
        ("a", {"few": 3}, r"few=3 is more than the 2 sites"),
        ("a", {"val_fraction": 1.0}, r"split\.val_fraction=1\.0"),
        ("a", {"few": -1}, r"split\.few=-1"),
    ):
        with pytest.raises(InputError, match=rule):
            leave_one_out(whole, site, **settings)
    with pytest.raises(InputError, match="has one site"):
        leave_one_out(pool("a"), "a")
    lone = SitePool("toy", (*pool("a", 3).cases, case("b0", "b")), ("b", "o"))
    assert len(leave_one_out(lone, "b").test) == 1
    with pytest.raises(InputError, match="site 'b' has one patient, 'b0'"):
        leave_one_out(lone, "a")


def test_slices_of_all_cases_in_one_frame():
    cases = [case("x", "b", (3, 5, 7), 2), case("y", "a", (2, 40, 33), 2)]
    assert frame(cases) == (64, 64)
    made = slices_of(cases, ("a", "b"))
    assert made.images.shape == (5, 64, 64, 2)
    assert made.size == 5
    assert made.sites.tolist() == [1, 1, 1, 0, 0]
    assert made.masks.dtype == np.uint8
    # Five rows in 64: 29 above, 30 below; the image is there, around it nobody knows.
    np.testing.assert_array_equal(made.images[:3, 29:34, 28:35], cases[0].image)
    np.testing.assert_array_equal(made.masks[:3, 29:34, 28:35], cases[0].mask)
    assert int((np.asarray(made.masks[:3]) != IGNORED).sum()) == 3 * 5 * 7
    np.testing.assert_array_equal(made.images[:3, 0, 28:35], cases[0].image[:, 0])


@pytest.mark.parametrize("shape", [(8, 8), (5, 7), (4, 9), (3, 4), (32, 2)])
def test_masks_of_planes_go_back_to_the_case(shape):
    one = case("x", shape=(3, 5, 7))
    planes = planes_of(one, shape)
    assert planes.shape == (3, *shape, 1)
    masks = np.asarray(slices_of([one], ("a",), shape=shape).masks)
    back = restore(masks, one)
    assert back.shape == one.mask.shape
    want = np.zeros_like(one.mask)
    rows, columns = (
        slice(max(have - side, 0) // 2, max(have - side, 0) // 2 + side)
        for have, side in zip((5, 7), shape, strict=True)
    )
    want[:, rows, columns] = one.mask[:, rows, columns]
    np.testing.assert_array_equal(back, want)


def test_neighbours_are_channels_and_ends_are_repeated():
    one = case("x", shape=(4, 5, 7), channels=2)
    planes = planes_of(one, (5, 7), neighbours=1)
    assert planes.shape == (4, 5, 7, 6)
    for place, before, after in ((0, 0, 1), (2, 1, 3), (3, 2, 3)):
        want = [one.image[before], one.image[place], one.image[after]]
        np.testing.assert_array_equal(planes[place], np.concatenate(want, axis=-1))
    picture = case("y", shape=(1, 5, 7))
    assert planes_of(picture, (5, 7), 2).shape == (1, 5, 7, 5)
    made = slices_of([one], ("a",), shape=(5, 7), neighbours=1)
    np.testing.assert_array_equal(made.images, planes)


def test_more_slices_than_the_device_holds(monkeypatch):
    class Device:
        def memory_stats(self):
            return {"bytes_limit": 1000}

    monkeypatch.setattr(slices_module.jax, "devices", lambda: [Device()])
    with pytest.raises(
        InputError, match=r"take 15,360 bytes.* holds 1,000.*data\.size"
    ):
        slices_of([case("x")], ("a",))
    with pytest.raises(InputError, match="no case"):
        slices_of([], ("a",))


def test_a_patient_of_two_sites_is_held_out_in_both_or_refused():
    seen = [case(f"p{n}_{s}", s) for n in range(5) for s in "bc"]
    whole = SitePool("two", (*seen, case("p9_a", "a")), ("b", "o"))
    for seed in range(4):
        fold = leave_one_out(whole, "a", seed=seed, patients=r"p\d")
        parts = [{c.name[:2] for c in part} for part in (fold.train, fold.val)]
        assert not parts[0] & parts[1]
        assert len(fold.train) + len(fold.val) == 10
    shared = SitePool("two", (*seen, case("p3_a", "a")), ("b", "o"))
    with pytest.raises(InputError, match=r"'p3_b' of 'b' and 'p3_a' of the unseen"):
        leave_one_out(shared, "a", patients=r"p\d")
    with pytest.raises(InputError, match=r"protocol\.patients='q' does not match 'p"):
        leave_one_out(shared, "a", patients="q")
    few = [case(name, name[-1]) for name in ("p1_b", "p2_b", "p2_c", "p3_c", "p9_a")]
    alike = SitePool("two", tuple(few), ("b", "o"))
    told = []
    for seed in range(20):
        try:
            leave_one_out(alike, "a", seed=seed, patients=r"p\d")
        except InputError as error:
            told.append(str(error))
    assert told
    assert all("all patients of" in one for one in told)


def test_names_that_are_not_utf_8_have_their_place():
    cases = [case(f"{s}\udce9{n}", s) for s in "ab" for n in range(3)]
    fold = leave_one_out(SitePool("odd", tuple(cases), ("b", "o")), "a")
    assert len(fold.train) == 2
