r"""Students of retinal vessels on a source of pictures that none has seen, and why.

CHASE_DB1, HRF and STARE, each left out in turn. `losses` compares every loss of
arXiv:2404.02738 (reconstructed) alone, in pairs and together with those of others, on a
student of a quarter of the size.

jaxdistill segment --config=configs/segment_vessels.py --workdir=runs/vessels
jaxdistill segment --config=configs/segment_vessels.py:losses \
  --workdir=runs/vessels_losses
"""

import ml_collections

from jaxdistill.jobs.settings.ablations import LOSSES, MAIN, distilled
from jaxdistill.jobs.settings.changes import changes, smoke

MODES = ("full", "losses", "smoke")


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
    c.protocol.seeds = (0, 1, 2, 3, 4)
    c.checkpoint_every = 100
    if mode == "losses":
        c.student.width = 8
        # By validation: at 2e-3 so small a student is far from its end.
        c.learning.lr = 1e-2
        c.protocol.seeds = (0, 1, 2)
        return distilled(c, LOSSES)
    distilled(c, MAIN)
    return smoke(c) if mode == "smoke" else c
