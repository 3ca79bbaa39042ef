"""U-Net and ENet in PyTorch, on our parameters: the twins of `jaxdistill.networks`.

A twin is a function of images `n c h w` and a tree of tensors with our names.
"""

import math

import jax
import numpy as np
import torch
import torch.nn.functional as F

STAGE = (1, 2, 0, 4, 1, 8, 0, 16)


def to_peer(params):
    """Our parameters as tensors that want gradients, laid out as PyTorch has them."""

    def moved(path, leaf):
        names = [str(step.key) for step in path]
        leaf = np.array(leaf)
        if names[-1] == "kernel":
            up = names[0] == "head" and leaf.shape[0] == 2
            up = up or (names[0].startswith("up_") and names[-2] == "middle")
            leaf = leaf.transpose(2, 3, 0, 1) if up else leaf.transpose(3, 2, 0, 1)
        return torch.from_numpy(np.ascontiguousarray(leaf)).requires_grad_()

    return jax.tree_util.tree_map_with_path(moved, params)


def conv(p, x, **settings):
    """A convolution, or the transposed one of 2 x 2, as the settings say."""
    return F.conv2d(x, p["kernel"], p.get("bias"), **settings)


def norm(p, x):
    """Instance normalisation."""
    return F.instance_norm(x, weight=p["scale"], bias=p["bias"])


def conv_norm(p, x):
    """3 x 3 convolution, norm, ReLU."""
    return F.relu(norm(p["Norm_0"], conv(p["Conv_0"], x, padding=1)))


def double(p, x):
    """Two of them."""
    return conv_norm(p["ConvNorm_1"], conv_norm(p["ConvNorm_0"], x))


def unet(p, x):
    """Logits of the U-Net; squares of pixels as channels, where it takes them."""
    depth = sum(name.startswith("encoder_") for name in p)
    entered = p["encoder_0"]["ConvNorm_0"]["Conv_0"]["kernel"].shape[1]
    side = math.isqrt(entered // x.shape[1])
    x, across = F.pixel_unshuffle(x, side), []
    for level in range(depth):
        x = F.max_pool2d(x, 2) if level else x
        across.append(x := double(p[f"encoder_{level}"], x))
    for level in reversed(range(depth - 1)):
        x = conv_norm(p[f"up_{level}"], F.interpolate(x, scale_factor=2))
        x = double(p[f"decoder_{level}"], torch.cat([across[level], x], 1))
    x = conv(p["head"], x).unflatten(1, (side**2, -1))
    return F.pixel_shuffle(x.transpose(1, 2).flatten(1, 2), side)


def active(p, number: int, x):
    """Norm and PReLU of a bottleneck."""
    x = norm(p[f"Norm_{number}"], x)
    return F.prelu(x, p[f"PReLU_{number}"]["slope"].reshape(1))


def bottleneck(p, x, middle: int | str = 1, beside=None):
    """ENet's block; `middle` as there."""
    y = active(p, 0, conv(p["reduce"], x))
    if middle == "up":
        y = F.conv_transpose2d(y, p["middle"]["kernel"], stride=2)
    elif middle == "down":
        y = conv(p["middle"], y, stride=2)
    elif middle == 0:
        y = conv(p["middle_rows"], y, padding=(2, 0))
        y = conv(p["middle_columns"], y, padding=(0, 2))
    else:
        y = conv(p["middle"], y, padding=middle, dilation=middle)
    y = norm(p["Norm_2"], conv(p["expand"], active(p, 1, y)))
    y = y + (x if beside is None else beside)
    return F.prelu(y, p["PReLU_2"]["slope"].reshape(1))


def enet(p, x):
    """Logits of ENet."""
    x = torch.cat([x, x, x], 1) if x.shape[1] == 1 else x
    x = torch.cat(
        [conv(p["initial"]["Conv_0"], x, stride=2, padding=1), F.max_pool2d(x, 2)], 1
    )
    x = active(p["initial"], 0, x)
    places = {}
    for level, middles in ((1, (1, 1, 1, 1)), (2, STAGE)):
        beside, places[level] = F.max_pool2d(x, 2, return_indices=True)
        beside = projected(p, f"down_{level}_beside", beside)
        x = bottleneck(p[f"down_{level}"], x, "down", beside)
        for block, middle in enumerate(middles, 1):
            x = bottleneck(p[f"stage_{level}_{block}"], x, middle)
    for block, middle in enumerate(STAGE, 1):
        if f"stage_3_{block}" in p:
            x = bottleneck(p[f"stage_3_{block}"], x, middle)
    for level, stage in ((2, (4, 2)), (1, (5, 1))):
        beside = F.max_unpool2d(projected(p, f"up_{level}_beside", x), places[level], 2)
        x = bottleneck(p[f"up_{level}"], x, "up", beside)
        for block in range(1, stage[1] + 1):
            x = bottleneck(p[f"stage_{stage[0]}_{block}"], x)
    return F.conv_transpose2d(x, p["head"]["kernel"], stride=2)


def projected(p, name: str, x):
    """The 1 x 1 convolution and norm beside a block."""
    return norm(p[f"{name}_norm"], conv(p[name], x))
