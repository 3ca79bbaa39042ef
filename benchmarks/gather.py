"""Join runs of one segment configuration, of several days or machines, in one table.

    python benchmarks/gather.py NAME SUMMARY ...

Each SUMMARY is the summary.json of a run, or one that is kept; they may differ in
seeds, sites left out and students. A row is made of their `runs`, each judged once;
what a network costs is of the first summary that tells it. Written are
benchmarks/results/ NAME.json, NAME.csv, NAME.md and the figure of the sites.
"""

import json
import sys
from pathlib import Path
from typing import Any

from keep import RESULTS, small

from jaxdistill.jobs.segment.figure import by_site
from jaxdistill.jobs.segment.rates import Rate
from jaxdistill.jobs.segment.table import COSTS, METRICS, as_markdown, rows_of
from jaxdistill.run.files import plain
from jaxdistill.run.rows import as_csv

JOINED = ("unseen", "seeds", "students")  # of the protocol: what runs may differ in
MADE = ("device", "git_commit")
Told = dict[str, Any]


def gather(told: list[Told]) -> Told:
    """One summary of several; exits for those of different configurations."""
    first = told[0]
    runs: dict[tuple[str, str, int], Told] = {}
    students: Told = {}
    for one in told:
        if _settings(one) != _settings(first):
            sys.exit("these are runs of different configurations: gather equal ones")
        for name, student in one["protocol"]["students"].items():
            if students.setdefault(name, student) != student:
                sys.exit(f"{name} names different students: gather equal ones")
        for run in one["runs"]:
            place = (run["trained"], run["site"], run["seed"])
            if place in runs:
                sys.exit(f"{' '.join(map(str, place))} is in two summaries: leave one")
            runs[place] = run
    facts: dict[str, Told] = {}
    for row in (row for one in told for row in one["rows"]):
        facts.setdefault(row["trained"], {k: row[k] for k in COSTS if k in row})
    sites, seeds = (sorted({place[i] for place in runs}) for i in (1, 2))
    scores = scores_of(list(runs.values()))
    joined = {
        "rows": rows_of(list(facts), sites, seeds, scores, facts),
        "runs": list(runs.values()),
        "failed": {k: v for one in told for k, v in one["failed"].items()},
        "rates": {k: v for one in told for k, v in one.get("rates", {}).items()},
        "protocol": {"unseen": "", "seeds": seeds, "students": students},
        "wall_seconds": sum(one["wall_seconds"] for one in told),
        "peak_memory_bytes": max(one["peak_memory_bytes"] for one in told),
    }
    joined["protocol"] = first["protocol"] | joined["protocol"]
    for key in MADE:
        joined[key] = " and ".join(dict.fromkeys(str(one[key]) for one in told))
    for package in first["versions"]:
        found = dict.fromkeys(str(one["versions"].get(package)) for one in told)
        joined.setdefault("versions", {})[package] = " and ".join(found)
    return first | joined


def main(name: str, files: list[Path]) -> None:
    """Write the table of the summaries in files."""
    told = [small(json.loads(file.read_text())) for file in files]
    joined = gather(told)
    rates = {seat: Rate(**rate).said for seat, rate in joined["rates"].items()}
    scores = scores_of(joined["runs"])
    table = as_markdown(joined["rows"], joined["failed"], scores, rates)
    (RESULTS / f"{name}.md").write_text(table)
    (RESULTS / f"{name}.csv").write_text(as_csv(joined["rows"]))
    text = json.dumps(plain(joined), indent=1, ensure_ascii=False)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    by_site(RESULTS / f"{name}_sites.png", joined["rows"])


def scores_of(runs: list[Told]) -> dict[tuple[str, str, int], dict[str, float]]:
    """The scores of runs by name, site and seed."""
    return {
        (run["trained"], run["site"], run["seed"]): {
            metric: _number(run.get(metric)) for metric in METRICS
        }
        for run in runs
    }


def _settings(told: Told) -> Told:
    """What decides a number, but for what may differ."""
    protocol = {k: v for k, v in told["protocol"].items() if k not in JOINED}
    return {**told["config"], "protocol": protocol}


def _number(value: float | None) -> float:
    """JSON has no number that is none."""
    return float("nan") if value is None else value


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], [Path(name) for name in sys.argv[2:]])
