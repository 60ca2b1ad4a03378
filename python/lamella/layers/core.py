"""Dense layers, embeddings, and functions as layers."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from .. import activations
from .._custom import custom, find, get_registered_name
from .._dtypes import is_float
from .._errors import refuse, short
from .._kernels._call import op
from .._suggest import unknown_name
from ..autograd import Tensor, apply
from ..nn.parameter import traced
from ._arguments import positive
from .base import Layer

__all__ = ["Dense", "Embedding", "Identity", "Lambda"]


def epilogue(activation: Any) -> tuple[str | None, float | None, Any]:
    """(name, alpha, rest): what the kernel applies itself, and what is left to call on its output."""
    fused = activations.FUSABLE.get(activation)
    if fused is None:
        return None, None, activation
    return (None, None, None) if fused[0] == "identity" else (*fused, None)


@functools.lru_cache(maxsize=256)
def _fused(name: str, activation: str | None, alpha: float | None) -> Any:
    return op(name, {"activation": activation, "alpha": alpha})


class WeightedLayer(Layer):
    """A layer with a kernel, perhaps a bias, and an activation: the arguments that these share."""

    def __init__(
        self,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self._set_epilogue(activation, use_bias)
        self._set_weight_options(
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
        )

    def _set_epilogue(self, activation: Any, use_bias: bool) -> None:
        self.activation = activations.get(activation)
        self.use_bias = bool(use_bias)

    def _add_kernel(self, shape: Sequence[int], bias: int) -> None:
        self._make_weight("kernel", shape)
        if self.use_bias:
            self._make_weight("bias", (bias,))

    def _run(self, name: str, attrs: dict[str, Any], x: Tensor, kernel: Tensor | None = None) -> Tensor:
        act, alpha, rest = epilogue(self.activation)
        own = self._parameters
        inputs = [x, traced(own["kernel"]) if kernel is None else kernel]
        if self.use_bias:
            inputs.append(traced(own["bias"]))
        fused = op(name, {**attrs, "activation": act, "alpha": alpha}) if attrs else _fused(name, act, alpha)
        y = apply(fused, *inputs)
        return y if rest is None else rest(y)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            **self._weight_config(),
        }


class Dense(WeightedLayer):
    """``activation(x @ kernel + bias)`` over the last axis.

    Parameters
    ----------
    units : int
        Size of the output's last axis.
    activation : str or callable, optional
    use_bias : bool
    kernel_initializer, bias_initializer : str or Initializer
    kernel_regularizer, bias_regularizer, activity_regularizer : str or Regularizer, optional
    kernel_constraint, bias_constraint : str or Constraint, optional
    lora_rank, lora_alpha, quantization_config : None
        Not supported.
    """

    supports_masking = True

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        lora_rank: Any = None,
        lora_alpha: Any = None,
        quantization_config: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer,
                         bias_regularizer, activity_regularizer, kernel_constraint, bias_constraint,
                         **kwargs)  # fmt: skip
        refuse("Dense", lora_rank=lora_rank, lora_alpha=lora_alpha, quantization_config=quantization_config)
        self.units = positive(units, "Dense: units")

    def build(self, input_shape: Any) -> None:
        if len(input_shape) < 2 or input_shape[-1] is None:
            raise ValueError(f"{self.name}: input: expected a known last dimension of rank >= 2, got {input_shape}")
        self._add_kernel((input_shape[-1], self.units), self.units)

    def call(self, inputs: Tensor) -> Tensor:
        return self._run("dense", {}, inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


class Identity(Layer):
    """The input itself."""

    supports_masking = True

    def call(self, inputs: Any) -> Any:
        return inputs

    def _takes_integers(self) -> bool:
        return True


class Lambda(Layer):
    """A function of tensors as a layer. It has no weights: a function that needs some is a `Layer` of its own.

    Parameters
    ----------
    function : callable
        Takes the input, and `mask` or `training` where it has arguments of these names.
    output_shape : tuple or callable, optional
        The shape of one output sample. It is found out by running the function; a shape given here is checked.
    mask : callable or tensor, optional
        The mask of the output, or a function of the input and its mask that gives it.
    arguments : dict, optional
        Further keyword arguments of the function.
    **kwargs
        See `Layer`.

    Notes
    -----
    A model file holds the function's name, never its code: to be saved it must have one, and to be loaded it must be
    among `custom_objects`.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        output_shape: Any = None,
        mask: Any = None,
        arguments: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not callable(function):
            raise TypeError(f"Lambda: function: expected a callable, got {type(function).__name__}")
        self.function, self.mask, self.arguments = function, mask, dict(arguments or {})
        self.__dict__["_output_shape"] = output_shape
        try:
            names = set(inspect.signature(function).parameters)
        except ValueError:  # a function written in C
            names = set()
        self._passed = [n for n in ("mask", "training") if n in names and n not in self.arguments]

    def call(self, inputs: Any, mask: Any = None, training: bool = False) -> Any:
        given = {"mask": mask, "training": training}
        out = self.function(inputs, **self.arguments, **{n: given[n] for n in self._passed})
        if isinstance(self._output_shape, (tuple, list)) and isinstance(out, Tensor):
            want = tuple(self._output_shape)
            have = tuple(out.shape[1:])
            if len(want) != len(have) or any(w not in (None, d) for w, d in zip(want, have, strict=True)):
                raise ValueError(f"{self.name}: output_shape: expected {want} a sample, got {have}")
        return out

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        return self.mask(inputs, previous_mask) if callable(self.mask) else self.mask

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "function": _name_of("function", self.function), "arguments": self.arguments}
        if self._output_shape is not None:
            shape = self._output_shape
            config["output_shape"] = _name_of("output_shape", shape) if callable(shape) else list(shape)
        if self.mask is not None:
            config["mask"] = _name_of("mask", self.mask)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Lambda:
        found = {k: _named(v) if k in ("function", "mask", "output_shape") else v for k, v in config.items()}
        return cls(**found)


def _name_of(what: str, function: Any) -> dict[str, str]:
    name = getattr(function, "__name__", "")
    if not name.isidentifier():
        raise TypeError(
            f"Lambda: {what}: only functions with a name can be saved, found again in custom_objects when the model is "
            f"loaded; got {short(function)}"
        )
    return {"function": get_registered_name(function)}


def _named(value: Any) -> Any:
    if not isinstance(value, dict) or "function" not in value:
        return value
    found = find(value["function"], {})
    if found is None:
        raise unknown_name("function (pass your own in custom_objects)", value["function"], custom())
    return found


class Embedding(Layer):
    """Rows of a table for integer inputs: (n, t) to (n, t, output_dim).

    Parameters
    ----------
    input_dim : int
        Number of rows: inputs lie in [0, input_dim).
    output_dim : int
        Length of a row.
    embeddings_initializer : str or Initializer
    embeddings_regularizer : str or Regularizer, optional
    embeddings_constraint : str or Constraint, optional
    mask_zero : bool
        Whether 0 marks padding that later recurrent layers skip.
    weights : array or list of one, optional
        The table to start from.
    lora_rank, lora_alpha, quantization_config : None
        Not supported.
    input_length : int, optional
        Length of the sequences; the same as ``input_shape=(input_length,)``.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        weights: Any = None,
        lora_rank: Any = None,
        lora_alpha: Any = None,
        quantization_config: Any = None,
        input_length: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if input_length is not None:
            input_length = positive(input_length, "Embedding: input_length")
            if self._sample_shape not in (None, (input_length,)):
                raise ValueError(f"Embedding: input_length: expected {self._sample_shape}, got {input_length}")
            self._sample_shape = (input_length,)
        refuse("Embedding", lora_rank=lora_rank, lora_alpha=lora_alpha, quantization_config=quantization_config)
        self.input_dim = positive(input_dim, "Embedding: input_dim")
        self.output_dim = positive(output_dim, "Embedding: output_dim")
        self._set_weight_options(
            embeddings_initializer=embeddings_initializer,
            embeddings_regularizer=embeddings_regularizer,
            embeddings_constraint=embeddings_constraint,
        )
        self.mask_zero = bool(mask_zero)
        self._initial = weights

    def build(self, input_shape: Any) -> None:
        self._make_weight("embeddings", (self.input_dim, self.output_dim))
        if self._initial is not None:
            self.set_weights(self._initial if isinstance(self._initial, list) else [self._initial])

    def call(self, inputs: Tensor) -> Tensor:
        if is_float(inputs.dtype):
            inputs = apply(op("cast", {"dtype": "int64"}), inputs)
        return apply(op("embedding", {}), inputs, self.embeddings)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        # As floats, whose comparisons plans know; no other integer becomes 0.
        return inputs.to(self.compute_dtype) != 0 if self.mask_zero else None

    def _takes_integers(self) -> bool:
        return True

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            **self._weight_config(),
            "mask_zero": self.mask_zero,
        }
