"""MedMNIST and MNIST, read from the .npz files that their authors publish."""

import os
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated

import numpy as np

from jaxdistill.data.download import download as fetch
from jaxdistill.data.download import file_md5
from jaxdistill.data.pixels import fit_image
from jaxdistill.data.pool import (
    SPLITS,
    DigitSize,
    Raw,
    Root,
    Whiten,
    data_root,
    make_pool,
)
from jaxdistill.data.registry import SIZES, URL, Facts, file_name, find
from jaxdistill.errors import InputError
from jaxdistill.foreign.arrays import MOST, Header, headers, read_npz
from jaxdistill.foreign.names import listed, shown
from jaxdistill.ranges import OneOf
from jaxdistill.settings import Small, declared
from jaxdistill.types import Pool

AGAIN = "remove it and download or copy it again"
MNIST_VAL = 5000  # the last training images, held out; MNIST has no validation split


@declared("data")
def medmnist(
    name: str,
    root: Root = "",
    size: Annotated[int, OneOf(SIZES), "pixels a side", Small(28)] = 28,
    download: Annotated[bool, "fetch a file that is not there"] = True,
    *,
    zca: Whiten = False,
) -> Pool:
    """A 2-D MedMNIST set such as "pneumoniamnist", at 28, 64, 128 or 224 pixels.

    Found under `root`, else `$JAXDISTILL_DATA`, else the user's cache folder; otherwise
    downloaded there. A wrong checksum warns when the arrays are as published, since
    other packings of the same images exist. Raises `InputError` for an unknown or
    multi-label set, and for a file that is missing, truncated, pickled or misshapen.
    """
    name = name.lower()
    facts = find(name)
    if facts.multi_label:
        raise InputError(
            f"data.name={name!r} gives an image several labels at once, and the losses "
            "here expect one class an image: choose a single-label set"
        )
    path = locate(name, root, size, download)
    _require_file(path)
    check_published(path, headers(path), facts, size)
    arrays = read_arrays(path, facts.bytes(size))
    splits, first = {}, 0
    for split, count in zip(SPLITS, facts.counts, strict=True):
        splits[split] = as_raw(path, split, *_split_arrays(path, arrays, split), first)
        first += count
    pool = make_pool(name, splits, facts.classes, zca=zca)
    _check_md5(path, facts.md5[size])
    return pool


@declared("data")
def mnist(root: Root = "", size: DigitSize = 28, *, zca: Whiten = False) -> Pool:
    """MNIST from `mnist.npz` under the data root; the last 5,000 train images validate.

    Another `size` than 28 resizes the digits. Raises `InputError` for a missing or
    damaged file.
    """
    path = data_root(root) / "mnist.npz"
    arrays = read_arrays(path)
    whole = as_raw(path, "train", *_split_arrays(path, arrays, "train"), 0)
    whole = _resized(whole, size)
    count = len(whole.labels)
    held_out = count - min(MNIST_VAL, count // 6)
    test = as_raw(path, "test", *_split_arrays(path, arrays, "test"), count)
    splits = {
        "train": Raw(*(part[:held_out] for part in whole)),
        "val": Raw(*(part[held_out:] for part in whole)),
        "test": _resized(test, size),
    }
    return make_pool("mnist", splits, tuple("0123456789"), "digits", zca=zca)


def locate(name: str, root: Root, size: int, download: bool) -> Path:
    """The path of a MedMNIST file, downloaded if it is not there and may be."""
    path = data_root(root) / file_name(name, size)
    if path.exists():
        return path
    url = URL.format(file=path.name)
    if not download:
        raise InputError(
            f"{path} is missing: download {url} and put it there, or run "
            f"'jaxdistill data fetch {name} --size={size}'"
        )
    return fetch(url, path, find(name).md5[size])


def read_arrays(path: Path, most: int = MOST) -> dict[str, np.ndarray]:
    """All arrays of an npz; pickled objects are refused, as reading them runs code."""
    _require_file(path)
    return read_npz(path, most=most, remedy=AGAIN)


def _require_file(path: Path) -> None:
    if not os.path.exists(path):
        raise InputError(
            f"{shown(path)} is missing: put the file there, or name its folder with "
            "JAXDISTILL_DATA or data.root"
        )


def _split_arrays(
    path: Path, arrays: dict[str, np.ndarray], split: str
) -> tuple[np.ndarray, np.ndarray]:
    _require_keys(path, arrays, split)
    return arrays[f"{split}_images"], arrays[f"{split}_labels"]


def _require_keys(path: Path, found: Collection[str], split: str) -> None:
    for key in (f"{split}_images", f"{split}_labels"):
        if key not in found:
            raise InputError(
                f"{path} has no array {key!r} (it has {listed(found)}); "
                "images and labels of every split are needed: use the published file"
            )


def check_published(
    path: Path, found: Mapping[str, Header], facts: Facts, size: int
) -> None:
    """`InputError` unless the images are as published, by their headers alone."""
    for split, count in zip(SPLITS, facts.counts, strict=True):
        key, expected = f"{split}_images", (count, size, size, facts.channels)
        _require_keys(path, found, split)
        dtype, shape = found[key]
        shape = (*shape, 1) if len(shape) == 3 else shape
        if dtype != np.uint8 or shape != expected:
            raise InputError(
                f"{key} in {path} are {dtype} of shape {shape}; the published ones are "
                f"uint8 of shape {expected}: use the published file, or read your own "
                "images as a folder"
            )


def as_raw(
    path: Path, split: str, images: np.ndarray, labels: np.ndarray, first: int
) -> Raw:
    """Images as n h w c and labels as n, each image a group of its own.

    Raises `InputError` where they are of other shapes.
    """
    whole = images[..., None] if images.ndim == 3 else images
    if whole.ndim != 4 or whole.shape[3] not in (1, 3) or 0 in whole.shape:
        raise InputError(
            f"{split}_images in {path} are {images.dtype} of shape {images.shape}; it "
            "must be (count, height, width), none of them 0, with one or three "
            "channels or without: use the published file"
        )
    labels = labels[:, 0] if labels.shape[1:] == (1,) else labels
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) != len(whole):
        raise InputError(
            f"{split}_labels in {path} are {labels.dtype} of shape {labels.shape}; one "
            f"integer for each of the {len(images)} images is needed: use the "
            "published file"
        )
    # No patient is known: every image is its own group.
    groups = np.arange(first, first + len(labels))
    return Raw(whole, labels, groups)


def _check_md5(path: Path, published: str) -> None:
    if (found := file_md5(path)) != published:
        warnings.warn(
            f"{path} has MD5 {found}, the published file has {published}; its counts, "
            "shapes and types are the published ones, so it is used: its rows may "
            "stand in another order or be packed otherwise",
            stacklevel=3,
        )


def _resized(raw: Raw, size: int) -> Raw:
    images = raw.images
    if images.shape[1:3] == (size, size) or images.dtype != np.uint8:
        return raw
    made = np.stack([fit_image(image, size, images.shape[-1]) for image in images])
    return raw._replace(images=made)
