"""Where public weights stand in our networks: name maps, a table for each kind.

    public                          ours                                turn
    blocks.{i}.attn.qkv.weight      Encoder_{i}/attention/qkv/kernel    dense
    layer{s}.{b}.conv1.weight       Block_{i}/Conv_0/kernel             conv
    last_layer.weight_v             last                                dense

`VIT` holds the names of timm and DINO, `RESNET` those of torchvision's ResNet-18,
`DINO_HEAD` those of DINO, `MAE_DECODER` those of MAE. Where two public names lead to
one of ours, the first is the one that is written.
"""

from collections.abc import Mapping
from typing import NamedTuple

from jaxdistill.types import Params


class Row(NamedTuple):
    """A line of a name map; `turn` is one of `jaxdistill.networks.weights.TURNS`."""

    public: str
    ours: str
    turn: str = "same"


def _layer(public: str, ours: str, turn: str = "dense") -> tuple[Row, Row]:
    return (
        Row(f"{public}.weight", f"{ours}/kernel", turn),
        Row(f"{public}.bias", f"{ours}/bias"),
    )


def _norm(public: str, ours: str) -> tuple[Row, Row]:
    return (
        Row(f"{public}.weight", f"{ours}/scale"),
        Row(f"{public}.bias", f"{ours}/bias"),
    )


def _blocks(public: str) -> tuple[Row, ...]:
    return (
        *_norm(f"{public}.{{i}}.norm1", "Encoder_{i}/LayerNorm_0"),
        *_layer(f"{public}.{{i}}.attn.qkv", "Encoder_{i}/attention/qkv"),
        *_layer(f"{public}.{{i}}.attn.proj", "Encoder_{i}/attention/out"),
        *_norm(f"{public}.{{i}}.norm2", "Encoder_{i}/LayerNorm_1"),
        *_layer(f"{public}.{{i}}.mlp.fc1", "Encoder_{i}/Dense_0"),
        *_layer(f"{public}.{{i}}.mlp.fc2", "Encoder_{i}/Dense_1"),
    )


VIT = (
    Row("cls_token", "class_token"),
    Row("pos_embed", "places", "places"),
    *_layer("patch_embed.proj", "embed", "patch"),
    *_blocks("blocks"),
    *_norm("norm", "LayerNorm_0"),
    *_norm("fc_norm", "LayerNorm_0"),  # timm's name where features are means
)
RESNET = (
    Row("conv1.weight", "Conv_0/kernel", "conv"),
    *_norm("bn1", "Norm_0"),
    Row("layer{s}.{b}.conv1.weight", "Block_{i}/Conv_0/kernel", "conv"),
    *_norm("layer{s}.{b}.bn1", "Block_{i}/Norm_0"),
    Row("layer{s}.{b}.conv2.weight", "Block_{i}/Conv_1/kernel", "conv"),
    *_norm("layer{s}.{b}.bn2", "Block_{i}/Norm_1"),
    Row("layer{s}.{b}.downsample.0.weight", "Block_{i}/shortcut/kernel", "conv"),
    *_norm("layer{s}.{b}.downsample.1", "Block_{i}/shortcut_norm"),
)
DINO_HEAD = (
    *_layer("mlp.0", "Dense_0"),
    *_layer("mlp.2", "Dense_1"),
    *_layer("mlp.4", "Dense_2"),
    Row("last_layer.weight_v", "last", "dense"),
    Row("last_layer.parametrizations.weight.original1", "last", "dense"),
    Row("last_layer.weight_g", "gain", "gain"),
    Row("last_layer.parametrizations.weight.original0", "gain", "gain"),
)
MAE_DECODER = (
    *_layer("decoder_embed", "embed"),
    Row("mask_token", "mask_token"),
    *_blocks("decoder_blocks"),
    *_norm("decoder_norm", "LayerNorm_0"),
    *_layer("decoder_pred", "Dense_0"),
)
HEAD, FC = _layer("head", "head"), _layer("fc", "head")  # of a `Network`

Table = tuple[Row, ...]


def rows_of(table: Table, params: Params) -> list[Row]:
    """The table with a row for each block, and those of a network's trunk and head."""
    whole = isinstance(params, Mapping) and "trunk" in params
    trunk = params["trunk"] if whole else params
    rows = []
    for row in table:
        for i in range(len(trunk) if "{" in row.public else 1):
            at = {"i": i, "s": i // 2 + 1, "b": i % 2}
            ours = row.ours.format(**at)
            public = row.public.format(**at)
            rows.append(Row(public, f"trunk/{ours}" if whole else ours, row.turn))
    top = (*FC, *HEAD) if table == RESNET else (*HEAD, *FC)
    return [*rows, *top] if whole else rows
