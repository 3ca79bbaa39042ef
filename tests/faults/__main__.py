"""`python -m faults`: the campaign, or a shorter form of it, and its figures."""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

FLAGS = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
os.environ.setdefault("XLA_FLAGS", FLAGS)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
cache = Path(tempfile.gettempdir()) / "jaxdistill-xla"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

from faults.plan import short, trials  # noqa: E402
from faults.trials import Trial, World, attempt  # noqa: E402
from faults.world import warm  # noqa: E402

OFTEN = {"distill": 12, "evaluate": 3, "compare": 2, "segment": 2}


def main() -> int:
    """Run the campaign; 0 where nothing was lost and all was as promised."""
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("--json", help="where to write the figures")
    parser.add_argument("--short", action="store_true", help="a few of each kind")
    parser.add_argument("--only", default="", help="of these verbs, by commas")
    parser.add_argument("--seed", type=int, default=0, help="which bits and bytes")
    parser.add_argument("--match", default="", help="whose names hold this text")
    parser.add_argument("--home", help="where to keep what is made, for another time")
    parser.add_argument("--part", default="1/1", help="such as 2/3, of all faults")
    given = parser.parse_args()
    part, parts = map(int, given.part.split("/"))
    only = [name for name in given.only.split(",") if name]
    wanted = [
        trial
        for trial in (short() if given.short else trials())
        if (not only or trial.subject in only) and given.match in trial.name
    ]
    Random(given.seed).shuffle(wanted)
    wanted = in_turns(wanted)  # so that what is stopped early has met all verbs
    wanted = wanted[part - 1 :: parts]
    warm()
    with tempfile.TemporaryDirectory(prefix="jaxdistill-faults-") as held:
        os.chmod(held, 0o755)
        home = Path(given.home or held).absolute()
        command = " ".join(["python -m faults", *sys.argv[1:]])
        told = campaign(World(home), wanted, given.seed, given.json, command)
    return int(told["tried"] != told["as_promised"] or told["lost"] > 0)


def in_turns(wanted: list[Trial]) -> list[Trial]:
    """All verbs in turns, those that take least more often."""
    met: Counter = Counter()
    turns = []
    for trial in wanted:
        met[trial.subject] += 1
        turns.append(met[trial.subject] / OFTEN.get(trial.subject, 1))
    order = sorted(range(len(wanted)), key=turns.__getitem__)
    return [wanted[i] for i in order]


def campaign(
    world: World, wanted: list[Trial], seed: int, file: str | None, command: str
) -> dict:
    """Every trial in turn; what came of them in numbers, and of those that failed."""
    tried, kept, lost, failed = Counter(), Counter(), 0, []
    began, told = time.perf_counter(), {}
    for number, trial in enumerate(wanted):
        outcome = attempt(world, trial, number, seed)
        tried[trial.subject] += 1
        kept[trial.subject] += outcome.promised
        lost += outcome.lost
        how = "as promised" if outcome.promised else f"FAILED: {outcome.why}"
        print(
            f"{number + 1}/{len(wanted)} {trial.subject}, {trial.name}: {how}",
            flush=True,
        )
        if not outcome.promised:
            one = {"verb": trial.subject, "fault": trial.name, "lost": outcome.lost}
            failed.append(one)
        told = {
            "command": command,
            "planned": len(wanted),
            "tried": sum(tried.values()),
            "as_promised": sum(kept.values()),
            "lost": lost,
            "seed": seed,
            "by_verb": {
                name: {"tried": tried[name], "as_promised": kept[name]}
                for name in sorted(tried)
            },
            "failed": failed,
            "seconds": round(time.perf_counter() - began),
        }
        if file:
            Path(file).write_text(json.dumps(told, indent=2) + "\n")
    print(f"tried {told['tried']}, as promised {told['as_promised']}, lost {lost}")
    return told


if __name__ == "__main__":
    sys.exit(main())
