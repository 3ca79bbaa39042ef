"""MedMNIST and MNIST files: read, refused, downloaded, resumed; the pool's rules."""

import http.server
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdistill.data as data
from jaxdistill.data import npz_sets
from jaxdistill.data.download import download, file_md5
from jaxdistill.data.registry import MEDMNIST, SIZES, Facts, file_name, find
from jaxdistill.data.sources import SOURCES, of_medmnist
from jaxdistill.errors import InputError

pytestmark = pytest.mark.filterwarnings("error")
COUNTS = {"train": 12, "val": 6, "test": 8}


def arrays(size: int = 28, **changed) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    result = {}
    for split, count in COUNTS.items():
        result[f"{split}_images"] = rng.integers(0, 255, (count, size, size), np.uint8)
        result[f"{split}_labels"] = (np.arange(count) % 2).astype(np.uint8)[:, None]
    return result | changed


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A published set of 26 images, its file written and its checksum known."""
    path = tmp_path / "tinymnist.npz"
    np.savez(path, **arrays())
    facts = Facts(("a", "b"), 1, (12, 6, 8), {28: file_md5(path)})
    monkeypatch.setitem(MEDMNIST, "tinymnist", facts)
    monkeypatch.setitem(SOURCES, "tinymnist", of_medmnist("tinymnist"))
    return path


def test_a_published_file_becomes_a_pool(tiny):
    pool = data.medmnist("TinyMNIST", root=tiny.parent)
    expected = arrays()
    assert pool.image_shape == (28, 28, 1)
    assert pool.class_names == ("a", "b")
    assert data.counts(pool)["test"] == {"a": 4, "b": 4}
    for split in COUNTS:
        part = getattr(pool, split)
        np.testing.assert_array_equal(part.images[..., 0], expected[f"{split}_images"])
        np.testing.assert_array_equal(part.labels, expected[f"{split}_labels"][:, 0])
    groups = [np.asarray(getattr(pool, split).groups) for split in COUNTS]
    assert len(np.unique(np.concatenate(groups))) == 26


def test_another_order_warns_with_the_reason(tiny):
    changed = arrays()
    order = np.roll(np.arange(12), 1)
    for part in ("images", "labels"):
        changed[f"train_{part}"] = changed[f"train_{part}"][order]
    np.savez(tiny, **changed)
    with pytest.warns(UserWarning, match="rows may stand in another order"):
        pool = data.medmnist("tinymnist", root=tiny.parent)
    assert pool.train.size == 12


BAD_ARRAYS = {
    "no array 'val_images'": {"val_images": None},
    "uint8 of shape (12, 32, 32, 1)": {
        "train_images": np.zeros((12, 32, 32), np.uint8)
    },
    "float64 of shape": {"train_images": np.full((12, 28, 28), np.nan)},
    "the published ones are uint8": {"train_images": np.zeros((12, 784), np.uint8)},
    "run from 0 to 5": {"test_labels": np.array([[0], [5]] * 4)},
    "one integer for each": {"val_labels": np.zeros((6, 3), np.uint8)},
    "'b' of 'tinymnist' is in test but not in train": {
        "train_labels": np.zeros((12, 1), np.uint8)
    },
    "no image in val": {"val_labels": np.zeros((6, 1), np.uint8)},
    "pickled objects": {"train_labels": np.array([None] * 12, object)},
}


@pytest.mark.parametrize("rule", BAD_ARRAYS)
def test_bad_arrays_are_errors(tiny, rule):
    changed = {k: v for k, v in arrays(**BAD_ARRAYS[rule]).items() if v is not None}
    np.savez(tiny, **changed)
    with pytest.raises(InputError, match="tinymnist") as caught:
        data.medmnist("tinymnist", root=tiny.parent)
    assert rule in str(caught.value)


@pytest.mark.parametrize(
    "shape", [(60, 12, 12, 4), (60, 12, 12, 0), (0, 12, 12), (60, 12, 0), (60,)]
)
def test_digits_of_other_shapes_are_refused_before_they_are_resized(tmp_path, shape):
    count, right = 60, np.zeros((60, 12, 12), np.uint8)
    labels = {f"{s}_labels": np.arange(count) % 10 for s in ("train", "test")}
    for changed in ("train", "test"):
        images = {"train_images": right, "test_images": right}
        images[f"{changed}_images"] = np.zeros(shape, np.uint8)
        np.savez(tmp_path / "mnist.npz", **labels, **images)
        with pytest.raises(InputError, match=f"{changed}_images.*count, height, width"):
            data.mnist(root=tmp_path, size=8)


@pytest.mark.parametrize("keep", [0, 100, -200])
def test_truncated_files(tiny, keep):
    tiny.write_bytes(tiny.read_bytes()[:keep])
    with pytest.raises(InputError, match="damaged, or not an npz"):
        data.medmnist("tinymnist", root=tiny.parent)


def test_settings_are_checked(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="several labels at once"):
        data.medmnist("chestmnist", root=tmp_path)
    with pytest.raises(InputError, match="choose one of 28, 64, 128, 224"):
        data.medmnist("pathmnist", root=tmp_path, size=32)
    with pytest.raises(InputError, match="put it there"):
        data.medmnist("pathmnist", root=tmp_path, size=64, download=False)
    with pytest.raises(InputError, match="not a folder that exists"):
        data.medmnist("pathmnist", root=tmp_path / "nowhere")
    monkeypatch.setenv("JAXDISTILL_DATA", str(tmp_path / "gone"))
    with pytest.raises(InputError, match=r"JAXDISTILL_DATA=.*gone"):
        data.mnist()


def test_the_default_root_is_the_cache_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("JAXDISTILL_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert data.data_root() == tmp_path / "jaxdistill"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert data.data_root() == Path.home() / ".cache" / "jaxdistill"


def test_the_register_is_whole():
    assert len(MEDMNIST) == 12
    sums = [facts.md5[size] for facts in MEDMNIST.values() for size in SIZES]
    assert len(set(sums)) == 48
    assert all(len(found) == 32 for found in sums)
    assert file_name("pathmnist", 28) == "pathmnist.npz"
    assert file_name("pathmnist", 64) == "pathmnist_64.npz"
    assert find("bloodmnist").classes[3] == "immature granulocytes"


def test_mnist_holds_out_the_last_training_images(tmp_path):
    rng = np.random.default_rng(0)
    written = {
        "train_images": rng.integers(0, 255, (120, 28, 28), np.uint8),
        "train_labels": (np.arange(120) % 10).astype(np.uint8),
        "test_images": rng.integers(0, 255, (20, 28, 28), np.uint8),
        "test_labels": (np.arange(20) % 10).astype(np.uint8),
    }
    np.savez(tmp_path / "mnist.npz", **written)
    pool = data.mnist(tmp_path)
    assert (pool.train.size, pool.val.size, pool.test.size) == (100, 20, 20)
    np.testing.assert_array_equal(
        pool.val.images[..., 0], written["train_images"][100:]
    )
    assert pool.kind == "digits"
    assert data.mnist(tmp_path, size=32).image_shape == (32, 32, 1)
    with pytest.raises(InputError, match="is missing"):
        data.mnist(tmp_path.parent)


# --- the pool ------------------------------------------------------------------------


def raw(**changed) -> dict[str, data.Raw]:
    rng = np.random.default_rng(0)
    base = data.Raw(
        rng.integers(0, 255, (6, 8, 8, 1), np.uint8), np.arange(6) % 3, np.arange(6)
    )
    val, test = (base._replace(groups=base.groups + first) for first in (6, 12))
    return {"train": base, "val": val, "test": test._replace(**changed)}


BAD_POOLS = {
    "NaN or infinite pixels (first in image 2)": {
        "images": np.where(np.arange(6)[:, None, None, None] == 2, np.nan, 1.0)
        * np.ones((6, 8, 8, 1))
    },
    "int64": {"images": np.zeros((6, 8, 8, 1), np.int64)},
    "shape (6, 8, 8)": {"images": np.zeros((6, 8, 8), np.uint8)},
    "holds no image": {"images": np.zeros((0, 8, 8, 1), np.uint8)},
    "9x8x1 but those of train are 8x8x1": {"images": np.zeros((6, 9, 8, 1), np.uint8)},
    "5 labels": {"labels": np.zeros(5, int)},
    "they must lie in 0 to 2": {"labels": np.array([0, 1, 2, 0, 1, -1])},
    "one integer an image": {"labels": np.zeros((6, 2), int)},
}


@pytest.mark.parametrize("rule", BAD_POOLS)
def test_bad_pools(rule):
    with pytest.raises(InputError) as caught:
        data.make_pool("mine", raw(**BAD_POOLS[rule]), ("a", "b", "c"))
    assert rule in str(caught.value)


def test_a_single_class_is_refused():
    with pytest.raises(InputError, match="two or more"):
        data.make_pool("mine", raw(), ("a",))


def test_groups_in_two_splits_are_warned_of():
    parts = raw(groups=np.array([6, 7, 1, 12, 13, 14]))
    said = "3 of the groups of 'mine' .* such as group 1 in train and in test"
    with pytest.warns(UserWarning, match=said):
        data.make_pool("mine", parts, ("a", "b", "c"))


def test_splits_share_one_standardisation_fitted_on_train():
    parts = raw(images=np.full((6, 8, 8, 1), 255, np.uint8))
    pool = data.make_pool("mine", parts, ("a", "b", "c"), "natural")
    assert pool.test.standard is pool.standard
    expected = (parts["train"].images / 255).mean()
    np.testing.assert_allclose(pool.standard.mean, [expected], rtol=1e-6)
    whitened = data.make_pool("mine", raw(), ("a", "b", "c"), zca=True)
    assert whitened.standard.whitening is not None


def test_the_fingerprint_names_what_an_expert_has_seen():
    names = ("a", "b", "c")
    one = data.make_pool("mine", raw(), names)
    same = data.make_pool("other name", raw(labels=np.array([2, 1, 0] * 2)), names)
    assert data.fingerprint(one) == data.fingerprint(same)
    assert len(data.fingerprint(one)) == 16
    flipped = raw()
    flipped["train"] = flipped["train"]._replace(labels=np.array([2, 1, 0] * 2))
    pixel = raw()
    pixel["train"].images[0, 0, 0, 0] ^= 1
    others = [
        data.make_pool("mine", flipped, names),
        data.make_pool("mine", pixel, names),
        data.make_pool("mine", raw(), ("a", "b", "z")),
        data.make_pool("mine", raw(), names, zca=True),
    ]
    prints = {data.fingerprint(pool) for pool in (one, *others)}
    assert len(prints) == 5


def test_load_knows_sources_and_settings(tiny):
    pool = data.load("tinymnist", root=str(tiny.parent), size=28, zca=False)
    assert pool.name == "tinymnist"
    with pytest.raises(InputError, match=r"data.name='patmnist'.*mean 'pathmnist'"):
        data.load("patmnist")
    with pytest.raises(InputError, match=r"data.siz is .*mean 'size'"):
        data.load("phantom", siz=32)
    with pytest.raises(InputError, match=r"data.path is no setting .*'phantom'"):
        data.load("phantom", path="x")
    with pytest.raises(InputError, match="put it there"):
        data.load("chest_xray", root=str(tiny.parent))
    with pytest.raises(InputError, match=r"data.path='' must be given"):
        data.load("folder", path="")


# --- downloads -----------------------------------------------------------------------


class _Server(http.server.ThreadingHTTPServer):
    content = b""
    cut: int | None = None  # close the connection after so many bytes
    ranges: bool = True
    asked: list[str | None]


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        start = int(asked[6:-1]) if asked and self.server.ranges else 0
        if self.path != "/file.npz" or (start and start >= len(self.server.content)):
            self.send_error(404 if self.path != "/file.npz" else 416)
            return
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            total = len(self.server.content)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.cut])

    def log_message(self, *args) -> None:
        """Silent."""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with _Server(("127.0.0.1", 0), _Handler) as running:
        running.asked = []
        running.content = np.random.default_rng(0).bytes(700_000)
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def fetch(server: _Server, target: Path, content: bytes | None = None) -> Path:
    other = target.with_name("expected")
    other.write_bytes(server.content if content is None else content)
    url = f"http://127.0.0.1:{server.server_port}/file.npz"
    return download(url, target, file_md5(other))


def test_a_download_appears_whole(server, tmp_path):
    target = tmp_path / "new" / "file.npz"
    target.parent.mkdir()
    assert fetch(server, target).read_bytes() == server.content
    assert not target.with_name("file.npz.part").exists()


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_download_is_continued(server, tmp_path, ranges):
    target = tmp_path / "file.npz"
    server.cut, server.ranges = 300_000, ranges
    with pytest.raises(InputError, match="try again to continue"):
        fetch(server, target)
    assert not target.exists()
    assert target.with_name("file.npz.part").stat().st_size == 300_000
    server.cut = None
    assert fetch(server, target).read_bytes() == server.content
    assert server.asked == [None, "bytes=300000-"]


def test_of_several_that_fetch_one_file_one_does(server, tmp_path):
    target = tmp_path / "file.npz"
    (tmp_path / "same").write_bytes(server.content)
    url = f"http://127.0.0.1:{server.server_port}/file.npz"
    asked = [url] * 4, [target] * 4, [file_md5(tmp_path / "same")] * 4
    with ThreadPoolExecutor(4) as workers:
        assert list(workers.map(download, *asked)) == [target] * 4
    assert target.read_bytes() == server.content
    assert server.asked == [None]
    assert not target.with_name("file.npz.part").exists()


def test_a_complete_part_needs_no_byte(server, tmp_path):
    target = tmp_path / "file.npz"
    target.with_name("file.npz.part").write_bytes(server.content)
    assert fetch(server, target).read_bytes() == server.content


def test_a_wrong_checksum_leaves_nothing(server, tmp_path):
    target = tmp_path / "file.npz"
    with pytest.raises(InputError, match="arrived with MD5"):
        fetch(server, target, content=b"another")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["expected"]


def test_offline_says_which_file_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(npz_sets, "URL", "http://127.0.0.1:9/{file}")
    with pytest.raises(InputError) as caught:
        data.medmnist("breastmnist", root=tmp_path)
    assert f"put it at {tmp_path / 'breastmnist.npz'}" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_missing_page_is_a_network_error(server, tmp_path):
    url = f"http://127.0.0.1:{server.server_port}/gone.npz"
    with pytest.raises(InputError, match="could not be downloaded"):
        download(url, tmp_path / "gone.npz", "0" * 32)


def test_a_full_disk_is_named(server, tmp_path):
    target = tmp_path / "file.npz"
    target.with_name("file.npz.part").mkdir()  # cannot be written, like a full disk
    with pytest.raises(InputError, match="cannot be written"):
        fetch(server, target)


def test_pool_arrays_are_on_the_device(tiny):
    pool = data.medmnist("tinymnist", root=tiny.parent)
    assert isinstance(pool.train.images, jnp.ndarray)
    assert pool.train.images.dtype == jnp.uint8
    assert pool.train.labels.dtype == jnp.int32
