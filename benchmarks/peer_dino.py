"""DINO in eager PyTorch on our parameters: network, head, loss and a loop with Pillow.

Nothing here imports JAX: the workers of the loader, which are processes of their own,
import it too.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
import views
from torch.utils.data import DataLoader

HEATS = (0.04, 0.1)  # of teacher and student


def tensors(tree, requires_grad: bool = True):
    """A tree of arrays as one of tensors."""
    if isinstance(tree, dict):
        return {key: tensors(value, requires_grad) for key, value in tree.items()}
    return torch.from_numpy(np.array(tree)).requires_grad_(requires_grad)


def leaves(tree) -> list[torch.Tensor]:
    """The tensors of a tree, in the order of their names."""
    if isinstance(tree, dict):
        return [leaf for key in sorted(tree) for leaf in leaves(tree[key])]
    return [tree]


def dense(p, x):
    """A layer."""
    return F.linear(x, p["kernel"].T, p.get("bias"))


def norm(p, x):
    """Normalisation of the last axis."""
    return F.layer_norm(x, x.shape[-1:], p["scale"], p["bias"], 1e-6)


def block(p, x, heads: int):
    """Attention, then two layers."""
    n, tokens, width = x.shape
    qkv = dense(p["attention"]["qkv"], norm(p["LayerNorm_0"], x))
    q, k, v = qkv.view(n, tokens, 3, heads, -1).permute(2, 0, 3, 1, 4)
    mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
    x = x + dense(p["attention"]["out"], mixed.reshape(n, tokens, width))
    wide = F.gelu(dense(p["Dense_0"], norm(p["LayerNorm_1"], x)))
    return x + dense(p["Dense_1"], wide)


def features(p, x, patch: int, heads: int):
    """The class token of a vision transformer, of images `n c h w`."""
    side, embed = x.shape[-1] // patch, p["embed"]
    width = embed["kernel"].shape[1]
    kernel = embed["kernel"].T.reshape(width, patch, patch, -1).permute(0, 3, 1, 2)
    x = F.conv2d(x, kernel, embed["bias"], patch).flatten(2).transpose(1, 2)
    x = torch.cat([p["class_token"].expand(len(x), -1, -1), x], 1)
    x = x + places(p["places"], side)
    for number in range(sum(name.startswith("Encoder_") for name in p)):
        x = block(p[f"Encoder_{number}"], x, heads)
    return norm(p["LayerNorm_0"], x)[:, 0]


def places(table, side: int):
    """Positions for a square of patches."""
    made = math.isqrt(table.shape[1] - 1)
    if made == side:
        return table
    image = table[:, 1:].reshape(1, made, made, -1).permute(0, 3, 1, 2)
    image = F.interpolate(image, (side, side), mode="bicubic")
    return torch.cat([table[:, :1], image.flatten(2).transpose(1, 2)], 1)


def answers(p, x):
    """DINO's head."""
    for name in ("Dense_0", "Dense_1"):
        x = F.gelu(dense(p[name], x))
    return F.normalize(dense(p["Dense_2"], x), dim=-1) @ F.normalize(p["last"], dim=0)


def dino_loss(teacher, student, centre):
    """Lists of views; the mean over pairs of a view and another large one."""
    known = [F.softmax((z - centre) / HEATS[0], -1) for z in teacher]
    said = [F.log_softmax(z / HEATS[1], -1) for z in student]
    terms = [
        -(p * q).sum(-1).mean()
        for i, p in enumerate(known)
        for j, q in enumerate(said)
        if i != j
    ]
    return sum(terms) / len(terms)


def loss_of(student, teacher, centre, large, small, size: dict):
    """The loss, and the teacher's answers; `large` and `small` are lists of views."""
    net = {"patch": size["patch"], "heads": size["heads"]}
    with torch.no_grad():
        told = answers(
            teacher["dino"], features(teacher["trunk"], torch.cat(large), **net)
        )
    parts = [features(student["trunk"], torch.cat(x), **net) for x in (large, small)]
    said = answers(student["dino"], torch.cat(parts))
    count = len(large[0])
    return dino_loss(told.split(count), said.split(count), centre), told


def trainer(params, films, size: dict, scale: tuple[float, float]):
    """A call that trains on every film once, as a reference program does."""
    student, teacher = tensors(params), tensors(params, False)
    every = leaves(student)
    groups = [
        {"params": [p for p in every if p.ndim > 1], "weight_decay": 0.04},
        {"params": [p for p in every if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=size["lr"])
    centre = torch.zeros(student["dino"]["last"].shape[1])
    loader = DataLoader(
        views.Films(films, films.shape[1]),
        batch_size=size["batch"],
        shuffle=True,
        drop_last=True,
        num_workers=views.workers(),
        multiprocessing_context="spawn",
        persistent_workers=True,
    )
    mean, deviation = scale

    def call():
        for first, second, local in loader:
            large = [(x - mean) / deviation for x in (first, second)]
            small = list(((local - mean) / deviation).unbind(1))
            value, told = loss_of(student, teacher, centre, large, small, size)
            optimiser.zero_grad()
            value.backward()
            for p in every:
                torch.nn.utils.clip_grad_norm_(p, 3.0)
            optimiser.step()
            with torch.no_grad():
                for old, new in zip(leaves(teacher), every, strict=True):
                    old.mul_(0.996).add_(new, alpha=0.004)
                centre.mul_(0.9).add_(told.mean(0), alpha=0.1)
        return float(value.detach())

    return call
