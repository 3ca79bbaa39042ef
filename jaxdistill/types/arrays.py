"""Names of what arrays hold, and their shapes."""

from jaxtyping import Array, Float, Key, PyTree

Params = PyTree
Metrics = dict[str, Array]
Scalar = Float[Array, ""]
PRNGKey = Key[Array, ""]
Images = Float[Array, "n h w c"]
Logits = Float[Array, "n k"]

IGNORED = 255  # in a mask: nobody knows, or it does not count
