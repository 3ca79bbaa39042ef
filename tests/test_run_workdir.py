"""A work folder belongs to one run at a time and to one config for ever."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from jaxdistill.errors import InputError
from jaxdistill.run.files import read_json, write_json
from jaxdistill.run.workdir import device_name, flatten, open_workdir, versions

CONFIG = {
    "seed": 0,
    "ipc": 10,
    "data": {"name": "phantom", "size": 32},
    "widths": (1, 2),
}
HOLDING = """
import signal, sys
from jaxdistill.run.workdir import open_workdir
held = open_workdir(sys.argv[1], {})
print("held", flush=True)
signal.pause()
"""


def test_the_record_tells_how_the_run_was_made(tmp_path):
    with open_workdir(tmp_path / "a" / "run", CONFIG) as workdir:
        record = read_json(workdir.path / "config.json")
        assert workdir.notes == ()
    assert record["config"] == CONFIG | {"widths": [1, 2]}
    assert record["versions"]["numpy"] == np.__version__
    assert set(versions()) >= {"python", "jax", "jaxlib", "flax", "optax", "jaxdistill"}
    assert record["device"] == device_name()
    assert record["argv"] == sys.argv
    assert record["started"]
    assert "git_commit" in record


def test_resume_with_the_same_config_keeps_the_start(tmp_path):
    open_workdir(tmp_path, CONFIG).close()
    record = read_json(tmp_path / "config.json")
    write_json(tmp_path / "config.json", record | {"started": "long ago"})
    (tmp_path / ".summary.json.1.tmp").write_text("left by a kill")
    with open_workdir(tmp_path, CONFIG) as workdir:
        assert workdir.notes == ()
    assert read_json(tmp_path / "config.json")["started"] == "long ago"
    assert sorted(os.listdir(tmp_path)) == [".config.json", ".lock", "config.json"]


def test_another_config_is_refused_with_the_keys_and_both_values(tmp_path):
    open_workdir(tmp_path, CONFIG).close()
    before = (tmp_path / "config.json").read_bytes()
    other = CONFIG | {"ipc": 50, "data": {"name": "mnist", "size": 32}, "steps": 3}
    with pytest.raises(InputError) as caught:
        open_workdir(tmp_path, other)
    assert str(caught.value) == (
        f"--workdir={tmp_path} holds another run, with ipc=10 (now 50), "
        'data.name="phantom" (now "mnist"), steps=unset (now 3): go back to those '
        "values to resume it, or choose a new --workdir"
    )
    assert (tmp_path / "config.json").read_bytes() == before
    open_workdir(tmp_path, CONFIG).close()  # the refusal let go of the folder


def test_a_key_that_an_older_record_lacks_stands_for_its_usual_value(tmp_path):
    open_workdir(tmp_path, CONFIG).close()
    usual = {"rho": 0.0}
    with pytest.raises(InputError, match=r"with rho=0.0 \(now 0.1\)"):
        open_workdir(tmp_path, CONFIG | {"rho": 0.1}, usual=usual)
    open_workdir(tmp_path, CONFIG | {"rho": 0.0}, usual=usual).close()


def test_many_differences_are_counted(tmp_path):
    open_workdir(tmp_path, {f"k{i}": 0 for i in range(9)}).close()
    with pytest.raises(InputError, match=r"k5=0 \(now 1\) and 3 more: go back"):
        open_workdir(tmp_path, {f"k{i}": 1 for i in range(9)})


def test_volatile_keys_and_versions_may_change_and_are_noted(tmp_path):
    config = {"devices": {"map": "shard_map"}, "log_every": 10}
    open_workdir(tmp_path, config).close()
    record = read_json(tmp_path / "config.json")
    record["versions"]["jax"] = "0.0.1"
    write_json(tmp_path / "config.json", record)
    now = {"devices": {"map": "pmap"}, "log_every": 10}
    with open_workdir(tmp_path, now, volatile={"devices.map", "log_every"}) as workdir:
        assert workdir.notes[0] == 'devices.map="shard_map" (now "pmap")'
        assert workdir.notes[1].startswith('jax="0.0.1" (now "')
        assert len(workdir.notes) == 2
    assert read_json(tmp_path / "config.json")["config"] == now


def test_a_folder_of_something_else_is_refused_untouched(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"holds thesis\.tex but no config\.json"):
        open_workdir(tmp_path, CONFIG)
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_hidden_files_do_not_matter(tmp_path):
    (tmp_path / ".DS_Store").write_text("")
    open_workdir(tmp_path, CONFIG).close()


def test_the_copy_of_a_damaged_record_serves(tmp_path, capsys):
    open_workdir(tmp_path, CONFIG).close()
    (tmp_path / "config.json").write_text('{"config": {')
    with pytest.raises(InputError, match=r"ipc=10 \(now 50\)"):
        open_workdir(tmp_path, CONFIG | {"ipc": 50})
    assert "config.json is damaged, kept as config.json.aside: its copy serves" in (
        capsys.readouterr().err
    )
    open_workdir(tmp_path, CONFIG).close()
    assert "config.json is lost: its copy serves" in capsys.readouterr().err
    assert read_json(tmp_path / "config.json")["config"]["ipc"] == 10


@pytest.mark.parametrize("text", ['{"config": {', "[]", '{"name": "else"}'])
def test_a_record_that_is_none_is_refused_and_stays(tmp_path, text):
    open_workdir(tmp_path, CONFIG).close()
    for name in ("config.json", ".config.json"):
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=r"config\.json is .*: restore it from a copy"):
        open_workdir(tmp_path, CONFIG)
    assert (tmp_path / "config.json").read_text() == text


def test_other_inputs_are_refused_with_what_differs(tmp_path):
    open_workdir(tmp_path, CONFIG).close()  # as older versions did
    read = {"class_names": ["a", "b"], "training_images": "12"}
    with open_workdir(tmp_path, CONFIG, inputs=read) as home:
        assert "does not tell of its data" in home.notes[0]
    with pytest.raises(InputError) as caught:
        open_workdir(tmp_path, CONFIG, inputs=read | {"class_names": ["b", "a"]})
    assert str(caught.value) == (
        f"--workdir={tmp_path} was begun on other data, with class_names="
        '["a", "b"] (now ["b", "a"]): go back to those to resume it, or choose a new '
        "--workdir"
    )
    with open_workdir(tmp_path, CONFIG, inputs=read) as home:
        assert home.notes == ()


def test_a_path_under_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        InputError, match=r"cannot write .*file/run: a file stands where"
    ):
        open_workdir(tmp_path / "file" / "run", CONFIG)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_cannot_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match=r"cannot write .*: permission is denied"):
        open_workdir(tmp_path / "run", CONFIG)


def test_two_runs_cannot_share_a_folder_until_one_is_killed(tmp_path):
    command = [sys.executable, "-c", HOLDING, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=rf"in use .* \(process {process.pid}\)"):
            open_workdir(tmp_path, {})
        process.send_signal(signal.SIGKILL)
    open_workdir(tmp_path, {}).close()


def test_a_fingerprint_that_older_records_lack_is_taken_to_be_the_same(tmp_path):
    read = {"class_names": ["a"], "training_images": "1"}
    newer = read | {"init_images": "7", "training_patients": "8"}
    for inputs in (read, newer, read, newer):
        with open_workdir(tmp_path, CONFIG, inputs=inputs):
            pass
    with pytest.raises(InputError, match="begun on other data, with init_images"):
        open_workdir(tmp_path, CONFIG, inputs=newer | {"init_images": "9"}).__enter__()
    with pytest.raises(InputError, match="begun on other data"):
        open_workdir(tmp_path, CONFIG, inputs=read | {"others": "1"}).__enter__()


def test_where_things_lie_and_when_it_is_finished(tmp_path):
    with open_workdir(tmp_path, CONFIG) as workdir:
        folders = (
            workdir.checkpoints,
            workdir.synthetic,
            workdir.figures,
            workdir.eval,
        )
        assert [f.name for f in folders] == [
            "checkpoints",
            "synthetic",
            "figures",
            "eval",
        ]
        files = (workdir.metrics, workdir.summary, workdir.profile)
        assert [str(f.relative_to(tmp_path)) for f in files] == [
            "metrics.jsonl",
            "summary.json",
            "profile",
        ]
        assert not workdir.finished
        write_json(workdir.summary, {"complete": False})
        assert not workdir.finished
        write_json(workdir.summary, {"complete": True})
        assert workdir.finished


def test_flatten():
    nested = {"a": {"b": {"c": 1}, "d": {}}, "e": [1]}
    assert flatten(nested) == {"a.b.c": 1, "a.d": {}, "e": [1]}
