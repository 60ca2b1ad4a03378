"""Targets of more states than a block has threads, or than its shared memory has room for."""

from __future__ import annotations

import numpy as np
import reference_ctc as ref
from reference_loss import log_softmax

from lamella import kernels as K


def test_more_states_than_threads() -> None:
    rng = np.random.default_rng(1)
    width, steps, classes = 520, 560, 40
    x = log_softmax(rng.standard_normal((1, steps, classes)))
    targets = rng.integers(1, classes, (1, width))
    expected = ref.ctc_loss(x[0], targets[0], 0)
    np.testing.assert_allclose(K.ctc_loss(x, targets), [expected], rtol=1e-12)
    g = K.ctc_loss_backward(np.ones(1), x, targets)
    np.testing.assert_allclose(g.sum(-1), -1, rtol=1e-12)
    assert (g <= 0).all()


def test_more_states_than_shared_memory() -> None:
    """The long target fits into no number of steps here; the others' rows lie behind it in the workspace."""
    rng = np.random.default_rng(2)
    x = log_softmax(rng.standard_normal((3, 7, 9))).astype(np.float32)
    targets, lengths = rng.integers(1, 9, (3, 2600)), np.array([3, 2600, 2])
    loss = K.ctc_loss(x, targets, None, lengths)
    g = K.ctc_loss_backward(np.ones(3, np.float32), x, targets, None, lengths)
    short = K.ctc_loss_backward(np.ones(3, np.float32), x, targets[:, :3], None, np.array([3, 1, 2]))
    assert np.isinf(loss[1]) and np.isnan(g[1]).all()
    for n in (0, 2):
        np.testing.assert_allclose(loss[n], ref.ctc_loss(x[n], targets[n, : lengths[n]], 0), rtol=1e-6)
        np.testing.assert_allclose(g[n], short[n], rtol=1e-5, atol=1e-6)
