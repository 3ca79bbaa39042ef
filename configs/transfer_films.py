r"""A backbone of other films, for the row `transfer` of configs/compare_labels.py.

Labels of nine tenths of the films, and one short stage of self-training on the rest:
adults' lungs at 28 pixels for PneumoniaMNIST, or in the mode `lungs` children's films
(`chest_xray_128.zip`) at 56 pixels for adults' lungs.

jaxdistill selftrain --config=configs/transfer_films.py --workdir=runs/transfer
"""

import ml_collections

from jaxdistill.jobs.settings.changes import changes, smoke

MODES = ("full", "lungs", "smoke")


def get_config(mode: str = "full") -> ml_collections.ConfigDict:
    """The network of configs/compare_labels.py, on the films of the other set."""
    c = changes("selftrain")
    c.data = {"name": "folder", "path": "rsna_lungs_112.zip", "size": 28}
    c.data.classes = "normal,op"
    c.backbone = {"name": "vit", "patch": 4, "width": 96, "depth": 4, "heads": 3}
    c.backbone.drop_path = 0.1
    c.head = {"outputs": 1024, "hidden": 256, "bottleneck": 64}
    c.classes.hidden = 64
    c.views.locals, c.views.local = 2, 16
    c.films.labelled, c.films.folds = 0.9, 1
    c.first = {"epochs": 20, "batch": 32, "lr": 5e-4, "lr_batch": 32, "warmup": 2.0}
    c.first.weight_decay = c.first.weight_decay_last = 0.05
    c.stage = {"epochs": 1, "batch": 32, "lr": 5e-4, "lr_batch": 32, "warmup": 0.5}
    c.stage.momentum = 0.999
    c.stage.every = 50
    c.protocol.seeds = (0,)
    c.protocol.ceiling = 0
    c.eval.robustness, c.eval.maps = False, 0
    if mode == "lungs":
        c.data.path, c.data.size, c.data.classes = "chest_xray_128.zip", 56, ""
        c.backbone.patch, c.views.local = 8, 32
    return smoke(c) if mode == "smoke" else c
