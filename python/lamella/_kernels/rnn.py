"""Recurrent layers over sequences (n, t, c), and their single steps.

Weights are `w_ih` (in, gates * h) and `w_hh` (h, gates * h); the gates stand side by side: i, f, g, o for the LSTM,
r, z, n for the GRU. Both biases (gates * h) are optional; but for the GRU's with `reset_after` they are added up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._function import Call, Several, gradient, kernel

__all__ = [
    "gru",
    "gru_backward",
    "gru_step",
    "gru_step_backward",
    "lstm",
    "lstm_backward",
    "lstm_step",
    "lstm_step_backward",
    "rnn_step",
    "rnn_step_backward",
    "simple_rnn",
    "simple_rnn_backward",
]


def _sequence(
    cell: str,
    x: Any,
    first: dict[str, Any],
    mask: Any,
    second: Sequence[np.ndarray | None] | None,
    attrs: dict[str, Any],
) -> Call:
    inputs = {"x": x, **first, "mask": mask}
    if second is not None:
        attrs["bidirectional"] = True
        inputs["second"] = Several([*second, *[None] * (len(first) - len(second))])
    return Call(cell, attrs, inputs)


@kernel(several=True)
def simple_rnn(
    x: np.ndarray,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    b_ih: np.ndarray | None = None,
    b_hh: np.ndarray | None = None,
    h0: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    second: Sequence[np.ndarray | None] | None = None,
    activation: str = "tanh",
    reverse: bool = False,
    processing_order: bool = False,
    time_major: bool = False,
    return_sequences: bool = True,
    zero_masked_output: bool = False,
) -> Call:
    """Elman network: h = activation(x w_ih + b_ih + h w_hh + b_hh) at every step.

    Parameters
    ----------
    x : ndarray (n, t, in), or (t, n, in) with `time_major`
    w_ih, w_hh : ndarray (in, h), (h, h)
    b_ih, b_hh : ndarray (h,), optional
    h0 : ndarray (n, h), optional
        Initial state; zeros if not given.
    mask : ndarray, optional
        Either bool or uint8 of x's leading shape, nonzero where a step counts, or int32 / int64 lengths (n,). A masked
        step leaves the state as it is and shows it once more.
    second : sequence of ndarray or None, optional
        w_ih, w_hh, b_ih, b_hh and h0 of a second layer that runs from the last step to the first; its outputs follow
        the first's on the last axis.
    activation : str
        Any whose derivative its output tells: "tanh", "relu", "sigmoid", "hard_sigmoid", "linear", ...
    reverse : bool
        Run from the last step to the first, inside each sequence's mask; outputs stay in the order of time.
    processing_order : bool
        With `reverse`: outputs in the order of processing, as Keras' `go_backwards`.
    time_major : bool
        Sequences are (t, n, ...), results too.
    return_sequences : bool
        False: only final states.
    zero_masked_output : bool
        Masked steps show zeros, as PyTorch's packed sequences.

    Returns
    -------
    list of ndarray
        The outputs (n, t, h), or (n, t, 2 h) with `second`, unless `return_sequences` is False; the final state (n, h)
        of each direction.
    """
    attrs = {
        "activation": activation,
        "reverse": reverse,
        "processing_order": processing_order,
        "time_major": time_major,
        "return_sequences": return_sequences,
        "zero_masked_output": zero_masked_output,
    }
    first = {"w_ih": w_ih, "w_hh": w_hh, "b_ih": b_ih, "b_hh": b_hh, "h0": h0}
    return _sequence("simple_rnn", x, first, mask, second, attrs)


@kernel(several=True)
def lstm(
    x: np.ndarray,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    b_ih: np.ndarray | None = None,
    b_hh: np.ndarray | None = None,
    h0: np.ndarray | None = None,
    c0: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    second: Sequence[np.ndarray | None] | None = None,
    activation: str = "tanh",
    recurrent_activation: str = "sigmoid",
    reverse: bool = False,
    processing_order: bool = False,
    time_major: bool = False,
    return_sequences: bool = True,
    zero_masked_output: bool = False,
) -> Call:
    """Long short-term memory: c = f * c + i * g, h = o * activation(c), gates i, f, g, o.

    Parameters
    ----------
    x : ndarray (n, t, in), or (t, n, in) with `time_major`
    w_ih, w_hh : ndarray (in, 4 h), (h, 4 h)
    b_ih, b_hh : ndarray (4 h,), optional
    h0, c0 : ndarray (n, h), optional
    second : sequence of ndarray or None, optional
        w_ih, w_hh, b_ih, b_hh, h0 and c0 of the second direction.
    activation : str
        Of g and of the cell's output.
    recurrent_activation : str
        Of i, f and o.
    mask, reverse, processing_order, time_major, return_sequences, zero_masked_output
        As in `simple_rnn`.

    Returns
    -------
    list of ndarray
        The outputs (n, t, h), or (n, t, 2 h) with `second`, unless `return_sequences` is False; the final h and c
        (n, h) of each direction.
    """
    attrs = {
        "activation": activation,
        "recurrent_activation": recurrent_activation,
        "reverse": reverse,
        "processing_order": processing_order,
        "time_major": time_major,
        "return_sequences": return_sequences,
        "zero_masked_output": zero_masked_output,
    }
    first = {"w_ih": w_ih, "w_hh": w_hh, "b_ih": b_ih, "b_hh": b_hh, "h0": h0, "c0": c0}
    return _sequence("lstm", x, first, mask, second, attrs)


@kernel(several=True)
def gru(
    x: np.ndarray,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    b_ih: np.ndarray | None = None,
    b_hh: np.ndarray | None = None,
    h0: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    second: Sequence[np.ndarray | None] | None = None,
    activation: str = "tanh",
    recurrent_activation: str = "sigmoid",
    reset_after: bool = True,
    reverse: bool = False,
    processing_order: bool = False,
    time_major: bool = False,
    return_sequences: bool = True,
    zero_masked_output: bool = False,
) -> Call:
    """Gated recurrent unit: h = (1 - z) * n + z * h, gates r, z, n.

    Parameters
    ----------
    x : ndarray (n, t, in), or (t, n, in) with `time_major`
    w_ih, w_hh : ndarray (in, 3 h), (h, 3 h)
    b_ih, b_hh : ndarray (3 h,), optional
    h0 : ndarray (n, h), optional
    second : sequence of ndarray or None, optional
        w_ih, w_hh, b_ih, b_hh and h0 of the second direction.
    activation : str
        Of n.
    recurrent_activation : str
        Of r and z.
    reset_after : bool
        n = activation(x w_n + b_ih + r * (h w_n + b_hh)) as in PyTorch and Keras; False: n = activation(x w_n + b_ih +
        (r * h) w_n + b_hh).
    mask, reverse, processing_order, time_major, return_sequences, zero_masked_output
        As in `simple_rnn`.

    Returns
    -------
    list of ndarray
        As `simple_rnn`.
    """
    attrs = {
        "activation": activation,
        "recurrent_activation": recurrent_activation,
        "reset_after": reset_after,
        "reverse": reverse,
        "processing_order": processing_order,
        "time_major": time_major,
        "return_sequences": return_sequences,
        "zero_masked_output": zero_masked_output,
    }
    first = {"w_ih": w_ih, "w_hh": w_hh, "b_ih": b_ih, "b_hh": b_hh, "h0": h0}
    return _sequence("gru", x, first, mask, second, attrs)


@kernel
def rnn_step(
    x: np.ndarray,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    b_ih: np.ndarray | None = None,
    b_hh: np.ndarray | None = None,
    h: np.ndarray | None = None,
    activation: str = "tanh",
) -> Call:
    """One step of `simple_rnn`.

    Parameters
    ----------
    x : ndarray (n, in)
    w_ih, w_hh : ndarray (in, h), (h, h)
    b_ih, b_hh : ndarray (h,), optional
    h : ndarray (n, h), optional
        The state; zeros if not given.
    activation
        As in `simple_rnn`.

    Returns
    -------
    ndarray (n, h)
        The next state.
    """
    inputs = {"x": x, "w_ih": w_ih, "w_hh": w_hh, "b_ih": b_ih, "b_hh": b_hh, "h": h}
    return Call("rnn_step", {"activation": activation}, inputs)


@kernel(several=True)
def lstm_step(
    x: np.ndarray,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    b_ih: np.ndarray | None = None,
    b_hh: np.ndarray | None = None,
    h: np.ndarray | None = None,
    c: np.ndarray | None = None,
    activation: str = "tanh",
    recurrent_activation: str = "sigmoid",
) -> Call:
    """One step of `lstm`.

    Parameters
    ----------
    x : ndarray (n, in)
    w_ih, w_hh : ndarray (in, 4 h), (h, 4 h)
    b_ih, b_hh : ndarray (4 h,), optional
    h, c : ndarray (n, h), optional
        The state; zeros if not given.
    activation, recurrent_activation
        As in `lstm`.

    Returns
    -------
    list of ndarray (n, h)
        The next h and c.
    """
    attrs = {"activation": activation, "recurrent_activation": recurrent_activation}
    inputs = {"x": x, "w_ih": w_ih, "w_hh": w_hh, "b_ih": b_ih, "b_hh": b_hh, "h": h, "c": c}
    return Call("lstm_step", attrs, inputs)


@kernel
def gru_step(
    x: np.ndarray,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    b_ih: np.ndarray | None = None,
    b_hh: np.ndarray | None = None,
    h: np.ndarray | None = None,
    activation: str = "tanh",
    recurrent_activation: str = "sigmoid",
    reset_after: bool = True,
) -> Call:
    """One step of `gru`.

    Parameters
    ----------
    x : ndarray (n, in)
    w_ih, w_hh : ndarray (in, 3 h), (h, 3 h)
    b_ih, b_hh : ndarray (3 h,), optional
    h : ndarray (n, h), optional
        The state; zeros if not given.
    activation, recurrent_activation, reset_after
        As in `gru`.

    Returns
    -------
    ndarray (n, h)
        The next state.
    """
    attrs = {"activation": activation, "recurrent_activation": recurrent_activation, "reset_after": reset_after}
    inputs = {"x": x, "w_ih": w_ih, "w_hh": w_hh, "b_ih": b_ih, "b_hh": b_hh, "h": h}
    return Call("gru_step", attrs, inputs)


_WEIGHTS = ("x", "w_ih", "w_hh", "b_ih", "b_hh")

simple_rnn_backward = gradient(simple_rnn, *_WEIGHTS, "h0", "second")
lstm_backward = gradient(lstm, *_WEIGHTS, "h0", "c0", "second")
gru_backward = gradient(gru, *_WEIGHTS, "h0", "second")
rnn_step_backward = gradient(rnn_step, *_WEIGHTS, "h", y=True)
lstm_step_backward = gradient(lstm_step, *_WEIGHTS, "h", "c")
gru_step_backward = gradient(gru_step, *_WEIGHTS, "h")
