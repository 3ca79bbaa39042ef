"""Learning from films without labels: a way to learn is a file.

`learning.learn` trains any of them; `selfevolving` is what `jaxdistill selftrain` does.
"""

from jaxdistill.selfsupervised.learning import Films, learn

__all__ = ["Films", "learn"]
