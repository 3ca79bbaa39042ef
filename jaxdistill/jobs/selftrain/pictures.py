"""What models look at: the attention of their class token over test films."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxdistill.data.standard import from_unit
from jaxdistill.jobs.lessons.training import Room, Taught
from jaxdistill.jobs.selftrain import figure
from jaxdistill.jobs.settings.build_backbones import build_backbones


def attention(
    path: Path, room: Room, config: Mapping[str, Any], models: Mapping[str, Taught]
) -> None:
    """The first test films of every class, one after another, and their attention.

    The mean over heads of what the class token takes from each patch; nothing is drawn
    for a backbone without patches.
    """
    backbone = build_backbones(config, room.pool).backbone
    count = config["eval"]["maps"]
    if backbone.attention is None or not count or not models:
        return
    split = room.pool.test
    labels = np.asarray(split.labels)
    by_class = [np.flatnonzero(labels == k) for k in range(room.pool.classes)]
    rows = [own[i] for i in range(count) for own in by_class if i < len(own)][:count]
    pictures = split.images[jnp.asarray(rows)].astype(jnp.float32) / 255
    inputs = from_unit(pictures, split.standard)
    maps = {}
    for name, taught in models.items():
        found = backbone.attention(taught.student["trunk"], inputs)
        own = np.asarray(found)[:, :, 1:].mean(axis=1)
        maps[name] = own.reshape(len(rows), *backbone.grid)
    titles = [room.pool.class_names[labels[row]] for row in rows]
    figure.attention(path, np.asarray(pictures), maps, titles)
