"""The training sets that stand side by side: distilled, coresets, the whole split.

What coresets know of the images comes from networks trained on the whole split for
`eval.full_epochs`, as those of the row "full" at the first of `eval.real_lrs`; the
records are taken at one constant rate:

    features, probabilities   of one network at its end (herding, k_center, k_means,
                              random_soft)
    el2n, forgetting          of `eval.seeds` networks; EL2N after a tenth of the epochs
"""

from collections.abc import Callable, Collection
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxdistill.distillation.coresets import (
    DRAWN,
    RECORDED,
    coreset,
    easiest,
    el2n_scores,
    embed_split,
    forgetting_counts,
    herding,
)
from jaxdistill.engine.population import map_population
from jaxdistill.engine.sampling import random_subset
from jaxdistill.engine.training import (
    Examples,
    begin,
    of_split,
    train_epoch,
    train_network,
)
from jaxdistill.evaluation.evaluate import predict
from jaxdistill.jobs.judging.judge import Candidate, Judge
from jaxdistill.jobs.settings.build import eval_recipe
from jaxdistill.run.files import load_npz, save_npz
from jaxdistill.run.kept import made_once
from jaxdistill.run.report import ROWS
from jaxdistill.types import Params, Split, Synthetic


def candidates(
    judge: Judge,
    best: Synthetic,
    last: Synthetic | None = None,
    names: Collection[str] = ROWS,
) -> dict[str, Candidate]:
    """The rows of the final table, by name; `last` is None where it is the best."""
    ipc = max(1, best.images.shape[0] // judge.pool.classes)
    rows = {"distilled": distilled(judge, best)} if "distilled" in names else {}
    if last is not None and "distilled_last" in names:
        rows["distilled_last"] = distilled(judge, last)
    if "random" in names:
        rows["random"] = real(judge, random_draws(judge, ipc))
    if "herding" in names:
        features = embed_split(judge.network, trained_on_all(judge), judge.pool.train)
        chosen = herding(features, np.asarray(judge.pool.train.labels), ipc)
        rows["herding"] = real(judge, _for_each_network(judge, chosen))
    if "full" in names:
        rows["full"] = everything(judge)
    return rows


def distilled(judge: Judge, synthetic: Synthetic) -> Candidate:
    """A distilled set, with the rate or the rates learned with it."""
    lr = float(synthetic.lr) if synthetic.lr.ndim == 0 else np.asarray(synthetic.lr)
    return Candidate(judge.examples(synthetic), (lr,), judge.settings["epochs"])


def real(
    judge: Judge, subsets: np.ndarray, targets: np.ndarray | None = None
) -> Candidate:
    """Real images by their indices, with their own labels or other targets."""
    examples = of_split(judge.pool.train, judge.pool.classes)
    if targets is not None:
        examples = examples._replace(targets=jnp.asarray(targets))
    return Candidate(examples, real_lrs(judge), judge.settings["epochs"], subsets)


def everything(judge: Judge) -> Candidate:
    """The whole training split."""
    examples = of_split(judge.pool.train, judge.pool.classes)
    return Candidate(examples, real_lrs(judge), judge.settings["full_epochs"])


def real_lrs(judge: Judge) -> tuple[float, ...]:
    """The rates that real sets choose from."""
    return tuple(float(lr) for lr in judge.settings["real_lrs"])


def random_draws(judge: Judge, ipc: int) -> np.ndarray:
    """Indices of `eval.draws` random subsets."""
    keys = jax.random.split(jax.random.fold_in(judge.key, 1), judge.settings["draws"])
    train, classes = judge.pool.train, judge.pool.classes
    return np.stack([random_subset(train.labels, classes, ipc, k) for k in keys])


def trained_on_all(judge: Judge) -> Params:
    """A network of its own, trained on the whole split."""
    recipe = eval_recipe(judge.config, judge.policy, judge.settings["full_epochs"])
    key = jax.random.fold_in(judge.key, 3)
    lr = jnp.asarray(real_lrs(judge)[0])
    train = jax.jit(lambda x: train_network(judge.network, recipe, x, lr, key)[0])
    return train(of_split(judge.pool.train, judge.pool.classes))


class Knowledge:
    """What coresets know of the images: trained for when first asked, then in files."""

    def __init__(self, judge: Judge, folder: Path, say: Callable = print) -> None:
        self.judge, self.folder, self.say = judge, folder, say
        self._found: dict[str, dict[str, np.ndarray]] = {}

    def subset(self, name: str, ipc: int) -> np.ndarray:
        """Indices of a coreset for every network: [networks, ipc x classes]."""
        seed, labels = self.judge.config["seed"], self._labels()
        if name in DRAWN:
            return random_draws(self.judge, ipc)
        if name in RECORDED:
            scored = self._of("records", self._record)[name]
            chosen = easiest(scored, labels, ipc, seed)
        else:
            features = self._of("expert", self._expert)["features"]
            chosen = coreset(name, features, labels, ipc, seed)
        return _for_each_network(self.judge, chosen)

    def row(self, name: str, ipc: int) -> Candidate:
        """A coreset as a training set."""
        soft = name == "random_soft"
        made = self._of("expert", self._expert)["probabilities"] if soft else None
        return real(self.judge, self.subset(name, ipc), made)

    def basis(self, name: str) -> str:
        """What the choice, or the labels, came from, in words."""
        s = self.judge.settings
        if name == "random":
            return f"{s['draws']} draws"
        if name in RECORDED:
            early = f"epoch {early_epoch(s['full_epochs'])} of"
            when = "all of" if name == "forgetting" else early
            return f"{s['seeds']} networks, {when} {s['full_epochs']} epochs"
        of = "labels" if name == "random_soft" else "features"
        return f"{of} of one network after {s['full_epochs']} epochs"

    def _labels(self) -> np.ndarray:
        return np.asarray(self.judge.pool.train.labels)

    def _of(self, name: str, make: Callable) -> dict[str, np.ndarray]:
        path = self.folder / f"{name}.npz"
        if name not in self._found:

            def train() -> None:
                self.say(f"training on the whole split for coresets ({name}) ...")
                save_npz(path, **make())

            self._found[name] = made_once(path, load_npz, train)
        return self._found[name]

    def _expert(self) -> dict[str, np.ndarray]:
        network, train = self.judge.network, self.judge.pool.train
        params = trained_on_all(self.judge)
        seen = jax.jit(lambda split: predict(network, params, split))(train)
        features = embed_split(network, params, train)
        return {"features": features, "probabilities": np.asarray(seen)}

    def _record(self) -> dict[str, np.ndarray]:
        early, correct = map(np.asarray, training_record(self.judge))
        counts = [forgetting_counts(one) for one in correct]
        labels = self._labels()
        return {"el2n": el2n_scores(early, labels), "forgetting": np.sum(counts, 0)}


def training_record(judge: Judge) -> tuple[Array, Array]:
    """Probabilities after the early epoch [nets, n, k], and who was right in every
    epoch [nets, epochs, n].
    """
    s, train = judge.settings, judge.pool.train
    recipe = eval_recipe(judge.config, judge.policy, s["full_epochs"])
    keys = jax.random.split(jax.random.fold_in(judge.key, 4), s["seeds"])
    lr = jnp.asarray(real_lrs(judge)[0])

    def one(key: Array, train: Split, examples: Examples) -> tuple[Array, Array]:
        def epoch(carry, number):
            state, early = carry
            k = jax.random.fold_in(key, number + 1)
            state, _ = train_epoch(judge.network, recipe, state, examples, lr, k)
            now = predict(judge.network, state.params, train)
            is_early = number + 1 == early_epoch(recipe.epochs)
            carry = state, jnp.where(is_early, now, early)
            return carry, now.argmax(axis=1) == train.labels

        k_init = jax.random.fold_in(key, 0)
        start = begin(judge.network, recipe, k_init), jnp.zeros(examples.targets.shape)
        (_, early), correct = jax.lax.scan(epoch, start, jnp.arange(recipe.epochs))
        return early, correct

    # The images come as arguments: what a function closes over, XLA would fold.
    @jax.jit
    def several(keys: Array, train: Split, examples: Examples) -> tuple[Array, Array]:
        each = lambda k: one(k, train, examples)  # noqa: E731
        return map_population(each, keys, mode=judge.population)

    return several(keys, train, of_split(train, judge.pool.classes))


def early_epoch(epochs: int) -> int:
    """The epoch whose errors EL2N takes: a tenth of all, as 20 of 200 in the paper."""
    return max(1, round(epochs / 10))


def _for_each_network(judge: Judge, chosen: np.ndarray) -> np.ndarray:
    return np.tile(chosen, (judge.settings["final_seeds"], 1))
