"""The records that rooms hand to each other: arrays and pure functions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

Params = PyTree
Metrics = dict[str, Array]
Scalar = Float[Array, ""]
PRNGKey = Key[Array, ""]
Images = Float[Array, "n h w c"]
Logits = Float[Array, "n k"]


class Network(NamedTuple):
    """A network is two functions, a third for its features, and its name.

    `name` spells out every choice that shapes the parameters, so that two networks with
    equal names can exchange them.
    """

    init: Callable[[PRNGKey], Params]
    apply: Callable[[Params, Images], Logits]
    embed: Callable[[Params, Images], Float[Array, "n d"]]
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
