"""Flags that no run can use, over all verbs that take a config: the table."""

import runpy

import pytest
import tiny
from refusals import told, untouched

from jaxdistill.cli.arguments import parse
from jaxdistill.jobs.settings.roots import distils

CONFIGS = tiny.CONFIG.parents[1] / "configs"
QUICK, SEGMENT = CONFIGS / "quickstart.py", CONFIGS / "quickstart_segment.py"
# By verb and config: values of a key, of which each is refused with the key's name.
WHOLE = ("0", "-1", "2.5", "ten", "nan", "1e400", str(10**30))
SHARE = ("-0.1", "1", "nan", "inf", "much")
RATE = ("0", "-1", "1e6", "nan", "-inf", "fast")
WEIGHT = ("-1", "nan", "inf", "heavy")
NAMED = ("nonsuch", "", "Adam")
BAD = {
    ("distill", tiny.CONFIG): {
        "ipc": WHOLE,
        "steps": WHOLE,
        "seed": ("-1", "1.5", str(2**32), "x"),
        "average": SHARE,
        "mosaic": ("0", "-2", "65", "two"),
        "relabel": ("perhaps", "2"),
        "method": NAMED,
        "augment": ("twirl", "", "color crop"),
        "data.name": NAMED,
        "data.channels": ("0", "2", "4", "rgb"),
        "data.size": ("0", "7", "-8", "5000", "8.5"),
        "data.val_fraction": ("0", "1", "-0.5", "nan"),
        "data.test_fraction": ("0", "1.5", "half"),
        "data.kind": NAMED,
        "network.name": NAMED,
        "network.width": WHOLE,
        "network.depth": ("-1", "1.5", "deep"),
        "init.images": NAMED,
        "init.labels": NAMED,
        "init.noise": WEIGHT,
        "init.lr": RATE,
        "init.label_margin": WEIGHT,
        "init.count": ("-1", "0.5", "few"),
        "optimizer.images.name": NAMED,
        "optimizer.images.lr": ("-1", "nan", "inf", "x"),
        "optimizer.images.clip": WEIGHT,
        "optimizer.images.momentum": ("-0.1", "1", "2", "nan"),
        "optimizer.lr.lr": ("-1", "nan"),
        "optimizer.decay": NAMED,
        "experts.count": WHOLE,
        "experts.epochs": WHOLE,
        "experts.momentum": ("-1", "1", "nan"),
        "experts.weight_decay": WEIGHT,
        "experts.rho": WEIGHT,
        "experts.cache_gb": ("0", "-1", "nan"),
        "eval.every": WHOLE,
        "eval.seeds": ("0", "-1", "1.5"),
        "eval.final_seeds": ("0", "-1"),
        "eval.epochs": ("0", "-1"),
        "eval.full_epochs": ("0", "-3"),
        "eval.weight_decay": WEIGHT,
        "eval.momentum": ("-1", "1", "nan"),
        "eval.drop_at": ("0", "-1", "1.5", "nan"),
        "eval.real_lrs": ("()", "(0,)", "(-1,)", "(nan,)"),
        "eval.select": NAMED,
        "eval.augment": ("twirl",),
        "trajectory.start_max": ("-1", "9"),
        "trajectory.gradient": NAMED,
        "steps_per_call": ("0", "-1"),
        "log_every": ("0", "-1"),
        "checkpoint_every": ("0", "-1"),
        "limit.loss": WEIGHT,
        "devices.count": ("-1", "1.5"),
        "devices.map": NAMED,
        "tensorboard": ("perhaps",),
    },
    ("compare", tiny.CONFIG): {
        "compare.ipc": ("()", "(0,)", "(-1,)", "(1.5,)", "ten"),
        "compare.seeds": ("()", "(-1,)", "('a',)"),
        "compare.coresets": ("nonsuch", "random,nonsuch"),
        "compare.labels": ("", "firm"),
        "compare.augmentation": ("", "sometimes"),
    },
    ("study", tiny.CONFIG): {"study.level": ("0", "1", "-1", "nan", "sure")},
    ("segment", SEGMENT): {
        "data.name": NAMED,
        "data.size": ("-1", "5000", "big"),
        "protocol.seeds": ("()", "(-1,)", "(0.5,)"),
        "protocol.neighbours": ("-1", "9", "0.5"),
        "teacher.name": NAMED,
        "student.name": NAMED,
        "student.width": ("0", "-1", "thin"),
        "teachers.count": ("0", "-1"),
        "teachers.each": NAMED,
        "learning.steps": ("0", "-1", "1.5"),
        "learning.lr": ("-1", "nan", "inf"),
        "patches.size": ("-1", "1.5", "x"),
        "patches.batch": ("0", "-1"),
        "losses.logits.weight": WEIGHT,
        "losses.affinity.weight": WEIGHT,
        "eval.tolerance": ("0", "-1", "nan"),
        "eval.batch": ("0", "-1"),
        "limit.loss": WEIGHT,
        "seed": ("-1",),
    },
}
TABLE = [
    (verb, config, key, value)
    for (verb, config), keys in BAD.items()
    for key, values in keys.items()
    for value in values
]
# Of other methods, which a flag chooses: the value, and what the sentence names.
METHODS = [
    ("soft_label", "soft_label.steps=0"),
    ("soft_label", "soft_label.epochs=-1"),
    ("soft_label", "soft_label.start=nowhere"),
    ("soft_label", "soft_label.inner=lbfgs"),
    ("soft_label", "soft_label.max_age=0"),
    ("gradient", "gradient.nets=-1"),
    ("gradient", "gradient.nets=0"),
    ("gradient", "gradient.distance=far"),
    ("distribution", "distribution.nets=0"),
    ("distribution", "distribution.distance=far"),
    ("characteristic", "characteristic.frequencies=0"),
    ("characteristic", "characteristic.batch_real=0"),
    ("kernel", "kernel.ridge=-1"),
    ("kernel", "kernel.nets=0"),
    ("trajectory", "trajectory.weighting.name=even"),
    ("trajectory", "trajectory.unroll_steps=-1"),
    ("trajectory", "trajectory.threshold=-1"),
]


FILMS = ("data.name=folder", "data.path=films")
TAKEN = [
    (*FILMS, "init.images=mean"),  # the README's own command
    (*FILMS, "data.channels=3", "data.group=(.*)_", "data.seed=3"),
    (*FILMS, "data.val_fraction=0.2", "data.test_fraction=0.1"),
    ("data.name=mnist",),
    ("network.name=mlp",),
    ("network.name=resnet18",),
]


@pytest.mark.parametrize("flags", TAKEN, ids=" ".join)
def test_another_source_or_network_is_taken_by_every_config(flags):
    for file in sorted(CONFIGS.glob("*.py")):
        made = runpy.run_path(str(file))["get_config"]().to_dict()
        if not distils(made):
            continue
        config, _ = parse([f"--config={file}", *(f"--config.{f}" for f in flags)], ())
        for flag in flags:
            section, _, key = flag.partition("=")[0].partition(".")
            assert str(config[section][key]) == flag.partition("=")[2]


@pytest.mark.parametrize(
    ("verb", "config"), BAD, ids=lambda value: getattr(value, "stem", value)
)
def test_a_value_that_makes_no_sense_is_told_by_its_key(verb, config, tmp_path, capsys):
    for other, file, key, value in TABLE:
        if (other, file) == (verb, config):
            flags = (f"--config={config}", f"--workdir={tmp_path / 'run'}")
            parts = (key.rpartition(".")[2],)
            told(capsys, verb, *flags, f"--config.{key}={value}", parts=parts)
    assert untouched(tmp_path / "run")


@pytest.mark.parametrize(("method", "flag"), METHODS)
def test_a_value_of_another_method(method, flag, tmp_path, capsys):
    chosen = (f"--config.method={method}", f"--config.{flag}")
    told(
        capsys,
        "distill",
        f"--config={QUICK}",
        f"--workdir={tmp_path / 'run'}",
        *chosen,
        parts=(flag.partition("=")[0].rpartition(".")[2],),
    )


def test_the_table_is_long_and_without_repetition():
    assert len(set(TABLE)) + len(set(METHODS)) == len(TABLE) + len(METHODS) >= 230
