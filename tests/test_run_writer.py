"""Metrics survive kills and resumes; progress reads well on a terminal and in files."""

import io
import json
import re
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.errors import InputError
from jaxdistill.run.writer import MetricsWriter, Progress, read_metrics


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def steps(folder):
    return [record["step"] for record in read_metrics(folder / "metrics.jsonl")]


def test_each_line_is_there_when_written(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        writer.write_scalars(1, {"loss": jnp.float32(0.5), "match": np.float64(2)})
        text = (tmp_path / "metrics.jsonl").read_text()
        line = {"step": 1, "loss": 0.5, "match": 2.0}
        assert json.loads(text) == line | {"crc32": "ebd1e1f3"}
        writer.write_scalars(2, {"loss": jnp.nan})
        writer.flush()
    last = (tmp_path / "metrics.jsonl").read_text().splitlines()[-1]
    assert json.loads(last).items() >= {"step": 2, "loss": None}.items()


def test_resume_drops_later_lines_and_the_torn_one(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        for step in (0, 10, 20, 30):
            writer.write_scalars(step, {"loss": step / 10})
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 5, "lo')
    assert steps(tmp_path) == [0, 10, 20, 30]
    with MetricsWriter(tmp_path, resume=20) as writer:
        assert steps(tmp_path) == [0, 10, 20]
        writer.write_scalars(30, {"loss": 9.0})
    assert steps(tmp_path) == [0, 10, 20, 30]
    assert read_metrics(tmp_path / "metrics.jsonl")[-1] == {"step": 30, "loss": 9.0}
    assert all(map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines()))


def test_a_run_without_checkpoint_begins_afresh(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        writer.write_scalars(0, {"loss": 1.0})
    with MetricsWriter(tmp_path):
        assert steps(tmp_path) == []


def test_tensorboard_is_optional(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    match = r'tensorboardX is not installed: pip install "jaxdistill\[tensorboard\]"'
    with pytest.raises(InputError, match=match):
        MetricsWriter(tmp_path, tensorboard=True)


def test_tensorboard_gets_the_scalars(tmp_path, monkeypatch):
    calls = []

    class Board:
        def __init__(self, folder, purge_step):
            calls.append((folder, purge_step))

        def add_scalar(self, *call):
            calls.append(call)

        def flush(self):
            pass

        close = flush

    module = type(sys)("tensorboardX")
    module.SummaryWriter = Board
    monkeypatch.setitem(sys.modules, "tensorboardX", module)
    with MetricsWriter(tmp_path, resume=4, tensorboard=True) as writer:
        writer.write_scalars(5, {"loss": jnp.float32(2), "auc": float("nan")})
    assert calls == [(str(tmp_path / "tensorboard"), 5), ("loss", 2.0, 5)]


def test_plain_lines_with_rate_and_time_left():
    stream = io.StringIO()
    progress = Progress(5000, start=1000, stream=stream)
    with progress.compiling("the update"):
        pass
    progress.update(1100, {"loss": 3.4111111})
    progress.update(1200, {"loss": jnp.float32(3.25), "match": 0.0001})
    progress.note("saved")
    progress.close()
    lines = stream.getvalue().splitlines()
    assert lines[0] == "compiling the update ..."
    assert re.fullmatch(r"compiled in [\d.e-]+s", lines[1])
    assert lines[2] == "step 1100/5000  loss 3.411"
    head, rate, eta = lines[3].rsplit("  ", 2)
    assert head == "step 1200/5000  loss 3.25  match 0.0001"
    assert re.fullmatch(r"[\d.e+]+ step/s", rate)
    assert eta.startswith("eta ")
    assert lines[4:] == ["saved"]


def test_a_bar_on_a_terminal():
    stream = Terminal()
    progress = Progress(100, start=50, stream=stream)
    progress.note("compiling ...")
    progress.update(100, {"loss": 0.5})
    progress.close()
    text = stream.getvalue()
    assert "compiling ...\n" in text
    assert "100/100" in text
    assert "loss 0.5" in text


def test_a_run_that_went_on_before_its_first_line_has_lost_none(tmp_path, capsys):
    with MetricsWriter(tmp_path, resume=10, every=50):
        pass
    assert "tells nothing" not in capsys.readouterr().err
    with MetricsWriter(tmp_path, resume=60, every=50):
        pass
    assert "tells nothing of the steps before 60" in capsys.readouterr().err


def test_a_damaged_last_line_is_told(tmp_path, capsys):
    with MetricsWriter(tmp_path) as writer:
        for step in (10, 20):
            writer.write_scalars(step, {"loss": 1.0})
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"step": 20', b'"step": 21'))
    assert steps(tmp_path) == [10]
    assert "damaged in line 2" in capsys.readouterr().err
