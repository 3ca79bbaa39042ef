"""Heads and decoders that a way to learn asks for, built on a backbone."""

from collections.abc import Mapping
from typing import Any

from jaxdistill.errors import require_name
from jaxdistill.networks.heads import build_head
from jaxdistill.networks.masked import masked_decoder
from jaxdistill.types import Backbone, Decoder, Head, Part

DECODER = "decoder"


def build_parts(
    asked: Mapping[str, Part],
    backbone: Backbone,
    channels: int,
    **changes: Mapping[str, Any],
) -> dict[str, Head | Decoder]:
    """The parts by name, in order; `changes` are settings of some, by their names.

    Raises `InputError` for a name or a setting that there is not, and as the makers do.
    """
    for name in changes:
        require_name("parts", name, asked)
    made: dict[str, Any] = {}
    for name, part in asked.items():
        settings = {**part.settings, **changes.get(name, {})}
        if part.kind == DECODER:
            made[name] = masked_decoder(backbone, channels, **settings)
        else:
            below = made[part.on] if part.on else backbone
            made[name] = build_head(part.kind, below.width, **settings)
    return made
