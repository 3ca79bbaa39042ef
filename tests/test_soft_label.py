"""The bilevel unroll: its loss, its starts, its truncation, its schedule."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    CLASSES,
    assert_close,
    linear_network,
    tanh_network,
    toy_pool,
    toy_synthetic,
)

from jaxdistill.data.standard import standardise
from jaxdistill.distillation.distillers.soft_label import soft_label, starting_at
from jaxdistill.distillation.initial import class_means, few_images, initial
from jaxdistill.engine.losses import soft_cross_entropy
from jaxdistill.engine.schedule import Schedule, follow, step_rows
from jaxdistill.engine.unroll import SGD, adam, ahead, unroll
from jaxdistill.errors import InputError
from jaxdistill.evaluation.evaluate import evaluate

KEY = jax.random.key(3)


def scheduled(size=6, epochs=2, steps=2, lr=0.1):
    """The toy set with a rate for every step, each another."""
    synthetic = toy_synthetic(size)
    raw = np.log(np.expm1(lr)) + 0.3 * np.arange(epochs * steps)
    return synthetic._replace(raw_lr=jnp.asarray(raw.reshape(epochs, steps)))


def method_of(network=None, **settings):
    known = {"classes": CLASSES, "batch_real": 5}
    return soft_label(network or tanh_network(), **known | settings)


def problem(method):
    inner = method.init(jax.random.key(0))
    resident = method.source.resident(toy_pool())
    return inner, method.source.draw(resident, (), jax.random.key(1))


def by_hand(network, params, synthetic, passes=1):
    """The schedule as a loop: step s takes the images s, s + steps, ..."""
    epochs, steps = synthetic.raw_lr.shape
    targets = jax.nn.softmax(synthetic.logits)
    for _ in range(passes):
        for e in range(epochs):
            for s in range(steps):
                x, y = synthetic.images[s::steps], targets[s::steps]
                grads = jax.grad(
                    lambda p, x=x, y=y: soft_cross_entropy(network.apply(p, x), y)
                )(params)
                rate = synthetic.lr[e, s]
                params = jax.tree.map(lambda p, g, r=rate: p - r * g, params, grads)
    return params


def real_cross_entropy(network, params, batch):
    logits = network.apply(params, batch.reshape(-1, *batch.shape[2:]))
    labels = np.repeat(np.arange(CLASSES), batch.shape[1])
    return -np.mean(np.asarray(jax.nn.log_softmax(logits))[range(len(labels)), labels])


@pytest.mark.parametrize("start", ["random", "pool"])
def test_the_loss_is_that_of_real_images_after_the_schedule(start):
    network, synthetic = tanh_network(), scheduled()
    method = method_of(start=start, nets=2)
    inner, batch = problem(method)
    expected = []
    for number in range(2):
        k_init, _ = jax.random.split(jax.random.fold_in(KEY, number))
        params = network.init(k_init)
        if start == "pool":
            params = jax.tree.map(lambda x, n=number: x[n], inner.params)
        last = by_hand(network, params, synthetic)
        expected.append(real_cross_entropy(network, last, batch))
    value, _ = method.loss(synthetic, inner, batch, KEY)
    np.testing.assert_allclose(value, np.mean(expected), rtol=1e-5)


def test_following_a_schedule_is_the_loop():
    network, synthetic = tanh_network(), scheduled(steps=3)
    start = network.init(KEY)
    data = (synthetic.images, jax.nn.softmax(synthetic.logits))
    for passes in (1, 2):
        ours = follow(network, Schedule("sgd", passes), start, data, synthetic.lr)
        expected = by_hand(network, start, synthetic, passes)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
            ours,
            expected,
        )


def test_every_step_has_an_equal_share_of_every_class():
    rows = np.asarray(step_rows(12, 2, 2))
    assert rows.shape == (4, 1, 6)
    classes = rows // 4  # twelve images in the order of three classes
    for step in classes[:, 0]:
        assert np.bincount(step).tolist() == [2, 2, 2]
    assert sorted(rows[:2].ravel()) == list(range(12))


def test_a_fixed_start_is_the_same_network_for_every_key():
    network = starting_at(tanh_network(), jax.random.key(9), "9")
    first, second = (network.init(jax.random.key(k))["in"] for k in (0, 1))
    np.testing.assert_array_equal(first, second)
    assert network.name.endswith("start=9")


def test_every_image_label_and_rate_has_a_gradient():
    method, synthetic = method_of(), scheduled()
    inner, batch = problem(method)
    grads = jax.grad(lambda s: method.loss(s, inner, batch, KEY)[0])(synthetic)
    assert np.all(np.abs(grads.images).max(axis=(1, 2, 3)) > 0)
    assert np.all(np.abs(grads.logits).max(axis=1) > 0)
    assert np.all(np.abs(grads.raw_lr) > 0)


def test_a_window_of_all_steps_is_the_whole_unroll():
    synthetic = scheduled()
    whole, window = method_of(), method_of(window=4)
    inner, batch = problem(whole)
    a = jax.value_and_grad(lambda s: whole.loss(s, inner, batch, KEY)[0])(synthetic)
    b = jax.value_and_grad(lambda s: window.loss(s, inner, batch, KEY)[0])(synthetic)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6), a, b
    )


@pytest.mark.parametrize("inner", [SGD, adam()])
def test_steps_ahead_and_a_window_are_one_training(inner):
    network, synthetic = linear_network(), scheduled()
    start, rates = network.init(KEY), synthetic.lr.reshape(-1)
    data = (synthetic.images, jax.nn.softmax(synthetic.logits))
    rows = step_rows(6, 2, 2)

    def loss(params, data, chosen):
        images, targets = data
        return soft_cross_entropy(
            network.apply(params, images[chosen]), targets[chosen]
        )

    whole = unroll(loss, start, data, rates, rows, inner=inner)
    halfway, state = ahead(
        loss, start, data, rates, rows, count=jnp.asarray(2), inner=inner
    )
    rest = unroll(loss, halfway, data, rates[2:], rows[2:], inner=inner, state=state)
    np.testing.assert_allclose(rest["w"], whole["w"], rtol=1e-5, atol=1e-7)


def test_a_window_takes_the_gradient_of_its_own_steps_alone():
    method, synthetic = method_of(window=1), scheduled()
    inner, batch = problem(method)
    grad = jax.grad(lambda s: method.loss(s, inner, batch, KEY)[0])(synthetic)
    assert np.count_nonzero(grad.raw_lr) == 1


def test_a_pool_trains_on_the_set_and_renews_its_old():
    network, synthetic = tanh_network(), scheduled()
    method = method_of(start="pool", nets=2, max_age=4)
    inner, batch = problem(method)
    assert inner.age.tolist() == [0, 2]
    after = method.advance(inner, (), synthetic, batch, KEY)
    first = jax.tree.map(lambda x: x[0], inner.params)
    expected = by_hand(network, first, synthetic)
    np.testing.assert_allclose(after.params["in"][0], expected["in"], rtol=1e-4)
    last = method.advance(after, (), synthetic, batch, KEY)
    assert after.age.tolist() == [1, 3]
    assert last.age.tolist() == [2, 0]


@pytest.mark.parametrize("inner", ["momentum", "adam"])
def test_a_set_for_a_pool_is_judged_as_its_pool_was_trained(inner):
    """Every pass over the rates begins with a fresh state of the inner optimiser."""
    network, synthetic = tanh_network(), scheduled()
    method = method_of(start="pool", nets=1, max_age=9, inner=inner)
    nets, batch = problem(method)
    for _ in range(3):
        nets = method.advance(nets, (), synthetic, batch, KEY)
    first = jax.tree.map(lambda x: x[0], problem(method)[0].params)
    data = (synthetic.images, jax.nn.softmax(synthetic.logits))
    last = follow(network, Schedule(inner, 3), first, data, synthetic.lr)
    np.testing.assert_allclose(nets.params["in"][0], last["in"], rtol=1e-5)


def test_a_set_with_a_schedule_is_judged_by_it():
    pool, network = toy_pool(), starting_at(tanh_network(), KEY, "3")
    synthetic = initial(pool, 4, KEY, lr=0.3, schedule=(3, 2))
    found = evaluate(synthetic, pool.test, network, seeds=2, key=jax.random.key(0))
    last = by_hand(network, network.init(KEY), synthetic)
    images = standardise(pool.test.images, pool.standard)
    right = np.argmax(network.apply(last, images), axis=1) == pool.test.labels
    assert found["accuracy"]["mean"] == pytest.approx(right.mean())
    assert found["accuracy"]["std"] == 0


def test_fewer_images_than_classes_share_learned_labels():
    pool = toy_pool()
    synthetic = few_images(pool, 2, KEY, label_margin=3.0, schedule=(3, 1))
    with pytest.raises(InputError, match=r"init.lr=0.0 must be above 0"):
        few_images(pool, 2, KEY, lr=0.0)
    with pytest.raises(InputError, match=r"init.images='real'"):
        few_images(pool, 2, KEY, images="real")
    shares = np.arange(CLASSES) % 2 == np.arange(2)[:, None]
    assert_close(synthetic.logits, 3.0 * shares)
    plain = few_images(pool, 2, KEY, noise=0.0)
    for image, row in zip(plain.images, shares, strict=True):
        assert_close(image, class_means(pool)[row].mean(axis=0), atol=1e-5)
    assert np.isfinite(method_of().loss(synthetic, *problem(method_of()), KEY)[0])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"start": "warm"}, "soft_label.start='warm' is not known"),
        ({"inner": "lamb"}, "soft_label.inner='lamb' is not known"),
    ],
)
def test_unknown_choices_are_refused(settings, said):
    with pytest.raises(InputError, match=said):
        method_of(**settings)


def test_sets_and_windows_that_do_not_fit_are_refused():
    method = method_of()
    with pytest.raises(InputError, match="holds one rate"):
        method.loss(toy_synthetic(), *problem(method), KEY)
    with pytest.raises(InputError, match=r"soft_label.steps=4 does not divide"):
        method.loss(scheduled(steps=4), *problem(method), KEY)
    method = method_of(window=5)
    with pytest.raises(InputError, match=r"soft_label.window=5 must be from 0 to 4"):
        method.loss(scheduled(), *problem(method), KEY)
