"""The command line: help, flags, config files, each mistake one sentence."""

import subprocess
import sys

import jax
import pytest
from tiny import CONFIG, command

from jaxdistill.cli import main as cli
from jaxdistill.cli.arguments import parse
from jaxdistill.cli.main import VERBS, main
from jaxdistill.distillation.distillers import METHODS
from jaxdistill.jobs.settings.resolve import leaves, resolve, schema

VERB = ("workdir",)


def refusal(capsys, *arguments) -> str:
    """The one line with which the tool turns these arguments down."""
    capsys.readouterr()
    assert main([str(a) for a in arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert len(told.err.splitlines()) == 1
    return told.err


def with_flags(tmp_path, *flags) -> list[str]:
    return command("distill", tmp_path / "never", *flags)


def test_the_first_help_names_every_verb(capsys):
    for spoken in ([], ["--help"], ["-h"]):
        assert main(spoken) == (0 if spoken else 2)
        told = capsys.readouterr().out
        assert all(f"\n  {verb} " in told for verb in (*VERBS, "data"))


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_verb_names_its_flags_and_every_config_key(capsys, verb):
    assert main([verb, "--help"]) == 0
    told = capsys.readouterr().out
    assert VERBS[verb].purpose in told
    for flag in ("config", *VERBS[verb].flags):
        assert f"--{flag}=" in told
    full = resolve({})
    for key, setting, _ in leaves(schema(full), full):
        assert f"\n  {key} " in told, key
        assert setting.meaning.split()[0] in told
    assert "quickstart" in told


@pytest.mark.parametrize("method", METHODS)
def test_the_help_shows_the_settings_of_what_is_chosen(capsys, method):
    chosen = [f"--config.method={method}", "--config.network.name=vit_tiny"]
    chosen += ["--config.data.name=folder"]
    assert main(["distill", "--config=quickstart", *chosen, "--help"]) == 0
    told = capsys.readouterr().out
    sections = {line.split(".")[0].strip() for line in told.splitlines() if "." in line}
    assert sections & set(METHODS) == {method}
    for key in ("network.heads", "data.group", "data.path"):
        assert f"\n  {key} " in told
    assert "data.variation" not in told


def test_the_help_of_data_names_its_own_verbs(capsys):
    with pytest.raises(SystemExit) as left:
        main(["data", "--help"])
    assert left.value.code == 0
    told = capsys.readouterr().out
    assert all(word in told for word in ("list", "fetch", "check"))


def test_values_reach_the_config_in_its_own_types():
    config, flags = parse(
        [
            "--config",
            str(CONFIG),
            "--workdir",
            "somewhere",
            "--config.steps=40",
            "--config.experts.lr=1",
            "--config.tensorboard",
            "--config.eval.real_lrs=(0.1,0.01)",
            "--config.network.name=convnet",
        ],
        VERB,
    )
    assert flags.workdir == "somewhere"
    assert config["steps"] == 40
    assert config["experts"]["lr"] == 1.0
    assert isinstance(config["experts"]["lr"], float)
    assert config["tensorboard"] is True
    assert config["eval"]["real_lrs"] == (0.1, 0.01)
    network = {"name": "convnet", "width": 4, "depth": 1}
    assert config["network"] | network == config["network"]


def test_a_flag_before_the_config_counts_as_one_behind_it():
    config, _ = parse(["--config.steps=40", f"--config={CONFIG}"], VERB)
    assert config["steps"] == 40


@pytest.mark.parametrize(
    ("flag", "parts"),
    [
        ("--config.stepz=3", ["stepz is no setting", "did you mean 'steps'?"]),
        (
            "--config.trajectory.unrol_steps=3",
            ["trajectory.unrol_steps", "did you mean 'unroll_steps'?"],
        ),
        ("--config.zzzz=3", ["zzzz", "--help"]),
        ("--config.steps.more=3", ["steps.more", "steps is no section"]),
        (
            "--config.steps=many",
            ["steps=many", "whole number", "--config.steps=5000"],
        ),
        ("--config.steps=1.5", ["steps=1.5", "a whole number"]),
        ("--config.experts.lr=fast", ["experts.lr=fast", "a number", "=0.01"]),
        ("--config.tensorboard=perhaps", ["tensorboard=perhaps", "true or false"]),
        ("--config.data=5", ["data='5'", "is a section", "--config.data.name"]),
        ("--config.steps", ["--config.steps", "Missing value"]),
        ("--config.eval.real_lrs=a", ["eval.real_lrs=('a',)", "(0.01,)"]),
        ("--wrkdir=x", ["wrkdir", "workdir"]),
        ("--synthetic=x.npz", ["synthetic", "--help"]),
        ("stray", ["'stray' is not a flag", "--config.ipc=10"]),
    ],
)
def test_a_bad_flag_is_answered_in_one_sentence(tmp_path, capsys, flag, parts):
    told = refusal(capsys, *with_flags(tmp_path, flag))
    assert all(part in told for part in parts), told
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("def get_config(:\n", ["is not Python in line 1"]),
        ("steps = 3\n", ["lacks get_config"]),
        ("import nothing_of_that_name\n", ["ModuleNotFoundError", "nothing_of"]),
        ("def get_config():\n    return 1 / 0\n", ["ZeroDivisionError"]),
        ("def get_config():\n    return {}['ipc']\n", ["KeyError", "ipc"]),
        ("def get_config():\n    return {'ipc': 1}\n", ["gives a dict", "ConfigDict"]),
    ],
)
def test_a_bad_config_file_is_named_with_what_is_wrong(tmp_path, capsys, text, parts):
    file = tmp_path / "mine.py"
    file.write_text(text)
    told = refusal(capsys, "distill", f"--config={file}", "--workdir=never")
    assert all(part in told for part in [str(file), "mend the file", *parts]), told


def test_what_is_missing_is_named(tmp_path, capsys):
    told = refusal(capsys, "distill", f"--workdir={tmp_path}")
    assert "--config is missing" in told
    told = refusal(capsys, "distill", f"--config={tmp_path / 'none.py'}")
    assert "none.py names no file" in told
    told = refusal(capsys, "distill", f"--config={CONFIG}:smok", "--workdir=x")
    assert "'smok': choose one of full, smoke" in told
    told = refusal(capsys, "distill", f"--config={CONFIG}")
    assert "--workdir is missing" in told
    told = refusal(capsys, *command("evaluate", tmp_path / "never"))
    assert "--synthetic is missing" in told


def test_an_unknown_verb_is_told_the_known_ones(capsys):
    told = refusal(capsys, "destill")
    assert "'destill' is not a verb: use distill, experts, evaluate, compare" in told


@pytest.mark.parametrize("text", ["5", "5:5", "a:b", "7:3", "-1:3", ":"])
def test_profile_steps_must_be_a_range(tmp_path, capsys, text):
    told = refusal(capsys, *with_flags(tmp_path, f"--profile_steps={text}"))
    assert f"--profile_steps={text} is no range of steps" in told
    assert "10:15" in told
    assert not list(tmp_path.iterdir())


def test_the_exit_status_reaches_the_shell():
    start = "from jaxdistill.cli.main import console; console()"
    done = subprocess.run(
        [sys.executable, "-c", start, "destill"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: 'destill' is not a verb")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("version", "level", "plugin", "used"),
    [
        ("0.10.1", "1", False, False),
        ("0.10.1", "3", False, True),  # silent already
        ("0.10.1", "1", True, True),  # of an accelerator
        ("0.12.0.1", "1", False, True),
    ],
)
def test_a_cache_that_prints_at_every_use_is_left(
    monkeypatch, capsys, version, level, plugin, used
):
    before = jax.config.jax_enable_compilation_cache
    assert jax.config.jax_compilation_cache_dir  # of the tests
    monkeypatch.setattr(cli.metadata, "version", lambda package: version)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level)
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: plugin or None)
    try:
        cli.leave_loud_cache()
        assert jax.config.jax_enable_compilation_cache == used
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
    told = capsys.readouterr().err
    assert told == "" if used else "set TF_CPP_MIN_LOG_LEVEL=3" in told
