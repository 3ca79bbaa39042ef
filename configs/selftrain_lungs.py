r"""A vision transformer that improves itself on chest films without labels.

Park et al. 2022, arXiv:2202.06431 (DISTL), at a size for two CPU cores: 64 pixels, half
a million parameters, two small views where the paper has eight, and no start from a
labelled set of millions. A tenth of the films keeps its labels. They are of adults, the
RSNA pneumonia challenge cut to the lungs, `normal` against `op`, a zip of folders by
class; in the mode `children` normal, bacterial or viral; in `tuberculosis` of one
hospital, `normal` and `tb`. The mode `paper` is for a GPU: ViT-S/8 at 128 pixels by the
paper's schedule, which are the usual values, and which need weights to begin with,
`--config.start=FILE`.

jaxdistill selftrain --config=configs/selftrain_lungs.py --workdir=runs/lungs
jaxdistill selftrain --config=configs/selftrain_lungs.py:paper --workdir=runs/lungs_s8
"""

import ml_collections

from jaxdistill.jobs.settings.changes import changes, smoke
from jaxdistill.jobs.settings.selftraining import ABLATIONS

MODES = ("full", "children", "tuberculosis", "paper", "smoke")
PLACES = {
    "full": {"name": "folder", "path": "rsna_lungs_112.zip", "classes": "normal,op"},
    "children": {"name": "chest_xray"},
    "tuberculosis": {"name": "folder", "path": "tb_cxr_128.zip", "within": "shenzhen"},
}


def get_config(mode: str = "full") -> ml_collections.ConfigDict:
    """Three seeds, every ablation, wrong labels, and the model of all labels."""
    c = changes("selftrain")
    c.data = {"size": 64, **PLACES.get(mode, PLACES["full"])}
    c.protocol.ablations = ",".join(ABLATIONS)
    c.protocol.wrong = (0.1,)
    if mode == "paper":
        c.data.size = 128
        c.backbone = {"name": "vit", "patch": 8, "drop_path": 0.1}
        c.backbone.compute = "bfloat16"
        return c
    c.backbone = {"name": "vit", "patch": 8, "width": 96, "depth": 4, "heads": 3}
    c.backbone.drop_path = 0.1
    c.head = {"outputs": 1024, "hidden": 256, "bottleneck": 64}
    c.classes.hidden = 64
    c.views.locals = 2
    # A ViT from nothing needs hundreds of passes over five hundred films; all labels
    # are seen in as many steps.
    c.protocol.first_epochs, c.protocol.ceiling = (200, 800), 80
    c.first = {"epochs": 800, "batch": 32, "lr": 5e-4, "lr_batch": 32, "warmup": 10.0}
    c.first.weight_decay = c.first.weight_decay_last = 0.05
    c.stage = {"epochs": 5, "batch": 32, "lr": 5e-4, "lr_batch": 32, "warmup": 0.5}
    c.stage.momentum = 0.999
    c.stage.every = 50
    if mode == "tuberculosis":  # of 37 labels and 330 films an epoch is a few steps
        c.protocol.first_epochs, c.first.epochs = (300, 1000), 1000
        c.protocol.ceiling = 100
        c.stage.epochs, c.stage.warmup, c.stage.frozen = 40, 4.0, 4.0
    return smoke(c) if mode == "smoke" else c
