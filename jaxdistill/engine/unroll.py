"""Differentiable inner training: the heart of every bilevel and trajectory method.

The inner learner takes N steps from `params`, one for each entry of `rates`,

    g_t = grad_theta loss(theta_t, data, inputs_t)
    theta_{t+1}, s_{t+1} = inner.step(g_t, s_t, theta_t, rate_t)

and `unroll` returns theta_N, differentiable with respect to `params`, `data` and
`rates`. What differs is how much is kept for the way back:

    gradient       exact  kept                     cost of a step, in forward passes
    "plain"        yes    every step's graph       3 + 6
    "checkpoint"   yes    theta_t                  3 + 3 + 6
    "sweep"        yes    theta_t                  3 + 8
    "first_order"  no     theta_t                  3 + 8, less the part through theta

The sweep goes back through the steps by hand. With v the adjoint of theta_{t+1}, plain
SGD gives (Pearlmutter 1994 for the product, Maclaurin et al. 2015 for the sweep)

    h(theta, data) = <grad_theta loss(theta, data), v>    a scalar: one jvp of the loss
    d rate_t = -h
    d data  += -rate_t dh/d data
    v       <- v - rate_t dh/d theta

so that the only second-order object is the gradient of a forward derivative. Any other
inner optimiser is element-wise: its own vjp gives u, the adjoint of g_t, and h is taken
in direction u. `first_order` leaves v as it is: the influence of x_t on later steps is
dropped, as in TESLA (Cui et al. 2023, eq. 8).

Memory is N |theta| floats and one microbatch's graph. A step's gradient is the mean
over its microbatches. Gradients with respect to `inputs` (indices, keys) are not
defined. `loss` must not close over traced arrays: pass them through `data` or `inputs`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from jaxdistill.engine.microbatch import mean_over
from jaxdistill.errors import require_name
from jaxdistill.types import Params, Scalar

Loss = Callable[[Params, PyTree, PyTree], Scalar]


class Inner(NamedTuple):
    """An inner optimiser; `step` is element-wise in gradients, state and params."""

    init: Callable[[Params], PyTree]
    step: Callable[[Params, PyTree, Params, Scalar], tuple[Params, PyTree]]


def _sgd_step(grads, state, params, rate):
    return _axpy(-rate, grads, params), state


SGD = Inner(lambda params: (), _sgd_step)


def momentum(decay: float) -> Inner:
    """Heavy ball as in PyTorch: `m' = decay m + g`, `theta' = theta - rate m'`."""

    def step(grads, state, params, rate):
        state = _axpy(decay, state, grads)
        return _axpy(-rate, state, params), state

    return Inner(lambda params: jax.tree.map(jnp.zeros_like, params), step)


def adam(b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Inner:
    """Adam (Kingma & Ba 2015), with eps inside the root too for its derivative."""

    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return zeros, jax.tree.map(jnp.zeros_like, params), jnp.zeros(())

    def step(grads, state, params, rate):
        first, second, count = state
        count = count + 1
        first = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, first, grads)
        second = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, second, grads)

        def move(p, m, v):
            # The root's derivative is infinite at zero, which dead units do reach.
            root = jnp.sqrt(v / (1 - b2**count).astype(v.dtype) + eps**2)
            return p - rate * m / (1 - b1**count).astype(m.dtype) / (root + eps)

        return jax.tree.map(move, params, first, second), (first, second, count)

    return Inner(init, step)


def unroll(
    loss: Loss,
    params: Params,
    data: PyTree,
    rates: Float[Array, " steps"],
    inputs: PyTree,
    *,
    inner: Inner = SGD,
    gradient: str = "sweep",
    state: PyTree | None = None,
) -> Params:
    """Parameters after `len(rates)` inner steps; see the module for the mathematics.

    `inputs` leads with steps and microbatches: `loss(params, data, input)` sees one
    microbatch, a step takes the mean of them. `state` is the inner optimiser's, where
    it has taken steps before. Raises `InputError` for an unknown `gradient`.
    """
    require_name("trajectory.gradient", gradient, GRADIENTS)
    state = inner.init(params) if state is None else state
    return GRADIENTS[gradient](loss, inner)(params, state, data, rates, inputs)


def ahead(
    loss: Loss,
    params: Params,
    data: PyTree,
    rates: Float[Array, " steps"],
    inputs: PyTree,
    *,
    count: Int[Array, ""],
    inner: Inner = SGD,
) -> tuple[Params, PyTree]:
    """Parameters and inner state after the first `count` steps, which may be traced.

    Nothing is kept for a way back: gradients do not pass.
    """
    step = _step(loss, inner)

    def body(carry):
        at, params, state = carry
        rate, given = jax.tree.map(lambda x: x[at], (rates, inputs))
        return at + 1, *step(params, state, data, rate, given)

    start = (jnp.zeros((), jnp.int32), params, inner.init(params))
    _, params, state = jax.lax.while_loop(lambda carry: carry[0] < count, body, start)
    return jax.lax.stop_gradient((params, state))


def _plain(loss: Loss, inner: Inner) -> Callable:
    return lambda *args: _train(_step(loss, inner), *args)[0]


def _checkpoint(loss: Loss, inner: Inner) -> Callable:
    # A scan body is its own loop iteration: common subexpressions cannot be merged
    # across it, so the barriers that prevent_cse would add only cost time.
    step = jax.checkpoint(_step(loss, inner), prevent_cse=False)
    return lambda *args: _train(step, *args)[0]


def _sweep(loss: Loss, inner: Inner, exact: bool = True) -> Callable:
    step = _step(loss, inner)
    back = _back_sgd(loss) if inner is SGD else _back_general(loss, inner)

    @jax.custom_vjp
    def run(params, state, data, rates, inputs):
        return _train(step, params, state, data, rates, inputs)[0]

    def forward(params, state, data, rates, inputs):
        final, visited = _train(step, params, state, data, rates, inputs)
        return final, (visited, data, rates, inputs)

    def backward(saved, v):
        visited, data, rates, inputs = saved

        def body(carry, item):
            v, w, data_bar = carry
            (theta, state), rate, given = item
            v_new, w, data_step, rate_bar = back(v, w, theta, state, data, rate, given)
            v = v_new if exact else v
            return (v, w, _add(data_bar, data_step)), rate_bar

        zeros = jax.tree.map(jnp.zeros_like, (_first(visited[1]), data))
        (v, w, data_bar), rates_bar = jax.lax.scan(
            body, (v, *zeros), (visited, rates, inputs), reverse=True
        )
        return v, w, data_bar, rates_bar, None

    run.defvjp(forward, backward)
    return run


def _back_sgd(loss: Loss) -> Callable:
    def back(v, w, theta, state, data, rate, given):
        h, (h_theta, h_data) = _directional(loss, theta, data, given, v)
        return _axpy(-rate, h_theta, v), w, _scale(-rate, h_data), -h

    return back


def _back_general(loss: Loss, inner: Inner) -> Callable:
    def back(v, w, theta, state, data, rate, given):
        grads = _gradient(loss, theta, data, given)
        _, pull = jax.vjp(inner.step, grads, state, theta, rate)
        u, w, v, rate_bar = pull((v, w))
        _, (h_theta, h_data) = _directional(loss, theta, data, given, u)
        return _add(v, h_theta), w, h_data, rate_bar

    return back


def _directional(loss: Loss, theta, data, given, direction):
    """`<grad_theta loss, direction>` and its gradients, by reverse over forward."""

    def of_part(part):
        def h(theta, data):
            return jax.jvp(lambda p: loss(p, data, part), (theta,), (direction,))[1]

        return jax.value_and_grad(h, argnums=(0, 1))(theta, data)

    return mean_over(of_part, given)


def _gradient(loss: Loss, params: Params, data: PyTree, given: PyTree) -> Params:
    return mean_over(lambda part: jax.grad(loss)(params, data, part), given)


def _step(loss: Loss, inner: Inner) -> Callable:
    def step(params, state, data, rate, given):
        grads = _gradient(loss, params, data, given)
        return inner.step(grads, state, params, rate)

    return step


def _train(step: Callable, params, state, data, rates, inputs):
    """The final parameters, and the parameters and state before every step."""

    def body(carry, item):
        return step(*carry, data, *item), carry

    (final, _), visited = jax.lax.scan(body, (params, state), (rates, inputs))
    return final, visited


def _axpy(a: Any, x: PyTree, y: PyTree) -> PyTree:
    return jax.tree.map(lambda x, y: a * x + y, x, y)


def _scale(a: Any, x: PyTree) -> PyTree:
    return jax.tree.map(lambda x: a * x, x)


def _add(x: PyTree, y: PyTree) -> PyTree:
    return jax.tree.map(jnp.add, x, y)


def _first(stacked: PyTree) -> PyTree:
    return jax.tree.map(lambda x: x[0], stacked)


GRADIENTS: dict[str, Callable[[Loss, Inner], Callable]] = {
    "sweep": _sweep,
    "checkpoint": _checkpoint,
    "plain": _plain,
    "first_order": lambda loss, inner: _sweep(loss, inner, exact=False),
}
