"""How deep each parameter of a network lies: the order in which images meet them.

Trees of parameters come in the order of their keys, `head` before `trunk`. Depth is
read off the computation itself, so that it holds for any network: a parameter is met by
the first operation that brings it, or what was made of it alone, together with what was
made of the images.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Var

from jaxdistill.types import Network, Params


class _Value(NamedTuple):
    """What a value was made of: images, or the parameters of these numbers alone."""

    seen: bool = False
    of: tuple[int, ...] = ()


@lru_cache(maxsize=64)
def parameters_before(network: Network, image_shape: tuple[int, int, int]) -> Params:
    """By array of the parameters, how many parameters images meet before it.

    The way from the input to the logits counts them all once: the first array has 0.
    Those of one operation follow each other as its operands do; what no image meets
    comes last.
    """
    like = jax.eval_shape(network.init, jax.random.key(0))
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    leaves, structure = jax.tree.flatten(like)
    program = jax.make_jaxpr(network.apply)(like, image).jaxpr
    given = [_Value(of=(i,)) for i in range(len(leaves))] + [_Value(seen=True)]
    met: dict[int, None] = {}  # ordered, each once
    _follow(program, given, met)
    before, count = [0] * len(leaves), 0
    for i in (*met, *(i for i in range(len(leaves)) if i not in met)):
        before[i] = count
        count += leaves[i].size
    return jax.tree.unflatten(structure, before)


def _follow(program: Jaxpr, given: list[_Value], met: dict[int, None]) -> list[_Value]:
    """What the results are made of; adds to `met` as the program goes."""
    known: dict[Var, _Value] = dict(zip(program.invars, given, strict=True))

    def of(operand: Any) -> _Value:
        return known.get(operand, _Value()) if isinstance(operand, Var) else _Value()

    for equation in program.eqns:
        operands = [of(operand) for operand in equation.invars]
        inner = _within(equation)
        if inner is not None:
            results = _follow(inner, operands[-len(inner.invars) :], met)
        else:
            results = [_together(operands, met)] * len(equation.outvars)
        known |= zip(equation.outvars, results, strict=True)
    return [of(operand) for operand in program.outvars]


def _together(operands: list[_Value], met: dict[int, None]) -> _Value:
    parts = tuple(dict.fromkeys(i for operand in operands for i in operand.of))
    if not any(operand.seen for operand in operands):
        return _Value(of=parts)
    met |= dict.fromkeys(i for i in parts if i not in met)
    return _Value(seen=True)


def _within(equation: JaxprEqn) -> Jaxpr | None:
    """The program that an equation runs, where its operands are the last ones."""
    for value in equation.params.values():
        one = value[0] if isinstance(value, tuple | list) and value else value
        found = one.jaxpr if isinstance(one, ClosedJaxpr) else one
        if (
            isinstance(found, Jaxpr)
            and 0 < len(found.invars) <= len(equation.invars)
            and len(found.outvars) == len(equation.outvars)
        ):
            return found
    return None
