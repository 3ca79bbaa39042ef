"""Ours against torchvision: a batch of films becomes DINO's 2 global and 8 local views.

The peer is the published eager pipeline on Pillow images (Caron et al. 2021), in a
DataLoader with a worker for every core, as one is run. Both sides draw their own crops
and colours; what is compared is a film made smaller, which both do alike.
"""

import os

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps
from torch.utils.data import DataLoader, Dataset

try:
    import torchvision
except RuntimeError:  # built for a GPU, beside a torch that is not
    # It only lacks compiled operators, which pictures in Pillow do without.
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor boxes, Tensor scores, float least) -> Tensor")
    import torchvision
from torchvision import transforms as T

SIDE, FILMS, LOCALS = 128, 64, 8
BICUBIC = T.InterpolationMode.BICUBIC


class Blur:
    """Gaussian blur of a random radius, with Pillow as there."""

    def __call__(self, image):
        """A blurred image."""
        radius = float(torch.empty(1).uniform_(0.1, 2.0))
        return image.filter(ImageFilter.GaussianBlur(radius))


class Solarise:
    """Pillow's solarisation."""

    def __call__(self, image):
        """A solarised image."""
        return ImageOps.solarize(image)


def pipeline(size: int, scale: tuple, blur: float, solarise: float = 0.0) -> T.Compose:
    """One kind of view as the reference program makes it."""
    jitter = T.ColorJitter(0.4, 0.4, 0.2, 0.1)
    return T.Compose(
        [
            T.RandomResizedCrop(size, scale=scale, interpolation=BICUBIC),
            T.RandomHorizontalFlip(0.5),
            T.RandomApply([jitter], p=0.8),
            T.RandomGrayscale(p=0.2),
            T.RandomApply([Blur()], p=blur),
            T.RandomApply([Solarise()], p=solarise),
            T.ToTensor(),
        ]
    )


class Films(Dataset):
    """All views of each film."""

    def __init__(self, films: np.ndarray, side: int) -> None:
        self.images = [Image.fromarray(film.squeeze()) for film in films]
        self.first = pipeline(side, (0.4, 1.0), 1.0)
        self.second = pipeline(side, (0.4, 1.0), 0.1, 0.2)
        self.local = pipeline(side // 2, (0.05, 0.4), 0.5)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int):
        image = self.images[i]
        local = [self.local(image) for _ in range(LOCALS)]
        return self.first(image), self.second(image), torch.stack(local)


def workers() -> int:
    """One for every core."""
    return len(os.sched_getaffinity(0))


def some_films(count: int, side: int, channels: int) -> np.ndarray:
    """Bytes with coarse and fine structure."""
    rng = np.random.default_rng(0)
    coarse = rng.random((count, side // 8, side // 8, channels), np.float32)
    fine = np.kron(coarse, np.ones((1, 8, 8, 1))) + 0.1 * rng.random(
        (count, side, side, 1)
    )
    return (fine / fine.max() * 255).astype(np.uint8)


def peer_views(films: np.ndarray, side: int):
    """A call that reads one batch, each worker its part of it."""
    loader = DataLoader(
        Films(films, side),
        batch_size=-(-len(films) // workers()),
        num_workers=workers(),
        multiprocessing_context="spawn",
        persistent_workers=True,
    )
    return lambda: list(loader)


def our_views(side: int):
    """`(films, key) -> views` by one program."""
    from jaxdistill.augment.presets import PRESETS
    from jaxdistill.augment.views import make_view, make_views

    first, second = (
        PRESETS[name]._replace(size=side) for name in ("dino_first", "dino_second")
    )
    local = PRESETS["dino_local"]._replace(size=side // 2)

    def views(films, key):
        import jax

        a, b, c = jax.random.split(key, 3)
        return (
            make_view(films, a, first),
            make_view(films, b, second),
            make_views(films, c, local, LOCALS),
        )

    return views


def smaller(films: np.ndarray, side: int) -> float:
    """How far the two are apart on whole films at half their side."""
    import jax
    from common import relative_error

    from jaxdistill.augment.presets import PRESETS
    from jaxdistill.augment.views import make_view

    whole = PRESETS["whole"]._replace(size=side // 2)
    ours = make_view(jax.numpy.asarray(films), jax.random.key(0), whole)
    resize = T.Compose([T.Resize(side // 2, BICUBIC), T.ToTensor()])
    images = [resize(Image.fromarray(film.squeeze())) for film in films]
    return relative_error(ours, torch.stack(images).permute(0, 2, 3, 1).numpy())


def row(channels: int, count: int, side: int, repeats: int) -> dict:
    """One batch of all views; refuses to time two sides that resize differently."""
    import jax
    from common import comparison, compiled, medians

    films = some_films(count, side, channels)
    error = smaller(films, side)
    if error > 0.01:  # Pillow rounds to bytes
        raise SystemExit(f"the two sides differ by {error:.2e} on resized films")
    ours, size = compiled(our_views(side), jax.numpy.asarray(films), jax.random.key(1))
    seconds = medians(repeats, ours, peer_views(films, side))
    made = comparison(f"dino_{channels}_channels", seconds, (size, None), error)
    sides = {"ours": seconds[0], "peer": seconds[1]}
    return made | {f"{name}_films_per_second": count / s for name, s in sides.items()}


def main():
    """Grey films, then colour."""
    from common import arguments, report

    args = arguments(__doc__)
    setting = (4, 32, 1) if args.smoke else (FILMS, SIDE, 15)
    rows = (row(channels, *setting) for channels in (1, 3))
    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__}
    report("views", args, rows, **versions)


if __name__ == "__main__":
    main()
