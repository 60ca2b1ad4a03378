"""One step of the recurrent layers."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np

from .. import activations
from .._errors import short
from .._functional.joining import cut
from .._functional.layers import dense, recurrent
from .._kernels._call import op
from .._trace import beside
from ..autograd import Tensor, apply, wrap
from ._arguments import fraction, positive
from ._nested import in_order, rebuilt, serialized, shown
from .base import Layer
from .regularization import checked_seed

__all__ = ["GRUCell", "LSTMCell", "SimpleRNNCell", "StackedRNNCells"]


@lru_cache(maxsize=64)
def _native_activation(function: Any) -> str | None:
    """The activation's name, if the recurrent kernels know it with its usual parameter."""
    name, alpha = activations.FUSABLE.get(function, (None, None))
    if function is activations.sigmoid:
        name = "sigmoid"
    if name is None or alpha is not None:
        return None
    try:
        op("rnn_step", {"activation": name})
    except ValueError:  # its derivative needs more than its value
        return None
    return str(name)


_WEIGHTS = {
    "kernel_initializer": "glorot_uniform", "recurrent_initializer": "orthogonal", "bias_initializer": "zeros",
}  # fmt: skip
_REGULARIZERS = {"kernel_regularizer": None, "recurrent_regularizer": None, "bias_regularizer": None}
_CONSTRAINTS = {"kernel_constraint": None, "recurrent_constraint": None, "bias_constraint": None}
_DROPOUT = {"dropout": 0.0, "recurrent_dropout": 0.0}
_REQUIRED = inspect.Parameter.empty
_SIMPLE: dict[str, Any] = {
    "units": _REQUIRED, "activation": "tanh", "use_bias": True,
    **_WEIGHTS, **_REGULARIZERS, **_CONSTRAINTS, **_DROPOUT, "seed": None,
}  # fmt: skip
_LSTM: dict[str, Any] = {
    "units": _REQUIRED, "activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True,
    **_WEIGHTS, "unit_forget_bias": True, **_REGULARIZERS, **_CONSTRAINTS, **_DROPOUT, "seed": None,
}  # fmt: skip
_GRU: dict[str, Any] = {
    "units": _REQUIRED, "activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True,
    **_WEIGHTS, **_REGULARIZERS, **_CONSTRAINTS, **_DROPOUT, "reset_after": True, "seed": None,
}  # fmt: skip


class RecurrentCell(Layer):
    """What SimpleRNNCell, LSTMCell and GRUCell share."""

    _order: dict[str, Any]
    _op = ""
    _sequence_op = ""
    _gates = 1
    _holds_cell_state = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        label = type(self).__name__
        given = in_order(label, self._order, args, kwargs)
        implementation = given.pop("implementation", None)
        own = {k: given[k] for k in self._order}
        super().__init__(**{k: v for k, v in given.items() if k not in own})
        self.seed = checked_seed(label, own["seed"])
        if implementation not in (None, 0, 1, 2):
            raise ValueError(
                f"{label}: implementation: expected 0, 1 or 2 (they give the same), got {short(implementation)}"
            )
        self.units, self.use_bias = positive(own["units"], f"{label}: units"), bool(own["use_bias"])
        self.activation = activations.get(own["activation"])
        if "recurrent_activation" in own:
            self.recurrent_activation = activations.get(own["recurrent_activation"])
        for key in ("unit_forget_bias", "reset_after"):
            if key in own:
                setattr(self, key, bool(own[key]))
        self.dropout = fraction(own["dropout"], f"{label}: dropout", one=False)
        self.recurrent_dropout = fraction(own["recurrent_dropout"], f"{label}: recurrent_dropout", one=False)
        self._set_weight_options(**{k: own[k] for k in (*_WEIGHTS, *_REGULARIZERS, *_CONSTRAINTS)})
        self.state_size: Any = [self.units, self.units] if self._holds_cell_state else self.units
        self.output_size = self.units
        self.end_steps()

    # -- weights --

    def build(self, input_shape: Any) -> None:
        if len(input_shape) != 2 or input_shape[-1] is None:
            raise ValueError(f"{self.name}: input: expected (n, features) with known features, got {input_shape}")
        width = self._gates * self.units
        self._make_weight("kernel", (input_shape[-1], width))
        self._make_weight("recurrent_kernel", (self.units, width), "recurrent")
        if self.use_bias:
            self._add_bias(width)

    def _add_bias(self, width: int) -> None:
        self._make_weight("bias", (width,))

    def _biases(self) -> tuple[Any, Any]:
        return (self.bias if self.use_bias else None), None

    def _native_weights(self) -> list[Any]:
        """Weights as the kernels take them."""
        return [self.kernel, self.recurrent_kernel, *self._biases()]

    def _native_attrs(self) -> dict[str, Any] | None:
        """The attributes of the op that does what the cell does; None where none does."""
        name = _native_activation(self.activation)
        return None if name is None or self.recurrent_dropout else {"activation": name}

    # -- dropout: one mask for all steps --

    def _draw_mask(self, like: Tensor, rate: float, count: int) -> list[Tensor]:
        ones = beside(wrap(np.ones(like.shape, like.dtype)), like)
        drop = op("dropout", {"rate": rate, "seed": self.seed})
        return [apply(drop, ones, training=True) for _ in range(count)]

    def get_dropout_mask(self, step_input: Tensor) -> list[Tensor] | None:
        """The factors of a step's input, drawn at the first step after `reset_dropout_mask`."""
        if self.dropout and self._dropout_mask is None:
            count = self._gates if self.recurrent_dropout else 1
            self.__dict__["_dropout_mask"] = self._draw_mask(step_input, self.dropout, count)
        return self._dropout_mask  # type: ignore[no-any-return]

    def get_recurrent_dropout_mask(self, step_input: Tensor) -> list[Tensor] | None:
        """The factors of the state, one for each gate."""
        if self.recurrent_dropout and self._recurrent_dropout_mask is None:
            self.__dict__["_recurrent_dropout_mask"] = self._draw_mask(step_input, self.recurrent_dropout, self._gates)
        return self._recurrent_dropout_mask  # type: ignore[no-any-return]

    def reset_dropout_mask(self) -> None:
        """Draw another mask for inputs at the next step."""
        self.__dict__["_dropout_mask"] = None

    def reset_recurrent_dropout_mask(self) -> None:
        """Draw another mask for states at the next step."""
        self.__dict__["_recurrent_dropout_mask"] = None

    # -- running --

    def get_initial_state(self, batch_size: int | None = None) -> list[Tensor]:
        """Zeros for a batch of this size."""
        if batch_size is None:
            raise ValueError(f"{self.name}: get_initial_state: batch_size: expected a number, got None")
        count = 2 if self._holds_cell_state else 1
        return [wrap(np.zeros((batch_size, self.units), self.compute_dtype)) for _ in range(count)]

    def call(self, inputs: Tensor, states: Any, training: bool = False) -> Any:
        nested = isinstance(states, (list, tuple))
        given = list(states) if nested else [states]
        if len(given) != (2 if self._holds_cell_state else 1):
            raise ValueError(f"{self.name}: states: expected {self.state_size}, got {len(given)} tensors")
        attrs = self._native_attrs()
        dropped = self.get_dropout_mask(inputs) if training else None
        if attrs is not None:
            x = inputs if dropped is None else inputs * dropped[0]
            new = recurrent(self._op, x, *self._native_weights(), *given, **attrs)
        else:
            kept = self.get_recurrent_dropout_mask(given[0]) if training else None
            new = self._step(self._products(inputs, self.kernel, self._biases()[0], dropped), given, kept)
        return new[0], list(new) if nested else new[0]

    def _parts_of(self, weight: Tensor, sizes: tuple[int, ...], like: Tensor) -> tuple[Tensor, ...]:
        """A weight cut along its last dimension: once for all steps while a layer runs them."""
        known, weight = self._weight_parts, beside(weight, like)
        if known is None:
            return cut(weight, sizes, -1)
        key = id(weight) if weight._data is not None else weight.id  # type: ignore[attr-defined]
        if key not in known:
            known[key] = cut(weight, sizes, -1)
        return known[key]  # type: ignore[no-any-return]

    def begin_steps(self) -> None:
        """Draw other dropout masks at the next step; the weights stay as they are until `end_steps`."""
        self.end_steps()
        self.__dict__["_weight_parts"] = {}

    def end_steps(self) -> None:
        """Forget what was kept for the steps of a sequence."""
        self.__dict__["_weight_parts"] = None
        self.reset_dropout_mask()
        self.reset_recurrent_dropout_mask()

    def _products(
        self, x: Tensor, kernel: Tensor, bias: Tensor | None, masks: list[Tensor] | None, gates: int | None = None
    ) -> list[Tensor]:
        """x @ kernel + bias, gate by gate, x times the gate's mask."""
        count = gates or self._gates
        sizes = (self.units,) * count
        if masks is None or len(masks) == 1:
            y = dense(x if masks is None else x * masks[0], kernel, bias)
            return list(cut(y, sizes, -1)) if count > 1 else [y]
        biases = (None,) * count if bias is None else self._parts_of(bias, sizes, x)
        parts = self._parts_of(kernel, sizes, x)
        return [dense(x * m, k, b) for m, k, b in zip(masks, parts, biases, strict=True)]

    def _step(self, x: list[Tensor], states: list[Tensor], masks: list[Tensor] | None) -> tuple[Tensor, ...]:
        """The new states from the inputs' part in the gates, with any activations; the first is the output too."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            **self._weight_config(),
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "seed": self.seed,
        }


class SimpleRNNCell(RecurrentCell):
    """``h' = activation(x @ kernel + h @ recurrent_kernel + bias)``.

    Parameters
    ----------
    units : int
    activation : str or callable
    use_bias : bool
    kernel_initializer, recurrent_initializer, bias_initializer : str or Initializer
    kernel_regularizer, recurrent_regularizer, bias_regularizer : str or Regularizer, optional
    kernel_constraint, recurrent_constraint, bias_constraint : str or Constraint, optional
    dropout, recurrent_dropout : float
        Parts of the input and of the state that are dropped in training, the same at all steps.
    """

    _op = "rnn_step"
    _sequence_op = "simple_rnn"
    _order = _SIMPLE

    @shown(_SIMPLE)
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)

    def _step(self, x: list[Tensor], states: list[Tensor], masks: list[Tensor] | None) -> tuple[Tensor, ...]:
        (h,) = self._products(states[0], self.recurrent_kernel, None, masks)
        return (self.activation(x[0] + h),)


class LSTMCell(RecurrentCell):
    """One step of `LSTM`; its states are h and c.

    Parameters
    ----------
    units : int
    activation, recurrent_activation : str or callable
    use_bias : bool
    unit_forget_bias : bool
        The forget gate's bias starts at 1.
    **kwargs
        As in `SimpleRNNCell`.
    """

    _op = "lstm_step"
    _sequence_op = "lstm"
    _order = _LSTM
    _gates = 4
    _holds_cell_state = True

    @shown(_LSTM)
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)

    def _add_bias(self, width: int) -> None:
        super()._add_bias(width)
        if self.unit_forget_bias:
            self.bias._data[self.units : 2 * self.units] = 1

    def _native_attrs(self) -> dict[str, Any] | None:
        attrs, gate = super()._native_attrs(), _native_activation(self.recurrent_activation)
        return None if attrs is None or gate is None else {**attrs, "recurrent_activation": gate}

    def _step(self, x: list[Tensor], states: list[Tensor], masks: list[Tensor] | None) -> tuple[Tensor, ...]:
        h = self._products(states[0], self.recurrent_kernel, None, masks)
        gate = self.recurrent_activation
        i, f = gate(x[0] + h[0]), gate(x[1] + h[1])
        c = f * states[1] + i * self.activation(x[2] + h[2])
        return gate(x[3] + h[3]) * self.activation(c), c

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "recurrent_activation": activations.serialize(self.recurrent_activation),
            "unit_forget_bias": self.unit_forget_bias,
        }


# Keras keeps GRU's gates as z, r, n; the kernels as r, z, n.
def _swap_gates(array: np.ndarray, units: int) -> np.ndarray:
    out = array.copy()
    out[..., :units], out[..., units : 2 * units] = array[..., units : 2 * units], array[..., :units]
    return out


class GRUCell(RecurrentCell):
    """One step of `GRU`.

    The weights lie with the reset gate first (r, z, n); `get_weights` and `set_weights` show them in Keras' order
    (z, r, n).

    Parameters
    ----------
    units : int
    activation, recurrent_activation : str or callable
    use_bias : bool
    reset_after : bool
        Whether the reset gate acts after the recurrent product (then there are two biases) or before it.
    **kwargs
        As in `SimpleRNNCell`.
    """

    _op = "gru_step"
    _sequence_op = "gru"
    _order = _GRU
    _gates = 3

    @shown(_GRU)
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)

    def _add_bias(self, width: int) -> None:
        super()._add_bias(width)
        if self.reset_after:
            self._make_weight("recurrent_bias", (width,), "bias")

    def _biases(self) -> tuple[Any, Any]:
        if not self.use_bias:
            return None, None
        return self.bias, (self.recurrent_bias if self.reset_after else None)

    def _native_attrs(self) -> dict[str, Any] | None:
        attrs, gate = super()._native_attrs(), _native_activation(self.recurrent_activation)
        if attrs is None or gate is None:
            return None
        return {**attrs, "recurrent_activation": gate, "reset_after": self.reset_after}

    def _step(self, x: list[Tensor], states: list[Tensor], masks: list[Tensor] | None) -> tuple[Tensor, ...]:
        h, gate = states[0], self.recurrent_activation
        if self.reset_after:
            inner = self._products(h, self.recurrent_kernel, self._biases()[1], masks)
            r, z = gate(x[0] + inner[0]), gate(x[1] + inner[1])
            n = self.activation(x[2] + r * inner[2])
        else:
            first, last = self._parts_of(self.recurrent_kernel, (2 * self.units, self.units), h)
            inner = self._products(h, first, None, masks and masks[:2], 2)
            r, z = gate(x[0] + inner[0]), gate(x[1] + inner[1])
            n = self.activation(x[2] + dense(r * (h * masks[2] if masks else h), last))
        return (n + z * (h - n),)

    def get_weights(self) -> list[np.ndarray]:
        arrays = [_swap_gates(a, self.units) for a in super().get_weights()]
        return [*arrays[:2], np.stack(arrays[2:])] if self.use_bias and self.reset_after else arrays

    def _assign_weights(self, arrays: Any) -> None:
        given = [next(arrays) for _ in range(3 if self.use_bias else 2)]
        if self.use_bias and self.reset_after:
            given = [*given[:2], *given[2]]
        super()._assign_weights(_swap_gates(a, self.units) for a in given)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "recurrent_activation": activations.serialize(self.recurrent_activation),
            "reset_after": self.reset_after,
        }


def size_list(cell: Any) -> list[Any]:
    """The sizes of a cell's states."""
    size = cell.state_size
    return list(size) if isinstance(size, (list, tuple)) else [size]


def output_size(cell: Any) -> int:
    """The size of a cell's output."""
    size = getattr(cell, "output_size", None)
    return int(size_list(cell)[0] if size is None else size)


def initial_state(cell: Any, batch: int, dtype: str) -> list[Any]:
    """What a cell's states are before the first step."""
    own = getattr(cell, "get_initial_state", None)
    if own is not None:
        state = own(batch_size=batch)
        return list(state) if isinstance(state, (list, tuple)) else [state]
    return [wrap(np.zeros((batch, d), dtype)) for d in size_list(cell)]


def build_cell(cell: Any, features: tuple[int | None, ...]) -> None:
    """Build a cell for inputs of these features, if it is a layer that is not built."""
    if isinstance(cell, Layer) and not cell.built:
        cell._build((None, *features))


def check_cell(label: str, cell: Any) -> None:
    """Refuse what is no cell."""
    if not callable(getattr(cell, "call", None)) and not callable(cell):
        raise ValueError(f"{label}: cell: expected an object with a `call` method, got {type(cell).__name__}")
    if not hasattr(cell, "state_size"):
        raise ValueError(f"{label}: cell: expected a `state_size`, and {type(cell).__name__} has none")


class StackedRNNCells(Layer):
    """Cells on top of each other as one: the output of each is the next one's input.

    Parameters
    ----------
    cells : list of cells
    """

    _holds_layers = True

    def __init__(self, cells: Iterable[Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.__dict__["cells"] = found = list(cells)
        if not found:
            raise ValueError("StackedRNNCells: cells: expected at least one, got none")
        for i, cell in enumerate(found):
            check_cell("StackedRNNCells", cell)
            if isinstance(cell, Layer):
                self.add_module(f"cell_{i}", cell)

    @property
    def state_size(self) -> list[Any]:
        return [c.state_size for c in self.cells]

    @property
    def output_size(self) -> int:
        return output_size(self.cells[-1])

    def build(self, input_shape: Any) -> None:
        features = tuple(input_shape[1:])
        for cell in self.cells:
            build_cell(cell, features)
            features = (output_size(cell),)

    def get_initial_state(self, batch_size: int | None = None) -> list[Any]:
        """The states of each cell for a batch of this size."""
        if batch_size is None:
            raise ValueError(f"{self.name}: get_initial_state: batch_size: expected a number, got None")
        found = [initial_state(c, batch_size, self.compute_dtype) for c in self.cells]
        return [s if isinstance(c.state_size, (list, tuple)) else s[0] for c, s in zip(self.cells, found, strict=True)]

    def call(self, inputs: Tensor, states: Any, training: bool = False) -> Any:
        new = []
        for cell, state in zip(self.cells, states, strict=True):
            nested = isinstance(state, (list, tuple))
            inputs, after = cell(inputs, list(state) if nested else [state])
            after = list(after) if isinstance(after, (list, tuple)) else [after]
            new.append(after if nested else after[0])
        return inputs, new

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cells": [serialized(c) for c in self.cells]}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, type] | None = None) -> StackedRNNCells:
        cells = [rebuilt(c, custom_objects) for c in config["cells"]]
        return cls(cells, **{k: v for k, v in config.items() if k != "cells"})
