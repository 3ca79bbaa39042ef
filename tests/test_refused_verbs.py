"""Verbs, config files and the files that flags name, none of which can be used."""

import functools
import tempfile
from pathlib import Path

import pytest
import tiny
from fuzz_seeds import seeds
from refusals import told, untouched

ROOT = tiny.CONFIG.parents[1]
QUICK = f"--config={ROOT / 'configs' / 'quickstart.py'}"
SEGMENT = f"--config={ROOT / 'configs' / 'quickstart_segment.py'}"
TINY = f"--config={tiny.CONFIG}"
HEAD = "from jaxdistill.jobs.settings.changes import changes\n"
MADE = HEAD + "def get_config(mode='full'):\n    c = changes()\n    {}\n    return c\n"
CONFIGS = {  # the text of a config file, and what its refusal tells
    "": "lacks get_config",
    "x = 1": "lacks get_config",
    "def get_config(": "is not Python in line 1",
    "get_config = 3": "TypeError",
    "def get_config(mode='full'): return {}": "gives a dict",
    "def get_config(mode='full'): return None": "gives a NoneType",
    "def get_config(mode='full'): return 1 / 0": "ZeroDivisionError",
    "import nonsuch": "ModuleNotFoundError",
    "raise KeyError('a')": "KeyError",
    "raise RecursionError": "RecursionError",
    MADE.format("c.ipcs = 1"): "ipcs is no setting",
    MADE.format("c.ipc = '10'"): "ipc='10' must be a whole number",
    MADE.format("c.ipc = None"): "ipc=None",
    MADE.format("c.ipc = [1]"): "ipc=",
    MADE.format("c.ipc = {'a': 1}"): "ipc is no section",
    MADE.format("c.data = 3"): "data is a section",
    MADE.format("c.network = 'mlp'"): "network is a section",
    MADE.format("c.data.name = None"): "data.name=None",
    MADE.format("c.data.name = ['phantom']"): "data.name=",
    MADE.format("c.data.nane = 'phantom'"): "nane is no setting",
    MADE.format("c.method = 3"): "method=3",
    MADE.format("c.gradient.nets = 2"): "gradient holds settings of",
    MADE.format("c.job = 'segment'"): "",
    MADE.format("c.job = 'sing'"): "job='sing'",
    MADE.format("c.steps = float('nan')"): "steps=nan",
    MADE.format("c.compare.ipc = ()"): "compare.ipc=()",
    MADE.format("c.eval.real_lrs = [0.1, 'a']"): "eval.real_lrs",
    "\0": "",
    "\u00e9 = ": "line 1",
}
RUN = "--workdir={run}"
VERBS = [  # arguments, and what the refusal tells
    (["distil"], "'distil' is not a verb"),
    (["--ipc=1"], "is not a verb"),
    (["distill"], "--config is missing"),
    (["distill", "--config="], "--config is missing"),
    (["distill", "--config"], "--config is missing"),
    (["distill", "--config=nowhere.py"], "names no file"),
    (["distill", "--config=quickstar"], "quickstart"),
    (["distill", "--config=/dev/null"], "names no file"),
    (["distill", "--config=."], "names no file"),
    (["distill", "--config=a\0b"], ""),
    (["distill", QUICK], "--workdir is missing"),
    (["distill", f"{QUICK}:tiny", RUN], "asks for the mode 'tiny'"),
    (["distill", QUICK, RUN, "more"], "'more' is not a flag"),
    (["distill", QUICK, RUN, "--speed=9"], "speed"),
    (["distill", QUICK, RUN, "--config.speed=9"], "speed is no setting"),
    (["distill", QUICK, RUN, "--config.data=folder"], "data"),
    (["distill", QUICK, RUN, "--config.data.name.x=1"], "data.name"),
    (["distill", QUICK, RUN, "--config.=1"], ""),
    (["distill", QUICK, RUN, "--config.ipc"], "ipc"),
    (["distill", QUICK, RUN, "--config.ipc="], "ipc"),
    (["distill", QUICK, RUN, "--profile_steps=9"], "profile_steps"),
    (["distill", QUICK, RUN, "--profile_steps=9:1"], "profile_steps"),
    (["distill", QUICK, RUN, "--profile_steps=-1:x"], "profile_steps"),
    (["distill", SEGMENT, RUN], "is for jaxdistill segment"),
    (["distill", QUICK, RUN, "--config.data.name=folder"], "data.path='' must be"),
    (
        ["distill", TINY, RUN, "--config.data.path=~no_such_user/x"],
        "home is not known",
    ),
    (["distill", TINY, RUN, "--config.data.path=" + "x" * 600], "does not exist"),
    (["distill", TINY, RUN, "--config.data.path=/dev/zero"], "neither a folder nor"),
    (["distill", TINY, RUN, "--config.data.root=/nowhere"], ""),
    (["distill", TINY, RUN, "--config.data.group=("], "not a regular expression"),
    (["distill", TINY, RUN, "--config.data.group=zz"], "does not match"),
    (["distill", TINY, RUN, "--config.data.name=mnist"], "mnist.npz"),
    (["distill", TINY, RUN, "--config.ipc=500"], "ipc=500"),
    (["experts", TINY], "--workdir is missing"),
    (["experts", TINY, RUN, "--config.experts.count=0"], "experts.count=0"),
    (["evaluate", TINY, RUN], "--synthetic is missing"),
    (["evaluate", TINY, RUN, "--synthetic=gone.npz"], "gone.npz does not exist"),
    (["evaluate", TINY, RUN, "--synthetic=."], "is a folder"),
    (["evaluate", TINY, RUN, "--synthetic=/dev/zero"], "no regular file"),
    (["evaluate", TINY, RUN, f"--synthetic={tiny.CONFIG}"], "not an npz"),
    (["evaluate", TINY, RUN, "--synthetic={set}"], "distilled from"),
    (["compare", TINY], "--workdir is missing"),
    (["compare", SEGMENT, RUN], "is for jaxdistill segment"),
    (["study", TINY, RUN], "study.sets is empty"),
    (["study", TINY], "--workdir is missing"),
    (["predict", TINY], "--study is missing"),
    (["predict", TINY, "--study=gone.json"], "gone.json does not exist"),
    (["predict", TINY, "--study=."], "is a folder"),
    (["predict", TINY, f"--study={tiny.CONFIG}"], "is damaged"),
    (["predict", TINY, "--study={study}", "--leave_out=z"], "--leave_out=z is not in"),
    (["compress", "--workdir=gone", "--out={run}"], "holds no config.json"),
    (["compress", "--workdir=gone", "--out=."], "is a folder"),
    (["compress", "--workdir={other}", "--out={run}"], "is no record"),
    (["regenerate", "gone.npz", "--out={run}"], "gone.npz does not exist"),
    (["regenerate", ".", "--out={run}"], "is a folder"),
    (["regenerate", "{parcel}", "--out=."], "is a folder"),
    (["regenerate", "{parcel}", "--out={parcel}"], "is the parcel itself"),
    (["regenerate", "{set}", "--out={run}"], "is no parcel"),
    (["segment", SEGMENT], "--workdir is missing"),
    (["segment", QUICK, RUN], "name a config with job='segment'"),
    (["segment", SEGMENT, RUN, "--config.protocol.unseen=S9"], "S9"),
    (["segment", SEGMENT, RUN, "--config.data.name=site_folders"], "data.path"),
    (["segment-predict", "gone.safetensors", "a.nii", "--out={run}"], "is no file"),
    (["segment-predict", "{set}", "a.nii", "--out={run}"], "safetensors"),
    (["segment-predict", "{model}", "gone.nii", "--out={run}"], "does not exist"),
    (["segment-predict", "{model}", "a/x.png", "b/x.png", "--out={run}"], "both be wr"),
    (["data", "fetch", "nomnist"], "data.name='nomnist'"),
    (["data", "fetch", "pathmnist", "--size=30"], "28, 64, 128, 224"),
    (["data", "list", "--root=/nowhere"], "not a folder that exists"),
]
USAGE = [
    ["data"],
    ["data", "check"],
    ["data", "nonsuch"],
    ["data", "fetch", "pathmnist", "--size=big"],
    ["compress"],
    ["compress", "--workdir=x"],
    ["regenerate"],
    ["segment-predict", "a", "b", "--out=c", "--window=-1"],
    ["segment-predict", "a", "b", "--out=c", "--overlap=1"],
    ["segment-predict", "a", "b", "--out=c", "--batch=0"],
]


@functools.cache
def held() -> Path:
    """A folder of good files of each kind, and of a foreign run."""
    _HELD.append(tempfile.TemporaryDirectory(prefix="jaxdistill-refused-"))
    top = Path(_HELD[0].name)
    for name in ("set", "parcel", "model", "study"):
        (top / seeds()[name].file).write_bytes(seeds()[name].whole)
    (top / "other").mkdir()
    for name in ("config.json", "summary.json"):
        (top / "other" / name).write_text("[1]")
    return top


_HELD: list = []


def filled(argument: str, run: Path) -> str:
    """An argument with the places of files in it."""
    places = {name: held() / seeds()[name].file for name in ("set", "parcel", "study")}
    places |= {"model": held() / "model.safetensors", "other": held() / "other"}
    for name, path in (places | {"run": run}).items():
        argument = argument.replace(f"{{{name}}}", str(path))
    return argument


@pytest.mark.parametrize("number", range(len(VERBS)))
def test_arguments_that_name_nothing_of_use(number, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given, part = VERBS[number]
    if given[0] == "data":
        from jaxdistill.cli.data import main

        assert main(given[1:]) == 2
        said = capsys.readouterr().err
        assert part in said
        assert len(said.splitlines()) == 1
        return
    argv = [filled(arg, tmp_path / "run") for arg in given]
    if given[0] == "segment-predict":
        from jaxdistill.cli.main import main

        assert main(argv) == 2
        assert part in capsys.readouterr().err
        return
    told(capsys, *argv, parts=(part,))
    assert untouched(tmp_path / "run")


@pytest.mark.parametrize("number", range(len(CONFIGS)))
def test_a_config_file_that_is_none(number, tmp_path, capsys):
    text, part = list(CONFIGS.items())[number]
    file = tmp_path / "mine.py"
    file.write_text(text)
    told(
        capsys,
        "distill",
        f"--config={file}",
        f"--workdir={tmp_path / 'run'}",
        parts=(part,),
    )
    assert untouched(tmp_path / "run")


@pytest.mark.parametrize("argv", USAGE, ids=" ".join)
def test_usage_is_told_with_status_two(argv, capsys):
    from jaxdistill.cli.main import main

    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err
