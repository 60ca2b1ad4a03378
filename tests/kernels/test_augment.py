"""Warps, colours and rectangles against NumPy in float64."""

import numpy as np
import pytest
import reference_augment as ref
from hypothesis import given, settings
from hypothesis import strategies as st

import lamella
from lamella import kernels as K

DTYPES = [np.float32, np.float64]
BORDERS = ["constant", "nearest", "reflect", "wrap"]
KEY = (77, 5)


def images(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def close(got, expected, dtype, scale=1.0):
    # float32: coordinates up to some hundred have errors of 1e-5, and neighbouring pixels differ by a few.
    np.testing.assert_allclose(got, expected, rtol=0, atol=scale * (2e-4 if dtype == np.float32 else 1e-11))


def matrices(rng, n, h, w, dtype):
    """Turned, zoomed, shifted: some far outside."""
    m = rng.uniform(-1.5, 1.5, (n, 2, 3))
    m[:, 0, 2] = rng.uniform(-w, 2 * w, n)
    m[:, 1, 2] = rng.uniform(-h, 2 * h, n)
    return m.astype(dtype)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 3), st.integers(1, 21), st.integers(1, 140), st.sampled_from([1, 2, 3, 4, 17, 33]),
    st.sampled_from(BORDERS), st.sampled_from(DTYPES), st.booleans(), st.integers(0, 2**31),
)  # fmt: skip
def test_bilinear_warps(n, h, w, c, border, dtype, other_size, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, h, w, c)).astype(dtype)
    m = matrices(rng, n, h, w, dtype)
    size = (int(rng.integers(1, 30)), int(rng.integers(1, 80))) if other_size else None
    got = K.affine_warp(x, m, size, border, 0.7)
    assert got.dtype == dtype and got.shape == (n, *(size or (h, w)), c)
    close(got, ref.affine_warp(x, m, size, border, 0.7), dtype)
    g = rng.standard_normal(got.shape).astype(dtype)
    back = K.affine_warp_backward(g, x, m, size, border, 0.7)
    # A pixel gathers from many: all of them where everything lies beyond the border.
    expected = ref.affine_warp_backward(g.astype(np.float64), x.shape, m, border)
    close(back, expected, dtype, 1 + np.abs(expected).max(initial=0))


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_nearest_warps(border, dtype):
    rng = np.random.default_rng(3)
    for h, w, c in ((7, 5, 3), (1, 1, 1), (30, 70, 1)):
        x = rng.standard_normal((4, h, w, c)).astype(dtype)
        # Multiples of 1/4, shifted by 1/8: all coordinates are exact, and none is halfway.
        m = np.round(rng.uniform(-1.5, 1.5, (4, 2, 3)) * 4) / 4
        m[..., 2] = np.round(rng.uniform(-60, 90, (4, 2))) + 0.125
        m = m.astype(dtype)
        got = K.affine_warp(x, m, None, border, -2.0, "nearest")
        np.testing.assert_array_equal(got, ref.affine_warp(x, m, None, border, -2.0, "nearest").astype(dtype))
        g = rng.standard_normal(x.shape).astype(dtype)
        expected = ref.affine_warp_backward(g.astype(np.float64), x.shape, m, border, "nearest")
        close(
            K.affine_warp_backward(g, x, m, None, border, -2.0, "nearest"), expected, dtype, 1 + np.abs(expected).max()
        )


@pytest.mark.parametrize("dtype", DTYPES)
def test_whole_steps_are_exact(dtype):
    x = images(1, 6, 70, 3, dtype=dtype)
    x[0, 2, 4], x[0, 3, 1] = np.nan, np.inf

    def warp(*m, **kwargs):
        return K.affine_warp(x, np.array(m, dtype).reshape(1, 2, 3), **kwargs)

    same = np.testing.assert_array_equal
    same(warp(1, 0, 0, 0, 1, 0), x)
    same(warp(-1, 0, 69, 0, 1, 0), x[:, :, ::-1])
    same(warp(1, 0, 0, 0, -1, 5), x[:, ::-1])
    same(warp(0, 1, 0, 1, 0, 0, size=(70, 6)), x.transpose(0, 2, 1, 3))
    same(warp(1, 0, 2, 0, 1, 1, size=(3, 60)), x[:, 1:4, 2:62])
    moved = np.full_like(x, 9)
    moved[:, 2:, 5:] = x[:, :-2, :-5]
    same(warp(1, 0, -5, 0, 1, -2, fill_value=9.0), moved)


def test_coordinates_that_are_none():
    x = images(1, 4, 5, 2)
    for bad in (np.nan, np.inf, -np.inf, 1e30):
        m = np.array([[[1, 0, bad], [0, 1, 0]]], np.float32)
        assert (K.affine_warp(x, m, fill_value=3.0) == 3).all()
        for border in BORDERS[1:]:  # something of the image, whatever it is
            assert np.isin(K.affine_warp(x, m, None, border, 0.0, "nearest"), x).all()


CASES = [
    {"rotation": (-3.0, 3.0)},
    {"zoom_height": (0.5, 1.5)},
    {"zoom_height": (0.5, 1.5), "zoom_width": 0.8},
    {"shift_height": (-0.5, 0.5), "shift_width": 0.25},
    {"flip_vertical": 0.5, "flip_horizontal": 0.3},
    {"rotation": 0.3, "zoom_height": 1.1, "shift_width": (-1.0, 1.0), "flip_horizontal": 1.0},
    {"crop": (5, 7), "flip_horizontal": 0.5, "flip_vertical": 0.5},
]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_random_affine(case, dtype):
    x = images(40, 9, 12, 3, dtype=dtype)
    m = ref.random_matrix(KEY, x.shape, **case)
    for border in BORDERS:
        got = K.random_affine(x, **case, fill_mode=border, fill_value=0.5, key=KEY)
        close(got, ref.affine_warp(x, m, case.get("crop"), border, 0.5), dtype)
        g = images(*got.shape, dtype=dtype, seed=1)
        back = K.random_affine_backward(g, x, **case, fill_mode=border, fill_value=0.5, key=KEY)
        expected = ref.affine_warp_backward(g.astype(np.float64), x.shape, m, border)
        close(back, expected, dtype, 1 + np.abs(expected).max())


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 3), st.integers(1, 20), st.integers(1, 40), st.sampled_from([1, 2, 3, 5, 16, 17, 40]),
    st.sampled_from(DTYPES), st.booleans(), st.booleans(),
)  # fmt: skip
def test_random_color(n, h, w, c, dtype, gray, cut):
    x = images(n, h, w, c, dtype=dtype)
    bounds = {"low": -0.5, "high": 0.75} if cut else {}
    kwargs = {"gain": (0.5, 2.0), "contrast": (0.2, 1.8), "offset": (-1.0, 1.0), "gray": gray, **bounds}
    got = K.random_color(x, **kwargs, key=KEY)
    # Means of up to 800 normal numbers and a few products of numbers up to 10.
    np.testing.assert_allclose(
        got, ref.random_color(KEY, x, **kwargs), rtol=0, atol=2e-5 if dtype == np.float32 else 1e-12
    )
    assert K.random_color(x, **kwargs, key=KEY, out=x) is x
    np.testing.assert_array_equal(x, got)


def test_colours_of_large_images():
    x = images(2, 300, 217, 3) + 100
    # float32 sums of 64 numbers of 100, then double: 1e-5 of 100.
    np.testing.assert_allclose(
        K.random_color(x, contrast=(0.1, 0.3), key=KEY),
        ref.random_color(KEY, x, contrast=(0.1, 0.3)),
        rtol=0,
        atol=1e-4,
    )


def test_colours_keep_nan():
    x = images(1, 3, 3, 1)
    x[0, 1, 1] = np.nan
    got = K.random_color(x, offset=0.5, low=0.0, high=1.0)
    assert np.isnan(got[0, 1, 1, 0]) and np.isnan(got).sum() == 1
    assert np.isnan(K.random_color(x, contrast=0.5, low=0.0, high=1.0)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("aspect", [None, (0.3, 3.3)])
@pytest.mark.parametrize("value", [None, 2.0, [1.0, 2.0, 3.0]])
def test_random_erasing(dtype, aspect, value):
    x = images(30, 11, 14, 3, dtype=dtype)
    kwargs = {"probability": (0.2, 0.9), "area": (0.0, 0.6), "aspect": aspect}
    cut = ref.rectangles(KEY, x.shape, **kwargs)
    assert 0 < cut.any((1, 2)).sum() < 30
    got = K.random_erasing(x, **kwargs, value=value, key=KEY)
    expected = np.where(cut[..., None], np.broadcast_to(np.asarray(value or 0.0, dtype), x.shape), x)
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(K.random_erasing_backward(x, x, **kwargs, value=value, key=KEY), x * ~cut[..., None])


@pytest.mark.parametrize("dtype", DTYPES)
def test_noise_of_rectangles(dtype):
    x = images(60, 20, 31, 3, dtype=dtype)
    cut = ref.rectangles(KEY, x.shape, area=(0.1, 1.0))
    got = K.random_erasing(x, area=(0.1, 1.0), noise=3.0, key=KEY)
    np.testing.assert_array_equal(got[~cut], x[~cut])
    noise = got[cut]
    # Five standard errors of the mean and the deviation of n numbers.
    n = noise.size
    assert abs(noise.mean()) < 15 / np.sqrt(n) and abs(noise.std() - 3) < 15 / np.sqrt(2 * n)
    assert len(np.unique(noise)) > 0.99 * n
    # A pixel's noise does not depend on its rectangle.
    whole = K.random_erasing(x, area=1.0, noise=3.0, key=KEY)
    np.testing.assert_array_equal(noise, whole[cut])


def test_bits_do_not_depend_on_threads():
    x = images(33, 40, 37, 3)
    runs = []
    for threads in (1, 2):
        lamella.set_num_threads(threads)
        runs.append([
            K.random_affine(x, rotation=(-1.0, 1.0), fill_mode="reflect", key=KEY),
            K.random_affine_backward(x, x, rotation=(-1.0, 1.0), fill_mode="reflect", key=KEY),
            K.random_color(x, contrast=(0.5, 1.5), key=KEY),
            K.random_erasing(x, noise=1.0, key=KEY),
        ])  # fmt: skip
    for a, b in zip(*runs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_image_draws_the_same_in_any_batch():
    x = images(20, 8, 8, 3)
    for fn, kwargs in (
        (K.random_affine, {"rotation": (-1.0, 1.0)}),
        (K.random_color, {"contrast": (0.5, 1.5)}),
        (K.random_erasing, {"noise": 1.0}),
    ):
        np.testing.assert_array_equal(fn(x[:7], **kwargs, key=KEY), fn(x, **kwargs, key=KEY)[:7])
        lamella.seed(1)
        first = fn(x, **kwargs), fn(x, **kwargs)
        lamella.seed(1)
        np.testing.assert_array_equal(first[0], fn(x, **kwargs))
        assert (first[0] != first[1]).any()
