"""Models again with new layers."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

from . import _saving, _settings, models
from ._custom import custom_scope, get_registered_name
from ._errors import short
from .layers._structures import flatten, map_structure
from .layers._symbolic import KerasTensor
from .layers.base import Layer
from .layers.core import Lambda
from .layers.input import Input, InputLayer


def clone_model(
    model: Any,
    input_tensors: Any = None,
    clone_function: Callable[[Any], Any] | None = None,
    call_function: Callable[..., Any] | None = None,
    recursive: bool = False,
) -> Any:
    """A model of the same structure with new layers and new weights, compiled if the model is.

    Parameters
    ----------
    model : Model
        Sequential or functional; others must be made again by their `from_config`.
    input_tensors : KerasTensor or InputLayer, or a list or dict of them, optional
        What the new model starts from; by default new inputs.
    clone_function : callable(layer), optional
        Gives the new layer of each one that is not an input; by default one with the same configuration.
    call_function : callable(layer, *args, **kwargs), optional
        Calls the new layers of a functional model, perhaps others before or after them.
    recursive : bool
        Whether models inside are cloned by these rules, rather than by `clone_function`.

    Returns
    -------
    Model

    Examples
    --------
    >>> def wider(layer):
    ...     config = layer.get_config()
    ...     return type(layer).from_config({**config, "units": 2 * config["units"]} if "units" in config else config)
    >>> large = lamella.models.clone_model(model, clone_function=wider)
    """
    if not isinstance(model, models.Model):
        raise TypeError(f"clone_model: model: expected a Model, got {type(model).__name__}")
    for name, function in (("clone_function", clone_function), ("call_function", call_function)):
        if function is not None and not callable(function):
            raise TypeError(f"clone_model: {name}: expected a callable, got {type(function).__name__}")
    return _Cloning(model, clone_function, call_function, bool(recursive)).model(model, input_tensors)


class _Cloning:
    def __init__(self, top: Any, clone_function: Any, call_function: Any, recursive: bool) -> None:
        self.clone_function, self.call_function, self.recursive = clone_function, call_function, recursive
        self.own = _users_objects(top)
        self.made: dict[int, Any] = {}  # by id of the layer: one that is called twice stays one

    def model(self, model: Any, input_tensors: Any = None) -> Any:
        if isinstance(model, models.Sequential):
            if self.call_function is not None and not self.made:
                raise ValueError(
                    "clone_model: call_function: a Sequential model's layers are not called one by one; expected None, "
                    f"got {short(self.call_function)}"
                )
            new = self._sequential(model, input_tensors)
        elif model._graph is not None:
            new = self._functional(model, input_tensors)
        else:
            refused = {
                "input_tensors": input_tensors,
                "clone_function": self.clone_function,
                "call_function": self.call_function,
            }
            for argument, value in refused.items():
                if value is not None:
                    raise ValueError(
                        f"clone_model: {argument}: expected None for a model with a call method of its own, got "
                        f"{short(value)}"
                    )
            new = self._again(model, model.name)
        new._trainable = model._trainable
        self._compile(model, new)
        return new

    def _sequential(self, model: Any, input_tensors: Any) -> Any:
        shape = model.__dict__.get("_build_shape")
        new = models.Sequential(name=model.name)
        if input_tensors is not None:
            (start,) = _starts(input_tensors, 1)
            if not isinstance(start.layer, InputLayer):
                start = Input(batch_shape=start.shape, dtype=start.dtype)
            new.add(start)
        elif model._declared:
            new.add(Input(batch_shape=shape, dtype=model.__dict__.get("_input_kind")))
        for name, layer in model._named_layers():
            new.add(self._layer(layer, name))
        if model.built and not new.built:
            new.build(shape)
        return new

    def _functional(self, model: Any, input_tensors: Any) -> Any:
        graph, names = model._graph, model._names()
        if input_tensors is None:
            starts = [
                Input(batch_shape=t.shape, dtype=t.dtype, name=names.get(id(t.layer), t.name)) for t in graph.inputs
            ]
        else:
            starts = _starts(input_tensors, len(graph.inputs))
        values: dict[int, Any] = {id(t): v for t, v in zip(graph.inputs, starts, strict=True)}

        def fill(leaf: Any) -> Any:
            return values[id(leaf)] if isinstance(leaf, KerasTensor) else leaf

        for call in graph.calls:
            layer = self._layer(call.layer, names[id(call.layer)])
            args = [map_structure(fill, a) for a in call.args]
            kwargs = map_structure(fill, call.kwargs)
            out = layer(*args, **kwargs) if self.call_function is None else self.call_function(layer, *args, **kwargs)
            found = flatten(out)
            if len(found) != len(call.outputs):
                raise ValueError(
                    f"clone_model: {layer.name}: expected {len(call.outputs)} outputs as before, got {len(found)}"
                )
            for t, v in zip(call.outputs, found, strict=True):
                values[id(t)] = v
        # A subclass that is not made of inputs and outputs cannot be made of new ones.
        plain = list(inspect.signature(type(model).__init__).parameters)[1:4] == ["inputs", "outputs", "name"]
        cls = type(model) if plain else models.Model
        return cls(map_structure(fill, graph.input_structure), map_structure(fill, graph.output_structure), model.name)

    def _layer(self, layer: Any, name: str) -> Any:
        if id(layer) not in self.made:
            self.made[id(layer)] = self._new(layer, name)
        return self.made[id(layer)]

    def _new(self, layer: Any, name: str) -> Any:
        inside = isinstance(layer, models.Sequential) or getattr(layer, "_graph", None) is not None
        if self.recursive and inside:
            self.made[id(layer)] = None  # says that this is not the outermost model
            new = self.model(layer)
            new.name = name
            return new
        if self.clone_function is None:
            return self._again(layer, name)
        new = self.clone_function(layer)
        if not isinstance(new, Layer):
            raise TypeError(f"clone_model: clone_function: expected it to give a Layer, got {type(new).__name__}")
        return new

    def _again(self, layer: Any, name: str) -> Any:
        """A layer with the same configuration."""
        if type(layer) is Lambda:  # its function need not have a name
            kept = {"name": name, "trainable": layer._trainable, "dtype": layer.dtype_policy.name}
            return Lambda(layer.function, layer._output_shape, layer.mask, layer.arguments, **kept)
        config = {**layer.get_config(), "name": name}
        cls = get_registered_name(type(layer))
        with custom_scope(self.own):
            return _saving.rebuild(
                {"class_name": cls, "config": config}, {**models._layer_classes(), cls: type(layer)}, self.own
            )

    def _compile(self, model: Any, new: Any) -> None:
        if not model._compiled:
            return
        try:
            settings = _settings.decode(_settings.encode(model), self.own)
        except (_settings.CannotSave, _settings.Unknown) as e:
            warnings.warn(f"clone_model: what compile was given is not copied: {e}", stacklevel=4)
            return
        new.compile(
            **settings,
            run_eagerly=model.run_eagerly,
            steps_per_execution=model.steps_per_execution,
            jit_compile=model.jit_compile,
        )


def _starts(tensors: Any, count: int) -> list[KerasTensor]:
    found = [t._only_call().outputs[0] if isinstance(t, InputLayer) else t for t in flatten(tensors)]
    for t in found:
        if not isinstance(t, KerasTensor):
            raise TypeError(f"clone_model: input_tensors: expected KerasTensors, got {type(t).__name__}")
    if len(found) != count:
        raise ValueError(f"clone_model: input_tensors: expected {count}, got {len(found)}")
    return found


def _users_objects(model: Any) -> dict[str, Any]:
    """The classes of a model's layers, and the functions that they and `compile` were given, by name."""
    found: dict[str, Any] = {}
    for layer in model.modules():
        found[get_registered_name(type(layer))] = type(layer)
        found.update(_by_name(vars(layer).values()))
    if model._compiled:
        given = [model._loss_arg, model._metric_args, model._weighted_metric_args]
        found.update(_by_name([model.optimizer.__class__, *flatten(given)]))
    return {name: v for name, v in found.items() if not v.__module__.startswith("lamella.")}


def _by_name(values: Any) -> dict[str, Any]:
    found = {}
    for value in values:
        for obj in (value, type(value), getattr(value, "fn", None)):
            if inspect.isfunction(obj) or inspect.isclass(obj):
                found[get_registered_name(obj)] = obj
    return found
