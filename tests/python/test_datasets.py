"""Data sets from files in their usual formats; nothing is downloaded here."""

import gzip
import hashlib
import io
import pickle
import struct
import tarfile

import numpy as np
import pytest

from lamella import datasets
from lamella.datasets import _files


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LAMELLA_DATA", str(tmp_path))

    def refuse(*args, **kwargs):
        raise OSError("no network in tests")

    monkeypatch.setattr(_files.urllib.request, "urlopen", refuse)
    return tmp_path


def idx(array):
    head = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.tobytes()


def images(n, seed):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 28, 28)).astype(np.uint8), rng.integers(0, 10, n).astype(np.uint8)


def write_idx(base, compress):
    base.mkdir(parents=True, exist_ok=True)
    arrays = [*images(6, 0), *images(3, 1)]
    for name, a in zip(_files.IDX_NAMES, arrays, strict=True):
        if compress:
            (base / f"{name}.gz").write_bytes(gzip.compress(idx(a)))
        else:
            (base / name).write_bytes(idx(a))
    return arrays


def same(loaded, arrays):
    (a, b), (c, d) = loaded
    for got, want in zip((a, b, c, d), arrays, strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("compress", [True, False])
def test_mnist_from_idx_files(folder, compress):
    arrays = write_idx(folder / "mnist", compress)
    same(datasets.mnist.load_data(), arrays)


def test_mnist_from_npz(folder):
    arrays = [*images(6, 0), *images(3, 1)]
    np.savez(folder / "mnist.npz", **dict(zip(("x_train", "y_train", "x_test", "y_test"), arrays, strict=True)))
    same(datasets.mnist.load_data(), arrays)


def test_fashion_mnist_from_a_folder(folder, tmp_path):
    arrays = write_idx(tmp_path / "here", True)
    same(datasets.fashion_mnist.load_data(tmp_path / "here"), arrays)
    with pytest.raises(FileNotFoundError, match="train-images"):
        datasets.fashion_mnist.load_data(tmp_path / "nowhere")


def cifar_batch(n, seed):
    rng = np.random.default_rng(seed)
    return {
        b"data": rng.integers(0, 256, (n, 3072)).astype(np.uint8),
        b"labels": list(map(int, rng.integers(0, 10, n))),
    }


def cifar_files():
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    return {name: cifar_batch(4, i) for i, name in enumerate(names)}


def write_cifar(files, folder, archive):
    blobs = {n: pickle.dumps(b, protocol=2) for n, b in files.items()}
    if archive:
        with tarfile.open(folder / "cifar-10-python.tar.gz", "w:gz") as t:
            for name, blob in blobs.items():
                info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
                info.size = len(blob)
                t.addfile(info, io.BytesIO(blob))
    else:
        (folder / "cifar-10-batches-py").mkdir()
        for name, blob in blobs.items():
            (folder / "cifar-10-batches-py" / name).write_bytes(blob)


@pytest.mark.parametrize("archive", [True, False])
def test_cifar10(folder, archive):
    files = cifar_files()
    write_cifar(files, folder, archive)
    (x, y), (x_test, y_test) = datasets.cifar10.load_data()
    assert x.shape == (20, 32, 32, 3) and y.shape == (20, 1) and x_test.shape == (4, 32, 32, 3)
    first = files["data_batch_1"]
    np.testing.assert_array_equal(x[0, 3, 5], first[b"data"][0].reshape(3, 32, 32)[:, 3, 5])
    np.testing.assert_array_equal(y_test[:, 0], files["test_batch"][b"labels"])


class Bomb:
    def __reduce__(self):
        import os

        return os.system, ("touch bomb",)


def test_a_hostile_pickle_is_refused(folder):
    base = folder / "cifar-10-batches-py"
    base.mkdir()
    for name in cifar_files():
        (base / name).write_bytes(pickle.dumps({b"data": Bomb()}))
    with pytest.raises(ValueError, match="refused"):
        datasets.cifar10.load_data()


@pytest.mark.parametrize(
    "spoil", [lambda b: b[:10], lambda b: b[:-3], lambda b: b"\0\0\x0d" + b[3:], lambda b: b + b"x", lambda b: b""]
)
def test_damaged_idx_files(folder, spoil):
    write_idx(folder / "mnist", False)
    path = folder / "mnist" / _files.IDX_NAMES[0]
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match="train-images"):
        datasets.mnist.load_data()


NPZ_KEYS = ("x_train", "y_train", "x_test", "y_test")


def write_npz(path, **changes):
    arrays = {**dict(zip(NPZ_KEYS, [*images(6, 0), *images(3, 1)], strict=True)), **changes}
    np.savez_compressed(path, **{k: a for k, a in arrays.items() if a is not None})


def test_damaged_npz_files(folder):
    path = folder / "mnist.npz"
    write_npz(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    spoilt = [b"", b"junk", whole[:-1], whole[: len(whole) // 2], whole[:40] + b"xxxxxxxx" + whole[48:]]
    for _ in range(200):
        at = int(rng.integers(len(whole)))
        spoilt.append(whole[:at] + bytes([whole[at] ^ (1 << int(rng.integers(8)))]) + whole[at + 1 :])
    refused = 0
    for data in spoilt:
        path.write_bytes(data)
        try:
            datasets.mnist.load_data()
        except ValueError as e:
            assert str(path) in str(e), e
            refused += 1
    assert refused > 100


class Object:
    pass


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"y_test": None}, "expected arrays .* missing y_test"),
        ({"y_train": np.zeros(3, np.uint8)}, "y_train: expected 6 labels .* got uint8 of shape \\(3,\\)"),
        ({"y_train": np.zeros((6, 1), np.uint8)}, "y_train: expected 6 labels"),
        ({"y_train": np.zeros(6)}, "y_train: expected 6 labels .* got float64"),
        ({"y_train": np.full(6, 200, np.uint8)}, "y_train: expected labels from 0 to 9, got 200 to 200"),
        ({"y_train": np.full(6, -1)}, "y_train: expected labels from 0 to 9, got -1 to -1"),
        ({"x_train": np.zeros((6, 784), np.uint8)}, "x_train: expected uint8 images"),
        ({"x_test": np.zeros((3, 28, 28))}, "x_test: expected uint8 images .* got float64"),
        ({"x_test": np.array([Object()] * 3)}, "damaged: .*allow_pickle"),
    ],
)
def test_npz_files_with_other_contents(folder, changes, text):
    write_npz(folder / "mnist.npz", **changes)
    with pytest.raises(ValueError, match=f"mnist\\.npz: {text}"):
        datasets.mnist.load_data()


def test_a_path_that_does_not_exist(folder):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        datasets.mnist.load_data(str(folder / "nowhere.npz"))


@pytest.mark.parametrize("load", [datasets.mnist.load_data, datasets.fashion_mnist.load_data])
@pytest.mark.parametrize(
    ("which", "array", "text"),
    [
        (1, np.zeros(3, np.uint8), "train-labels.*expected 6 labels for .*train-images.* got uint8 of shape \\(3,\\)"),
        (1, np.full(6, 200, np.uint8), "train-labels.*expected labels from 0 to 9"),
        (2, np.zeros((3, 784), np.uint8), "t10k-images.*expected uint8 images"),
        (3, np.zeros((3, 1), np.uint8), "t10k-labels.*expected 3 labels"),
    ],
)
def test_idx_files_with_other_contents(folder, load, which, array, text):
    base = folder / load.__module__.rpartition(".")[2].replace("_", "-")
    write_idx(base, False)
    (base / _files.IDX_NAMES[which]).write_bytes(idx(array))
    with pytest.raises(ValueError, match=text):
        load()


def test_missing_idx_files_are_named(folder):
    write_idx(folder / "mnist", True)
    (folder / "mnist" / f"{_files.IDX_NAMES[2]}.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"mnist: expected .* missing t10k-images-idx3-ubyte$"):
        datasets.mnist.load_data()
    with pytest.raises(FileNotFoundError, match=r"mnist: expected .* missing t10k-images-idx3-ubyte$"):
        datasets.fashion_mnist.load_data(folder / "mnist")


def test_only_what_is_missing_of_fashion_mnist_is_downloaded(folder, monkeypatch):
    arrays = write_idx(folder / "fashion-mnist", True)
    gone = folder / "fashion-mnist" / f"{_files.IDX_NAMES[3]}.gz"
    blob = gone.read_bytes()
    gone.unlink()
    asked = []

    def serve(url, **kwargs):
        asked.append(url)
        return io.BytesIO(blob)

    monkeypatch.setattr(_files.urllib.request, "urlopen", serve)
    monkeypatch.setattr(datasets.fashion_mnist, "_DEBIAN", folder / "nowhere")
    with pytest.raises(ValueError, match="wrong SHA-256"):
        datasets.fashion_mnist.load_data()
    checksum = hashlib.sha256(gzip.decompress(blob)).hexdigest()
    monkeypatch.setitem(datasets.fashion_mnist._SHA256, _files.IDX_NAMES[3], checksum)
    same(datasets.fashion_mnist.load_data(), arrays)
    assert len(asked) == 2 and all(url.endswith(gone.name) for url in asked)


@pytest.mark.parametrize("archive", [True, False])
@pytest.mark.parametrize("gone", ["data_batch_3", "test_batch"])
def test_cifar10_with_missing_files(folder, archive, gone):
    write_cifar({n: b for n, b in cifar_files().items() if n != gone}, folder, archive)
    with pytest.raises(ValueError, match=f"cifar-10.*missing {gone}$"):
        datasets.cifar10.load_data()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({b"labels": [[1], [1, 2], [3], [4]]}, "data_batch_2: labels"),
        ({b"labels": [1, 2, 3]}, "data_batch_2: labels: expected 4 numbers"),
        ({b"labels": [1, 2, 3, 10]}, "data_batch_2: labels: expected 4 numbers from 0 to 9"),
        ({b"data": np.zeros((4, 3071), np.uint8)}, "data_batch_2: data: expected uint8 rows"),
    ],
)
def test_cifar10_with_other_contents(folder, change, text):
    files = cifar_files()
    files["data_batch_2"].update(change)
    write_cifar(files, folder, False)
    with pytest.raises(ValueError, match=text):
        datasets.cifar10.load_data()


def test_damaged_cifar10_archives(folder):
    write_cifar(cifar_files(), folder, True)
    path = folder / "cifar-10-python.tar.gz"
    whole = path.read_bytes()
    for data in (b"", b"junk", whole[: len(whole) // 2], whole[:5000] + b"\0" * 100 + whole[5100:]):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="cifar-10-python"):
            datasets.cifar10.load_data()


def test_without_data_the_error_says_where_to_put_them(folder):
    with pytest.raises(FileNotFoundError, match="LAMELLA_DATA"):
        datasets.mnist.load_data()
    with pytest.raises(FileNotFoundError, match="LAMELLA_DATA"):
        datasets.cifar10.load_data()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("data", [datasets.mnist, datasets.fashion_mnist, datasets.cifar10])
def test_nothing_is_asked_for_where_downloads_are_forbidden(folder, monkeypatch, data):
    asked = []
    monkeypatch.setattr(_files.urllib.request, "urlopen", lambda *a, **k: asked.append(a))
    monkeypatch.setattr(datasets.fashion_mnist, "_DEBIAN", folder / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"download is False: put .*LAMELLA_DATA"):
        data.load_data(download=False)
    assert not asked and list(folder.iterdir()) == []


def test_a_download_with_the_wrong_checksum_leaves_nothing(folder, monkeypatch):
    monkeypatch.setattr(_files.urllib.request, "urlopen", lambda *a, **k: io.BytesIO(b"something else"))
    with pytest.raises(ValueError, match="SHA-256"):
        datasets.mnist.load_data()
    assert list(folder.iterdir()) == []


def test_digits_split():
    (x, y), (x_test, y_test) = datasets.digits.load_data()
    assert len(x) + len(x_test) == 1797 and len(x_test) == 359 and x.max() == 16
    assert len(y) == len(x) and set(y_test) == set(range(10))
    again = datasets.digits.load_data()[0][0]
    np.testing.assert_array_equal(x, again)
