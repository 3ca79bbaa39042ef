"""Damages good files in every way, and hears what their readers say.

    make fuzz FUZZ_SECONDS=3600      or, in `tests`,  python fuzz.py 3600 [NAME ...]

A reader may take what is left of a file, or refuse it in one sentence, within ten
seconds and a gigabyte. Anything else is a finding, and is printed once.
"""

import argparse
import collections
import json
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from fuzz_seeds import Seed, seeds
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from jaxdistill.errors import InputError

SECONDS = 10.0
WORDS = [
    b"\0" * 4,
    b"\xff" * 4,
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x80",
]
WORDS += [b"\x01\0\0\0", b"\0\0\0\x01", b"\0\0\xc0\x7f", b"PK\1\2", b"DICM", b"NUMPY"]
ODD: list[Any] = [None, True, -1, 0, 2**31, 2**63, 10**30, 1e308, 1e-320, "", "x" * 300]
ODD += ["\ud800", "../../x", [], {}, [[]], {"name": "x"}, [1, 2, 3], 0.5, "convnet"]
KINDS = ["f2", "f8", "i1", "i8", "u8", "?", "U3", "S3", "c8", "M8[s]", "V4", ">f4"]


class Finding(NamedTuple):
    """What a reader did that it must not."""

    reader: str
    what: str
    where: str


def damaged(one: Seed) -> st.SearchStrategy[bytes]:
    """The file with some bytes changed, or packed anew from other contents."""
    ways = [_bytes(one.whole)]
    if isinstance(one.parts, dict) and one.pack and one.file.endswith(".npz"):
        ways.append(_arrays(one))
    elif one.parts is not None:
        ways.append(_json(one))
    return st.one_of(ways)


@st.composite
def _bytes(draw: Any, whole: bytes) -> bytes:
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        way = draw(st.sampled_from(("flip", "word", "cut", "drop", "twice", "add")))
        size = draw(st.integers(1, 40))
        if way == "flip":
            data[at : at + 1] = bytes([draw(st.integers(0, 255))])
        elif way == "word":
            word = draw(st.sampled_from(WORDS))
            data[at : at + len(word)] = word
        elif way == "cut":
            del data[at:]
        elif way == "drop":
            del data[at : at + size]
        elif way == "twice":
            data[at:at] = data[at : at + size]
        else:
            data[at:at] = draw(st.binary(max_size=40))
    return bytes(data)


@st.composite
def _arrays(draw: Any, one: Seed) -> bytes:
    arrays = dict(one.parts)
    for _ in range(draw(st.integers(1, 2))):
        name = draw(st.sampled_from(sorted(arrays)))
        values = np.asarray(arrays[name])
        way = draw(st.sampled_from(("kind", "shape", "value", "gone", "other", "text")))
        if way == "gone":
            arrays.pop(name)
        elif way == "kind":
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                try:
                    arrays[name] = values.astype(draw(st.sampled_from(KINDS)))
                except Exception:  # of many types, as pairs of kinds differ
                    arrays[name] = np.zeros(3, draw(st.sampled_from(KINDS)))
        elif way == "shape":
            shape = draw(st.lists(st.integers(0, 9), max_size=5))
            arrays[name] = np.resize(values, shape).astype(values.dtype)
        elif way == "value" and values.size and values.dtype.kind in "fiu":
            flat = values.copy().reshape(-1)
            odd = (
                [0, 1, 255] if values.dtype.kind != "f" else [np.nan, np.inf, -1, 3e38]
            )
            made = np.asarray(draw(st.sampled_from(odd))).astype(flat.dtype)
            flat[draw(st.integers(0, flat.size - 1))] = made
            arrays[name] = flat.reshape(values.shape)
        elif way == "other":
            arrays[draw(st.text(max_size=5)) + "x"] = values
        elif values.dtype == np.uint8 and values.ndim == 1:  # JSON within
            arrays[name] = np.frombuffer(draw(_bytes(values.tobytes())), np.uint8)
        if not arrays:
            break
    return one.pack(arrays) if one.pack else b""


@st.composite
def _json(draw: Any, one: Seed) -> bytes:
    def odd(node: Any) -> Any:
        if isinstance(node, dict) and node and draw(st.booleans()):
            key = draw(st.sampled_from(sorted(node)))
            return {**node, key: odd(node[key])}
        if isinstance(node, list) and node and draw(st.booleans()):
            at = draw(st.integers(0, len(node) - 1))
            return [*node[:at], odd(node[at]), *node[at + 1 :]]
        return draw(st.sampled_from(ODD))

    return one.pack(odd(one.parts)) if one.pack else b""


def attempt(name: str, one: Seed, content: bytes, folder: Path) -> Finding | str:
    """What a reader says of a file: "taken", "refused", or what it must not do."""
    path = folder / one.file
    path.write_bytes(content)
    began = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            one.read(path)
        told = "taken"
    except InputError as error:
        said = str(error)
        if "\n" in said or not said.isprintable() or len(said) > 1500:
            return Finding(name, "no sentence", repr(said[:200]))
        told = "refused"
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)
        ours = [
            f"{Path(f.filename).name}:{f.lineno}"
            for f in where
            if "jaxdistill" in f.filename
        ]
        return Finding(
            name, f"{type(error).__name__}: {error}"[:160], " ".join(ours[-2:])
        )
    if time.process_time() - began > SECONDS:
        return Finding(name, f"took {time.process_time() - began:.0f} s", told)
    return told


def drive(
    name: str, examples: int, start: int | None
) -> tuple[collections.Counter, dict]:
    """Try a reader on damaged files; without a start, always the same ones."""
    one, counted, found = seeds()[name], collections.Counter(), {}

    def trial(content: bytes) -> None:
        told = attempt(name, one, content, Path(held))
        if isinstance(told, Finding):
            found.setdefault((told.reader, told.what[:40], told.where), (told, content))
        counted["found" if isinstance(told, Finding) else told] += 1

    run = settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=start is None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )(given(damaged(one))(trial))
    with tempfile.TemporaryDirectory(prefix="jaxdistill-fuzz-") as held:
        (run if start is None else seed(start)(run))()
    return counted, found


def main() -> int:
    """Drive every reader in turn until the time is over; 1 if something was found."""
    parser = argparse.ArgumentParser(prog="python fuzz.py", description=__doc__)
    parser.add_argument("seconds", type=float, help="of CPU")
    parser.add_argument("names", nargs="*", help="readers, or all")
    parser.add_argument("--seed", type=int, default=0, help="which damage")
    parser.add_argument("--json", help="where to write the figures")
    asked = parser.parse_intermixed_args()
    from bombs import spare

    from jaxdistill.cli.streams import quiet_readers

    quiet_readers()
    chosen = [name for name in seeds() if not asked.names or name in asked.names]
    for name in chosen:
        with tempfile.TemporaryDirectory() as held:
            one = seeds()[name]
            assert attempt(name, one, one.whole, Path(held)) == "taken", name
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (spare(), spare()))
    by_reader = {name: collections.Counter() for name in chosen}
    found: dict = {}
    began, turn, told = time.process_time(), 0, {}
    while time.process_time() - began < asked.seconds:
        for name in chosen:
            counted, more = drive(name, 100, 10_000 * asked.seed + turn)
            by_reader[name] += counted
            for key in more.keys() - found.keys():
                one, content = more[key]
                print(f"found: {' | '.join(one)} ({len(content)} bytes)", flush=True)
            found |= more
        turn += 1
        total = sum(by_reader.values(), collections.Counter())
        told = {
            "seconds": round(time.process_time() - began),
            "seed": asked.seed,
            "tried": total.total(),
            "taken": total["taken"],
            "refused": total["refused"],
            "found": [one._asdict() for one, _ in found.values()],
            "by_reader": by_reader,
        }
        if asked.json:
            Path(asked.json).write_text(json.dumps(told, indent=2) + "\n")
        if turn % 10 == 1:
            print(line(told), flush=True)
    print(line(told))
    return int(bool(found))


def line(told: dict) -> str:
    """The figures so far."""
    return (
        "{seconds} s of CPU: {tried} tried, {taken} taken, {refused} refused, "
        "{kinds} kinds found"
    ).format(**told, kinds=len(told["found"]))


if __name__ == "__main__":
    sys.exit(main())
