"""Four virtual devices, strict shapes, and warnings as errors, for every test."""

import os
import tempfile

FLAGS = (
    "--xla_force_host_platform_device_count=4",
    # Tests compile much and run little: half the compile time, the same results.
    "--xla_backend_optimization_level=0",
)
for flag in FLAGS:
    if flag not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

# Every annotation of the package is checked in every test; it must come first.
# The tower lets an int pass for a float, as everywhere in Python.
CHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
install_import_hook("jaxdistill", CHECKER)

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update(
    "jax_compilation_cache_dir", tempfile.gettempdir() + "/jaxdistill-xla"
)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)
