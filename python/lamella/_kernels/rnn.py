"""Recurrent layers over sequences (n, t, c), and their single steps.

Weights are `w_ih` (in, gates * h) and `w_hh` (h, gates * h); the gates stand side by side: i, f, g, o for the LSTM,
r, z, n for the GRU. Both biases (gates * h) are optional; but for the GRU's with `reset_after` they are added up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._call import run, run_backward

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

Array = np.ndarray
MaybeArray = np.ndarray | None
# The weights and initial states of the second direction: w_ih, w_hh, b_ih, b_hh, h0 (and c0).
Second = Sequence[MaybeArray] | None


def _sequence(
    x: Array, first: list[MaybeArray], mask: MaybeArray, second: Second, attrs: dict[str, Any]
) -> tuple[list[MaybeArray], dict[str, Any]]:
    inputs = [x, *first, mask]
    if second is None:
        return inputs, attrs
    return [*inputs, *second, *[None] * (len(first) - len(second))], {**attrs, "bidirectional": True}


def simple_rnn(
    x: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: MaybeArray = None,
    b_hh: MaybeArray = None,
    h0: MaybeArray = None,
    mask: MaybeArray = None,
    second: Second = None,
    activation: str = "tanh",
    reverse: bool = False,
    processing_order: bool = False,
    time_major: bool = False,
    return_sequences: bool = True,
    zero_masked_output: bool = False,
    out: Sequence[Array] | None = None,
) -> list[Array]:
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
    return_sequences : bool
        False: only final states.
    zero_masked_output : bool
        Masked steps show zeros, as PyTorch's packed sequences.
    out : list of ndarray, optional

    Returns
    -------
    list of ndarray
        The outputs (n, t, h), or (n, t, 2 h) with `second`, unless `return_sequences` is False; the final state (n, h)
        of each direction.
    """
    inputs, attrs = _sequence(
        x,
        [w_ih, w_hh, b_ih, b_hh, h0],
        mask,
        second,
        {
            "activation": activation,
            "reverse": reverse,
            "processing_order": processing_order,
            "time_major": time_major,
            "return_sequences": return_sequences,
            "zero_masked_output": zero_masked_output,
        },
    )
    return _list(run("simple_rnn", attrs, inputs, out=out))


def lstm(
    x: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: MaybeArray = None,
    b_hh: MaybeArray = None,
    h0: MaybeArray = None,
    c0: MaybeArray = None,
    mask: MaybeArray = None,
    second: Second = None,
    activation: str = "tanh",
    recurrent_activation: str = "sigmoid",
    reverse: bool = False,
    processing_order: bool = False,
    time_major: bool = False,
    return_sequences: bool = True,
    zero_masked_output: bool = False,
    out: Sequence[Array] | None = None,
) -> list[Array]:
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
    mask, reverse, processing_order, time_major, return_sequences, zero_masked_output, out
        As in `simple_rnn`.

    Returns
    -------
    list of ndarray
        The outputs (n, t, h), or (n, t, 2 h) with `second`, unless `return_sequences` is False; the final h and c
        (n, h) of each direction.
    """
    inputs, attrs = _sequence(
        x,
        [w_ih, w_hh, b_ih, b_hh, h0, c0],
        mask,
        second,
        {
            "activation": activation,
            "recurrent_activation": recurrent_activation,
            "reverse": reverse,
            "processing_order": processing_order,
            "time_major": time_major,
            "return_sequences": return_sequences,
            "zero_masked_output": zero_masked_output,
        },
    )
    return _list(run("lstm", attrs, inputs, out=out))


def gru(
    x: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: MaybeArray = None,
    b_hh: MaybeArray = None,
    h0: MaybeArray = None,
    mask: MaybeArray = None,
    second: Second = None,
    activation: str = "tanh",
    recurrent_activation: str = "sigmoid",
    reset_after: bool = True,
    reverse: bool = False,
    processing_order: bool = False,
    time_major: bool = False,
    return_sequences: bool = True,
    zero_masked_output: bool = False,
    out: Sequence[Array] | None = None,
) -> list[Array]:
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
    mask, reverse, processing_order, time_major, return_sequences, zero_masked_output, out
        As in `simple_rnn`.

    Returns
    -------
    list of ndarray
        As `simple_rnn`.
    """
    inputs, attrs = _sequence(
        x,
        [w_ih, w_hh, b_ih, b_hh, h0],
        mask,
        second,
        {
            "activation": activation,
            "recurrent_activation": recurrent_activation,
            "reset_after": reset_after,
            "reverse": reverse,
            "processing_order": processing_order,
            "time_major": time_major,
            "return_sequences": return_sequences,
            "zero_masked_output": zero_masked_output,
        },
    )
    return _list(run("gru", attrs, inputs, out=out))


def rnn_step(
    x: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: MaybeArray = None,
    b_hh: MaybeArray = None,
    h: MaybeArray = None,
    activation: str = "tanh",
    out: Array | None = None,
) -> Array:
    """One step of `simple_rnn`: x (n, in) and the state h (n, h) give the next state."""
    return run("rnn_step", {"activation": activation}, [x, w_ih, w_hh, b_ih, b_hh, h], out=out)


def lstm_step(
    x: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: MaybeArray = None,
    b_hh: MaybeArray = None,
    h: MaybeArray = None,
    c: MaybeArray = None,
    activation: str = "tanh",
    recurrent_activation: str = "sigmoid",
    out: Sequence[Array] | None = None,
) -> list[Array]:
    """One step of `lstm`: x (n, in) and the states h, c (n, h) give the next h and c."""
    attrs = {"activation": activation, "recurrent_activation": recurrent_activation}
    return run("lstm_step", attrs, [x, w_ih, w_hh, b_ih, b_hh, h, c], out=out)


def gru_step(
    x: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: MaybeArray = None,
    b_hh: MaybeArray = None,
    h: MaybeArray = None,
    activation: str = "tanh",
    recurrent_activation: str = "sigmoid",
    reset_after: bool = True,
    out: Array | None = None,
) -> Array:
    """One step of `gru`: x (n, in) and the state h (n, h) give the next state."""
    attrs = {"activation": activation, "recurrent_activation": recurrent_activation, "reset_after": reset_after}
    return run("gru_step", attrs, [x, w_ih, w_hh, b_ih, b_hh, h], out=out)


def simple_rnn_backward(
    grad_outputs: Sequence[MaybeArray], inputs: Sequence[MaybeArray], **attrs: Any
) -> list[MaybeArray]:
    """Gradients of `simple_rnn`.

    Parameters
    ----------
    grad_outputs : sequence of ndarray or None
        One per array that `simple_rnn` returns; None is a zero gradient.
    inputs : sequence of ndarray or None
        x, w_ih, w_hh, b_ih, b_hh, h0, mask, then those of the second direction where there is one.
    **attrs
        The options of `simple_rnn`, `bidirectional=True` where there is a second direction.

    Returns
    -------
    list of ndarray or None
        One gradient per input; None for inputs that are None, and for the mask.
    """
    return run_backward("simple_rnn", attrs, inputs, grad_outputs)


def lstm_backward(grad_outputs: Sequence[MaybeArray], inputs: Sequence[MaybeArray], **attrs: Any) -> list[MaybeArray]:
    """Gradients of `lstm`; as `simple_rnn_backward`, `inputs` being x, w_ih, w_hh, b_ih, b_hh, h0, c0, mask, ..."""
    return run_backward("lstm", attrs, inputs, grad_outputs)


def gru_backward(grad_outputs: Sequence[MaybeArray], inputs: Sequence[MaybeArray], **attrs: Any) -> list[MaybeArray]:
    """Gradients of `gru`; as `simple_rnn_backward`."""
    return run_backward("gru", attrs, inputs, grad_outputs)


def rnn_step_backward(
    grad_outputs: Sequence[MaybeArray], inputs: Sequence[MaybeArray], **attrs: Any
) -> list[MaybeArray]:
    """Gradients of `rnn_step`; `inputs` are x, w_ih, w_hh, b_ih, b_hh, h."""
    return run_backward("rnn_step", attrs, inputs, grad_outputs)


def lstm_step_backward(
    grad_outputs: Sequence[MaybeArray], inputs: Sequence[MaybeArray], **attrs: Any
) -> list[MaybeArray]:
    """Gradients of `lstm_step`; `inputs` are x, w_ih, w_hh, b_ih, b_hh, h, c, `grad_outputs` those of h and c."""
    return run_backward("lstm_step", attrs, inputs, grad_outputs)


def gru_step_backward(
    grad_outputs: Sequence[MaybeArray], inputs: Sequence[MaybeArray], **attrs: Any
) -> list[MaybeArray]:
    """Gradients of `gru_step`; `inputs` are x, w_ih, w_hh, b_ih, b_hh, h."""
    return run_backward("gru_step", attrs, inputs, grad_outputs)


def _list(result: Array | list[Array]) -> list[Array]:
    return result if isinstance(result, list) else [result]
