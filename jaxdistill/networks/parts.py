"""Heads and decoders that a way to learn asks for, built on a backbone."""

from collections.abc import Mapping
from typing import Any

from jaxdistill.errors import require_name
from jaxdistill.networks.heads import HEADS, build_head
from jaxdistill.networks.masked import masked_decoder
from jaxdistill.settings import Section, require_settings, settings_of
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
    made: dict[str, Any] = {}
    for name in changes:
        require_name("parts", name, asked)
    for name, part in asked.items():
        told = changes.get(name, {})
        require_settings(f"{name}.", settings_of_part(part), told)
        settings = {**part.settings, **told}
        if part.kind == DECODER:
            made[name] = masked_decoder(backbone, channels, **settings)
        elif part.on:
            width = made[part.on].width
            made[name] = build_head(part.kind, width, **settings, outputs=width)
        else:
            made[name] = build_head(part.kind, backbone.width, **settings)
    return made


def settings_of_part(part: Part) -> Section:
    """What can be told of a part; one on another has as many outputs as that."""
    found = settings_of(masked_decoder if part.kind == DECODER else HEADS[part.kind])
    return {k: one for k, one in found.items() if not (part.on and k == "outputs")}
