"""The loop that a configuration asks for, whatever is trained in it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from jaxdistill.run.limits import Limit
from jaxdistill.run.loop import Loop


def build_loop(
    config: Mapping[str, Any],
    folder: Path,
    steps: int,
    key: jax.Array,
    mesh: Mesh,
    **more: Any,
) -> Loop:
    """`steps` steps in a folder, at the pace and with the limit of `config`."""
    return Loop(
        folder=folder,
        steps=steps,
        key=key,
        mesh=mesh,
        engine=config["devices"]["map"],
        per_call=config["steps_per_call"],
        log_every=config["log_every"],
        checkpoint_every=config["checkpoint_every"],
        tensorboard=config["tensorboard"],
        limit=Limit(**config["limit"]),
        **more,
    )
