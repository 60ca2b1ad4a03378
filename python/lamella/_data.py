"""What `fit`, `evaluate` and `predict` are given, as checked arrays and batches."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from . import losses
from ._device import dense, device_of, free_memory, on_device, place
from ._dtypes import is_number
from ._errors import short
from ._snapshot import FitState, random_state, set_random_state
from .autograd import as_array, wrap

# Of the memory that is free on a device: arrays that would take more stay on the host, from where their rows come batch
# by batch.
_SHARE = 0.25


class Data:
    """Samples as lists of arrays with equally many rows.

    Parameters
    ----------
    x, y : array, list or dict of arrays
        `y` may be None for prediction.
    sample_weight : array, or list or dict of them by output, optional
        One number a sample, or one for each of its steps.
    class_weight : dict of int to float, optional
        Weights of the samples by their class.
    caller : str
        The method that errors name.
    """

    def __init__(
        self, model: Any, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None,
        *, caller: str = "fit",
    ) -> None:  # fmt: skip
        self.caller = caller
        self._form = _form(x), _form(y)
        shapes, wanted, integers, dtype = model._input_rules()
        given = [x] if type(x) is np.ndarray else _inputs(x, model, caller)
        if wanted is not None and len(given) != wanted:
            raise ValueError(f"{caller}: x: expected {wanted} array{'s' * (wanted != 1)}, got {len(given)}")
        self.x = []
        for i, a in enumerate(given):
            shape = shapes[i] if i < len(shapes) else None
            usual = type(a) is np.ndarray and a.dtype == dtype and a.flags.c_contiguous and not integers
            if usual and shape is not None and a.shape[1:] == shape[1:]:
                self.x.append(a)
                continue
            what = f"{caller}: x{_nth(i, x)}"
            self.x.append(_fit_rank(_input_array(a, what, integers, dtype), shape, what))
        if not self.x:
            raise ValueError(f"{caller}: x: expected at least one array, got none")
        rows = self.x[0].shape[0]
        self.y: list[np.ndarray] = []
        self._sparse: list[bool] = []
        if y is not None:
            for i, a in enumerate(_targets(y, model, caller)):
                self.y.append(_target_array(a, f"{caller}: y{_nth(i, y)}", dtype))
            fns, sizes = model._target_rules(len(self.y))
            _check_labels(self.y, fns, sizes, caller)
            self._sparse = [isinstance(f, losses.SparseCategoricalCrossentropy) for f in fns]
        for i, a in enumerate(self.x):
            if a.shape[0] != rows:
                raise ValueError(
                    f"{caller}: x{_nth(i, x)}: expected {rows} rows as in the first array, got {a.shape[0]}"
                )
        for i, a in enumerate(self.y):
            if a.shape[0] != rows:
                raise ValueError(f"{caller}: y{_nth(i, y)}: expected {rows} rows as in x, got {a.shape[0]}")
        self.rows = rows
        # One array for all outputs, or a list with an array or None for each.
        self.weight: Any = _weights(sample_weight, rows, model, len(self.y), f"{caller}: sample_weight")
        self.weigh_classes(class_weight)

    def weigh_classes(self, class_weight: Any) -> None:
        """Multiply the weights of the samples by those of their classes."""
        self._arrays: list[np.ndarray] | None = None
        self._signature: tuple[Any, ...] | None = None
        self._placed: Data | None = None
        if class_weight is None:
            return
        if len(self.y) != 1:
            raise ValueError(f"{self.caller}: class_weight: expected a model with one output")
        by_class = _class_weights(class_weight, self.y[0], self._sparse == [True], f"{self.caller}: class_weight")
        if self.weight is not None and self.weight.ndim > 1:
            by_class = by_class.reshape(-1, *[1] * (self.weight.ndim - 1))
        self.weight = by_class if self.weight is None else self.weight * by_class

    def signature(self) -> tuple[Any, ...]:
        """What a plan for these data depends on, but for the batch size."""
        if self._signature is None:
            several = [w is None for w in self.weight] if isinstance(self.weight, list) else [self.weight is None]
            self._signature = (tuple(several), *[(a.shape[1:], a.dtype) for a in self.arrays])
        return self._signature

    @property
    def weights(self) -> list[np.ndarray]:
        """The arrays of sample weights that there are."""
        given = self.weight if isinstance(self.weight, list) else [self.weight]
        return [w for w in given if w is not None]

    @property
    def arrays(self) -> list[np.ndarray]:
        if self._arrays is None:
            self._arrays = [*self.x, *self.y, *self.weights]
        return self._arrays

    def on(self, where: Any, whole: bool = False) -> Data:
        """The same data on a device: itself where they lie there. What was copied once is kept.

        Arrays that are large for the device stay on the host, for plans to read from there; with `whole`, none does.
        """
        if all([device_of(a).type == where.type for a in self.arrays]):
            return self
        if where.type == "cpu":
            raise ValueError(f"{self.caller}: expected arrays on the CPU, as the model is there, got some on a GPU")
        if whole:
            return self._on(where, set())
        if self._placed is None:
            self._placed = self._on(where, large_for_device(self.arrays))
        return self._placed

    def _on(self, where: Any, stay: set[int]) -> Data:
        """A copy on a device, but for the arrays with these ids."""

        def there(a: Any) -> Any:
            return a if a is None or id(a) in stay else place(a, where)

        part = self._like()
        part.x, part.y = [there(a) for a in self.x], [there(a) for a in self.y]
        part.weight = [there(w) for w in self.weight] if isinstance(self.weight, list) else there(self.weight)
        part._signature = self._signature
        return part

    def _like(self) -> Data:
        part = object.__new__(Data)
        part._sparse, part.caller, part._form, part.rows = self._sparse, self.caller, self._form, self.rows
        part._arrays = part._signature = part._placed = None
        return part

    def by_output(self, given: list[Any]) -> Any:
        """What stands for `weights`, as `weight` is: for all outputs, a list by output, or None."""
        if not isinstance(self.weight, list):
            return given[0] if given else None
        rest = iter(given)
        return [None if w is None else next(rest) for w in self.weight]

    def structure(self, dtype: str) -> Any:
        """Tensors as the data were given: x, (x, y) or (x, y, sample_weight), with lists and dicts as they were."""
        x_form, y_form = self._form
        x = _in_form([wrap(a.astype(dtype) if a.dtype.kind == "u" else a) for a in self.x], x_form)
        if not self.y:
            return (x,) if isinstance(x, (list, tuple)) else x
        y = _in_form([wrap(a) for a in self.y], y_form)
        weight = self.by_output([wrap(w) for w in self.weights])
        return (x, y) if weight is None else (x, y, weight)

    def take(self, rows: Any) -> Data:
        """Some of the rows."""

        def some(a: Any) -> Any:
            if a is None:
                return None
            return a[rows if isinstance(rows, slice) else place(rows, device_of(a))]

        part = self._like()
        part.x, part.y = [some(a) for a in self.x], [some(a) for a in self.y]
        part.weight = [some(w) for w in self.weight] if isinstance(self.weight, list) else some(self.weight)
        part.rows = part.x[0].shape[0]
        return part


def large_for_device(arrays: list[Any]) -> set[int]:
    """The ids of those of the host's arrays that a device should not hold whole: the largest first."""
    here = sorted([a for a in arrays if not on_device(a)], key=lambda a: a.nbytes, reverse=True)
    room, total = _SHARE * free_memory(), sum(a.nbytes for a in here)
    stay = set()
    for a in here:
        if total <= room:
            break
        stay.add(id(a))
        total -= a.nbytes
    return stay


def fits_device(specs: list[tuple[tuple[int, ...], Any]]) -> bool:
    """Whether a device should hold arrays of these shapes and dtypes whole."""
    return sum(int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in specs) <= _SHARE * free_memory()


def _form(value: Any) -> list[Any] | type | None:
    """How several arrays were given: the keys of a dict, list or tuple; None for a single array."""
    if type(value) is np.ndarray:
        return None
    if isinstance(value, dict):
        return list(value)
    several = isinstance(value, (list, tuple)) and len(_leaves(value)) > 1
    return type(value) if several else None


def _in_form(tensors: list[Any], form: Any) -> Any:
    if isinstance(form, list) and len(form) == len(tensors):
        return dict(zip(form, tensors, strict=True))
    if form is tuple:
        return tuple(tensors)
    return tensors if len(tensors) != 1 or form is list else tensors[0]


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, (list, tuple)) and value and all(hasattr(v, "shape") and len(v.shape) for v in value):
        return list(value)
    return [value]


def _inputs(x: Any, model: Any, caller: str) -> list[Any]:
    if isinstance(x, dict) and getattr(model, "input_names", None):
        missing = [n for n in model.input_names if n not in x]
        if missing:
            raise ValueError(
                f"{caller}: x: expected entries {', '.join(model.input_names)}, missing {', '.join(missing)}"
            )
        return [x[n] for n in model.input_names]
    return _leaves(x)


def _targets(y: Any, model: Any, caller: str) -> list[Any]:
    if not isinstance(y, dict):
        return _leaves(y)
    names = model.output_names
    if len(y) == 1 and len(names) <= 1:
        return list(y.values())
    if not names:
        raise ValueError(f"{caller}: y: expected an array or a list of them for outputs without names, got a dict")
    unknown = [n for n in y if n not in names]
    if unknown:
        raise ValueError(f"{caller}: y: expected entries {', '.join(names)}, got {', '.join(map(str, unknown))}")
    with_loss = [n for n, f in zip(names, model._losses_for(len(names)), strict=True) if f is not None]
    missing = [n for n in with_loss if n not in y]
    if missing:
        raise ValueError(f"{caller}: y: expected entries {', '.join(with_loss)}, missing {', '.join(missing)}")
    return [y[n] for n in names if n in y]


def _nth(i: int, value: Any) -> str:
    return f"[{i}]" if isinstance(value, (list, tuple, dict)) and len(_leaves(value)) > 1 else ""


def _plain(value: Any, what: str) -> np.ndarray:
    if value is None:
        raise ValueError(f"{what}: expected an array, got None")
    try:
        array = as_array(value)
    except (TypeError, ValueError) as e:
        raise TypeError(f"{what}: expected an array of numbers, got {type(value).__name__}") from e
    if not is_number(array.dtype):
        raise TypeError(f"{what}: expected an array of numbers, got dtype {array.dtype}")
    if array.ndim == 0:
        raise ValueError(f"{what}: expected one row a sample, got a single number")
    if array.dtype.byteorder == ">" or not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return array


def _input_array(value: Any, what: str, integers: bool, dtype: np.dtype) -> np.ndarray:
    a = _plain(value, what)
    if integers and a.dtype.kind in "iub":
        return dense(a, np.int64)
    if a.dtype == np.uint8:
        return dense(a)  # images: each batch becomes float as it is gathered
    return dense(a, dtype)


def _fit_rank(a: np.ndarray, shape: Any, what: str) -> np.ndarray:
    """The array in the model's rank: as in Keras, a last axis of one element is added or dropped."""
    if shape is None:
        return a
    given = a.shape
    if a.ndim == len(shape) - 1:
        a = a[..., None]
    elif a.ndim == len(shape) + 1 and a.shape[-1] == 1:
        a = a[..., 0]
    if a.ndim != len(shape) or any(d is not None and d != n for d, n in zip(shape[1:], a.shape[1:], strict=True)):
        raise ValueError(f"{what}: expected shape {shape}, None being any size, got {given}")
    return a


def _target_array(value: Any, what: str, dtype: np.dtype) -> np.ndarray:
    a = _plain(value, what)
    return dense(a, np.int64 if a.dtype.kind in "iu" else dtype)


def _weights(value: Any, rows: int, model: Any, targets: int, what: str) -> Any:
    if value is None:
        return None
    names = list(getattr(model, "output_names", []))
    count = max(len(names), targets)
    if isinstance(value, dict):
        unknown = [n for n in value if n not in names]
        if unknown:
            raise ValueError(f"{what}: expected entries {', '.join(names)}, got {', '.join(map(str, unknown))}")
        value = [value.get(n) for n in names]
    elif not (isinstance(value, (list, tuple)) and count > 1 and all(w is None or np.ndim(w) for w in value)):
        return _sample_weights(value, rows, what)
    if len(value) != count:
        raise ValueError(f"{what}: expected {count} arrays, one an output, got {len(value)}")
    found = [None if w is None else _sample_weights(w, rows, f"{what}[{i}]") for i, w in enumerate(value)]
    return found if count > 1 else found[0]


def _sample_weights(value: Any, rows: int, what: str) -> np.ndarray:
    weight = _plain(value, what)
    if weight.shape == (rows, 1):
        weight = weight[:, 0]
    if weight.shape[0] != rows:
        raise ValueError(f"{what}: expected shape ({rows},), got {weight.shape}")
    return dense(weight, np.float32)


def _class_weights(class_weight: Any, labels: np.ndarray, sparse: bool, what: str) -> np.ndarray:
    if not isinstance(class_weight, dict):
        raise TypeError(f"{what}: expected a dict of class to weight, got {type(class_weight).__name__}")
    weights = {}
    for c, w in class_weight.items():
        if isinstance(c, bool) or not isinstance(c, (int, np.integer)) or c < 0:
            raise ValueError(f"{what}: expected class numbers >= 0 as keys, got {short(c)}")
        weights[int(c)] = float(w)
    if labels.ndim > 1 and labels.shape[-1] > 1 and not sparse:
        labels = labels.argmax(-1)  # one-hot rows
    if labels.size != len(labels):
        raise ValueError(f"{what}: expected one label a sample, got labels of shape {labels.shape}")
    # A class without an entry weighs 1, as in Keras.
    classes, which = np.unique(labels.reshape(-1), return_inverse=True)
    return np.array([weights.get(int(c), 1.0) for c in classes], np.float32)[which.reshape(-1)]


def _check_labels(y: list[np.ndarray], fns: list[Any], sizes: list[int | None], caller: str) -> None:
    """Class numbers given as floats become integers; NaN, fractions and numbers out of range are refused here, where
    the sample can still be named."""
    for i, (labels, fn) in enumerate(zip(y, fns, strict=False)):
        if not isinstance(fn, losses.SparseCategoricalCrossentropy):
            continue
        if labels.dtype.kind == "f":
            bad = ~np.isfinite(labels) | (labels != np.floor(labels))
            if bad.any():
                raise _label_error(labels, bad, f"{caller}: y: expected class numbers")
            y[i] = labels = labels.astype(np.int64)
        size = sizes[i] if i < len(sizes) else None
        if size is not None and not (labels.dtype == np.int64 and _all_below(labels, size)):
            bad = ((labels < 0) | (labels >= size)) & (labels != fn.ignore_class)
            if bad.any():
                raise _label_error(labels, bad, f"{caller}: y: expected class numbers from 0 to {size - 1}")


def _all_below(labels: np.ndarray, size: int) -> bool:
    """Whether all are from 0 to size - 1, in one pass: as unsigned numbers the negative ones are the largest."""
    return labels.size == 0 or bool(labels.view(np.uint64).max() < size)


def _label_error(labels: np.ndarray, bad: np.ndarray, message: str) -> ValueError:
    first = tuple(int(d) for d in np.argwhere(bad)[0])
    return ValueError(f"{message}, got label {labels[first]} at sample {first[0]}")


class Feed:
    """A DataLoader or data set whose batches are rows of arrays: plans gather them as they do from arrays.

    Attributes
    ----------
    parts : list of array
        x, y and sample_weight, as far as there are any.
    batch : int or None
        Rows a batch, where the loader tells.
    """

    def __init__(self, loader: Any, parts: list[np.ndarray], rows: np.ndarray | None, batch: int | None) -> None:
        self._loader, self._rows = loader, rows
        self.parts, self.batch = parts, batch

    @staticmethod
    def of(source: Any, ordered: bool = False) -> Feed | None:
        """The feed of a plain DataLoader over a TensorDataset, or of a TensorDataset; None for anything else.

        ordered: only where every pass has the same order.
        """
        if "lamella.utils.data" not in sys.modules:
            return None
        from .utils.data import DataLoader, SequentialSampler
        from .utils.data.dataloader import arrays_of

        loader = None
        if type(source) is DataLoader:
            loader = source
            if not loader.gathers() or (ordered and type(loader.sampler) is not SequentialSampler):
                return None
            source = loader.dataset
        found = arrays_of(source)
        if found is None or len(found[0]) > 3:
            return None
        return Feed(loader, [t._data for t in found[0]], found[1], None if loader is None else loader.batch_size)

    def order(self) -> np.ndarray | None:
        """The rows of the next pass in their order; None for all as they lie."""
        return self._rows if self._loader is None else self._loader.array_order()[1]

    def shuffled(self) -> np.ndarray:
        """The rows in random order."""
        from ._kernels import random

        if self._rows is None:
            return random.permutation(len(self.parts[0]))
        return self._rows[random.permutation(len(self._rows))]

    def data(self, model: Any, caller: str, inputs: bool = False) -> Data:
        """The rows of a pass, in its order.

        inputs: x alone.
        """
        order = self.order()
        parts = self.parts[:1] if inputs else self.parts
        return Data(model, *(p if order is None else p[order] for p in parts), caller=caller)


class Batches:
    """A data set of batches by index, as an iterable of them that can be started again and again."""

    def __init__(self, source: Any, shuffle: bool) -> None:
        self._source, self._shuffle = source, shuffle

    @staticmethod
    def of(source: Any, shuffle: bool = False) -> Any:
        """The source itself where it is iterable."""
        by_index = hasattr(source, "__getitem__") and hasattr(source, "__len__") and not hasattr(source, "__iter__")
        if not by_index or hasattr(source, "__array__"):
            return source
        return Batches(source, shuffle)

    def __len__(self) -> int:
        return len(self._source)

    def __iter__(self) -> Iterator[Any]:
        from . import _rng

        source, n = self._source, len(self._source)
        order = _rng.permutation(n).tolist() if self._shuffle else range(n)
        load = getattr(source, "_load", None)
        yield from (source[i] for i in order) if load is None else load(order)
        if hasattr(source, "on_epoch_end"):
            source.on_epoch_end()


def batches(rows: int, batch: int) -> list[tuple[int, int]]:
    """(batch size, steps): the full batches, then what is left."""
    if rows <= batch:
        return [(rows, 1)] if rows else []
    full, rest = divmod(rows, batch)
    return [(size, steps) for size, steps in ((batch, full), (rest, 1 if rest else 0)) if steps]


def iterate(source: Iterable[Any], model: Any, class_weight: Any = None, *, caller: str) -> Iterable[Data]:
    """Batches of an iterable as Data: (x, y), (x, y, sample_weight), x, or dicts."""
    for item in source:
        if isinstance(item, (tuple, list)):
            if not 1 <= len(item) <= 3:
                raise ValueError(
                    f"{caller}: x: expected batches (x, y) or (x, y, sample_weight), got {len(item)} parts"
                )
            part = Data(model, *item, caller=caller)
            part.weigh_classes(class_weight)
            yield part
        else:
            yield Data(model, item, caller=caller)


class Stream:
    """The batches of an iterable, epoch by epoch.

    With a number of steps an epoch goes on where the last one stopped; without one, each starts the iterable again.
    """

    def __init__(self, source: Iterable[Any], model: Any, class_weight: Any, steps: int | None) -> None:
        self._source, self._model, self._class_weight, self._steps = source, model, class_weight, steps
        self._rest: Iterator[Data] | None = None
        self._seen, self._ran_out = 0, False

    def epoch(self, state: FitState) -> Iterator[Data]:
        """The batches of the next epoch, or those that are left of it."""
        self._seen, self._ran_out = state.step, False
        if self._rest is None:
            self.start(state)
        while self._seen != self._steps:
            part = next(self._rest, None)  # type: ignore[arg-type]
            if part is None:
                self._rest, self._ran_out, state.position = None, True, 0
                return
            self._seen += 1
            state.position += 1
            yield part

    def start(self, state: FitState) -> Data | None:
        """Start the iterable; where a backup says so, pass over what is done, and give the last batch of that."""
        if state.position:
            if state.origin is not None:
                set_random_state(state.origin, self._model, state.source)
        elif state.watched:
            state.origin = random_state(self._model, state.source)
        self._rest = iter(iterate(self._source, self._model, self._class_weight, caller="fit"))
        last = None
        for i in range(state.position):
            last = next(self._rest, None)
            if last is None:
                raise ValueError(
                    f"fit: x: expected the {state.position} batches that were done before the interruption, got {i}"
                )
        if state.random is not None:
            set_random_state(state.random, self._model, state.source)
            state.random = None
        return last

    def warn_if_short(self, more: bool) -> bool:
        """Warn if the last epoch lacked batches or, with `more` to come, nothing can follow it; tell the latter."""
        ended = self._ran_out and isinstance(self._source, Iterator)
        if self._ran_out and (self._steps is not None or (ended and more)):
            expected = "more" if self._steps is None else f"{self._steps} batches an epoch"
            warnings.warn(
                f"fit: x: the data ran out after {self._seen} batches of an epoch, expected {expected}"
                + (": training stops" if ended else ""),
                stacklevel=3,
            )
        return ended
