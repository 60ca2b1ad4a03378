"""Layer: a Module in Keras' idiom, built at its first call."""

from __future__ import annotations

import functools
import inspect
import itertools
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from .. import constraints, initializers, regularizers
from .._dtypes import as_dtype, is_float, is_number
from .._errors import short
from .._grad_mode import state as _mode
from .._suggest import unknown_name
from ..amp import layer_precision, outside_layers
from ..autograd import Tensor, as_array, wrap
from ..mixed_precision import policy_of, unsaid_is_float32
from ..nn.module import Module, structure_changed
from ..nn.parameter import Parameter, traced
from ._arguments import sample_shape
from ._names import snake_case, unique_name
from ._phase import keep_masks, phases
from ._structures import flatten, map_structure, map_structure_shape
from ._symbolic import Call, KerasTensor
from ._tracking import holds_modules, track

__all__ = ["Layer"]

_AGGREGATIONS = ("none", "mean", "sum", "only_first_replica")


class Layer(Module):
    """The base of Keras-style layers: `build` makes the weights at the first call, `call` computes.

    Parameters
    ----------
    name : str, optional
        Unique name; by default made from the class name.
    trainable : bool
        Whether training changes the weights.
    dtype : str or DTypePolicy, optional
        "float32" (default) or "float64".
    activity_regularizer : Regularizer or str, optional
        Penalty on the output, added to the training loss.
    input_shape : tuple of int, optional
        Shape of one sample: lets a model be built before it sees data. `input_dim=n` means ``(n,)``.
    batch_input_shape, batch_shape : tuple, optional
        The same with the batch dimension in front.

    Attributes
    ----------
    supports_masking : bool
        Whether the mask of the input, of padded time steps, is that of the output too. Where it is false (the default)
        and `compute_mask` is not overridden, a mask ends at this layer.
    """

    supports_masking = False

    _builds_itself = False  # whether `build` says itself that it is done
    _call_options: frozenset[str] | None = None  # of each class; see `_options`

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._call_options = None
        if "build" in cls.__dict__ and not cls._builds_itself:
            cls.build = _noted(cls.__dict__["build"])  # type: ignore[method-assign]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        layer = super().__new__(cls)
        if _is_users(cls):
            layer.__dict__["_made_with"] = args, kwargs
        return layer

    def __init__(
        self,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = None,
        activity_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        shape = kwargs.pop("input_shape", None)
        if "input_dim" in kwargs:
            shape = (kwargs.pop("input_dim"),)
        if "input_length" in kwargs and shape is not None:
            shape = (kwargs.pop("input_length"), *shape)
        for key in ("batch_input_shape", "batch_shape"):
            if key in kwargs:
                shape = tuple(kwargs.pop(key))[1:]
        if kwargs:
            raise TypeError(f"{type(self).__name__}: unknown arguments: {', '.join(sorted(kwargs))}")
        if name is not None and not isinstance(name, str):
            raise TypeError(f"{type(self).__name__}: name: expected a string, got {short(name)}")
        self.name = name or unique_name(snake_case(type(self).__name__))
        self._named_by_user = name is not None
        self._owned = False  # whether a model has it: then its name stays
        try:
            self.dtype_policy = policy_of(dtype)
        except TypeError as e:
            raise TypeError(f"{self.name}: {e}") from None
        self.compute_dtype = self.dtype_policy.compute_dtype
        mixed = self.compute_dtype != self.variable_dtype
        self._precision = layer_precision(self.compute_dtype) if mixed else None
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self.built = False
        self._trainable = bool(trainable)
        self._sample_shape = None if shape is None else sample_shape(shape, f"{type(self).__name__}: input_shape")
        self._regularized: list[tuple[Any, Parameter]] = []
        self._weight_trainable: dict[str, bool] = {}
        self._made_up_names: set[str] = set()
        self._weight_options: tuple[str, ...] = ()
        self._calls: list[Call] = []

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            known = self._name_of(value)
            if known not in (None, name):
                if known in self.__dict__["_made_up_names"]:
                    self._rename(str(known), name)
                else:
                    object.__setattr__(self, name, value)
                return
        elif isinstance(value, (list, tuple, dict)) and (
            holds_modules(value) or not (value or name[0] == "_") or name in self.__dict__.get("_tracked", ())
        ):
            self._forget(name)
            object.__setattr__(self, name, track(self, name, value))
            return
        super().__setattr__(name, value)

    def _name_of(self, weight: Parameter) -> str | None:
        return next((n for n, p in self.__dict__.get("_parameters", {}).items() if p is weight), None)

    def _rename(self, old: str, new: str) -> None:
        """Let a weight whose name was made up be called as the attribute that it is kept in."""
        self.register_parameter(new, self._parameters.pop(old))
        self._weight_trainable[new] = self._weight_trainable.pop(old)
        self.__dict__["_made_up_names"].discard(old)
        if self._parameters[new].name == old:
            self._parameters[new].name = new

    # -- for subclasses --

    def build(self, input_shape: Any) -> None:
        """Make the weights for inputs of this shape (None for unknown sizes); subclasses use `add_weight`."""

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output from tensors. May take `training` and `mask`."""
        raise NotImplementedError(f"{type(self).__name__}: call is not defined")

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """The mask of the output, where `supports_masking` is true or this is overridden; by default the input's."""
        return previous_mask

    def add_weight(
        self,
        *args: Any,
        shape: Any = None,
        initializer: Any = None,
        dtype: Any = None,
        trainable: bool = True,
        autocast: bool = True,
        regularizer: Any = None,
        constraint: Any = None,
        aggregation: str = "none",
        name: str | None = None,
    ) -> Parameter:
        """Make a weight.

        Parameters
        ----------
        *args
            The shape, or a name and the shape; or the shape and the initializer.
        shape : tuple of int
            Default: a scalar.
        initializer : str or Initializer
            Default: "glorot_uniform" for trainable float weights, else "zeros".
        dtype : str, optional
            Default: the layer's.
        trainable : bool
            False for running statistics and the like.
        autocast : bool
            Accepted for Keras' sake: weights are never cast.
        aggregation : {"none", "mean", "sum", "only_first_replica"}
            Of the replicas of the weight; there is always one.
        regularizer : str or Regularizer, optional
            A penalty, added to the training loss.
        constraint : str or Constraint, optional
            What the weight is brought back to after each update.
        name : str, optional
            Default: the attribute that it is assigned to.

        Returns
        -------
        Parameter
        """
        if len(args) > 2:
            raise TypeError(f"{self.name}: add_weight: expected at most two positional arguments, got {len(args)}")
        if aggregation not in _AGGREGATIONS:
            raise unknown_name(f"{self.name}: add_weight: aggregation", aggregation, _AGGREGATIONS)
        if args and isinstance(args[0], str):
            name, args = args[0], args[1:]
        if args:
            shape, initializer = args[0], (*args[1:], initializer)[0]
        given = () if shape is None else (shape,) if hasattr(shape, "__index__") else shape
        if not isinstance(given, (tuple, list)) or not all(hasattr(d, "__index__") and int(d) >= 0 for d in given):
            raise ValueError(f"{self.name}: add_weight: shape: expected sizes >= 0, got {short(shape)}")
        shape = tuple(int(d) for d in given)
        init = initializers.get(initializer or ("glorot_uniform" if trainable else "zeros"))
        if phases.now.budget is not None:
            phases.now.budget -= math.prod(shape)
            if phases.now.budget < 0:
                raise ValueError(f"{self.name}: the configuration asks for more weights than the file holds")
            init = np.zeros
        value = np.asarray(as_array(init(shape, dtype or self.variable_dtype)), order="C")
        if value.shape != shape:
            raise ValueError(f"{self.name}: initializer: expected an array of shape {shape}, got {value.shape}")
        weight = Parameter(value, requires_grad=bool(trainable) and self._trainable)
        weight.constraint = constraints.get(constraint)
        if name is None:
            name = f"weight_{len(self._weight_trainable)}"
            self._made_up_names.add(name)
        weight.name = name
        key = name.replace(".", "_").replace("/", "_")
        while key in self._parameters:
            key += "_"
        self.register_parameter(key, weight)
        self._weight_trainable[key] = bool(trainable)
        penalty = regularizers.get(regularizer)
        if penalty is not None:
            self._regularized.append((penalty, weight))
        return weight

    def __getstate__(self) -> dict[str, Any]:
        # What the last call added is no part of a copy.
        return {k: v for k, v in self.__dict__.items() if k not in ("_added_losses", "_last_call")}

    def add_loss(self, loss: Any) -> None:
        """Add a scalar tensor, or a list of them, to the training loss; called in `call`.

        Outside of training, `losses` holds what the last call added.
        """
        for term in flatten(loss):
            if not isinstance(term, Tensor):
                raise TypeError(f"{self.name}: add_loss: loss: expected a tensor, got {type(term).__name__}")
            if len(term.shape):
                raise ValueError(f"{self.name}: add_loss: loss: expected a scalar, got shape {tuple(term.shape)}")
            if phases.now.losses is not None:
                phases.now.losses.append(term)
                continue
            if term._data is None:  # traced for something else than training
                continue
            call = phases.now.call or self.__dict__.setdefault("_last_call", object())
            added = self.__dict__.get("_added_losses")
            if added is None or added[0] is not call:
                added = self.__dict__["_added_losses"] = call, list[Any]()
            added[1].append(term)

    def _set_weight_options(self, **options: Any) -> None:
        """Keep `<weight>_initializer`, `<weight>_regularizer` and `<weight>_constraint`."""
        for key, value in options.items():
            setattr(self, key, _WEIGHT_OPTIONS[key.rpartition("_")[2]].get(value))
        self._weight_options = (*self._weight_options, *options)

    def _weight_config(self) -> dict[str, Any]:
        """The weights' options for `get_config`."""
        return {k: _WEIGHT_OPTIONS[k.rpartition("_")[2]].serialize(getattr(self, k)) for k in self._weight_options}

    def _make_weight(self, name: str, shape: Sequence[int], options: str | None = None, **kwargs: Any) -> Parameter:
        """Make a weight by its options, which are called after it unless `options` says otherwise."""
        own = {k: getattr(self, f"{options or name}_{k}", None) for k in _WEIGHT_OPTIONS}
        return self.add_weight(shape, name=name, **{**own, **kwargs})

    # -- calling --

    def __call__(self, *args: Any, training: bool | None = None, mask: Any = None, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs and mask is None and isinstance(args[0], (Tensor, np.ndarray)):
            args = (self._to_tensor(args[0]),)
        else:
            first = args[0] if args else None
            if first is None or isinstance(first, (list, tuple)):
                self._check_structure(first)
            if any(isinstance(leaf, KerasTensor) for leaf in flatten([list(args), kwargs])):
                if training is not None:
                    kwargs["training"] = training
                return self._call_symbolic(args, kwargs)
            if not args:
                raise TypeError(f"{self.name}: expected at least one input")
            args = tuple(map_structure(self._to_tensor, a) for a in args)
            kwargs = {k: map_structure(self._array_to_tensor, v) for k, v in kwargs.items()}
            mask = map_structure(self._array_to_tensor, mask)
        now = phases.now
        outermost = now.depth == 0
        before = now.training, now.decided
        if outermost:
            now.masks = {}
            now.training = now.decided = False
            now.call = object()
        if training is not None:
            now.training, now.decided = bool(training), True
        now.depth += 1
        try:
            if not self.built:
                self._build(map_structure(lambda t: tuple(t.shape), args[0]))
            options = self._options()
            if "training" in options:
                kwargs["training"] = now.training
            if mask is None and now.masks:
                mask = self._mask_of(args[0])
            if "mask" in options:
                kwargs["mask"] = mask
            call = self.call
            if self._precision is not None or _mode.autocast is not None:
                call = self._call_in_precision
            if (self._pre_hooks or self._hooks) and not now.shapes_only:
                out = self._run_hooked(call, args, kwargs)
            else:
                out = call(*args, **kwargs)
            if mask is not None or type(self).compute_mask is not Layer.compute_mask:
                self._keep_mask(args[0], out, mask)
            if self.activity_regularizer is not None:
                for t in flatten(out):
                    self.add_loss(self.activity_regularizer(t) * (1.0 / max(int(t.shape[0]), 1)))
            if now.losses is None:
                self.__dict__["_last_call"] = now.call
            if outermost:
                masks = now.masks
                now.output_masks = [masks.get(id(t), (None, None))[1] for t in flatten(out)] if masks else []
            return out
        finally:
            now.depth -= 1
            now.training, now.decided = before
            if outermost:
                now.masks = None
                now.call = None

    def _call_in_precision(self, *args: Any, **kwargs: Any) -> Any:
        """`call` as the layer's policy has it, whatever that of the layer around it is."""
        own = self._precision
        if own is None:
            with outside_layers():
                return self.call(*args, **kwargs)
        with own:
            out = self.call(*args, **kwargs)
        single, wanted = np.dtype(np.float32), _float_type(self.compute_dtype)
        return map_structure(lambda t: t.to(wanted) if isinstance(t, Tensor) and t.dtype == single else t, out)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The same as calling the layer."""
        return self(*args, **kwargs)

    def _check_structure(self, inputs: Any) -> None:
        """Refuse lists, and nothing, where `call` says that it takes one tensor."""
        if self.call.__annotations__.get("inputs") == "Tensor":
            got = "None" if inputs is None else f"a {type(inputs).__name__} of {len(inputs)}"
            raise TypeError(f"{self.name}: inputs: expected one tensor or array, got {got}")

    def _options(self) -> frozenset[str]:
        """Which of `training` and `mask` this layer's call takes."""
        known = self._call_options
        if known is None:
            names = inspect.signature(type(self).call).parameters
            known = type(self)._call_options = frozenset(n for n in ("training", "mask") if n in names)
        return known

    def _array_to_tensor(self, value: Any) -> Any:
        """Arrays given by keyword: those of floats in the layer's type, masks as they are."""
        if not isinstance(value, np.ndarray):
            return value
        return wrap(value.astype(self.compute_dtype) if is_float(value.dtype) else value)

    def _to_tensor(self, value: Any) -> Any:
        if value is None:
            return None
        wanted = _float_type(self.compute_dtype)
        if isinstance(value, Tensor):
            dtype = value.dtype
            return value if dtype == wanted or not is_float(dtype) else value.to(wanted)
        array = as_array(value)
        kind = array.dtype.kind
        if not is_number(array.dtype):
            what = f"an array of {array.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
            raise TypeError(f"{self.name}: inputs: expected numbers, got {what}")
        if (is_float(array.dtype) and array.dtype != wanted) or (kind in "iub" and not self._takes_integers()):
            array = array.astype(wanted)
        return wrap(array)

    def _takes_integers(self) -> bool:
        return False

    def _mask_of(self, inputs: Any) -> Any:
        known = phases.now.masks or {}
        masks = [known.get(id(t), (None, None))[1] for t in flatten(inputs)]
        if all(m is None for m in masks):
            return None
        return masks if isinstance(inputs, (list, tuple)) else masks[0]

    def _keep_mask(self, inputs: Any, out: Any, mask: Any) -> None:
        if self.supports_masking or type(self).compute_mask is not Layer.compute_mask:
            keep_masks(flatten(out)[:1], self.compute_mask(inputs, mask))
        elif "mask" not in self._options() and any(m is not None for m in flatten(mask)):
            warnings.warn(
                f"{self.name}: {type(self).__name__} does not support masking: the mask of its input ends here",
                stacklevel=3,
            )

    def _build(self, input_shape: Any) -> None:
        batchless = map_structure_shape(input_shape)
        tracer, _mode.tracer = _mode.tracer, None  # weights are made, and written to, as they are
        try:
            self.build(batchless)
        finally:
            _mode.tracer = tracer
        self.built = True
        self.__dict__.setdefault("_build_shape", batchless)

    def _call_symbolic(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        from ._shapes import output_specs

        if not self.built:
            self._build(map_structure(lambda t: t.shape, args[0]))
        specs = output_specs(self, args, kwargs)
        call = Call(self, args, kwargs)

        def output(spec: tuple[tuple[int | None, ...], str]) -> KerasTensor:
            t = KerasTensor(*spec)
            t.layer, t.call = self, call
            call.outputs.append(t)
            return t

        self._calls.append(call)

        def nested(found: Any) -> Any:
            return [nested(s) for s in found] if isinstance(found, list) else output(found)

        return nested(specs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The output's shape for an input of this shape (batch dimension included, None for unknown sizes)."""
        from ._shapes import output_specs

        tensors = map_structure_shape(input_shape, lambda s: KerasTensor(s, self._input_dtype()))
        if not self.built:
            self._build(input_shape)
        specs = output_specs(self, (tensors,), {})

        def shapes(found: Any) -> Any:
            return [shapes(s) for s in found] if isinstance(found, list) else found[0]

        return shapes(specs)

    def _input_dtype(self) -> str:
        return "int64" if self._takes_integers() else self.compute_dtype

    # -- weights --

    @property
    def weights(self) -> list[Parameter]:
        """All weights in Keras' order: layer by layer, in each the trainable ones first."""
        return [p for _, p, _ in self._named_weights()]

    def _named_weights(self) -> Iterator[tuple[str, Parameter, bool]]:
        """(path, weight, whether it is made to be trained) of this layer and those inside it, each once."""
        seen: set[int] = set()
        for path, module in self.named_modules():
            made = module.__dict__.get("_weight_trainable", {})
            frozen = isinstance(module, Layer) and not module._trainable
            for name, p in sorted(module._parameters.items(), key=lambda item: not made.get(item[0], True)):
                if p is not None and id(p) not in seen:
                    seen.add(id(p))
                    yield (f"{path}.{name}" if path else name), p, made.get(name, True) and not frozen

    @property
    def trainable_weights(self) -> list[Parameter]:
        return [p for _, p, t in self._named_weights() if t]

    @property
    def non_trainable_weights(self) -> list[Parameter]:
        return [p for _, p, t in self._named_weights() if not t]

    trainable_variables = trainable_weights
    non_trainable_variables = non_trainable_weights
    variables = weights

    @property
    def trainable(self) -> bool:
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        structure_changed()
        for module in self.modules():
            if isinstance(module, Layer):
                module._trainable = bool(value)
                made = module.__dict__.get("_weight_trainable", {})
                for name, p in module._parameters.items():
                    if p is not None:
                        p.requires_grad = bool(value) and made.get(name, True)
            else:
                for p in module._parameters.values():
                    if p is not None:
                        p.requires_grad = bool(value)

    def count_params(self) -> int:
        """The number of elements of all weights."""
        return sum(int(np.prod(p.shape)) for p in self.weights)

    def get_weights(self) -> list[np.ndarray]:
        """Copies of the weights, in the order of `weights`."""
        own = sorted(self._parameters.items(), key=lambda item: not self._weight_trainable.get(item[0], True))
        arrays = [p.numpy().copy() for _, p in own if p is not None]
        for child in self.children():
            if isinstance(child, Layer):
                arrays += child.get_weights()
            else:
                arrays += [p.numpy().copy() for p in child.parameters()]
        return arrays

    def set_weights(self, weights: Iterable[Any]) -> None:
        """Overwrite the weights, in the order of `get_weights`."""
        new = [as_array(a) for a in weights]
        have = self.get_weights()
        if len(new) != len(have):
            raise ValueError(f"{self.name}: set_weights: expected {len(have)} arrays, got {len(new)}")
        for a, b in zip(new, have, strict=True):
            if a.shape != b.shape:
                raise ValueError(f"{self.name}: set_weights: expected shape {b.shape}, got {a.shape}")
        self._assign_weights(iter(new))

    def _assign_weights(self, arrays: Iterator[np.ndarray]) -> None:
        for _, p in sorted(self._parameters.items(), key=lambda item: not self._weight_trainable.get(item[0], True)):
            if p is not None:
                p._data[...] = next(arrays)
        for child in self.children():
            if isinstance(child, Layer):
                child._assign_weights(arrays)
            else:
                for p in child.parameters():
                    p._data[...] = next(arrays)

    @property
    def losses(self) -> list[Any]:
        """What is added to the training loss, as scalar tensors: what the last call added, and penalties on weights."""
        if phases.now.losses is not None:  # a training step of the user's
            return [*phases.now.losses, *self._weight_penalties()]
        added = []
        last = self.__dict__.get("_last_call")
        for module in self.modules():
            call, terms = module.__dict__.get("_added_losses", (None, ()))
            if call is not None and (last is None or call is last):
                added.extend(terms)
        return added + self._weight_penalties()

    def _weight_penalties(self) -> list[Any]:
        """Those on weights that are trained."""
        return [
            penalty(traced(p))
            for module in self.modules()
            for penalty, p in module.__dict__.get("_regularized", ())
            if p.requires_grad
        ]

    @property
    def input_shape(self) -> Any:
        shape = self.__dict__.get("_build_shape")
        if shape is None:
            raise AttributeError(f"{self.name}: input_shape: the layer has not been called")
        return shape

    @property
    def input(self) -> Any:
        """The KerasTensor(s) of the layer's only call."""
        return self._only_call().args[0]

    @property
    def output(self) -> Any:
        """The KerasTensor(s) that the layer's only call made."""
        outputs = self._only_call().outputs
        return outputs[0] if len(outputs) == 1 else outputs

    def _only_call(self) -> Call:
        if len(self._calls) != 1:
            raise AttributeError(
                f"{self.name}: expected a layer called once on symbolic inputs, got {len(self._calls)} calls"
            )
        return self._calls[0]

    @property
    def variable_dtype(self) -> str:
        """The float type of the weights."""
        return self.dtype_policy.variable_dtype

    # -- configuration --

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs to make an equal layer without weights."""
        config: dict[str, Any] = {"name": self.name, "trainable": self._trainable}
        if self.dtype_policy.name != "float32":
            config["dtype"] = self.dtype_policy.name
        if self._sample_shape is not None:
            config["input_shape"] = list(self._sample_shape)
        if self.activity_regularizer is not None:
            config["activity_regularizer"] = regularizers.serialize(self.activity_regularizer)
        return {**config, **self._users_arguments()}

    def _users_arguments(self) -> dict[str, Any]:
        """The arguments that a class of the user's was called with, where it has no `get_config` of its own."""
        own = [c.__dict__ for c in itertools.takewhile(_is_users, type(self).__mro__)]
        if not any("__init__" in d for d in own) or any("get_config" in d for d in own):
            return {}
        args, kwargs = self.__dict__["_made_with"]
        bound = inspect.signature(type(self).__init__).bind(self, *args, **kwargs)
        kinds = {n: p.kind for n, p in bound.signature.parameters.items()}
        names = list(bound.arguments)[1:]
        found = {n: bound.arguments[n] for n in names if kinds[n] is not inspect.Parameter.VAR_KEYWORD}
        odd = [n for n, v in found.items() if not _is_plain(v) or kinds[n] is inspect.Parameter.VAR_POSITIONAL]
        if odd:
            raise NotImplementedError(
                f"{type(self).__name__}: get_config: a layer with arguments that are not plain values "
                f"({', '.join(odd)}) must define it to be saved or copied"
            )
        return found

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """A layer from what `get_config` gave."""
        with unsaid_is_float32():
            return cls._made_from(config)

    @classmethod
    def _made_from(cls, config: dict[str, Any]) -> Any:
        taken = inspect.signature(cls.__init__).parameters
        if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in taken.values()):
            return cls(**config)
        # A constructor that does not hand on what every layer takes.
        shared = {k: v for k, v in config.items() if k in ("name", "trainable") and k not in taken}
        layer = cls(**{k: v for k, v in config.items() if k not in shared})
        if "name" in shared:
            layer.name, layer._named_by_user = shared["name"], True
        if not shared.get("trainable", True):
            layer.trainable = False
        return layer

    def extra_repr(self) -> str:
        return f"name={self.name}, built={self.built}"


_float_type = functools.lru_cache(as_dtype)
_WEIGHT_OPTIONS: dict[str, Any] = {
    "initializer": initializers,
    "regularizer": regularizers,
    "constraint": constraints,
}


def _is_users(cls: type) -> bool:
    """Whether a class of layers is somebody else's."""
    return not cls.__module__.startswith(__name__.partition(".")[0] + ".")


def _is_plain(value: Any) -> bool:
    """Whether JSON holds the value."""
    if isinstance(value, dict):
        return all(isinstance(k, str) and _is_plain(v) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return all(_is_plain(v) for v in value)
    return value is None or isinstance(value, (bool, int, float, str))


def _noted(build: Any) -> Any:
    """`build`, which lets the layer know that it is built, whoever calls it."""

    @functools.wraps(build)
    def note(self: Layer, *args: Any, **kwargs: Any) -> Any:
        result = build(self, *args, **kwargs)
        self.built = True
        if args and not kwargs:
            self.__dict__.setdefault("_build_shape", map_structure_shape(args[0]))
        return result

    return note
