"""The records that rooms hand to each other: arrays and pure functions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

Params = PyTree
Metrics = dict[str, Array]
Scalar = Float[Array, ""]
PRNGKey = Key[Array, ""]
Images = Float[Array, "n h w c"]
Logits = Float[Array, "n k"]

IGNORED = 255  # in a mask: nobody knows, or it does not count


class Network(NamedTuple):
    """A network is two functions, a third for its features, and its name.

    `name` spells out every choice that shapes the parameters, so that two networks with
    equal names can exchange them.
    """

    init: Callable[[PRNGKey], Params]
    apply: Callable[[Params, Images], Logits]
    embed: Callable[[Params, Images], Float[Array, "n d"]]
    name: str


class Backbone(NamedTuple):
    """A network that ends in a row of features, for heads to stand on; and its name.

        features(params, images, key=None) -> n width
        tokens(params, images, kept=None, key=None) -> n tokens width
        attention(params, images) -> n heads tokens

    A key, of the batch or of each image, switches on what is random in training. Tokens
    are the class token's and those of all patches, or of the patches that `kept` (n t)
    numbers. Attention is what the last block's features take from each token: rows sum
    to 1. Both are None, and `patch` is 0, where images are not cut in patches.
    """

    init: Callable[[PRNGKey], Params]
    features: Callable[..., Float[Array, "n d"]]
    width: int
    name: str
    tokens: Callable[..., Float[Array, "n tokens d"]] | None = None
    attention: Callable[[Params, Images], Float[Array, "n heads tokens"]] | None = None
    patch: int = 0  # pixels a side
    grid: tuple[int, int] = (0, 0)  # rows and columns of patches that it was built for


class Head(NamedTuple):
    """What stands on features: pure functions, and its name.

    `apply(params, features, axis=None)`: `axis` names the mesh axis over which a batch
    is spread, for those that normalise by the batch.
    """

    init: Callable[[PRNGKey], Params]
    apply: Callable[..., Float[Array, "n k"]]
    width: int  # of what comes out
    name: str


class Decoder(NamedTuple):
    """Pixels from the tokens of some patches: pure functions, and its name.

    `apply(params, tokens, kept, grid)`: `tokens` are the class token's and those of the
    patches that `kept` (n t) numbers, row by row, in a grid of rows and columns; the
    backbone's own where none is given. Pixels lie as `cut(images)` has them.
    """

    init: Callable[[PRNGKey], Params]
    apply: Callable[..., Float[Array, "n patches pixels"]]
    cut: Callable[[Images], Float[Array, "n patches pixels"]]
    name: str


class Part(NamedTuple):
    """What a way to learn asks for beside its backbone.

    `kind` is a name in `networks.heads.HEADS`, or "decoder"; `on` the part whose
    outputs come in and as many of which go out, the backbone where it is empty.
    """

    kind: str
    on: str = ""
    settings: Mapping[str, Any] = MappingProxyType({})


class Segmenter(NamedTuple):
    """A network that names every pixel: pure functions, and its name.

    Images of any size that its strides divide. `tap(params, images, names, key=None)`
    gives the logits of `apply` and the feature maps of layers by name, any that
    `layers` lists; a key turns dropout on. `levels` are the two that distillation reads
    where nothing else is said, one low, one high.
    """

    init: Callable[[PRNGKey], Params]
    apply: Callable[[Params, Images], Float[Array, "n h w k"]]
    tap: Callable[
        ..., tuple[Float[Array, "n h w k"], dict[str, Float[Array, "n h2 w2 c2"]]]
    ]
    layers: tuple[str, ...]
    levels: tuple[str, str]
    stride: int  # that image sides must be multiples of
    name: str


class Whitening(NamedTuple):
    """ZCA of flattened pixels: `y = (x - centre) forward`, `x = y inverse + centre`."""

    centre: Float[Array, " d"]
    forward: Float[Array, "d d"]
    inverse: Float[Array, "d d"]


class Standard(NamedTuple):
    """How stored pixels become network inputs; see `jaxdistill.data.standard`."""

    mean: Float[Array, " c"]  # of pixels in [0, 1], over the training split
    std: Float[Array, " c"]
    whitening: Whitening | None = None


class Split(NamedTuple):
    """Labelled images on the device, with what turns their bytes into inputs."""

    images: UInt8[Array, "n h w c"]
    labels: Int[Array, " n"]
    groups: Int[Array, " n"]  # patient or other unit that must not cross splits
    standard: Standard

    @property
    def size(self) -> int:
        """Number of images."""
        return self.labels.shape[0]


@dataclass(frozen=True)
class Pool:
    """A data set: three splits that share one standardisation, and the class names.

    `kind` is "medical" where left and right carry meaning (no horizontal flips),
    "digits" or "natural" elsewhere; it picks the default augmentation.
    """

    name: str
    train: Split
    val: Split
    test: Split
    class_names: tuple[str, ...]
    kind: str = "medical"

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        h, w, c = self.train.images.shape[1:]
        return h, w, c

    @property
    def standard(self) -> Standard:
        """The standardisation that all splits share."""
        return self.train.standard


class Slices(NamedTuple):
    """Slices of volumes and their masks on the device: what segmenters learn from."""

    images: Float[Array, "n h w c"]  # inputs already: normalised by volume
    masks: UInt8[Array, "n h w"]  # a class each pixel, or `IGNORED`
    sites: Int[Array, " n"]  # numbered as in `SitePool.sites`

    @property
    def size(self) -> int:
        """Number of slices."""
        return self.masks.shape[0]


@dataclass(frozen=True)
class Case:
    """One patient's volume on the host, with its mask and where it lies in space.

    A picture is a volume of one slice. `spacing` is that of slices, rows and columns,
    in mm, or 1 where distances are in pixels. `origin` is what a prediction needs to be
    written as the file was: see `jaxdistill.data.volumes`.
    """

    name: str
    site: str
    image: Float[np.ndarray, "d h w c"]  # normalised over the volume
    mask: UInt8[np.ndarray, "d h w"]
    spacing: tuple[float, float, float]
    origin: Any = None


@dataclass(frozen=True)
class SitePool:
    """Cases of several sites, and the names of what their masks hold.

    `class_names[0]` is the background. `skipped` tells of cases that were left out, a
    sentence each. `mirrored` says whether left and right may be exchanged.
    """

    name: str
    cases: tuple[Case, ...]
    class_names: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    mirrored: bool = True

    @property
    def classes(self) -> int:
        """Number of classes, background and all."""
        return len(self.class_names)

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites, in the order of their first cases."""
        return tuple(dict.fromkeys(case.site for case in self.cases))


class Synthetic(NamedTuple):
    """A distilled set: what is learned, and all that a user keeps.

    Images are standardised inputs. Labels are the softmax of `logits`. The learning
    rate to train with is `softplus(raw_lr)`, positive whatever a step does to `raw_lr`:
    one for any number of epochs, or one for each step
    (`jaxdistill.engine.schedule`).
    """

    images: Float[Array, "m h w c"]
    logits: Float[Array, "m k"]
    raw_lr: Float[Array, "*schedule"]  # () or (epochs, steps)

    @property
    def lr(self) -> Float[Array, "*schedule"]:
        """The learning rate or rates, `softplus(raw_lr)`."""
        return jnp.logaddexp(self.raw_lr, 0.0)


class Matched(NamedTuple):
    """What a loss returns beside its value.

    `kept` is the share of the batch that was worth learning from: an update with none
    is skipped whole. `residual` is what `advance` needs of this step, averaged over
    devices.
    """

    metrics: Metrics
    kept: Scalar
    residual: PyTree = ()


class Source(NamedTuple):
    """Where a method's batches come from.

    `resident(pool)` stays on the device during the run. `feed(step)` is read by the
    host, a pure function of the step whose leaves are split over devices on their first
    axis. `draw(resident, fed, key)` makes the batch inside the compiled step.
    """

    resident: Callable[[Pool], PyTree]
    feed: Callable[[int], PyTree]
    draw: Callable[[PyTree, PyTree, PRNGKey], PyTree]


class Method(NamedTuple):
    """One way to distil: what the inner learners are, what is matched, how they age.

        init(key) -> inner
        loss(synthetic, inner, batch, key) -> (scalar, Matched)
        advance(inner, residual, synthetic, batch, key) -> inner

    With `population`, `inner` is a stack of networks that is split over devices on its
    first axis; otherwise every device holds all of it.
    """

    init: Callable[[PRNGKey], PyTree]
    loss: Callable[[Synthetic, PyTree, PyTree, PRNGKey], tuple[Scalar, Matched]]
    advance: Callable[[PyTree, PyTree, Synthetic, PyTree, PRNGKey], PyTree]
    source: Source
    population: bool


class Learner(NamedTuple):
    """Anything that the driver can train: experts, distilled sets, students.

        init(key) -> state
        update(state, resident, fed, key, axis) -> (state, metrics)

    `state.step` counts updates. `update` is one device's part of one step: `resident`
    stays on the device, `fed` is this step's slice of what the host supplies, `axis`
    names the mesh axis for collectives, or is None on one device. `sharded` is a prefix
    of the state: True where the leading axis is split over devices.
    """

    init: Callable[[PRNGKey], Any]
    update: Callable[[Any, PyTree, PyTree, PRNGKey, str | None], tuple[Any, Metrics]]
    sharded: PyTree
