"""Distillation losses against the equations, written out in NumPy, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.errors import InputError
from jaxdistill.segmentation.losses import TERMS
from jaxdistill.segmentation.losses.affinity import (
    affinity_distance,
    affinity_energies,
)
from jaxdistill.segmentation.losses.affinity_field import FieldWeights, field_loss
from jaxdistill.segmentation.losses.attention import (
    attention_distance,
    attention_norm,
)
from jaxdistill.segmentation.losses.channel_wise import channel_divergence
from jaxdistill.segmentation.losses.emkd import importance_distance, region_distance
from jaxdistill.segmentation.losses.gram import gram_distance
from jaxdistill.segmentation.losses.logits import pixel_divergence
from jaxdistill.segmentation.losses.relational import relation_distance
from jaxdistill.segmentation.losses.supervised import dice_ce, focal_dice
from jaxdistill.segmentation.term import (
    Lesson,
    Outputs,
    ascended,
    masks_at,
    resize,
)
from jaxdistill.types import IGNORED

N, H, W, K = 3, 6, 5, 3
SETTINGS = {name: {"classes": K} for name in ("affinity", "field", "region")}


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture
def masks(rng):
    masks = rng.integers(0, K, (N, H, W)).astype(np.uint8)
    masks[0, :2, 0] = IGNORED
    return masks


def features(rng, channels):
    return rng.standard_normal((N, H, W, channels))


def rows(x):
    x = x.reshape(len(x), -1, x.shape[-1])
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-12)


def apart(s, t):
    """Squared differences of all affinities: `n pixels pixels`."""
    s, t = rows(s), rows(t)
    return (s @ s.swapaxes(1, 2) - t @ t.swapaxes(1, 2)) ** 2


def test_energies_are_those_of_all_pairs(rng, masks):
    s, t = features(rng, 4), features(rng, 7)
    found = affinity_energies(jnp.asarray(s), jnp.asarray(t), jnp.asarray(masks), K)
    all_pairs, y = apart(s, t), masks.reshape(N, -1)
    for image in range(N):
        known = y[image] != IGNORED
        pairs = known[:, None] & known[None]
        same = pairs & (y[image][:, None] == y[image][None])
        close(found.same[image], all_pairs[image][same].mean())
        close(found.other[image], all_pairs[image][pairs & ~same].mean())


def test_energies_weighted_by_their_pairs_are_the_whole_distance(rng, masks):
    s, t = jnp.asarray(features(rng, 4)), jnp.asarray(features(rng, 7))
    whole = np.zeros_like(masks)
    distance = affinity_distance(s, t, jnp.asarray(whole))
    close(distance, apart(np.asarray(s), np.asarray(t)).mean())
    full = np.where(masks == IGNORED, 0, masks)
    found = affinity_energies(s, t, jnp.asarray(full), K)
    counts = np.stack([(full == k).sum((1, 2)) for k in range(K)])
    same, pairs = (counts**2).sum(0), counts.sum(0) ** 2
    mean = (found.same * same + found.other * (pairs - same)) / pairs
    close(mean.mean(), distance)


def test_the_distance_needs_no_equal_channels_and_no_rotation(rng, masks):
    s, t = features(rng, 4), features(rng, 7)
    turn, _ = np.linalg.qr(rng.standard_normal((7, 7)))
    args = (jnp.asarray(s), jnp.asarray(t), jnp.asarray(masks))
    close(affinity_distance(args[0], args[1] @ turn, args[2]), affinity_distance(*args))


@pytest.mark.parametrize("few", [10, 200])
def test_float32_holds_the_energies_of_a_small_class_too(rng, few):
    """Near its teacher: all pairs less those of one class would lose it."""
    s = rng.standard_normal((1, 96, 96, 32))
    t = s + 0.1 * rng.standard_normal(s.shape)
    masks = np.zeros(96 * 96, np.uint8)
    masks[rng.choice(masks.size, few, replace=False)] = 1
    masks = masks.reshape(1, 96, 96)
    exact = affinity_energies(jnp.asarray(s), jnp.asarray(t), jnp.asarray(masks), 2)
    with jax.enable_x64(False):
        found = affinity_energies(*map(jnp.asarray, (s, t, masks)), 2)
    assert found.same.dtype == jnp.float32
    np.testing.assert_allclose(found.same, exact.same, rtol=0.01)
    np.testing.assert_allclose(found.other, exact.other, rtol=0.01)


def test_affinity_gradients_are_those_of_all_pairs(rng, masks):
    s, t = jnp.asarray(features(rng, 3)), jnp.asarray(features(rng, 5))
    here = jnp.asarray(np.where(masks == IGNORED, 0, masks))

    def direct(s):
        def unit(x):
            x = x.reshape(N, -1, x.shape[-1])
            return x / jnp.linalg.norm(x, axis=-1, keepdims=True)

        a, b = unit(s), unit(t)
        return ((a @ a.mT - b @ b.mT) ** 2).mean()

    found = jax.jit(jax.grad(lambda s: affinity_distance(s, t, here)))(s)
    close(found, jax.jit(jax.grad(direct))(s))


def test_pixel_divergence_is_the_mean_over_pixels_that_count(rng, masks):
    s, t, T = features(rng, K), features(rng, K), 4.0
    p, q = softmax(t / T), softmax(s / T)
    kl = (p * np.log(p / q)).sum(-1)
    wanted = T**2 * kl[masks != IGNORED].mean()
    close(pixel_divergence(*map(jnp.asarray, (s, t, masks)), None, T), wanted)


def test_gram_distance_is_that_of_channel_products(rng, masks):
    s, t = features(rng, 4), features(rng, 4)
    flat = [x.reshape(N, -1, 4) for x in (s, t)]
    gram = [x.swapaxes(1, 2) @ x / (H * W * 4) for x in flat]
    wanted = ((gram[0] - gram[1]) ** 2).sum((1, 2)).mean()
    close(gram_distance(*map(jnp.asarray, (s, t, masks))), wanted)


def test_attention_in_both_forms(rng, masks):
    s, t = features(rng, 4), features(rng, 7)

    def look(x):
        q = (x**2).mean(-1).reshape(N, -1)
        return q / np.linalg.norm(q, axis=1, keepdims=True)

    args = tuple(map(jnp.asarray, (s, t, masks)))
    close(attention_distance(*args), ((look(s) - look(t)) ** 2).mean())
    close(attention_norm(*args), np.linalg.norm(look(s) - look(t), axis=1).sum())


def test_channel_divergence_is_over_pixels_of_each_channel(rng, masks):
    s, t, tau = features(rng, 4), features(rng, 4), 2.0
    p, q = (softmax(x.reshape(N, -1, 4) / tau, axis=1) for x in (t, s))
    wanted = tau**2 / (N * 4) * (p * np.log(p / q)).sum()
    close(channel_divergence(*map(jnp.asarray, (s, t, masks)), tau), wanted)


def test_importance_and_regions_of_emkd(rng):
    s, t = np.abs(features(rng, 4)), np.abs(features(rng, 7))
    masks = rng.integers(0, 2, (N, H, W)).astype(np.uint8)

    def importance(x):
        a = (x**4).mean(-1).reshape(N, -1)
        return a / np.linalg.norm(a, axis=1, keepdims=True)

    def likeness(x):
        front = (x * (masks == 1)[..., None]).sum((1, 2))
        front = front / ((masks == 1).sum((1, 2)) + 1)[:, None]
        back = (x * (masks == 0)[..., None]).sum((1, 2))
        back = back / (masks == 0).sum((1, 2))[:, None]
        lengths = np.linalg.norm(front, axis=1) * np.linalg.norm(back, axis=1)
        return (front * back).sum(1) / lengths

    args = tuple(map(jnp.asarray, (s, t, masks)))
    wanted = ((importance(s) - importance(t)) ** 2).sum(1).mean()
    close(importance_distance(*args), wanted)
    wanted = ((likeness(s) - likeness(t)) ** 2).mean()
    close(region_distance(*args, 2), wanted)


def test_relations_are_of_distances_in_their_mean_and_of_angles(rng, masks):
    s, t = rng.standard_normal((4, 2, 2, 3)), rng.standard_normal((4, 2, 2, 5))

    def huber(a, b):
        d = np.abs(a - b)
        return np.where(d <= 1, 0.5 * d**2, d - 0.5)

    def far(x):
        d = np.linalg.norm(x[:, None] - x[None], axis=-1)
        return d / d[d > 0].mean()

    def angles(x):
        found = np.zeros((4, 4, 4))
        for j in range(4):
            for i in range(4):
                for k in range(4):
                    a, b = x[i] - x[j], x[k] - x[j]
                    size = np.linalg.norm(a) * np.linalg.norm(b)
                    found[j, i, k] = a @ b / size if size else 0.0
        return found

    x, y = s.mean((1, 2)), t.mean((1, 2))
    wanted = 25 * huber(far(x), far(y)).mean() + 50 * huber(angles(x), angles(y)).mean()
    empty = jnp.zeros((4, 2, 2), jnp.uint8)
    close(relation_distance(jnp.asarray(s), jnp.asarray(t), empty), wanted)


def test_affinity_fields_are_sums_over_neighbours(rng, masks):
    logits = features(rng, K)
    weights = FieldWeights(rng.standard_normal((K, 3)), rng.standard_normal((K, 3)))
    p = np.clip(softmax(logits), 1e-4, 1)
    w_edge, w_flat = (softmax(w, axis=1) for w in weights)
    total = 0.0
    for at, size in enumerate((1, 2, 3)):
        edges, flats = [], []
        for n in range(N):
            for i in np.ndindex(H, W):
                for step in np.ndindex(3, 3):
                    j = tuple(a + (b - 1) * size for a, b in zip(i, step, strict=True))
                    inside = 0 <= j[0] < H and 0 <= j[1] < W and step != (1, 1)
                    if not inside or IGNORED in (masks[n][i], masks[n][j]):
                        continue
                    for c in range(K):
                        a, b = p[n][i][c], p[n][j][c]
                        x, y = np.clip(1 - a, 1e-4, 1), np.clip(1 - b, 1e-4, 1)
                        kl = b * np.log(b / a) + y * np.log(y / x)
                        label = masks[n][i]
                        if (label == c) != (masks[n][j] == c):
                            edges.append(w_edge[label, at] * max(0, 3 - kl))
                        else:
                            flats.append(w_flat[label, at] * kl)
        total += np.mean(edges) + np.mean(flats)
    moved = FieldWeights(*map(jnp.asarray, weights))
    close(field_loss(jnp.asarray(logits), jnp.asarray(masks), moved), total)


def test_supervised_losses_leave_out_what_is_ignored(rng, masks):
    logits = features(rng, K)
    p, known = softmax(logits), masks != IGNORED
    truth = np.eye(K)[np.where(known, masks, 0)] * known[..., None]
    ce = -(np.log(p) * truth).sum(-1)[known].mean()
    both = (p * truth).sum((1, 2))
    sizes = ((p * known[..., None]) + truth).sum((1, 2))
    dice = 1 - (both + 1) / (0.5 * sizes + 1)
    close(dice_ce(jnp.asarray(logits), jnp.asarray(masks)), ce + dice[:, 1:].mean())
    right = (p * truth).sum(-1)
    focal = -((1 - right) ** 2) * (np.log(p) * truth).sum(-1)
    both, sizes = both.sum(0)[1:], sizes.sum(0)[1:]
    whole = 1 - (2 * both + 1) / (sizes + 1)
    wanted = 0.5 * focal[known].mean() + 0.5 * whole.mean()
    close(focal_dice(jnp.asarray(logits), jnp.asarray(masks)), wanted)


def test_weights_that_ascend_keep_their_value_and_turn_their_gradient():
    u = jnp.array([0.3, -1.0])
    close(ascended(u), u)
    close(jax.grad(lambda u: (ascended(u) ** 3).sum())(u), -3 * u**2)


def test_descent_gives_weight_to_the_affinities_that_are_harder(rng, masks):
    term = TERMS["affinity"](classes=K)
    student, teachers = outputs(rng, 4), outputs(rng, 6, teachers=1)
    lesson = Lesson(None, jnp.asarray(masks), teachers, jnp.zeros(()))
    u = term.init(jax.random.key(0), student, teachers)
    grads = jax.jit(jax.grad(term.value))(u, student, lesson)
    for level, (mine, theirs) in enumerate(
        zip(student.levels, teachers.levels, strict=True)
    ):
        here = masks_at(lesson.masks, mine.shape[1:3])
        same, other = (
            float(e.mean()) for e in affinity_energies(mine, theirs[0], here, K)
        )
        # d/du of softmax(u) . E at u = 0, with the sign of an ascent
        close(grads[level], [(other - same) / 4, (same - other) / 4])


def outputs(rng, channels, size=(H, W), teachers=0):
    lead = (teachers, N) if teachers else (N,)
    levels = [(*lead, *size, channels), (*lead, size[0] // 2, size[1] // 2, channels)]
    made = (jnp.asarray(rng.standard_normal(shape)) for shape in levels)
    return Outputs(jnp.asarray(rng.standard_normal((*lead, H, W, K))), tuple(made))


@pytest.mark.parametrize("name", sorted(TERMS))
@pytest.mark.parametrize("teachers", [1, 2])
def test_every_term_takes_maps_that_differ_from_the_teachers(
    name, teachers, rng, masks
):
    term = TERMS[name](**SETTINGS.get(name, {}))
    student = outputs(rng, 4)
    lesson = Lesson(
        images=jnp.zeros((N, H, W, 1)),
        masks=jnp.asarray(masks),
        teachers=outputs(rng, 6, (4, 4), teachers),
        progress=jnp.asarray(0.5),
    )
    params = term.init(jax.random.key(0), student, lesson.teachers)
    value, grads = jax.jit(jax.value_and_grad(term.value, argnums=(0, 1)))(
        params, student, lesson
    )
    assert value.shape == ()
    assert value > 0
    assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(grads))
    assert sum(float(jnp.abs(g).sum()) for g in jax.tree.leaves(grads[1])) > 0


@pytest.mark.parametrize("name", sorted(set(TERMS) - {"field"}))
def test_every_term_is_at_rest_where_the_student_is_the_teacher(name, rng, masks):
    term = TERMS[name](**SETTINGS.get(name, {}))
    student = outputs(rng, 4)
    teachers = jax.tree.map(lambda x: x[None], student)
    lesson = Lesson(
        jnp.zeros((N, H, W, 1)), jnp.asarray(masks), teachers, jnp.zeros(())
    )
    params = term.init(jax.random.key(0), student, teachers)
    assert not jax.tree.leaves(params) or name == "affinity"  # no adapter is needed
    close(term.value(params, student, lesson), 0.0)


def test_several_teachers_speak_with_the_mean_of_their_logits(rng, masks):
    term, student, both = (
        TERMS["logits"](),
        outputs(rng, 4),
        outputs(rng, 6, teachers=2),
    )
    mean = both._replace(logits=both.logits.mean(0, keepdims=True))
    found = [
        term.value((), student, Lesson(None, jnp.asarray(masks), t, jnp.zeros(())))
        for t in (both, mean)
    ]
    close(*found)


def test_masks_and_maps_meet_at_one_size(rng):
    masks = jnp.asarray(np.arange(16, dtype=np.uint8).reshape(1, 4, 4))
    close(masks_at(masks, (2, 2))[0], [[5, 7], [13, 15]])
    flat = jnp.ones((1, 3, 3, 2))
    close(resize(flat, (6, 6)), jnp.ones((1, 6, 6, 2)))


@pytest.mark.parametrize(
    ("name", "settings"),
    [("logits", {"temperature": 0.0}), ("gram", {"kernel": "x"})],
)
def test_settings_out_of_range_are_refused(name, settings):
    with pytest.raises(InputError, match=f"losses.{name}"):
        TERMS[name](**settings)


def test_the_field_fades_to_a_tenth_over_training(rng, masks):
    term = TERMS["field"](classes=K)
    student = outputs(rng, 4)
    params = term.init(jax.random.key(0), student, outputs(rng, 6, (4, 4), 1))

    def at(progress):
        lesson = Lesson(
            images=jnp.zeros((N, H, W, 1)),
            masks=jnp.asarray(masks),
            teachers=None,
            progress=jnp.asarray(progress),
        )
        return float(term.value(params, student, lesson))

    np.testing.assert_allclose(
        [at(0.5), at(1.0)], [at(0.0) / 10**0.5, at(0.0) / 10], rtol=1e-5
    )
