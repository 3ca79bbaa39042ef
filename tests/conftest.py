"""Four virtual devices, strict shapes, and warnings as errors, for every test."""

import os
import tempfile
from importlib.metadata import version

FLAGS = {
    "--xla_force_host_platform_device_count": "4",
    # Tests compile much and run little: the compilers are asked to be quick.
    "--xla_backend_optimization_level": "0",
    "--xla_cpu_parallel_codegen_split_count": "1",
}
if version("jaxlib") < "0.12":  # which has no second emitters, and refuses the flag
    FLAGS["--xla_cpu_use_fusion_emitters"] = "false"
given = os.environ.get("XLA_FLAGS", "")
ours = [f"{flag}={value}" for flag, value in FLAGS.items() if flag not in given]
os.environ["XLA_FLAGS"] = " ".join([given, *ours]).strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# jaxlib 0.10 tells of every program that it takes from the compilation cache.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax  # noqa: E402
import jaxtyping  # noqa: E402
import pytest  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

# Every annotation of the package is checked in every test; it must come first.
# The tower lets an int pass for a float, as everywhere in Python.
CHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
install_import_hook("jaxdistill", CHECKER)

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update(
    "jax_compilation_cache_dir", tempfile.gettempdir() + "/jaxdistill-xla"
)
# The same programs come again and again: none is compiled twice.
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


@pytest.fixture
def unchecked():
    """Calls as they are outside of tests, where nothing checks their annotations."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
