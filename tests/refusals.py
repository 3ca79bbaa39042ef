"""How a table of bad inputs is tried: one sentence, status 2, and nothing begun."""

from pathlib import Path

import pytest
import tiny

from jaxdistill.cli.main import main


def told(capsys, *argv, parts: tuple[str, ...] = ()) -> str:
    """The one sentence with which the tool turns arguments down, in this process."""
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXDISTILL_DATA", str(tiny.root() / "data"))
        assert main([str(arg) for arg in argv]) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert_sentence(found.err.removeprefix("error: ").strip(), parts)
    assert found.err.startswith("error: ")
    return found.err


def assert_sentence(said: str, parts: tuple[str, ...] = ()) -> None:
    """One sentence, for people, with all the parts."""
    assert said, "nothing is said"
    assert len(said.splitlines()) == 1, said
    assert len(said) < 1500, said
    assert "Traceback" not in said
    assert "0x" not in said
    for part in parts:
        assert part in said, (part, said)


def untouched(folder: Path) -> bool:
    """Whether a run's folder was not even made."""
    return not folder.exists()
