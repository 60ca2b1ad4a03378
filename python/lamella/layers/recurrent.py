"""Recurrent layers over (n, t, c) sequences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .._errors import short
from .._functional.elementwise import where
from .._functional.joining import cut
from .._functional.layers import recurrent
from .._functional.masks import counting
from .._kernels._call import op
from .._trace import NotTraceable, beside
from ..autograd import Tensor, apply
from . import rnn_cells
from ._nested import in_order, rebuilt, serialized, shown
from ._phase import phases
from ._structures import flatten, map_structure
from .base import Layer
from .rnn_cells import GRUCell, LSTMCell, RecurrentCell, SimpleRNNCell, StackedRNNCells

__all__ = ["GRU", "LSTM", "RNN", "Masking", "SimpleRNN"]


class Masking(Layer):
    """Marks time steps whose features all equal `mask_value` as padding for the recurrent layers that follow."""

    def __init__(self, mask_value: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mask_value = float(mask_value)

    def call(self, inputs: Tensor) -> Tensor:
        return inputs * self.compute_mask(inputs).reshape(*inputs.shape[:-1], 1).to(inputs.dtype)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        return (inputs != self.mask_value).to(inputs.dtype).amax(-1) > 0

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mask_value": self.mask_value}


def steps_of(x: Tensor) -> list[Tensor]:
    """The steps (n, ...) of a sequence (n, t, ...)."""
    return [p.reshape(-1, *x.shape[2:]) for p in cut(x, (1,) * x.shape[1], 1)]


def _cells(cell: Any) -> Iterator[Any]:
    if isinstance(cell, StackedRNNCells):
        for c in cell.cells:
            yield from _cells(c)
    else:
        yield cell


def _select(mask: Tensor, a: Any, b: Any) -> Any:
    """a where the mask (n, 1) holds, else b; in nested lists."""
    if isinstance(a, (list, tuple)):
        return [_select(mask, x, y) for x, y in zip(a, b, strict=True)]
    return where(mask.reshape(-1, *[1] * (len(a.shape) - 1)), a, b)


class RNN(Layer):
    """A cell run over the time steps of a sequence.

    Cells of the kinds built in, also stacked ones, run in the recurrent kernels where these know the activations; any
    other cell is called step by step.

    Parameters
    ----------
    cell : cell or list of cells
        An object with `state_size` (a size, or a list of them) and ``call(inputs, states)``, which returns the output
        and the new states. It may have `output_size` and ``get_initial_state(batch_size)``. A list is stacked.
    return_sequences : bool
        The outputs of all steps rather than the last.
    return_state : bool
        The final states as well.
    go_backwards : bool
        From the last step to the first; outputs come in that order.
    stateful : bool
        Begin each batch with the states that the one before it ended with; `reset_state` makes them zeros.
    unroll : bool
        Accepted for Keras' sake.
    zero_output_for_mask : bool
        Zeros as the outputs of masked steps, rather than the output before.
    """

    supports_masking = True
    _holds_layers = True

    def __init__(
        self,
        cell: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(cell, (list, tuple)):
            cell = StackedRNNCells(cell)
        rnn_cells.check_cell(type(self).__name__, cell)
        self.cell = cell
        self.return_sequences, self.return_state = bool(return_sequences), bool(return_state)
        self.go_backwards, self.stateful, self.unroll = bool(go_backwards), bool(stateful), bool(unroll)
        self.zero_output_for_mask = bool(zero_output_for_mask)
        self.__dict__["states"] = None

    @property
    def state_size(self) -> list[Any]:
        return rnn_cells.size_list(self.cell)

    def build(self, input_shape: Any) -> None:
        if len(input_shape) < 3 or any(d is None for d in input_shape[2:]):
            raise ValueError(f"{self.name}: input: expected (n, t, features) with known features, got {input_shape}")
        rnn_cells.build_cell(self.cell, tuple(input_shape[2:]))

    # -- states --

    def get_initial_state(self, batch_size: int) -> list[Any]:
        """What the states are before the first step, for a batch of this size."""
        return rnn_cells.initial_state(self.cell, batch_size, self.compute_dtype)

    def reset_state(self) -> None:
        """Forget the states that a stateful layer has kept."""
        self.__dict__["states"] = None

    def reset_states(self) -> None:
        """The same as `reset_state`."""
        self.reset_state()

    def _first_states(self, x: Tensor, given: Any) -> list[Any] | None:
        """The states to begin with; None for zeros that nobody has to make."""
        if self.stateful and not phases.now.shapes_only:
            if x._data is None:
                raise NotTraceable("a stateful layer keeps values from batch to batch")
            kept = self.__dict__["states"]
            if kept is not None:
                n = flatten(kept)[0].shape[0]
                if n != x.shape[0]:
                    raise ValueError(
                        f"{self.name}: input: a stateful layer needs batches of one size: expected {n} samples, got "
                        f"{x.shape[0]}; reset_state() begins anew"
                    )
                if given is None:
                    return list(kept)
        if given is None:
            return None
        states = list(given) if isinstance(given, (list, tuple)) else [given]
        if len(states) != len(self.state_size):
            raise ValueError(f"{self.name}: initial_state: expected {len(self.state_size)} tensors, got {len(states)}")
        return states

    # -- running --

    def call(self, inputs: Tensor, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
        if isinstance(mask, (list, tuple)):
            mask = mask[0]
        if mask is not None:
            mask = counting(mask)
            if tuple(mask.shape) != tuple(inputs.shape[:2]):
                raise ValueError(f"{self.name}: mask: expected shape {tuple(inputs.shape[:2])}, got {mask.shape}")
        states = self._first_states(inputs, initial_state)
        found = self._run_native(inputs, states, mask, training)
        out, final = self._run_steps(inputs, states, mask) if found is None else found
        if self.stateful and not phases.now.shapes_only:
            self.__dict__["states"] = map_structure(lambda s: s.detach(), list(final))
        return (out, *final) if self.return_state else out

    def _run_native(self, x: Tensor, states: Any, mask: Any, training: bool) -> tuple[Tensor, list[Any]] | None:
        """(output, final states) by the kernels, layer by layer; None where a cell needs more than they do."""
        stacked = isinstance(self.cell, StackedRNNCells)
        cells = list(self.cell.cells) if stacked else [self.cell]
        attrs = [c._native_attrs() if _is_built_in(c) else None for c in cells]
        if len(x.shape) != 3 or any(a is None for a in attrs):
            return None
        masked_end = mask is not None and self.zero_output_for_mask and not self.return_sequences
        final: list[Any] = []
        for i, (cell, attr) in enumerate(zip(cells, attrs, strict=True)):
            last = i + 1 == len(cells)
            own = None if states is None else states[i] if stacked else states
            layer = {
                **(attr or {}),
                # What the first cell turns round stays so.
                "reverse": self.go_backwards and i == 0,
                "processing_order": self.go_backwards and i == 0,
                "return_sequences": self.return_sequences or not last,
                "zero_masked_output": self.zero_output_for_mask and last,
            }
            if mask is not None and self.go_backwards and i == 1:
                mask = _flipped(mask)
            x, state = run_cell(cell, x, own, mask, layer, training)
            nested = not stacked or isinstance(cell.state_size, list)
            final.append(state if nested else state[0])
        out = x if self.return_sequences else state[0]
        if masked_end:
            end = 0 if self.go_backwards and len(cells) == 1 else -1
            out = _select(mask[:, end], out, out * 0.0)
        return out, (final if stacked else final[0])

    def _run_steps(self, x: Tensor, states: Any, mask: Any) -> tuple[Tensor, list[Any]]:
        """(output, final states), calling the cell at each step."""
        t = x.shape[1]
        if t == 0:
            raise ValueError(f"{self.name}: input: expected at least one step, got shape {tuple(x.shape)}")
        if states is None:
            states = map_structure(lambda s: beside(s, x), self.get_initial_state(x.shape[0]))
        steps = steps_of(x)
        call = self.cell if isinstance(self.cell, Layer) or not hasattr(self.cell, "call") else self.cell.call
        built_in = [c for c in _cells(self.cell) if isinstance(c, RecurrentCell)]
        for c in built_in:
            c.begin_steps()
        outputs: list[Tensor] = []
        for i in reversed(range(t)) if self.go_backwards else range(t):
            out, new = call(steps[i], list(states))
            new = list(new) if isinstance(new, (list, tuple)) else [new]
            if mask is not None:
                now = mask[:, i]
                new = _select(now, new, states)
                before = out * 0.0 if self.zero_output_for_mask or not outputs else outputs[-1]
                out = _select(now, out, before)
            states = new
            outputs.append(out)
        for c in built_in:
            c.end_steps()
        if not self.return_sequences:
            return outputs[-1], states
        return apply(op("stack", {"axis": 1}), *outputs), states

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        return previous_mask if self.return_sequences else None

    # -- configuration --

    def _flags(self) -> dict[str, Any]:
        return {
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
            "go_backwards": self.go_backwards,
            "stateful": self.stateful,
            "unroll": self.unroll,
            "zero_output_for_mask": self.zero_output_for_mask,
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cell": serialized(self.cell), **self._flags()}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, type] | None = None) -> Any:
        return cls(**{**config, "cell": rebuilt(config["cell"], custom_objects)})


def _is_built_in(cell: Any) -> bool:
    return type(cell) in (SimpleRNNCell, LSTMCell, GRUCell)


def _flipped(mask: Tensor) -> Tensor:
    """The mask (n, t) from the last step to the first."""
    return apply(op("reverse", {"axis": 1}), mask)


def run_cell(
    cell: RecurrentCell, x: Tensor, states: Any, mask: Any, attrs: dict[str, Any], training: bool
) -> tuple[Any, list[Tensor]]:
    """(the sequence of outputs if it is asked for, the final states) of a built-in cell, by its kernel."""
    if training and cell.dropout:
        x = apply(
            op("dropout", {"rate": cell.dropout, "noise_shape": (-1, 1, -1), "seed": cell.seed}), x, training=True
        )
    count = 2 if cell._holds_cell_state else 1
    own = [None] * count if states is None else list(states) if isinstance(states, (list, tuple)) else [states]
    arguments = [x, *cell._native_weights(), *own, mask]
    while arguments[-1] is None:
        arguments.pop()
    found = recurrent(cell._sequence_op, *arguments, **attrs)
    return (found[0] if attrs["return_sequences"] else None), list(found[-count:])


_FLAGS = {
    "return_sequences": False, "return_state": False, "go_backwards": False, "stateful": False, "unroll": False,
}  # fmt: skip


def _layer_order(cell: dict[str, Any], last: tuple[str, ...]) -> dict[str, Any]:
    """A layer's arguments in Keras' order, from those of its cell; `last` come after the layer's own."""
    order: dict[str, Any] = {}
    for name, default in cell.items():
        if name == "kernel_constraint":
            order["activity_regularizer"] = None
        if name not in last:
            order[name] = default
    return {**order, **_FLAGS, **{name: cell.get(name, "auto") for name in last}}


_SIMPLE = _layer_order(rnn_cells._SIMPLE, ("seed",))
_LSTM = _layer_order(rnn_cells._LSTM, ("use_cudnn",))
_GRU = _layer_order(rnn_cells._GRU, ("reset_after", "use_cudnn"))


class _BuiltIn(RNN):
    """A layer with the arguments of its cell."""

    _holds_layers = False
    _order: dict[str, Any]
    _cell: type[RecurrentCell]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        label = type(self).__name__
        given = in_order(label, self._order, args, kwargs)
        use_cudnn = given.pop("use_cudnn", "auto")
        if use_cudnn not in ("auto", False):
            raise NotImplementedError(
                f"{label}: use_cudnn: expected 'auto' or False, got {short(use_cudnn)}; this is a CPU"
            )
        own = {k: given.pop(k) for k in (*self._cell._order, "implementation") if k in given}
        shared = {k: given[k] for k in ("dtype", "trainable") if k in given}
        try:
            cell = self._cell(**own, **shared)
        except (TypeError, ValueError, NotImplementedError) as error:
            raise type(error)(str(error).replace(f"{self._cell.__name__}:", f"{label}:", 1)) from None
        super().__init__(cell, **given)

    def build(self, input_shape: Any) -> None:
        if len(input_shape) != 3:
            raise ValueError(f"{self.name}: input: expected (n, t, features) with known features, got {input_shape}")
        super().build(input_shape)

    def get_config(self) -> dict[str, Any]:
        own = {k: v for k, v in self.cell.get_config().items() if k not in ("name", "trainable", "dtype")}
        return {**Layer.get_config(self), **own, **self._flags()}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, type] | None = None) -> Any:
        return cls(**config)


def _of_cell(name: str) -> property:
    return property(lambda self: getattr(self.cell, name))


for _name in (*rnn_cells._SIMPLE, "kernel", "recurrent_kernel", "bias", "recurrent_bias"):
    setattr(_BuiltIn, _name, _of_cell(_name))


class SimpleRNN(_BuiltIn):
    """``h = activation(x @ kernel + h @ recurrent_kernel + bias)`` over time.

    Parameters
    ----------
    units : int
    activation : str or callable
        Default "tanh".
    use_bias : bool
    kernel_initializer, recurrent_initializer, bias_initializer : str or Initializer
    kernel_regularizer, recurrent_regularizer, bias_regularizer, activity_regularizer : str or Regularizer, optional
    kernel_constraint, recurrent_constraint, bias_constraint : str or Constraint, optional
    dropout, recurrent_dropout : float
        Parts of the inputs and of the states that are dropped in training, the same at all steps. With
        `recurrent_dropout` the steps do not run in one kernel.
    return_sequences, return_state, go_backwards, stateful, unroll, zero_output_for_mask : bool
        As in `RNN`.
    """

    _cell = SimpleRNNCell
    _order = _SIMPLE

    @shown(_SIMPLE)
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


class LSTM(_BuiltIn):
    """Long short-term memory (Hochreiter & Schmidhuber 1997), gates i, f, g, o.

    Parameters
    ----------
    units : int
    activation, recurrent_activation : str or callable
        Defaults "tanh" and "sigmoid".
    unit_forget_bias : bool
        The forget gate's bias starts at 1.
    use_cudnn : {"auto", False}
        Accepted for Keras' sake.
    **kwargs
        As in `SimpleRNN`.
    """

    _cell = LSTMCell
    _order = _LSTM
    recurrent_activation = _of_cell("recurrent_activation")
    unit_forget_bias = _of_cell("unit_forget_bias")

    @shown(_LSTM)
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


class GRU(_BuiltIn):
    """Gated recurrent unit (Cho et al. 2014).

    The weights lie with the reset gate first (r, z, n); `get_weights` and `set_weights` show them in Keras' order
    (z, r, n).

    Parameters
    ----------
    units : int
    activation, recurrent_activation : str or callable
        Defaults "tanh" and "sigmoid".
    reset_after : bool
        Whether the reset gate acts after the recurrent product (then there are two biases) or before it.
    use_cudnn : {"auto", False}
        Accepted for Keras' sake.
    **kwargs
        As in `SimpleRNN`.
    """

    _cell = GRUCell
    _order = _GRU
    recurrent_activation = _of_cell("recurrent_activation")
    reset_after = _of_cell("reset_after")

    @shown(_GRU)
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
