"""Experts: what one depends on, and what it does not."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    CLASSES,
    EXPERT_RECIPE,
    PIXELS,
    assert_close,
    assert_same_bits,
    linear_network,
    made_experts,
    tanh_network,
    toy_experts,
    toy_pool,
    toy_synthetic,
)

from jaxdistill.data.standard import standardise
from jaxdistill.distillation.experts import (
    expert_labelled,
    expert_training,
    train_experts,
)
from jaxdistill.distillation.mosaic import decode_images
from jaxdistill.engine.driver import Plan, iterate
from jaxdistill.engine.mesh import initialise, make_mesh
from jaxdistill.engine.training import begin, of_split, train_epoch
from jaxdistill.errors import InputError

RECIPE = EXPERT_RECIPE._replace(momentum=0.5)


def train(network, ids, *, count=1, engine="shard_map", population="auto"):
    """Two epochs of the experts `ids`, on the host."""
    learner = expert_training(
        network, ids, lr=0.1, recipe=RECIPE, population=population
    )
    mesh = make_mesh(count)
    state = initialise(learner, jax.random.key(1), mesh)
    examples = of_split(toy_pool().train, CLASSES)
    run = iterate(
        learner,
        state,
        examples,
        lambda step: (),
        jax.random.key(2),
        plan=Plan(0, 2),
        mesh=mesh,
        engine=engine,
    )
    *_, (step, state, metrics) = run
    assert step == state.step == 2
    return jax.tree.map(np.asarray, state), metrics


def test_any_devices_and_engine_train_the_same_experts():
    expected = train(tanh_network(), range(4))
    for engine in ("shard_map", "pmap"):
        ours = train(tanh_network(), range(4), count=4, engine=engine)
        assert_close(ours, expected, rtol=1e-3, atol=1e-5)


def test_an_expert_does_not_depend_on_its_group():
    together, _ = train(tanh_network(), range(4))
    apart, _ = train(tanh_network(), range(2, 4))
    np.testing.assert_array_equal(apart.id, [2, 3])
    assert_close(apart.nets, jax.tree.map(lambda x: x[2:], together.nets))
    first, second = together.nets.params["in"][:2]
    assert not np.allclose(first, second)


def test_an_expert_is_epochs_of_training():
    """The group against one network and `train_epoch`, key by number and epoch."""
    together, metrics = train(tanh_network(), range(2), population="vmap")
    examples = of_split(toy_pool().train, CLASSES)
    losses = []
    for number in range(2):
        net = begin(
            tanh_network(), RECIPE, jax.random.fold_in(jax.random.key(1), number)
        )
        for step in range(2):
            k = jax.random.fold_in(jax.random.fold_in(jax.random.key(2), number), step)
            net, loss = train_epoch(
                tanh_network(), RECIPE, net, examples, jnp.asarray(0.1), k
            )
        losses.append(loss)
        assert_close(net, jax.tree.map(lambda x, n=number: x[n], together.nets))
    np.testing.assert_allclose(metrics["loss"], np.mean(losses), rtol=1e-5)


def test_snapshots_run_from_the_start_of_training_and_learn():
    experts, network, pool = toy_experts(), tanh_network(), toy_pool()
    assert (experts.count, experts.epochs) == (4, 4)
    assert experts.network == network.name
    inputs = standardise(pool.val.images, pool.standard)

    def right(expert, epoch):
        logits = network.apply(experts.read(expert, epoch), inputs)
        return np.mean(logits.argmax(axis=1) == pool.val.labels)

    k_init = jax.random.split(jax.random.key(5))[0]
    first = network.init(jax.random.fold_in(k_init, 1))
    assert_close(experts.read(1, 0), first)
    assert np.mean([right(e, 4) for e in range(4)]) > 0.9
    assert np.mean([right(e, 0) for e in range(4)]) < 0.7
    assert all(isinstance(x, np.ndarray) for x in experts.read(0, 2).values())


def test_averaged_experts_are_smoother_and_begin_where_the_others_do():
    """Labels that say nothing leave the noise of batches, which the average loses."""
    pool = toy_pool()
    shuffled = jax.random.permutation(jax.random.key(7), pool.train.labels)
    train = pool.train._replace(labels=shuffled)
    pool = dataclasses.replace(pool, train=train)
    rough, smooth = (
        train_experts(
            tanh_network(),
            pool,
            count=2,
            epochs=12,
            key=jax.random.key(5),
            lr=0.3,
            recipe=EXPERT_RECIPE._replace(epochs=12, batch=4, average=average),
        )
        for average in (0.0, 0.97)
    )
    assert_close(smooth.read(1, 0), rough.read(1, 0))

    def agreement(experts):
        """Mean cosine of neighbouring segments, late in training."""
        late = [experts.read(1, epoch).values() for epoch in range(6, 13)]
        flat = [np.concatenate([leaf.ravel() for leaf in leaves]) for leaves in late]
        pieces = [p / np.linalg.norm(p) for p in np.diff(flat, axis=0)]
        return np.mean([a @ b for a, b in itertools.pairwise(pieces)])

    assert agreement(rough) < 0.5
    assert agreement(smooth) > agreement(rough) + 0.2


def test_training_again_gives_the_same_experts():
    again = train_experts(
        tanh_network(),
        toy_pool(),
        count=4,
        epochs=4,
        key=jax.random.key(5),
        lr=0.1,
        recipe=EXPERT_RECIPE,
    )
    assert_same_bits(again.read(3, 4), toy_experts().read(3, 4))


def test_experts_of_another_network_are_refused():
    toy_experts().require_network(tanh_network())
    with pytest.raises(InputError, match="of tanh-6, not of tanh-7"):
        toy_experts().require_network(tanh_network(7))


def test_a_count_that_does_not_divide_over_the_devices():
    with pytest.raises(InputError, match=r"experts\.count=6 must be a multiple of"):
        train_experts(
            tanh_network(),
            toy_pool(),
            count=6,
            epochs=1,
            key=jax.random.key(0),
            mesh=make_mesh(4),
        )


def test_a_recipe_that_cannot_train():
    with pytest.raises(InputError, match=r"experts\.batch=0"):
        expert_training(tanh_network(), range(2), recipe=RECIPE._replace(batch=0))


@pytest.mark.parametrize("mosaic", [1, 2])
def test_experts_label_images_by_their_mean_log_probabilities(mosaic):
    network = linear_network()
    snapshots = [[network.init(jax.random.key(i)) for i in (e, e + 5)] for e in (0, 1)]
    first = toy_synthetic(6)
    logits = expert_labelled(first, made_experts(network, snapshots), network, mosaic)
    images = np.asarray(decode_images(first.images, mosaic), np.float64)
    expected = np.zeros((6, CLASSES))
    for _, last in snapshots:
        out = images.reshape(-1, PIXELS) @ np.asarray(last["w"]) + np.asarray(last["b"])
        out -= np.log(np.exp(out).sum(axis=1, keepdims=True))
        expected += out.reshape(6, mosaic**2, CLASSES).mean(axis=1) / 2
    np.testing.assert_allclose(logits.logits, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(logits.images, first.images)


def test_experts_of_another_network_label_nothing():
    with pytest.raises(InputError, match="trajectories of tanh-6, not of tanh-7"):
        expert_labelled(toy_synthetic(), toy_experts(), tanh_network(7))
