"""What every way to learn from films promises: devices, stopping, types, refusals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, assert_same_bits
from small_pretexts import (
    EVERY,
    PARTS,
    REGIME,
    STANDARD,
    backbone,
    course,
    films,
    pretext,
    trained,
    transformer,
    views,
)

from jaxdistill.engine.driver import Plan, iterate
from jaxdistill.engine.mesh import initialise, make_mesh
from jaxdistill.errors import InputError
from jaxdistill.networks.parts import build_parts
from jaxdistill.selfsupervised import (
    PRETEXTS,
    RECIPES,
    Course,
    Resident,
    begin,
    build_pretext,
    learn,
)
from jaxdistill.selfsupervised.mae import mae
from jaxdistill.selfsupervised.pretext import Batch
from jaxdistill.selfsupervised.viewing import Viewing, viewing

STEPS = 3
# Steps as long as their gradients: Adam's are as long for one that is 0 but for noise.
STEEP = REGIME._replace(optimiser="sgd", lr=0.1, warmup=0.0, frozen=0.0)


@functools.cache
def alone(name):
    return trained(name, Plan(0, STEPS), regime=STEEP)


ENGINES = [*((name, 4, "shard_map") for name in EVERY), ("evolve", 2, "pmap")]


@pytest.mark.parametrize(("name", "devices", "engine"), ENGINES)
def test_many_devices_learn_what_one_does(name, devices, engine):
    """Centre, batch statistics and relations are of all, random draws by the film."""
    plan = Plan(0, STEPS)
    parted = trained(name, plan, devices=devices, regime=STEEP, engine=engine)
    for (state, told), (want, wanted) in zip(parted, alone(name), strict=True):
        assert_close(told, wanted, rtol=1e-3, atol=1e-5)
        assert_close(state.memory, want.memory, rtol=1e-4, atol=1e-6)
        assert_close(state.params, want.params, rtol=0.0, atol=1e-4)


@pytest.mark.parametrize("name", EVERY)
def test_every_part_learns_and_what_follows_lies_between(name):
    start = begin(pretext(name), STEEP, pretext(name).init(KEY))
    state, told = alone(name)[-1]
    for part, before in start.params.items():
        moved = jax.tree.map(
            lambda a, b: np.abs(a - b).max(), state.params[part], before
        )
        assert max(jax.tree.leaves(moved)) > 0, part
    assert all(np.isfinite(value) for value in told.values())
    if not pretext(name).follows:
        assert state.target == ()
        return
    apart = lambda a, b: sum(  # noqa: E731
        np.abs(x - y).sum() for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True)
    )
    assert 0 < apart(state.target, start.params) < apart(state.params, start.params)


KEY = jax.random.key(0)


def test_stopping_in_a_pass_and_going_on_gives_the_same_bits():
    """After two steps one of the pass is done and one is to come."""
    whole = alone("evolve")
    passes = [course("evolve").pace.now(jnp.asarray(s)).correcting for s in range(4)]
    assert [bool(x) for x in passes] == [False, True, True, False]
    again = trained("evolve", Plan(2, STEPS), regime=STEEP, state=whole[1][0])
    assert_same_bits(again, whole[2:])


def test_in_a_pass_the_centre_moves_and_the_teacher_does_not():
    (first, _), (second, _), (third, _) = alone("evolve")
    for before, after in ((first, second), (second, third)):
        assert_same_bits(after.target, before.target)
        moved = after.memory.centre.mean - before.memory.centre.mean
        assert np.abs(moved).max() > 0
        assert np.abs(
            after.params["dino"]["last"] - before.params["dino"]["last"]
        ).max()


def test_courses_of_any_length_share_a_program():
    """Epochs, passes and films shown are data: the loss is traced for one course."""
    base, traces = pretext("simsiam"), []

    def loss(*given):
        traces.append(given)
        return base.loss(*given)

    learner, mesh = learn(base._replace(loss=loss), STEEP), make_mesh(1)
    found = []
    for order in (course(), course(films=24, epochs=7), course("evolve")):
        state, here = initialise(learner, KEY, mesh), Resident(films(), order.pace)
        run = iterate(learner, state, here, order.feed, KEY, plan=Plan(0, 2), mesh=mesh)
        found.append([float(told["loss"]) for *_, told in run][-1])
        assert len(traces) == 1
    assert len(set(found)) == 3


@pytest.mark.parametrize("name", EVERY)
def test_short_floats_give_long_losses(name):
    made = pretext(name, transformer())
    order = course(name)
    data = Resident(films(), order.pace)
    learner = learn(made, REGIME)
    fed = jax.tree.map(jnp.asarray, order.feed(0))
    state = jax.eval_shape(learner.init, KEY)
    after, told = jax.eval_shape(
        lambda s: learner.update(s, data, fed, KEY, None), state
    )
    assert jax.tree.map(lambda x: x.dtype, after) == jax.tree.map(
        lambda x: x.dtype, state
    )
    floats = [after.params, after.memory, told]
    assert {leaf.dtype for leaf in jax.tree.leaves(floats)} == {jnp.dtype("float32")}


def test_dino_does_without_small_views():
    made = build_pretext(
        "dino",
        transformer(),
        build_parts(RECIPES["dino"].parts, transformer(), 1, **PARTS["dino"]),
        views("dino", local=0),
        STANDARD,
    )
    batch = Batch(films().images[:4], films().labels[:4], jnp.arange(4))
    now = course().pace.now(jnp.asarray(0))
    loss = functools.partial(made.loss, key=KEY, now=now, axis=None)
    shapes = jax.eval_shape(made.init, KEY)
    value, _ = jax.eval_shape(loss, shapes, shapes, made.memory, batch)
    assert value.shape == ()


def test_two_runs_of_one_pretext_share_no_array():
    """Each writes over its own: the first step of one leaves the other as it was."""
    made = pretext("dino")
    params = made.init(KEY)
    first, second = (begin(made, REGIME, params) for _ in range(2))
    leaves = [*jax.tree.leaves(first), *jax.tree.leaves(second)]
    places = [leaf.unsafe_buffer_pointer() for leaf in leaves]
    assert len(set(places)) == len(places)
    assert not set(places) & {
        x.unsafe_buffer_pointer() for x in jax.tree.leaves(params)
    }


# ---- by name -------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRETEXTS)
def test_a_recipe_asks_for_what_its_pretext_stands_on(name):
    """At their published sizes, by shapes alone; grey films and colour alike."""
    recipe = RECIPES[name]
    parts = build_parts(recipe.parts, backbone(), 1)
    shown = viewing(recipe.viewing, 16)
    made = build_pretext(name, backbone(), parts, shown, STANDARD)
    shapes = jax.eval_shape(made.init, KEY)
    assert set(shapes) == {"trunk", *recipe.parts}
    sizes = {"byol": 256, "skd": 256, "simsiam": 2048, "dino": 65536}
    if name in sizes:
        assert parts[[*recipe.parts][-1]].width == sizes[name]


def test_published_rates_are_for_256_films():
    rates = {name: recipe.regime.lr for name, recipe in RECIPES.items()}
    assert rates == {
        "byol": 0.3,
        "skd": 0.3,
        "simsiam": 0.05,
        "mae": 1.5e-4,
        "dino": 5e-4,
    }
    assert {recipe.regime.lr_batch for recipe in RECIPES.values()} == {256}
    assert RECIPES["mae"].regime.squares == 0.95
    assert RECIPES["dino"].viewing.locals == 8


@pytest.mark.parametrize("name", PRETEXTS)
def test_a_recipe_is_without_what_its_pretext_does_not_use(name):
    made, without = pretext(name), RECIPES[name].without
    assert ("momentum" in without) == (not made.follows)
    assert ("frozen" in without) == (not made.late)
    assert ("locals" in without) == (not RECIPES[name].viewing.locals)


def refused(call, *words):
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_wrong_pretexts_are_refused_in_one_sentence():
    shown = views("byol")
    build = functools.partial(build_pretext, views=shown, standard=STANDARD)
    refused(lambda: build("byoll", backbone(), {}), "pretext.name='byoll'", "'byol'")
    refused(lambda: build("dino", backbone(), {}, heat=1.0), "pretext.heat")
    refused(lambda: build("byol", backbone(), {}), "projector and predictor", "recipe")
    asked = RECIPES["mae"].parts
    refused(lambda: build_parts(asked, backbone(), 1, decode={}), "'decoder'")
    decoder = build_parts(asked, backbone(), 1, **PARTS["mae"])["decoder"]
    some = functools.partial(mae, backbone(), decoder, shown, STANDARD)
    refused(lambda: some(hidden=0.95), "pretext.hidden=0.95 of 4 patches shows 0")
    refused(lambda: some(hidden=1.0), "pretext.hidden=1.0", "below 1")
    blind = backbone()._replace(tokens=None, name="resnet")
    refused(lambda: mae(blind, decoder, shown, STANDARD), "'resnet' has no patches")


def test_too_few_films_are_refused_in_one_sentence():
    few = Course(films=4, batch=8, epochs=1)
    refused(lambda: few.pace, "are 4", "batch=8")
    passes = Course(films=8, batch=8, epochs=1, labelled=3, every=2)
    refused(lambda: passes.pace, "labelled films", "are 3")
    for name, batch, words in (("byol", 1, "batch of 1 "), ("skd", 2, "batch of 2 ")):
        order = Course(films=8, batch=batch, epochs=1)
        learner = learn(pretext(name), REGIME)
        state = jax.eval_shape(learner.init, KEY)
        fed = jax.tree.map(jnp.asarray, order.feed(0))
        step = functools.partial(learner.update, key=KEY, axis=None)
        here = Resident(films(), order.pace)
        refused(functools.partial(jax.eval_shape, step, state, here, fed), words)


def test_views_larger_than_the_films_are_refused():
    refused(lambda: viewing(Viewing(size=32), 16), "views.size=32", "16 pixels")
    assert viewing(Viewing(least=0.5), 16).first.scale == (0.5, 1.0)
    assert viewing(Viewing(local=0), 16).local.size == 8
    assert jnp.asarray(STANDARD.mean).shape == (1,)
