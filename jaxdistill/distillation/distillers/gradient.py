"""Gradient matching: DC, Zhao et al., ICLR 2021, arXiv:2006.05929, eq. 9 and 10; DSA,
Zhao and Bilen, ICML 2021, arXiv:2102.08259, eq. 7; IDC, Kim et al., ICML 2022,
arXiv:2205.14959.

    L = sum over classes c of D( grad CE(A(real_c; w)), grad CE(A(synthetic_c; w)) )
    D = sum over layers, over output units of 1 - <g_o, h_o> / (|g_o| |h_o|)

    repeat: theta ~ init
            outer_loops times: move the images by the gradient of L, the same w for both
                               sides of a class (siamese); train theta on the set

One step here is one pass of the outer loop. As published, biases and norms, whose
gradients have no direction worth matching, are left out; the batch of each class is its
own; the sum over classes is what an image rate of 0.1 presumes. DC is `policy=()`.

IDC is `distance="kernels_mse"` or `"kernels_l1"`, convolution kernels alone, with
`train_on="real"`: networks that only the synthetic set has trained soon have no
gradients left to match.

Different from the reference programs: the loops of any number of images per class are
interpolated; several networks a step; IDC's networks train on the step's own real batch
and without CutMix, and its images move once a step for all classes. Its momentum and
weight decay of networks are `net_momentum` and `net_weight_decay`; its rates are of
pixels, see `jaxdistill.distillation.units`.
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from jaxdistill.augment.siamese import augment_siamese
from jaxdistill.distillation.distillers.classwise import (
    by_class,
    class_batches,
    class_keys,
    require_alone,
)
from jaxdistill.distillation.distillers.distances import OF_GRADIENTS
from jaxdistill.engine.losses import soft_cross_entropy
from jaxdistill.engine.microbatch import mean_over, microbatch
from jaxdistill.engine.population import map_population
from jaxdistill.engine.training import (
    Examples,
    Recipe,
    TrainState,
    begin,
    of_inputs,
    train_epoch,
)
from jaxdistill.ranges import CountOrZero, Decay, Many, OneOf, Rate, Weight
from jaxdistill.settings import Small, declared
from jaxdistill.types import Matched, Method, Network, Params, PRNGKey

# Images per class, outer loops, epochs on the set after each: Zhao et al. 2021, code.
LOOPS = (
    (1, 1, 1),
    (10, 10, 50),
    (20, 20, 25),
    (30, 30, 20),
    (40, 40, 15),
    (50, 50, 10),
)


class Nets(NamedTuple):
    """The networks in training, with how often each was matched and its number.

    What moves them is kept between matches, as long as a network lasts.
    """

    training: TrainState
    age: Int[Array, " nets"]
    id: Int[Array, " nets"]


@declared("gradient")
def gradient_matching(
    network: Network,
    *,
    classes: int,
    ipc: int = 1,
    outer_loops: Annotated[
        CountOrZero, "matches before a fresh network; 0: by ipc, as DC"
    ] = 0,
    inner_epochs: Annotated[
        CountOrZero, "epochs of networks between matches; 0: by ipc, as DC", Small(2)
    ] = 0,
    batch_real: Annotated[Many, "real images of every class", Small(2)] = 256,
    nets: Annotated[Many, "networks a step; a multiple of the devices"] = 1,
    net_lr: Annotated[Rate, "rate of networks between matches"] = 0.01,
    net_batch: Annotated[Many, "images a step of theirs"] = 256,
    net_momentum: Annotated[Decay, "of their steps; 0.9 as IDC"] = 0.0,
    net_weight_decay: Annotated[Weight, "of theirs; 5e-4 as IDC"] = 0.0,
    distance: Annotated[str, OneOf(OF_GRADIENTS), "of gradients"] = "layers_cosine",
    train_on: Annotated[
        str, OneOf(("synthetic", "real")), "what networks train on; real as IDC"
    ] = "synthetic",
    policy: tuple[str, ...] = (),
    population: str = "auto",
) -> Method:
    """Match the gradients of `nets` networks, class by class; see the module.

    A network is matched `outer_loops` times and then drawn anew; in between it trains
    `inner_epochs` epochs at `net_lr`. `ipc` is what counts of 0 follow, see `loops`.
    Raises `InputError` for a setting out of range and batch norm.
    """
    require_alone(network, "gradient")
    outer, epochs = loops(ipc)
    outer_loops, inner_epochs = outer_loops or outer, inner_epochs or epochs
    measure = OF_GRADIENTS[distance]
    one_hot = jnp.eye(classes)
    recipe = Recipe(
        inner_epochs, net_batch, net_momentum, net_weight_decay, 1.0, policy
    )

    def init(key):
        fresh = jax.vmap(lambda k: begin(network, recipe, k))
        numbers = jnp.arange(nets)
        return Nets(fresh(jax.random.split(key, nets)), 0 * numbers, numbers)

    def loss(synthetic, inner, batch, key):
        images = by_class(synthetic.images, classes)
        targets = by_class(jax.nn.softmax(synthetic.logits), classes)

        def of_net(params, number):
            def of_class(real, fake, target, label, k):
                label = jnp.broadcast_to(label, (len(real), classes))
                g = _gradient(network, params, augment_siamese(real, k, policy), label)
                h = _gradient(network, params, augment_siamese(fake, k, policy), target)
                return measure(jax.lax.stop_gradient(g), h)

            keys = class_keys(jax.random.fold_in(key, number), classes)
            stacks = (batch, images, targets, one_hot, keys)
            return map_population(of_class, *stacks, mode=population).sum()

        params = inner.training.params
        apart = map_population(of_net, params, inner.id, mode=population)
        return apart.mean(), Matched({"match": apart.mean()}, jnp.ones(()))

    def advance(inner, residual, synthetic, batch, key):
        del residual
        if train_on == "real":
            images = batch.reshape(-1, *batch.shape[2:])
            examples = of_inputs(images, jnp.repeat(one_hot, batch.shape[1], axis=0))
        else:
            examples = of_inputs(synthetic.images, jax.nn.softmax(synthetic.logits))

        def of_net(training, age, number):
            k = jax.random.fold_in(key, number)
            old = age + 1 >= outer_loops
            training = jax.lax.cond(
                old,
                lambda: begin(network, recipe, k),
                lambda: _train(network, recipe, training, examples, net_lr, k),
            )
            return training, jnp.where(old, 0, age + 1)

        training, age = map_population(of_net, *inner, mode=population)
        return Nets(training, age, inner.id)

    return Method(init, loss, advance, class_batches(batch_real), population=True)


def loops(ipc: int) -> tuple[int, int]:
    """Outer loops and the epochs between them for any number of images per class.

    Those published for 1, 10, 20, 30, 40 and 50, linear in between, the last beyond.
    """
    known = np.array(LOOPS)
    outer, inner = (np.interp(ipc, known[:, 0], known[:, i]) for i in (1, 2))
    return round(float(outer)), round(float(inner))


def _gradient(
    network: Network, params: Params, images: Array, targets: Array
) -> Params:
    part = microbatch(network, images.shape[1:], len(images))
    parts = (
        images.reshape(-1, part, *images.shape[1:]),
        targets.reshape(-1, part, targets.shape[-1]),
    )

    def of_part(part):
        return jax.grad(
            lambda p: soft_cross_entropy(network.apply(p, part[0]), part[1])
        )(params)

    return mean_over(of_part, parts)


def _train(
    network: Network,
    recipe: Recipe,
    training: TrainState,
    examples: Examples,
    lr: float,
    key: PRNGKey,
) -> TrainState:
    def epoch(state, k):
        now = train_epoch(network, recipe, state, examples, jnp.asarray(lr), k)
        return now[0], None

    return jax.lax.scan(epoch, training, jax.random.split(key, recipe.epochs))[0]
