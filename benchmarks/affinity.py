"""The affinity of all pairs of pixels: by the trace identity, and as it is written.

Value and gradient for the student of the mean over all pairs of pixels of
`(s_i . s_j - t_i . t_j)^2` (`jaxdistill.segmentation.losses.affinity`), at 96 x 96
features of 64 channels: both sides in one run, in turns. The error is the gradient's,
against the direct form in float64 at a quarter of the side.
"""

import jax
import jax.numpy as jnp
from common import arguments, compiled, medians, relative_error, report

from jaxdistill.segmentation.losses.affinity import (
    affinity_distance,
    affinity_energies,
)
from jaxdistill.segmentation.term import unit

CLASSES = 3


def main() -> None:
    """A row for each form, whole and split by class."""
    args = arguments(__doc__)
    side, channels, repeats = (12, 8, 1) if args.smoke else (96, 64, 5)
    forms = {
        "identity": lambda s, t, m: affinity_distance(s, t, m),
        "direct": direct,
        "identity_by_class": by_class,
        "direct_by_class": direct_by_class,
    }
    rows, calls = [], []
    for name, form in forms.items():
        call, size = compiled(jax.value_and_grad(form), *example(side, channels))
        rows.append({"name": name, "bytes": size})
        calls.append(call)
    taken = medians(repeats, *calls)
    for row, seconds, form in zip(rows, taken, forms.values(), strict=True):
        wanted = direct if "class" not in row["name"] else direct_by_class
        row |= {"seconds": seconds, "relative_error": error(form, wanted, side // 4)}
    for one, other in ((0, 1), (2, 3)):
        for key in ("seconds", "bytes"):
            rows[one][f"{key}_ratio"] = rows[other][key] / rows[one][key]
    report("affinity", args, rows)


def example(side: int, channels: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Features of a student and of a teacher, and masks."""
    keys = jax.random.split(jax.random.key(0), 3)
    shape = (1, side, side, channels)
    student, teacher = (jax.random.normal(key, shape) for key in keys[:2])
    masks = jax.random.randint(keys[2], shape[:3], 0, CLASSES).astype(jnp.uint8)
    return student, teacher, masks


def direct(student, teacher, masks):
    """The equation with its matrices of pixels by pixels."""
    del masks
    return jnp.square(difference(student, teacher)).mean()


def difference(student, teacher):
    """Of the affinities of all pairs."""
    s, t = (unit(x).reshape(len(x), -1, x.shape[-1]) for x in (student, teacher))
    return s @ s.mT - t @ t.mT


def by_class(student, teacher, masks):
    """The sum of the energies within classes and across them."""
    found = affinity_energies(student, teacher, masks, CLASSES)
    return (found.same + found.other).sum()


def direct_by_class(student, teacher, masks):
    """The same by the matrices."""
    y = masks.reshape(len(masks), -1)
    same = (y[:, :, None] == y[:, None]).astype(student.dtype)
    square = jnp.square(difference(student, teacher))
    energies = [(square * w).sum() / w.sum() for w in (same, 1 - same)]
    return sum(energies)


def error(form, wanted, side: int) -> float:
    """Of a form's gradient in float32 against the direct one in float64."""
    given = example(side, 16)
    found = jax.grad(form)(*given)
    with jax.enable_x64(True):
        student, teacher, masks = given
        exact = jax.grad(wanted)(
            student.astype(jnp.float64), teacher.astype(jnp.float64), masks
        )
    return relative_error(found, exact)


if __name__ == "__main__":
    main()
