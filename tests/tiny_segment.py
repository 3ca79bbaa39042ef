"""A segmentation as small as it gets: two sites of the phantom, four channels, two
steps. `get_config` makes this file a config as well.
"""

from typing import Any

import ml_collections

from jaxdistill.jobs.settings.changes import changes, smoke
from jaxdistill.jobs.settings.resolve import override

OFF = (
    *("rotation_p", "scale_p", "shift_p", "elastic_p", "bias_p", "noise_p", "blur_p"),
    *("brightness_p", "contrast_p", "low_resolution_p", "gamma_p"),
)


def get_config(mode: str = "full") -> ml_collections.ConfigDict:
    """One site left out, a teacher and students of four channels."""
    del mode
    c = smoke(changes("segment"))
    c.data.name = "prostate_phantom"
    c.protocol.unseen = "S2"
    c.teacher = {"name": "unet", "width": 4, "depth": 3}
    c.student = {"name": "unet", "width": 4, "depth": 3}
    c.patches.batch = 4
    c.steps_per_call = 1
    c.augment = {"left_right": 0.5, **dict.fromkeys(OFF, 0.0)}
    return c


def small(**values: Any) -> dict[str, Any]:
    """The same with other values, as plain ones."""
    return override(get_config().to_dict(), values)
