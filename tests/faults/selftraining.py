"""The smallest self-training, as a config: that of its tests."""

import ml_collections
from test_selftrain import TINY


def get_config(mode: str = "full") -> ml_collections.ConfigDict:
    """Two stages on the phantom's films."""
    del mode
    return ml_collections.ConfigDict(TINY)
