"""Pretexts as small as they get, on films of 16 pixels, and some steps of them."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill.engine.driver import Plan, iterate
from jaxdistill.engine.mesh import make_mesh
from jaxdistill.networks.heads import class_head
from jaxdistill.networks.parts import build_parts
from jaxdistill.networks.vit import patches, vit
from jaxdistill.selfsupervised import (
    RECIPES,
    Course,
    Films,
    Regime,
    Resident,
    begin,
    build_pretext,
    learn,
)
from jaxdistill.selfsupervised.learning import State
from jaxdistill.selfsupervised.pretext import UNKNOWN, Pretext
from jaxdistill.selfsupervised.selfevolving import selfevolving
from jaxdistill.selfsupervised.supervised import supervised
from jaxdistill.selfsupervised.viewing import Viewing, Views, viewing
from jaxdistill.types import Backbone, Params, Standard

SIDE, PATCH, CLASSES = 16, 8, 3
STANDARD = Standard(jnp.array([0.4]), jnp.array([0.3]))
PARTS: dict[str, dict[str, dict[str, Any]]] = {
    "byol": {"projector": {"hidden": 8, "outputs": 6}, "predictor": {"hidden": 8}},
    "simsiam": {"projector": {"hidden": 8, "outputs": 6}, "predictor": {"hidden": 4}},
    "mae": {"decoder": {"width": 8, "depth": 1, "heads": 2}},
    "dino": {"dino": {"hidden": 8, "outputs": 12, "bottleneck": 4}},
    "skd": {"projector": {"hidden": 8, "outputs": 6}, "predictor": {"hidden": 8}},
}
EVERY = (*PARTS, "evolve", "supervised")
REGIME = Regime(epochs=2, batch=8, lr_batch=8, lr=1e-3, warmup=0.5, frozen=0.5)
# What takes long to compile, and is tested where views are.
PLAIN = dict.fromkeys(("rotate", "colour", "autocontrast", "equalise", "blur"), 0.0)
PLAIN |= {"solarise": 0.0}


@functools.cache
def transformer() -> Backbone:
    """One block on two by two patches, in bfloat16."""
    settings = {"patch": PATCH, "width": 8, "depth": 1, "heads": 2, "drop_path": 0.3}
    return vit((SIDE, SIDE, 1), **settings, compute="bfloat16")


@functools.cache
def backbone() -> Backbone:
    """One dense layer on patches, quick to compile; a key drops channels by image."""
    width = 8

    def init(key):
        a, b = jax.random.split(key)
        embed = jax.random.normal(a, (PATCH * PATCH, width)) / PATCH
        return {"embed": embed, "places": jax.random.normal(b, (1, 4, width))}

    def tokens(params, images, kept=None, key=None):
        x = patches(images, PATCH) @ params["embed"]
        x = x + params["places"][:, : x.shape[1]]
        if kept is not None:
            x = jnp.take_along_axis(x, kept[..., None], axis=1)
        if key is not None:
            gates = jax.vmap(lambda k: jax.random.bernoulli(k, 0.8, (width,)))(key)
            x = x * gates[:, None]
        return jnp.tanh(jnp.concatenate([x.mean(1, keepdims=True), x], axis=1))

    def features(params, images, key=None):
        return tokens(params, images, key=key)[:, 0]

    return Backbone(init, features, width, "small", tokens, None, PATCH, (2, 2))


def views(kind: str, local: int = 1) -> Views:
    """Two large views, and small ones of one patch: crops, flipped or not."""
    made = viewing(Viewing(kind, locals=local), SIDE)
    plain = (view._replace(**PLAIN) for view in made[:-1])
    return Views(*plain, made.locals)


@functools.cache
def pretext(name: str, trunk: Backbone | None = None) -> Pretext:
    """A pretext by name, with small heads."""
    trunk = trunk or backbone()
    if name == "supervised":
        head = class_head(trunk.width, outputs=CLASSES, hidden=8)
        return supervised(trunk, head, views("distl").second, STANDARD)
    if name == "evolve":
        parts = build_parts(RECIPES["dino"].parts, trunk, 1, **PARTS["dino"])
        head = class_head(trunk.width, outputs=CLASSES, hidden=8)
        return selfevolving(trunk, parts["dino"], head, views("distl"), STANDARD)
    parts = build_parts(RECIPES[name].parts, trunk, 1, **PARTS[name])
    shown = views(RECIPES[name].viewing.kind, RECIPES[name].viewing.locals and 2)
    return build_pretext(name, trunk, parts, shown, STANDARD)


def course(name: str = "", **settings: Any) -> Course:
    """16 films, a batch of 8; the self-evolving one has passes of two batches."""
    given = {"films": 16, "batch": 8, "epochs": 2}
    if name == "evolve":
        given |= {"labelled": 16, "every": 2}
    return Course(**(given | settings))


@functools.cache
def films(labelled: int = 16, count: int = 32) -> Films:
    """Films of squares under noise; the last ones have labels."""
    rng = np.random.default_rng(0)
    kinds = np.arange(count) % CLASSES
    pixels = rng.normal(80, 40, (count, SIDE, SIDE, 1))
    for film, kind in zip(pixels, kinds, strict=True):
        film[4 * kind : 4 * kind + 6, 3:12] += 90
    labels = np.where(np.arange(count) < count - labelled, UNKNOWN, kinds)
    images = jnp.asarray(pixels.clip(0, 255), jnp.uint8)
    return Films(images, jnp.asarray(labels, jnp.int32))


@functools.cache
def params_of(name: str, trunk: Backbone | None = None) -> Params:
    """Where a pretext starts."""
    return pretext(name, trunk).init(jax.random.key(0))


@functools.cache
def learner(name: str, regime: Regime = REGIME, trunk: Backbone | None = None):
    """The learner of a pretext; the same for all who ask, so that it compiles once."""
    return learn(pretext(name, trunk), regime)


def trained(
    name: str,
    plan: Plan,
    devices: int = 1,
    regime: Regime = REGIME,
    trunk: Backbone | None = None,
    state: State | None = None,
    engine: str = "shard_map",
):
    """`(state, metrics)` after every call, from a state or the start."""
    order, made = course(name), pretext(name, trunk)
    if state is None:
        state = begin(made, regime, params_of(name, trunk))
    steps = iterate(
        learner(name, regime, trunk),
        state,
        Resident(films(32) if name == "supervised" else films(), order.pace),
        order.feed,
        jax.random.key(1),
        plan=plan,
        mesh=make_mesh(devices),
        engine=engine,
    )
    return [jax.tree.map(np.asarray, (state, told)) for _, state, told in steps]
