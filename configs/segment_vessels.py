r"""Students of retinal vessels on a source of pictures that none has seen, and why.

CHASE_DB1, HRF and STARE, each left out in turn. `losses` compares every loss of
arXiv:2404.02738 (reconstructed) alone, in pairs and together with those of others, on a
student of a quarter of the size.

jaxdistill segment --config=configs/segment_vessels.py --workdir=runs/vessels
jaxdistill segment --config=configs/segment_vessels.py:losses \
  --workdir=runs/vessels_losses
"""

import ml_collections

from jaxdistill.jobs.settings.changes import changes, smoke, variants

MODES = ("full", "losses", "smoke")
# Beside what validation prefers, labels as soft as the teacher says them with affinity:
# these labels alone, and the usual weights.
STUDENTS = {
    "logits": {"losses.logits.weight": 1.0, "losses.logits.temperature": 1.0},
    "usual": {
        "losses.logits.weight": 0.1,
        "losses.logits.temperature": 4.0,
        "losses.gram.weight": 0.9,
        "losses.affinity.weight": 0.9,
    },
}
LOSSES = {
    "logits": {"losses.logits.weight": 1.0},
    "gram": {"losses.gram.weight": 0.9},
    "affinity": {"losses.affinity.weight": 0.9},
    "logits_gram": {"losses.logits.weight": 1.0, "losses.gram.weight": 0.9},
    "logits_affinity": {"losses.logits.weight": 1.0, "losses.affinity.weight": 0.9},
    "gram_affinity": {"losses.gram.weight": 0.9, "losses.affinity.weight": 0.9},
    "all_strong": {
        "losses.logits.weight": 1.0,
        "losses.gram.weight": 0.9,
        "losses.affinity.weight": 5.0,
    },
    "attention": {"losses.attention.weight": 1000.0},
    "channel_wise": {"losses.channel_wise.weight": 1.0},
    "emkd": {
        "losses.logits.weight": 0.1,
        "losses.importance.weight": 0.9,
        "losses.region.weight": 0.9,
    },
    "fitnet": {"losses.fitnet.weight": 1.0},
    "relational": {"losses.relational.weight": 1.0},
}


def get_config(mode: str = "full") -> ml_collections.ConfigDict:
    """A U-Net of 2.2 M parameters, students of 131 thousand, patches of 128 pixels."""
    c = changes("segment")
    c.data.name = "retinal_vessels"
    c.data.channels = 1
    c.teacher = {"name": "unet", "width": 16, "depth": 5}
    c.student = {"name": "unet", "width": 16, "depth": 3, "patch": 2}
    c.teaching.steps = 800
    c.learning.steps = 800
    c.patches.patch = 128
    c.patches.batch = 8
    c.losses.logits = {"weight": 1.0, "temperature": 1.0}
    c.losses.gram.weight = 0.0
    c.losses.affinity.weight = 0.9
    c.protocol.seeds = (0, 1, 2, 3, 4)
    c.protocol.students = variants(STUDENTS)
    c.checkpoint_every = 100
    if mode == "losses":
        c.student = {"name": "unet", "width": 4, "depth": 4}
        c.losses.logits = {"weight": 0.1, "temperature": 4.0}
        c.losses.gram.weight = 0.9
        c.protocol.students = variants(LOSSES)
    return smoke(c) if mode == "smoke" else c
