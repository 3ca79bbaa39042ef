"""Modes that are named after a method move what it moves, by as much as its program.

The programs' rates are typed here once more, and their steps are written as they write
them: images, labels and the learning rate itself by SGD with momentum.
"""

import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import CLASSES, tanh_network, toy_experts, toy_pool, toy_synthetic

from jaxdistill.data.standard import from_unit, to_unit
from jaxdistill.distillation.distill import distilling
from jaxdistill.jobs.settings import build
from jaxdistill.jobs.settings.resolve import override, resolve
from jaxdistill.types import Synthetic

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
FAMILY = runpy.run_path(str(CONFIGS / "trajectory_family.py"))
MNIST = runpy.run_path(str(CONFIGS / "methods_mnist.py"))
KEY = jax.random.key(0)
STEPS = 3

# By mode: rate of images, of the learning rate and of labels, its first value, decay of
# the average, radius and `a` of the experts, threshold, N, T+.
PROGRAMS = {
    "mtt": (100, 1e-5, 0, 0.001, 0, 0, 0, 0, 30, 20),
    "tesla": (100, 1e-5, 0, 0.001, 0, 0, 0, 0, 30, 20),
    "ftd": (100, 1e-5, 0, 0.001, 0.9995, 0.01, 0.4, 0, 30, 20),
    "datm": (100, 1e-5, 2, 0.01, 0, 0.01, 0.4, 1, 80, 20),
    "pad": (100, 1e-5, 2, 0.01, 0, 0.01, 0.4, 1, 80, 20),
    "ddpp": (100, 1e-5, 0, 0.001, 0, 0, 0, 0, 30, 20),
    "iadd": (100, 1e-5, 0, 0.001, 0, 0, 0, 0, 30, 20),
    "hop_tm": (10, 1e-7, 0, 0.01, 0, 0.01, 0.3, 0, 80, 4),
    "hop_tm_covid": (100, 1e-7, 0, 0.001, 0, 0.01, 0.3, 0, 80, 20),
}
# What a mode's own part of the loss is, beside its rates.
OWN = {
    "pad": {"name": "deep_only", "share": 0.5},
    "ddpp": {"name": "pruning", "share": 0.1},
    "iadd": {"name": "importance", "rate": 0.1},
    "hop_tm": {"name": "easy_first", "base": 5e-9, "growth": 1.5, "every": 500},
    "hop_tm_covid": {"name": "easy_first", "base": 1e-10, "growth": 1.3, "every": 500},
}
# Of the toy problem: short segments of experts that have four epochs, all of them kept.
TOY = {
    "trajectory": {
        "unroll_steps": 4,
        "expert_epochs": 1,
        "batch": 0,
        "start_first": 1,
        "start_max": 2,
        "grown_at": 2,
        "threshold": 0.0,
    },
    "augment": "none",
}


def config_of(mode, made=FAMILY, toy=TOY):
    return resolve(override(made["get_config"](mode).to_dict(), toy))


def test_every_method_of_the_family_has_its_mode():
    assert FAMILY["VARIANTS"].keys() == PROGRAMS.keys()


@pytest.mark.parametrize("mode", PROGRAMS)
def test_settings_are_those_of_the_authors(mode):
    c = config_of(mode, toy={})
    parts, own, experts = c["optimizer"], c["trajectory"], c["experts"]
    labels = parts["labels"]["lr"] if parts["labels"]["name"] == "sgd" else 0
    found = (parts["images"]["lr"], parts["lr"]["lr"], labels, c["init"]["lr"])
    found += (c["average"], experts["rho"], experts["orthogonal"], own["threshold"])
    assert (*found, own["unroll_steps"], own["start_max"]) == PROGRAMS[mode]
    assert (parts["plain_lr"], parts["pixels"]) == (True, False)
    assert own["weighting"] == OWN.get(mode, {"name": "uniform"})
    assert own["shape_weight"] == {"hop_tm": 0.5, "hop_tm_covid": 1.0}.get(mode, 0.0)
    assert (own["gradient"] == "first_order") == (mode == "tesla")
    grown = (own["start_first"], own["grown_at"]) == (10, 1000)
    assert grown == (mode in ("datm", "pad"))


@pytest.mark.parametrize("mode", PROGRAMS)
def test_a_short_mode_is_a_twentieth(mode):
    full, short = (config_of(name, toy={}) for name in (mode, f"{mode}_short"))
    assert full["steps"] == 20 * short["steps"]
    assert full["trajectory"]["grown_at"] == 20 * short["trajectory"]["grown_at"]
    np.testing.assert_allclose(short["average"], full["average"] ** 20)
    assert full["optimizer"] == short["optimizer"]
    reads = short["trajectory"]["start_max"] - 1 + short["trajectory"]["expert_epochs"]
    assert reads == short["experts"]["epochs"] <= full["experts"]["epochs"]


def taught(config, start):
    """The set after some steps of the run's own learner."""
    given = build.Given(tanh_network(), toy_pool(), (), toy_experts())
    method = build.build_method(config, given)
    optimiser = build.build_optimiser(config, toy_pool().standard)
    learner = distilling(method, start, optimiser, average_decay=config["average"])
    update = jax.jit(lambda state, fed: learner.update(state, (), fed, KEY, None))
    state = learner.init(KEY)
    for step in range(STEPS):
        state, _ = update(state, method.source.feed(step))
    return method, state


def by_program(method, mode, start):
    """What the authors' optimisers make of the same gradients."""
    rates = dict(zip(("images", "lr", "logits"), PROGRAMS[mode], strict=False))
    momenta = {"images": 0.5, "lr": 0.5, "logits": 0.9}
    now = {"images": start.images, "lr": start.lr, "logits": start.logits}
    velocity, inner = dict.fromkeys(now, 0.0), method.init(KEY)

    def as_set(parts):
        raw = jnp.log(jnp.expm1(parts["lr"]))
        return Synthetic(parts["images"], parts["logits"], raw)

    @jax.jit
    def gradient(parts, inner, fed):
        loss = lambda p: method.loss(as_set(p), inner, fed, KEY)  # noqa: E731
        return jax.grad(loss, has_aux=True)(parts)

    for step in range(STEPS):
        fed = method.source.feed(step)
        grads, matched = gradient(now, inner, fed)
        for name, g in grads.items():
            velocity[name] = momenta[name] * velocity[name] + g
            now[name] = now[name] - rates[name] * velocity[name]
        inner = method.advance(inner, matched.residual, as_set(now), fed, KEY)
    return now


@pytest.mark.parametrize("mode", PROGRAMS)
def test_a_mode_moves_as_its_program_does(mode):
    config = config_of(mode)
    start = toy_synthetic(lr=config["init"]["lr"])
    method, state = taught(config, start)
    expected, found = by_program(method, mode, start), state.synthetic
    moved = lambda a, b: np.float64(a) - np.float64(b)  # noqa: E731
    for name in ("images", "lr", "logits"):
        way = moved(expected[name], getattr(start, name))
        ours = moved(getattr(found, name), getattr(start, name))
        # Of a rate's way of 1e-7 and less float32 keeps a digit or two.
        scale = np.abs(way).max() + np.abs(getattr(start, name)).max() * 1e-6
        np.testing.assert_allclose(ours, way, atol=0.02 * scale, err_msg=name)
    assert np.abs(moved(found.images, start.images)).max() > 1e-4
    assert np.any(moved(found.logits, start.logits)) == (mode in ("datm", "pad"))
    away = np.linalg.norm(moved(state.average.images, start.images))
    if mode == "ftd":  # the average keeps nearly all of the first set
        assert 0 < away < 0.01 * np.linalg.norm(moved(found.images, start.images))


def in_steps(config, start, gradient):
    """A set, and its pixels, after equal gradients of its images."""
    standard = toy_pool().standard
    optimiser = build.build_optimiser(config, standard)
    state, now = optimiser.init(start), start
    zeros = jax.tree.map(jnp.zeros_like, start)
    for _ in range(STEPS):
        steps, state = optimiser.update(zeros._replace(images=gradient), state, now)
        now = jax.tree.map(jnp.add, now, steps)
    return np.asarray(to_unit(now.images, standard))


@pytest.mark.parametrize(
    ("mode", "lr"), [("idc", 1e-4), ("idc1", 1e-5), ("ncfm", 1e-3), ("ncfm1", 1e-3)]
)
def test_idc_and_ncfm_move_pixels_between_nothing_and_one(mode, lr):
    config, standard = config_of(mode, MNIST, {}), toy_pool().standard
    rng = np.random.default_rng(0)
    pixels = rng.uniform(0, 1, (CLASSES, 8, 8, 1)).astype(np.float32)
    pixels[0, 0, :2, 0] = 1.0, 0.0
    start = toy_synthetic(CLASSES)._replace(
        images=from_unit(jnp.asarray(pixels), standard)
    )
    of_pixels = rng.normal(size=pixels.shape)
    of_pixels[0, 0, :2, 0] = -1.0, 1.0  # would leave [0, 1] at once
    expected, velocity = np.float64(pixels), 0.0
    for _ in range(STEPS):
        velocity = 0.5 * velocity + of_pixels
        # Adam goes by its rate, whatever the size of equal gradients.
        step = velocity if mode.startswith("idc") else np.sign(of_pixels)
        expected = np.clip(expected - lr * step, 0, 1)
    gradient = jnp.asarray(of_pixels * float(standard.std[0]), jnp.float32)
    found = in_steps(config, start, gradient)
    np.testing.assert_allclose(found - pixels, expected - pixels, atol=lr / 50)
    np.testing.assert_allclose(found[0, 0, :2], [[1], [0]], atol=1e-6)


def test_idc_trains_its_networks_with_momentum_and_decay():
    c = config_of("idc", MNIST, {})
    own = c["gradient"]
    assert (own["net_momentum"], own["net_weight_decay"]) == (0.9, 5e-4)
    assert (own["train_on"], c["augment"], c["mosaic"]) == ("real", "color+crop", 2)
