"""lamella.transforms: arrays, batches, tensors, uint8 and floats."""

import numpy as np
import pytest

import lamella
from lamella import transforms as T

rng = np.random.default_rng(0)
IMAGE = rng.integers(0, 256, (9, 12, 3)).astype(np.uint8)
BATCH = rng.integers(0, 256, (5, 9, 12, 3)).astype(np.uint8)


@pytest.fixture(autouse=True)
def _seed():
    lamella.seed(3)


def seeded(t, img):
    lamella.seed(3)
    return t(img)


EXACT = [
    T.RandomHorizontalFlip(), T.RandomVerticalFlip(1.0), T.RandomCrop(4), T.RandomCrop((4, 6), padding=2),
    T.RandomRotation(30), T.CenterCrop((5, 6)), T.Pad((1, 2)), T.RandomErasing(1.0, value=3),
    T.RandomAffine(10, (0.1, 0.2), (0.8, 1.2), 5), T.Resize((18, 24), "nearest"),
]  # fmt: skip


@pytest.mark.parametrize("t", EXACT, ids=lambda t: type(t).__name__)
def test_layouts_agree(t):
    whole = seeded(t, IMAGE)
    assert whole.dtype == np.uint8 and whole.ndim == 3
    batch = seeded(t, IMAGE[None])
    np.testing.assert_array_equal(batch[0], whole)
    gray = seeded(t, IMAGE[..., 0])
    assert gray.ndim == 2
    np.testing.assert_array_equal(gray, whole[..., 0])
    tensor = seeded(t, lamella.tensor(IMAGE.transpose(2, 0, 1)))
    np.testing.assert_array_equal(tensor.numpy(), whole.transpose(2, 0, 1))
    floats = seeded(t, IMAGE.astype(np.float64))
    assert floats.dtype == np.float64
    np.testing.assert_array_equal(floats, whole)
    np.testing.assert_array_equal(seeded(t, IMAGE), whole)


def test_each_image_of_a_batch_is_changed_in_its_own_way():
    flipped = T.RandomHorizontalFlip()(np.repeat(IMAGE[None], 40, 0))
    turned = (flipped == IMAGE[:, ::-1]).all((1, 2, 3))
    assert 0 < turned.sum() < 40 and (flipped[~turned] == IMAGE).all()


def test_the_usual_chain():
    normalize = T.Normalize((0.5, 0.4, 0.3), (0.2, 0.2, 0.1))
    chain = T.Compose([T.RandomCrop(8, padding=1), T.RandomHorizontalFlip(), T.ToTensor(), normalize])
    got = chain(IMAGE)
    assert isinstance(got, lamella.Tensor) and got.shape == (3, 8, 8) and got.dtype == np.float32
    assert repr(chain).startswith("Compose([RandomCrop(")
    plain = T.Compose([T.ToTensor(), normalize])(IMAGE).numpy()
    expected = (IMAGE / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.2, 0.1]
    np.testing.assert_allclose(plain, expected.transpose(2, 0, 1), atol=1e-5)
    np.testing.assert_allclose(T.Normalize([0.5], [2])(IMAGE / 255), (IMAGE / 255 - 0.5) / 2)
    own = IMAGE.astype(np.float32)
    assert T.Normalize([1], [2], inplace=True)(own) is own and own[0, 0, 0] == (IMAGE[0, 0, 0] - 1) / 2
    assert T.ToTensor()(IMAGE[..., 0]).shape == (1, 9, 12) and T.ToTensor()(BATCH).shape == (5, 3, 9, 12)
    assert T.ToTensor()(IMAGE.astype(np.float32)).numpy().max() > 1  # floats are not scaled


def test_rotations():
    square = IMAGE[:, :9]
    np.testing.assert_array_equal(T.RandomRotation((90, 90))(square), np.rot90(square))  # counterclockwise
    np.testing.assert_array_equal(T.RandomAffine((90, 90))(square), np.rot90(square, -1))  # clockwise
    corner = T.RandomRotation((180, 180), center=(0, 0), fill=9)(square)
    assert (corner == 9).all()
    grown = T.RandomAffine(0, scale=(3, 3))(square)
    np.testing.assert_array_equal(grown, square[3:6, 3:6].repeat(3, 0).repeat(3, 1))
    sheared = T.RandomAffine(0, shear=(45, 45))(square)
    np.testing.assert_array_equal(sheared[4], square[4])
    np.testing.assert_array_equal(sheared[5, :-1], square[5, 1:])  # one row down, one pixel to the left


def test_sizes():
    assert T.Resize(6)(IMAGE).shape == (6, 8, 3) and T.Resize(6, max_size=7)(IMAGE).shape == (5, 7, 3)
    assert T.Resize((30, 40))(IMAGE).shape == (30, 40, 3) and T.RandomResizedCrop(7)(BATCH).shape == (5, 7, 7, 3)
    steps = np.zeros((8, 8), np.float64)
    steps[::2] = 1
    np.testing.assert_allclose(T.Resize((2, 8))(steps)[:, 3], 0.5, atol=0.13)  # averages
    np.testing.assert_allclose(T.Resize((2, 8), antialias=False)(steps)[:, 3], [0.5, 0.5])
    ramp = np.arange(64.0)[:, None] * np.ones(8)
    np.testing.assert_allclose(T.Resize((16, 8))(ramp)[2:-2, 0], np.arange(64).reshape(16, 4).mean(1)[2:-2])
    np.testing.assert_array_equal(T.CenterCrop(5)(IMAGE), IMAGE[2:7, 4:9])
    big = T.CenterCrop((11, 4))(IMAGE)
    assert big.shape == (11, 4, 3) and (big[0] == 0).all()
    assert T.RandomCrop(20, pad_if_needed=True)(IMAGE).shape == (20, 20, 3)


def test_colours():
    np.testing.assert_allclose(T.ColorJitter(brightness=(0.5, 0.5))(IMAGE), np.round(IMAGE * 0.5), atol=1)
    x = IMAGE / 255.0
    gray = x @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(T.ColorJitter(saturation=(0, 0))(x), np.repeat(gray[..., None], 3, -1))
    np.testing.assert_allclose(T.ColorJitter(contrast=(0, 0))(x), gray.mean(), atol=1e-9)
    np.testing.assert_allclose(T.ColorJitter(contrast=(2, 2))(x), np.clip(2 * x - gray.mean(), 0, 1))
    np.testing.assert_array_equal(T.ColorJitter()(IMAGE), IMAGE)
    assert T.Grayscale()(IMAGE).shape == (9, 12, 1) and T.Grayscale(3)(IMAGE).shape == (9, 12, 3)


def test_erasing_and_choices():
    got = T.RandomErasing(1.0, (0.2, 0.2), (1, 1), value=[1, 2, 3])(np.zeros((20, 20, 3), np.uint8))
    assert (got != 0).all(-1).sum() == 81 and set(map(tuple, got[got.any(-1)])) == {(1, 2, 3)}
    noise = T.RandomErasing(1.0, value="random")(np.zeros((20, 20, 3)))
    assert len(np.unique(noise)) > 20
    assert (T.RandomApply([T.Lambda(lambda v: v + 1)], 1.0)(np.zeros(2)) == 1).all()
    assert (T.RandomApply([T.Lambda(lambda v: v + 1)], 0.0)(np.zeros(2)) == 0).all()


@pytest.mark.parametrize(
    "make,error,text",
    [
        (lambda: T.RandomCrop(0), ValueError, "RandomCrop: size"),
        (lambda: T.RandomCrop(10)(IMAGE), ValueError, "expected at most"),
        (lambda: T.RandomHorizontalFlip(2), ValueError, "RandomHorizontalFlip: p"),
        (lambda: T.Pad((1, 2, 3)), ValueError, "padding"),
        (lambda: T.Pad(1, padding_mode="x"), ValueError, "padding_mode"),
        (lambda: T.Normalize([0], [0]), ValueError, "std"),
        (lambda: T.Normalize([0, 1], [1, 1])(IMAGE / 255), ValueError, "a number for each channel"),
        (lambda: T.Normalize([0], [1])(IMAGE), TypeError, "use ToTensor before"),
        (lambda: T.Resize(5, "bicubic"), NotImplementedError, "interpolation"),
        (lambda: T.Resize((5, 5), max_size=9), ValueError, "max_size"),
        (lambda: T.RandomRotation(30, expand=True), NotImplementedError, "expand"),
        (lambda: T.RandomRotation(-30), ValueError, "degrees"),
        (lambda: T.ColorJitter(hue=0.1), NotImplementedError, "hue"),
        (lambda: T.RandomErasing(inplace=True), NotImplementedError, "inplace"),
        (lambda: T.RandomErasing(value="x"), ValueError, "value"),
        (lambda: T.CenterCrop(3)(np.zeros(3)), ValueError, "expected an image"),
        (lambda: T.CenterCrop(3)(np.zeros((3, 3), int)), TypeError, "uint8 or floats"),
        (lambda: T.ToTensor()(np.zeros(3)), ValueError, "expected an image"),
        (lambda: T.Grayscale(2), ValueError, "1 or 3"),
        (lambda: T.Lambda(3), TypeError, "expected a function"),
    ],
)
def test_refused(make, error, text):
    with pytest.raises(error, match=text):
        make()
