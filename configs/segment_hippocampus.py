r"""Students of the hippocampus in MRI on a site that none has seen, and why.

One hospital's cases dealt into four sites that differ in bias field, tone, noise and
resolution, each left out in turn; two classes, anterior and posterior. `losses`
compares every loss of arXiv:2404.02738 (reconstructed) alone, in pairs and together
with those of others, on a student of a quarter of the size.

jaxdistill segment --config=configs/segment_hippocampus.py --workdir=runs/hippocampus
jaxdistill segment --config=configs/segment_hippocampus.py:losses \
  --workdir=runs/hippocampus_losses
"""

import ml_collections

from jaxdistill.jobs.settings.ablations import LOSSES, MAIN, SEVERAL, distilled
from jaxdistill.jobs.settings.changes import changes, smoke

MODES = ("full", "losses", "smoke")


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
    c.checkpoint_every = 400
    if mode == "losses":
        c.student.width = 8
        c.learning.steps = 1200
        # By validation: at 2e-3 so small a student hardly finds the first class.
        c.learning.lr = 1e-2
        return distilled(c, LOSSES | SEVERAL)
    distilled(c, MAIN)
    return smoke(c) if mode == "smoke" else c
