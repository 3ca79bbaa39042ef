"""The linearised network's training against the same problem written out densely."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    CLASSES,
    assert_close,
    linear_network,
    tanh_network,
    toy_convnet,
    toy_pool,
    toy_synthetic,
)

from jaxdistill.data.standard import standardise
from jaxdistill.distillation.distillers.kernel import kernel_regression
from jaxdistill.distillation.distillers.tangent import regress_tangents
from jaxdistill.errors import InputError

RIDGE = 0.05
ENOUGH = 400  # iterations to a float64's end


def problem(network, dtype=jnp.float64):
    """A network, real and synthetic images, and targets."""
    cast = lambda x: jnp.asarray(x, dtype)  # noqa: E731
    params = jax.tree.map(cast, jax.jit(network.init)(jax.random.key(0)))
    train, synthetic = toy_pool().train, toy_synthetic()
    real = cast(standardise(train.images[:9], train.standard))
    targets = cast(jax.nn.softmax(synthetic.logits) - 1 / CLASSES)
    return params, real, cast(synthetic.images), targets


def jacobian(network, params, images):
    """Derivatives of every output by every parameter, a row an output."""
    leaves = jax.tree.leaves(jax.jacobian(lambda p: network.apply(p, images))(params))
    rows = images.shape[0] * CLASSES
    return jnp.concatenate([leaf.reshape(rows, -1) for leaf in leaves], axis=1)


def dense(network, params, real, images, targets):
    """`J_T delta` with delta from the normal equations in the parameters."""
    j = jacobian(network, params, images)
    features = network.embed(params, images)
    shift = RIDGE * jnp.sum(features**2) / len(features)
    normal = j.T @ j + shift * jnp.eye(j.shape[1])
    delta = jnp.linalg.solve(normal, j.T @ targets.reshape(-1))
    return (jacobian(network, params, real) @ delta).reshape(-1, CLASSES)


@pytest.mark.parametrize("make", [tanh_network, toy_convnet])
def test_prediction_and_implicit_gradient_are_those_of_the_dense_problem(make):
    network = make()
    with jax.enable_x64(True):
        params, real, images, targets = problem(network)

        def square(predict, images, targets):
            return jnp.sum(predict(images, targets) ** 2)

        iterative = lambda *s: regress_tangents(  # noqa: E731
            network, params, real, *s, RIDGE, ENOUGH
        )
        exact = lambda *s: dense(network, params, real, *s)  # noqa: E731
        given = (images, targets)
        predicted = (jax.jit(way)(*given) for way in (iterative, exact))
        assert_close(*predicted, rtol=1e-4, atol=1e-6)
        ours, wanted = (
            jax.jit(jax.grad(lambda *s: square(way, *s), (0, 1)))(*given)  # noqa: B023
            for way in (iterative, exact)
        )
        for got, want in zip(ours, wanted, strict=True):
            off = np.linalg.norm(got - want) / np.linalg.norm(want)
            assert off < 1e-4


def test_tangents_of_a_linear_network_are_its_pixels_and_a_one():
    network = linear_network()
    with jax.enable_x64(True):
        params, real, images, targets = problem(network)
        ours = regress_tangents(network, params, real, images, targets, RIDGE, ENOUGH)
        rows = lambda x: np.c_[x.reshape(len(x), -1), np.ones(len(x))]  # noqa: E731
        known, fake = rows(np.asarray(real)), rows(np.asarray(images))
        shift = RIDGE * np.sum(np.asarray(images) ** 2) / len(images)
        gram = fake @ fake.T + shift * np.eye(len(fake))
        expected = known @ fake.T @ np.linalg.solve(gram, np.asarray(targets))
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-8)


def test_fewer_iterations_fit_the_set_less():
    network = tanh_network()
    params, _, images, targets = problem(network, jnp.float32)

    def misfit(iterations):
        given = (images, images, targets, 1e-3, iterations)
        return float(
            jnp.sum((regress_tangents(network, params, *given) - targets) ** 2)
        )

    assert misfit(40) < 0.5 * misfit(3)
    assert misfit(3) < misfit(1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"features": "first"}, r"kernel\.features='first' .* choose one"),
        ({"iterations": 0}, "kernel.iterations=0 must be at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, message):
    with pytest.raises(InputError, match=message):
        kernel_regression(tanh_network(), classes=CLASSES, **settings)
