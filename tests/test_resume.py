"""Kills, stops, full disks: what is on the disk is whole, the rest comes again."""

import random
import shutil
import signal
from pathlib import Path

import numpy as np
from tiny import START, arrays, call, finished, lines, spawn, summary

from jaxdistill.run.checkpoint import Checkpoints
from jaxdistill.run.snapshots import saved_steps

# What a run does, and the signal that it gives itself once it has done that.
SIGNALLING = """
import os
from {module} import {kind}
do = {kind}.{method}

def then_signal(self, step, *given):
    do(self, step, *given)
    if step == {step} and str(self.{place}).endswith({folder!r}):
        os.kill(os.getpid(), {number})

{kind}.{method} = then_signal
"""
SAVING = {
    "module": "jaxdistill.run.checkpoint",
    "kind": "Checkpoints",
    "method": "save",
    "place": "folder",
}
LOGGING = {
    "module": "jaxdistill.run.writer",
    "kind": "MetricsWriter",
    "method": "write_scalars",
    "place": "path",
}


def signalled(
    workdir: Path, act: dict[str, str], folder: str, step: int, number: signal.Signals
) -> str:
    """Run until the signal that comes with an act at a step; what was said by then."""
    code = SIGNALLING.format(**act, folder=folder, step=step, number=int(number))
    run = spawn("distill", workdir, start=f"{code}\n{START}")
    _, told = run.communicate()
    killed = number == signal.SIGKILL
    assert run.returncode == (-number if killed else 128 + number), told
    return told


def assert_equal_runs(one: Path, other: Path) -> None:
    """The same experts, lines, sets and scores, bit for bit."""
    for epoch in range(3):
        a, b = (_snapshot(run, epoch) for run in (one, other))
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
    assert lines(one) == lines(other)
    sets = sorted(path.name for path in (one / "synthetic").iterdir())
    assert sets == sorted(path.name for path in (other / "synthetic").iterdir())
    for name in sets:
        a, b = (arrays(run / "synthetic" / name) for run in (one, other))
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])
    a, b = summary(one), summary(other)
    for row in ("distilled", "distilled_last", "random", "herding", "full"):
        assert a[row] == b[row]
        assert a["validation"][row] == b["validation"][row]
    assert a["selected_step"] == b["selected_step"]


def _snapshot(run: Path, epoch: int) -> dict[str, np.ndarray]:
    """Every array of one epoch of the experts, by the name of its file."""
    import tensorstore

    where = run / "experts" / "group_000" / "snapshots" / str(epoch) / "state"
    base = {"driver": "file", "path": f"{where}/"}
    store = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result()
    return {
        key.decode(): np.frombuffer(store.read(key).result().value, np.uint8)
        for key in store.list().result()
    }


def test_a_run_killed_and_stopped_goes_on_to_the_same_bits(tmp_path):
    reference, workdir = finished(), tmp_path / "run"
    # While experts are trained, as one of their epochs goes to the disk.
    signalled(workdir, SAVING, "group_000/snapshots", 1, signal.SIGKILL)

    told = signalled(workdir, LOGGING, "run/metrics.jsonl", 2, signal.SIGTERM)
    assert "stopped by SIGTERM after step 2/8, which is saved" in told
    assert saved_steps(workdir / "checkpoints")[-1] == 2

    # Between two checkpoints, or after the last step but before its checkpoint.
    step = random.choice([4, 8])
    signalled(workdir, LOGGING, "run/metrics.jsonl", step, signal.SIGKILL)

    # What a kill in the middle of a write leaves behind is not taken for a file.
    for folder in ("synthetic", "eval", "."):
        (workdir / folder).mkdir(exist_ok=True)
        (workdir / folder / ".full.json.7.tmp").write_text('{"test"')
    torn = workdir / "checkpoints" / "8.orbax-checkpoint-tmp-1"
    whole = workdir / "checkpoints" / str(saved_steps(workdir / "checkpoints")[-1])
    shutil.copytree(whole, torn, dirs_exist_ok=True)
    with open(workdir / "metrics.jsonl", "a") as file:
        file.write('{"step": 8, "lo')
    assert call("distill", workdir) == 0
    assert_equal_runs(reference, workdir)
    assert not list(workdir.rglob("*.tmp"))
    assert not list(workdir.rglob("*orbax-checkpoint-tmp*"))


def test_a_disk_that_fills_up_is_told_and_leaves_only_whole_files(tmp_path):
    workdir, limit = tmp_path / "run", 100_000
    limited = f"import resource as r; r.setrlimit(r.RLIMIT_FSIZE, ({limit}, {limit}))"
    # One layer of 64 x 3,000 weights is more than a file may hold here.
    run = spawn(
        "experts",
        workdir,
        "--config.network.width=3000",
        JAX_ENABLE_COMPILATION_CACHE="false",
        start=f"{limited}; {START}",
    )
    _, told = run.communicate()
    assert run.returncode == 2, told
    wrong = [line for line in told.splitlines() if line.startswith("error: ")]
    assert len(wrong) == 1
    assert "cannot write" in wrong[0]
    assert "the file exceeds the size limit; free some space" in wrong[0]
    assert "Traceback" not in told
    snapshots = workdir / "experts" / "group_000" / "snapshots"
    assert saved_steps(snapshots) == []
    assert not list(workdir.rglob("*tmp*"))


def test_a_run_goes_on_from_before_a_damaged_checkpoint_to_the_same_bits(
    tmp_path, capsys
):
    workdir = tmp_path / "run"
    shutil.copytree(finished(), workdir)
    (workdir / "summary.json").unlink()
    (workdir / "checkpoints" / "8" / "state" / "manifest.ocdbt").write_bytes(b"")
    assert call("distill", workdir) == 0
    (told,) = [x for x in capsys.readouterr().err.splitlines() if "damaged" in x]
    assert told == (
        f"note: checkpoint {workdir}/checkpoints/8 is truncated or damaged: it is kept "
        "as 8.aside, the run goes on from step 6"
    )
    assert (workdir / "checkpoints" / "8.aside").is_dir()
    assert_equal_runs(finished(), workdir)


def test_a_checkpoint_of_another_shape_is_refused(tmp_path, capsys):
    workdir = tmp_path / "run"
    shutil.copytree(finished(), workdir)
    (workdir / "summary.json").unlink()
    for step in saved_steps(workdir / "checkpoints"):
        shutil.rmtree(workdir / "checkpoints" / str(step))
    with Checkpoints(workdir / "checkpoints") as other:
        other.save(8, {"synthetic": {"images": np.zeros((8, 8, 8, 1))}}, {})
    assert call("distill", workdir) == 2
    told = capsys.readouterr().err
    assert "synthetic.images of shape" in told
    assert "ipc" in told
