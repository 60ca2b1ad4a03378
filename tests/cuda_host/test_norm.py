"""Norms of shapes that the CUDA kernels treat in other ways than the CPU's do, and arrays that begin anywhere."""

import numpy as np
import pytest
import reference_norm as ref

from lamella._kernels._call import op, run_backward

DTYPES = [np.float32, np.float64]


def normal(shape, dtype, seed, offset=0, mean=0.0):
    """Standard normal numbers, `offset` elements behind a multiple of 16 bytes."""
    buffer = np.empty(int(np.prod(shape)) + offset, dtype)
    x = buffer[offset:].reshape(shape)
    x[...] = np.random.default_rng(seed).standard_normal(shape) + mean
    return x


def close(got, expected, dtype, scale=1.0):
    # Blocked sums of terms of about unit size.
    tol = 60 * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(got, expected, rtol=tol, atol=tol * scale)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
@pytest.mark.parametrize("d", [1, 4, 96, 128, 256, 260, 512, 516, 1024, 1028, 2050, 5000, 8192, 8196, 16_384, 20_004])
def test_rows_of_any_length(d, name, offset, dtype):
    """By lanes, warps and blocks, in registers and from the caches."""
    rows = 3 if d > 600 else 37
    x, grad = normal((rows, d), dtype, d, offset, 0.5), normal((rows, d), dtype, d + 1, offset)
    gamma, beta = normal((d,), dtype, d + 2, offset), normal((d,), dtype, d + 3, offset)
    center = name == "layer_norm"
    inputs = [x, gamma, beta] if center else [x, gamma]
    eps = 1e-2
    z, inv = ref.normalise(x, (1,), eps, center)
    g64, b64 = gamma.astype(np.float64), beta.astype(np.float64)
    (y,), _ = op(name, {"eps": eps}).forward(inputs)
    close(y, z * g64 + (b64 if center else 0), dtype)
    got = run_backward(name, {"eps": eps}, inputs, [grad])
    g = grad.astype(np.float64)
    close(got[0], ref.backward(z, inv, g * g64, (1,), center), dtype, 10 * float(inv.max()))
    close(got[1], (g * z).sum(axis=0), dtype, 10)
    if center:
        close(got[2], g.sum(axis=0), dtype, 10)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize(
    ("n", "rows", "c", "groups"),
    [
        (1, 9000, 8, 8),
        (1, 3000, 6, 6),
        (1, 40, 600, 600),
        (1, 50_000, 1, 1),
        (3, 2500, 8, 2),
        (2, 30, 264, 3),
        (300, 4, 12, 12),
        (40, 1, 32, 4),
        (5, 600, 7, 7),
        (2, 9, 70, 1),
    ],
)
def test_channels_of_any_shape(n, rows, c, groups, offset, dtype):
    """Of one block and several, narrow and wide."""
    shape = (n, rows, c)
    x, grad = normal(shape, dtype, c, offset, 2.0), normal(shape, dtype, c + 1, offset)
    gamma, beta = normal((c,), dtype, c + 2), normal((c,), dtype, c + 3)
    eps = 1e-2
    relu = n == 1
    if n == 1:
        name, attrs = "batch_norm", {"eps": eps, "activation": "relu"}
    elif groups == c:
        name, attrs = "instance_norm", {"eps": eps}
    else:
        name, attrs = "group_norm", {"eps": eps, "groups": groups}
    z, inv = ref.normalise(ref.grouped(x, groups), (1, 3), eps)
    expected = z.reshape(shape) * gamma.astype(np.float64) + beta
    o = op(name, attrs)
    (y,), saved = o.forward([x, gamma, beta], True)
    close(y, np.maximum(expected, 0) if relu else expected, dtype, 10)
    got = o.backward([x, gamma, beta], [y], saved, [grad], [True, True, True])
    g = grad.astype(np.float64) * (y > 0 if relu else 1.0)
    grad_x = ref.backward(z, inv, ref.grouped(g * gamma, groups), (1, 3)).reshape(shape)
    close(got[0], grad_x, dtype, 10 * float(inv.max()))
    count = np.sqrt(n * rows)
    close(got[1], (g * z.reshape(shape)).sum(axis=(0, 1)), dtype, 10 * count)
    close(got[2], g.sum(axis=(0, 1)), dtype, 10 * count)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize(("rows", "d"), [(3000, 1), (3001, 8), (20_001, 4), (2500, 40), (1100, 260), (1030, 1028)])
def test_parameters_of_many_rows(rows, d, offset, dtype):
    """Sums of columns by as many blocks as there can be, each of several rows, with and without gradients of rows."""
    x, grad = normal((rows, d), dtype, d, offset, 0.5), normal((rows, d), dtype, d + 1, offset)
    gamma, beta = normal((d,), dtype, d + 2), normal((d,), dtype, d + 3)
    o = op("layer_norm", {"eps": 1e-2})
    outputs, saved = o.forward([x, gamma, beta], True)
    got = o.backward([x, gamma, beta], outputs, saved, [grad], [True, True, True])
    apart = o.backward([x, gamma, beta], outputs, saved, [grad], [False, True, True])
    alone = o.backward([x, gamma, beta], outputs, saved, [grad], [True, False, False])
    assert got[0].tobytes() == alone[0].tobytes()
    z, _ = ref.normalise(x, (1,), 1e-2)
    g = grad.astype(np.float64)
    close(got[1], (g * z).sum(axis=0), dtype, np.sqrt(rows))
    close(got[2], g.sum(axis=0), dtype, np.sqrt(rows))
    for i in (1, 2):
        assert got[i].tobytes() == apart[i].tobytes()


def test_batch_norm_of_a_channel_that_begins_far_away():
    """Moments are shifted by a channel's first number: where this is no good, they are as good as without."""
    x = normal((20_000, 8), np.float32, 0)
    x[0] = 1e3
    z, _ = ref.normalise(x, (0,), 0.0)
    (y,), _ = op("batch_norm", {"eps": 0.0}).forward([x], True)
    # The deviation is about seven; half an ULP of 1,000 is 3e-5.
    np.testing.assert_allclose(y, z, rtol=1e-5, atol=5e-6)
