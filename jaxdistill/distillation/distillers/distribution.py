"""Distribution matching: DM, Zhao and Bilen, WACV 2023, arXiv:2110.04181, eq. 3 and 5.

    L = sum over classes c of || mean f(A(real_c; w)) - mean f(A(synthetic_c; w)) ||^2

with f the features of a network that was never trained, drawn anew at every step.

    repeat: theta ~ init
            move the images by the gradient of L, w the same on both sides

The cheapest of the methods: no inner training, no second derivative. It is weak at one
image per class, where the mean of a class is all that it can show.

`distance="mmd"` compares whole distributions instead of means (Gretton et al., JMLR
2012, lemma 6, biased estimate), with the mean of Gaussian kernels of five widths around
the mean squared distance of real features, as M3D (Zhang et al., AAAI 2024,
arXiv:2312.15927) does with one:

    L_c = mean k(r, r') + mean k(s, s') - 2 mean k(r, s)

Different from the reference program: several networks a step.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxdistill.augment.siamese import augment_siamese
from jaxdistill.distillation.distillers.classwise import (
    by_class,
    class_batches,
    class_keys,
    require_alone,
)
from jaxdistill.distillation.distillers.distances import OF_FEATURES, Features
from jaxdistill.engine.microbatch import microbatch
from jaxdistill.engine.population import map_population
from jaxdistill.errors import InputError
from jaxdistill.ranges import Many, OneOf
from jaxdistill.settings import Small, declared
from jaxdistill.types import Matched, Method, Network, Params


@declared("distribution")
def distribution_matching(
    network: Network,
    *,
    classes: int,
    batch_real: Annotated[Many, "real images of every class", Small(2)] = 256,
    nets: Annotated[Many, "networks a step; a multiple of the devices"] = 1,
    distance: Annotated[str, OneOf(OF_FEATURES), "of features"] = "mean",
    policy: tuple[str, ...] = (),
    population: str = "auto",
) -> Method:
    """Match the features of `nets` untrained networks, class by class; see the module.

    Raises `InputError` for a setting out of range and batch norm.
    """
    require_alone(network, "distribution")
    if distance == "mmd" and batch_real < 2:
        raise InputError(
            f"distribution.batch_real={batch_real} gives MMD no width of a kernel: set "
            "2 or more"
        )
    measure = OF_FEATURES[distance]

    def init(key) -> Int[Array, " nets"]:
        del key
        return jnp.arange(nets)  # networks are drawn where they are used, by number

    def loss(synthetic, inner, batch, key):
        images = by_class(synthetic.images, classes)

        def of_net(number):
            k_net, k_augment = jax.random.split(jax.random.fold_in(key, number))
            params = network.init(k_net)

            def of_class(real, fake, k):
                r = embed_in_parts(network, params, augment_siamese(real, k, policy))
                s = network.embed(params, augment_siamese(fake, k, policy))
                return measure(jax.lax.stop_gradient(r), s)

            keys = class_keys(k_augment, classes)
            return map_population(of_class, batch, images, keys, mode=population).sum()

        apart = map_population(of_net, inner, mode=population)
        return apart.mean(), Matched({"match": apart.mean()}, jnp.ones(()))

    def advance(inner, residual, synthetic, batch, key):
        del residual, synthetic, batch, key
        return inner

    return Method(init, loss, advance, class_batches(batch_real), population=True)


def embed_in_parts(network: Network, params: Params, images: Array) -> Features:
    """Features of many images that take no gradient, a cache's worth at a time."""
    part = microbatch(network, images.shape[1:], len(images))
    parts = images.reshape(-1, part, *images.shape[1:])
    features = jax.lax.map(lambda x: network.embed(params, x), parts)
    return features.reshape(len(images), -1)
