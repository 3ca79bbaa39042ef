"""Four virtual devices, strict shapes, and warnings as errors, for every test."""

import os
import tempfile

flag = "--xla_force_host_platform_device_count=4"
if flag not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update(
    "jax_compilation_cache_dir", tempfile.gettempdir() + "/jaxdistill-xla"
)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)
