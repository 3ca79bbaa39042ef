"""`jaxdistill selftrain`: a model that improves itself on films without labels."""

from jaxdistill.cli.arguments import chosen, parse
from jaxdistill.cli.failures import told_failures
from jaxdistill.cli.settings_help import settings_help
from jaxdistill.errors import InputError
from jaxdistill.run.files import read_record
from jaxdistill.run.places import place

VERBS = ("selftrain",)
HEAD = """jaxdistill selftrain: Train on a few labelled films, then improve in stages on
films without labels, beside labels alone and all labels.

  --config=FILE[:MODE]       a config file, or the name of a shipped one such as
                             quickstart_selftrain; MODE is full (the default),
                             smoke, or another that the head of the file names
  --config.KEY=VALUE         another value for one key, as in --config.evolve.ssl=0.1
  --workdir=DIR              where the run lives; the same folder again resumes it
"""
FILES = ("model.safetensors", "table.csv", "summary.json")


def main(verb: str, argv: list[str]) -> int:
    """Run the verb; raises `InputError` for what cannot be used."""
    if any(arg in ("-h", "--help") for arg in argv):
        print("\n".join([HEAD, *settings_help(chosen(argv, verb))]))
        return 0
    config, flags = parse(argv, ("workdir",), verb)
    from jaxdistill.jobs.selftrain import job

    if not flags.workdir:
        raise InputError("--workdir is missing: name a folder for the run")
    workdir = place(flags.workdir)
    job.run(config, workdir)
    print(f"\n{(workdir / 'table.md').read_text()}")
    drawn = [f"figures/{p.name}" for p in sorted((workdir / "figures").glob("*.png"))]
    for file in (*drawn, *FILES):
        if (workdir / file).exists():
            print(workdir / file)
    failed = read_record(workdir / "summary.json", "failed")["failed"]
    return told_failures("training", len(failed))
