"""What `utils` has beside models: files from the net, progress bars, splits, norms, names of dtypes, images."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile

import numpy as np
import pytest

import lamella
from lamella import layers, models, utils
from lamella.utils.data import DataLoader, TensorDataset


@pytest.fixture
def origin(tmp_path):
    path = tmp_path / "server" / "data.txt"
    path.parent.mkdir()
    path.write_bytes(b"some data")
    return path


def test_get_file(origin, tmp_path):
    arguments = {"origin": origin.as_uri(), "cache_dir": tmp_path / "cache"}
    path = utils.get_file("here.txt", **arguments)
    assert path == str(tmp_path / "cache" / "datasets" / "here.txt")
    origin.write_bytes(b"newer data")
    with open(utils.get_file("here.txt", **arguments)) as f:
        assert f.read() == "some data"
    sha = hashlib.sha256(b"newer data").hexdigest()
    with open(utils.get_file("here.txt", **arguments, file_hash=sha)) as f:
        assert f.read() == "newer data"  # what was there had another hash
    origin.write_bytes(b"newest")
    with open(utils.get_file("here.txt", **arguments, force_download=True)) as f:
        assert f.read() == "newest"
    md5 = hashlib.md5(b"newest", usedforsecurity=False).hexdigest()
    assert utils.get_file(**arguments, cache_subdir="more", md5_hash=md5.upper()).endswith("more/data.txt")
    with pytest.raises(ValueError, match="wrong SHA-256"):
        utils.get_file("other.txt", **arguments, file_hash=sha)
    assert not (tmp_path / "cache" / "datasets" / "other.txt").exists()


def test_the_default_folder_is_that_of_the_data_sets(origin, tmp_path, monkeypatch):
    monkeypatch.setenv("LAMELLA_DATA", str(tmp_path / "sets"))
    assert utils.get_file(origin=origin.as_uri()) == str(tmp_path / "sets" / "data.txt")


@pytest.mark.parametrize("old_python", [False, True])
def test_get_file_unpacks(origin, tmp_path, monkeypatch, old_python):
    if old_python:
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(origin, "inside/data.txt")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("data.txt", "some data")
    arguments = {"cache_dir": tmp_path / "cache", "extract": True}
    folder = utils.get_file("flowers", (tmp_path / "a.tar.gz").as_uri(), **arguments)
    assert folder == str(tmp_path / "cache" / "datasets" / "flowers")
    assert (tmp_path / "cache/datasets/flowers/inside/data.txt").read_bytes() == b"some data"
    folder = utils.get_file("b.zip", (tmp_path / "a.zip").as_uri(), **arguments, archive_format="zip")
    assert folder.endswith("b_extracted")
    assert (tmp_path / "cache/datasets/b_extracted/data.txt").exists()
    with pytest.raises(ValueError, match="extract: expected an archive"):
        utils.get_file("c.zip", (tmp_path / "a.zip").as_uri(), untar=True, cache_dir=tmp_path / "cache")


@pytest.mark.parametrize("old_python", [False, True])
def test_members_stay_in_the_folder(tmp_path, monkeypatch, old_python):
    if old_python:
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    with tarfile.open(tmp_path / "bad.tar", "w") as archive:
        member = tarfile.TarInfo("../../outside.txt")
        member.size = 3
        archive.addfile(member, io.BytesIO(b"bad"))
    with pytest.raises(ValueError, match="extract"):
        utils.get_file("x", (tmp_path / "bad.tar").as_uri(), extract=True, cache_dir=tmp_path / "cache")
    assert not list(tmp_path.rglob("outside.txt"))


@pytest.mark.parametrize(
    ("kwargs", "names"),
    [
        ({"origin": None}, "origin"),
        ({"fname": "a/b"}, "fname"),
        ({"file_hash": "123"}, "file_hash"),
        ({"hash_algorithm": "sha1"}, "hash_algorithm"),
        ({"archive_format": "rar"}, "archive_format"),
    ],
)
def test_get_file_refuses(kwargs, names, tmp_path):
    with pytest.raises(ValueError, match=f"get_file: {names}"):
        utils.get_file(**{"origin": "file:///nowhere/x", "cache_dir": tmp_path, **kwargs})


def test_progbar(capsys):
    bar = utils.Progbar(3, interval=0, stateful_metrics=["rate"])
    for step in range(3):
        bar.add(1, [("loss", float(step)), ("rate", 0.5)])
    lines = capsys.readouterr().out.split("\r")
    assert len(lines) == 4
    assert "2/3" in lines[2]
    assert "loss: 0.5000" in lines[2]  # the mean of 0 and 1
    assert "loss: 2.0000" in lines[3]  # the end shows what it is given
    assert "rate: 0.5000" in lines[3]
    assert lines[3].endswith("\n")


def test_other_progbars(capsys):
    utils.Progbar(3, verbose=0).update(3)
    assert not capsys.readouterr().out
    bar = utils.Progbar(2, verbose=2, unit_name="sample", stateless_metrics=["loss"])
    bar.update(1, [("loss", 1.0), ("other", 1.0)])
    assert not capsys.readouterr().out
    bar.update(2)
    out = capsys.readouterr().out
    assert out.startswith("2/2 ")
    assert "/sample" in out
    utils.Progbar(None).update(7, finalize=True)
    assert "7/Unknown" in capsys.readouterr().out
    with pytest.raises(ValueError, match="stateful_metrics"):
        utils.Progbar(1, stateful_metrics=[], stateless_metrics=[])
    with pytest.raises(ValueError, match="verbose"):
        utils.Progbar(1, verbose=3)


def test_split_dataset():
    x, y = np.arange(20, dtype=np.float32).reshape(10, 2), np.arange(10)
    left, right = utils.split_dataset((x, y), left_size=0.7)
    assert [int(left[i][1]) for i in range(len(left))] == list(range(7))
    assert [int(right[i][1]) for i in range(len(right))] == [7, 8, 9]
    left, right = utils.split_dataset(TensorDataset(x), left_size=2, right_size=3, preferred_backend="torch")
    assert (len(left), len(right)) == (2, 3)
    assert float(right[0][0][0]) == 14
    drawn = [utils.split_dataset(y, right_size=4, shuffle=True, seed=s)[0] for s in (1, 1, 2)]
    found = [[int(d[i][0]) for i in range(6)] for d in drawn]
    assert found[0] == found[1] != found[2]
    assert len(utils.split_dataset(y[:5], 0.3, 0.7)[1]) == 3
    batch = next(iter(DataLoader(left, batch_size=2)))
    assert batch[0].shape == (2, 2)


@pytest.mark.parametrize(
    ("kwargs", "names"),
    [
        ({}, "left_size, right_size"),
        ({"left_size": 1.5}, "left_size"),
        ({"right_size": 10}, "right_size"),
        ({"left_size": 6, "right_size": 6}, "left_size, right_size"),
        ({"left_size": 6, "preferred_backend": "tensorflow"}, "preferred_backend"),
    ],
)
def test_split_dataset_refuses(kwargs, names):
    with pytest.raises((ValueError, NotImplementedError), match=f"split_dataset: {names}"):
        utils.split_dataset(np.arange(10), **kwargs)


def test_split_dataset_takes_samples_only():
    pipeline = utils.timeseries_dataset_from_array(np.arange(10), None, 2)
    for dataset in (pipeline, {1: 2}.values()):
        with pytest.raises(TypeError, match="dataset"):
            utils.split_dataset(dataset, 0.5)


@pytest.mark.parametrize("order", [1, 2, np.inf])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_normalize(order, axis):
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    x[1] = 0
    norms = np.linalg.norm(x, order, axis, keepdims=True)
    wanted = x / np.where(norms == 0, 1, norms)
    found = utils.normalize(x, axis, order)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    np.testing.assert_allclose(utils.normalize(lamella.tensor(x), axis, order).numpy(), wanted, rtol=1e-5)


def test_normalize_refuses():
    np.testing.assert_allclose(utils.normalize([3, 4]), [0.6, 0.8])
    with pytest.raises(ValueError, match="axis"):
        utils.normalize([3, 4], axis=1)


def test_dtypes():
    assert [utils.standardize_dtype(d) for d in (None, "int32", np.float64, float, bool, int, lamella.float32)] == [
        "float32", "int32", "float64", "float32", "bool", "int64", "float32",
    ]  # fmt: skip
    for wrong in ("string", "nonsense", str, object):
        with pytest.raises(ValueError, match="dtype"):
            utils.standardize_dtype(wrong)


def test_clear_session():
    layers.Dense(2)
    utils.clear_session()
    assert layers.Dense(2).name == "dense"
    assert models.Sequential().name == "sequential"
    utils.clear_session(free_memory=False)
    assert layers.Dense(2).name == "dense"


def test_keras_tensors():
    assert utils.is_keras_tensor(layers.Input((2,)))
    assert not utils.is_keras_tensor(lamella.ones(2))


def test_images(tmp_path):
    pytest.importorskip("PIL")
    x = np.random.default_rng(0).integers(0, 256, (5, 4, 3)).astype(np.uint8)
    utils.save_img(tmp_path / "x.png", x, scale=False)
    found = utils.img_to_array(utils.load_img(tmp_path / "x.png"))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, x)
    assert utils.img_to_array(utils.array_to_img(x, scale=False), "channels_first", "uint8").shape == (3, 5, 4)
