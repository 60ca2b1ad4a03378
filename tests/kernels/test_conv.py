"""Convolution kernels against float64, candidate by candidate."""

from __future__ import annotations

import numpy as np
import pytest
import reference_conv as ref
from hypothesis import given, settings
from hypothesis import strategies as st

from lamella import _cpu, kernels

FORWARD = ["depthwise", "grouped", "small_channels", "winograd4", "winograd2", "winograd_stride2", "igemm", "reference"]
DATA = FORWARD
WEIGHT = ["depthwise", "grouped", "small_channels", "winograd4", "winograd_stride2", "direct", "reference"]
LANES = {"portable": 4, "avx2": 8, "avx512": 16}[_cpu.isa()]
EPS = {np.float32: np.finfo(np.float32).eps, np.float64: np.finfo(np.float64).eps}


def close(got, want, magnitude, length, dtype):
    """Sums of `length` products: an error of eps per rounding that grows like sqrt(length), on values of the size of
    `magnitude` (the same sums of absolute values); 4 covers the tail of that distribution."""
    assert got.dtype == dtype and got.shape == want.shape
    bound = 4 * EPS[dtype] * np.sqrt(length + 1) * (magnitude + 1e-30)
    assert np.all(np.abs(got - want) <= bound), f"{np.max(np.abs(got - want) / bound):.3g} times the bound"


def magnitude_of(algorithm, magnitude):
    """Winograd mixes the pixels of a tile (or the taps of a kernel), so its error follows the largest of them; its
    transforms add up to some four times the rounding of plain sums."""
    return 4 * np.max(magnitude, initial=0.0) if algorithm.startswith("winograd") else magnitude


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

    def check_forward(self, algorithm, dtype=np.float32):
        x, w, b = (a.astype(dtype) for a in (self.x, self.w, self.bias))
        y = self.can(lambda: kernels.conv2d(x, w, b, algorithm=algorithm, **self.given))
        if y is None:
            return False
        magnitude = ref.conv2d(np.abs(x), np.abs(w), np.abs(b), **self.truth)
        truth = ref.conv2d(x, w, b, **self.truth)
        close(y, truth, magnitude_of(algorithm, magnitude), self.taps * self.w.shape[2], dtype)
        return True

    def check_data(self, algorithm, dtype=np.float32):
        dy, w = self.dy.astype(dtype), self.w.astype(dtype)
        dx = self.can(lambda: kernels.conv2d_backward_data(dy, w, self.x.shape, algorithm=algorithm, **self.given))
        if dx is None:
            return False
        truth = ref.conv2d_backward(self.x, w, dy, **self.truth)[0]
        magnitude = ref.conv2d_backward(self.x, np.abs(w), np.abs(dy), **self.truth)[0]
        length = self.taps * self.w.shape[3] // self.given["groups"]
        close(dx, truth, magnitude_of(algorithm, magnitude), length, dtype)
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
        close(dw, truth, magnitude_of(algorithm, magnitude), int(np.prod(self.y.shape[:3])), dtype)
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


def cases_3x3(stride=1):
    @st.composite
    def build(draw):
        padding = draw(st.one_of(st.sampled_from(["same", "valid"]), st.tuples(*[st.integers(0, 3)] * 4)))
        size = (draw(st.integers(3, 20)), draw(st.integers(3, 20)))
        channels = st.integers(1, 70)
        return Case(
            draw(st.integers(0, 99)),
            draw(st.integers(1, 3)),
            size,
            draw(channels),
            (3, 3),
            draw(channels),
            stride=(stride, stride),
            padding=padding,
        )

    return build()


@pytest.mark.cpu
@pytest.mark.parametrize("algorithm", ["winograd4", "winograd2"])
@settings(max_examples=30, deadline=None)
@given(case=cases_3x3())
def test_winograd(algorithm, case):
    assert case.check_forward(algorithm)
    assert case.check_data(algorithm)


@pytest.mark.cpu
@settings(max_examples=40, deadline=None)
@given(case=cases_3x3())
def test_winograd_weight(case):
    assert case.check_weight("winograd4")


@pytest.mark.cpu
@settings(max_examples=60, deadline=None)
@given(case=cases_3x3(stride=2))
def test_winograd_stride2(case):
    assert case.check_forward("winograd_stride2")
    assert case.check_data("winograd_stride2")
    assert case.check_weight("winograd_stride2")


@pytest.mark.cpu
@pytest.mark.parametrize(
    ("n", "size", "c", "oc"),
    [(3, 40, 70, 65), (2, 33, 33, 160), (1, 9, 400, 96), (1, 3, 7, 520)],  # several blocks of tiles, strips of columns
)
def test_winograd_weight_in_blocks(n, size, c, oc):
    assert Case(0, n, (size, size + 1), c, (3, 3), oc, padding="same").check_weight("winograd4")
    strided = Case(0, n, (2 * size, 2 * size + 1), c, (3, 3), oc, stride=(2, 2), padding="same")
    assert strided.check_weight("winograd_stride2")


@pytest.mark.cpu
@pytest.mark.parametrize(("n", "size", "c", "oc"), [(1, 14, 150, 70), (2, 7, 65, 97), (1, 3, 64, 33), (3, 9, 300, 40)])
def test_winograd_of_few_tiles(n, size, c, oc):
    """Large weights are transformed in blocks, by the task that needs them."""
    case = Case(0, n, (size, size + 1), c, (3, 3), oc, padding="same")
    for algorithm in ("winograd2", "winograd4"):
        assert case.check_forward(algorithm)
        assert case.check_data(algorithm)
    strided = Case(0, n, (2 * size, 2 * size + 1), c, (3, 3), oc, stride=(2, 2), padding="same")
    assert strided.check_forward("winograd_stride2")
    assert strided.check_data("winograd_stride2")


@pytest.mark.cpu
@pytest.mark.parametrize("algorithm", ["winograd4", "winograd2", "winograd_stride2"])
@pytest.mark.parametrize("low", [-1.0, 0.0])  # also all positive, as after ReLU: large means cancel in the transforms
@pytest.mark.parametrize(
    ("n", "size", "c", "oc"), [(2, 28, 64, 64), (1, 14, 512, 64), (8, 13, 32, 96), (40, 32, 40, 33)]
)
def test_winograd_error_is_below_2e5_of_the_scale(algorithm, low, n, size, c, oc):
    rng = np.random.default_rng(0)
    step = 2 if algorithm == "winograd_stride2" else 1
    x = rng.uniform(low, 1, (n, size, size, c)).astype(np.float32)
    w = rng.standard_normal((3, 3, c, oc)).astype(np.float32)
    out = -(-size // step)
    dy = rng.uniform(low, 1, (n, out, out, oc)).astype(np.float32)
    given = {"stride": (step, step), "padding": ((1, 1), (1, 1))}
    truth = ref.conv2d(x, w, **given)
    truth_dx, truth_dw = ref.conv2d_backward(x, w, dy, **given)[:2]
    given = {"stride": step, "padding": 1, "algorithm": algorithm}
    y = kernels.conv2d(x, w, **given)
    dx = kernels.conv2d_backward_data(dy, w, x.shape, **given)
    assert np.abs(y - truth).max() <= 2e-5 * np.abs(truth).max()
    assert np.abs(dx - truth_dx).max() <= 2e-5 * np.abs(truth_dx).max()
    if algorithm != "winograd2":
        dw = kernels.conv2d_backward_weight(x, dy, (3, 3), **given)
        assert np.abs(dw - truth_dw).max() <= 5e-6 * np.abs(truth_dw).max()


@pytest.mark.cpu
@pytest.mark.parametrize("stride", [1, 2])
def test_strict_precision_keeps_plain_sums(stride):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 32, 32, 64)).astype(np.float32)
    w = rng.standard_normal((3, 3, 64, 64)).astype(np.float32)
    dy = rng.standard_normal((2, 32 // stride, 32 // stride, 64)).astype(np.float32)

    def run(algorithm=("auto", "auto", "auto")):
        return (
            kernels.conv2d(x, w, stride=stride, padding=1, algorithm=algorithm[0]),
            kernels.conv2d_backward_data(dy, w, x.shape, stride=stride, padding=1, algorithm=algorithm[1]),
            kernels.conv2d_backward_weight(x, dy, (3, 3), stride=stride, padding=1, algorithm=algorithm[2]),
        )

    plain = run(("igemm", "igemm", "direct"))
    before = _cpu.strict_precision()
    try:
        _cpu.set_strict_precision(True)
        strict = run()
        _cpu.set_strict_precision(False)
        fast = run()
    finally:
        _cpu.set_strict_precision(before)
    for a, b, c in zip(strict, plain, fast, strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.any(c != b)  # Winograd is what this shape gets otherwise


THREADED = [
    # n, size, c, kernel, oc, stride, groups
    (1, (57, 57), 64, (3, 3), 64, 1, 1),
    (1, (20, 20), 256, (3, 3), 256, 1, 1),
    (16, (9, 9), 32, (3, 3), 64, 1, 1),
    (4, (28, 28), 1, (3, 3), 32, 1, 1),
    (2, (64, 64), 3, (7, 7), 64, 2, 1),
    (2, (33, 33), 48, (3, 3), 48, 2, 48),
    (2, (33, 33), 32, (5, 5), 64, 2, 4),
    (2, (31, 33), 48, (3, 3), 48, 1, 24),
    (4, (39, 41), 40, (3, 3), 72, 2, 1),
    (2, (40, 40), 64, (1, 1), 96, 1, 1),
]


@pytest.mark.cpu
@pytest.mark.parametrize("case", THREADED)
def test_threads_do_not_change_a_bit(case):
    n, size, c, kernel, oc, stride, groups = case
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, *size, c)).astype(np.float32)
    w = rng.standard_normal((*kernel, c // groups, oc)).astype(np.float32)
    bias = rng.standard_normal(oc).astype(np.float32)
    attrs = {"stride": stride, "padding": "same", "groups": groups, "activation": "relu"}
    op = _cpu.Op("conv2d", attrs)
    results = []
    before = _cpu.num_threads()
    try:
        for threads in (1, 2, 3):
            _cpu.set_num_threads(threads)
            outputs, saved = op.forward([x, w, bias], True)
            dy = np.random.default_rng(1).standard_normal(outputs[0].shape).astype(np.float32)
            results.append([*outputs, *op.backward([x, w, bias], outputs, saved, [dy], [True] * 3)])
    finally:
        _cpu.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@st.composite
def special_cases(draw):
    """Shapes for the kernels of depthwise convolutions, groups of few channels and few input channels."""
    kind = draw(st.integers(0, 2))
    if kind == 0:
        c = groups = draw(st.integers(2, 40))
        oc = c * draw(st.integers(1, 3))
    elif kind == 1:
        groups = draw(st.integers(2, 21))
        c, oc = groups * draw(st.sampled_from([1, 2, 2, 3, 4, 8])), groups * draw(st.sampled_from([1, 2, 2, 3, 4, 8]))
    else:
        c, groups, oc = draw(st.integers(1, 4)), 1, draw(st.integers(1, 70))
    kernel = (draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    dilation = (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
    padding = draw(st.one_of(st.sampled_from(["same", "valid"]), st.tuples(*[st.integers(0, 4)] * 4)))
    size = [draw(st.integers((k - 1) * d + 1, (k - 1) * d + 30)) for k, d in zip(kernel, dilation, strict=True)]
    stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    return Case(
        draw(st.integers(0, 99)),
        draw(st.integers(1, 3)),
        size,
        c,
        kernel,
        oc,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )


@pytest.mark.cpu
@settings(max_examples=80, deadline=None)
@given(case=special_cases())
def test_special_kernels(case):
    if case.given["groups"] > 1:
        runs = {case.check_forward("grouped"), case.check_data("grouped"), case.check_weight("grouped")}
        channels = max(case.x.shape[3], case.y.shape[3]) // case.given["groups"]
        assert runs == {2 * channels <= LANES}
    if case.given["groups"] == case.x.shape[3] > 1:
        assert case.check_forward("depthwise")
        assert case.check_data("depthwise")
        assert case.check_weight("depthwise")
    if case.given["groups"] == 1 and case.given["dilation"][1] == 1:
        assert case.check_forward("small_channels")
        assert case.check_weight("small_channels")
        assert case.check_data("small_channels")
    assert case.check_data("auto")  # few channels also with a dilation that forward's kernel does not take


@pytest.mark.cpu
@pytest.mark.parametrize("oc", [1, 4, 7, 16, 33, 48, 65])
@pytest.mark.parametrize(
    ("size", "stride", "padding", "dilation"),
    [((28, 28), (1, 1), "same", (1, 1)), ((31, 20), (2, 3), "valid", (1, 1)), ((9, 50), (1, 2), (2, 1, 0, 3), (2, 1))],
)
def test_weights_of_one_channel(oc, size, stride, padding, dilation):
    case = Case(0, 3, size, 1, (3, 3), oc, stride=stride, padding=padding, dilation=dilation)
    assert case.check_weight("small_channels")


@pytest.mark.cpu
@pytest.mark.parametrize(
    ("n", "size", "c", "kernel", "oc", "stride", "padding"),
    [
        (1, (70, 65), 3, (7, 7), 20, (2, 2), (3, 3, 3, 3)),  # several bands
        (1, (3, 3901), 4, (2, 5), 7, (1, 3), "same"),  # rows of dy in parts
        (1, (9, 9), 2, (3, 3), 800, (1, 1), "same"),  # several blocks of output channels
    ],
)
def test_small_channels_data(n, size, c, kernel, oc, stride, padding):
    assert Case(0, n, size, c, kernel, oc, stride=stride, padding=padding).check_data("small_channels")


@pytest.mark.cpu
def test_outputs_larger_than_caches_keep_their_bits():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 307, 309, 2)).astype(np.float32)
    w, bias = rng.standard_normal((3, 3, 2, 32)).astype(np.float32), rng.standard_normal(32).astype(np.float32)
    given = {"padding": "same", "activation": "relu", "algorithm": "small_channels"}
    y = kernels.conv2d(x, w, bias, **given)
    assert y.nbytes > 32 << 20
    for i in range(3):
        np.testing.assert_array_equal(y[i : i + 1], kernels.conv2d(x[i : i + 1], w, bias, **given))


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
