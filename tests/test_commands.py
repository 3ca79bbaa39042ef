"""Every command that the README, the docs and the configs print is one that works."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

from jaxdistill.cli.main import main
from jaxdistill.jobs.compare import job as comparing
from jaxdistill.jobs.compare.plan import plan
from jaxdistill.jobs.distil import distilling
from jaxdistill.jobs.labels import job as labelling
from jaxdistill.jobs.labels.plan import plan as plan_labels
from jaxdistill.jobs.lessons import classifying
from jaxdistill.jobs.segment import job as segmenting
from jaxdistill.jobs.segment import predicting as segment_predicting
from jaxdistill.jobs.selftrain import job as selftraining
from jaxdistill.jobs.selftrain.plan import plan as plan_stages
from jaxdistill.jobs.settings.resolve import resolve
from jaxdistill.jobs.ship import compress, regenerate
from jaxdistill.jobs.study import job as studying
from jaxdistill.jobs.study import predict as predicting
from jaxdistill.jobs.study.sets import sets_of

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
FENCED = re.compile(r"^```(.*?)\n(.*?)^```", re.M | re.S)
LOOP = re.compile(r"^for (\w+) in (\S+).*?^done$", re.M | re.S)
SHELLS = ("", "bash", "sh", "console")
TOOLS = ("jaxdistill", ".venv/bin/jaxdistill")


class Reached(Exception):
    """A command has come to where its work begins."""


def printed() -> dict[str, str]:
    """Every line of a shell that is printed, and where; of a loop, its first turn."""

    def first_turn(loop: re.Match) -> str:
        return loop[0].replace(f"${loop[1]}", loop[2])

    texts = [
        (
            page.name,
            [t for kind, t in FENCED.findall(page.read_text()) if kind in SHELLS],
        )
        for page in PAGES
    ]
    for file in sorted((ROOT / "configs").glob("*.py")):
        text = file.read_text()
        texts.append((file.name, [text.split('"""')[1]]))
    found: dict[str, str] = {}
    for name, parts in texts:
        text = LOOP.sub(first_turn, "\n".join(parts))
        for line in text.replace("\\\n", " ").splitlines():
            words = " ".join(line.split("#")[0].split())
            if words.startswith((*TOOLS, "make ", "python ")):
                found.setdefault(words, name)
    return found


PRINTED = printed()
OF_TOOL = [line for line in PRINTED if line.startswith(TOOLS)]


def test_the_pages_print_commands_of_every_verb():
    verbs = {shlex.split(line)[1] for line in OF_TOOL}
    assert {"distill", "compare", "study", "predict", "compress", "data"} <= verbs
    assert {"segment", "segment-predict", "selftrain"} <= verbs
    assert {"pretrain", "finetune", "compare-labels", "classify"} <= verbs


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """A folder in which the commands find their files; jobs begin and do nothing."""

    def begin(check=None):
        def run(config, *rest, **named):
            if check is not None:
                check(resolve(config))
            raise Reached

        return run

    (tmp_path / "configs").symlink_to(ROOT / "configs")
    tiny.write_images(tmp_path / "films")
    tiny.write_sites(tmp_path / "scans")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(distilling, "run", begin(lambda config: None))
    monkeypatch.setattr(comparing, "run", begin(plan))
    monkeypatch.setattr(studying, "run", begin(sets_of))
    monkeypatch.setattr(predicting, "run", begin(lambda config: None))
    monkeypatch.setattr(distilling, "prepare", begin(lambda config: None))
    monkeypatch.setattr(segmenting, "run", begin(lambda config: None))
    monkeypatch.setattr(segment_predicting, "run", begin())
    monkeypatch.setattr(selftraining, "run", begin(plan_stages))
    for verb in ("compare", "pretrain", "finetune"):
        monkeypatch.setattr(labelling, verb, begin(plan_labels))
    monkeypatch.setattr(classifying, "classify", begin())
    monkeypatch.setattr(compress, "compress", begin())
    monkeypatch.setattr(regenerate, "regenerate", begin())


@pytest.mark.parametrize("line", OF_TOOL)
def test_a_printed_command_is_taken_and_begins(begun, line):
    arguments = shlex.split(line)[1:]
    if arguments[0] == "data":
        assert main(arguments) == 0
        return
    with pytest.raises(Reached):  # a refusal would return 2 and say why
        main(arguments)


@pytest.mark.parametrize(
    "line", [line for line in PRINTED if line.startswith(("make", "python"))]
)
def test_a_printed_target_or_script_is_there(line):
    for word in shlex.split(line)[1:]:
        if line.startswith("make") and "=" not in word:
            assert re.search(rf"^{word}:", (ROOT / "Makefile").read_text(), re.M), word
        elif word.endswith(".py"):
            assert (ROOT / word).exists(), word
        elif word.startswith("--"):
            script = (ROOT / shlex.split(line)[1]).read_text()
            shared = (ROOT / "benchmarks" / "common.py").read_text()
            assert word.partition("=")[0] in script + shared, word


def test_own_films_by_the_command_of_the_readme(tmp_path, monkeypatch, capsys):
    """As printed, but at the size that ends in seconds."""
    (line,) = (x for x in OF_TOOL if " distill " in x and "data.path=films" in x)
    small = line.replace("quickstart.py", "quickstart.py:smoke")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    tiny.write_images(tmp_path / "films")
    monkeypatch.chdir(tmp_path)
    one = "--config.devices.count=1"  # as on a machine of its user
    assert main([*shlex.split(small)[1:], one]) == 0, capsys.readouterr().err
    assert (tmp_path / "runs" / "films" / "summary.json").exists()


def test_an_installed_wheel_knows_its_configs_in_any_folder(tmp_path):
    """Built as pip builds it, and run from its files alone."""
    hatchling = pytest.importorskip("hatchling.build")
    out = tmp_path / "wheel"
    out.mkdir()
    build = f"import hatchling.build as b; print(b.build_wheel({str(out)!r}))"
    assert hatchling
    subprocess.run([sys.executable, "-c", build], cwd=ROOT, check=True)
    (wheel,) = out.glob("*.whl")
    start = (
        f"import sys; sys.path.insert(0, {str(wheel)!r}); "
        "import zipfile, pathlib; "
        f"zipfile.ZipFile({str(wheel)!r}).extractall('site'); "
        "sys.path.insert(0, 'site'); "
        "import jaxdistill; assert 'site' in jaxdistill.__file__; "
        "from jaxdistill.cli.main import main; "
        "sys.exit(main(['distill', '--config=quickstart', '--help']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", start], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "shipped configs: " in done.stdout
    assert re.search(r"\n  ipc +3 ", done.stdout)  # the quickstart's own
