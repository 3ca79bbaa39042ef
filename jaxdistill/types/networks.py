"""Networks, whole and in parts: pure functions, and a name that says their shape."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from jaxtyping import Array, Float

from jaxdistill.types.arrays import Images, Logits, Params, PRNGKey


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
