"""Steps of DINO on grey films with all their views, against an eager PyTorch loop.

ViT-Ti/16, two large and eight small views of each film, AdamW, bounds for each tensor,
and the teacher's average. Ours is one program, views and all; the peer makes views with
torchvision on Pillow images in workers, one for every core, and trains eagerly from our
parameters. In float64 the gradients of one step on the same views agree to 1e-4, or
nothing is timed.
"""

import os

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import numpy as np
import peer_dino
import torch
import views

AGREEMENT = 1e-4
FULL = {"side": 128, "films": 64, "batch": 16, "repeats": 5, "patch": 16, "heads": 3}
FULL |= {"width": 192, "depth": 12, "outputs": 65536, "hidden": 2048, "lr": 1e-4}
SMOKE = FULL | {"side": 32, "films": 4, "batch": 2, "repeats": 1, "patch": 8}
SMOKE |= {"width": 24, "depth": 3, "outputs": 32, "hidden": 16}


def built(size: dict, standard):
    """The pretext, its backbone and its head."""
    from jaxdistill.networks.heads import dino_head
    from jaxdistill.networks.vit import vit
    from jaxdistill.selfsupervised import RECIPES, build_pretext, viewing

    net = {name: size[name] for name in ("patch", "width", "depth", "heads")}
    backbone = vit((size["side"], size["side"], 1), **net)
    head = dino_head(backbone.width, outputs=size["outputs"], hidden=size["hidden"])
    shown = viewing(RECIPES["dino"].viewing._replace(locals=views.LOCALS), size["side"])
    made = build_pretext("dino", backbone, {"dino": head}, shown, standard)
    return made, backbone, head


def trainer(made, size: dict):
    """`(state, films, fed, key) -> state` after a step for each batch of an epoch."""
    import jax

    from jaxdistill.selfsupervised import RECIPES, Course, Resident, learn

    regime = RECIPES["dino"].regime._replace(
        epochs=1000,
        batch=size["batch"],
        lr=size["lr"],
        lr_batch=size["batch"],
        weight_decay_last=0.04,
        frozen=0.0,
    )
    course = Course(size["films"], size["batch"], regime.epochs)
    learner = learn(made, regime)
    batches = [course.feed(step) for step in range(course.per_epoch)]
    fed = jax.tree.map(lambda *leaves: jax.numpy.stack(leaves), *batches)

    def steps(state, films, fed, key):
        here = Resident(films, course.pace)
        step = lambda state, now: learner.update(state, here, now, key, None)  # noqa: E731
        return jax.lax.scan(step, state, fed)

    return steps, learner.init, fed


def double_error(size: dict) -> float:
    """How far the gradients of one step are apart in float64, on the same views."""
    import jax
    from common import relative_error

    from jaxdistill.selfsupervised.dino import dino_loss
    from jaxdistill.types import Standard

    # Three blocks: of fewer the encoder makes another program than is timed.
    small = size | {"depth": min(size["depth"], 3), "outputs": min(size["outputs"], 64)}
    with jax.enable_x64(True):
        made, backbone, head = built(small, Standard(np.zeros(1), np.ones(1)))
        wide = lambda tree: jax.tree.map(lambda x: x.astype("float64"), tree)  # noqa: E731
        params, target = (wide(made.init(jax.random.key(k))) for k in (0, 1))
        rng, side = np.random.default_rng(0), small["side"]
        shown = [rng.random((views.LOCALS * 2, s, s, 1)) for s in (side, side // 2)]
        shown[0] = shown[0][:4]  # two views of two films, eight smaller ones

        def answers(p, images):
            seen = backbone.features(p["trunk"], images)
            return head.apply(p["dino"], seen).reshape(-1, 2, head.width)

        @jax.jit
        def slope(p):
            def loss(p):
                said = jax.numpy.concatenate([answers(p, x) for x in shown])
                return dino_loss(answers(target, shown[0]), said, np.zeros(head.width))

            return jax.grad(loss)(p)

        ours = slope(params)
        student, teacher = (peer_dino.tensors(tree) for tree in (params, target))
        large, local = (
            list(torch.from_numpy(x).permute(0, 3, 1, 2).split(2)) for x in shown
        )
        value, _ = peer_dino.loss_of(
            student, teacher, torch.zeros(head.width), large, local, small
        )
        value.backward()
        theirs = [leaf.grad.numpy() for leaf in peer_dino.leaves(student)]
        return relative_error(jax.tree.leaves(ours), theirs)


def row(size: dict) -> dict:
    """Seconds of a step on either side, and films a second."""
    import jax
    from common import comparison, compiled, medians

    from jaxdistill.data.standard import fit
    from jaxdistill.selfsupervised import Films

    error = double_error(size)
    if error > AGREEMENT:
        raise SystemExit(f"the gradients of the two sides differ by {error:.2e}")
    films = views.some_films(size["films"], size["side"], 1)
    standard = fit(films)
    made, _, _ = built(size, standard)
    steps, init, fed = trainer(made, size)
    resident = Films(jax.numpy.asarray(films), jax.numpy.full(len(films), -1))
    state = jax.jit(init)(jax.random.key(0))
    start = jax.tree.map(np.asarray, state.params)
    ours, temporaries = compiled(steps, state, resident, fed, jax.random.key(1))
    scale = (float(standard.mean[0]), float(standard.std[0]))
    peer = peer_dino.trainer(start, films, size, scale)
    times = [
        s * size["batch"] / size["films"] for s in medians(size["repeats"], ours, peer)
    ]
    made = comparison("dino_vit_tiny_16", times, (temporaries, None), error)
    sides = dict(zip(("ours", "peer"), times, strict=True))
    return made | {f"{k}_films_per_second": size["batch"] / s for k, s in sides.items()}


def main():
    """One row."""
    from common import arguments, report

    args = arguments(__doc__)
    rows = (row(size) for size in [SMOKE if args.smoke else FULL])
    versions = {
        "torch": torch.__version__,
        "torchvision": views.torchvision.__version__,
    }
    report("selfsupervised_step", args, rows, **versions)


if __name__ == "__main__":
    main()
