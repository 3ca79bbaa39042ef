"""What each mode of configs/trajectory_family.py does to a set, on PneumoniaMNIST.

The `_short` modes with a ConvNet of width 16 and two experts, on one device: how far 10
steps move the images (root mean square, in deviations of the pixels), the learning rate
(its ratio) and the labels (the greatest probability), the loss over the first and the
second half of them, and the validation AUC of three networks, trained 100 epochs on the
first set and on the last. Experts are flat by `a` = 0.4 for all modes with flat ones.
"""

import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from common import arguments, report

from jaxdistill.distillation.distill import distilling
from jaxdistill.distillation.experts import expert_labelled, train_experts
from jaxdistill.evaluation.evaluate import evaluate
from jaxdistill.jobs.settings import build
from jaxdistill.jobs.settings.resolve import override, resolve

FILE = Path(__file__).resolve().parents[1] / "configs" / "trajectory_family.py"
STEPS = 10
SMALL = {"network": {"width": 16}, "experts": {"count": 2}}
TINY = {"data": {"name": "phantom", "size": 28}, "trajectory": {"unroll_steps": 2}}
TINY |= {"network": {"width": 4, "depth": 2}, "experts": {"count": 2, "epochs": 21}}


def main() -> None:
    """A row for each method of the family."""
    args = arguments(__doc__, choice=True)
    made = runpy.run_path(str(FILE))
    names = ["mtt"] if args.smoke else [n for n in made["VARIANTS"] if args.only in n]
    report("family", args, rows(made, names, args.smoke))


def rows(made: dict, names: list[str], tiny: bool):
    """The rows, one after another; experts and data are made once."""
    taught: dict[tuple, object] = {}
    pool = None
    for name in names:
        mode = made["get_config"](f"{name}_short").to_dict()
        config = resolve(override(mode, TINY if tiny else SMALL))
        pool = pool or build.build_pool(config)
        network = build.build_network(config, pool)
        policy = build.build_policy(config, pool)
        flat = config["experts"]["rho"] > 0
        kind = flat, config["experts"]["batch"]
        if kind not in taught:
            recipe = build.expert_recipe(config, policy)
            if flat:
                recipe = recipe._replace(orthogonal=0.4)
            taught[kind] = train_experts(
                network,
                pool,
                count=2,
                epochs=2 if tiny else 21,
                key=jax.random.key(1),
                recipe=recipe,
            )
        given = build.Given(network, pool, policy, taught[kind])
        if tiny:
            config["trajectory"] |= {"start_max": 1, "expert_epochs": 1}
        yield {"name": name} | measured(config, given, 4 if tiny else STEPS)


def measured(config: dict, given: build.Given, steps: int) -> dict:
    """What so many steps do, from the first set of a run on."""
    start = build.build_initial(config, given.pool, jax.random.key(2))
    if config["init"]["labels"] == "experts":
        start = expert_labelled(start, given.experts, given.network)
    method = build.build_method(config, given)
    optimiser = build.build_optimiser(config, given.pool.standard)
    learner = distilling(method, start, optimiser, average_decay=config["average"])
    key, state = jax.random.key(3), learner.init(jax.random.key(4))
    step = jax.jit(lambda s, fed: learner.update(s, (), fed, key, None))
    losses = []
    for number in range(steps):
        state, metrics = step(state, method.source.feed(number))
        losses.append(float(metrics["match"]))
    last = state.average if config["average"] else state.synthetic
    half = steps // 2
    labels = jax.nn.softmax(last.logits) - jax.nn.softmax(start.logits)
    return {
        "steps": steps,
        "images_moved": float(jnp.sqrt(jnp.mean((last.images - start.images) ** 2))),
        "rate_ratio": float(last.lr / start.lr),
        "labels_moved": float(jnp.abs(labels).max()),
        "first_loss": float(np.mean(losses[:half])),
        "last_loss": float(np.mean(losses[half:])),
        "first_auc": auc(config, given, start),
        "last_auc": auc(config, given, last),
    }


def auc(config: dict, given: build.Given, synthetic) -> float:
    """The mean validation AUC of three networks trained on a set."""
    found = evaluate(
        synthetic,
        given.pool.val,
        given.network,
        seeds=3,
        key=jax.random.key(5),
        recipe=build.eval_recipe(config, given.policy, 100),
    )
    return found["auc"]["mean"]


if __name__ == "__main__":
    main()
