"""Data sets from directories, pipelines, and Keras' older image functions."""

import os
import tarfile

import numpy as np
import pytest

import lamella
from lamella import layers, models, utils
from lamella.preprocessing import image as old
from lamella.utils import Pipeline, image_dataset_from_directory, text_dataset_from_directory

CIFAR = os.path.join(os.environ.get("LAMELLA_TEST_DATA", "nowhere"), "cifar10-jpeg.tar.xz")


@pytest.fixture
def texts(tmp_path):
    for name, count in (("good", 5), ("bad", 3)):
        (tmp_path / name).mkdir()
        for i in range(count):
            (tmp_path / name / f"{i}.txt").write_text(f"{name} text {i}")
    (tmp_path / "good" / "other.md").write_text("no")
    (tmp_path / ".hidden").mkdir()
    return tmp_path


def test_texts(texts, capsys):
    made = text_dataset_from_directory(texts, batch_size=3, shuffle=False)
    assert capsys.readouterr().out == "Found 8 files belonging to 2 classes.\n"
    batches = list(made)
    assert made.class_names == ["bad", "good"] and len(made) == 3
    assert batches[0][0] == ["bad text 0", "bad text 1", "bad text 2"] and batches[0][1].tolist() == [0, 0, 0]
    assert batches[1][1].dtype == np.int32 and [os.path.basename(f) for f in made.file_paths[:2]] == ["0.txt", "1.txt"]
    made = text_dataset_from_directory(
        texts, label_mode="categorical", class_names=["good", "bad"], max_length=4, verbose=False, shuffle=False
    )
    assert next(iter(made))[1].tolist() == [[1, 0]] * 5 + [[0, 1]] * 3 and next(iter(made))[0][0] == "good"
    binary = next(iter(text_dataset_from_directory(texts, label_mode="binary", verbose=False, shuffle=False)))[1]
    assert binary.shape == (8, 1) and binary.dtype == np.float32
    assert next(iter(text_dataset_from_directory(texts, labels=None, verbose=False, shuffle=False)))[0] == "bad text 0"
    given = text_dataset_from_directory(texts, labels=list(range(8)), verbose=False, shuffle=False, batch_size=None)
    assert next(iter(given))[0] == "bad text 0" and len(given) == 8


def test_orders_and_splits(texts):
    def read(**kwargs):
        return text_dataset_from_directory(texts, verbose=False, batch_size=2, **kwargs)

    made = read(seed=1)
    first, second = ([t for x, _ in made for t in x] for _ in range(2))
    assert sorted(first) == sorted(second) and first != second
    assert first == [t for x, _ in read(seed=1) for t in x]
    for x, y in made:
        assert [t.startswith("good") for t in x] == (y.numpy() == 1).tolist()
    train, validation = read(seed=2, validation_split=0.25, subset="both")
    parts = [{t for x, _ in p for t in x} for p in (train, validation)]
    assert len(parts[0]) == 6 and len(parts[1]) == 2 and not parts[0] & parts[1]
    alone = {t for x, _ in read(seed=2, validation_split=0.25, subset="validation") for t in x}
    assert alone == parts[1]


@pytest.mark.parametrize(
    "kwargs,text",
    [
        ({"labels": "x"}, "labels: expected"),
        ({"labels": [1, 2]}, "expected 8 integers"),
        ({"label_mode": "x"}, "label_mode"),
        ({"class_names": ["good"]}, "class_names"),
        ({"labels": None, "class_names": ["good"]}, "class_names"),
        ({"validation_split": 0.5}, "both or neither"),
        ({"validation_split": 1.5, "subset": "training"}, "validation_split"),
        ({"validation_split": 0.5, "subset": "test"}, "subset"),
        ({"validation_split": 0.5, "subset": "training"}, "seed: expected one"),
        ({"validation_split": 0.01, "subset": "validation", "seed": 1}, "for validation"),
        ({"batch_size": 0}, "batch_size"),
        ({"max_length": 0}, "max_length"),
    ],
)
def test_refused(texts, kwargs, text):
    with pytest.raises(ValueError, match=text):
        text_dataset_from_directory(texts, verbose=False, **kwargs)
    with pytest.raises(FileNotFoundError, match="expected an existing directory"):
        text_dataset_from_directory(texts / "none")


def test_pipelines():
    made = Pipeline(lambda: iter([(np.arange(2), np.zeros(2)), (np.arange(2, 4), np.ones(2))]), 2)
    doubled = made.map(lambda x, y: (x * 2, y))
    assert [x.tolist() for x, _ in doubled] == [[0, 2], [4, 6]] and len(doubled) == 2
    for n in (2, utils.AUTOTUNE):
        assert [x.tolist() for x, _ in made.map(lambda x, y: (x * 2, y), n)] == [[0, 2], [4, 6]]
    assert [x.tolist() for x, _ in made.prefetch(utils.AUTOTUNE)] == [[0, 1], [2, 3]]
    assert len(list(made.repeat(3))) == len(made.repeat(3)) == 6 and len(list(made.take(1))) == 1
    assert [int(x) for x, _ in made.unbatch()] == [0, 1, 2, 3] and len(list(made.skip(1))) == 1
    counted = []
    cached = made.map(lambda x, y: counted.append(1) or x).cache()
    assert [x.tolist() for x in cached] == [x.tolist() for x in cached] and len(counted) == 2
    many = Pipeline(lambda: iter(range(30)), 30)
    assert sorted(many.shuffle(10, seed=1)) == list(range(30)) != list(many.shuffle(10, seed=1))
    assert next(many.shuffle(10, seed=1).as_numpy_iterator()) < 10
    assert isinstance(next(Pipeline(lambda: iter([lamella.zeros(2)])).as_numpy_iterator()), np.ndarray)
    with pytest.raises(TypeError, match="length"):
        len(made.unbatch())
    for call in (lambda: made.prefetch(0), lambda: made.map(len, -3), lambda: made.shuffle(0)):
        with pytest.raises(ValueError, match="expected a positive integer"):
            call()

    def broken(x, y):
        raise KeyError("bad batch")

    for p in (made.map(broken), made.map(broken, 2), made.map(broken).prefetch(1)):
        with pytest.raises(KeyError, match="bad batch"):
            list(p)


def test_a_text_classifier(texts):
    words = layers.TextVectorization(output_mode="multi_hot")
    made = text_dataset_from_directory(texts, batch_size=4, seed=0, verbose=False)
    words.adapt(made.map(lambda x, y: x))
    lamella.seed(0)
    model = models.Sequential([layers.Dense(1, activation="sigmoid", input_shape=(words.vocabulary_size(),))])
    model.compile(lamella.optimizers.Adam(0.1), "binary_crossentropy", metrics=["accuracy"])
    ready = made.map(lambda x, y: (words(x), y.numpy().astype(np.float32)[:, None])).cache().prefetch()
    assert model.fit(ready, epochs=12, verbose=0).history["accuracy"][-1] == 1
    assert model.evaluate(ready, verbose=0)[1] == 1


# --- images ---


@pytest.fixture
def pictures(tmp_path):
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    pixels = {}
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(3):
            pixels[name, i] = rng.integers(0, 256, (6 + i, 8, 3)).astype(np.uint8)
            image.fromarray(pixels[name, i]).save(tmp_path / name / f"{i}.png")
    return tmp_path, pixels


def test_images(pictures):
    path, pixels = pictures
    made = image_dataset_from_directory(path, image_size=(6, 8), batch_size=4, shuffle=False, verbose=False)
    (x, y), (x2, _) = made
    assert x.shape == (4, 6, 8, 3) and x.dtype == np.float32 and y.tolist() == [0, 0, 0, 1] and len(x2) == 2
    np.testing.assert_array_equal(x[0].numpy(), pixels["a", 0])
    np.testing.assert_allclose(x[1].numpy(), layers.Resizing(6, 8)(pixels["a", 1]).numpy(), rtol=1e-6)
    cut = image_dataset_from_directory(path, image_size=(4, 8), batch_size=None, shuffle=False, verbose=False,
                                       crop_to_aspect_ratio=True, color_mode="grayscale", label_mode=None)  # fmt: skip
    first = next(iter(cut))
    assert first.shape == (4, 8, 1)
    expected = np.round(pixels["a", 0][1:5] @ [0.299, 0.587, 0.114])
    np.testing.assert_allclose(first[..., 0].numpy(), expected, atol=1)
    assert next(iter(image_dataset_from_directory(path, image_size=4, color_mode="rgba", verbose=False)))[0].shape == (
        6, 4, 4, 4)  # fmt: skip
    (path / "a" / "3.png").write_bytes(b"no image")
    with pytest.raises(OSError, match=r"3\.png: expected an image file"):
        list(image_dataset_from_directory(path, shuffle=False, verbose=False, image_size=4))
    for kwargs in ({"color_mode": "x"}, {"image_size": (1, 2, 3)}):
        with pytest.raises(ValueError, match=next(iter(kwargs))):
            image_dataset_from_directory(path, **kwargs)
    with pytest.raises(NotImplementedError, match="interpolation"):
        image_dataset_from_directory(path, interpolation="bicubic")


def test_older_functions(pictures, tmp_path):
    path, pixels = pictures
    img = old.load_img(path / "a" / "0.png")
    np.testing.assert_array_equal(old.img_to_array(img), pixels["a", 0])
    assert old.img_to_array(img, "channels_first").shape == (3, 6, 8)
    assert old.load_img(path / "a" / "0.png", "grayscale", (3, 5)).size == (5, 3)
    assert old.load_img(path / "a" / "0.png", target_size=(4, 4), keep_aspect_ratio=True).size == (4, 4)
    old.save_img(tmp_path / "s.png", pixels["a", 0], scale=False)
    np.testing.assert_array_equal(old.img_to_array(old.load_img(tmp_path / "s.png")), pixels["a", 0])
    spread = old.img_to_array(old.array_to_img(np.linspace(0, 1, 12).reshape(3, 4, 1)))
    assert spread.min() == 0 and spread.max() == 255
    with pytest.raises(ValueError, match="color_mode"):
        old.load_img(path / "a" / "0.png", "x")
    with pytest.raises(ValueError, match="channels"):
        old.array_to_img(np.zeros((2, 2, 2)))


@pytest.mark.skipif(not os.path.exists(CIFAR), reason="the images are not here")
def test_real_images(tmp_path):
    pytest.importorskip("PIL")
    with tarfile.open(CIFAR) as f:
        found = 0
        for member in f:
            if member.name.endswith((".jpg", ".jpeg")):
                name = "/".join(member.name.split("/")[-2:])
                (tmp_path / name).parent.mkdir(exist_ok=True)
                (tmp_path / name).write_bytes(f.extractfile(member).read())
                found += 1
                if found == 40:
                    break
    made = image_dataset_from_directory(tmp_path, image_size=(32, 32), verbose=False)
    x, _ = next(iter(made))
    assert x.shape == (32, 32, 32, 3) and 30 < x.numpy().mean() < 225
