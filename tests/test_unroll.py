"""The unroll engine against a loop written by hand, in float64, and its memory."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.augment.siamese import augment_siamese, policy
from jaxdistill.engine.losses import soft_cross_entropy
from jaxdistill.engine.unroll import SGD, adam, momentum, unroll
from jaxdistill.errors import InputError
from jaxdistill.networks import convnet

pytestmark = pytest.mark.filterwarnings("error")

INNERS = {"sgd": SGD, "momentum": momentum(0.9), "adam": adam(0.9, 0.99, 1e-4)}
STEPS, IMAGES, BATCH, CLASSES = 3, 6, 4, 3
SHAPE = (6, 6, 2)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def network(params, images):
    """A smooth network with one hidden layer."""
    hidden = jnp.tanh(images.reshape(len(images), -1) @ params["in"])
    return hidden @ params["out"]


def loss(params, data, given):
    """Cross-entropy of a minibatch under an augmentation; `given` is (key, index)."""
    key, index = given
    images = augment_siamese(data["images"][index], key, policy("color_flip"))
    target = jax.nn.softmax(data["logits"][index])
    return soft_cross_entropy(network(params, images), target)


def problem(seed=0):
    """Parameters, data, rates, inputs and the point that the outer loss pulls to."""
    k = jax.random.split(jax.random.key(seed), 7)
    pixels = int(np.prod(SHAPE))
    params = {
        "in": 0.2 * jax.random.normal(k[0], (pixels, 5)),
        "out": jax.random.normal(k[1], (5, CLASSES)),
    }
    data = {
        "images": jax.random.normal(k[2], (IMAGES, *SHAPE)),
        "logits": jax.random.normal(k[3], (IMAGES, CLASSES)),
    }
    rates = jax.random.uniform(k[4], (STEPS,), minval=0.05, maxval=0.2)
    keys = jax.random.split(k[5], STEPS)
    index = jax.vmap(lambda k: jax.random.permutation(k, IMAGES)[:BATCH])(keys)
    target = jax.tree.map(lambda p: p + jax.random.normal(k[6], p.shape), params)
    return params, data, rates, (keys, index), target


def halves(inputs):
    """Every minibatch in two parts, as the engine takes them."""
    keys, index = inputs
    return jnp.stack([keys, keys], 1), index.reshape(STEPS, 2, BATCH // 2)


def distance(params, target):
    """Squared distance of two parameter trees."""
    squares = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), params, target)
    return sum(jax.tree.leaves(squares))


def by_engine(gradient, inner):
    """The outer loss through `unroll`."""

    def outer(params, data, rates, inputs, target):
        final = unroll(
            loss, params, data, rates, halves(inputs), inner=inner, gradient=gradient
        )
        return distance(final, target)

    return outer


def by_hand(inner):
    """The outer loss through a Python loop."""

    def outer(params, data, rates, inputs, target):
        keys, index = inputs
        state = inner.init(params)
        for t in range(STEPS):
            grads = jax.grad(loss)(params, data, (keys[t], index[t]))
            params, state = inner.step(grads, state, params, rates[t])
        return distance(params, target)

    return outer


@cache
def gradients_by_hand(name):
    """What every gradient of the engine must equal."""
    return jax.jit(jax.value_and_grad(by_hand(INNERS[name]), (0, 1, 2)))(*problem())


def assert_close(got, want, rtol=1e-10):
    """Equal to `rtol` of the largest entry of every leaf."""
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert a.dtype == b.dtype == jnp.float64
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * np.abs(b).max())


@pytest.mark.parametrize("name", INNERS)
@pytest.mark.parametrize("gradient", ["plain", "checkpoint", "sweep"])
def test_gradients_equal_those_of_a_loop_written_by_hand(gradient, name):
    want = gradients_by_hand(name)
    grad = jax.value_and_grad(by_engine(gradient, INNERS[name]), (0, 1, 2))
    got = jax.jit(grad)(*problem())
    assert_close(got, want)
    assert all(np.abs(leaf).max() > 1e-6 for leaf in jax.tree.leaves(got[1]))


@pytest.mark.parametrize("name", INNERS)
def test_sweep_equals_plain_over_a_stack_of_segments(name):
    problems = [problem(seed) for seed in range(3)]
    params, _, _, inputs, target = (
        _stack(part) for part in zip(*problems, strict=True)
    )
    _, data, rates, *_ = problems[0]

    def outer(gradient, data, rates):
        each = jax.vmap(by_engine(gradient, INNERS[name]), (0, None, None, 0, 0))
        return each(params, data, rates, inputs, target).mean()

    grad = jax.jit(jax.grad(outer, (1, 2)), static_argnums=0)
    assert_close(grad("sweep", data, rates), grad("plain", data, rates))


def _stack(trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def test_sweep_equals_plain_through_a_convnet():
    net = convnet((8, 8, 3), CLASSES, width=4, depth=1)
    keys = jax.random.split(jax.random.key(1), 4)
    params, target = net.init(keys[0]), net.init(keys[1])
    images = jax.random.normal(keys[2], (5, 8, 8, 3))
    labels = jax.nn.softmax(jax.random.normal(keys[3], (5, CLASSES)))
    rates = jnp.full((3,), 0.05)

    def outer(gradient, images, labels, rates):
        final = unroll(
            lambda p, data, _: soft_cross_entropy(net.apply(p, data[0]), data[1]),
            params,
            (images, labels),
            rates,
            jnp.zeros((3, 1)),
            gradient=gradient,
        )
        return distance(final, target)

    grad = jax.jit(jax.grad(outer, (1, 2, 3)), static_argnums=0)
    want = grad("plain", images, labels, rates)
    for gradient in ("sweep", "checkpoint"):
        assert_close(grad(gradient, images, labels, rates), want)


def test_first_order_leaves_later_steps_out():
    params, data, rates, inputs, target = problem()
    keys, index = inputs
    grad = jax.jit(jax.grad(by_engine("first_order", SGD), (1, 2)))
    got = grad(params, data, rates, inputs, target)
    visited, slope = [params], jax.jit(jax.grad(loss))
    for t in range(STEPS):
        grads = slope(visited[-1], data, (keys[t], index[t]))
        visited.append(SGD.step(grads, (), visited[-1], rates[t])[0])
    v = jax.grad(distance)(visited[-1], target)

    def pulled(data, rates):
        """`-sum_t rate_t <v, g_t(data)>` with every theta_t and v held."""
        total = 0.0
        for t in range(STEPS):
            grads = jax.grad(loss)(visited[t], data, (keys[t], index[t]))
            total -= rates[t] * _dot(v, grads)
        return total

    assert_close(got, jax.jit(jax.grad(pulled, (0, 1)))(data, rates))
    exact = gradients_by_hand("sgd")[1][1]
    assert np.abs(got[0]["images"] - exact["images"]).max() > 1e-6


def _dot(x, y):
    return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, x, y)))


@pytest.mark.parametrize("gradient", ["plain", "checkpoint", "sweep", "first_order"])
def test_values_do_not_depend_on_the_gradient(gradient):
    params, data, rates, inputs, _ = problem()
    run = jax.jit(
        lambda how: unroll(loss, params, data, rates, halves(inputs), gradient=how),
        static_argnums=0,
    )
    assert_close(run(gradient), run("plain"))


def test_adam_stays_finite_where_a_gradient_is_zero():
    params, data, rates, inputs, target = problem()
    params = params | {"in": jnp.zeros_like(params["in"])}
    grads = jax.jit(jax.grad(by_engine("sweep", adam()), (0, 1)))(
        params | {"out": jnp.zeros_like(params["out"])}, data, rates, inputs, target
    )
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_an_unknown_gradient_is_refused():
    params, data, rates, inputs, _ = problem()
    with pytest.raises(
        InputError, match=r"trajectory.gradient='implicit' is not known"
    ):
        unroll(loss, params, data, rates, inputs, gradient="implicit")


def test_the_sweep_keeps_the_parameters_and_no_graph():
    with jax.enable_x64(False):
        net = convnet((16, 16, 3), CLASSES, width=8, depth=1)
        params = jax.eval_shape(net.init, jax.random.key(0))
        size = sum(4 * leaf.size for leaf in jax.tree.leaves(params))
        # How buffers are packed takes or gives a few kilobytes between two lengths.
        sweep = _temporaries(net, "sweep", 40) - _temporaries(net, "sweep", 20)
        plain = _temporaries(net, "plain", 40) - _temporaries(net, "plain", 20)
    assert 20 * size <= sweep <= 20 * size * 1.2 + 4096
    assert plain > 10 * sweep


def _temporaries(net, gradient, steps):
    """Bytes of scratch memory of the compiled outer gradient."""

    def outer(images, params, target):
        final = unroll(
            lambda p, x, _: soft_cross_entropy(net.apply(p, x), jnp.eye(CLASSES)),
            params,
            images,
            jnp.full((steps,), 0.01),
            jnp.zeros((steps, 1)),
            gradient=gradient,
        )
        return distance(final, target)

    params = jax.eval_shape(net.init, jax.random.key(0))
    images = jax.ShapeDtypeStruct((CLASSES, 16, 16, 3), jnp.float32)
    compiled = jax.jit(jax.grad(outer)).lower(images, params, params).compile()
    return compiled.memory_analysis().temp_size_in_bytes
