"""Structural distillation: the affinities of all pairs of pixels (Liu et al. 2019).

arXiv:1903.04197, eq. 2, with every pixel a node:

    L = 1 / N^2 sum_ij (s_i . s_j - t_i . t_j)^2,   features at unit length

of the high level, exact by the identity of `affinity`, without the matrices that make
the authors pool first. Their adversarial term is left out.
"""

from jaxdistill.segmentation.losses.affinity import affinity_distance
from jaxdistill.segmentation.term import Term, on_levels
from jaxdistill.settings import declared


@declared("losses.structural")
def structural() -> Term:
    """All pairs of pixels of the high level; see the head."""
    return on_levels(affinity_distance, levels=(1,))
