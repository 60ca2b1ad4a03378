"""Connectionist temporal classification."""

from __future__ import annotations

import numpy as np

from ._function import Call, gradient, kernel

__all__ = ["ctc_loss", "ctc_loss_backward"]


@kernel
def ctc_loss(
    log_probabilities: np.ndarray,
    targets: np.ndarray,
    input_lengths: np.ndarray | None = None,
    target_lengths: np.ndarray | None = None,
    blank: int = 0,
    zero_infinity: bool = False,
    time_first: bool = False,
) -> Call:
    """Minus the logarithm of the probability of all alignments of each target with the steps of its sample.

    Parameters
    ----------
    log_probabilities : ndarray, shape (n, steps, classes)
        What `log_softmax` gives.
    targets : ndarray of int32 or int64, shape (n, width), or a vector of all targets one after another
        Class numbers other than `blank`; of a row, what lies behind its length is not read.
    input_lengths : ndarray of int32 or int64, shape (n,), optional
        How many steps of each sample count. Default: all.
    target_lengths : ndarray of int32 or int64, shape (n,), optional
        Default: as many as are not `blank`. Needed for a vector of targets.
    blank : int
        The class that stands for no label.
    zero_infinity : bool
        A target that does not fit into its steps loses 0, without a gradient, rather than infinity.
    time_first : bool
        `log_probabilities` has the shape (steps, n, classes).

    Returns
    -------
    ndarray, shape (n,)
    """
    attrs = {"blank": blank, "zero_infinity": zero_infinity, "time_first": time_first}
    lengths = {"input_lengths": input_lengths, "target_lengths": target_lengths}
    return Call("ctc_loss", attrs, {"log_probabilities": log_probabilities, "targets": targets, **lengths})


ctc_loss_backward = gradient(ctc_loss, "log_probabilities", note="Targets and lengths are constants.")
