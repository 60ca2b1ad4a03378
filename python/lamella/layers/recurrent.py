"""Recurrent layers over (n, t, c) sequences."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import activations, initializers, regularizers
from .._kernels._call import op
from ..autograd import Tensor, apply
from .base import Layer, fraction, positive

__all__ = ["GRU", "LSTM", "Masking", "SimpleRNN"]


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


class _Recurrent(Layer):
    _op = ""
    _gates = 1
    _states = 1

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: Any = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        use_cudnn: Any = "auto",
        zero_output_for_mask: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        label = type(self).__name__
        for name, given in (("kernel_constraint", kernel_constraint), ("recurrent_constraint", recurrent_constraint),
                            ("bias_constraint", bias_constraint), ("recurrent_dropout", recurrent_dropout),
                            ("stateful", stateful), ("seed", seed)):  # fmt: skip
            if given:
                raise NotImplementedError(f"{label}: {name}: not supported")
        self.units, self.use_bias = positive(units, f"{label}: units"), bool(use_bias)
        self.dropout = fraction(dropout, f"{label}: dropout", one=False)
        self.activation = activations.serialize(activations.get(activation))
        self.recurrent_activation = (
            None if recurrent_activation is None else activations.serialize(activations.get(recurrent_activation))
        )
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = regularizers.get(recurrent_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.return_sequences, self.return_state = bool(return_sequences), bool(return_state)
        self.go_backwards, self.zero_output_for_mask = bool(go_backwards), bool(zero_output_for_mask)

    def build(self, input_shape: Any) -> None:
        if len(input_shape) != 3 or input_shape[-1] is None:
            raise ValueError(f"{self.name}: input: expected (n, t, features) with known features, got {input_shape}")
        width = self._gates * self.units
        self.add_weight((input_shape[-1], width), self.kernel_initializer, name="kernel",
                        regularizer=self.kernel_regularizer)  # fmt: skip
        self.add_weight((self.units, width), self.recurrent_initializer, name="recurrent_kernel",
                        regularizer=self.recurrent_regularizer)  # fmt: skip
        if self.use_bias:
            self._add_bias(width)

    def _add_bias(self, width: int) -> None:
        self.add_weight((width,), self.bias_initializer, name="bias", regularizer=self.bias_regularizer)

    def _biases(self) -> tuple[Any, Any]:
        return (self.bias if self.use_bias else None), None

    def _attrs(self) -> dict[str, Any]:
        return {"activation": "identity" if self.activation == "linear" else self.activation}

    def call(self, inputs: Tensor, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
        x = inputs
        if training and self.dropout:
            x = apply(op("dropout", {"rate": self.dropout}), x, training=True)
        states = list(initial_state) if isinstance(initial_state, (list, tuple)) else [initial_state]
        if initial_state is None:
            states = [None] * self._states
        if len(states) != self._states:
            raise ValueError(f"{self.name}: initial_state: expected {self._states} tensors, got {len(states)}")
        attrs = {
            **self._attrs(),
            "reverse": self.go_backwards,
            "processing_order": self.go_backwards,
            "return_sequences": self.return_sequences,
            "zero_masked_output": self.zero_output_for_mask,
        }
        arguments = [x, self.kernel, self.recurrent_kernel, *self._biases(), *states, mask]
        while arguments[-1] is None:
            arguments.pop()
        found = apply(op(self._op, attrs), *arguments)
        outputs = list(found) if isinstance(found, tuple) else [found]
        final = outputs[-self._states :]
        out = outputs[0] if self.return_sequences else final[0]
        return [out, *final] if self.return_state else out

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        return previous_mask if self.return_sequences else None

    def get_config(self) -> dict[str, Any]:
        config = {
            **super().get_config(),
            "units": self.units,
            "activation": self.activation,
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "recurrent_initializer": initializers.serialize(self.recurrent_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "recurrent_regularizer": regularizers.serialize(self.recurrent_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
            "dropout": self.dropout,
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
            "go_backwards": self.go_backwards,
            "zero_output_for_mask": self.zero_output_for_mask,
        }
        if self.recurrent_activation is not None:
            config["recurrent_activation"] = self.recurrent_activation
        return config


class SimpleRNN(_Recurrent):
    """``h = activation(x @ kernel + h @ recurrent_kernel + bias)`` over time.

    Parameters
    ----------
    units : int
    activation : str
        Default "tanh".
    return_sequences : bool
        The outputs of all steps rather than the last.
    return_state : bool
        The final state as well.
    go_backwards : bool
        From the last step to the first; outputs come in that order.
    **kwargs
        As in Keras; what is not supported is refused.
    """

    _op = "simple_rnn"

    def __init__(self, units: int, activation: Any = "tanh", use_bias: bool = True, **kwargs: Any) -> None:
        super().__init__(units, activation, None, use_bias, **kwargs)


class LSTM(_Recurrent):
    """Long short-term memory (Hochreiter & Schmidhuber 1997), gates i, f, g, o.

    Parameters
    ----------
    units : int
    activation, recurrent_activation : str
        Defaults "tanh" and "sigmoid".
    unit_forget_bias : bool
        The forget gate's bias starts at 1.
    return_sequences, return_state, go_backwards, dropout and others
        As in Keras; what is not supported is refused.
    """

    _op = "lstm"
    _gates = 4
    _states = 2

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        unit_forget_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, activation, recurrent_activation, use_bias, **kwargs)
        self.unit_forget_bias = bool(unit_forget_bias)

    def _add_bias(self, width: int) -> None:
        super()._add_bias(width)
        if self.unit_forget_bias:
            self.bias._data[self.units : 2 * self.units] = 1

    def _attrs(self) -> dict[str, Any]:
        return {**super()._attrs(), "recurrent_activation": self.recurrent_activation}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "unit_forget_bias": self.unit_forget_bias}


# Keras keeps GRU's gates as z, r, n; the kernels as r, z, n.
def _swap_gates(array: np.ndarray, units: int) -> np.ndarray:
    out = array.copy()
    out[..., :units], out[..., units : 2 * units] = array[..., units : 2 * units], array[..., :units]
    return out


class GRU(_Recurrent):
    """Gated recurrent unit (Cho et al. 2014).

    The weights lie with the reset gate first (r, z, n); `get_weights` and `set_weights` show them in Keras' order
    (z, r, n).

    Parameters
    ----------
    units : int
    activation, recurrent_activation : str
        Defaults "tanh" and "sigmoid".
    reset_after : bool
        Whether the reset gate acts after the recurrent product (then there are two biases) or before it.
    return_sequences, return_state, go_backwards, dropout and others
        As in Keras; what is not supported is refused.
    """

    _op = "gru"
    _gates = 3

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        reset_after: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, activation, recurrent_activation, use_bias, **kwargs)
        self.reset_after = bool(reset_after)

    def _add_bias(self, width: int) -> None:
        super()._add_bias(width)
        if self.reset_after:
            self.add_weight((width,), self.bias_initializer, name="recurrent_bias", regularizer=self.bias_regularizer)

    def _biases(self) -> tuple[Any, Any]:
        if not self.use_bias:
            return None, None
        return self.bias, (self.recurrent_bias if self.reset_after else None)

    def _attrs(self) -> dict[str, Any]:
        return {
            **super()._attrs(),
            "recurrent_activation": self.recurrent_activation,
            "reset_after": self.reset_after,
        }

    def get_weights(self) -> list[np.ndarray]:
        arrays = [_swap_gates(a, self.units) for a in super().get_weights()]
        return [*arrays[:2], np.stack(arrays[2:])] if self.use_bias and self.reset_after else arrays

    def _assign_weights(self, arrays: Any) -> None:
        given = [next(arrays) for _ in range(3 if self.use_bias else 2)]
        if self.use_bias and self.reset_after:
            given = [*given[:2], *given[2]]
        super()._assign_weights(_swap_gates(a, self.units) for a in given)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "reset_after": self.reset_after}
