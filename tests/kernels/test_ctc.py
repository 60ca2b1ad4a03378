import numpy as np
import pytest
import reference_ctc as ref
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_loss import log_softmax, softmax

import lamella
from lamella import kernels as K

DTYPES = [np.float32, np.float64]


def random_case(rng, n, steps, width, classes, dtype, blank=0):
    x = log_softmax(rng.standard_normal((n, steps, classes)) * 2).astype(dtype)
    labels = [c for c in range(classes) if c != blank]
    targets = rng.choice(labels, (n, width)) if labels else np.zeros((n, width), np.int64)
    return x, np.asarray(targets, np.int64)


def tolerance(dtype, steps):
    """Every step adds a logarithm of size about 1 that errs by a few eps; they are summed in double."""
    return 8 * float(np.finfo(dtype).eps) * max(steps, 4)


@pytest.mark.parametrize("blank", [0, 2])
def test_all_paths(blank):
    rng = np.random.default_rng(0)
    x, _ = random_case(rng, 1, 5, 1, 3, np.float64)
    for target in ([], [1], [1, 1], [1, 1, 1], [0 if blank else 2, 1], [1, 0 if blank else 2, 1]):
        expected = ref.by_paths(x[0], target, blank)
        np.testing.assert_allclose(ref.ctc_loss(x[0], target, blank), expected, rtol=1e-12)
        got = K.ctc_loss(x, np.array(target, np.int64), None, np.array([len(target)]), blank)
        np.testing.assert_allclose(got, [expected], rtol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    n=st.integers(0, 4),
    steps=st.integers(0, 20),
    width=st.integers(0, 9),
    classes=st.sampled_from([2, 3, 7, 17]),
    index=st.sampled_from([np.int32, np.int64]),
    joined=st.booleans(),
    time_first=st.booleans(),
    last_blank=st.booleans(),
    seed=st.integers(0, 999),
)
@settings(max_examples=60, deadline=None)
def test_against_the_recursion(dtype, n, steps, width, classes, index, joined, time_first, last_blank, seed):
    rng = np.random.default_rng(seed)
    blank = classes - 1 if last_blank else 0
    x, targets = random_case(rng, n, steps, width, classes, dtype, blank)
    inputs, lengths = rng.integers(0, steps + 1, n), rng.integers(0, width + 1, n)
    rows = [targets[i, : lengths[i]] for i in range(n)]
    expected = np.array([ref.ctc_loss(x[i, : inputs[i]], rows[i], blank) for i in range(n)]).reshape(n)
    given_targets = np.concatenate([*rows, np.zeros(0, np.int64)]) if joined else targets
    for i in range(n):
        targets[i, lengths[i] :] = -7  # not to be read
    arguments = [a.astype(index) for a in (given_targets, inputs, lengths)]
    data = np.ascontiguousarray(x.transpose(1, 0, 2)) if time_first else x
    got = K.ctc_loss(data, *arguments, blank=blank, time_first=time_first)
    assert got.dtype == dtype and got.shape == (n,)
    np.testing.assert_allclose(got, expected, rtol=tolerance(dtype, 4), atol=tolerance(dtype, steps))
    some = np.where(np.isinf(expected), 0, expected)
    got = K.ctc_loss(data, *arguments, blank=blank, time_first=time_first, zero_infinity=True)
    np.testing.assert_allclose(got, some, rtol=tolerance(dtype, 4), atol=tolerance(dtype, steps))


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_is_the_posterior(dtype):
    """The probabilities of the classes at each step, given the target, sum to one."""
    rng = np.random.default_rng(1)
    x, targets = random_case(rng, 3, 60, 20, 30, dtype)
    inputs = np.array([60, 45, 50])
    g = K.ctc_loss_backward(np.ones(3, dtype), x, targets, inputs)
    for i, steps in enumerate(inputs):
        np.testing.assert_allclose(-g[i, :steps].sum(-1), 1, rtol=50 * np.finfo(dtype).eps)
        assert not g[i, steps:].any() and (g <= 0).all()
    weights = np.array([0.5, -2.0, 0.0], dtype)
    np.testing.assert_allclose(K.ctc_loss_backward(weights, x, targets, inputs), g * weights[:, None, None], rtol=1e-6)


@pytest.mark.cpu  # takes minutes on an emulated device
def test_long_sequences_keep_their_digits():
    rng = np.random.default_rng(2)
    x, targets = random_case(rng, 1, 3000, 400, 40, np.float32)
    exact = K.ctc_loss(x.astype(np.float64), targets)
    np.testing.assert_allclose(K.ctc_loss(x, targets), exact, rtol=1e-6)
    g = K.ctc_loss_backward(np.ones(1, np.float32), x, targets)
    g64 = K.ctc_loss_backward(np.ones(1), x.astype(np.float64), targets)
    # The terms of a posterior are differences of logarithms of size 100 to 1000 here: relative to the best state.
    np.testing.assert_allclose(g, g64, atol=2e-3)


def test_targets_that_do_not_fit():
    x = np.log(softmax(np.random.default_rng(3).standard_normal((2, 3, 4)))).astype(np.float32)
    targets = np.array([[1, 1, 0], [1, 2, 0]])  # the first needs four steps
    lengths = np.array([3, 3]), np.array([2, 2])
    with pytest.raises(ValueError, match=r"ctc_loss: targets: expected class numbers .* got label 0 in sample 0"):
        K.ctc_loss(x, targets, lengths[0], np.array([3, 2]))
    loss = K.ctc_loss(x[:, :2], targets, None, lengths[1])
    assert np.isinf(loss[0]) and np.isfinite(loss[1])
    g = K.ctc_loss_backward(np.ones(2, np.float32), x[:, :2], targets, None, lengths[1])
    assert np.isnan(g[0]).all() and np.isfinite(g[1]).all()
    loss = K.ctc_loss(x[:, :2], targets, None, lengths[1], zero_infinity=True)
    g = K.ctc_loss_backward(np.ones(2, np.float32), x[:, :2], targets, None, lengths[1], zero_infinity=True)
    assert loss[0] == 0 and not g[0].any() and g[1].any()


def test_targets_padded_with_blanks():
    rng = np.random.default_rng(4)
    x, _ = random_case(rng, 2, 6, 3, 4, np.float64)
    targets = np.array([[1, 3, 0], [2, 0, 0]])
    np.testing.assert_array_equal(K.ctc_loss(x, targets), K.ctc_loss(x, targets, None, np.array([2, 1])))


def test_impossible_classes_and_nan():
    with np.errstate(divide="ignore"):
        x = np.log(np.array([[[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]]])).astype(np.float32)
    np.testing.assert_allclose(K.ctc_loss(x, np.array([[1]])), [-np.log(0.5)], rtol=1e-6)
    assert np.isinf(K.ctc_loss(x, np.array([[2, 1]])))[0]
    x[0, 1, 1] = np.nan
    assert np.isnan(K.ctc_loss(x, np.array([[1]])))[0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_and_two_threads_agree(dtype):
    rng = np.random.default_rng(5)
    x, targets = random_case(rng, 12, 50, 20, 9, dtype)
    found = []
    for threads in (1, 2):
        lamella.set_num_threads(threads)
        found.append((K.ctc_loss(x, targets), K.ctc_loss_backward(np.ones(12, dtype), x, targets)))
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)
