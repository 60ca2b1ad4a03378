"""The programs run as they are printed, on small data sets of the files they ask for."""

import io
import pickle
import tarfile
import zlib

import numpy as np
import pytest

import lamella


def blobs(n, shape, classes, seed):
    """Images whose class is a bright patch, so that a network can learn it."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    x = rng.integers(0, 60, (n, *shape))
    for image, label in zip(x, y, strict=True):
        r, c = divmod(int(label) * 5, shape[1] - 4)
        image[2 * r + 1 : 2 * r + 6, c : c + 4] += 150
    return x.astype(np.uint8), y.astype(np.uint8)


@pytest.fixture
def data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LAMELLA_DATA", str(tmp_path))
    return tmp_path


@pytest.fixture
def mnist_files(data_folder):
    x, y = blobs(60000, (28, 28), 10, 0)
    x_test, y_test = blobs(10000, (28, 28), 10, 1)
    np.savez(data_folder / "mnist.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)


@pytest.fixture
def cifar_files(data_folder):
    with tarfile.open(data_folder / "cifar-10-python.tar.gz", "w:gz", compresslevel=1) as archive:
        for i, name in enumerate([*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]):
            x, y = blobs(200, (32, 32, 3), 10, i)
            blob = pickle.dumps({b"data": x.transpose(0, 3, 1, 2).reshape(200, -1), b"labels": y.tolist()}, protocol=2)
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(blob)
            archive.addfile(info, io.BytesIO(blob))


GOOD = ["good", "great", "fine", "lovely", "superb", "charming", "clever", "moving", "fresh", "bright", "warm", "funny"]
BAD = ["bad", "poor", "dull", "awful", "clumsy", "boring", "stale", "weak", "flat", "noisy", "cold", "silly"]
PLAIN = ["the", "a", "film", "plot", "actor", "scene", "music", "story", "camera", "hour", "ending", "score", "line"]


def reviews(n, seed):
    """Texts of plain words and a few that praise or blame, most of them as the label says."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    texts = []
    for label in labels:
        opinions = [rng.choice(GOOD if (rng.random() < 0.8) == bool(label) else BAD) for _ in range(7)]
        texts.append(" ".join(rng.permutation([*opinions, *rng.choice(PLAIN, 8)])))
    return texts, labels.tolist()


def embed(texts):
    """Bags of words: how often each of 128 kinds of words occurs, told apart by a checksum."""
    counts = np.zeros((len(texts), 128), np.float32)
    for row, text in zip(counts, texts, strict=True):
        for word in text.split():
            row[zlib.crc32(word.encode()) % 128] += 1
    return lamella.from_numpy(counts)


@pytest.fixture
def vgg_files(tmp_path, monkeypatch):
    """VGG16's convolutions under the names of its published weights, with random numbers of the right size."""
    monkeypatch.setenv("LAMELLA_MODELS", str(tmp_path))
    rng = np.random.default_rng(0)
    state, place, channels = {}, 0, 3
    for count, filters in zip((2, 2, 3, 3, 3), (64, 128, 256, 512, 512), strict=True):
        for _ in range(count):
            kernel = rng.standard_normal((filters, channels, 3, 3), dtype=np.float32)
            state[f"features.{place}.weight"] = kernel * np.float32(np.sqrt(2 / (9 * channels)))
            state[f"features.{place}.bias"] = np.zeros(filters, np.float32)
            place, channels = place + 2, filters
        place += 1
    lamella.save(state, tmp_path / "vgg16.safetensors")
    return state
