"""Every config file, and how a configuration becomes calls of the library."""

import dataclasses
import math
import runpy
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_close, assert_same_bits, toy_pool, toy_synthetic
from tiny import get_config

from jaxdistill.data.standard import fit_zca
from jaxdistill.engine.mesh import make_mesh, split_cpu
from jaxdistill.errors import InputError
from jaxdistill.jobs.distil import rules
from jaxdistill.jobs.judging.judge import Judge
from jaxdistill.jobs.settings import build
from jaxdistill.jobs.settings.resolve import resolve
from jaxdistill.types import Pool, Split, Standard, Synthetic

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.py"))
CLASSES = {
    "phantom": 4,
    "pneumoniamnist": 2,
    "chest_xray": 3,
    "covid_radiography": 4,
    "mnist": 10,
}
SIZES = {"phantom": 64, "pneumoniamnist": 28, "chest_xray": 64, "mnist": 28}


def modes_of(file: Path) -> tuple[str, ...]:
    """What may follow the colon; a file that does not say has two."""
    return runpy.run_path(str(file)).get("MODES", ("full", "smoke"))


ALL = [
    pytest.param(file, mode, id=f"{file.stem}:{mode}")
    for file in CONFIGS
    for mode in modes_of(file)
    if "job" not in runpy.run_path(str(file))["get_config"](mode)
]


TRACED: set[str] = set()


def blank_pool(config) -> Pool:
    """A pool of black images with the shape and the classes of a config's data."""
    name = config["data"]["name"]
    side = config["data"].get("size", SIZES.get(name))
    classes = CLASSES.get(name) or len(config["data"]["classes"].split(","))
    one = Standard(jnp.zeros(1), jnp.ones(1))
    most = max(256, config[config["method"]].get("batch_real", 0))  # a batch of a class
    labels = jnp.repeat(jnp.arange(classes), most)
    pixels = jnp.zeros((len(labels), side, side, 1), jnp.uint8)
    split = Split(pixels, labels, labels, one)
    return Pool(name, split, split, split, tuple(map(str, range(classes))))


@pytest.mark.filterwarnings("ignore:init.images=real")
@pytest.mark.parametrize(("file", "mode"), ALL)
def test_a_config_builds_all_that_a_run_needs(file, mode):
    config = resolve(runpy.run_path(str(file))["get_config"](mode).to_dict())
    pool = blank_pool(config)
    network = build.build_network(config, pool)
    policy = build.build_policy(config, pool)
    judge = Judge(network, pool, config, policy, jax.random.key(0), make_mesh(1))
    for one in (network, *build.more_networks(config, pool).values()):
        rules.require_runs(one, pool)
    build.expert_recipe(config, policy)
    build.eval_recipe(config, policy, config["eval"]["epochs"])
    start = build.build_initial(config, pool, jax.random.key(1))
    optimiser = build.build_optimiser(config, pool.standard)
    zeros = jax.tree.map(jnp.zeros_like, start)
    moved, _ = optimiser.update(zeros, optimiser.init(start), start)
    for step in jax.tree.leaves(moved):
        # No part of the set moves without a gradient; pixels are rounded to [0, 1].
        assert np.abs(step).max() < (1e-5 if config["optimizer"]["pixels"] else 1e-30)
    asked = ("method", "network", "augment", "mosaic", "ipc", "data", config["method"])
    told = repr([config[key] for key in asked])
    if told not in TRACED:  # modes that differ elsewhere trace the same step
        rules.require_method(config, judge, start, make_mesh(1))
        TRACED.add(told)


def tiny_config() -> dict:
    return resolve(get_config().to_dict())


def test_mosaics_of_whitened_images_are_refused():
    config, pool = tiny_config() | {"mosaic": 2}, toy_pool()
    white = fit_zca(np.asarray(pool.train.images))
    pool = dataclasses.replace(pool, train=pool.train._replace(standard=white))
    network = build.build_network(config, pool)
    judge = Judge(network, pool, config, (), jax.random.key(0), make_mesh(1))
    start = build.build_initial(config, pool, jax.random.key(1))
    with pytest.raises(InputError, match="mosaic=2 cuts images in cells"):
        rules.require_method(config, judge, start, make_mesh(1))


def test_more_networks_are_read_from_a_line():
    config = tiny_config()
    config["eval"]["networks"] = "mlp:width=3, convnet:width=4:depth=1:norm=group"
    found = build.more_networks(config, toy_pool())
    assert list(found) == ["mlp:width=3", "convnet:width=4:depth=1:norm=group"]
    assert "group" in found["convnet:width=4:depth=1:norm=group"].name
    config["eval"]["networks"] = ""
    assert build.more_networks(config, toy_pool()) == {}


def test_auto_augmentation_follows_the_data():
    config = tiny_config() | {"augment": "auto"}
    assert "flip" not in build.build_policy(config, toy_pool())
    assert build.build_policy(config | {"augment": "none"}, toy_pool()) == ()
    assert build.build_policy(config | {"augment": "flip_crop"}, toy_pool()) == (
        "flip",
        "crop",
    )


def moved(**images) -> tuple[Synthetic, Synthetic]:
    """A set before and after two equal gradients of one, by these settings."""
    config = tiny_config()
    config["optimizer"]["images"].update(images)
    return moved_by(config, steps=2)


def moved_by(config, steps: int) -> tuple[Synthetic, Synthetic]:
    optimiser, start = (
        build.build_optimiser(config, toy_pool().standard),
        toy_synthetic(),
    )
    state, now = optimiser.init(start), start
    for _ in range(steps):
        updates, state = optimiser.update(jax.tree.map(jnp.ones_like, now), state, now)
        now = optax.apply_updates(now, updates)
    return start, now


def test_rates_fall_to_nothing_along_a_cosine():
    config = tiny_config() | {"steps": 4}
    config["optimizer"]["images"] |= {"name": "sgd", "lr": 0.1, "momentum": 0.0}
    config["optimizer"]["decay"] = "cosine"
    rates = [0.1 * (1 + math.cos(math.pi * step / 4)) / 2 for step in range(4)]
    start, now = moved_by(config, steps=4)
    assert_close(now.images, start.images - sum(rates), atol=1e-5)
    start, later = moved_by(config, steps=6)
    assert_close(later.images, now.images, atol=1e-6)


def test_sgd_with_momentum_moves_as_written():
    start, now = moved(name="sgd", lr=0.1, momentum=0.5)
    assert_close(now.images, start.images - 0.1 * (1 + 1.5), atol=1e-5)
    assert_same_bits(now.logits, start.logits)  # labels are fixed unless asked for


def test_adam_moves_by_its_rate():
    start, now = moved(name="adam", lr=0.1, momentum=0.9)
    assert_close(now.images, start.images - 0.2, atol=1e-4)
    assert now.raw_lr != start.raw_lr


def test_none_fixes_a_part():
    start, now = moved(name="none")
    assert_same_bits(now.images, start.images)


def test_clip_bounds_the_norm_of_the_gradient():
    start, now = moved(name="sgd", lr=1.0, momentum=0.0, clip=0.5)
    np.testing.assert_allclose(
        np.linalg.norm(now.images - start.images), 2 * 0.5, rtol=1e-4
    )


def test_settings_of_a_weighting_reach_it():
    config = tiny_config()
    weighting = config["trajectory"]["weighting"]
    weighting.update(name="pruning", share=2.0)
    pool = toy_pool()
    network = build.build_network(config, pool)
    judge = Judge(network, pool, config, (), jax.random.key(0), make_mesh(1))
    with pytest.raises(InputError, match=r"weighting.share=2.0 must be"):
        rules.require_method(config, judge, toy_synthetic(), make_mesh(1))
    weighting["share"] = 0.5
    rules.require_method(config, judge, toy_synthetic(), make_mesh(1))


def test_a_cpu_is_split_only_before_it_is_used():
    fresh = "import jax; from jaxdistill.engine.mesh import split_cpu; split_cpu(3); "
    told = subprocess.run(
        [sys.executable, "-c", fresh + "print(jax.device_count())"],
        capture_output=True,
        text=True,
    )
    assert told.stdout.strip() == "3", told.stderr
    split_cpu(0)
    jax.devices()
    with pytest.raises(InputError, match=r"devices.cpu=3 comes too late"):
        split_cpu(3)
