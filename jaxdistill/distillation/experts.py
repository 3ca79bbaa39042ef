"""Expert trajectories: networks trained on the real set, with a snapshot of every
epoch.

Settings of Cazenavette et al. (2022), section 4: SGD at 0.01, no momentum, batch 256,
the evaluation's augmentation. `Recipe.rho` asks for FTD's flat trajectories,
`Recipe.average` for trajectories of the moving average, free of the noise of batches.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Int

from jaxdistill.distillation.mosaic import decode_images
from jaxdistill.engine.driver import Plan, iterate
from jaxdistill.engine.fitting import require_network
from jaxdistill.engine.mesh import initialise, make_mesh, require_multiple
from jaxdistill.engine.population import map_population
from jaxdistill.engine.training import (
    Examples,
    Recipe,
    TrainState,
    begin,
    of_split,
    train_epoch,
)
from jaxdistill.errors import InputError
from jaxdistill.ranges import Count, Many, Rate
from jaxdistill.settings import Small, declared, require
from jaxdistill.types import Learner, Network, Params, Pool, PRNGKey, Synthetic

RECIPE = Recipe(epochs=50, momentum=0.0, weight_decay=0.0, drop_at=1.0)
LR = 0.01


@dataclass(frozen=True)
class Experts:
    """`count` trajectories of `epochs` epochs; `read(expert, epoch)` is one snapshot.

    Snapshots are host arrays; epoch 0 is the start of training.
    """

    count: int
    epochs: int
    network: str
    read: Callable[[int, int], Params]

    def require_network(self, network: Network) -> None:
        """`InputError` unless these are trajectories of `network`."""
        if self.network != network.name:
            raise InputError(
                f"the experts are trajectories of {self.network}, not of "
                f"{network.name}: use the same network or train experts for this one"
            )


class ExpertState(NamedTuple):
    """A group of experts after `step` epochs; `id` numbers them over all groups."""

    step: Int[Array, ""]
    id: Int[Array, " e"]
    nets: TrainState


def expert_training(
    network: Network,
    ids: range,
    *,
    lr: float = LR,
    recipe: Recipe = RECIPE,
    population: str = "auto",
) -> Learner:
    """The `Learner` whose step is an epoch of the experts numbered `ids`.

    Its resident is `Examples`. An expert depends on the key and its number alone, not
    on the group or device that trains it.
    """
    require(recipe, "experts")

    def init(key):
        numbers = jnp.arange(ids.start, ids.stop)
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(numbers)
        nets = jax.vmap(lambda k: begin(network, recipe, k))(keys)
        return ExpertState(jnp.zeros((), jnp.int32), numbers, nets)

    def update(state, examples, fed, key, axis):
        del fed

        def epoch(net, number):
            k = jax.random.fold_in(jax.random.fold_in(key, number), state.step)
            return train_epoch(network, recipe, net, examples, jnp.asarray(lr), k)

        nets, losses = map_population(epoch, state.nets, state.id, mode=population)
        loss = losses.mean()
        if axis is not None:
            loss = jax.lax.pmean(loss, axis)
        return ExpertState(state.step + 1, state.id, nets), {"loss": loss}

    sharded: Any = (False, True, True)
    return Learner(init, update, ExpertState(*sharded))


@declared("experts")
def train_experts(
    network: Network,
    pool: Pool,
    *,
    count: Annotated[Many, "experts", Small(2)] = 100,
    epochs: Annotated[Count, "of an expert", Small(2)] = RECIPE.epochs,
    key: PRNGKey,
    lr: Annotated[Rate, "rate at which they train"] = LR,
    recipe: Recipe = RECIPE,
    mesh: Mesh | None = None,
) -> Experts:
    """Train `count` experts and keep every epoch in memory.

    Their number of epochs and their one rate are given here: the recipe's own `epochs`,
    `drop_at` and `protocol`, of evaluations, play no part. Raises `InputError` for a
    network of other images or classes than the pool's.
    """
    mesh = mesh or make_mesh(1)
    require_multiple("experts.count", count, mesh)
    require_network(network, pool.image_shape, pool.classes, f"the pool {pool.name!r}")
    recipe = recipe._replace(epochs=epochs)
    learner = expert_training(network, range(count), lr=lr, recipe=recipe)
    k_init, k_run = jax.random.split(key)
    state = initialise(learner, k_init, mesh)
    kept = [jax.tree.map(np.asarray, state.nets.result)]
    examples: Examples = of_split(pool.train, pool.classes)
    plan = Plan(0, epochs)
    run = iterate(learner, state, examples, lambda s: (), k_run, plan=plan, mesh=mesh)
    kept += [jax.tree.map(np.asarray, latest.nets.result) for _, latest, _ in run]

    def read(expert: int, epoch: int) -> Params:
        return jax.tree.map(lambda leaf: leaf[expert], kept[epoch])

    return Experts(count, epochs, network.name, read)


def expert_labelled(
    synthetic: Synthetic, experts: Experts, network: Network, mosaic: int = 1
) -> Synthetic:
    """The set with the labels that all experts give its images at their last epoch.

        logits = mean over experts of log softmax(f(image; theta_T))

    So begin the labels of Guo et al. (2024, DATM, arXiv:2310.05773), on real images and
    from the experts that are right; where an image is a mean, none is. A mosaic has the
    mean over its cells. Raises `InputError` for experts of another network.
    """
    experts.require_network(network)
    shape, classes = synthetic.images.shape[1:], synthetic.logits.shape[1]
    require_network(network, shape, classes, "the distilled set")
    images = decode_images(synthetic.images, mosaic)
    label = jax.jit(lambda params: jax.nn.log_softmax(network.apply(params, images)))
    said = [label(experts.read(i, experts.epochs)) for i in range(experts.count)]
    cells = jnp.stack(said).mean(axis=0)
    own = cells.reshape(len(synthetic.images), mosaic**2, -1).mean(axis=1)
    return synthetic._replace(logits=own)
