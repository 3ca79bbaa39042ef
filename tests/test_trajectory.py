"""Trajectory matching against the paper's equation, written out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import (
    assert_close,
    assert_same_bits,
    linear_network,
    made_experts,
    tanh_network,
    toy_experts,
    toy_pool,
    toy_synthetic,
)
from scipy.special import softmax

from jaxdistill.distillation.distill import distilling, outer_optimiser
from jaxdistill.distillation.distillers.segments import (
    Segment,
    StartRange,
    draw_segments,
)
from jaxdistill.distillation.distillers.trajectory import (
    schedule,
    shape_term,
    trajectory_matching,
)
from jaxdistill.engine.mesh import initialise, make_mesh, map_update
from jaxdistill.errors import InputError
from jaxdistill.types import Synthetic

STEPS = 4


# ---- the reference: softmax regression, its gradient by hand, float64 ---------------


def train_by_hand(synthetic, start, batches):
    """Parameters after one SGD step a batch on the set."""
    w, b = np.float64(start["w"]), np.float64(start["b"])
    images = np.float64(synthetic.images).reshape(len(synthetic.images), -1)
    targets = softmax(np.float64(synthetic.logits), axis=1)
    lr = np.log1p(np.exp(np.float64(synthetic.raw_lr)))
    for chosen in batches:
        x, y = images[chosen], targets[chosen]
        wrong = (softmax(x @ w + b, axis=1) - y) / len(x)
        w, b = w - lr * x.T @ wrong, b - lr * wrong.sum(axis=0)
    return {"w": w, "b": b}


def gap(one, other):
    return sum(np.sum((np.float64(one[k]) - other[k]) ** 2) for k in one)


def loss_by_hand(synthetic, segments, batches):
    values = []
    for (start, target), rows in zip(segments, batches, strict=True):
        final = train_by_hand(synthetic, start, rows)
        values.append(gap(final, target) / gap(start, target))
    return np.mean(values)


def walk(count=2, epochs=3, seed=0):
    """Random trajectories of the linear network."""
    rng = np.random.default_rng(seed)
    like = jax.tree.map(np.asarray, linear_network().init(jax.random.key(0)))
    experts = []
    for _ in range(count):
        epochs_of = [jax.tree.map(lambda x: 0.1 * rng.normal(size=x.shape), like)]
        for _ in range(epochs):
            last = epochs_of[-1]
            epochs_of.append(
                jax.tree.map(lambda x: x + 0.1 * rng.normal(size=x.shape), last)
            )
        experts.append(epochs_of)
    return experts


def linear_method(snapshots, **settings):
    network = linear_network()
    settings = {"unroll_steps": STEPS, "expert_epochs": 2} | settings
    return trajectory_matching(network, made_experts(network, snapshots), **settings)


def tanh_method(**settings):
    settings = {"unroll_steps": STEPS, "expert_epochs": 2} | settings
    return trajectory_matching(tanh_network(), toy_experts(), **settings)


def value_and_grad(method, synthetic, step=0, key=None):
    """The loss of one step's segments, its gradient and what else it returns."""
    key = jax.random.key(3) if key is None else key
    state = method.init(jax.random.key(0))
    run = jax.jit(jax.value_and_grad(method.loss, has_aux=True))
    (value, matched), grads = run(synthetic, state, method.source.feed(step), key)
    return value, grads, matched


@pytest.mark.parametrize("batch", [0, 2])
def test_loss_and_gradient_are_the_equation(batch):
    with jax.enable_x64(True):
        method = linear_method(walk(), segments=2, batch=batch)
        synthetic = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), toy_synthetic())
        key = jax.random.key(3)
        value, grads, _ = value_and_grad(method, synthetic, key=key)
        fed = method.source.feed(0)
        rows = [
            schedule(jax.random.fold_in(key, i), 6, batch, STEPS)[0] for i in fed.id
        ]
        rows = [np.asarray(r) for r in rows]
        one = lambda tree, i: jax.tree.map(lambda x: x[i], tree)  # noqa: E731
        pieces = [(one(fed.start, i), one(fed.target, i)) for i in range(2)]

        expected = lambda s: loss_by_hand(s, pieces, rows)  # noqa: E731
        np.testing.assert_allclose(value, expected(synthetic), rtol=1e-10)
        rng, h = np.random.default_rng(0), 1e-5
        for part in Synthetic._fields:
            x = np.asarray(getattr(synthetic, part))
            along = rng.normal(size=x.shape)
            moved = [synthetic._replace(**{part: x + s * h * along}) for s in (1, -1)]
            slope = (expected(moved[0]) - expected(moved[1])) / (2 * h)
            ours = np.sum(np.asarray(getattr(grads, part)) * along)
            np.testing.assert_allclose(ours, slope, rtol=1e-6, err_msg=part)


def test_loss_is_one_for_a_student_that_stands_still():
    value, _, matched = value_and_grad(linear_method(walk()), toy_synthetic(lr=1e-7))
    np.testing.assert_allclose(value, 1.0, rtol=1e-5)
    np.testing.assert_allclose(matched.metrics["match"], value)


def test_loss_is_zero_for_a_student_that_arrives():
    synthetic, (path,) = toy_synthetic(), walk(count=1, epochs=2)
    path[2] = train_by_hand(synthetic, path[0], [np.arange(6)] * STEPS)
    value, grads, _ = value_and_grad(linear_method([path]), synthetic)
    assert 0 <= value < 1e-9
    assert optax.tree.norm(grads) < 1e-4


def test_gradient_reaches_every_image_label_and_the_rate():
    _, grads, _ = value_and_grad(tanh_method(batch=3), toy_synthetic())
    assert np.all(np.abs(grads.images).max(axis=(1, 2, 3)) > 0)
    assert np.all(np.abs(grads.logits).max(axis=1) > 0)
    assert abs(grads.raw_lr) > 0


def test_one_step_moves_raw_lr_by_the_softplus_chain():
    """With one inner step the gradient in lr is that of a quadratic, known in full."""
    snapshots = walk(count=1, epochs=2)
    synthetic = toy_synthetic()
    _, grads, _ = value_and_grad(linear_method(snapshots, unroll_steps=1), synthetic)
    start, _, target = snapshots[0]
    final = train_by_hand(synthetic, start, [np.arange(6)])
    lr = float(synthetic.lr)
    step = {k: (final[k] - start[k]) / lr for k in start}
    slope = sum(np.sum(2 * (final[k] - target[k]) * step[k]) for k in start)
    chain = 1 - np.exp(-lr)  # sigmoid(raw), in terms of softplus(raw)
    expected = slope / gap(start, target) * chain
    np.testing.assert_allclose(grads.raw_lr, expected, rtol=1e-4)


# ---- batches and starts --------------------------------------------------------------


@pytest.mark.parametrize(("size", "batch", "steps"), [(6, 2, 7), (7, 3, 5)])
def test_a_pass_repeats_no_image(size, batch, steps):
    batches, keys = schedule(jax.random.key(0), size, batch, steps)
    assert batches.shape == (steps, batch)
    assert len(np.unique(jax.random.key_data(keys), axis=0)) == steps
    in_pass = size // batch
    for first in range(0, steps, in_pass):
        chosen = np.asarray(batches[first : first + in_pass]).ravel()
        assert len(set(chosen)) == len(chosen)
        assert set(chosen) <= set(range(size))
    if steps >= 2 * in_pass and in_pass * batch > 2:
        first, second = batches[:in_pass], batches[in_pass : 2 * in_pass]
        assert not np.array_equal(first, second)


@pytest.mark.parametrize("batch", [0, 6])
def test_the_whole_set_enters_every_step(batch):
    indices, keys = schedule(jax.random.key(0), 6, batch, 3)
    np.testing.assert_array_equal(np.sort(indices), [range(6)] * 3)
    assert keys.shape == (3,)


def test_a_batch_larger_than_the_set_is_refused():
    with pytest.raises(InputError, match=r"\.batch=7 .* set of 6 images"):
        schedule(jax.random.key(0), 6, 7, 3)


def test_start_range_grows_in_a_line_and_stays():
    growing = StartRange(low=0, first=2, last=12, grown_at=100)
    assert [growing.high(s) for s in (0, 9, 10, 50, 99, 100, 5000)] == [
        2, 2, 3, 7, 11, 12, 12,
    ]  # fmt: skip
    assert StartRange(0, 2, 12).high(0) == 12


def numbered_experts(count=3, epochs=9):
    """Snapshots that say which expert and epoch they are."""
    snapshots = [[np.asarray([e, t]) for t in range(epochs + 1)] for e in range(count)]
    return made_experts(linear_network(), snapshots)


def test_segments_are_a_pure_function_of_seed_and_step():
    experts, starts = numbered_experts(), StartRange(1, 3, 6, grown_at=4)
    draw = lambda seed, step: draw_segments(experts, starts, 3, (seed, step), 2)  # noqa: E731
    later = draw(0, 7)
    assert_same_bits(draw(0, 7), later)
    steps = [draw(0, s) for s in range(9)]
    other = [draw(1, s) for s in range(9)]
    assert any(
        not np.array_equal(a.start, b.start) for a, b in zip(steps, other, strict=True)
    )
    for step, part in enumerate(steps):
        epochs = part.start[:, 1]
        assert np.all(epochs >= 1)
        assert np.all(epochs < starts.high(step))
        np.testing.assert_array_equal(part.target - part.start, [[0, 3]] * 2)
        np.testing.assert_array_equal(part.middle - part.start, [[0, 1]] * 2)
        np.testing.assert_array_equal(part.id, [2 * step, 2 * step + 1])


def test_every_expert_is_used_once_a_pass_in_a_new_order():
    experts = numbered_experts(count=4)
    drawn = [
        draw_segments(experts, StartRange(0, 2, 2), 2, (0, s), 2).start[:, 0]
        for s in range(12)
    ]
    passes = np.concatenate(drawn).reshape(6, 4)
    assert all(sorted(p) == [0, 1, 2, 3] for p in passes)
    assert len({tuple(p) for p in passes}) > 1


def test_default_starts_reach_the_last_epoch_and_no_further():
    method = tanh_method()
    for step in range(12):
        method.source.feed(step)  # would raise past the last snapshot
    with pytest.raises(
        InputError, match=r"start_max=4 with trajectory.expert_epochs=2"
    ):
        tanh_method(start_max=4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start_min": 2, "start_first": 2, "start_max": 3}, "start_min=2"),
        ({"start_min": -1}, "start_min=-1"),
        ({"expert_epochs": 0}, "expert_epochs=0"),
        ({"expert_epochs": 5}, "hold 0 to 4"),
    ],
)
def test_ranges_that_the_experts_do_not_hold(settings, message):
    with pytest.raises(InputError, match=message):
        tanh_method(**settings)


def test_experts_of_another_network_are_refused():
    with pytest.raises(InputError, match="trajectories of tanh-6, not of linear"):
        trajectory_matching(linear_network(), toy_experts())


# ---- threshold -----------------------------------------------------------------------


def one_step(method, synthetic, steps=1):
    """States before and after outer steps with momentum, and the last metrics."""
    optimiser = outer_optimiser(
        optax.sgd(0.5, momentum=0.9), optax.sgd(0.5, momentum=0.9), optax.adam(0.1)
    )
    learner = distilling(method, synthetic, optimiser)
    mesh = make_mesh(1)
    state = initialise(learner, jax.random.key(0), mesh)
    before = jax.tree.map(np.asarray, state)
    update = map_update(learner, mesh)
    for step in range(steps):
        fed = jax.tree.map(lambda x: x[None], method.source.feed(step))
        numbers = jnp.arange(step, step + 1)
        state, metrics = update(state, (), fed, numbers, jax.random.key(9))
    return before, jax.tree.map(np.asarray, state), metrics


def test_a_step_above_the_threshold_changes_nothing():
    before, after, metrics = one_step(
        tanh_method(threshold=1e-3, segments=2), toy_synthetic(), steps=2
    )
    assert metrics["kept"] == 0
    assert metrics["loss"] > 1e-3
    assert after.step == 2
    assert_same_bits(after._replace(step=before.step), before)


def test_a_step_above_the_threshold_leaves_the_average_where_it_was():
    method, synthetic = tanh_method(threshold=1e-3, segments=2), toy_synthetic()
    optimiser = outer_optimiser(*[optax.sgd(0.5)] * 3)
    learner = distilling(method, synthetic, optimiser, average_decay=0.5)
    state = learner.init(jax.random.key(0))
    apart = jax.tree.map(lambda x: x + 1.0, state.average)
    fed = method.source.feed(0)
    run = jax.jit(lambda s: learner.update(s, (), fed, jax.random.key(9), None))
    after, metrics = run(state._replace(average=apart))
    assert metrics["kept"] == 0
    assert_same_bits(after.average, apart)


def test_a_threshold_between_two_segments_keeps_the_lower():
    synthetic = toy_synthetic()
    both, grads_both, matched = value_and_grad(tanh_method(segments=2), synthetic)
    # Their mean lies between them.
    value, grads, kept = value_and_grad(
        tanh_method(segments=2, threshold=float(both)), synthetic
    )
    assert (matched.kept, kept.kept) == (1.0, 0.5)
    np.testing.assert_allclose(value, both, rtol=1e-6)
    assert not np.allclose(grads.images, grads_both.images)
    assert optax.tree.norm(grads.images) > 0


def test_a_nan_is_not_skipped():
    snapshots = walk(count=1, epochs=2)
    snapshots[0][0]["w"][0, 0] = np.nan
    _, after, metrics = one_step(
        linear_method(snapshots, threshold=0.5), toy_synthetic()
    )
    assert np.isnan(metrics["loss"])
    assert metrics["kept"] == 1
    assert np.isnan(after.synthetic.images).any()


# ---- options -------------------------------------------------------------------------


def test_gradient_options_agree_and_first_order_leans_the_same_way():
    synthetic = toy_synthetic()
    settings = {"batch": 3, "policy": ("crop",)}
    found = {
        name: value_and_grad(tanh_method(gradient=name, **settings), synthetic)
        for name in ("plain", "checkpoint", "sweep", "first_order")
    }
    for name in ("checkpoint", "sweep"):
        assert_close(found[name][:2], found["plain"][:2], rtol=1e-3, atol=1e-5)
    exact, first = (np.ravel(found[n][1].images) for n in ("plain", "first_order"))
    np.testing.assert_allclose(found["first_order"][0], found["plain"][0], rtol=1e-5)
    cosine = first @ exact / np.linalg.norm(first) / np.linalg.norm(exact)
    assert 0.8 < cosine < 0.9999


def test_populations_by_vmap_and_by_map_agree():
    synthetic = toy_synthetic()
    one, other = (
        value_and_grad(tanh_method(segments=3, population=mode), synthetic)
        for mode in ("vmap", "map")
    )
    assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_shape_term_is_zero_for_equal_paths_of_any_size():
    path = tuple(jnp.asarray(p) for p in np.random.default_rng(0).normal(size=(3, 5)))
    larger = tuple(3.0 * p + 1.0 for p in path)
    assert shape_term(path, path) == 0
    np.testing.assert_allclose(shape_term(path, larger), 0.0, atol=1e-12)


def test_shape_term_against_numpy():
    rng = np.random.default_rng(1)
    paths = rng.normal(size=(2, 3, 5))
    angles = np.zeros((2, 3, 3, 3))
    for p, i, j, k in np.ndindex(2, 3, 3, 3):
        if i not in (j, k):
            u, v = paths[p, i] - paths[p, j], paths[p, i] - paths[p, k]
            angles[p, i, j, k] = u @ v / np.linalg.norm(u) / np.linalg.norm(v)
    d = np.abs(angles[0] - angles[1])
    expected = np.where(d < 1, d**2 / 2, d - 0.5).mean()
    tree = lambda p: {"a": jnp.asarray(p[:2]), "b": jnp.asarray(p[2:])}  # noqa: E731
    ours = shape_term(*(tuple(tree(p) for p in path) for path in paths))
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_shape_term_joins_the_loss_and_its_gradient():
    synthetic = toy_synthetic()
    plain, grads_plain, _ = value_and_grad(tanh_method(), synthetic)
    with_shape, grads, _ = value_and_grad(tanh_method(shape_weight=0.5), synthetic)
    assert with_shape > plain
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
    assert not np.allclose(grads.images, grads_plain.images)


def test_augmentation_is_drawn_anew_for_each_key():
    method = tanh_method(policy=("crop",))
    fed = method.source.feed(0)
    run = jax.jit(lambda key: method.loss(toy_synthetic(), (), fed, key)[0])
    first, again, other = (run(jax.random.key(k)) for k in (1, 1, 2))
    assert first == again
    assert first != other


def test_the_source_feeds_segments_and_keeps_nothing_resident():
    source = tanh_method(segments=3).source
    assert source.resident(toy_pool()) == ()
    fed = source.feed(0)
    assert isinstance(fed, Segment)
    assert {len(leaf) for leaf in jax.tree.leaves(fed)} == {3}
