"""Recurrent layers and cells."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from .. import autograd as ag
from .._errors import short
from .._functional.joining import cat
from .._functional.layers import dense, dropout, matmul, recurrent
from .._functional.shape import permute, stack, unsqueeze
from .._trace import beside
from . import init
from .linear import new_parameter, positive
from .module import Module
from .utils.rnn import PackedSequence, take, to_packed, to_padded

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNBase", "RNNCell"]

_MATRIX = (1, 0)


class _Recurrent(Module):
    """Weights under PyTorch's names, in memory as (in, gates * hidden)."""

    _op: str
    _gates: int

    def _add_weights(
        self, suffix: str, inputs: int, hidden: int, bias: bool, device: Any, dtype: Any, state: int | None = None
    ) -> None:
        rows = self._gates * hidden
        self.register_parameter(f"weight_ih{suffix}", new_parameter((rows, inputs), device, dtype, perm=_MATRIX))
        self.register_parameter(
            f"weight_hh{suffix}", new_parameter((rows, state or hidden), device, dtype, perm=_MATRIX)
        )
        if bias:
            self.register_parameter(f"bias_ih{suffix}", new_parameter((rows,), device, dtype))
            self.register_parameter(f"bias_hh{suffix}", new_parameter((rows,), device, dtype))

    def _weights(self, suffix: str) -> tuple[Any, ...]:
        """w_ih, w_hh, b_ih, b_hh as the op takes them."""
        return (
            permute(getattr(self, f"weight_ih{suffix}"), _MATRIX),
            permute(getattr(self, f"weight_hh{suffix}"), _MATRIX),
            getattr(self, f"bias_ih{suffix}") if self.bias else None,
            getattr(self, f"bias_hh{suffix}") if self.bias else None,
        )

    def reset_parameters(self) -> None:
        """Draw new weights."""
        bound = 1 / math.sqrt(self.hidden_size)
        for p in self._parameters.values():
            init.uniform_(p, -bound, bound)


class RNNBase(_Recurrent):
    """What RNN, LSTM and GRU share.

    Parameters
    ----------
    input_size, hidden_size : int
        Sizes of an input and of a state.
    num_layers : int
        Layers on top of each other.
    bias : bool
        Whether there are biases.
    batch_first : bool
        Whether sequences are (n, t, c) rather than (t, n, c).
    dropout : float
        Dropout between layers in training.
    bidirectional : bool
        Whether each layer also runs backwards; its outputs stand side by side.
    device, dtype
        "cpu"; float32 or float64.
    """

    _states = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        positive(name, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        if proj_size and self._op != "lstm":
            raise ValueError(f"{name}: proj_size: expected 0 but for LSTM, got {proj_size}")
        if not 0 <= proj_size < hidden_size:
            raise ValueError(f"{name}: proj_size: expected a size below {hidden_size}, got {proj_size}")
        if not 0 <= dropout <= 1:
            raise ValueError(f"{name}: dropout: expected a probability, got {short(dropout)}")
        if dropout and num_layers == 1:
            warnings.warn(f"{name}: dropout: has no effect with one layer", stacklevel=3)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        for layer in range(num_layers):
            state = proj_size or hidden_size
            inputs = input_size if layer == 0 else state * (2 if bidirectional else 1)
            for suffix in self._suffixes(layer):
                self._add_weights(suffix, inputs, hidden_size, bias, device, dtype, state)
                if proj_size:
                    weight = new_parameter((proj_size, hidden_size), device, dtype, perm=_MATRIX)
                    self.register_parameter(f"weight_hr{suffix}", weight)
        self.reset_parameters()

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}", f"_l{layer}_reverse"] if self.bidirectional else [f"_l{layer}"]

    def _attrs(self) -> dict[str, Any]:
        return {}

    def _given_states(self, hx: Any, batch: int, batched: bool) -> list[Any]:
        """One tensor (layers * directions, n, size) per state, or none."""
        if hx is None:
            return []
        states = list(hx) if self._states == 2 else [hx]
        if len(states) != self._states:
            raise ValueError(f"{type(self).__name__}: hx: expected {self._states} tensors, got {len(states)}")
        if not batched:
            states = [unsqueeze(s, 1) for s in states]
        count = self.num_layers * (2 if self.bidirectional else 1)
        for s, size in zip(states, (self.proj_size or self.hidden_size, self.hidden_size), strict=False):
            if tuple(s.shape) != (count, batch, size):
                raise ValueError(
                    f"{type(self).__name__}: hx: expected shape {(count, batch, size)}, got {tuple(s.shape)}"
                )
        return states

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Run over a sequence.

        Parameters
        ----------
        input : Tensor, shape (t, n, input_size), or (n, t, input_size) if batch_first, or (t, input_size); or a
            PackedSequence
        hx : Tensor, shape (num_layers * directions, n, hidden_size), optional
            The first states; for an LSTM a pair of them.

        Returns
        -------
        (Tensor, Tensor)
            The outputs of the last layer in the form of the input, and the final states in that of hx.
        """
        name = type(self).__name__
        packed = isinstance(input, PackedSequence)
        x = input.data if packed else input
        rank = len(x.shape)
        if rank not in ((2,) if packed else (2, 3)):
            raise ValueError(f"{name}: input: expected {'2' if packed else '2 or 3'} dimensions, got shape {x.shape}")
        if x.shape[-1] != self.input_size:
            raise ValueError(f"{name}: input: expected {self.input_size} features, got shape {x.shape}")
        batched = packed or rank == 3
        time_major = packed or (batched and not self.batch_first)
        lengths = None
        if packed:
            x, sizes = to_padded(input)
            lengths = ag.wrap(sizes.astype(np.int64))
        elif not batched:
            x = unsqueeze(x, 0)
        n = x.shape[1] if time_major else x.shape[0]
        given = self._given_states(hx, n, batched)
        if packed:
            given = [take(s, input.sorted_indices, 1) for s in given]
        finals: list[list[Any]] = [[] for _ in range(self._states)]
        for layer in range(self.num_layers):
            x, states = self._layer(layer, x, given, lengths, time_major)
            for i, s in enumerate(states):
                finals[i % self._states].append(s)
            if self.dropout and layer + 1 < self.num_layers:
                x = dropout(x, self.dropout, self.training)
        h = tuple([stack(f, 0) if batched else cat(f, 0) for f in finals])
        if packed:
            out: Any = to_packed(x, input)
            h = tuple([take(s, input.unsorted_indices, 1) for s in h])
        else:
            out = x if batched else x[0]
        return out, h if self._states == 2 else h[0]

    def _layer(self, layer: int, x: Any, given: list[Any], lengths: Any, time_major: bool) -> tuple[Any, list[Any]]:
        """(outputs, final states of each direction) of one layer."""
        directions = 2 if self.bidirectional else 1
        args: list[Any] = []
        for d, suffix in enumerate(self._suffixes(layer)):
            if d == 1:
                args.append(lengths)
            args.extend(self._weights(suffix))
            k = layer * directions + d
            args.extend([s[k] for s in given] if given else [None] * self._states)
        if directions == 1:
            args.append(lengths)
        while args[-1] is None:
            args.pop()
        attrs = {"bidirectional": self.bidirectional, "time_major": time_major, **self._attrs()}
        x, *states = recurrent(self._op, x, *args, **attrs)
        return x, states

    def extra_repr(self) -> str:
        s = f"{self.input_size}, {self.hidden_size}"
        if self.num_layers != 1:
            s += f", num_layers={self.num_layers}"
        if not self.bias:
            s += ", bias=False"
        if self.batch_first:
            s += ", batch_first=True"
        if self.dropout:
            s += f", dropout={self.dropout}"
        if self.bidirectional:
            s += ", bidirectional=True"
        if self.proj_size:
            s += f", proj_size={self.proj_size}"
        return s

    def flatten_parameters(self) -> None:
        """Nothing to do: kernels take the weights as they lie."""


class RNN(RNNBase):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), over sequences; see `RNNBase`.

    Parameters
    ----------
    nonlinearity : {"tanh", "relu"}
    """

    _op = "simple_rnn"
    _gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNN: nonlinearity: expected 'tanh' or 'relu', got {short(nonlinearity)}")
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype
        )
        self.nonlinearity = nonlinearity

    def _attrs(self) -> dict[str, Any]:
        return {"activation": self.nonlinearity}


class LSTM(RNNBase):
    """Long short-term memory over sequences, gates in the order i, f, g, o; gives (output, (h, c)). See `RNNBase`.

    Parameters
    ----------
    proj_size : int
        Size to which each h is projected; 0 for none.
    """

    _op = "lstm"
    _gates = 4
    _states = 2

    def _layer(self, layer: int, x: Any, given: list[Any], lengths: Any, time_major: bool) -> tuple[Any, list[Any]]:
        if not self.proj_size:
            return super()._layer(layer, x, given, lengths, time_major)
        # h = w_hr m, where m = o * tanh(c), enters the gates as w_hh h = (w_hh w_hr) m: the kernel runs with m as its
        # state. What a first h adds to the gates comes in as further features of the first step.
        directions = 2 if self.bidirectional else 1
        outputs, finals = [], []
        for d, suffix in enumerate(self._suffixes(layer)):
            w_ih, w_hh, b_ih, b_hh = (beside(w, x) for w in self._weights(suffix))
            w_hr = beside(permute(getattr(self, f"weight_hr{suffix}"), _MATRIX), x)
            c0, features = None, x
            if given:
                h0, c0 = (s[layer * directions + d] for s in given)
                features = cat([x, self._at_start(h0, x, lengths, time_major, d == 1)], 2)
                w_ih = cat([w_ih, w_hh], 0)
            args = [w_ih, matmul(w_hr, w_hh), b_ih, b_hh, None, c0, lengths]
            while args[-1] is None:
                args.pop()
            y, m, c = recurrent(self._op, features, *args, reverse=d == 1, time_major=time_major)
            outputs.append(dense(y, w_hr))
            finals += [dense(m, w_hr), c]
        return (outputs[0] if directions == 1 else cat(outputs, 2)), finals

    def _at_start(self, h0: Any, x: Any, lengths: Any, time_major: bool, reverse: bool) -> Any:
        """A sequence of zeros with h0 at the step that comes first."""
        n, t = (x.shape[1], x.shape[0]) if time_major else (x.shape[0], x.shape[1])
        place = np.zeros((n, t), h0.dtype)
        first = np.zeros(n, np.int64)
        if reverse:
            first += t - 1 if lengths is None else lengths._data - 1
        place[np.arange(n), first] = 1
        here = ag.wrap(np.ascontiguousarray(place.T if time_major else place)[..., None])
        return unsqueeze(h0, 0 if time_major else 1) * here


class GRU(RNNBase):
    """Gated recurrent units over sequences, gates in the order r, z, n; gives (output, h). See `RNNBase`."""

    _op = "gru"
    _gates = 3


class _Cell(_Recurrent):
    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None):
        super().__init__()
        positive(type(self).__name__, input_size=input_size, hidden_size=hidden_size)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        self._add_weights("", input_size, hidden_size, bias, device, dtype)
        self.reset_parameters()

    def _attrs(self) -> dict[str, Any]:
        return {}

    def _step(self, input: Any, states: list[Any]) -> tuple[Any, ...]:
        if len(input.shape) not in (1, 2) or input.shape[-1] != self.input_size:
            raise ValueError(
                f"{type(self).__name__}: input: expected (n, {self.input_size}) or ({self.input_size},), "
                f"got shape {input.shape}"
            )
        if len(input.shape) == 1:
            return tuple(s[0] for s in self._step(unsqueeze(input, 0), [unsqueeze(s, 0) for s in states]))
        args = [*self._weights(""), *states]
        while args[-1] is None:
            args.pop()
        return recurrent(self._op, input, *args, **self._attrs())

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class RNNCell(_Cell):
    """One step of `RNN`.

    Parameters
    ----------
    nonlinearity : {"tanh", "relu"}
    """

    _op = "rnn_step"
    _gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNNCell: nonlinearity: expected 'tanh' or 'relu', got {short(nonlinearity)}")
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    def _attrs(self) -> dict[str, Any]:
        return {"activation": self.nonlinearity}

    def forward(self, input: Any, hx: Any = None) -> Any:
        return self._step(input, [] if hx is None else [hx])[0]

    def extra_repr(self) -> str:
        return super().extra_repr() + ("" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity}")


class LSTMCell(_Cell):
    """One step of `LSTM`: gives (h, c)."""

    _op = "lstm_step"
    _gates = 4

    def forward(self, input: Any, hx: Any = None) -> Any:
        return self._step(input, [] if hx is None else list(hx))


class GRUCell(_Cell):
    """One step of `GRU`."""

    _op = "gru_step"
    _gates = 3

    def forward(self, input: Any, hx: Any = None) -> Any:
        return self._step(input, [] if hx is None else [hx])[0]
