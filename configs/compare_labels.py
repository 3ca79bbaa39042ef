r"""Ways to do with few labels, on films of two classes: the paper's own comparison.

Li et al. 2022, arXiv:2209.14603, beside the distilled set: BYOL, SimSiam, MAE, SKD and
labels alone, at a size for two CPU cores. `--config.labels.distilled` names the sets.

jaxdistill compare-labels --config=configs/compare_labels.py --workdir=runs/labels
"""

import ml_collections

from jaxdistill.jobs.settings.changes import changes, smoke

EPOCHS = {"byol": 60, "simsiam": 60, "mae": 120, "dino": 60, "skd": 60}


def get_config(mode: str = "full") -> ml_collections.ConfigDict:
    """PneumoniaMNIST at 28 pixels, a ViT of half a million parameters."""
    c = changes("labels")
    c.data.name = "pneumoniamnist"
    c.backbone = {"name": "vit", "patch": 4, "width": 96, "depth": 4, "heads": 3}
    for name, epochs in EPOCHS.items():
        c[name].epochs = epochs
        c[name].batch = 128
        c[name].warmup = epochs / 10
        c[name].optimiser = "adamw"
        c[name].lr = 5e-4
        c[name].lr_batch = 128
        c[name].weight_decay = c[name].weight_decay_last = 0.05
    for name in ("byol", "skd"):
        c[name].projector = {"hidden": 512, "outputs": 128}
        c[name].predictor.hidden = 512
    c.simsiam.projector = {"hidden": 512, "outputs": 512}
    c.simsiam.predictor.hidden = 128
    c.mae.decoder = {"width": 64, "depth": 2, "heads": 4}
    c.dino.dino = {"outputs": 1024, "hidden": 256, "bottleneck": 64}
    c.dino.views.locals = 2
    return smoke(c) if mode == "smoke" else c
