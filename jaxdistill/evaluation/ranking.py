"""Scores that do not credit a set with what soft labels or augmentation would give any.

DD-Ranking, Li et al. 2025, arXiv:2505.13300. Accuracies of a balance in [-1, 1] become

    score = (e^balance - e^-1) / (e - e^-1)

1 is the best there can be. A set exactly as good as a random subset, which loses
nothing against real data either, has balance 0 and score 0.269: compare scores with
that, not with a half.

Different from the reference program: accuracies are fractions (percent in the
exponential leave [0, 1]), and no learning rate is chosen here, so none on test data.
"""

import numpy as np
from jaxtyping import Float

from jaxdistill.errors import InputError

Fractions = float | Float[np.ndarray, "*#n"]


def label_robust_score(
    real_hard: Fractions,
    syn_hard: Fractions,
    syn_own: Fractions,
    random_own: Fractions,
    weight: float = 0.5,
) -> Fractions:
    """LRS, of the balance `weight * IOR - (1 - weight) * HLR`.

    IOR = syn_own - random_own, the improvement over a random subset of equal size, both
    trained by the set's own protocol. HLR = real_hard - syn_hard, what is still missing
    to the whole real set when both have hard labels. Raises `InputError` for percent.
    """
    require_fractions(
        real_hard=real_hard, syn_hard=syn_hard, syn_own=syn_own, random_own=random_own
    )
    require_fractions(weight=weight)
    better, missing = _less(syn_own, random_own), _less(real_hard, syn_hard)
    return _score(weight * better - (1 - weight) * missing)


def augmentation_robust_score(
    syn_aug: Fractions,
    random_aug: Fractions,
    syn_plain: Fractions,
    random_plain: Fractions,
    weight: float = 0.5,
) -> Fractions:
    """ARS, of `weight * (syn - random)` with augmentation + `(1 - weight)` without it.

    The random subset has the set's size and labels of the same kind. Raises
    `InputError` for percent.
    """
    require_fractions(
        syn_aug=syn_aug,
        random_aug=random_aug,
        syn_plain=syn_plain,
        random_plain=random_plain,
    )
    require_fractions(weight=weight)
    with_it, without = _less(syn_aug, random_aug), _less(syn_plain, random_plain)
    return _score(weight * with_it + (1 - weight) * without)


def require_fractions(**values: float | np.ndarray) -> None:
    """Raise `InputError` for the first value outside [0, 1], by its name, nan too."""
    for name, value in values.items():
        array = np.asarray(value)
        wrong = ~((array >= 0) & (array <= 1))
        if wrong.any():
            raise InputError(
                f"{name}={float(array[wrong][0])} is not a fraction in [0, 1]: divide "
                "percent by 100, leave out runs without a score"
            )


def _less(one: Fractions, other: Fractions) -> Fractions:
    return np.asarray(one, np.float64) - np.asarray(other, np.float64)


def _score(balance: Fractions) -> Fractions:
    return (np.exp(balance) - np.exp(-1)) / (np.exp(1) - np.exp(-1))
