"""`jaxdistill pretrain`, `finetune`, `compare-labels`: ways to do with few labels."""

from jaxdistill.cli.arguments import chosen, parse
from jaxdistill.cli.failures import told_failures
from jaxdistill.cli.settings_help import settings_help
from jaxdistill.errors import InputError
from jaxdistill.run.places import place

JOB = "labels"
PURPOSES = {
    "pretrain": "Train a backbone on films without labels, by config.pretext.",
    "finetune": "Tune the backbone of config.start on a few labelled films.",
    "compare-labels": "Compare pretexts, transfer, scratch and distilled sets at few "
    "labels.",
}
VERBS = tuple(PURPOSES)
FLAGS = """
  --config=FILE[:MODE]       a config file, such as compare_labels; MODE is full (the
                             default), smoke, or another that the head of the file names
  --config.KEY=VALUE         another value for one key, as in --config.byol.epochs=30
  --workdir=DIR              where the run lives; the same folder again resumes it
"""
FILES = ("model.safetensors", "figures/labels.png", "table.csv", "summary.json")


def main(verb: str, argv: list[str]) -> int:
    """Run one of the verbs; raises `InputError` for what cannot be used."""
    if any(arg in ("-h", "--help") for arg in argv):
        head = f"jaxdistill {verb}: {PURPOSES[verb]}\n{FLAGS}"
        print("\n".join([head, *settings_help(chosen(argv, JOB))]))
        return 0
    config, flags = parse(argv, ("workdir",), JOB)
    from jaxdistill.jobs.labels import job

    if not flags.workdir:
        raise InputError("--workdir is missing: name a folder for the run")
    workdir = place(flags.workdir)
    if verb == "pretrain":
        print(job.pretrain(config, workdir))
        return 0
    run = {"finetune": job.finetune, "compare-labels": job.compare}[verb]
    rows = run(config, workdir)
    print(f"\n{(workdir / 'table.md').read_text()}")
    for file in FILES:
        if (workdir / file).exists():
            print(workdir / file)
    return told_failures("cell", sum(row["failed"] for row in rows))
