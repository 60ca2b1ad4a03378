"""Convolution kernels against float64, candidate by candidate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference_conv as ref
from lamella import _cpu, kernels

FORWARD = ["igemm", "reference"]
DATA = ["igemm", "reference"]
WEIGHT = ["direct", "reference"]
EPS = {np.float32: np.finfo(np.float32).eps, np.float64: np.finfo(np.float64).eps}


def close(got, want, magnitude, length, dtype, slack=1.0):
    """Sums of `length` products: an error of eps per rounding that grows like sqrt(length), on values of the size of
    `magnitude` (the same sums of absolute values); 4 covers the tail of that distribution."""
    assert got.dtype == dtype and got.shape == want.shape
    bound = 4 * slack * EPS[dtype] * np.sqrt(length + 1) * (magnitude + 1e-30)
    assert np.all(np.abs(got - want) <= bound), f"{np.max(np.abs(got - want) / bound):.3g} times the bound"


class Case:
    """Random arrays for one geometry, and their float64 answers."""

    def __init__(self, seed, n, size, c, kernel, oc, stride=(1, 1), padding="valid", dilation=(1, 1), groups=1):
        rng = np.random.default_rng(seed)
        axes = (padding, padding) if isinstance(padding, str) else (tuple(padding[:2]), tuple(padding[2:]))
        self.given = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        self.truth = {**self.given, "padding": axes}
        self.x = rng.standard_normal((n, *size, c))
        self.w = rng.standard_normal((*kernel, c // groups, oc))
        self.bias = rng.standard_normal(oc)
        self.y = ref.conv2d(self.x, self.w, self.bias, **self.truth)
        self.dy = rng.standard_normal(self.y.shape)
        self.taps = kernel[0] * kernel[1]

    def can(self, run):
        try:
            return run()
        except ValueError as error:
            assert "an algorithm that can run" in str(error)
            return None

    def check_forward(self, algorithm, dtype=np.float32, slack=1.0):
        x, w, b = (a.astype(dtype) for a in (self.x, self.w, self.bias))
        y = self.can(lambda: kernels.conv2d(x, w, b, algorithm=algorithm, **self.given))
        if y is None:
            return False
        magnitude = ref.conv2d(np.abs(x), np.abs(w), np.abs(b), **self.truth)
        truth = ref.conv2d(x, w, b, **self.truth)
        close(y, truth, magnitude, self.taps * self.w.shape[2], dtype, slack)
        return True

    def check_data(self, algorithm, dtype=np.float32, slack=1.0):
        dy, w = self.dy.astype(dtype), self.w.astype(dtype)
        dx = self.can(lambda: kernels.conv2d_backward_data(dy, w, self.x.shape, algorithm=algorithm, **self.given))
        if dx is None:
            return False
        truth = ref.conv2d_backward(self.x, w, dy, **self.truth)[0]
        magnitude = ref.conv2d_backward(self.x, np.abs(w), np.abs(dy), **self.truth)[0]
        close(dx, truth, magnitude, self.taps * self.w.shape[3] // self.given["groups"], dtype, slack)
        return True

    def check_weight(self, algorithm, dtype=np.float32):
        x, dy = self.x.astype(dtype), self.dy.astype(dtype)
        dw = self.can(
            lambda: kernels.conv2d_backward_weight(x, dy, self.w.shape[:2], algorithm=algorithm, **self.given)
        )
        if dw is None:
            return False
        truth = ref.conv2d_backward(x, self.w, dy, **self.truth)[1]
        magnitude = ref.conv2d_backward(np.abs(x), self.w, np.abs(dy), **self.truth)[1]
        close(dw, truth, magnitude, int(np.prod(self.y.shape[:3])), dtype)
        return True


def cases(max_channels=40):
    small = st.integers(1, 3)

    @st.composite
    def build(draw):
        groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
        c = groups * draw(st.integers(1, max_channels // groups))
        oc = groups * draw(st.integers(1, max_channels // groups))
        kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
        dilation = (draw(st.sampled_from([1, 1, 2, 3])), draw(st.sampled_from([1, 1, 2, 3])))
        padding = draw(st.one_of(st.sampled_from(["same", "valid"]), st.tuples(*[st.integers(0, 3)] * 4)))
        size = []
        for axis in range(2):
            extent = (kernel[axis] - 1) * dilation[axis] + 1
            around = sum(padding[2 * axis : 2 * axis + 2]) if not isinstance(padding, str) else 0
            least = 1 if padding == "same" else max(1, extent - around)
            size.append(draw(st.integers(least, least + 9)))
        return Case(
            draw(st.integers(0, 99)),
            draw(small),
            size,
            c,
            kernel,
            oc,
            stride=(draw(small), draw(small)),
            padding=padding,
            dilation=dilation,
            groups=groups,
        )

    return build()


@pytest.mark.parametrize("algorithm", FORWARD)
@settings(max_examples=40, deadline=None)
@given(case=cases())
def test_forward(algorithm, case):
    case.check_forward(algorithm)


@pytest.mark.parametrize("algorithm", DATA)
@settings(max_examples=40, deadline=None)
@given(case=cases())
def test_backward_data(algorithm, case):
    case.check_data(algorithm)


@pytest.mark.parametrize("algorithm", WEIGHT)
@settings(max_examples=40, deadline=None)
@given(case=cases())
def test_backward_weight(algorithm, case):
    case.check_weight(algorithm)


@settings(max_examples=20, deadline=None)
@given(case=cases(max_channels=9))
def test_float64(case):
    for algorithm in FORWARD:
        case.check_forward(algorithm, np.float64)
    for algorithm in DATA:
        case.check_data(algorithm, np.float64)
    for algorithm in WEIGHT:
        case.check_weight(algorithm, np.float64)
