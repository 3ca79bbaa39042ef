"""What experts are worth as teachers, before a set is distilled from them.

For some epochs t, over experts: the scores of theta_t on validation, which bound what a
set that matches segments up to there can teach, and the agreement

    cos(theta_t - theta_{t-M}, theta_{t+M} - theta_t)

of a segment with the next. Near 1 the way is smooth; what is missing is mostly the
noise of the experts' batches, which no set can match (`Recipe.average` removes it).
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from jaxdistill.distillation.experts import Experts
from jaxdistill.errors import InputError
from jaxdistill.evaluation.evaluate import predict_logits
from jaxdistill.evaluation.metrics import as_probabilities, scores, summarise
from jaxdistill.types import Network, Split

Row = dict[str, Any]


def survey_experts(
    experts: Experts,
    network: Network,
    split: Split,
    *,
    span: int = 2,
    rows: int = 12,
    sample: int = 5,
) -> list[Row]:
    """A row for each of up to `rows` epochs, evenly apart, the last among them.

    A row holds `epoch` and, as `{"mean", "std", "n"}` over the first `sample` experts,
    the scores on `split` (`evaluation.metrics.scores`) and `agreement` for segments of
    `span` epochs, nan where the experts do not reach that far to both sides. Raises
    `InputError` for experts of another network.
    """
    experts.require_network(network)
    if min(span, rows, sample) < 1:
        raise InputError(f"span={span}, rows={rows}, sample={sample} must be 1 or more")
    labels = np.asarray(split.labels)
    logits = jax.jit(lambda params: predict_logits(network, params, split))

    def measure(expert: int, epoch: int) -> Mapping[str, Any]:
        said = as_probabilities(np.asarray(logits(experts.read(expert, epoch))))
        found = scores(said, labels)
        return found | {"agreement": agreement(experts, expert, epoch, span)}

    numbers = range(min(sample, experts.count))
    chosen = np.linspace(0, experts.epochs, min(rows, experts.epochs) + 1)[1:]
    return [
        {"epoch": epoch} | summarise([dict(measure(i, epoch)) for i in numbers])
        for epoch in np.round(chosen).astype(int).tolist()
    ]


def agreement(experts: Experts, expert: int, epoch: int, span: int) -> float:
    """The cosine of the module for one expert at one epoch; nan beyond its ends."""
    if not span <= epoch <= experts.epochs - span:
        return float("nan")
    before, here, after = (
        _flat(experts, expert, t) for t in (epoch - span, epoch, epoch + span)
    )
    came, goes = here - before, after - here
    lengths = np.linalg.norm(came) * np.linalg.norm(goes)
    return float(came @ goes / lengths) if lengths else float("nan")


def _flat(experts: Experts, expert: int, epoch: int) -> Float[np.ndarray, " p"]:
    leaves = jax.tree.leaves(experts.read(expert, epoch))
    return np.concatenate([np.ravel(leaf) for leaf in leaves]).astype(np.float64)
