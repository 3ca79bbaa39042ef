"""Time and memory of a gradient through ViT-S/8 by image size and type of products.

Whole images of 256 pixels and local crops of 128, by one set of weights: the number
behind `jaxdistill.networks.transformer.fused_is_fast`.
"""

import jax
import jax.numpy as jnp
from common import arguments, compiled, medians, relative_error, report

from jaxdistill.networks.vit import vit


def main() -> None:
    """A row for each size and type; errors of gradients against float32."""
    args = arguments(__doc__)
    side, batch, repeats = (32, 2, 1) if args.smoke else (256, 16, 5)
    small = {"width": 24, "depth": 2} if args.smoke else {}
    shape = (side, side, 3)
    makes = {
        compute: vit(shape, patch=8, compute=compute, **small)
        for compute in ("float32", "bfloat16")
    }
    params = makes["float32"].init(jax.random.key(0))
    rows, calls = [], []
    for size in (side, side // 2):
        images = jax.random.uniform(jax.random.key(1), (batch, size, size, 3))
        for compute, backbone in makes.items():

            def value(params, images, backbone=backbone):
                return jnp.square(backbone.features(params, images)[:, :8]).sum()

            call, memory = compiled(jax.grad(value), params, images)
            rows.append({"name": f"{compute}_{size}", "bytes": memory})
            calls.append(call)
    taken = medians(repeats, *calls)
    for i, (row, seconds) in enumerate(zip(rows, taken, strict=True)):
        row |= {"seconds": seconds, "images_per_second": batch / seconds}
        row |= {"relative_error": relative_error(calls[i](), calls[i - i % 2]())}
    report("backbones", args, rows)


if __name__ == "__main__":
    main()
