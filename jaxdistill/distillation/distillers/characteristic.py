"""Matching characteristic functions: NCFM, Wang et al., CVPR 2025, arXiv:2502.20653.

    L = sum over classes of 300 C(real_c, synthetic_c) + calibration CE(final; set_c)
    C = mean over t of sqrt( a (|P| - |Q|)^2 + 2 b (|P| |Q| - Re P Re Q - Im P Im Q) )

with P(t) = mean exp(i <t, f>) over the features f of real images, each of length 1, and
Q(t) that of synthetic ones, t ~ N(0, I), a the weight of amplitudes, b that of phases.

    repeat: an expert, a point between its start and its end, frequencies t for all
            classes, one augmentation for both sides of a class (siamese)
            move the images by the gradient of L, the final network's error included
            sampling="network": move psi, which makes t of noise, up the gradient of C

Twice the phase term is computed as |P - Q|^2 - (|P| - |Q|)^2, the same, which does not
cancel in float32 where the two sides are close.

The sampling network is a reconstruction: t = z + V tanh(U z), z ~ N(0, I), V = 0 at
first, scaled to a mean square of 1, that of N(0, I). Without a bound on their length
the highest frequencies would win: they tell any two finite samples apart.

Different from the reference program: one step for all classes, whose losses add up and
share their frequencies, not one after another with new ones (a class sees t ~ N(0, I)
either way, so that the expected gradient is the same); several networks a step; the
calibrating network is the end of the same expert, and sees images without augmentation;
validation chooses the iterate.
"""

from collections.abc import Callable
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from jaxdistill.augment.siamese import augment_siamese
from jaxdistill.distillation.distillers import classwise
from jaxdistill.distillation.distillers.distribution import embed_in_parts
from jaxdistill.distillation.experts import Experts
from jaxdistill.engine.losses import soft_cross_entropy
from jaxdistill.engine.population import map_population
from jaxdistill.errors import InputError
from jaxdistill.ranges import Many, OneOf, Rate, Weight
from jaxdistill.settings import Small, declared
from jaxdistill.types import Matched, Method, Network, Params, PRNGKey, Scalar, Source

Features = Float[Array, "n d"]
Frequencies = Float[Array, "j d"]

SCALE = 300.0
CLAMP = 1e-12
WIDTH = 64  # hidden units of the sampling network


class Nets(NamedTuple):
    """Experts of one step, stacked: somewhere on their way, and at its end."""

    between: Params
    last: Params


class Batch(NamedTuple):
    """What one step matches."""

    real: classwise.ClassImages
    nets: Nets


class Sampler(NamedTuple):
    """Where frequencies come from, and how what makes them climbs."""

    init: Callable[[PRNGKey], Params]
    draw: Callable[[Params, PRNGKey, tuple[int, int]], Frequencies]
    optimiser: optax.GradientTransformation


class SamplerState(NamedTuple):
    """The sampler in training; without parameters it holds nothing."""

    params: Params
    opt: optax.OptState


@declared("characteristic")
def characteristic_matching(
    network: Network,
    experts: Experts,
    *,
    classes: int,
    batch_real: Annotated[Many, "real images of every class", Small(2)] = 1024,
    frequencies: Annotated[Many, "at which functions are compared", Small(16)] = 4096,
    nets: Annotated[Many, "experts a step, each on its way"] = 1,
    amplitude: Annotated[Weight, "weight of the amplitudes' difference"] = 0.5,
    phase: Annotated[Weight, "weight of the phases' difference"] = 0.5,
    calibration: Annotated[Weight, "weight of the experts' cross-entropy"] = 1.0,
    sampling: Annotated[
        str, OneOf(("normal", "network")), "of frequencies; network: learned uphill"
    ] = "normal",
    sampler_lr: Annotated[Rate, "of that network"] = 1e-3,
    policy: tuple[str, ...] = (),
    image_shape: tuple[int, int, int] | None = None,
    seed: int = 0,
    population: str = "auto",
) -> Method:
    """Match the features of `nets` partly trained experts a step; see the module.

    `sampling` is "normal", or "network", which needs the pool's `image_shape`. `seed`
    orders experts. Raises `InputError` for experts of another network, and batch
    norm.
    """
    experts.require_network(network)
    classwise.require_alone(network, "characteristic")
    sampler = _sampler(sampling, network, image_shape, sampler_lr)

    def init(key):
        params = sampler.init(key)
        return SamplerState(params, sampler.optimiser.init(params))

    def loss(synthetic, inner, batch, key):
        images = classwise.by_class(synthetic.images, classes)
        labels = jax.nn.softmax(synthetic.logits)
        k_augment, k_draw = jax.random.split(key)
        keys = classwise.class_keys(k_augment, classes)

        def of_net(net: Nets):
            # One class after another, on any backend: each brings a large batch.
            r, s = jax.lax.map(
                lambda of_class: _unit_features(
                    network, net.between, policy, *of_class
                ),
                (batch.real, images, keys),
            )

            def measure(psi: Params, s: Float[Array, "k m d"]) -> Scalar:
                t = sampler.draw(psi, k_draw, (frequencies, s.shape[-1]))
                return SCALE * _over_classes(r, s, t, (amplitude, phase))

            logits = network.apply(net.last, synthetic.images)
            error = soft_cross_entropy(logits, labels)
            # Only the frequencies depend on psi: its gradient needs no network.
            ascent = jax.grad(measure)(inner.params, jax.lax.stop_gradient(s))
            return measure(inner.params, s), error, ascent

        apart = map_population(of_net, batch.nets, mode=population)
        match, error, ascent = jax.tree.map(lambda x: x.mean(axis=0), apart)
        metrics = {"match": match, "calibration": error}
        # The mean over the set times the classes is the sum of the classes' means.
        total = match + calibration * classes * error
        return total, Matched(metrics, jnp.ones(()), ascent)

    def advance(inner, residual, synthetic, batch, key):
        del synthetic, batch, key
        updates, opt = sampler.optimiser.update(residual, inner.opt, inner.params)
        return SamplerState(optax.apply_updates(inner.params, updates), opt)

    source = _source(batch_real, lambda step: draw_nets(experts, (seed, step), nets))
    return Method(init, loss, advance, source, population=False)


def _unit_features(
    network: Network,
    net: Params,
    policy: tuple[str, ...],
    real: Float[Array, "n h w c"],
    fake: Float[Array, "m h w c"],
    key: PRNGKey,
) -> tuple[Features, Float[Array, "m d"]]:
    """Features of a class, real and synthetic, augmented alike; no gradient by real."""
    r = embed_in_parts(network, net, augment_siamese(real, key, policy))
    s = network.embed(net, augment_siamese(fake, key, policy))
    return jax.lax.stop_gradient(unit_rows(r)), unit_rows(s)


def _over_classes(
    real: Float[Array, "k n d"],
    fake: Float[Array, "k m d"],
    t: Frequencies,
    weights: tuple[float, float],
) -> Scalar:
    """The sum of the classes' discrepancies, one class at a time."""

    def one(pair: tuple[Features, Float[Array, "m d"]]) -> Scalar:
        return discrepancy(pair[0], pair[1], t, weights)

    return jax.lax.map(one, (real, fake)).sum()


def discrepancy(
    real: Features,
    fake: Float[Array, "m d"],
    t: Frequencies,
    weights: tuple[float, float],
) -> Scalar:
    """`C` of the module for unit rows; `weights` are those of amplitude and phase."""
    p, q = _characteristic(real, t), _characteristic(fake, t)
    amplitude = (_lengths(p) - _lengths(q)) ** 2
    phase = jnp.maximum(jnp.sum((p - q) ** 2, axis=0) - amplitude, 2 * CLAMP)
    inside = weights[0] * amplitude + weights[1] * phase
    return jnp.mean(jnp.sqrt(jnp.maximum(inside, CLAMP**2)))  # a root off zero


def unit_rows(features: Features) -> Features:
    """Every row divided by its length; a row of zeros stays one, with no gradient."""
    squares = jnp.sum(features**2, axis=1, keepdims=True)
    return features / jnp.sqrt(jnp.maximum(squares, CLAMP))


def draw_nets(experts: Experts, at: tuple[int, int], count: int) -> Nets:
    """`count` experts and a random share of their way, a function of `(seed, step)`."""
    seed, step = at
    rng = np.random.default_rng((seed, 3, step))
    chosen = rng.integers(experts.count, size=count).tolist()
    shares = rng.uniform(size=count).tolist()

    def one(expert: int, share: float) -> Nets:
        start, end = experts.read(expert, 0), experts.read(expert, experts.epochs)
        return Nets(jax.tree.map(lambda a, b: a + share * (b - a), start, end), end)

    drawn = map(one, chosen, shares)
    return jax.tree.map(lambda *leaves: np.stack(leaves), *drawn)


def normal_sampler() -> Sampler:
    """Frequencies from N(0, I); nothing is learned."""
    return Sampler(
        init=lambda key: (),
        draw=lambda params, key, shape: jax.random.normal(key, shape),
        optimiser=optax.identity(),
    )


def network_sampler(features: int, lr: float) -> Sampler:
    """Frequencies from a small network of noise, which Adam moves uphill."""

    def init(key):
        inner = jax.random.normal(key, (features, WIDTH)) / np.sqrt(features)
        return {"in": inner, "out": jnp.zeros((WIDTH, features))}

    def draw(params, key, shape):
        z = jax.random.normal(key, shape)
        t = z + jnp.tanh(z @ params["in"]) @ params["out"]
        return t / jnp.sqrt(jnp.mean(t**2))

    return Sampler(init, draw, optax.chain(optax.scale(-1.0), optax.adam(lr)))


def _sampler(
    sampling: str, network: Network, image_shape: tuple | None, lr: float
) -> Sampler:
    if sampling == "normal":
        return normal_sampler()
    if image_shape is None:
        raise InputError(
            "characteristic.image_shape=None leaves open how many features there are, "
            "which sampling='network' needs: pass the pool's image_shape"
        )
    params = jax.eval_shape(network.init, jax.random.key(0))
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    return network_sampler(jax.eval_shape(network.embed, params, image).shape[1], lr)


def _source(batch_real: int, feed: Callable[[int], Nets]) -> Source:
    real = classwise.class_batches(batch_real)
    return real._replace(
        feed=feed,
        draw=lambda resident, fed, key: Batch(real.draw(resident, (), key), fed),
    )


def _characteristic(features: Features, t: Frequencies) -> Float[Array, "2 j"]:
    """Real and imaginary part of the empirical characteristic function."""
    angles = features @ t.T
    return jnp.stack([jnp.cos(angles).mean(axis=0), jnp.sin(angles).mean(axis=0)])


def _lengths(values: Float[Array, "2 j"]) -> Float[Array, " j"]:
    return jnp.sqrt(jnp.maximum(jnp.sum(values**2, axis=0), CLAMP))
