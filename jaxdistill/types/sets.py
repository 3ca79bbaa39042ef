"""Images with what is known of them: on the device, on the host, and distilled."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8


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
