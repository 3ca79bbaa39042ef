"""What a run runs on, and the versions that it refuses to run on."""

import re
import tomllib
from pathlib import Path

import pytest

from jaxdistill.errors import InputError
from jaxdistill.run import environment

ROOT = Path(__file__).resolve().parents[1]


def pinned() -> set[str]:
    """The versions of jaxlib that the constraints name."""
    text = (ROOT / "constraints.txt").read_text()
    return set(re.findall(r"^jaxlib==([\d.]+)", text, re.MULTILINE))


def excluded(package: str) -> set[str]:
    """The versions of a package that the project cannot be installed with."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [re.match(r"[\w-]+", one)[0] for one in project["dependencies"]]
    return set(re.findall(r"!=([\d.]+)", project["dependencies"][names.index(package)]))


def pretend(monkeypatch, version):
    monkeypatch.setattr(environment.metadata, "version", lambda package: version)


@pytest.mark.parametrize("version", environment.UNSOUND)
def test_a_jaxlib_of_wrong_sums_is_refused_with_others_to_use(monkeypatch, version):
    pretend(monkeypatch, version)
    with pytest.raises(InputError) as told:
        environment.require_sound_jaxlib()
    sentence = str(told.value)
    assert sentence.startswith(f"jaxlib {version} computes wrong sums on CPUs")
    assert '"jaxlib!=0.10.2,!=0.11.0"' in sentence
    assert all(one in sentence for one in pinned())


def test_other_versions_run(monkeypatch):
    environment.require_sound_jaxlib()
    for version in pinned():
        pretend(monkeypatch, version)
        environment.require_sound_jaxlib()


@pytest.mark.parametrize("package", ["jax", "jaxlib"])
def test_what_is_refused_cannot_be_installed(package):
    assert excluded(package) == set(environment.UNSOUND)
