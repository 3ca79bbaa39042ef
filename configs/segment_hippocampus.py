r"""Students of the hippocampus in MRI on a site that none has seen.

One hospital's cases dealt into four sites that differ in bias field, tone, noise and
resolution, each left out in turn; two classes, anterior and posterior.

jaxdistill segment --config=configs/segment_hippocampus.py --workdir=runs/hippocampus
"""

import ml_collections

from jaxdistill.jobs.settings.changes import changes, smoke, variants

# Beside what validation prefers here and on vessels, labels as soft as the teacher says
# them with the affinity of pixels: the labels alone, and the usual weights.
STUDENTS = {
    "logits": {"losses.logits.weight": 1.0, "losses.logits.temperature": 1.0},
    "usual": {
        "losses.logits.weight": 0.1,
        "losses.logits.temperature": 4.0,
        "losses.gram.weight": 0.9,
        "losses.affinity.weight": 0.9,
    },
}


def get_config(mode: str = "full") -> ml_collections.ConfigDict:
    """A U-Net of 2.2 M parameters and students of 131 thousand, on whole slices."""
    c = changes("segment")
    c.data.name = "hippocampus"
    c.data.strength = 0.6
    c.teacher = {"name": "unet", "width": 16, "depth": 5}
    c.student = {"name": "unet", "width": 16, "depth": 3, "patch": 2}
    c.teaching.steps = 1600
    c.learning.steps = 1200
    c.patches.batch = 16
    c.losses.logits = {"weight": 1.0, "temperature": 1.0}
    c.losses.gram.weight = 0.0
    c.protocol.students = variants(STUDENTS)
    c.checkpoint_every = 400
    return smoke(c) if mode == "smoke" else c
