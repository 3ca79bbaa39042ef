"""The campaign of faults in its shorter form; `make faults` does all of it."""

import os
import subprocess
import sys
from pathlib import Path

from faults.plan import SHORT, trials

HERE = Path(__file__).parent


def test_no_fault_of_any_kind_loses_work():
    command = [sys.executable, "-m", "faults", "--short"]
    env = os.environ | {"PYTHONPATH": str(HERE), "XLA_FLAGS": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    told = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    tried, promised, lost = (int(part.split()[-1]) for part in told[-1].split(", "))
    assert tried == promised == len(SHORT)
    assert lost == 0


def test_the_campaign_is_over_all_verbs_that_write():
    verbs = {trial.subject for trial in trials()}
    assert verbs >= {"distill", "evaluate", "compare", "study", "experts", "segment"}
    assert verbs >= {"compress", "regenerate", "segment-predict"}
    names = [(trial.subject, trial.name) for trial in trials()]
    assert len(set(names)) >= 150
