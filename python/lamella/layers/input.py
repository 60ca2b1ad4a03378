"""Where a functional model's data come in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._errors import short
from ._arguments import positive, sample_shape
from ._names import unique_name
from ._symbolic import Call, KerasTensor
from .base import Layer

__all__ = ["Input", "InputLayer"]


class InputLayer(Layer):
    """Where a functional model's data come in.

    Parameters
    ----------
    shape, batch_size, dtype, sparse, ragged, batch_shape, optional, name
        As for `Input`.
    input_tensor
        Must be None.
    """

    def __init__(
        self,
        shape: Sequence[int | None] | None = None,
        batch_size: int | None = None,
        dtype: Any = None,
        sparse: bool | None = None,
        ragged: bool | None = None,
        batch_shape: Sequence[int | None] | None = None,
        input_tensor: Any = None,
        optional: bool = False,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        refused = {"sparse": sparse, "ragged": ragged, "tensor": input_tensor, "optional": optional}
        for argument, value in refused.items():
            if value is not None and value is not False:
                raise NotImplementedError(
                    f"Input: {argument}: dense inputs of this model alone are taken, got {short(value)}"
                )
        if shape is None and "input_shape" in kwargs:
            shape = kwargs.pop("input_shape")
        if batch_shape is None and "batch_input_shape" in kwargs:
            batch_shape = kwargs.pop("batch_input_shape")
        if (shape is None) == (batch_shape is None):
            raise ValueError(
                f"Input: shape, batch_shape: expected the shape of one sample, or that of a batch, "
                f"got {short(shape)} and {short(batch_shape)}"
            )
        if batch_shape is not None:
            if batch_size is not None:
                raise ValueError(f"Input: batch_size: expected none beside batch_shape, got {short(batch_size)}")
            batch_size, *shape = batch_shape
        shape = sample_shape(shape, "Input: shape")
        super().__init__(name=name or unique_name("input_layer"), **kwargs)
        self._sample_shape = shape
        self.batch_size = None if batch_size is None else positive(batch_size, "Input: batch_size")
        self.input_dtype = np.dtype(dtype or "float32").name
        self.built = True
        t = KerasTensor((batch_size, *shape), self.input_dtype, name=self.name)
        t.layer, t.call = self, Call(self, (), {})
        t.call.outputs.append(t)
        self._calls.append(t.call)

    def call(self, inputs: Any) -> Any:
        return inputs

    def _takes_integers(self) -> bool:
        return np.dtype(self.input_dtype).kind in "iu"

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "shape": list(self._sample_shape or ()), "batch_size": self.batch_size,
                "dtype": self.input_dtype}  # fmt: skip


def Input(
    shape: Sequence[int | None] | None = None,
    batch_size: int | None = None,
    dtype: Any = None,
    sparse: bool | None = None,
    ragged: bool | None = None,
    batch_shape: Sequence[int | None] | None = None,
    name: str | None = None,
    tensor: Any = None,
    optional: bool = False,
    **kwargs: Any,
) -> KerasTensor:
    """The start of a functional model.

    Parameters
    ----------
    shape : tuple of int
        Shape of one sample, without the batch dimension; None for unknown sizes.
    batch_size : int, optional
    dtype : str, optional
        Default "float32"; integers for token ids.
    sparse, ragged : bool, optional
        Must not be True.
    batch_shape : tuple of int, optional
        The shape of a batch, in place of `shape` and `batch_size`.
    name : str, optional
    tensor
        Must be None.
    optional : bool
        Must be False.
    """
    layer = InputLayer(
        shape, batch_size, dtype, sparse, ragged, batch_shape, tensor, optional, name, **kwargs
    )  # fmt: skip
    return layer._only_call().outputs[0]
