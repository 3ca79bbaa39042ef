"""Training against a loop in NumPy, on softmax regression whose gradient is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    CLASSES,
    PIXELS,
    assert_close,
    assert_same_bits,
    linear_network,
    tanh_network,
    toy_pool,
    toy_synthetic,
)
from scipy.special import log_softmax, softmax

from jaxdistill.data.standard import standardise
from jaxdistill.engine.losses import soft_cross_entropy
from jaxdistill.engine.training import (
    Examples,
    Recipe,
    TrainState,
    begin,
    class_balanced,
    of_split,
    of_synthetic,
    train_epoch,
    train_network,
)
from jaxdistill.errors import InputError
from jaxdistill.settings import require
from jaxdistill.types import Network, Standard

KEY = jax.random.key(2)
PLAIN = Recipe(epochs=1, batch=256, momentum=0.0, weight_decay=0.0, drop_at=1.0)


def examples(size=12):
    """The first training images, as bytes."""
    whole = of_split(toy_pool().train, CLASSES)
    return whole._replace(images=whole.images[:size], targets=whole.targets[:size])


def arrays(given):
    """Flat float64 inputs and targets."""
    inputs = np.asarray(standardise(given.images, given.standard), np.float64)
    return inputs.reshape(len(inputs), -1), np.asarray(given.targets, np.float64)


def gradient(params, x, y):
    wrong = (softmax(x @ params["w"] + params["b"], axis=1) - y) / len(x)
    return {"w": x.T @ wrong, "b": wrong.sum(axis=0)}


def start(recipe):
    """Some parameters, and a velocity where the recipe keeps one."""
    rng = np.random.default_rng(0)
    params = {"w": 0.1 * rng.normal(size=(PIXELS, CLASSES)), "b": rng.normal(size=3)}
    velocity = {k: 0.1 * rng.normal(size=p.shape) for k, p in params.items()}
    velocity = velocity if recipe.momentum else ()
    mean = params if recipe.average else ()
    return jax.tree.map(np.float32, TrainState(params, velocity, mean))


def sgd_by_hand(state, batches, recipe, lr):
    params, velocity, mean = jax.tree.map(np.float64, state)
    velocity = velocity or {k: np.zeros_like(p) for k, p in params.items()}
    for x, y in batches:
        g = gradient(params, x, y)
        for k in params:
            decayed = g[k] + recipe.weight_decay * params[k]
            velocity[k] = recipe.momentum * velocity[k] + decayed
            params[k] = params[k] - lr * velocity[k]
            if mean:
                mean[k] = recipe.average * mean[k] + (1 - recipe.average) * params[k]
    return TrainState(params, velocity if recipe.momentum else (), mean)


def test_an_epoch_is_sgd_with_momentum_and_decay_over_a_shuffle():
    recipe = PLAIN._replace(batch=5, momentum=0.9, weight_decay=0.05)
    given = examples(12)  # two batches of five, one of two
    state, loss = train_epoch(
        linear_network(), recipe, start(recipe), given, jnp.asarray(0.1), KEY
    )
    order = np.asarray(jax.random.permutation(jax.random.split(KEY)[0], 12))
    x, y = arrays(given)
    batches = [(x[rows], y[rows]) for rows in (order[:5], order[5:10], order[10:])]
    expected = sgd_by_hand(start(recipe), batches, recipe, 0.1)
    assert_close(state, expected, rtol=1e-4, atol=1e-5)

    losses = []  # of every image, by the parameters that it met
    for i, (x, y) in enumerate(batches):
        p = sgd_by_hand(start(recipe), batches[:i], recipe, 0.1).params
        losses += [-np.sum(y * log_softmax(x @ p["w"] + p["b"], axis=1), axis=1)]
    np.testing.assert_allclose(loss, np.concatenate(losses).mean(), rtol=1e-4)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_the_moving_average_follows_and_never_leads(momentum):
    """The mean is that of the steps, and the steps are those without a mean."""
    recipe = PLAIN._replace(batch=4, momentum=momentum, average=0.7)
    given = examples(12)
    rate = jnp.asarray(0.1)
    state, loss = train_epoch(linear_network(), recipe, start(recipe), given, rate, KEY)
    order = np.asarray(jax.random.permutation(jax.random.split(KEY)[0], 12))
    x, y = arrays(given)
    batches = [(x[rows], y[rows]) for rows in order.reshape(3, 4)]
    expected = sgd_by_hand(start(recipe), batches, recipe, 0.1)
    assert_close(state, expected, rtol=1e-4, atol=1e-5)
    assert state.result is state.mean

    plain = recipe._replace(average=0.0)
    alone, same = train_epoch(linear_network(), plain, start(plain), given, rate, KEY)
    assert_close(alone, state._replace(mean=()), rtol=1e-6, atol=0)
    assert alone.result is alone.params
    np.testing.assert_allclose(same, loss, rtol=1e-6)


def epochs_by_hand(recipe, given, lr):
    """The reference's loop: a pass is all of the set in batches, the last one short."""
    k_init, k_train = jax.random.split(KEY)
    state, (x, y) = begin(linear_network(), recipe, k_init), arrays(given)
    rates = []
    while len(rates) <= recipe.epochs:  # from 0 to the number that is named
        k_order = jax.random.split(jax.random.fold_in(k_train, len(rates)))[0]
        order = np.asarray(jax.random.permutation(k_order, len(x)))
        firsts = range(0, len(x), recipe.batch)
        batches = [order[i : i + recipe.batch] for i in firsts]
        state = sgd_by_hand(state, [(x[r], y[r]) for r in batches], recipe, lr)
        if len(rates) == recipe.epochs // 2 + 1:
            lr = 0.1 * lr  # and a new optimiser, which has no momentum
            still = jax.tree.map(np.zeros_like, state.velocity)
            state = state._replace(velocity=still)
        rates.append(lr)
    return state.params, rates


@pytest.mark.parametrize(("epochs", "size"), [(3, 12), (5, 12), (4, 15), (1, 3)])
def test_training_is_the_loop_of_the_reference(epochs, size):
    recipe = Recipe(epochs=epochs, batch=5, weight_decay=0.05)
    given = examples(size)
    params, losses = jax.jit(
        lambda g: train_network(linear_network(), recipe, g, jnp.asarray(0.2), KEY)
    )(given)
    expected, rates = epochs_by_hand(recipe, given, 0.2)
    assert_close(params, expected, rtol=1e-4, atol=1e-5)
    assert len(losses) == len(rates) == epochs + 1


def test_epochs_are_as_many_as_named_where_they_are_counted():
    recipe = PLAIN._replace(epochs=5, momentum=0.9, drop_at=0.5, protocol="counted")
    given = examples()
    params, losses = train_network(
        linear_network(), recipe, given, jnp.asarray(0.2), KEY
    )
    batch = [arrays(given)]
    state = begin(linear_network(), recipe, jax.random.split(KEY)[0])
    state = sgd_by_hand(state, batch * 3, recipe, 0.2)  # epochs 0, 1, 2 = int(5 / 2)
    still = state._replace(velocity=jax.tree.map(np.zeros_like, state.velocity))
    expected = sgd_by_hand(still, batch * 2, recipe, 0.02).params
    assert_close(params, expected, rtol=1e-4, atol=1e-5)
    assert losses.shape == (5,)


def test_without_a_drop_the_rate_stays():
    recipe = PLAIN._replace(epochs=4, momentum=0.5)
    given = examples()
    params, _ = train_network(linear_network(), recipe, given, jnp.asarray(0.2), KEY)
    state = begin(linear_network(), recipe, jax.random.split(KEY)[0])
    expected = sgd_by_hand(state, [arrays(given)] * 5, recipe, 0.2).params
    assert_close(params, expected, rtol=1e-4, atol=1e-5)


def test_statistics_of_a_batch_see_no_padding():
    """A network that takes the mean of its batch away, on five images and on two."""
    linear = linear_network()

    def apply(params, images):
        return linear.apply(params, images - images.mean(axis=0, keepdims=True))

    network = Network(linear.init, apply, linear.embed, "linear,norm=batch")
    recipe, given = PLAIN._replace(batch=5, momentum=0.9), examples(7)
    state, _ = jax.jit(
        lambda g: train_epoch(network, recipe, start(recipe), g, jnp.asarray(0.1), KEY)
    )(given)
    order = np.asarray(jax.random.permutation(jax.random.split(KEY)[0], 7))
    x, y = arrays(given)
    batches = [(x[r] - x[r].mean(axis=0), y[r]) for r in (order[:5], order[5:])]
    expected = sgd_by_hand(start(recipe), batches, recipe, 0.1)
    assert_close(state, expected, rtol=1e-4, atol=1e-5)


def direction(recipe, given):
    """What one step at rate 1 subtracts from the parameters."""
    first = start(recipe)
    state, _ = train_epoch(
        linear_network(), recipe, first, given, jnp.asarray(1.0), KEY
    )
    return jax.tree.map(lambda a, b: a - np.asarray(b), first.params, state.params)


def test_the_flat_gradient_tends_to_the_plain_one():
    given = examples()
    flat = direction(PLAIN._replace(rho=1e-6), given)
    assert_close(flat, direction(PLAIN, given), rtol=1e-3, atol=1e-5)


def test_the_flat_gradient_is_the_formula():
    given, rho, a = examples(), 0.5, 0.3
    x, y = arrays(given)
    params = jax.tree.map(np.float64, start(PLAIN).params)
    flat = lambda t: np.concatenate([t["w"].ravel(), t["b"]])  # noqa: E731
    shape = lambda v: {"w": v[:-3].reshape(PIXELS, 3), "b": v[-3:]}  # noqa: E731
    theta, g = flat(params), flat(gradient(params, x, y))
    e = rho * np.abs(theta) ** 2 * g / np.linalg.norm(np.abs(theta) * g)
    up = flat(gradient(shape(theta + e), x, y))
    across = g - (g @ up) / (up @ up) * up
    assert abs(across @ up) < 1e-12
    expected = shape(up - a * across)
    ours = direction(PLAIN._replace(rho=rho, orthogonal=a), given)
    assert_close(ours, expected, rtol=1e-3, atol=1e-5)
    assert np.abs(flat(ours) - g).max() > 0.01


def test_bytes_and_inputs_train_alike():
    given = examples()
    inputs = given._replace(images=standardise(given.images, given.standard))
    recipe = PLAIN._replace(batch=4, policy=("crop",))
    state = begin(tanh_network(), recipe, KEY)
    trained = [
        train_epoch(tanh_network(), recipe, state, e, jnp.asarray(0.1), KEY)
        for e in (given, inputs)
    ]
    assert_close(*trained)
    plain = recipe._replace(policy=())
    as_is = train_epoch(tanh_network(), plain, state, given, jnp.asarray(0.1), KEY)
    gaps = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), as_is[0], trained[0][0])
    assert max(jax.tree.leaves(gaps)) > 1e-3  # crops teach something else


def test_a_set_smaller_than_the_batch_is_one_batch():
    given, state = examples(7), begin(tanh_network(), PLAIN, KEY)
    run = lambda batch: train_epoch(  # noqa: E731
        tanh_network(), PLAIN._replace(batch=batch), state, given, jnp.asarray(0.1), KEY
    )
    assert_same_bits(run(256), run(7))


def test_examples_of_sets():
    pool, synthetic = toy_pool(), toy_synthetic()
    real = of_split(pool.train, CLASSES)
    assert real.size == 72
    assert real.images.dtype == jnp.uint8
    np.testing.assert_array_equal(real.targets.argmax(axis=1), pool.train.labels)
    distilled = of_synthetic(synthetic, pool.standard)
    assert isinstance(distilled, Examples)
    np.testing.assert_allclose(
        distilled.targets, softmax(synthetic.logits, axis=1), 1e-5
    )


def test_soft_cross_entropy_is_the_sum_and_is_steady():
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=(4, 3)), rng.dirichlet(np.ones(3), size=4)
    expected = -np.mean(
        [t @ log_softmax(z) for t, z in zip(target, logits, strict=True)]
    )
    ours = soft_cross_entropy(jnp.asarray(logits), jnp.asarray(target))
    np.testing.assert_allclose(ours, expected, rtol=1e-6)
    far = soft_cross_entropy(jnp.asarray([[1e4, 0.0]]), jnp.asarray([[0.0, 1.0]]))
    np.testing.assert_allclose(far, 1e4)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("batch", 0),
        ("momentum", 1.0),
        ("momentum", -0.1),
        ("drop_at", 0.0),
        ("drop_at", 1.5),
        ("rho", -1.0),
    ],
)
def test_recipes_that_cannot_train(field, value):
    require(Recipe(), "eval")
    with pytest.raises(InputError, match=rf"^eval\.{field}={value} must be "):
        require(Recipe(**{field: value}), "eval")


def test_balanced_examples_weigh_every_class_alike():
    targets = jax.nn.one_hot(jnp.array([0, 0, 0, 1]), 2)
    standard = Standard(jnp.zeros(1), jnp.ones(1))
    plain = Examples(jnp.zeros((4, 2, 2, 1)), targets, standard)
    weighted = class_balanced(plain).targets
    np.testing.assert_allclose(weighted.sum(axis=0), [2.0, 2.0], rtol=1e-6)
    losses = jnp.array([1.0, 2.0, 3.0, 10.0])
    by_class = (losses[:3].mean() + losses[3]) / 2
    np.testing.assert_allclose(jnp.mean(weighted.sum(1) * losses), by_class, rtol=1e-6)
