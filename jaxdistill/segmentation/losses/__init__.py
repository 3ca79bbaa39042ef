"""Distillation losses, one a file; `TERMS` is what `losses.NAME` may name."""

from collections.abc import Callable

from jaxdistill.segmentation.losses.affinity import affinity
from jaxdistill.segmentation.losses.affinity_field import affinity_field
from jaxdistill.segmentation.losses.attention import attention
from jaxdistill.segmentation.losses.channel_wise import channel_wise
from jaxdistill.segmentation.losses.emkd import importance, region
from jaxdistill.segmentation.losses.fitnet import fitnet
from jaxdistill.segmentation.losses.gram import gram
from jaxdistill.segmentation.losses.logits import logits
from jaxdistill.segmentation.losses.relational import relational
from jaxdistill.segmentation.losses.structural import structural
from jaxdistill.segmentation.term import Term

TERMS: dict[str, Callable[..., Term]] = {
    "logits": logits,
    "gram": gram,
    "affinity": affinity,
    "field": affinity_field,
    "attention": attention,
    "channel_wise": channel_wise,
    "importance": importance,
    "region": region,
    "structural": structural,
    "fitnet": fitnet,
    "relational": relational,
}
