"""Evaluation: what is trained, what is predicted, and over which devices."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    CLASSES,
    linear_network,
    make_split,
    tanh_network,
    toy_convnet,
    toy_pool,
    toy_synthetic,
)
from scipy.special import softmax

from jaxdistill.data.standard import standardise
from jaxdistill.distillation.initial import initial
from jaxdistill.engine.mesh import make_mesh
from jaxdistill.engine.training import Recipe, of_split, of_synthetic, train_network
from jaxdistill.errors import InputError
from jaxdistill.evaluation.evaluate import (
    REAL_LR,
    evaluate,
    evaluator,
    predict,
    subset_evaluator,
)

RECIPE = Recipe(epochs=3, batch=24)
KEY = jax.random.key(4)


def test_a_separable_problem_is_learned_from_class_means():
    pool = toy_pool()
    start = initial(pool, 2, jax.random.key(0), lr=0.05)
    found = evaluate(
        start, pool.test, tanh_network(), seeds=3, key=KEY, recipe=Recipe(epochs=40)
    )
    for name in ("accuracy", "balanced_accuracy", "auc", "f1_weighted"):
        assert found[name] == {"mean": 1.0, "std": 0.0, "n": 3}
    assert found["confusion"]["mean"] == np.eye(CLASSES).tolist()


def test_seeds_over_four_devices_equal_one_device():
    """Five seeds over four devices: three are padding and must not show."""
    pool, keys = toy_pool(), jax.random.split(KEY, 5)
    examples = of_synthetic(toy_synthetic(), pool.standard)
    one, four = (
        evaluator(toy_convnet(), RECIPE, mesh=mesh)(examples, pool.val, 0.1, keys)
        for mesh in (None, make_mesh(4))
    )
    assert one.shape == (5, pool.val.size, CLASSES)
    np.testing.assert_allclose(four, one, rtol=1e-3, atol=1e-5)
    assert all(not np.allclose(one[0], other) for other in one[1:])


def test_populations_by_vmap_and_by_map_agree():
    pool, keys = toy_pool(), jax.random.split(KEY, 3)
    examples = of_split(pool.train, CLASSES)
    one, other = (
        evaluator(tanh_network(), RECIPE, population=mode)(
            examples, pool.val, 0.1, keys
        )
        for mode in ("vmap", "map")
    )
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_an_evaluator_trains_one_network_from_each_key():
    pool, keys = toy_pool(), jax.random.split(KEY, 2)
    examples = of_split(pool.train, CLASSES)
    run = evaluator(tanh_network(), RECIPE)
    ours = run(examples, pool.val, 0.1, keys)
    params, _ = train_network(
        tanh_network(), RECIPE, examples, jnp.asarray(0.1), keys[1]
    )
    expected = predict(tanh_network(), params, pool.val)
    np.testing.assert_allclose(ours[1], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(run(examples, pool.val, 0.1, keys), ours)


@pytest.mark.parametrize("mesh", [None, 2])
def test_subsets_equal_the_same_images_alone(mesh):
    pool, keys = toy_pool(), jax.random.split(KEY, 3)
    train = of_split(pool.train, CLASSES)
    rows = np.random.default_rng(0).permutation(72)[:36].reshape(3, 12)
    mesh = make_mesh(mesh or 1)
    ours = subset_evaluator(tanh_network(), RECIPE, mesh=mesh)(
        train, rows, pool.val, 0.1, keys
    )
    alone = evaluator(tanh_network(), RECIPE)
    for i in range(3):
        part = train._replace(
            images=train.images[rows[i]], targets=train.targets[rows[i]]
        )
        expected = alone(part, pool.val, 0.1, keys[i : i + 1])[0]
        np.testing.assert_allclose(ours[i], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("chunk", [4, 15, 64])
def test_predictions_do_not_depend_on_the_chunk(chunk, monkeypatch):
    # The module, whatever the package calls by its name.
    monkeypatch.setattr(sys.modules["jaxdistill.evaluation.evaluate"], "CHUNK", chunk)
    network, split = linear_network(), toy_pool().val
    params = jax.tree.map(np.asarray, network.init(jax.random.key(0)))
    inputs = np.asarray(standardise(split.images, split.standard)).reshape(15, -1)
    expected = softmax(inputs @ params["w"] + params["b"], axis=1)
    np.testing.assert_allclose(predict(network, params, split), expected, rtol=1e-4)


def test_a_set_trains_at_its_own_rate_and_real_images_at_the_usual_one():
    pool, network = toy_pool(), linear_network()
    run = lambda part, **more: evaluate(  # noqa: E731
        part, pool.test, network, seeds=2, key=KEY, recipe=RECIPE, **more
    )
    synthetic = toy_synthetic(lr=0.02)
    assert run(synthetic) == run(synthetic, lr=float(synthetic.lr))
    assert run(synthetic) != run(synthetic, lr=0.5)
    real = make_split(np.arange(9) % CLASSES, 7, pool.standard)
    assert run(real) == run(real, lr=REAL_LR)


def test_a_set_of_fewer_classes_than_the_test_split_is_refused():
    pool, two = toy_pool(), toy_synthetic()
    two = two._replace(logits=two.logits[:, :2])
    with pytest.raises(InputError, match=r"tells 2 classes apart, .* up to 2: eval"):
        evaluate(two, pool.test, linear_network(), seeds=1, key=KEY)


def test_no_seeds_and_no_epochs_are_refused(unchecked):
    pool, network = toy_pool(), linear_network()
    floats = pool.test._replace(images=pool.test.images / 255)
    with pytest.raises(InputError, match="test has images of float32; pixels of a"):
        evaluate(pool.train, floats, network, key=jax.random.key(0))
    with pytest.raises(InputError, match="seeds=0"):
        evaluate(toy_synthetic(), pool.test, network, seeds=0, key=KEY)
    with pytest.raises(InputError, match=r"eval\.epochs=0"):
        evaluator(network, Recipe(epochs=0))
    with pytest.raises(InputError, match=r"eval\.momentum=1"):
        subset_evaluator(network, Recipe(momentum=1.0))


def test_the_last_images_stand_beside_images_where_the_batch_counts():
    """As some networks normalise over all of a batch, which nothing may be added to."""

    def apply(params, images):
        flat = images.reshape(len(images), -1)[:, :CLASSES]
        return flat - flat.mean(axis=0, keepdims=True)

    network = linear_network()._replace(apply=apply, name="linear,norm=batch")
    split = make_split(np.arange(300) % CLASSES, 0)
    again = jnp.concatenate([split.images, split.images[:212]])
    want = predict(network, (), split._replace(images=again, labels=jnp.arange(512)))
    np.testing.assert_allclose(predict(network, (), split), want[:300], rtol=1e-5)


def test_splits_are_predicted_apart_where_the_batch_counts():
    """What is tested must not move what validation says."""

    def apply(params, images):
        flat = images.reshape(len(images), -1)[:, :CLASSES]
        return flat - flat.mean(axis=0, keepdims=True) + 0 * params["b"][None]

    network = linear_network()._replace(apply=apply, name="linear,norm=batch")
    val, test = (make_split(np.arange(n) % CLASSES, n) for n in (30, 40))
    other = test._replace(images=255 - test.images)
    examples, keys = of_split(val, CLASSES), jax.random.split(KEY, 1)
    run = evaluator(network, RECIPE)
    one, two = (run(examples, (val, t), 0.01, keys)[0] for t in (test, other))
    np.testing.assert_array_equal(one[:30], two[:30])
    assert (one[30:] != two[30:]).any()
    np.testing.assert_allclose(one[:30], run(examples, val, 0.01, keys)[0], rtol=1e-6)
