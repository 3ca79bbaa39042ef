"""The smallest comparison, as a config: two variants at one size, one coreset."""

import ml_collections
import tiny

from jaxdistill.jobs.settings.changes import variants


def get_config(mode: str = "full") -> ml_collections.ConfigDict:
    """The tiny run, compared; `study` makes a study of two data sets of it."""
    c = tiny.get_config("full")
    c.steps = c.eval.every = 4
    c.eval.epochs, c.eval.real_lrs = 2, (0.02,)
    own = {"method": "distribution", "distribution.batch_real": 4}
    c.compare.methods = variants({"dm": own, "two": own | {"steps": 2}})
    c.compare.ipc = (1,)
    c.compare.coresets, c.compare.augmentation = "random,herding", "without"
    if mode == "study":
        # Of one set alone, nothing can be foretold.
        c.study.sets = variants({"films": {}, "large": {"data.size": 16}})
    return c


MODES = ("full", "study")
