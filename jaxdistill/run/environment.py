"""What a run ran on: versions, device, commit."""

import contextlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import jax

from jaxdistill.errors import InputError

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "jaxdistill")
# Sums that are wrong on CPUs, by a little or by a half, at some sizes and without a
# word: in both of broadcast arrays on several cores, in 0.10.2 also of products of
# narrow matrices (jax-ml/jax#39103), where seven axes crash it (#39257).
UNSOUND = ("0.10.2", "0.11.0")


def require_sound_jaxlib() -> None:
    """`InputError` for a jaxlib whose numbers cannot be trusted."""
    version = metadata.version("jaxlib")
    if version in UNSOUND:
        others = ",".join(f"!={one}" for one in UNSOUND)
        raise InputError(
            f"jaxlib {version} computes wrong sums on CPUs, silently and at some sizes "
            f'alone: pip install "jax{others}" "jaxlib{others}" (0.10.1 on Python '
            "3.11 and 0.12.0.1 on later ones are right)"
        )


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that can change a result."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def device_name() -> str:
    """Number and kind of the devices in use, such as `4 x NVIDIA H100 80GB HBM3`."""
    devices = jax.devices()
    if devices[0].platform != "cpu":
        return f"{len(devices)} x {devices[0].device_kind}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return f"{_cpu_model()}, {cores or os.cpu_count()} cores"


def git_commit() -> str | None:
    """The commit that the package runs from, `-dirty` if changed; None outside git."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():  # installed: a repository further up is not ours
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        told = subprocess.run(
            [*command, "--exclude=*"], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return told.stdout.strip() or None


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
