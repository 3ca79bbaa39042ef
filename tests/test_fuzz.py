"""The short form of `make fuzz`: always the same damage, all readers."""

import tempfile
from pathlib import Path

import pytest

pytest.importorskip("hypothesis")

from fuzz import Finding, attempt, drive
from fuzz_seeds import checked, seeds

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("name", seeds())
def test_a_damaged_file_is_taken_or_refused(name):
    one = seeds()[name]
    with tempfile.TemporaryDirectory() as held:
        assert attempt(name, one, one.whole, Path(held)) == "taken"
    counted, found = drive(name, 40, None)
    assert not found, [told for told, _ in found.values()]
    assert counted.total() >= 20
    assert counted["refused"] or one.read is checked


def test_what_must_not_be_is_found(tmp_path):
    def broken(path):
        return {}["x"]

    bad = seeds()["set"]._replace(read=broken)
    told = attempt("bad", bad, b"x", tmp_path)
    assert isinstance(told, Finding)
    assert told.what.startswith("KeyError")
