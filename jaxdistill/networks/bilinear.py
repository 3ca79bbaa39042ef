"""Products of two arrays as primitives whose derivatives are products of our own.

JAX differentiates what a function is made of. Where the fast way to compute a product
has slow derivatives, and the derivatives have fast ways of their own, the product is
one primitive: JAX then asks for each operand's cotangent, which is a product again, and
so to any order.
"""

from collections.abc import Callable
from inspect import signature

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array


def bilinear(
    name: str,
    compute: Callable[..., Array],
    left: Callable[..., Array],
    right: Callable[..., Array],
    *,
    folds: bool = False,
) -> Callable[..., Array]:
    """`compute(a, b, **static)`, differentiable to any order.

    `left(ct, a, b, **static)` and `right` give the cotangents of `a` and `b` and may
    not touch the operand that they stand for. A stack of operands is taken one by one;
    with `folds`, a stack of `a` alone is one longer `a`.
    """
    primitive = Primitive(name)

    def bind(a: Array, b: Array, **static) -> Array:
        if _varies(a) or _varies(b):
            return compute(a, b, **static)
        return primitive.bind(a, b, **static)

    def abstract(a, b, **static):
        out = jax.eval_shape(lambda a, b: compute(a, b, **static), a, b)
        return jax.core.ShapedArray(out.shape, out.dtype)

    def batched(operands, axes, **static):
        a, b = (
            x if axis is None else jnp.moveaxis(x, axis, 0)
            for x, axis in zip(operands, axes, strict=True)
        )
        if axes[1] is None and folds:
            y = bind(a.reshape(-1, *a.shape[2:]), b, **static)
            return y.reshape(*a.shape[:2], *y.shape[1:]), 0
        if axes[1] is None:
            return lax.map(lambda a: bind(a, b, **static), a), 0
        if axes[0] is None:
            return lax.map(lambda b: bind(a, b, **static), b), 0
        return lax.map(lambda ab: bind(*ab, **static), (a, b)), 0

    static_names = tuple(signature(compute).parameters)[2:]
    primitive.def_impl(jax.jit(compute, static_argnames=static_names))
    primitive.def_abstract_eval(abstract)
    ad.defbilinear(primitive, left, right)
    batching.primitive_batchers[primitive] = batched
    mlir.register_lowering(primitive, mlir.lower_fun(compute, multiple_results=False))
    return bind


def _varies(x: Array) -> bool:
    """Whether JAX follows what varies over devices, as `shard_map` does by default.

    There a product's derivatives are JAX's own, slow but summed over the right devices,
    of which a primitive of ours knows nothing.
    """
    told = jax.typeof(x)
    manual = getattr(told, "mat", None)  # as jax 0.10 calls it; `vma` before and after
    return bool(getattr(told, "vma", None) or getattr(manual, "varying", None))
