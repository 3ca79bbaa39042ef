"""The phantom: seeded, imbalanced, beyond a linear model, within a ConvNet's reach."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdistill.data as data
from jaxdistill.data.standard import standardise
from jaxdistill.engine.sampling import class_table, draw_balanced
from jaxdistill.errors import InputError

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(scope="module")
def pool():
    return data.phantom(size=32)


def balanced_accuracy(labels, predicted) -> float:
    hits = np.asarray(predicted) == np.asarray(labels)
    return float(np.mean([hits[np.asarray(labels) == k].mean() for k in range(4)]))


def test_the_imbalance_is_that_of_the_real_set(pool):
    counts = data.counts(pool)
    assert list(counts["train"]) == [
        "COVID",
        "Lung_Opacity",
        "Normal",
        "Viral Pneumonia",
    ]
    real = np.array([3616, 6012, 10192, 1345]) / 21165
    train = np.array(list(counts["train"].values()))
    assert train.sum() == 2000
    np.testing.assert_allclose(train / 2000, real, atol=1 / 2000)
    for split, total in (("val", 400), ("test", 600)):
        held = np.array(list(counts[split].values()))
        assert held.min() >= 40
        np.testing.assert_allclose(held[:3] / total, real[:3], atol=1 / total)


def test_some_findings_are_drawn_as_they_are_among_all():
    """In the proportions of the real set, and no film of the others among them."""
    two = data.phantom(
        16, train=100, val=80, test=80, findings="Normal,Viral_Pneumonia"
    )
    assert two.class_names == ("Normal", "Viral Pneumonia")
    assert np.bincount(np.asarray(two.train.labels)).tolist() == [88, 12]
    for named in ("Normal", "Normal,Norml"):
        with pytest.raises(InputError):
            data.phantom(16, findings=named)


def test_a_seed_is_a_set():
    small = {"size": 16, "train": 100, "val": 160, "test": 160}
    one, same = data.phantom(seed=1, **small), data.phantom(seed=1, **small)
    assert data.fingerprint(one) == data.fingerprint(same)
    np.testing.assert_array_equal(one.test.images, same.test.images)
    assert data.fingerprint(one) != data.fingerprint(data.phantom(seed=2, **small))
    less = data.phantom(seed=1, variation=0.2, **small)
    assert data.fingerprint(one) != data.fingerprint(less)


def test_films_are_of_any_size_and_use_their_range():
    for size in (16, 33, 64):
        pool = data.phantom(size, train=40, val=160, test=160)
        assert pool.image_shape == (size, size, 1)
        images = np.asarray(pool.train.images)
        assert images.std((1, 2, 3)).min() > 15
        assert np.mean(images == 255) < 0.25


def test_variation_widens_the_classes():
    def spread(variation):
        part = data.phantom(32, 0, 400, 160, 160, variation=variation).train
        normal = np.asarray(part.images)[np.asarray(part.labels) == 2]
        return normal.astype(float).std(0).mean()

    assert spread(0.2) < spread(1.0) < spread(1.5)


def test_no_image_repeats_over_splits(pool):
    everything = [np.asarray(s.images) for s in (pool.train, pool.val, pool.test)]
    flat = np.concatenate(everything).reshape(-1, 1024)
    assert len(np.unique(flat, axis=0)) == len(flat)


def test_a_linear_model_on_pixels_stays_low(pool):
    linear = pytest.importorskip("sklearn.linear_model")
    x = np.asarray(standardise(pool.train.images, pool.standard)).reshape(-1, 1024)
    y = np.asarray(standardise(pool.test.images, pool.standard)).reshape(-1, 1024)
    models = [
        linear.RidgeClassifier(alpha, class_weight="balanced") for alpha in (1, 1e3)
    ]
    models.append(
        linear.LogisticRegression(
            C=1e-2, class_weight="balanced", max_iter=500, tol=0.02
        )
    )
    for model in models:
        model.fit(x, np.asarray(pool.train.labels))
        assert balanced_accuracy(pool.test.labels, model.predict(y)) < 0.75


@pytest.mark.slow
def test_a_convnet_on_the_whole_set_passes_nine_tenths(pool):
    from jaxdistill.networks import convnet

    net = convnet(pool.image_shape, pool.classes, width=16, depth=3)
    steps, key = 260, jax.random.key(0)
    tx = optax.sgd(optax.cosine_decay_schedule(0.05, steps), momentum=0.9)
    images = standardise(pool.train.images, pool.standard)

    def loss(params, x, y):
        logits = net.apply(params, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    # A program that runs more than it compiles: worth the compiler's whole care.
    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 3})
    def step(params, opt, key, images, labels, table):
        index = draw_balanced(table, key, 16).reshape(-1)
        grads = jax.grad(loss)(params, images[index], labels[index])
        updates, opt = tx.update(grads, opt)
        return optax.apply_updates(params, updates), opt

    table = class_table(pool.train.labels, pool.classes)
    params = net.init(key)
    opt = tx.init(params)
    for number in range(steps):
        draw = jax.random.fold_in(key, number)
        params, opt = step(params, opt, draw, images, pool.train.labels, table)
    logits = jax.jit(net.apply)(params, standardise(pool.test.images, pool.standard))
    assert balanced_accuracy(pool.test.labels, jnp.argmax(logits, -1)) > 0.9


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"size": 8}, r"data\.size=8"),
        ({"train": 3}, r"data\.train=3"),
        ({"test": 100}, r"data\.test=100 .* 160 or more"),
        ({"variation": -1.0}, r"data\.variation=-1"),
        ({"seed": -1}, r"data\.seed=-1"),
    ],
)
def test_impossible_settings(settings, rule):
    with pytest.raises(InputError, match=rule):
        data.phantom(**settings)
