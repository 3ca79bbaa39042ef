"""Kernel regression on neural features: FRePo, Zhou et al., NeurIPS 2022,
arXiv:2206.00719.

    p(T) = K_TS (K_SS + ridge tr(K_SS) / |S| I)^-1 Y,    K = f f^T
    L = mean over T of 1/2 |p - (onehot - 1/C)|^2 - mean over S of min(y_1 - y_2, 1/C)

with f the features of one network of a pool, T real images, S the synthetic set, y_1
and y_2 the two largest entries of a row of Y.

    repeat: draw a network of the pool; move images and labels by the gradient of L
            it takes one Adam step on the squared error on S, or starts again if old

Different from the reference program: Y = softmax(logits) - 1/C, not a free matrix, so
that a set's `logits` mean here what they mean in evaluation and its labels stay on the
simplex. A softmax near one-hot hardly moves: begin with a small `label_margin` to learn
labels. L has 1/C more, so that it is never negative. Networks and their features are
those of the library. Ages begin evenly spread over networks that have not trained, a
reconstruction. `policy`, a siamese augmentation, is an addition. Of more images than
features the system is solved in the features: the same p.

`features="tangent"` trains every parameter of the linearised network, not the last
layer alone (RCIG, `tangent.py`): the features are the derivatives by the parameters.
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from jaxdistill.augment.siamese import augment_siamese
from jaxdistill.data.standard import standardise
from jaxdistill.distillation.distillers.classwise import require_alone
from jaxdistill.distillation.distillers.distribution import embed_in_parts
from jaxdistill.distillation.distillers.tangent import regress_tangents
from jaxdistill.engine.microbatch import mean_over, microbatch
from jaxdistill.engine.population import map_population
from jaxdistill.errors import InputError
from jaxdistill.ranges import Count, CountOrZero, Many, OneOf, Positive, Rate
from jaxdistill.settings import Small, declared
from jaxdistill.types import (
    Images,
    Matched,
    Method,
    Network,
    Params,
    Pool,
    PRNGKey,
    Scalar,
    Source,
    Split,
    Synthetic,
)

Targets = Float[Array, "m k"]
Data = tuple[Images, Targets]


class Member(NamedTuple):
    """A network in training and the steps it took since it began."""

    params: Params
    opt: optax.OptState
    age: Int[Array, "..."]


class Groups(NamedTuple):
    """The pool in `nets` groups, each of which gives one network to a step."""

    id: Int[Array, " nets"]
    members: Member  # leaves lead with nets, pool / nets


class Batch(NamedTuple):
    """Real inputs with their labels, and which network of each group has its turn."""

    images: Images
    labels: Int[Array, " n"]
    turn: Int[Array, ""]


@declared("kernel")
def kernel_regression(
    network: Network,
    *,
    classes: int,
    batch_real: Annotated[Many, "real images a step", Small(8)] = 1024,
    nets: Annotated[Many, "of the pool, a step; a multiple of the devices"] = 1,
    pool: Annotated[Many, "networks kept, a multiple of nets", Small(2)] = 10,
    max_age: Annotated[CountOrZero, "steps before a fresh network", Small(3)] = 100,
    features: Annotated[
        str, OneOf(("last", "tangent")), "last as FRePo, tangent as RCIG"
    ] = "last",
    ridge: Annotated[Positive, "in mean squares of the last layer's features"] = 1e-6,
    iterations: Annotated[Count, "of the solver for tangents"] = 20,
    net_lr: Annotated[Rate, "rate of the networks in the pool"] = 3e-4,
    flips: Annotated[bool, "add every image's mirror image to the set"] = False,
    policy: tuple[str, ...] = (),
    population: str = "auto",
) -> Method:
    """Predict real labels from the set by ridge regression; see the module.

    A step uses `nets` of the `pool`. `flips` adds every image's mirror image to the
    set. `features` is "last", or "tangent" with so many `iterations` of its solver.
    Raises `InputError` for a pool that `nets` does not divide, a setting out of range
    and batch norm.
    """
    require_alone(network, "kernel")
    _require(classes, nets, pool)
    adam = optax.adam(net_lr)

    def begin(key: PRNGKey) -> Member:
        params = network.init(key)
        return Member(params, adam.init(params), jnp.zeros((), jnp.int32))

    def init(key):
        shape = (nets, pool // nets)
        members = jax.vmap(jax.vmap(begin))(jax.random.split(key, shape))
        # Dealt out like cards: the networks of a group differ in age too.
        ages = jnp.arange(pool, dtype=jnp.int32).reshape(shape[::-1]).T
        members = members._replace(age=ages * max_age // pool)
        return Groups(jnp.arange(nets), members)

    def predict(params, real, images, targets):
        if features == "tangent":
            problem = (params, real, images, targets)
            return regress_tangents(network, *problem, ridge, iterations)
        known = jax.lax.stop_gradient(embed_in_parts(network, params, real))
        return regress(known, network.embed(params, images), targets, ridge)

    def loss(synthetic, inner, batch, key):
        images, targets = training_set(synthetic, flips)
        images = augment_siamese(images, key, policy)
        real = augment_siamese(batch.images, key, policy)
        wanted = centred(jax.nn.one_hot(batch.labels, classes))

        def of_group(members):
            params = _at(members.params, batch.turn)
            return squared_error(predict(params, real, images, targets), wanted)

        errors = map_population(of_group, inner.members, mode=population)
        metrics = {"match": errors.mean(), "margin": 1 / classes - doubt(targets)}
        return errors.mean() + doubt(targets), Matched(metrics, jnp.ones(()))

    def advance(inner, residual, synthetic, batch, key):
        del residual

        def of_group(number, members):
            k_fresh, k_augment = jax.random.split(jax.random.fold_in(key, number))
            old = _at(members, batch.turn)
            images, targets = training_set(synthetic, flips)
            data = augment_siamese(images, k_augment, policy), targets
            new = jax.lax.cond(
                old.age + 1 > max_age,
                lambda: begin(k_fresh),
                lambda: _train(network, adam, old, data),
            )
            return jax.tree.map(lambda x, y: x.at[batch.turn].set(y), members, new)

        return Groups(inner.id, map_population(of_group, *inner, mode=population))

    source = uniform_batches(batch_real, turns=pool // nets)
    return Method(init, loss, advance, source, population=True)


def uniform_batches(batch_real: int, turns: int) -> Source:
    """Every step `batch_real` distinct real images, whatever their classes, and a turn.

    `resident` raises `InputError` for a batch larger than the training split.
    """

    def resident(pool: Pool) -> Split:
        if not 1 <= batch_real <= pool.train.size:
            raise InputError(
                f"batch_real={batch_real} must be from 1 to {pool.train.size}, the "
                "number of training images: lower it"
            )
        return pool.train

    def draw(train: Split, fed: PyTree, key: PRNGKey) -> Batch:
        del fed
        k_rows, k_turn = jax.random.split(key)
        rows = jax.random.choice(k_rows, train.size, (batch_real,), replace=False)
        images = standardise(train.images[rows], train.standard)
        turn = jax.random.randint(k_turn, (), 0, turns)
        return Batch(images, train.labels[rows], turn)

    return Source(resident, lambda step: (), draw)


def regress(
    real: Float[Array, "n d"],
    fake: Float[Array, "m d"],
    targets: Targets,
    ridge: float,
) -> Float[Array, "n k"]:
    """The ridge prediction `p` of the module at the real features."""
    with jax.default_matmul_precision("highest"):  # TF32 would outweigh the ridge
        shift = ridge * jnp.sum(fake**2) / len(fake)  # the trace of the kernel
        if len(fake) <= fake.shape[1]:
            return real @ fake.T @ _solve(fake @ fake.T, shift, targets)
        return real @ _solve(fake.T @ fake, shift, fake.T @ targets)


def training_set(synthetic: Synthetic, flips: bool) -> Data:
    """What networks see of the set: images, with their mirror images, and targets."""
    images, targets = synthetic.images, centred(jax.nn.softmax(synthetic.logits))
    if not flips:
        return images, targets
    mirrored = jnp.concatenate([images, images[:, :, ::-1]])
    return mirrored, jnp.concatenate([targets, targets])


def centred(labels: Targets) -> Targets:
    """Labels minus `1/C`, so that every row sums to zero."""
    return labels - 1 / labels.shape[1]


def doubt(targets: Targets) -> Scalar:
    """`1/C - mean min(y_1 - y_2, 1/C)`: zero where every label is `1/C` ahead."""
    best = jax.lax.top_k(targets, 2)[0]
    return jnp.mean(jnp.maximum(1 / targets.shape[1] - (best[:, 0] - best[:, 1]), 0.0))


def squared_error(predicted: Targets, wanted: Targets) -> Scalar:
    """Half the squared length of the error, mean over images."""
    return 0.5 * jnp.mean(jnp.sum((predicted - wanted) ** 2, axis=1))


def _train(
    network: Network, adam: optax.GradientTransformation, member: Member, data: Data
) -> Member:
    """The member after one step on the squared error of its outputs."""
    part = microbatch(network, data[0].shape[1:], len(data[0]))
    parts = jax.tree.map(lambda x: x.reshape(-1, part, *x.shape[1:]), data)

    def error(params: Params, part: Data) -> Scalar:
        return squared_error(network.apply(params, part[0]), part[1])

    grads = mean_over(lambda part: jax.grad(error)(member.params, part), parts)
    updates, opt = adam.update(grads, member.opt, member.params)
    params = optax.apply_updates(member.params, updates)
    return Member(params, opt, member.age + 1)


def _solve(
    gram: Float[Array, "s s"], shift: Scalar, right: Float[Array, "s k"]
) -> Float[Array, "s k"]:
    gram += shift * jnp.eye(len(gram))
    return jax.scipy.linalg.solve(gram, right, assume_a="pos")


def _at(stacked: PyTree, index: Int[Array, ""]) -> PyTree:
    return jax.tree.map(lambda x: x[index], stacked)


def _require(classes: int, nets: int, pool: int) -> None:
    if classes < 2:
        raise InputError(f"classes={classes} must be 2 or more to tell apart")
    if pool % nets:
        raise InputError(
            f"kernel.pool={pool} must be a multiple of kernel.nets={nets}: "
            "every step takes one network of each of nets equal groups"
        )
