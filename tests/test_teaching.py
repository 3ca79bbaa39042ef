"""Students of a class: alike in all but what they learn, on any number of devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_segmenters import discs, small

from jaxdistill.augment.paired import Paired
from jaxdistill.engine.driver import Plan, iterate
from jaxdistill.engine.mesh import initialise, make_mesh
from jaxdistill.errors import InputError
from jaxdistill.segmentation.drawing import Patches, draw, stock
from jaxdistill.segmentation.losses import TERMS
from jaxdistill.segmentation.teaching import (
    Practice,
    Resident,
    Student,
    numbers,
    optimise,
    teach,
)
from jaxdistill.segmentation.term import Term
from jaxdistill.types import IGNORED

PRACTICE = Practice(steps=20, lr=0.02, warmup=0.0)
PATCHES = Patches(batch=4, patch=12)
TEACHER, PUPIL = small(8), small(3)
SWITCHES = [f for f in Paired._fields if f.endswith("_p") and f != "noise_p"]
STUDENTS = {
    "alone": Student(PUPIL),
    "distilled": Student(PUPIL, {"logits": (1.0, TERMS["logits"]())}),
    "rich": Student(
        PUPIL,
        {
            "gram": (0.5, TERMS["gram"]()),
            "affinity": (0.5, TERMS["affinity"](classes=2)),
        },
    ),
}


@pytest.fixture(scope="module")
def resident():
    return Resident(stock(discs()), (TEACHER.init(jax.random.key(5)),))


def trained(names, resident, *, steps=4, devices=1, engine="shard_map", policy=None):
    students = {name: STUDENTS[name] for name in names}
    learner = teach(students, [TEACHER], PRACTICE, PATCHES, policy, channels=1)
    mesh = make_mesh(devices)
    state = initialise(learner, jax.random.key(0), mesh)
    run = iterate(
        learner,
        state,
        resident,
        numbers(PATCHES),
        jax.random.key(1),
        plan=Plan(0, steps, 2),
        mesh=mesh,
        engine=engine,
    )
    *_, (_, state, metrics) = run
    return state, metrics


def alike(a, b, **within):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, **(within or {"rtol": 2e-4, "atol": 1e-6}))


def test_a_class_teaches_each_student_what_it_would_learn_on_its_own(resident):
    together, metrics = trained(STUDENTS, resident)
    for name in STUDENTS:
        alone, _ = trained([name], resident)
        alike(together.students[name], alone.students[name])
        assert metrics[f"{name}_loss"].shape == ()
    firsts = [together.students[name].params["head"] for name in STUDENTS]
    assert not np.allclose(firsts[0], firsts[1])


def test_the_loss_is_what_masks_teach_and_every_term_by_its_weight(resident):
    _, metrics = trained(["rich"], resident)
    parts = {name: metrics[f"rich_{name}"] for name in ("gram", "affinity")}
    weighed = sum(STUDENTS["rich"].terms[name][0] * x for name, x in parts.items())
    assert all(x > 1e-3 for x in parts.values())
    np.testing.assert_allclose(
        metrics["rich_loss"], metrics["rich_supervised"] + weighed, rtol=1e-5
    )


def test_terms_are_told_what_share_of_the_steps_is_done(resident):
    probe = Term(lambda *_: {}, lambda params, outputs, lesson: lesson.progress)
    student = {"one": Student(small(3), {"probe": (0.0, probe)})}
    learner = teach(student, [TEACHER], PRACTICE, PATCHES, None, channels=1)
    state = learner.init(jax.random.key(0))._replace(step=jnp.array(15))
    *_, metrics = jax.jit(learner.update, static_argnums=4)(
        state, resident, jnp.arange(4), jax.random.key(1), None
    )
    assert float(metrics["one_probe"]) == 15 / PRACTICE.steps


@pytest.mark.parametrize(("devices", "engine"), [(4, "shard_map"), (2, "pmap")])
def test_devices_share_a_batch_and_change_nothing(resident, devices, engine):
    only = dict.fromkeys(SWITCHES, 0.0)
    policy = Paired(**only, noise_p=1.0)  # flips as well
    one, _ = trained(["rich"], resident, policy=policy)
    many, _ = trained(["rich"], resident, policy=policy, devices=devices, engine=engine)
    alike(one.students, many.students)


@pytest.mark.parametrize("supervised", ["dice_ce", "focal_dice"])
@pytest.mark.parametrize("name", ["logits", "field", "relational", "gram", "attention"])
def test_what_is_no_mean_over_images_is_of_the_whole_batch(resident, supervised, name):
    """Also with pixels ignored here and there, and where images are compared."""
    masks = resident.stock.slices.masks
    spoilt = masks.at[::2, :7].set(IGNORED).at[1, 3:, 4:].set(IGNORED)
    slices = resident.stock.slices._replace(masks=spoilt)
    data = resident._replace(stock=stock(slices))
    settings = {"field": {"classes": 2}, "attention": {"form": "paper"}}.get(name, {})
    students = {"one": Student(small(3), {name: (1.0, TERMS[name](**settings))})}
    practice = PRACTICE._replace(supervised=supervised)
    learner = teach(students, [TEACHER], practice, PATCHES, None, channels=1)

    def after(devices):
        mesh = make_mesh(devices)
        state = initialise(learner, jax.random.key(0), mesh)
        key, plan = jax.random.key(1), Plan(0, 3, 3)
        how = {"plan": plan, "mesh": mesh, "engine": "shard_map"}
        run = iterate(learner, state, data, numbers(PATCHES), key, **how)
        *_, (_, state, metrics) = run
        return state.students, metrics

    (one, told), (many, same) = after(1), after(2)
    alike(told, same)
    alike(one, many)


def test_teachers_that_do_not_fit_are_refused():
    def made(*teachers):
        teach(STUDENTS, teachers, PRACTICE, PATCHES, None, channels=1)

    with pytest.raises(InputError, match="'distilled' has losses of a teacher, logits"):
        made()
    with pytest.raises(InputError, match="give teachers of one architecture"):
        made(small(8), small(6))


def test_learning_from_masks_and_from_a_teacher_both_succeed(resident):
    state, metrics = trained(["alone", "distilled"], resident, steps=20)
    first = trained(["alone", "distilled"], resident, steps=2)[1]
    assert metrics["alone_supervised"] < first["alone_supervised"]
    assert metrics["distilled_logits"] < first["distilled_logits"]
    assert int(state.step) == 20


def test_a_student_that_is_lost_does_not_end_the_lesson(resident):
    """Nor does it touch another that takes turns with it, as of the same network."""
    lost = Term(lambda *_: {}, lambda _, outputs, lesson: outputs.logits.sum() / 0.0)
    students = {"sound": Student(PUPIL), "mad": Student(PUPIL, {"lost": (1.0, lost)})}
    learner = teach(students, [TEACHER], PRACTICE, PATCHES, None, channels=1)
    state = learner.init(jax.random.key(0))
    after, metrics = jax.jit(learner.update, static_argnums=4)(
        state, resident, jnp.arange(4), jax.random.key(1), None
    )
    assert bool(jnp.isfinite(metrics["loss"]))
    assert not bool(jnp.isfinite(metrics["mad_loss"]))
    whole = {
        name: all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(one.params))
        for name, one in after.students.items()
    }
    assert whole == {"sound": True, "mad": False}
    low = [one.students["sound"].params["low"] for one in (state, after)]
    assert not np.allclose(*low)


def test_a_fold_draws_from_its_rows_as_if_there_were_no_others():
    slices, rows = discs(count=8), np.array([6, 1, 3])
    own = jax.tree.map(lambda x: x[rows], slices)
    key, many = jax.random.key(4), jnp.arange(16)
    for share in (0.0, 1.0):
        patches = Patches(foreground=share)
        some = draw(stock(slices, taken=rows), key, many, patches, None)
        only = draw(stock(own), key, many, patches, None)
        jax.tree.map(np.testing.assert_array_equal, some, only)
    empty = slices._replace(masks=slices.masks.at[1:].set(0))  # the first is not taken
    with pytest.raises(InputError, match="all 3 training masks are empty"):
        stock(empty, taken=rows)


def test_patches_are_cut_about_the_foreground_and_by_number():
    data = stock(discs(side=32))
    key, patches = jax.random.key(3), Patches(patch=8, foreground=1.0)
    images, masks = draw(data, key, jnp.arange(6), patches, None)
    assert images.shape == (6, 8, 8, 1)
    assert bool((masks[:, 2:6, 2:6] > 0).any((1, 2)).all())
    np.testing.assert_array_equal(images[..., 0] > 0.5, masks > 0)
    again = draw(data, key, jnp.array([4]), patches, None)
    np.testing.assert_array_equal(again[0][0], images[4])
    whole = draw(data, key, jnp.arange(2), Patches(), None)[0]
    assert whole.shape == (2, 32, 32, 1)


def test_masks_without_foreground_teach_nothing():
    slices = discs()
    empty = slices._replace(
        masks=jnp.where(slices.masks > 0, IGNORED, 0).astype("uint8")
    )
    with pytest.raises(InputError, match="all 6 training masks are empty"):
        stock(empty)


@pytest.mark.parametrize("where", [(0, 0), (0, 31), (31, 31), (17, 2)])
@pytest.mark.parametrize("policy", [None, Paired(**dict.fromkeys(SWITCHES, 0.0))])
def test_a_pixel_at_the_edge_is_seen_as_any_other(where, policy):
    """Also where patches are cut with a margin, to be turned."""
    slices = discs(side=32)
    masks = jnp.zeros_like(slices.masks).at[:, where[0], where[1]].set(1)
    data = stock(slices._replace(masks=masks))
    about = Patches(patch=8, foreground=1.0)
    _, seen = draw(data, jax.random.key(0), jnp.arange(8), about, policy)
    assert bool((seen == 1).any((1, 2)).all())
    assert seen.shape == (8, 8, 8)


def test_patches_reach_every_pixel_alike():
    """A patch lies at each of its places as often, whatever margin it is cut with."""
    slices = discs(side=16)
    rows = jnp.broadcast_to(jnp.arange(16.0)[:, None, None], slices.images.shape[1:])
    data = stock(slices._replace(images=jnp.broadcast_to(rows, slices.images.shape)))
    still = Paired(**dict.fromkeys(SWITCHES, 0.0), left_right=0.0, noise_p=0.0)
    wide = Patches(patch=8, foreground=0.0)
    firsts = [
        np.unique(draw(data, jax.random.key(1), jnp.arange(200), wide, policy)[0][:, 0])
        for policy in (None, still)
    ]
    for first in firsts:
        np.testing.assert_allclose(first, np.arange(9), atol=1e-6)


def test_an_infinite_loss_is_of_its_student_alone():
    broken = small(3)._replace(
        init=lambda key: jax.tree.map(lambda x: x * 1e38, small(3).init(key))
    )
    students = {"sound": Student(small(3)), "mad": Student(broken)}
    learner = teach(students, (), PRACTICE, PATCHES, None, channels=1)
    state = learner.init(jax.random.key(0))
    data = Resident(stock(discs()), ())
    _, metrics = jax.jit(learner.update, static_argnums=4)(
        state, data, jnp.arange(4), jax.random.key(1), None
    )
    assert not bool(jnp.isfinite(metrics["mad_loss"]))
    assert float(metrics["loss"]) == float(metrics["sound_loss"])


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0.6), (2, 0.9), (10, 0.96)])
def test_a_rise_of_nearly_all_steps_leaves_one_to_fall(steps, warmup):
    made = optimise(Practice(steps=steps, warmup=warmup))
    params = {"w": jnp.ones(2)}
    state = made.init(params)
    for _ in range(steps):
        moves, state = made.update(params, state, params)
        assert bool(jnp.isfinite(moves["w"]).all())
    assert bool((moves["w"] != 0).all())


def test_rates_rise_in_a_line_and_fall_as_a_cosine_on_weights_that_decay():
    """With one gradient at every step, Adam's moves are its signs by the rate."""
    practice = Practice(steps=10, warmup=0.2, lr=0.5, weight_decay=0.3, clip=0.0)
    made = optimise(practice)
    params, grads = {"w": jnp.array([2.0, -1.0])}, {"w": jnp.array([0.7, -3.0])}
    state = made.init(params)
    for step in range(10):
        moves, state = made.update(grads, state, params)
        fallen = 0.5 * (1 + np.cos(np.pi * (step - 2) / 8))
        rate = 0.5 * (step / 2 if step < 2 else fallen)
        wanted = -rate * (np.array([1.0, -1.0]) + 0.3 * np.array([2.0, -1.0]))
        np.testing.assert_allclose(moves["w"], wanted, rtol=1e-4, atol=1e-6)


def test_sgd_is_nesterovs_of_clipped_gradients():
    practice = Practice(
        steps=10, warmup=0.0, lr=0.5, optimiser="sgd", weight_decay=0.1, clip=1.0
    )
    made = optimise(practice)
    params, grads = {"w": jnp.array([2.0, -1.0])}, {"w": jnp.array([3.0, -4.0])}
    state, velocity = made.init(params), np.zeros(2)
    pull = np.array([0.6, -0.8]) + 0.1 * np.array([2.0, -1.0])
    for step in range(3):
        moves, state = made.update(grads, state, params)
        velocity = 0.99 * velocity + pull
        rate = 0.25 * (1 + np.cos(np.pi * step / 10))
        wanted = -rate * (pull + 0.99 * velocity)
        np.testing.assert_allclose(moves["w"], wanted, rtol=1e-5)


def test_so_many_patches_as_asked_are_about_the_foreground():
    """Of a small disc in a large slice hardly any other patch sees something."""
    disc = discs(side=64)
    y, x = np.mgrid[:64, :64]
    masks = np.broadcast_to((y - 30) ** 2 + (x - 34) ** 2 < 4, disc.masks.shape)
    data = stock(disc._replace(masks=jnp.asarray(masks, jnp.uint8)))
    for share in (0.0, 0.33, 0.7):
        patches = Patches(patch=6, foreground=share)
        _, seen = draw(data, jax.random.key(0), jnp.arange(600), patches, None)
        found = float((seen > 0).any((1, 2)).mean())
        by_chance = 0.03  # about (6 + 4)^2 of 64^2 pixels
        assert abs(found - (share + (1 - share) * by_chance)) < 0.05


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"masks": jnp.ones((6, 32, 32, 1), jnp.uint8)}, "do not fit images"),
        ({"masks": jnp.full((6, 32, 32), 2, jnp.uint8)}, "a mask holds class 2, and a"),
    ],
)
def test_masks_that_do_not_fit_are_refused(changes, said, unchecked):
    with pytest.raises(InputError, match=said):
        stock(discs(side=32)._replace(**changes), classes=2)
