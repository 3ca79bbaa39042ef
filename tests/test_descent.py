"""How a network descends, against hand-computed values."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.selfsupervised.course import Course
from jaxdistill.selfsupervised.descent import (
    LATE,
    Regime,
    clip_each,
    decay_at,
    descent,
    follow,
    momentum_at,
    rate_at,
)
from jaxdistill.selfsupervised.pretext import Pretext

COURSE = Course(films=20, batch=2, epochs=2, labelled=4, every=5)
REGIME = Regime(epochs=2, batch=2, lr=0.1, lr_batch=4, lr_last=0.01, warmup=0.5)
PRETEXT = Pretext(lambda key: (), lambda *_: None)
close = functools.partial(np.testing.assert_allclose, rtol=1e-6)


def at(step, course=COURSE):
    return course.pace.now(jnp.asarray(step))


def time_of(step, course=COURSE):
    return int(at(step, course).time)


# ---- schedules -----------------------------------------------------------------------


def test_the_rate_rises_and_falls():
    """To lr scaled by the batch, over half an epoch of ten batches, and to its end."""
    plain = COURSE._replace(every=0)
    rates = [float(rate_at(REGIME, at(step, plain))) for step in range(20)]
    peak = 0.1 * 2 / 4
    close(rates[:6], [peak * step / 5 for step in range(6)], atol=1e-9)
    falls = [
        0.01 + (peak - 0.01) * (1 + np.cos(np.pi * step / 15)) / 2 for step in range(15)
    ]
    close(rates[5:], falls)


def test_without_a_rise_the_first_rate_is_the_highest():
    flat = REGIME._replace(warmup=0.0)
    close(rate_at(flat, at(0)), 0.05)
    low = flat._replace(lr=1e-6)  # the end is never above the peak
    close(rate_at(low, at(0)), 5e-7)


def test_a_pass_has_the_rate_and_decay_of_the_batch_before_it():
    regime = REGIME._replace(weight_decay=0.1, weight_decay_last=0.5)
    for step in (1, 2, 8, 9):
        assert at(step).correcting
        before = next(s for s in range(step, -1, -1) if not at(s).correcting)
        assert rate_at(regime, at(step)) == rate_at(regime, at(before))
        close(decay_at(regime, at(step)), decay_at(regime, at(before)))
        assert rate_at(regime, at(step)) != rate_at(regime, at(step + 3))


def test_momentum_by_hand_over_three_steps_and_none_in_a_pass():
    target, params = {"w": jnp.array([1.0, -2.0])}, {"w": jnp.array([3.0, 5.0])}
    wanted, regime = np.array([1.0, -2.0]), REGIME._replace(momentum=0.9)
    moves = [step for step in range(6) if not at(step).correcting][:3]
    for step in range(moves[-1] + 1):
        kept = momentum_at(regime, at(step))
        after = follow(target, params, kept)
        if at(step).correcting:
            np.testing.assert_array_equal(after["w"], target["w"])
        else:
            m = 1 - 0.1 * (1 + np.cos(np.pi * time_of(step) / 20)) / 2
            wanted = m * wanted + (1 - m) * np.array([3.0, 5.0])
            close(after["w"], wanted, rtol=1e-5)
        target = after


def test_decay_goes_along_a_cosine():
    regime = REGIME._replace(weight_decay=0.04, weight_decay_last=0.4)
    plain = COURSE._replace(every=0)
    close(decay_at(regime, at(0, plain)), 0.04)
    close(decay_at(regime, at(10, plain)), 0.22)
    close(
        decay_at(regime, at(19, plain)),
        0.4 - 0.36 * (1 + np.cos(0.95 * np.pi)) / 2,
    )


# ---- steps ---------------------------------------------------------------------------


def test_every_tensor_is_bounded_on_its_own():
    grads = {"a": jnp.array([3.0, 4.0]), "b": jnp.array([0.3, 0.4]), "c": jnp.zeros(2)}
    clipped, _ = clip_each(1.0).update(grads, ())
    close(clipped["a"], np.array([3.0, 4.0]) / (5 + 1e-6))
    np.testing.assert_array_equal(clipped["b"], grads["b"])
    assert not np.asarray(clipped["c"]).any()
    same, _ = clip_each(0.0).update(grads, ())
    np.testing.assert_array_equal(same["a"], grads["a"])


def walk(regime, params, grads, pretext=PRETEXT, steps=3):
    """Parameters and optimiser after every step."""
    course = COURSE._replace(every=0)
    down = descent(pretext, regime)
    opt, step = down.init(params), jax.jit(down.step)
    found = []
    for number in range(steps):
        params, opt = step(grads[number], opt, params, at(number, course))
        found.append((jax.tree.map(np.asarray, params), opt))
    return found


def some(seed, steps=3):
    rng = np.random.default_rng(seed)
    made = lambda: {  # noqa: E731
        "trunk": {
            "kernel": jnp.asarray(rng.normal(size=(3, 2)), jnp.float32),
            "bias": jnp.asarray(rng.normal(size=2), jnp.float32),
        },
        "predictor": {"kernel": jnp.asarray(rng.normal(size=(2, 2)), jnp.float32)},
    }
    return made(), [made() for _ in range(steps)]


def test_adamw_by_hand():
    """No decay of what has one axis; the decay is multiplied by the rate."""
    regime = REGIME._replace(
        clip=2.0, weight_decay=0.3, weight_decay_last=0.3, warmup=0.2, squares=0.95
    )
    params, grads = some(0)
    got = walk(regime, params, grads)
    for part, decay in (("kernel", 0.3), ("bias", 0.0)):
        x, m, v = np.asarray(params["trunk"][part], np.float64), 0.0, 0.0
        for t in range(3):
            g = np.asarray(grads[t]["trunk"][part], np.float64)
            g = g * min(1, 2 / (np.linalg.norm(g) + 1e-6))
            m, v = 0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g**2
            d = m / (1 - 0.9 ** (t + 1)) / (np.sqrt(v / (1 - 0.95 ** (t + 1))) + 1e-8)
            rate = (0.0, 0.025, 0.05)[t]
            x = x - rate * (d + decay * x)
            np.testing.assert_allclose(
                got[t][0]["trunk"][part], x, rtol=2e-5, atol=1e-6
            )


@pytest.mark.parametrize("optimiser", ["sgd", "lars"])
def test_momentum_and_lars_by_hand(optimiser):
    regime = REGIME._replace(
        optimiser=optimiser, clip=0.0, weight_decay=0.3, warmup=0.0, lr_last=0.05
    )
    params, grads = some(1)
    got = walk(regime, params, grads)
    for part in ("kernel", "bias"):
        x, trace = np.asarray(params["trunk"][part], np.float64), 0.0
        for t in range(3):
            g = np.asarray(grads[t]["trunk"][part], np.float64)
            if part == "kernel":
                g = g + 0.3 * x
                if optimiser == "lars":
                    g = g * 1e-3 * np.linalg.norm(x) / np.linalg.norm(g)
            trace = 0.9 * trace + g
            x = x - 0.05 * trace
            np.testing.assert_allclose(
                got[t][0]["trunk"][part], x, rtol=2e-5, atol=1e-6
            )


def test_the_late_layer_waits_with_its_adam_untouched():
    """It starts in the second epoch as if that were the first."""
    late = PRETEXT._replace(late=(("trunk", "kernel"),))
    regime = REGIME._replace(frozen=0.2, warmup=0.0, lr_last=0.05, clip=0.0)
    params, grads = some(2, 4)
    got = walk(regime, params, grads, late, 4)
    start = np.asarray(params["trunk"]["kernel"])
    for now, opt in got[:2]:  # two of ten batches
        np.testing.assert_array_equal(now["trunk"]["kernel"], start)
        held = jax.tree.leaves(opt.inner_states[LATE])
        assert held
        assert not any(np.asarray(leaf).any() for leaf in held)
        assert (
            np.abs(now["trunk"]["bias"] - np.asarray(params["trunk"]["bias"])).min() > 0
        )
    fresh = walk(regime._replace(frozen=0.0), params, grads[2:], late, 2)
    for (after, _), (want, _) in zip(got[2:], fresh, strict=True):
        close(after["trunk"]["kernel"], want["trunk"]["kernel"])


def test_a_steady_part_keeps_the_highest_rate():
    steady = PRETEXT._replace(steady=("predictor",))
    regime = REGIME._replace(optimiser="sgd", clip=0.0, weight_decay=0.0)
    params, grads = some(3)
    (first, _), *_ = walk(regime, params, grads, steady)
    np.testing.assert_array_equal(first["trunk"]["kernel"], params["trunk"]["kernel"])
    moved = params["predictor"]["kernel"] - 0.05 * grads[0]["predictor"]["kernel"]
    close(first["predictor"]["kernel"], moved)


@pytest.mark.parametrize("optimiser", ["adamw", "sgd", "lars"])
def test_a_still_part_is_moved_by_nothing(optimiser):
    """Neither by a gradient nor by decay."""
    still = PRETEXT._replace(still=("trunk",))
    regime = REGIME._replace(optimiser=optimiser, weight_decay=0.5, warmup=0.0)
    params, grads = some(3)
    for after, _ in walk(regime, params, grads, still):
        for name, value in params["trunk"].items():
            np.testing.assert_array_equal(after["trunk"][name], value)
        assert (after["predictor"]["kernel"] != params["predictor"]["kernel"]).all()
