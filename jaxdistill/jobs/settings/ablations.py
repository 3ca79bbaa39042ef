"""What configurations of segmentation compare: each loss alone, and with others.

The three losses of Loussaief et al. 2024, arXiv:2404.02738 (reconstructed), alone, in
pairs and together, by the weights that validation preferred on two sets and by those
that are usual; those of others by their published weights. The pair of labels and
affinity is what the configurations call distilled.
"""

from itertools import combinations
from typing import Any

from ml_collections import ConfigDict

from jaxdistill.jobs.settings.changes import variants

# Labels are as soft as the teacher says them where the temperature is 1.
OURS = {
    "logits": {"losses.logits.weight": 1.0, "losses.logits.temperature": 1.0},
    "gram": {"losses.gram.weight": 0.9},
    "affinity": {"losses.affinity.weight": 0.9},
}
SOFT = {"losses.logits.weight": 0.1, "losses.logits.temperature": 4.0}
LOSSES: dict[str, dict[str, Any]] = {
    "_".join(names): {k: v for name in names for k, v in OURS[name].items()}
    for count in (1, 2, 3)
    for names in combinations(OURS, count)
}
LOSSES |= {
    "usual": SOFT | OURS["gram"] | OURS["affinity"],
    "field": {"losses.field.weight": 1.0},
    "structural": {"losses.structural.weight": 1.0},
    "attention": {"losses.attention.weight": 1000.0},
    "channel_wise": {"losses.channel_wise.weight": 1.0},
    "emkd": SOFT | {"losses.importance.weight": 0.9, "losses.region.weight": 0.9},
    "fitnet": {"losses.fitnet.weight": 1.0},
    "relational": {"losses.relational.weight": 1.0},
}
DISTILLED = LOSSES.pop("logits_affinity")
SEVERAL = {"two_teachers": {"teachers.count": 2} | DISTILLED}
MAIN = {name: LOSSES[name] for name in ("logits", "usual")}


def distilled(c: ConfigDict, students: dict[str, dict[str, Any]]) -> ConfigDict:
    """The configuration with the losses of `DISTILLED`, and these students beside."""
    c.losses.logits = {"weight": 1.0, "temperature": 1.0}
    c.losses.gram.weight = 0.0
    c.losses.affinity.weight = 0.9
    c.protocol.students = variants(students)
    return c
