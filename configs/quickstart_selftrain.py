r"""A small vision transformer that improves itself on films without labels.

Park et al. 2022, arXiv:2202.06431 (DISTL), on the embedded phantom, at a size for two
CPU cores: a tenth of the films keeps its labels, the others come in three folds.

jaxdistill selftrain --config=configs/quickstart_selftrain.py --workdir=runs/selftrain
"""

import ml_collections

from jaxdistill.jobs.settings.changes import changes, smoke


def get_config(mode: str = "full") -> ml_collections.ConfigDict:
    """One seed, a ViT of half a million parameters, two small views."""
    c = changes("selftrain")
    c.data.name = "phantom"
    c.data.size = 32
    c.backbone = {"name": "vit", "patch": 8, "width": 96, "depth": 4, "heads": 3}
    c.head = {"outputs": 512, "hidden": 256, "bottleneck": 64}
    c.views.locals = 2
    c.protocol.seeds = (0,)
    return smoke(c) if mode == "smoke" else c
