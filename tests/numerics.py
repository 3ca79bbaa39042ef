"""Programs whose sums a compiler may get wrong, at sizes that tempt it to.

    python tests/numerics.py     the greatest error of each at each size, as JSON

They are the library's own functions, and what networks and scores are made of, jitted
and vmapped as there. Wrong sums have come one row beyond a power of two, between two
powers of two, and in one call of many.
"""

import json

import exact
import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import log_softmax, softmax
from sweep import CLASSES, Case, labelled, normal, shares, stored, swept

from jaxdistill.data.standard import standardise
from jaxdistill.distillation.distillers.characteristic import discrepancy, unit_rows
from jaxdistill.distillation.distillers.distances import (
    layers_cosine,
    mean_distance,
    mmd,
)
from jaxdistill.distillation.distillers.kernel import regress, squared_error
from jaxdistill.distillation.distillers.trajectory import shape_term
from jaxdistill.engine.losses import soft_cross_entropy
from jaxdistill.engine.training import class_balanced, of_inputs
from jaxdistill.evaluation.evaluate import predict
from jaxdistill.evaluation.metrics import binary_auc
from jaxdistill.networks.conv import conv
from jaxdistill.networks.layers import Norm, avg_pool
from jaxdistill.types import Network, Split, Standard

ROWS = (32_769, 40_000, 131_071)
PAIRS = (511, 1_025)  # every row meets every other
IMAGES = (65, 512)  # of 28 x 28 pixels

SCALE = Standard(np.full(1, exact.MEAN, np.float32), np.full(1, exact.STD, np.float32))
SMALL = np.random.default_rng(1).normal(size=(3, 3)).astype(np.float32)


def conv_block(x, kernel):
    return avg_pool(jax.nn.relu(normed("instance")(conv(x, kernel, padding=1))))


def normed(kind):
    def apply(x):
        shape = x.shape[1:] if kind == "layer" else x.shape[-1:]
        params = {"scale": jnp.ones(shape), "bias": jnp.zeros(shape)}
        return Norm(kind).apply({"params": params}, x)

    return apply


def predicted(images):
    flat = lambda params, x: x.reshape(len(x), -1) @ params  # noqa: E731
    network = Network(lambda key: exact.HEAD, flat, flat, "linear")
    zeros = jnp.zeros(len(images), jnp.int32)
    return predict(network, exact.HEAD, Split(images, zeros, zeros, SCALE))


def area(scores, labels):
    """The rank statistic on the device, as a share of all pairs."""
    ranks = jnp.argsort(jnp.argsort(scores[:, 0])) + 1.0
    ups = jnp.sum(labels == 1.0)
    above = jnp.sum(jnp.where(labels == 1, ranks / len(ranks), 0.0))
    return (above - ups * (ups + 1.0) / (2 * len(ranks))) / ups / (1 - ups / len(ranks))


def linear_loss_gradient(x, labels):
    wanted, head = jax.nn.one_hot(labels, CLASSES), jnp.asarray(exact.HEAD)
    return jax.grad(lambda w: soft_cross_entropy(x @ w, wanted))(head[: x.shape[1]])


def balanced_targets(x, labels):
    examples = of_inputs(x[:, None, None], jax.nn.one_hot(labels, CLASSES))
    return class_balanced(examples).targets


def moments(x):
    return x.mean(axis=0), x.var(axis=0), jnp.linalg.norm(x, axis=1)


CASES = {
    # Three values a row, in one fused product and sum: jax-ml/jax#39103.
    "row_products": Case(
        jax.vmap(lambda row: jnp.sum((SMALL @ row) ** 2)),
        lambda x: ((x @ SMALL.T.astype(np.float64)) ** 2).sum(axis=1),
        normal((0, 3)),
        ROWS,
    ),
    # Tasks on several cores wrote over each other's parts.
    "broadcast_sum": Case(
        lambda x: jnp.sum(jnp.broadcast_to(x, (10, len(x), 784))),
        lambda x: 7840 * x.sum(),
        shares,
        (1_024, 4_096),
        calls=10,
    ),
    "cross_entropy": Case(
        jax.vmap(lambda x, y: soft_cross_entropy(x, jax.nn.softmax(y))),
        exact.cross_entropy,
        normal((2, 0, CLASSES), (2, 0, CLASSES)),
        ROWS,
    ),
    "linear_loss_gradient": Case(
        linear_loss_gradient, exact.linear_loss_gradient, labelled(3), ROWS
    ),
    "gradient_cosine": Case(
        lambda g, h: layers_cosine({"kernel": g}, {"kernel": h}),
        exact.unit_cosines,
        normal((0, 10), (0, 10)),
        ROWS,
    ),
    "class_means": Case(
        jax.vmap(mean_distance),
        lambda r, s: ((r.mean(axis=1) - s.mean(axis=1)) ** 2).sum(axis=1),
        normal((CLASSES, 0, 8), (CLASSES, 10, 8)),
        ROWS,
    ),
    "mmd": Case(mmd, exact.mean_discrepancy, normal((0, 8), (20, 8)), PAIRS),
    "characteristic": Case(
        lambda r, s, t: discrepancy(unit_rows(r), unit_rows(s), t, (0.5, 0.5)),
        exact.characteristic_discrepancy,
        normal((0, 8), (10, 8), (4, 8)),
        ROWS,
    ),
    "ridge": Case(
        lambda r, s, y, w: squared_error(regress(r, s, y, exact.RIDGE), w),
        exact.ridge_error,
        normal((0, 16), (9, 16), (9, CLASSES), (0, CLASSES)),
        ROWS,
    ),
    "shape_term": Case(
        lambda *points: shape_term(points[:3], points[3:]),
        exact.shape_error,
        normal(*[(0,)] * 6),
        ROWS,
    ),
    "class_weights": Case(
        balanced_targets,
        lambda x, y: np.eye(CLASSES)[y] * len(y) / CLASSES / np.bincount(y),
        labelled(3),
        ROWS,
    ),
    "class_sums": Case(
        lambda x, y: jax.nn.one_hot(y, CLASSES).T @ x,
        lambda x, y: np.eye(CLASSES)[y].T @ x,
        labelled(8),
        ROWS,
    ),
    "rank_statistic": Case(
        area, lambda x, y: binary_auc(x[:, 0], y == 1), labelled(1), ROWS
    ),
    "hits": Case(
        lambda x, y: (x.argmax(axis=1), jnp.mean(x.argmax(axis=1) == y)),
        lambda x, y: (x.argmax(axis=1), np.mean(x.argmax(axis=1) == y)),
        labelled(CLASSES),
        ROWS,
    ),
    "running_sum": Case(
        lambda x: jnp.cumsum(x, axis=0), lambda x: x.cumsum(axis=0), shares, ROWS
    ),
    "moments": Case(
        moments,
        lambda x: (x.mean(axis=0), x.var(axis=0), np.linalg.norm(x, axis=1)),
        normal((0, 3)),
        ROWS,
    ),
    "gram": Case(lambda x: x.T @ x, lambda x: x.T @ x, normal((0, 3)), ROWS),
    "pixel_softmax": Case(
        lambda x: (jax.nn.softmax(x), jax.nn.log_softmax(x)),
        lambda x: (softmax(x, -1), log_softmax(x, -1)),
        normal((0, 28, 28, 2)),
        IMAGES,
    ),
    "split_moments": Case(
        lambda x: moments(standardise(x, SCALE).reshape(-1, 1))[:2],
        lambda x: (exact.inputs(x).mean(), exact.inputs(x).var()),
        stored,
        IMAGES,
    ),
    "whole_numbers": Case(
        lambda x: x.astype(jnp.int32).sum(), lambda x: x.sum(), stored, IMAGES
    ),
    "predictions": Case(
        predicted,
        exact.predictions,
        stored,
        (257, *IMAGES),
    ),
    **{
        f"{kind}_norm": Case(normed(kind), wanted, normal((0, 28, 28, 8)), IMAGES)
        for kind, wanted in {
            "instance": exact.normalised((1, 2)),
            "group": exact.normalised((1, 2, 4), groups=4),
            "layer": exact.normalised((1, 2, 4)),
            "batch": exact.normalised((0, 1, 2)),
        }.items()
    },
    "conv_block": Case(
        conv_block, exact.block, normal((0, 28, 28, 1), (3, 3, 1, 8)), IMAGES
    ),
    "winograd": Case(
        lambda x, kernel: conv(x, kernel, padding=1, lowering="winograd"),
        exact.correlated,
        normal((0, 14, 14, 16), (3, 3, 16, 8)),
        (65,),
    ),
}

if __name__ == "__main__":
    print(json.dumps({name: swept(case) for name, case in CASES.items()}))
