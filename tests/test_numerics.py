"""Sums are right at every size, as XLA compiles them for users."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from numerics import CASES

TOLERANCE = 1e-3  # float32 stays below a tenth of it; wrong sums were above 4e-3


@pytest.fixture(scope="module")
def errors():
    """What a process of its own finds: the flags of the tests change what is compiled.

    It runs on all cores, since some sums went wrong on several alone.
    """
    script = Path(__file__).with_name("numerics.py")
    environment = {name: os.environ[name] for name in os.environ if name != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, str(script)],
        env=environment | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", CASES)
def test_a_program_gives_what_numpy_gives_at_every_size(errors, name):
    wrong = {size: off for size, off in errors[name].items() if not off < TOLERANCE}
    assert not wrong
