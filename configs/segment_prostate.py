r"""Students on the six-site prostate set, each site left out in turn.

Loussaief et al. 2024, arXiv:2404.02738 (reconstructed), on the set of Liu et al. 2020,
arXiv:2007.02035: RUNMC, BMC, HCRUDB (I2CVB), UCL, BIDMC and HK as folders of
CaseXX.nii.gz and CaseXX_segmentation.nii.gz. The bar are the published mean Dice of
leaving one site out: 85.2 for all source sites pooled, 87.9 (SAML), 88.6 (DCAC).
Not run here, as the files are not at hand.

jaxdistill segment --config=configs/segment_prostate.py --workdir=runs/prostate \
  --config.data.path=prostate
"""

import ml_collections

from jaxdistill.jobs.settings.changes import changes, smoke


def get_config(mode: str = "full") -> ml_collections.ConfigDict:
    """U-Net to ENet, three neighbouring slices, for one accelerator."""
    c = changes("segment")
    c.data.name = "prostate"
    c.data.path = "prostate"
    c.protocol.neighbours = 1
    c.teacher = {"name": "unet", "width": 64}
    c.student = {"name": "enet"}
    c.teaching.steps = 10_000
    c.learning.steps = 10_000
    c.patches.batch = 16
    return smoke(c) if mode == "smoke" else c
