"""Data sets from files in their usual formats; nothing is downloaded here."""

import gzip
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


@pytest.mark.parametrize("archive", [True, False])
def test_cifar10(folder, archive):
    files = cifar_files()
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


def test_without_data_the_error_says_where_to_put_them(folder):
    with pytest.raises(FileNotFoundError, match="LAMELLA_DATA"):
        datasets.mnist.load_data()
    with pytest.raises(FileNotFoundError, match="LAMELLA_DATA"):
        datasets.cifar10.load_data()
    assert list(folder.iterdir()) == []


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
