"""Sequential and functional models with compile, fit, evaluate and predict."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import _saving, _settings, layers
from ._cloning import clone_model
from ._custom import custom, get_registered_name
from ._device import fill
from ._errors import short
from ._fit import Trainable
from ._functional_model import Functional, layer_config
from ._trace import NotTraceable, Tracer
from ._training import Engine, symbol_ids
from .layers._names import adopt, unique_name
from .layers._phase import keep_masks, loading
from .layers._symbolic import KerasTensor
from .layers.base import Layer
from .layers.input import InputLayer
from .nn.module import structure_clock

__all__ = ["Model", "Sequential", "clone_model", "load_model", "model_from_json", "save_model"]


class Model(Trainable):
    """A network that can be trained.

    Made from symbolic tensors, ``Model(inputs=x, outputs=y)``, or by subclassing with a `call` method.

    Parameters
    ----------
    inputs, outputs : KerasTensor or list of KerasTensor, optional
    name : str, optional
    """

    _holds_layers = True  # from_config takes custom_objects

    def __init__(self, inputs: Any = None, outputs: Any = None, name: str | None = None, **kwargs: Any) -> None:
        super().__init__(name=name or (unique_name("functional") if inputs is not None else None), **kwargs)
        self._graph: Functional | None = None
        if inputs is not None or outputs is not None:
            self._graph = Functional(inputs, outputs)
            for layer in self._graph.layers:
                self.add_module(adopt(layer, self._modules), layer)
            self.built = True

    # -- structure --

    @property
    def compute_dtype(self) -> str:  # type: ignore[override]
        """The float type of the first layer's weights, which inputs are given in."""
        for layer in self._modules.values():
            if isinstance(layer, Layer) and not isinstance(layer, InputLayer):
                return layer.variable_dtype
        return self.__dict__["_dtype"]

    @compute_dtype.setter
    def compute_dtype(self, value: str) -> None:
        self.__dict__["_dtype"] = value

    @property
    def layers(self) -> list[Layer]:
        """The layers right below, in order."""
        return [m for m in self._modules.values() if isinstance(m, Layer)]

    def _named_layers(self) -> list[tuple[str, Layer]]:
        """The layers with their names in this model."""
        return [(name, m) for name, m in self._modules.items() if isinstance(m, Layer)]

    def _names(self) -> dict[int, str]:
        return {id(m): name for name, m in self._named_layers()}

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """A layer by name or index."""
        if index is not None:
            if not -len(self.layers) <= index < len(self.layers):
                raise ValueError(f"get_layer: index: expected one of {len(self.layers)} layers, got {index}")
            return self.layers[index]
        for known, layer in self._named_layers():
            if known == name:
                return layer
        raise ValueError(
            f"get_layer: name: expected one of {', '.join(n for n, _ in self._named_layers())}, got {short(name)}"
        )

    def call(self, inputs: Any, training: bool = False, mask: Any = None) -> Any:
        if self._graph is None:
            raise NotImplementedError(f"{type(self).__name__}: call is not defined")
        keep_masks(inputs, mask)
        return self._graph.run(inputs)

    def _keep_mask(self, inputs: Any, out: Any, mask: Any) -> None:
        """The layers inside have kept the masks of the outputs."""

    @property
    def inputs(self) -> list[KerasTensor]:
        return self._graph.inputs if self._graph else []

    @property
    def outputs(self) -> list[KerasTensor]:
        return self._graph.outputs if self._graph else []

    @property
    def input(self) -> Any:
        return self._graph.input_structure if self._graph else super().input

    @property
    def output(self) -> Any:
        return self._graph.output_structure if self._graph else super().output

    @property
    def input_names(self) -> list[str]:
        names = self._names()
        return [names.get(id(t.layer), t.name) for t in self.inputs]

    @property
    def output_names(self) -> list[str]:
        names = self._names()
        return [names.get(id(t.layer), f"output_{i}") for i, t in enumerate(self.outputs)]

    def _sample_shapes(self) -> list[Any]:
        """The shapes of the inputs as far as they are fixed."""
        return [t.shape for t in self.inputs]

    def _input_rules(self) -> tuple[list[Any], int | None, bool, np.dtype]:
        """What inputs have to be like: shapes as far as fixed, number, whether integers, float type otherwise."""
        key = (structure_clock(), self.built)
        known = self.__dict__.get("_known_input_rules")
        if known is None or known[0] != key:
            rules = self._sample_shapes(), self._input_count(), self._takes_integers(), np.dtype(self.compute_dtype)
            known = self.__dict__["_known_input_rules"] = key, rules
        return known[1]

    def _takes_integers(self) -> bool:
        if self._graph is not None:
            return any(np.dtype(t.dtype).kind in "iu" for t in self._graph.inputs)
        return any(m._takes_integers() for m in self.layers)

    def summary(
        self,
        line_length: int | None = None,
        positions: Sequence[float] | None = None,
        print_fn: Callable[[str], Any] | None = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
        layer_range: Sequence[str] | None = None,
    ) -> None:
        """Print layers, output shapes and numbers of weights; for models with branches, also what is connected to what.

        Parameters
        ----------
        line_length : int, optional
            Width of the table; default: that of the terminal, at most 88 (108 with connections).
        positions : list of float, optional
            Where the columns end, as parts of the width.
        print_fn : callable, optional
            Gets each line; default: print.
        expand_nested : bool
            Show the layers of models inside.
        show_trainable : bool
            Show which layers are trained.
        layer_range : (str, str), optional
            Names, or patterns, of the first and the last layer to show.
        """
        from ._summary import print_summary

        print_summary(self, line_length, positions, print_fn, expand_nested, show_trainable, layer_range)

    def _repr_html_(self) -> str:
        from ._summary import model_html

        return model_html(self)

    # -- saving --

    def save(self, filepath: Any, overwrite: bool = True, include_optimizer: bool = True) -> None:
        """Write the model to one .safetensors file: weights, structure, training settings and optimizer state.

        Parameters
        ----------
        filepath : str or path
        overwrite : bool
            Whether an existing file may be replaced; it stays as it was if writing fails.
        include_optimizer : bool
        """
        path = _saving.check_path(filepath)
        _refuse_existing(path, overwrite)
        if not self.built:
            raise ValueError("save: the model has no weights yet: give its first layer an input_shape, or call it once")
        tensors = {name: p._data for name, p, _ in self._named_weights()}
        description = {**self._description("save"), "graph": self._inference_graph()}
        if self._compiled and include_optimizer:
            names = {id(p): name for name, p, _ in self._named_weights()}
            for p, arrays in self.optimizer._states.values():
                for (slot, _), a in zip(self.optimizer._native.slots, arrays, strict=True):
                    if id(p) in names:
                        tensors[f"optimizer/{slot}/{names[id(p)]}"] = a
            tensors.update({f"optimizer/own/{i}": v._data for i, v in enumerate(self.optimizer._own)})
            description["iterations"] = self.optimizer._iterations
        _saving.write(path, tensors, description)

    def _description(self, what: str) -> dict[str, Any]:
        """The structure, and what compile was given."""
        found = {"class_name": get_registered_name(type(self)), "config": self.get_config()}
        if self._compiled:
            try:
                found["compile"] = _settings.encode(self)
            except _settings.CannotSave as e:
                warnings.warn(f"{what}: what compile was given is not saved: {e}", stacklevel=3)
        return found

    def to_json(self, **kwargs: Any) -> str:
        """The structure and the training settings as JSON, without weights; `model_from_json` reads it.

        Parameters
        ----------
        **kwargs
            Arguments of `json.dumps`.
        """
        return json.dumps({"format": _saving.FORMAT, **self._description("to_json")}, **kwargs)

    def _inference_graph(self) -> Any:
        """The graph as the C library runs it, traced for one sample; None where the model cannot be traced."""
        shapes = self._trace_shapes()
        if shapes is None:
            return None
        tracer = Tracer()
        tracer.name_parameters((name, p) for name, p, _ in self._named_weights())
        try:
            xs = [tracer.input(f"input_{i}", s, d) for i, (d, s) in enumerate(shapes)]
            with tracer:
                outputs, _ = self._engine.forward(xs, False)
        except NotTraceable:
            return None
        tracer.graph.set_outputs(symbol_ids(outputs))
        return json.loads(tracer.graph.to_json())

    def _trace_shapes(self) -> list[tuple[str, tuple[int, ...]]] | None:
        if self._graph is not None:
            specs: list[Any] = [(t.dtype, t.shape) for t in self._graph.inputs]
        else:
            shape = self.__dict__.get("_build_shape")
            if shape is None or isinstance(shape, list):
                return None
            specs = [("int64" if self._takes_integers() else self.compute_dtype, shape)]
        if any(d is None for _, s in specs for d in s[1:]):
            return None
        return [(d, (1, *s[1:])) for d, s in specs]

    def save_weights(self, filepath: Any, overwrite: bool = True) -> None:
        """Write the weights alone.

        Parameters
        ----------
        filepath : str or path
            A .safetensors file, or a .weights.h5 file as Keras 3 writes it (for which h5py must be installed).
        overwrite : bool
            Whether an existing file may be replaced; it stays as it was if writing fails.
        """
        if os.fspath(filepath).endswith(".weights.h5"):
            from ._weights import keras_files

            _refuse_existing(os.fspath(filepath), overwrite)
            keras_files.save_weights(self, filepath)
            return
        path = _saving.check_path(filepath)
        _refuse_existing(path, overwrite)
        _saving.write(path, {name: p._data for name, p, _ in self._named_weights()}, {"class_name": "weights"})

    def load_weights(self, filepath: Any, skip_mismatch: bool = False, by_name: bool = False) -> None:
        """Read weights; nothing is changed unless all fit, or `skip_mismatch`.

        Parameters
        ----------
        filepath : str or path
            What `save_weights` or `save` wrote, or weights of Keras: .weights.h5, .keras and .h5 files, of which only
            arrays are read (h5py must be installed).
        skip_mismatch : bool
            Leave out, with a warning, what is missing or has another shape.
        by_name : bool
            Take the weights of layers that have the same name in the file and leave the others as they are. By default
            the file must hold all layers, and Keras' are met in their order.
        """
        from ._weights import keras_files

        if keras_files.is_keras_file(filepath):
            keras_files.load_weights(self, filepath, skip_mismatch, by_name)
            return
        tensors, _ = _saving.read(filepath)
        tensors = {k: v for k, v in tensors.items() if not k.startswith("optimizer/")}
        if by_name:
            own = {name.split(".")[0] for name, _, _ in self._named_weights()}
            saved = {k.split(".")[0] for k in tensors}
            tensors = {k: v for k, v in tensors.items() if k.split(".")[0] in own}
            tensors |= {name: p._data for name, p, _ in self._named_weights() if name.split(".")[0] not in saved}
        if skip_mismatch:
            for name, p, _ in self._named_weights():
                if name not in tensors or tensors[name].shape != p.shape:
                    got = f"shape {tensors[name].shape}" if name in tensors else "nothing"
                    warnings.warn(
                        f"load_weights: {filepath}: skipped {name}: expected shape {p.shape}, got {got}", stacklevel=2
                    )
                    tensors[name] = p._data
            tensors = {name: tensors[name] for name, _, _ in self._named_weights()}
        self._assign(tensors, str(filepath))

    def _assign(self, tensors: dict[str, np.ndarray], path: str) -> None:
        own = {name: p for name, p, _ in self._named_weights()}
        missing, extra = sorted(set(own) - set(tensors)), sorted(set(tensors) - set(own))
        if missing or extra:
            raise ValueError(
                f"load: {path}: the file's weights are not this model's: missing {missing or 'none'}, "
                f"extra {extra or 'none'}"
            )
        for name, p in own.items():
            if tensors[name].shape != p.shape:
                raise ValueError(f"load: {path}: {name}: expected shape {p.shape}, got {tensors[name].shape}")
        for name, p in own.items():
            fill(p._data, tensors[name])

    # -- configuration --

    def get_config(self) -> dict[str, Any]:
        if self._graph is None:
            return super().get_config()
        return {"name": self.name, "trainable": self._trainable, **self._graph.config(self._names())}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, type] | None = None) -> Model:
        if "calls" not in config:
            return super().from_config(config)  # type: ignore[no-any-return]
        inputs, outputs = Functional.rebuild(config, _layer_classes(custom_objects), custom_objects)
        return cls(inputs, outputs, name=config.get("name"))


def _refuse_existing(path: str, overwrite: bool) -> None:
    if not overwrite and os.path.exists(path):
        raise FileExistsError(f"save: {path}: the file exists, and overwrite is False")


class Sequential(Model):
    """Layers one after another.

    Parameters
    ----------
    layers : list of Layer, optional
    name : str, optional
    """

    _builds_itself = True

    def __init__(self, layers: Sequence[Any] | None = None, trainable: bool = True, name: str | None = None) -> None:
        super().__init__(name=name or unique_name("sequential"), trainable=trainable)
        self._last: KerasTensor | None = None
        self._declared = False  # whether the user gave the input's shape
        for layer in layers or []:
            self.add(layer)

    def add(self, layer: Any) -> None:
        """Append a layer, or a KerasTensor made by Input as the start."""
        if isinstance(layer, KerasTensor):
            if not isinstance(layer.layer, InputLayer) or self._modules or self._last is not None:
                raise ValueError("Sequential: add: a KerasTensor must come from Input and stand first")
            self._start(layer)
            self._declared = True
            return
        if isinstance(layer, InputLayer):
            self.add(layer._only_call().outputs[0])
            return
        if not isinstance(layer, Layer):
            raise TypeError(f"Sequential: add: expected a Layer, got {type(layer).__name__}")
        if any(m is layer for m in self._modules.values()):
            raise ValueError(f"Sequential: add: expected a new layer, got {short(layer.name)} again")
        name = adopt(layer, self._modules)
        if self._last is None and not self._modules:
            shape = layer._sample_shape
            if shape is None and isinstance(layer, Model) and layer.built and layer._trace_shapes():
                shape = layer._trace_shapes()[0][1][1:]  # type: ignore[index]
            if shape is not None:
                self._start(KerasTensor((None, *shape), layer._input_dtype()))
                self._declared = True
        self.add_module(name, layer)
        if self._last is not None:
            self._last = layer(self._last)
            self.built = True
        self._engine = Engine(self)

    def _start(self, tensor: KerasTensor) -> None:
        self._last = tensor
        self._sample_shape = tensor.shape[1:]
        self.__dict__["_build_shape"] = (None, *tensor.shape[1:])
        self.__dict__["_input_kind"] = tensor.dtype

    def pop(self) -> Layer:
        """Take the last layer off."""
        if not self._modules:
            raise ValueError("Sequential: pop: there are no layers")
        name = next(reversed(self._modules))
        layer = self._modules.pop(name)
        if self._last is not None:
            layers = self.layers
            self._last = layers[-1]._calls[-1].outputs[0] if layers else None
        self._engine = Engine(self)
        return layer  # type: ignore[return-value]

    def build(self, input_shape: Any = None) -> None:
        """Make the weights for inputs of this shape, batch dimension included."""
        if self._last is None and self.layers:
            shape = tuple(input_shape)
            t = KerasTensor((None, *shape[1:]), self._input_dtype())
            self._start(t)
            for layer in self.layers:
                t = layer(t)
            self._last = t
            self.built = True

    def call(self, inputs: Any, training: bool = False, mask: Any = None) -> Any:
        keep_masks(inputs, mask)
        x = inputs
        for layer in self._modules.values():
            x = layer(x)  # type: ignore[misc]
        return x

    def _takes_integers(self) -> bool:
        kind = self.__dict__.get("_input_kind")
        if kind is not None and not self.layers:
            return np.dtype(kind).kind in "iu"
        return bool(self.layers) and self.layers[0]._takes_integers()

    def _sample_shapes(self) -> list[Any]:
        shape = self.__dict__.get("_build_shape")
        if shape is None or isinstance(shape, list):
            return []
        # Built from the first data it saw, it may see other sizes later.
        return [shape if self._declared else (None,) * len(shape)]

    def _input_count(self) -> int | None:
        return 1

    def _output_sizes(self) -> list[int | None]:
        return [] if self._last is None or not self._last.shape else [self._last.shape[-1]]

    @property
    def output_shape(self) -> Any:
        return None if self._last is None else self._last.shape

    @property
    def inputs(self) -> list[KerasTensor]:
        return []

    @property
    def output_names(self) -> list[str]:
        return [self.layers[-1].name] if self.layers else []

    def get_config(self) -> dict[str, Any]:
        built_from = self.__dict__.get("_build_shape")
        return {
            "name": self.name,
            "layers": [layer_config(name, m) for name, m in self._named_layers()],
            "input_shape": None if built_from is None else [None, *built_from[1:]],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, type] | None = None) -> Sequential:
        model = cls(name=config.get("name"))
        classes = _layer_classes(custom_objects)
        for layer in config["layers"]:
            model.add(_saving.rebuild(layer, classes, custom_objects))
        if not model.built and config.get("input_shape") is not None:
            model.build(tuple(config["input_shape"]))
        return model


def _layer_classes(custom_objects: dict[str, type] | None = None) -> dict[str, type]:
    found: dict[str, type] = {
        name: cls
        for name in layers.__all__
        if isinstance(cls := getattr(layers, name), type) and issubclass(cls, Layer)
    }
    return {
        **found,
        "Sequential": Sequential,
        "Model": Model,
        "Functional": Model,
        **custom(),
        **(custom_objects or {}),
    }


def load_model(
    filepath: Any, custom_objects: dict[str, type] | None = None, compile: bool = True, safe_mode: bool = True
) -> Model:
    """Read a model that `Model.save` wrote; no code of the file is ever run.

    Parameters
    ----------
    filepath : str or path
    custom_objects : dict of str to class, optional
        The user's own layers, losses and metrics, by name.
    compile : bool
        Whether to compile it as it was, optimizer state included.
    safe_mode : bool
        Accepted for Keras' sake: every file is read safely.
    """
    from ._weights import keras_files

    if keras_files.is_keras_file(filepath):
        raise ValueError(
            f"load_model: {filepath}: a file of Keras: make the model, and read its weights by load_weights"
        )
    tensors, description = _saving.read(filepath)
    if "config" not in description:
        raise ValueError(f"load_model: {filepath}: the file holds weights but no model; use load_weights")
    weights = {k: v for k, v in tensors.items() if not k.startswith("optimizer/")}
    with _saving.malformed(filepath), loading(sum(a.size for a in weights.values())):
        model = _rebuilt(description, custom_objects)
    model._assign(weights, str(filepath))
    if compile:
        with _saving.malformed(filepath):
            if _compile_again(model, description, custom_objects, f"load_model: {filepath}"):
                _restore_optimizer(model, tensors, description)
    return model


def _rebuilt(description: dict[str, Any], custom_objects: dict[str, type] | None) -> Model:
    model = _saving.rebuild(description, _layer_classes(custom_objects), custom_objects)
    if not isinstance(model, Model):
        raise ValueError(f"expected a model, got {type(model).__name__}")
    return model


def _compile_again(model: Model, description: dict[str, Any], custom_objects: Any, what: str) -> bool:
    """Compile a model as it was; without what that took, warn and leave it."""
    settings = description.get("compile")
    if not settings:
        return False
    try:
        model.compile(**_settings.decode(settings, custom_objects))
    except _settings.Unknown as e:
        warnings.warn(
            f"{what}: {e} that the model was compiled with is not among custom_objects: call compile before training",
            stacklevel=3,
        )
        return False
    return True


def save_model(model: Model, filepath: Any, overwrite: bool = True, include_optimizer: bool = True) -> None:
    """Write a model to a file; see `Model.save`.

    Parameters
    ----------
    model : Model
    filepath : str or path
    overwrite : bool
        Whether an existing file may be replaced.
    include_optimizer : bool
    """
    if not isinstance(model, Model):
        raise TypeError(f"save_model: model: expected a Model, got {type(model).__name__}")
    model.save(filepath, overwrite, include_optimizer)


def model_from_json(json_string: str, custom_objects: dict[str, type] | None = None) -> Model:
    """A model with new weights from what `Model.to_json` gave, compiled as it was; no code in it is ever run.

    Parameters
    ----------
    json_string : str
    custom_objects : dict of str to class, optional
        The user's own layers, losses and metrics, by name.
    """
    try:
        description = json.loads(json_string)
    except (ValueError, RecursionError) as e:
        raise ValueError(f"model_from_json: json_string: expected JSON: {e}") from None
    with _saving.malformed("json_string", "model_from_json"):
        if isinstance(description, dict) and "module" in description:
            raise ValueError("JSON of Keras: make the model, and read its weights by load_weights")
        model = _rebuilt(description, custom_objects)
        _compile_again(model, description, custom_objects, "model_from_json")
    return model


def _restore_optimizer(model: Model, tensors: dict[str, np.ndarray], description: dict[str, Any]) -> None:
    optimizer = model.optimizer
    optimizer._iterations = int(description.get("iterations", 0))
    for name, p, _ in model._named_weights():
        slots = [tensors.get(f"optimizer/{slot}/{name}") for slot, _ in optimizer._native.slots]
        if slots and all(a is not None and a.shape == p.shape for a in slots):
            for have, new in zip(optimizer.states([p])[0], slots, strict=True):
                have[...] = new
    own = [a for name, a in tensors.items() if name.startswith("optimizer/own/")]
    if own:
        optimizer.build(model.trainable_variables)
        for i, have in enumerate(optimizer._own):
            if i < len(own) and tensors[f"optimizer/own/{i}"].shape == have.shape:
                fill(have._data, tensors[f"optimizer/own/{i}"])
