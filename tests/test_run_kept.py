"""What is stored is known again: a flipped bit anywhere, and paths that mislead."""

import os
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.errors import Damaged, InputError
from jaxdistill.run.checkpoint import Checkpoints
from jaxdistill.run.files import read_json, read_record, write_json
from jaxdistill.run.kept import made_once, set_aside
from jaxdistill.run.places import file_name, place
from jaxdistill.run.seals import of_array, sealed_line, unsealed_line
from jaxdistill.run.snapshots import check_whole, read_part, rewind, saved_steps
from jaxdistill.run.writer import MetricsWriter, read_metrics

RECORD = {"auc": [0.5, 0.25], "name": "é", "nested": {"n": 3, "none": None}}


def test_json_with_any_flipped_bit_says_the_same_or_is_damaged(tmp_path):
    file = tmp_path / "x.json"
    write_json(file, RECORD)
    whole, noticed = file.read_bytes(), 0
    for bit in range(0, 8 * len(whole), 3):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        file.write_bytes(data)
        try:
            found = read_json(file)
        except Damaged:
            noticed += 1
        else:  # white space, or the name of the checksum itself
            assert {k: found[k] for k in RECORD} == RECORD
    assert noticed > len(whole)


def test_what_was_written_before_checksums_is_taken_as_it_is(tmp_path):
    file = tmp_path / "x.json"
    file.write_text('{"auc": 0.5}')
    assert read_json(file) == {"auc": 0.5}
    with pytest.raises(Damaged, match=r"x\.json is no record of steps: restore"):
        read_record(file, "steps")
    assert unsealed_line(b'{"step": 1}') == {"step": 1}


def test_a_line_with_a_flipped_bit_is_left_out_and_told(tmp_path, capsys):
    with MetricsWriter(tmp_path) as writer:
        for step in (1, 2, 3):
            writer.write_scalars(step, {"val_auc": 0.5})
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(file.read_bytes().replace(b"2, ", b"6, ", 1))
    assert [one["step"] for one in read_metrics(file)] == [1, 3]
    assert "damaged in line 2, which is left out" in capsys.readouterr().err
    line = sealed_line({"step": 1})
    assert unsealed_line(line[:-9]) is None


def test_a_full_disk_in_the_midst_of_a_line_is_gone_on_with(tmp_path):
    class Narrow:
        """A file that takes five bytes at a time."""

        def __init__(self, file):
            self.file = file

        def write(self, data):
            return self.file.write(data[:5])

        def close(self):
            self.file.close()

    with MetricsWriter(tmp_path) as writer:
        writer._file = Narrow(writer._file)
        writer.write_scalars(1, {"loss": 2.0})
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"step": 1, "loss": 2.0}]


def test_what_is_damaged_is_set_aside_and_made_again(tmp_path, capsys):
    file = tmp_path / "x.json"
    for number in range(2):
        file.write_text("{")
        found = made_once(file, read_json, lambda: write_json(file, RECORD))
        assert found == RECORD
        told = capsys.readouterr().err
        assert told.startswith(f"note: {file} is damaged (")
        assert "and made again" in told
        assert (
            sorted(os.listdir(tmp_path))
            == (["x.json", "x.json.aside", "x.json.aside2"][: number + 2])
        )
    assert made_once(file, read_json, lambda: pytest.fail("it is there")) == RECORD


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    folder = tmp_path_factory.mktemp("steps")
    with Checkpoints(folder) as checkpoints:
        for step in (1, 2):
            noise = np.random.default_rng(step).normal(size=400).astype(np.float32)
            checkpoints.save(step, {"a": {"w": jnp.asarray(noise)}}, {"best": 1})
    return folder


def test_another_value_in_a_checkpoint_is_noticed_and_an_old_one_is_taken(
    steps, tmp_path
):
    import tensorstore

    from jaxdistill.run.snapshots import _spec

    folder = Path(shutil.copytree(steps, tmp_path / "steps"))
    assert check_whole(folder / "2")
    like = {"w": jnp.zeros(400)}
    read_part(folder, 2, ("a",), like)
    store = tensorstore.open(_spec(folder / "2", "a.w"), open=True).result()
    value = np.array(store.read().result())
    value[7] = np.nextafter(value[7], np.float32(9))  # one bit
    store.write(value).result()
    for read in (
        lambda: check_whole(folder / "2"),
        lambda: read_part(folder, 2, ("a",), like),
    ):
        with pytest.raises(Damaged, match=r"checkpoint .*/2 is truncated or damaged"):
            read()
    (folder / "2" / "extra" / "metadata").write_text("{}")  # as older versions did
    assert not check_whole(folder / "2")
    np.testing.assert_array_equal(read_part(folder, 2, ("a",), like)["w"], value)


def test_rewinding_keeps_what_it_passes_by(steps, tmp_path):
    folder = Path(shutil.copytree(steps, tmp_path / "steps"))
    rewind(folder, 2)
    assert saved_steps(folder) == [1]
    assert check_whole(folder / "2.aside")
    assert set_aside(folder / "1").name == "1.aside"


def test_arrays_are_told_apart_by_bytes_dtype_and_shape():
    one = np.arange(4, dtype=np.float32)
    others = (one.astype(np.float64), one.reshape(2, 2), one + 1, -one, one[:0], one[0])
    assert len({of_array(x) for x in (one, *others)}) == 7
    assert of_array(one[::2]) == of_array(np.array([0, 2], np.float32))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("a\\b/run", r"holds '\\\\', which libraries take for more"),
        ("gs:/run", "holds ':'"),
        ("run/s3:", "holds ':'"),
        ("a*/run", r"holds '\*'"),
        ("what?", r"holds '\?'"),
        ("[ab]", r"holds '\['"),
        ("a\nb", r"holds '\\n'"),
        ("/gs/run", "begins with /gs"),
        ("~nobody-of-that-name/run", "whose home is not known"),
        (os.fsdecode(b"\xff"), "is not UTF-8"),
        ("x" * 300, "its path is too long"),
        ("/" + "x/" * 2000, "have room up to"),
    ],
)
def test_a_path_that_a_library_would_mistake_is_refused_in_one_sentence(path, words):
    with pytest.raises(InputError, match=words) as told:
        place(path)
    assert "\n" not in str(told.value)
    assert str(told.value).encode()


@pytest.mark.parametrize("name", ["a b", "é", "a#b", "100%", "a.", "...", "a:b", "a]b"])
def test_other_paths_are_taken_as_they_are(tmp_path, name):
    assert place(tmp_path / name) == tmp_path / name


def test_names_of_networks_become_names_of_files():
    assert file_name("mlp:width=3") == "mlp_width_3"
    long = [file_name("mlp:width=3" * 30 + end) for end in "ab"]
    assert long[0] != long[1]
    assert max(map(len, long)) < 60
