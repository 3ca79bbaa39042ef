"""Segmenters of two convolutions, without Flax: what tests train in a second."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill.types import Segmenter, Slices


def small(width=4, classes=2, channels=1):
    """A map of the image at half size, and what it says of every pixel."""

    def conv(x, kernel, stride):
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    def init(key):
        a, b, c = jax.random.split(key, 3)
        return {
            "low": 0.5 * jax.random.normal(a, (3, 3, channels, width)),
            "high": 0.5 * jax.random.normal(b, (3, 3, width, width)),
            "head": 0.5 * jax.random.normal(c, (width, classes)),
        }

    def look(params, images):
        low = jax.nn.relu(conv(images, params["low"], 2))
        high = jax.nn.relu(conv(low, params["high"], 1))
        logits = jnp.repeat(jnp.repeat(high @ params["head"], 2, 1), 2, 2)
        return logits, {"low": low, "high": high}

    def tap(params, images, names, key=None):
        del key
        logits, features = look(params, images)
        return logits, {name: features[name] for name in names}

    return Segmenter(
        init=init,
        apply=lambda params, images: look(params, images)[0],
        tap=tap,
        layers=("low", "high"),
        levels=("low", "high"),
        stride=2,
        name=f"small-{width}",
    )


def discs(count=6, side=16, seed=0):
    """Slices with a bright disc on noise, whose mask it is."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    centres = rng.uniform(5, side - 5, (count, 2, 1, 1))
    masks = ((y - centres[:, 0]) ** 2 + (x - centres[:, 1]) ** 2 < 12).astype(np.uint8)
    images = masks + 0.1 * rng.standard_normal(masks.shape)
    return Slices(
        jnp.asarray(images[..., None], jnp.float32),
        jnp.asarray(masks),
        jnp.zeros(count, jnp.int32),
    )
