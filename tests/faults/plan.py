"""The faults of the campaign: over all verbs that write, and all kinds of what they
store.
"""

import errno
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from PIL import Image

from faults.harms import (
    INT,
    KILL,
    TERM,
    Harm,
    as_nobody,
    deaf,
    flip,
    flip_digit,
    foreign,
    limited,
    refused_by_disk,
    refused_to_read,
    remove,
    signalled,
    truncate,
)
from faults.names import KINDS, REFUSED, WORKING
from faults.trials import Trial

STEP = "run/checkpoints/8"
# What a step of Orbax consists of, by the files that hold it.
PARTS = {
    "arrays": f"{STEP}/state/ocdbt.process_0/d/*",
    "index": f"{STEP}/state/d/*",
    "manifest": f"{STEP}/state/manifest.ocdbt",
    "tree": f"{STEP}/state/_METADATA",
    "shards": f"{STEP}/state/_sharding",
    "chunks": f"{STEP}/state/array_metadatas/*",
    "step": f"{STEP}/_CHECKPOINT_METADATA",
    "checksums": f"{STEP}/extra/metadata",
}
TRAJECTORY = ("checkpoints/6", "checkpoints/8", "synthetic/*8.npz")
SNAPSHOT = "run/experts/group_000/snapshots"
FILES = {
    "distill": ("synthetic/*.npz", "eval/*.json", "metrics.jsonl", "config.json"),
    "evaluate": ("eval/*.json", "config.json"),
    "compare": (
        *("cells/*/summary.json", "cells/*/synthetic/*.npz", "coresets/*/eval/*.json"),
        *("coresets/*.npz", "cells/*/eval/*.json", "cells/*/config.json"),
    ),
    "study": ("sets/*/summary.json", "sets/*/coresets/full/eval/*.json"),
    "selftrain": ("lessons/*/*.safetensors", "scores/*.json"),
    "compare-labels": ("lessons/*/*.safetensors", "cells/*.json"),
    "pretrain": ("lessons/*/*.safetensors", "backbone.safetensors"),
    "finetune": ("cells/*.json", "model.safetensors"),
    "segment": (
        *("models/*.safetensors", "teachers/*/*.safetensors", "scores/*.json"),
        "frame.json",
    ),
}
ENDED = {
    "distill": ("summary.json",),
    "compare": ("summary.json", "table.csv"),
    "segment": ("summary.json", "student.safetensors", "classes/*/class.json"),
}


def trials() -> Iterator[Trial]:
    """Every trial of the campaign, cheap ones of every kind first."""
    yield from checkpoints()
    yield from stored()
    yield from processes()
    yield from disks()
    yield from inputs()
    yield from paths()


def checkpoints() -> Iterator[Trial]:
    """Steps and experts with a flipped bit, cut, or in part gone."""
    for part, pattern in PARTS.items():
        for name, harm in (("flip", flip), ("cut", truncate), ("gone", remove)):
            yield Trial("distill", f"checkpoint {part}: {name}", harm(pattern))
    yield Trial("distill", "checkpoint: gone", remove(STEP))
    yield Trial("distill", "checkpoints: all gone", remove("run/checkpoints"))
    for name, pattern in {
        "arrays": f"{SNAPSHOT}/[12]/state/ocdbt.process_0/d/*",
        "checksums": f"{SNAPSHOT}/1/extra/metadata",
        "manifest": f"{SNAPSHOT}/2/state/manifest.ocdbt",
    }.items():
        yield Trial(
            "trajectory", f"expert {name}: flip", flip(pattern), lost=TRAJECTORY
        )
        yield Trial(
            "experts", f"expert {name}: cut", truncate("run/experts/" + pattern[12:])
        )
    yield Trial(
        "experts", "expert epoch: gone", remove("run/experts/group_000/snapshots/1")
    )
    for name, pattern in (
        ("students", "run/classes/*/checkpoints/*/state/ocdbt.process_0/d/*"),
        ("teacher", "run/teachers/*/checkpoints/*/state/ocdbt.process_0/d/*"),
    ):
        lost = ("models/*", "teachers/*/*.safetensors")
        yield Trial("segment", f"checkpoint of {name}: flip", flip(pattern), lost=lost)


def stored() -> Iterator[Trial]:
    """Every other kind of file, midway and at the end."""
    for state, files in (("midway", FILES), ("ended", ENDED)):
        for subject, patterns in files.items():
            for pattern in patterns:
                for name, harm in (("flip", flip), ("cut", truncate), ("gone", remove)):
                    yield Trial(
                        subject, f"{pattern}: {name}", harm(f"run/{pattern}"), state
                    )
    for name, harm in (("flip", flip), ("cut", truncate), ("gone", remove)):
        yield Trial("distill", f"the chosen set: {name}", _to_chosen(harm), "ended")
    for pattern in ("eval/*.json", "metrics.jsonl"):
        yield Trial("distill", f"{pattern}: a digit", flip_digit(f"run/{pattern}"))
    for pattern in ("cells/*/summary.json", "coresets/*/eval/*.json"):
        yield Trial("compare", f"{pattern}: a digit", flip_digit(f"run/{pattern}"))
    yield Trial("segment", "scores: a digit", flip_digit("run/scores/*.json"))
    for text in KINDS:
        yield Trial(
            "distill",
            f"summary.json: {text}",
            foreign("run/summary.json", text),
            "ended",
        )
        yield Trial("distill", f"config.json: {text}", foreign("run/config.json", text))
        yield Trial(
            "distill", f"eval: {text}", foreign("run/eval/distilled.json", text)
        )
        yield Trial(
            "compare", f"summary: {text}", foreign("run/cells/*/summary.json", text)
        )
    for subject, pattern in (
        ("compress", "from/synthetic/*.npz"),
        ("compress", "from/summary.json"),
        ("regenerate", "from/net.npz"),
        ("predict", "from/study.json"),
        ("segment-predict", "from/student.safetensors"),
        ("segment-predict", "from/student.safetensors"),
    ):
        yield Trial(subject, f"{pattern}: cut", truncate(pattern), promise="refused")
    yield Trial("evaluate", "the set: another", _other_set, promise="refused")


def processes() -> Iterator[Trial]:
    """Kills, stops, interrupts; a pipe that is closed."""
    for subject, counts in {
        "distill": (1, 3, 6, 9, 13, 17, 20),
        "trajectory": (4, 9, 14),
        "experts": (3, 6),
        "evaluate": (2, 4),
        "compare": (5, 20),
        "segment": (4, 9, 15, 22, 28),
        "compress": (1, 2),
        "regenerate": (1,),
        "segment-predict": (1,),
        "selftrain": (7, 16),
        "compare-labels": (5, 9),
        "pretrain": (3, 6),
        "finetune": (2, 4),
        "predict": (2,),
    }.items():
        for count in counts:
            yield Trial(
                subject, f"kill at {count}", state="new", spell=signalled(count, KILL)
            )
    for count in (4, 8, 12):
        yield Trial(
            "distill", f"SIGTERM at {count}", state="new", spell=signalled(count, TERM)
        )
    yield Trial("segment", "SIGTERM", state="new", spell=signalled(8, TERM))
    for count in (7, 12):
        twice = signalled(count, INT, 2)
        yield Trial("distill", f"two Ctrl-C at {count}", state="new", spell=twice)
    yield Trial("compare", "two Ctrl-C", state="new", spell=signalled(8, INT, 2))
    for subject in ("distill", "compare", "segment", "study"):
        yield Trial(subject, "nobody reads", spell=deaf)


def disks() -> Iterator[Trial]:
    """A disk that is full, fails, or is not the user's; few files at once."""
    for subject, counts in {
        "distill": (2, 5, 8, 11, 14),
        "trajectory": (5,),
        "experts": (4,),
        "evaluate": (3,),
        "compare": (6, 12),
        "study": (7,),
        "segment": (6, 14),
        "selftrain": (9,),
        "compare-labels": (6,),
        "pretrain": (4,),
        "finetune": (3,),
        "predict": (1,),
    }.items():
        for count in counts:
            spell = refused_by_disk(count)
            yield Trial(subject, f"disk full at {count}", state="new", spell=spell)
    others = ("compress", "regenerate", "segment-predict")
    for subject in ("distill", "compare", "study", "segment", *others):
        yield Trial(subject, "disk full at the end", spell=refused_by_disk(1))
    for size in (64, 700, 3000):
        yield Trial(
            "distill",
            f"files of {size} bytes",
            state="new",
            spell=limited("FSIZE", size),
        )
    yield Trial(
        "experts", "files of 900 bytes", state="new", spell=limited("FSIZE", 900)
    )
    for number in (errno.EIO, errno.ENOENT, errno.EACCES, errno.ESTALE):
        for subject, count in (("distill", 3), ("compare", 9), ("study", 4)):
            spell = refused_to_read(count, number)
            yield Trial(subject, f"read fails: {errno.errorcode[number]}", spell=spell)
    for count in (12, 24, 40):
        yield Trial("distill", f"{count} files at once", spell=limited("NOFILE", count))
    for subject in ("distill", "compare", "segment", "experts"):
        yield Trial(subject, "not one's own folder", spell=as_nobody, promise="refused")


def inputs() -> Iterator[Trial]:
    """Other data than a run began with, and work folders where data lie."""
    for subject in ("distill", "evaluate", "compare", "experts", "compress"):
        for name, harm in (("classes swapped", _swap), ("a pixel", _pixel)):
            yield Trial(subject, name, harm, promise="refused", of_data=True)
    yield Trial(
        "distill",
        "an image less",
        remove("train/*/3.png"),
        promise="refused",
        of_data=True,
    )
    yield Trial("compare", "other log_every", more=("--config.log_every=4",))
    wrong = ("--config.network.width=5",)
    yield Trial("distill", "another network", more=wrong, promise="refused")


def paths() -> Iterator[Trial]:
    """Names that a library could take for more than a name."""
    for name in WORKING:
        yield Trial("distill", f"within {name!r}", where=name)
    for name in REFUSED:
        yield Trial("distill", f"within {name!r}", where=name, promise="refused")
    for name in ("gs:", "a[b]", "a\\b"):
        yield Trial("segment", f"within {name!r}", where=name, promise="refused")
        yield Trial("compare", f"within {name!r}", where=name, promise="refused")
    deep = "/".join(["d" * 100] * 37)
    yield Trial("distill", "too deep", state="new", where=deep, promise="refused")


def _to_chosen(kind: Callable[[str], Harm]) -> Harm:
    """Harm to the set that a finished run has chosen."""

    def harm(folder: Path, rng: Random) -> None:
        told = json.loads((folder / "run" / "summary.json").read_text())
        kind(f"run/{told['synthetic']}")(folder, rng)

    return harm


def _swap(data: Path, rng: Random) -> None:
    del rng
    for split in ("train", "val", "test"):
        one, other = data / split / "clear", data / split / "opaque"
        one.rename(data / "held")
        other.rename(one)
        (data / "held").rename(other)


def _pixel(data: Path, rng: Random) -> None:
    file = rng.choice(sorted(data.glob("*/*/*.png")))
    with Image.open(file) as image:
        changed = image.copy()
    at = (rng.randrange(8), rng.randrange(8))
    changed.putpixel(at, changed.getpixel(at) ^ 1)
    changed.save(file)


def _other_set(folder: Path, rng: Random) -> None:
    del rng
    four, eight = (folder / "from" / "synthetic").glob("*.npz")
    four, eight = sorted((four, eight))
    eight.write_bytes(four.read_bytes())


def short() -> Iterator[Trial]:
    """A fault of every kind, on the verb that takes least."""
    wanted = set(SHORT)
    for trial in trials():
        if trial.subject == "distill" and trial.name in wanted:
            wanted.remove(trial.name)
            yield trial
    assert not wanted, f"there is no fault {wanted}"


SHORT = (
    *("checkpoint arrays: flip", "checkpoint tree: cut", "checkpoints: all gone"),
    *("synthetic/*.npz: flip", "metrics.jsonl: a digit", "config.json: cut"),
    *("summary.json: 3", "kill at 6", "SIGTERM at 8", "two Ctrl-C at 7"),
    *("nobody reads", "disk full at 8", "read fails: EIO", "24 files at once"),
    *("classes swapped", "not one's own folder", "within 'a b'", "within 'gs:'"),
)
