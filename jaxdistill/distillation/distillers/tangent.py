"""Training a linearised network on the set: RCIG, Loo et al., ICML 2023,
arXiv:2302.06755.

    delta = argmin 1/2 |J_S delta - Y|^2 + shift/2 |delta|^2,    p(T) = J_T delta

with J_x the derivative of the network's outputs at x by its parameters. Every parameter
moves, where FRePo (`kernel.py`) trains the last layer alone, and yet the problem is
convex: the gradient of a loss of p with respect to the set is the implicit one, exact
at the solution, through no step of the training.

    delta = J_S^T alpha,    (J_S J_S^T + shift I) alpha = Y

is solved by conjugate gradients, and so is the system of the implicit gradient, the
same one.

Different from the reference program: conjugate gradients of the system above for Adam
on the body's parameters around a ridge regression of the head, so that there is no rate
to tune and no implicit gradient to clip; `shift` is a share of the mean squared length
of the features, as in FRePo; the loss of p is FRePo's.
"""

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, Float

from jaxdistill.engine.microbatch import microbatch
from jaxdistill.types import Images, Network, Params

TOLERANCE = 1e-6  # relative, of the residual: what float32 can tell


def regress_tangents(
    network: Network,
    params: Params,
    real: Float[Array, "n h w c"],
    images: Float[Array, "m h w c"],
    targets: Float[Array, "m k"],
    ridge: float,
    iterations: int,
) -> Float[Array, "n k"]:
    """The prediction `p` of the module at real images, which take no gradient.

    After at most `iterations` of conjugate gradients, forward as backward. Memory is
    the graph of the set's forward pass.
    """
    features = network.embed(params, images)
    shift = ridge * jnp.sum(features**2) / len(features)
    _, push = jax.linearize(lambda p: network.apply(p, images), params)
    pull = jax.linear_transpose(push, params)

    def system(alpha: Float[Array, "m k"]) -> Float[Array, "m k"]:
        return push(*pull(alpha)) + shift * alpha

    with jax.default_matmul_precision("highest"):  # TF32 would outweigh the ridge
        alpha, _ = cg(system, targets, tol=TOLERANCE, maxiter=iterations)
        (delta,) = pull(alpha)
        return _pushed_in_parts(network, params, delta, real)


def _pushed_in_parts(
    network: Network, params: Params, delta: Params, images: Images
) -> Float[Array, "n k"]:
    """`J delta` of many images, a cache's worth at a time, graphs made again."""
    part = microbatch(network, images.shape[1:], len(images))
    parts = images.reshape(-1, part, *images.shape[1:])

    @jax.checkpoint
    def pushed(x: Images) -> Float[Array, "b k"]:
        return jax.jvp(lambda p: network.apply(p, x), (params,), (delta,))[1]

    return jax.lax.map(pushed, parts).reshape(len(images), -1)
