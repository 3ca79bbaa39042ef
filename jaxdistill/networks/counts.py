"""How large a network is, and how much it computes."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr
from jaxtyping import PyTree

from jaxdistill.networks.lowerings import in_lowering
from jaxdistill.types import Network, Segmenter


def parameters(network: Network | Segmenter | PyTree) -> int:
    """Numbers that a network learns; of the network itself, or of its parameters."""
    if isinstance(network, Network | Segmenter):
        network = jax.eval_shape(network.init, jax.random.key(0))
    return sum(math.prod(jnp.shape(leaf)) for leaf in jax.tree.leaves(network))


def flops(network: Network | Segmenter, image_shape: tuple[int, int, int]) -> int:
    """Floating-point operations for one image: two for each multiply-add.

    Of convolutions and products of matrices; norms, activations and pools are left out,
    as papers do. A convolution counts `2 oh ow kh kw c o / groups` whatever its
    lowering, a transposed one by its inputs: `2 h w kh kw c o`. Many papers write FLOPs
    for multiply-adds, half of this number.
    """
    params = jax.eval_shape(network.init, jax.random.key(0))
    like = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    with in_lowering("lax"):
        program = jax.make_jaxpr(network.apply)(params, like)
    return _flops_of(program.jaxpr)


def _flops_of(program: Jaxpr) -> int:
    total = 0
    for equation in program.eqns:
        counted = COUNTED.get(equation.primitive.name)
        if counted:
            total += counted(equation)
            continue
        times = equation.params.get("length", 1) if "jaxpr" in equation.params else 1
        total += times * sum(_flops_of(inner) for inner in _within(equation.params))
    return total


def _within(params: dict[str, Any]) -> list[Jaxpr]:
    """Programs that an equation runs."""
    found = []
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, ClosedJaxpr):
                found.append(item.jaxpr)
            elif isinstance(item, Jaxpr):
                found.append(item)
    return found


def _conv_flops(equation: Any) -> int:
    images, kernel = (v.aval.shape for v in equation.invars)
    layout = equation.params["dimension_numbers"]
    spread = math.prod(equation.params["lhs_dilation"])
    batch, _, *pixels = (equation.outvars[0].aval.shape[i] for i in layout.out_spec)
    if spread > 1:  # zeros between pixels are not multiplied
        pixels = [images[i] for i in layout.lhs_spec[2:]]
    out, fan, *window = (kernel[i] for i in layout.rhs_spec)
    return 2 * batch * math.prod(pixels) * math.prod(window) * fan * out


def _dot_flops(equation: Any) -> int:
    a = equation.invars[0].aval.shape
    (contracted, _), _ = equation.params["dimension_numbers"]
    summed = math.prod(a[i] for i in contracted)
    return 2 * summed * math.prod(equation.outvars[0].aval.shape)


COUNTED: dict[str, Callable[[Any], int]] = {
    "conv_general_dilated": _conv_flops,
    "dot_general": _dot_flops,
}
