r"""The 3 x 3 convolution of stride 1 in 16 products for 36, with its derivatives.

Lavin and Gray 2016, arXiv:1509.09308, section 4.1, F(2 x 2, 3 x 3): for every tile d of
4 x 4 pixels, two apart, and every kernel g

    y = A^T [sum_c (G g G^T) * (B^T d B)] A       2 x 2 pixels of the output
    dg = G^T [sum_tiles (B^T d B) * (A dy A^T)] G

where * is element by element: 16 matrix products over channels, or over tiles. The
derivative for the images is the convolution of dy with the flipped kernel. Rounding is
that of a float32 convolution; larger tiles save more and lose a digit. With few
channels the sums outweigh the products.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdistill.networks.bilinear import bilinear

TILE = 2  # output pixels a side
FROM_IMAGE = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
FROM_KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
TO_OUTPUT = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])
FLIPPED = (3, 1, 2, 0)

Grid = list[list[Array]]  # one array for each place in a tile


def winograd_conv(
    images: Float[Array, "n h w c"], kernel: Float[Array, "3 3 c o"], padding: int
) -> Float[Array, "n oh ow o"]:
    """Cross-correlation; `padding` is at most 2."""
    return _conv(images, kernel, padding=padding, back=False)


def _conv_of(images: Array, kernel: Array, *, padding: int, back: bool) -> Array:
    """With `back`, from the output's channels to the input's by the flipped kernel."""
    height, width = (size + 2 * padding - 2 for size in images.shape[1:3])
    tiles = _image_tiles(images, padding, (height, width))
    kernels = _both_ways(
        FROM_KERNEL, [[kernel[i, j] for j in range(3)] for i in range(3)]
    )
    if back:
        # Flipping a kernel exchanges its first and last row here: nothing is
        # transformed or transposed anew.
        kernels = [[kernels[i][j] for j in FLIPPED] for i in FLIPPED]
    over = ((3,), (1 if back else 0,))
    products = [
        [jnp.tensordot(tile, kernel, over) for tile, kernel in zip(*rows, strict=True)]
        for rows in zip(tiles, kernels, strict=True)
    ]
    pixels = _both_ways(TO_OUTPUT, products)
    rows = jnp.stack([jnp.stack(row, axis=3) for row in pixels], axis=2)
    n, h, _, w, *_ = rows.shape
    return rows.reshape(n, TILE * h, TILE * w, -1)[:, :height, :width]


def _kernel_gradient_of(images: Array, dy: Array, *, padding: int) -> Array:
    height, width = dy.shape[1:3]
    tiles = _image_tiles(images, padding, (height, width))
    dy = jnp.pad(dy, ((0, 0), (0, height % TILE), (0, width % TILE), (0, 0)))
    places = [[dy[:, i::TILE, j::TILE] for j in range(TILE)] for i in range(TILE)]
    products = [
        [
            jnp.tensordot(a, b, axes=((0, 1, 2), (0, 1, 2)))
            for a, b in zip(*rows, strict=True)
        ]
        for rows in zip(tiles, _both_ways(TO_OUTPUT.T, places), strict=True)
    ]
    return jnp.stack([jnp.stack(row) for row in _both_ways(FROM_KERNEL.T, products)])


def _image_tiles(images: Array, padding: int, output: tuple[int, int]) -> Grid:
    """`B^T d B` of all tiles: for each of 4 x 4 places an array [n, rows, cols, c]."""
    tiles = [-(-size // TILE) for size in output]
    sides = [
        (padding, TILE * count + 2 - size - padding)
        for size, count in zip(images.shape[1:3], tiles, strict=True)
    ]
    padded = jnp.pad(images, ((0, 0), *sides, (0, 0)))
    last = [TILE * (count - 1) + 1 for count in tiles]
    places = [
        [padded[:, i : i + last[0] : TILE, j : j + last[1] : TILE] for j in range(4)]
        for i in range(4)
    ]
    return _both_ways(FROM_IMAGE, places)


def _both_ways(matrix: np.ndarray, places: Grid) -> Grid:
    """`matrix @ places @ matrix.T`, with the zeros left out of the sums."""
    half = [_sums(matrix, row) for row in places]
    columns = [_sums(matrix, column) for column in zip(*half, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)]


def _sums(matrix: np.ndarray, parts) -> list[Array]:
    def total(row):
        terms = [a * part for a, part in zip(row, parts, strict=True) if a]
        return sum(terms[1:], terms[0])

    return [total(row) for row in matrix.tolist()]


def _images_cotangent(dy, images, kernel, *, padding: int, back: bool) -> Array:
    return _conv(dy, kernel, padding=2 - padding, back=not back)


def _kernel_cotangent(dy, images, kernel, *, padding: int, back: bool) -> Array:
    if back:
        return _kernel_gradient(dy, images, padding=2 - padding)
    return _kernel_gradient(images, dy, padding=padding)


_conv = bilinear(
    "winograd_conv", _conv_of, _images_cotangent, _kernel_cotangent, folds=True
)
_kernel_gradient = bilinear(
    "winograd_kernel_gradient",
    _kernel_gradient_of,
    lambda dk, images, dy, padding: _conv(dy, dk, padding=2 - padding, back=True),
    lambda dk, images, dy, padding: _conv(images, dk, padding=padding, back=False),
)
