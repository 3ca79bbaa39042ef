"""Losses on logits that the inner learners and the experts train with."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.types import Logits, Scalar


def soft_cross_entropy(logits: Logits, target: Float[Array, "n k"]) -> Scalar:
    """Mean over images of `-sum_c target_c log softmax(logits)_c`."""
    return -jnp.mean(jnp.sum(target * jax.nn.log_softmax(logits), axis=-1))
