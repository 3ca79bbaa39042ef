"""A run as small as it gets: two classes of 8 x 8 images, a config, and commands.

`get_config` makes this file a config as well: `--config=tests/tiny.py`.
"""

import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np
import pytest
from PIL import Image

from jaxdistill.cli.main import main
from jaxdistill.jobs.settings.changes import changes

CLASSES = ("clear", "opaque")
COUNTS = {"train": 12, "val": 6, "test": 6}
CONFIG = Path(__file__)
_HELD: list[tempfile.TemporaryDirectory] = []
START = "from jaxdistill.cli.main import console; console()"


def get_config(mode: str = "full") -> ml_collections.ConfigDict:
    """Eight outer steps, two experts of two epochs."""
    del mode
    c = changes()
    c.ipc = 2
    c.steps = 8
    c.augment = "cutout"
    c.data.name, c.data.path, c.data.size = "folder", "tiny", 8
    c.network = {"name": "mlp", "width": 4, "depth": 1}
    c.experts.count = c.experts.at_once = c.experts.epochs = 2
    c.experts.batch = 12
    c.trajectory.unroll_steps = 3
    c.trajectory.expert_epochs = 1
    c.trajectory.start_first = c.trajectory.start_max = 2
    c.trajectory.batch = 2
    c.eval.every = 4
    c.eval.final_seeds = c.eval.draws = c.eval.epochs = 2
    c.eval.finalist_seeds = 3
    c.eval.full_epochs = 1
    c.eval.batch = 12
    c.devices.count = 1
    c.steps_per_call = c.log_every = c.checkpoint_every = 2
    return c


def write_images(folder: Path) -> Path:
    """Class folders below split folders: bright or dark squares under noise."""
    rng = np.random.default_rng(0)
    for split, count in COUNTS.items():
        for number, name in enumerate(CLASSES):
            below = folder / split / name
            below.mkdir(parents=True)
            for i in range(count):
                pixels = rng.normal(90 + 60 * number, 40, (8, 8)).clip(0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(below / f"{i}.png")
    return folder


def write_sites(folder: Path) -> Path:
    """Pictures with masks in the folders of two sites: a bright square is the organ."""
    rng = np.random.default_rng(1)
    mask = np.zeros((16, 16), np.uint8)
    mask[4:12, 4:12] = 255
    for site in ("north", "south"):
        for kind in ("images", "masks"):
            (folder / site / kind).mkdir(parents=True)
        for i in range(2):
            pixels = (mask // 2 + rng.integers(0, 60, mask.shape)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / site / "images" / f"{i}.png")
            Image.fromarray(mask).save(folder / site / "masks" / f"{i}.png")
    return folder


@functools.cache
def root() -> Path:
    """A data root with the images in `tiny`; it goes when the process ends."""
    held = tempfile.TemporaryDirectory(prefix="jaxdistill-tiny-")
    _HELD.append(held)
    write_images(Path(held.name) / "data" / "tiny")
    return Path(held.name)


@functools.cache
def finished() -> Path:
    """The work folder of a finished run, for many tests to look at."""
    workdir = root() / "run"
    assert call("distill", workdir) == 0
    return workdir


def command(verb: str, workdir: Path, *flags: Any, config: Any = CONFIG) -> list[str]:
    """The arguments of one call of the tool."""
    fixed = (verb, f"--config={config}", f"--workdir={workdir}")
    return [*fixed, *map(str, flags)]


def call(verb: str, workdir: Path, *flags: Any, config: Any = CONFIG) -> int:
    """Run the tool here on the tiny data; its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXDISTILL_DATA", str(root() / "data"))
        return main(command(verb, workdir, *flags, config=config))


def spawn(
    verb: str, workdir: Path, *flags: Any, start: str = START, **env: str
) -> subprocess.Popen:
    """Run the tool on the tiny data in a process of its own, which does `start`."""
    fixed = {
        "JAXDISTILL_DATA": str(root() / "data"),
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir or "",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    return subprocess.Popen(
        [sys.executable, "-c", start, *command(verb, workdir, *flags)],
        env=os.environ | fixed | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def listing(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz."""
    with np.load(path) as file:
        return dict(file)


def lines(workdir: Path) -> list[dict[str, Any]]:
    """What a run measured, in order."""
    text = (workdir / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def summary(workdir: Path) -> dict[str, Any]:
    """The summary of a finished run."""
    return json.loads((workdir / "summary.json").read_text())
