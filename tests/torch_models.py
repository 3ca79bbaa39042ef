"""Small PyTorch models whose weights have the public names of timm, DINO, torchvision.

Written from their state dictionaries: what matters is which name does what.
"""

import torch
from torch import nn
from torch.nn import functional as F


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        n, t, d = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).reshape(n, t, d))


class MLP(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    def __init__(self, patch, channels, width):
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch, patch)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


class ViT(nn.Module):
    """Images `n c h w` to the class token; positions are resized for other sizes."""

    def __init__(self, size, patch, channels, width, depth, heads):
        super().__init__()
        self.patch = patch
        self.cls_token = nn.Parameter(torch.randn(1, 1, width))
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + (size // patch) ** 2, width))
        self.patch_embed = PatchEmbed(patch, channels, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def places(self, h, w):
        table = self.pos_embed[:, 1:].transpose(1, 2)
        side = int(table.shape[-1] ** 0.5)
        image = table.unflatten(2, (side, side))
        to = h // self.patch, w // self.patch
        image = F.interpolate(image, to, mode="bicubic").flatten(2).transpose(1, 2)
        return torch.cat([self.pos_embed[:, :1], image], 1)

    def forward(self, x):
        token = self.cls_token.expand(len(x), -1, -1)
        y = torch.cat([token, self.patch_embed(x)], 1) + self.places(*x.shape[2:])
        for block in self.blocks:
            y = block(y)
        return self.norm(y)[:, 0]


class DinoHead(nn.Module):
    def __init__(self, width, hidden, bottleneck, outputs):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )
        self.last_layer = nn.utils.parametrizations.weight_norm(
            nn.Linear(bottleneck, outputs, bias=False)
        )

    def forward(self, x):
        return self.last_layer(F.normalize(self.mlp(x)))


class BasicBlock(nn.Module):
    def __init__(self, inputs, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = nn.Identity()
        if stride > 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class ResNet18(nn.Module):
    """Images `n c h w` to features: the last layer `fc` has weights and no part."""

    def __init__(self, width):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inputs = width
        for stage, stride in enumerate((1, 2, 2, 2)):
            out = width * 2**stage
            blocks = BasicBlock(inputs, out, stride), BasicBlock(out, out, 1)
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
            inputs = out
        self.fc = nn.Linear(inputs, 5)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        return x.mean((2, 3))


def shaken(model):
    """Every weight and statistic random, so that all of them take part."""
    torch.manual_seed(0)
    for name, tensor in model.state_dict().items():
        if tensor.dtype.is_floating_point:
            low = 0.5 if name.endswith(("running_var", "original0")) else -0.4
            tensor.uniform_(low, low + 0.8)
    return model.eval()


def tensors_of(model):
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}
