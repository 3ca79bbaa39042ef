"""TFDS sets through `as_data_source`: no TensorFlow, random access, NumPy arrays."""

import os
from typing import Annotated, Any

import numpy as np
from tqdm import tqdm

from jaxdistill.data.pixels import fit_image, stretch
from jaxdistill.data.pool import (
    SPLITS,
    Channels,
    Fraction,
    ImageSize,
    Kind,
    Raw,
    Root,
    Whiten,
    data_root,
    make_pool,
)
from jaxdistill.data.splits import carve
from jaxdistill.errors import InputError
from jaxdistill.foreign.files import expanded, short
from jaxdistill.ranges import Filled, Seed
from jaxdistill.settings import declared
from jaxdistill.types import Pool

SPLIT_NAMES = {"train": "train", "val": "val", "validation": "val", "test": "test"}


@declared("data")
def tfds(
    path: Annotated[str | os.PathLike, Filled(), "the set's name, or its folder"],
    size: ImageSize = 64,
    channels: Channels = 1,
    root: Root = "",
    *,
    val_fraction: Annotated[Fraction, "validation's share, where not given"] = 0.15,
    test_fraction: Annotated[Fraction, "test's share, where not given"] = 0.15,
    seed: Annotated[Seed, "of the split"] = 0,
    kind: Kind = "medical",
    zca: Whiten = False,
) -> Pool:
    """A prepared TensorFlow Datasets set, by name under the data root or by its folder.

    It needs features `image` and `label` and files in the array_record format. A split
    that is missing is taken from train as in `folder`. Raises `InputError` for a set
    that is not there, of another file format or without those features.
    """
    builder = _builder(path, root)
    names = _label_names(builder)
    parts = {
        SPLIT_NAMES[split]: _read(builder, split, size, channels)
        for split in builder.info.splits
        if split in SPLIT_NAMES
    }
    if "train" not in parts:
        raise InputError(
            f"data set {builder.name!r} has no train split (it has "
            f"{', '.join(builder.info.splits)}): choose a set with one"
        )
    fractions = {"test": test_fraction, "val": val_fraction}
    missing = {s: share for s, share in fractions.items() if s not in parts}
    images, labels = parts["train"]
    groups = [str(row) for row in range(len(labels))]
    if missing:
        split = carve(labels, groups, missing, seed, names)
        for name in ("train", *missing):
            parts[name] = (images[split == name], labels[split == name])
    raw, first = {}, 0
    for name in SPLITS:
        images, labels = parts[name]
        raw[name] = Raw(images, labels, np.arange(first, first + len(labels)))
        first += len(labels)
    return make_pool(builder.name, raw, names, kind, zca=zca)


def _builder(path: str | os.PathLike, root: str | os.PathLike) -> Any:
    import tensorflow_datasets as library

    folder = expanded(path)
    try:
        if folder.is_dir():
            return library.builder_from_directory(folder)
        builder = library.builder(
            str(path), data_dir=data_root(root), file_format="array_record"
        )
    except InputError:
        raise
    except Exception as error:  # of descriptions that are damaged, of any kind
        raise InputError(
            f"data.path={str(path)!r} is neither a TFDS name nor a prepared "
            f"folder ({short(error, 120)}): give the name, or the folder that holds "
            "features.json"
        ) from error
    if not builder.data_path.exists():
        raise InputError(
            f"data set {builder.name!r} is not prepared in {builder.data_path}: run "
            f"'tfds build {builder.name} --file_format=array_record --data_dir="
            f"{data_root(root)}' once"
        )
    return builder


def _label_names(builder: Any) -> tuple[str, ...]:
    features = builder.info.features or {}
    if not {"image", "label"} <= set(features):
        raise InputError(
            f"data set {builder.name!r} has the features {', '.join(features)}; "
            "'image' and 'label' are needed: choose a set for classification"
        )
    return tuple(features["label"].names)


def _read(
    builder: Any, split: str, size: int, channels: int
) -> tuple[np.ndarray, np.ndarray]:
    try:
        source = builder.as_data_source(split=split)
        images, labels = [], []
        for row in tqdm(range(len(source)), f"reading {split}", disable=None):
            example = source[row]
            pixels = np.asarray(example["image"])
            if pixels.dtype != np.uint8:
                pixels = stretch(pixels, f"{builder.name} {split}[{row}]")
            images.append(fit_image(pixels, size, channels))
            labels.append(int(example["label"]))
    except NotImplementedError as error:
        raise InputError(
            f"data set {builder.name!r} in {builder.data_path} is not in the "
            "array_record format, which alone is read without TensorFlow: prepare it "
            "again with --file_format=array_record"
        ) from error
    return np.stack(images), np.array(labels, np.int32)
