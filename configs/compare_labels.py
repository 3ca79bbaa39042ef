r"""Ways to do with few labels, on films of two classes: the paper's own comparison.

Li et al. 2022, arXiv:2209.14603, beside the distilled set: BYOL, SimSiam, MAE, SKD and
labels alone, at a size for two CPU cores: of children (PneumoniaMNIST, 28 pixels), or
of adults in the mode `lungs` (`normal` against `op` of the RSNA pneumonia challenge cut
to the lungs, 56 pixels). `--config.labels.rows` adds the rows `random`, `distilled` and
`transfer`, for which `--config.labels.distilled` and `--config.labels.transfer` name
the sets and the weights from other films.

jaxdistill compare-labels --config=configs/compare_labels.py --workdir=runs/labels
jaxdistill compare-labels --config=configs/compare_labels.py:lungs \
  --workdir=runs/labels_lungs
"""

import ml_collections

from jaxdistill.jobs.settings.changes import changes, smoke

MODES = ("full", "lungs", "smoke")
EPOCHS = {"byol": 15, "simsiam": 15, "mae": 40, "dino": 15, "skd": 15}


def get_config(mode: str = "full") -> ml_collections.ConfigDict:
    """A ViT of half a million parameters, on some five thousand films of either set."""
    c = changes("labels")
    c.data.name = "pneumoniamnist"
    c.backbone = {"name": "vit", "patch": 4, "width": 96, "depth": 4, "heads": 3}
    c.network = {"name": "convnet", "width": 32, "depth": 3}
    for name, epochs in EPOCHS.items():
        epochs = 2 * epochs // 3 if mode == "lungs" else epochs
        c[name].epochs = epochs
        c[name].batch = 64
        c[name].warmup = epochs / 10
        c[name].optimiser = "adamw"
        c[name].lr = 5e-4
        c[name].lr_batch = 64
        c[name].weight_decay = c[name].weight_decay_last = 0.05
    for name in ("byol", "skd"):
        c[name].projector = {"hidden": 512, "outputs": 128}
        c[name].predictor.hidden = 512
    c.simsiam.projector = {"hidden": 512, "outputs": 512}
    c.simsiam.predictor.hidden = 128
    c.mae.decoder = {"width": 64, "depth": 2, "heads": 4}
    c.dino.dino = {"outputs": 1024, "hidden": 256, "bottleneck": 64}
    c.dino.views.locals, c.dino.views.local = 2, 16
    c.tuning.steps, c.tuning.most = 200, 16
    if mode == "lungs":
        c.data = {"name": "folder", "path": "rsna_lungs_112.zip", "size": 56}
        c.data.classes = "normal,op"
        c.backbone.patch = 8
        c.dino.views.local = 32
    return smoke(c) if mode == "smoke" else c
