"""Layers around layers of sequences."""

from __future__ import annotations

import copy
from typing import Any

from .._errors import short
from .._functional.joining import cat
from .._functional.layers import recurrent
from .._functional.masks import counting
from .._functional.shape import split
from .._kernels._call import op
from ..autograd import Tensor, apply
from ._nested import rebuilt, serialized
from ._phase import keep_masks
from ._structures import flatten, map_structure
from .base import Layer
from .recurrent import RNN, _is_built_in

__all__ = ["Bidirectional", "TimeDistributed"]


def _renewed(layer: Any, **changes: Any) -> Any:
    """A layer like this one with weights of its own."""
    known = {type(m).__name__: type(m) for m in layer.modules()}
    try:
        config = serialized(layer)
    except NotImplementedError:  # a cell that cannot tell how it was made
        new = copy.deepcopy(layer)
        for name, value in changes.items():
            setattr(new, name, value)
        return new
    return rebuilt({**config, "config": {**config["config"], **changes}}, known)


def _reversed(x: Tensor) -> Tensor:
    """(n, t, ...) from the last step to the first."""
    return apply(op("reverse", {"axis": 1}), x)


class Bidirectional(Layer):
    """A recurrent layer run forwards, and a second one backwards.

    Parameters
    ----------
    layer : Layer
        A recurrent layer; both directions get new layers made from its configuration.
    merge_mode : {"concat", "sum", "mul", "ave", None}
        How the outputs are joined; None gives both.
    weights : list of ndarray, optional
        First weights, as `get_weights` gives them.
    backward_layer : Layer, optional
        The layer to run backwards, if it is to be another; its `go_backwards` must differ.
    """

    supports_masking = True
    _holds_layers = True

    def __init__(
        self, layer: Any, merge_mode: Any = "concat", weights: Any = None, backward_layer: Any = None, **kwargs: Any
    ) -> None:
        for what, given in (("layer", layer), ("backward_layer", backward_layer)):
            if not isinstance(given, Layer) and not (what == "backward_layer" and given is None):
                raise ValueError(f"Bidirectional: {what}: expected a Layer, got {type(given).__name__}")
            missing = [a for a in ("go_backwards", "return_sequences", "return_state") if not hasattr(given, a)]
            if given is not None and missing:
                raise ValueError(f"Bidirectional: {what}: expected a recurrent layer, {given.name} has no {missing[0]}")
        if merge_mode not in ("sum", "mul", "ave", "concat", None):
            raise ValueError(
                f"Bidirectional: merge_mode: expected 'concat', 'sum', 'mul', 'ave' or None, got {short(merge_mode)}"
            )
        super().__init__(**kwargs)
        forward = layer.name.removeprefix("forward_")
        self.forward_layer = _renewed(layer, name=f"forward_{forward}")
        if backward_layer is None:
            name = f"backward_{layer.name.removeprefix('backward_')}"
            backward_layer = _renewed(layer, name=name, go_backwards=not layer.go_backwards)
        self.backward_layer = backward_layer
        if self.forward_layer.go_backwards == self.backward_layer.go_backwards:
            raise ValueError(
                "Bidirectional: backward_layer: expected another `go_backwards` than the layer's, got the same"
            )
        for what in ("return_sequences", "return_state", "stateful"):
            a, b = (getattr(m, what, False) for m in (self.forward_layer, self.backward_layer))
            if a != b:
                raise ValueError(f"Bidirectional: backward_layer: {what}: expected {a} as in the layer, got {b}")
        # A step that is masked has nothing to say in either direction.
        for m in (self.forward_layer, self.backward_layer):
            if hasattr(m, "zero_output_for_mask"):
                m.zero_output_for_mask = m.return_sequences
        self.merge_mode = merge_mode
        self.__dict__["_first_weights"] = weights

    return_sequences = property(lambda self: self.forward_layer.return_sequences)
    return_state = property(lambda self: self.forward_layer.return_state)
    stateful = property(lambda self: getattr(self.forward_layer, "stateful", False))
    go_backwards = property(lambda self: self.forward_layer.go_backwards)

    def build(self, input_shape: Any) -> None:
        for m in (self.forward_layer, self.backward_layer):
            if not m.built:
                m._build(input_shape)
        first = self.__dict__.pop("_first_weights", None)
        if first is not None:
            self.set_weights(first)

    # -- states --

    @property
    def states(self) -> Any:
        there, back = (getattr(m, "states", None) for m in (self.forward_layer, self.backward_layer))
        return None if there is None or back is None else (*there, *back)

    def reset_state(self) -> None:
        """Forget the states that stateful layers have kept."""
        if not self.stateful:
            raise AttributeError(f"{self.name}: reset_state: the layers are not stateful")
        self.forward_layer.reset_state()
        self.backward_layer.reset_state()

    def reset_states(self) -> None:
        """The same as `reset_state`."""
        self.reset_state()

    # -- running --

    def call(self, inputs: Tensor, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
        if isinstance(mask, (list, tuple)):
            mask = mask[0]
        states: list[Any] = [None, None]
        if initial_state is not None:
            given = list(initial_state)
            half = len(given) // 2
            states = [given[:half], given[half:]]
        found = self._run_native(inputs, states, mask, training)
        if found is None:
            found = self._run_apart(inputs, states, mask)
        y, back, final = found
        merged: Any
        if self.merge_mode == "concat":
            merged = y if back is None else cat([y, back], -1)
        elif self.merge_mode == "sum":
            merged = y + back
        elif self.merge_mode == "ave":
            merged = (y + back) * 0.5
        elif self.merge_mode == "mul":
            merged = y * back
        else:
            return (y, back, *final) if self.return_state else (y, back)
        return (merged, *final) if self.return_state else merged

    def _run_apart(self, x: Tensor, states: list[Any], mask: Any) -> tuple[Tensor, Tensor, list[Any]]:
        """(forward output, backward output in the order of time, final states), by the two layers."""
        outputs, final = [], []
        for layer, state in zip((self.forward_layer, self.backward_layer), states, strict=True):
            kwargs = {} if state is None else {"initial_state": state}
            out = layer(x, mask=mask, **kwargs)
            if self.return_state:
                out, *own = out
                final += own
            outputs.append(_reversed(out) if self.return_sequences and layer.go_backwards else out)
        return outputs[0], outputs[1], final

    def _run_native(
        self, x: Tensor, states: list[Any], mask: Any, training: bool
    ) -> tuple[Tensor, Tensor | None, list[Any]] | None:
        """The same by one kernel; the outputs lie side by side where they are to be joined so. None where it cannot."""
        forward, backward = self.forward_layer, self.backward_layer
        if not (isinstance(forward, RNN) and isinstance(backward, RNN)):
            return None
        a, b = forward.cell, backward.cell
        if not _is_built_in(a) or type(a) is not type(b) or a.units != b.units or len(x.shape) != 3:
            return None
        attrs = a._native_attrs()
        if attrs is None or attrs != b._native_attrs() or forward.go_backwards or forward.stateful:
            return None
        if training and (a.dropout or b.dropout):  # each direction drops other inputs
            return None
        if forward.activity_regularizer is not None or backward.activity_regularizer is not None:
            return None
        count = 2 if a._holds_cell_state else 1
        if any(s is not None and len(s) != count for s in states):
            return None  # the layers say what is wrong
        own = [[None] * count if s is None else s for s in states]
        mask = None if mask is None else counting(mask)
        arguments = [x, *a._native_weights(), *own[0], mask, *b._native_weights(), *own[1]]
        while arguments[-1] is None:
            arguments.pop()
        sequences = self.return_sequences
        found = recurrent(
            a._sequence_op, *arguments, **attrs, bidirectional=True, return_sequences=sequences,
            zero_masked_output=sequences,
        )  # fmt: skip
        final = list(found[-2 * count :])
        if not sequences:
            return final[0], final[count], final
        if self.merge_mode == "concat":
            return found[0], None, final
        return (*split(found[0], a.units, -1), final)  # type: ignore[return-value]

    def _keep_mask(self, inputs: Any, out: Any, mask: Any) -> None:
        if mask is not None and self.return_sequences:
            shown = flatten(out)[: 2 if self.merge_mode is None else 1]
            keep_masks(shown, [flatten(mask)[0]] * len(shown))

    # -- configuration --

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "merge_mode": self.merge_mode,
            "layer": serialized(self.forward_layer),
            "backward_layer": serialized(self.backward_layer),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, type] | None = None) -> Any:
        inner = {k: rebuilt(config.get(k), custom_objects) for k in ("layer", "backward_layer")}
        return cls(**{**config, **inner})


class TimeDistributed(Layer):
    """A layer applied to each time step by itself: (n, t, ...) as (n * t, ...).

    All steps go through the layer at once, so that batch normalisation sees those of all of them.

    Parameters
    ----------
    layer : Layer
    """

    supports_masking = True
    _holds_layers = True

    def __init__(self, layer: Any, **kwargs: Any) -> None:
        if not isinstance(layer, Layer):
            raise ValueError(f"TimeDistributed: layer: expected a Layer, got {type(layer).__name__}")
        super().__init__(**kwargs)
        self.layer = layer

    def build(self, input_shape: Any) -> None:
        from ..models import Model

        for shape in input_shape if isinstance(input_shape, list) else [input_shape]:
            if len(shape) < 3 and not self.layer._takes_integers():
                raise ValueError(f"{self.name}: input: expected (n, t, ...), got {shape}")
        if not self.layer.built and not isinstance(self.layer, Model):
            inner = [(None, *s[2:]) for s in (input_shape if isinstance(input_shape, list) else [input_shape])]
            self.layer._build(inner if isinstance(input_shape, list) else inner[0])

    def call(self, inputs: Any, training: bool = False, mask: Any = None) -> Any:
        steps = flatten(inputs)[0].shape[1]
        for t in flatten(inputs):
            if len(t.shape) < 2 or t.shape[1] != steps:
                raise ValueError(f"{self.name}: inputs: expected (n, {steps}, ...), got shape {tuple(t.shape)}")
        kwargs = {}
        if mask is not None and "mask" in self.layer._options():
            for m, t in zip(flatten(mask), flatten(inputs), strict=True):
                if m is not None and tuple(m.shape[:2]) != tuple(t.shape[:2]):
                    raise ValueError(f"{self.name}: mask: expected shape {tuple(t.shape[:2])}, got {tuple(m.shape)}")
            # A mask of steps is none of what lies inside a step.
            inner = map_structure(
                lambda m: None if m is None or len(m.shape) < 3 else counting(m).reshape(-1, *m.shape[2:]), mask
            )
            if any(m is not None for m in flatten(inner)):
                kwargs["mask"] = inner
        out = self.layer(map_structure(lambda t: t.reshape(-1, *t.shape[2:]), inputs), **kwargs)
        return map_structure(lambda t: t.reshape(-1, steps, *t.shape[1:]), out)

    def _takes_integers(self) -> bool:
        return self.layer._takes_integers()

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "layer": serialized(self.layer)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, type] | None = None) -> Any:
        return cls(**{**config, "layer": rebuilt(config["layer"], custom_objects)})
