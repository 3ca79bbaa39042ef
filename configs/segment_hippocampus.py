r"""Students of the hippocampus in MRI on a site that none has seen, and why.

One hospital's cases dealt into four sites that differ in bias field, tone, noise and
resolution, each left out in turn; two classes, anterior and posterior. `losses`
compares every loss of arXiv:2404.02738 (reconstructed) alone, in pairs and together
with those of others.

jaxdistill segment --config=configs/segment_hippocampus.py --workdir=runs/hippocampus
jaxdistill segment --config=configs/segment_hippocampus.py:losses \
  --workdir=runs/hippocampus_losses
"""

from itertools import combinations

import ml_collections

from jaxdistill.jobs.settings.changes import changes, smoke, variants

MODES = ("full", "losses", "smoke")
FULL = ("logits", "usual")  # its students, beside alone and distilled
# Labels are as soft as the teacher says them. With the affinity of pixels they are what
# validation prefers, `distilled`; beside it the losses alone, in other pairs, together.
OURS = {"logits": 1.0, "gram": 0.9, "affinity": 0.9}
CHOSEN = ("logits", "affinity")
STUDENTS = {
    "_".join(names): {f"losses.{name}.weight": OURS[name] for name in names}
    for count in (1, 2, 3)
    for names in combinations(OURS, count)
    if names != CHOSEN
}
STUDENTS |= {
    "usual": {
        "losses.logits.weight": 0.1,
        "losses.logits.temperature": 4.0,
        "losses.gram.weight": 0.9,
        "losses.affinity.weight": 0.9,
    },
    "two_teachers": {
        "teachers.count": 2,
        "losses.logits.weight": 1.0,
        "losses.affinity.weight": 0.9,
    },
}
# Of others, by their published weights.
STUDENTS |= {
    "field": {"losses.field.weight": 1.0},
    "structural": {"losses.structural.weight": 1.0},
    "attention": {"losses.attention.weight": 1000.0},
    "channel_wise": {"losses.channel_wise.weight": 1.0},
    "emkd": {
        "losses.logits.weight": 0.1,
        "losses.logits.temperature": 4.0,
        "losses.importance.weight": 0.9,
        "losses.region.weight": 0.9,
    },
    "fitnet": {"losses.fitnet.weight": 1.0},
    "relational": {"losses.relational.weight": 1.0},
}


def get_config(mode: str = "full") -> ml_collections.ConfigDict:
    """A U-Net of 2.2 M parameters and students of 131 thousand, on whole slices."""
    c = changes("segment")
    c.data.name = "hippocampus"
    c.data.strength = 0.6
    c.teacher = {"name": "unet", "width": 16, "depth": 5}
    c.student = {"name": "unet", "width": 16, "depth": 3, "patch": 2}
    c.teaching.steps = 1600
    c.learning.steps = 2400
    c.patches.batch = 16
    c.losses.logits = {"weight": 1.0, "temperature": 1.0}
    c.losses.gram.weight = 0.0
    names = FULL if mode == "full" else tuple(STUDENTS)
    c.protocol.students = variants({name: STUDENTS[name] for name in names})
    c.checkpoint_every = 400
    return smoke(c) if mode == "smoke" else c
