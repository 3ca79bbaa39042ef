"""FitNet: the teacher's features themselves (Romero et al. 2015).

arXiv:1412.6550, eq. 3, at the high level, through a 1 x 1 adapter where channels
differ:

    L = mean of (r(s) - t)^2
"""

import jax.numpy as jnp

from jaxdistill.segmentation.term import Features, Masks, Term, on_levels
from jaxdistill.settings import declared
from jaxdistill.types import Scalar


def feature_distance(student: Features, teacher: Features, masks: Masks) -> Scalar:
    """Mean squared difference."""
    del masks
    return jnp.square(student - teacher).mean()


@declared("losses.fitnet")
def fitnet() -> Term:
    """The features of the high level; see the head."""
    return on_levels(feature_distance, adapt=True, levels=(1,))
