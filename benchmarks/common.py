"""What the benchmarks share: arguments, interleaved timing, memory, tables and JSON."""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import jaxlib
import numpy as np


def arguments(doc: str, *, choice: bool = False) -> argparse.Namespace:
    """`--smoke` and `--json=FILE`, and `--only=TEXT` where there is a `choice`."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, for tests")
    parser.set_defaults(only="")
    if choice:
        parser.add_argument(
            "--only",
            help="the rows with this in their name; those in the file of --json stay",
        )
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    return parser.parse_args()


def medians(repeats: int, *sides: Callable) -> list[float]:
    """Median seconds of each side, taken in turn so that both see the same machine."""
    times: list[list[float]] = [[] for _ in sides]
    for side in sides:
        side()  # compiles, and warms caches
    for _ in range(repeats):
        for side, taken in zip(sides, times, strict=True):
            start = time.perf_counter()
            side()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in times]


def processor_seconds(side: Callable, repeats: int) -> float:
    """Median seconds of all cores together, which a busy machine does not change."""
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        side()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def compiled(function: Callable, *args) -> tuple[Callable, int]:
    """A call that waits for its result, and the bytes of its temporaries."""
    program = jax.jit(function).lower(*args).compile()
    temporaries = program.memory_analysis().temp_size_in_bytes
    return lambda: jax.block_until_ready(program(*args)), temporaries


def relative_error(got, want) -> float:
    """`|got - want| / |want|` in the Euclidean norm over all leaves."""
    pairs = zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True)
    both = [(np.ravel(a), np.ravel(b)) for a, b in pairs]
    a, b = (np.concatenate(side).astype(np.float64) for side in zip(*both, strict=True))
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def comparison(name: str, seconds: list[float], memory, error: float) -> dict:
    """A row of ours against the peer; `memory` is (ours, peer) in bytes."""
    ours, peer = seconds
    return {
        "name": name,
        "ours_seconds": ours,
        "peer_seconds": peer,
        "ratio": peer / ours,
        "ours_bytes": memory[0],
        "peer_bytes": memory[1],
        "relative_error": error,
    }


def report(benchmark: str, args: argparse.Namespace, rows: Iterable[dict], **versions):
    """Print each row as it comes, and write all so far where `--json` says."""
    known = {"python": platform.python_version(), "jax": jax.__version__}
    known |= {"jaxlib": jaxlib.__version__, "numpy": np.__version__} | versions
    record: dict[str, Any] = {
        "benchmark": benchmark,
        "device": device(),
        "versions": known,
        "command": f"python benchmarks/{benchmark}.py" + " --smoke" * args.smoke,
        "rows": [],
    }
    print(f"{benchmark} on {record['device']}", flush=True)
    if args.only and args.json and args.json.exists():
        record = _others(json.loads(args.json.read_text()), record)
    for row in rows:
        record["rows"] = [*_without(record["rows"], row["name"]), row]
        fields = (f"{key} {_short(value)}" for key, value in row.items())
        print("  ".join(field.removeprefix("name ") for field in fields), flush=True)
        if args.json:
            args.json.parent.mkdir(parents=True, exist_ok=True)
            args.json.write_text(json.dumps(record, indent=1) + "\n")


def _others(before: dict, record: dict) -> dict:
    """The rows of an earlier run of the same benchmark on the same machine."""
    for key in ("benchmark", "device", "versions", "command"):
        if before[key] != record[key]:
            raise SystemExit(
                f"--json holds {key} {before[key]}, this is {record[key]}: "
                "name another file"
            )
    return before


def _without(rows: list[dict], name: str) -> list[dict]:
    return [row for row in rows if row["name"] != name]


def device() -> str:
    """The accelerator's name, or the processor's and how many cores it has."""
    if jax.default_backend() != "cpu":
        return jax.devices()[0].device_kind
    name, count = platform.processor() or platform.machine(), 0
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else []:
        if line.startswith("model name"):
            name, count = line.split(":")[1].strip(), count + 1
    return f"{name}, {count} cores"


def _short(value) -> str:
    if isinstance(value, int) and value > 1e5:
        return f"{value / 1e6:.1f}M"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
