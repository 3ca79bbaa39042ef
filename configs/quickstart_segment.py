r"""A student of a sixteenth of its teacher's size on a scanner that neither has seen.

Loussaief et al. 2024, arXiv:2404.02738 (reconstructed), on the embedded prostate
phantom of six sites, at a size for two CPU cores.

jaxdistill segment --config=configs/quickstart_segment.py --workdir=runs/segment
"""

import ml_collections

from jaxdistill.jobs.settings.changes import changes, smoke


def get_config(mode: str = "full") -> ml_collections.ConfigDict:
    """One site left out, one seed, a narrow teacher and a narrower student."""
    c = changes("segment")
    c.data.name = "prostate_phantom"
    c.protocol.unseen = "S1"
    c.protocol.seeds = (0,)
    c.teacher = {"name": "unet", "width": 16, "depth": 4}
    c.student = {"name": "unet", "width": 8, "depth": 3, "patch": 2}
    c.teaching.steps = 450
    c.learning.steps = 600
    c.learning.lr = 5e-3  # at 2e-3 one student in five is not at its end by then
    c.losses.logits = {"weight": 1.0, "temperature": 1.0}
    c.losses.gram.weight = 0.0
    return smoke(c) if mode == "smoke" else c
