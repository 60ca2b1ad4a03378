"""What `fit`, `evaluate` and `predict` run on: native plans where a model can be traced, else the eager tape."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from . import _cpu, losses, metrics
from ._trace import NotTraceable, Symbol, Tracer
from .autograd import Tensor, as_array, no_grad, wrap
from .layers.base import _phase, flatten

# fit comes up from native code at least this often, for progress bars and Ctrl-C.
_SLICE_SECONDS = 0.05


class Data:
    """Samples as lists of arrays with equally many rows.

    Parameters
    ----------
    x, y : array, list or dict of arrays
        `y` may be None for prediction.
    sample_weight : array, optional
        One number a sample.
    class_weight : dict of int to float, optional
        Weights of the samples by their class.
    """

    def __init__(self, model: Any, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None) -> None:
        shapes = model._sample_shapes()
        given = _inputs(x, model)
        wanted = model._input_count()
        if wanted is not None and len(given) != wanted:
            raise ValueError(f"fit: x: expected {wanted} array{'s' * (wanted != 1)}, got {len(given)}")
        self.x = []
        for i, a in enumerate(given):
            what = f"x{_nth(i, x)}"
            self.x.append(_fit_rank(_input_array(a, what, model), shapes[i] if i < len(shapes) else None, what))
        if not self.x:
            raise ValueError("fit: x: expected at least one array, got none")
        rows = self.x[0].shape[0]
        self.y = []
        for i, a in enumerate([] if y is None else _targets(y, model)):
            self.y.append(_target_array(a, f"y{_nth(i, y)}", model))
        _check_labels(self.y, model)
        for i, a in enumerate(self.x):
            if a.shape[0] != rows:
                raise ValueError(f"fit: x{_nth(i, x)}: expected {rows} rows as in the first array, got {a.shape[0]}")
        for i, a in enumerate(self.y):
            if a.shape[0] != rows:
                raise ValueError(f"fit: y{_nth(i, y)}: expected {rows} rows as in x, got {a.shape[0]}")
        self.rows = rows
        self._sparse = [isinstance(f, losses.SparseCategoricalCrossentropy) for f in model._target_losses(len(self.y))]
        self.weight = None if sample_weight is None else _sample_weights(sample_weight, rows)
        self.weigh_classes(class_weight)

    def weigh_classes(self, class_weight: Any) -> None:
        """Multiply the weights of the samples by those of their classes."""
        if class_weight is None:
            return
        if len(self.y) != 1:
            raise ValueError("fit: class_weight: expected a model with one output")
        by_class = _class_weights(class_weight, self.y[0], self._sparse == [True])
        self.weight = by_class if self.weight is None else self.weight * by_class

    @property
    def arrays(self) -> list[np.ndarray]:
        return [*self.x, *self.y, *([] if self.weight is None else [self.weight])]

    def take(self, rows: Any) -> Data:
        """Some of the rows."""
        part = object.__new__(Data)
        part.x, part.y = [a[rows] for a in self.x], [a[rows] for a in self.y]
        part.weight = None if self.weight is None else self.weight[rows]
        part._sparse = self._sparse
        part.rows = part.x[0].shape[0]
        return part


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, (list, tuple)) and value and all(hasattr(v, "shape") and len(v.shape) for v in value):
        return list(value)
    return [value]


def _inputs(x: Any, model: Any) -> list[Any]:
    if isinstance(x, dict) and getattr(model, "input_names", None):
        missing = [n for n in model.input_names if n not in x]
        if missing:
            raise ValueError(f"fit: x: expected entries {', '.join(model.input_names)}, missing {', '.join(missing)}")
        return [x[n] for n in model.input_names]
    return _leaves(x)


def _targets(y: Any, model: Any) -> list[Any]:
    if not isinstance(y, dict):
        return _leaves(y)
    names = model.output_names
    if len(y) == 1 and len(names) <= 1:
        return list(y.values())
    if not names:
        raise ValueError("fit: y: expected an array or a list of them for outputs without names, got a dict")
    unknown = [n for n in y if n not in names]
    if unknown:
        raise ValueError(f"fit: y: expected entries {', '.join(names)}, got {', '.join(map(str, unknown))}")
    with_loss = [n for n, f in zip(names, model._losses_for(len(names)), strict=True) if f is not None]
    missing = [n for n in with_loss if n not in y]
    if missing:
        raise ValueError(f"fit: y: expected entries {', '.join(with_loss)}, missing {', '.join(missing)}")
    return [y[n] for n in names if n in y]


def _nth(i: int, value: Any) -> str:
    return f"[{i}]" if isinstance(value, (list, tuple, dict)) and len(_leaves(value)) > 1 else ""


def _plain(value: Any, what: str) -> np.ndarray:
    if value is None:
        raise ValueError(f"fit: {what}: expected an array, got None")
    try:
        array = as_array(value)
    except (TypeError, ValueError) as e:
        raise TypeError(f"fit: {what}: expected an array of numbers, got {type(value).__name__}") from e
    if array.dtype.kind not in "fiub":
        raise TypeError(f"fit: {what}: expected an array of numbers, got dtype {array.dtype}")
    if array.ndim == 0:
        raise ValueError(f"fit: {what}: expected one row a sample, got a single number")
    if array.dtype.byteorder == ">" or not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return array


def _input_array(value: Any, what: str, model: Any) -> np.ndarray:
    a = _plain(value, what)
    if model._takes_integers() and a.dtype.kind in "iub":
        return np.ascontiguousarray(a, np.int64)
    if a.dtype == np.uint8:
        return np.ascontiguousarray(a)  # images: each batch becomes float as it is gathered
    return np.ascontiguousarray(a, model.compute_dtype)


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
        raise ValueError(f"fit: {what}: expected shape {shape}, None being any size, got {given}")
    return a


def _target_array(value: Any, what: str, model: Any) -> np.ndarray:
    a = _plain(value, what)
    return np.ascontiguousarray(a, np.int64 if a.dtype.kind in "iu" else model.compute_dtype)


def _sample_weights(value: Any, rows: int) -> np.ndarray:
    weight = _plain(value, "sample_weight")
    if weight.shape == (rows, 1):
        weight = weight[:, 0]
    if weight.shape != (rows,):
        raise ValueError(f"fit: sample_weight: expected shape ({rows},), got {weight.shape}")
    return np.ascontiguousarray(weight, np.float32)


def _class_weights(class_weight: Any, labels: np.ndarray, sparse: bool) -> np.ndarray:
    if not isinstance(class_weight, dict):
        raise TypeError(f"fit: class_weight: expected a dict of class to weight, got {type(class_weight).__name__}")
    weights = {}
    for c, w in class_weight.items():
        if isinstance(c, bool) or not isinstance(c, (int, np.integer)) or c < 0:
            raise ValueError(f"fit: class_weight: expected class numbers >= 0 as keys, got {c!r}")
        weights[int(c)] = float(w)
    if labels.ndim > 1 and labels.shape[-1] > 1 and not sparse:
        labels = labels.argmax(-1)  # one-hot rows
    if labels.size != len(labels):
        raise ValueError(f"fit: class_weight: expected one label a sample, got labels of shape {labels.shape}")
    # A class without an entry weighs 1, as in Keras.
    classes, which = np.unique(labels.reshape(-1), return_inverse=True)
    return np.array([weights.get(int(c), 1.0) for c in classes], np.float32)[which.reshape(-1)]


def _check_labels(y: list[np.ndarray], model: Any) -> None:
    """Class numbers given as floats become integers; NaN, fractions and numbers out of range are refused here, where
    the sample can still be named."""
    sizes = model._output_sizes()
    for i, (labels, fn) in enumerate(zip(y, model._target_losses(len(y)), strict=False)):
        if not isinstance(fn, losses.SparseCategoricalCrossentropy):
            continue
        if labels.dtype.kind == "f":
            bad = ~np.isfinite(labels) | (labels != np.floor(labels))
            if bad.any():
                raise _label_error(labels, bad, "class numbers")
            y[i] = labels = labels.astype(np.int64)
        size = sizes[i] if i < len(sizes) else None
        if size is not None:
            bad = ((labels < 0) | (labels >= size)) & (labels != fn.ignore_class)
            if bad.any():
                raise _label_error(labels, bad, f"class numbers from 0 to {size - 1}")


def _label_error(labels: np.ndarray, bad: np.ndarray, expected: str) -> ValueError:
    first = tuple(int(d) for d in np.argwhere(bad)[0])
    return ValueError(f"fit: y: expected {expected}, got label {labels[first]} at sample {first[0]}")


class _Step:
    """One traced graph with its plan, for one batch size."""

    def __init__(self, plan: Any, params: list[Any], terms: list[metrics.Metric]) -> None:
        self.plan, self.params, self.metrics = plan, params, terms


class Engine:
    """Runs a compiled model; keeps its plans until weights or settings are replaced."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._steps: dict[Any, _Step | None] = {}
        self.metrics: list[metrics.Metric] = []
        self._metric_outputs: list[tuple[metrics.Metric, int, bool]] = []  # metric, output it looks at, weighted
        self._masks: list[Any] = []  # of the outputs of the last forward

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_steps": {}}  # a copy of the model makes its own plans

    # -- forward, loss and metrics, on tensors or symbols --

    def forward(self, x: Sequence[Tensor], training: bool) -> tuple[list[Tensor], list[Tensor]]:
        """(outputs, activity penalties)."""
        before, _phase.losses = _phase.losses, []
        try:
            outputs = flatten(self.model(x[0] if len(x) == 1 else list(x), training=training))
            self._masks = list(_phase.output_masks)
            return outputs, _phase.losses
        finally:
            _phase.losses = before

    def loss(
        self, y: Sequence[Tensor], outputs: Sequence[Tensor], weight: Tensor | None, penalties: list[Tensor]
    ) -> Tensor:
        """The scalar that training minimises."""
        fns = self.model._losses_for(len(outputs))
        if len(y) != sum(f is not None for f in fns):
            raise ValueError(f"fit: y: expected {sum(f is not None for f in fns)} arrays, got {len(y)}")
        total: Any = None
        targets = iter(y)
        for i, (fn, scale) in enumerate(zip(fns, self.model._loss_weights_for(len(outputs)), strict=True)):
            if fn is None:
                continue
            part = fn(next(targets), outputs[i], self._weight(i, outputs[i], weight))
            if len(part.shape):
                part = part.mean()
            part = part if scale == 1 else part * float(scale)
            total = part if total is None else total + part
        for p in [*self.model.losses, *penalties]:
            total = p if total is None else total + p
        if total is None:
            raise ValueError("fit: loss: compile(loss=...) was not given, and no layer adds a penalty")
        return total

    def _weight(self, i: int, output: Tensor, weight: Tensor | None) -> Tensor | None:
        """Sample weights times the mask of output i: padded steps do not count, and the mean is over the others."""
        mask = self._masks[i] if i < len(self._masks) else None
        if mask is None or tuple(mask.shape) != tuple(output.shape[: len(mask.shape)]):
            return weight
        steps = mask.to(output.dtype)
        steps = steps * (float(np.prod(steps.shape)) / steps.sum().clamp(min=1.0))
        if weight is None:
            return steps
        return steps * weight.reshape(weight.shape[0], *[1] * (len(steps.shape) - 1))

    def setup_metrics(self, y: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Resolve the names given to compile, now that the shapes are known."""
        if self.metrics or not (self.model._metric_args or self.model._weighted_metric_args):
            return
        fns = self.model._losses_for(len(outputs))
        found: list[tuple[metrics.Metric, int, bool]] = []
        for args, weighted in ((self.model._metric_args, False), (self.model._weighted_metric_args, True)):
            for i, names in enumerate(self.model._per_output(args, len(outputs))):
                for name in names:
                    shape = tuple(y[i].shape) if i < len(y) else ()
                    m = metrics.get(name, shape, tuple(outputs[i].shape), fns[i])
                    if len(outputs) > 1 and isinstance(name, str):
                        m.name = f"{self.model.output_names[i]}_{m.name}"
                    if weighted and any(m.name == other.name for other, _, _ in found):
                        m.name = f"weighted_{m.name}"
                    found.append((m, i, weighted))
        self._metric_outputs = found
        self.metrics = [m for m, _, _ in found]

    # -- plans --

    def step_for(self, data: Data, batch: int, mode: str) -> _Step | None:
        """The plan for batches of this size; None where the model cannot be traced. mode: train, evaluate, predict."""
        key = (
            mode,
            batch,
            self._state_key(mode),
            *((a.shape[1:], a.dtype.name) for a in data.arrays),
            data.weight is None,
        )
        if key not in self._steps:
            if len(self._steps) > 64:  # many shapes: variable-length batches
                self._steps.clear()
            try:
                self._steps[key] = self._trace(data, batch, mode)
            except NotTraceable:
                self._steps[key] = None
        return self._steps[key]

    def _state_key(self, mode: str) -> Any:
        # Freezing layers or replacing arrays makes another plan.
        return (mode == "train" and tuple(p.requires_grad for p in self.model.weights),
                tuple(id(p._data) for p in self.model.weights))  # fmt: skip

    def _trace(self, data: Data, batch: int, mode: str) -> _Step:
        model = self.model
        dtype = np.dtype(model.compute_dtype)

        def spec(a: np.ndarray) -> tuple[str, tuple[int, ...]]:
            return (dtype.name if a.dtype.kind == "u" else a.dtype.name), (batch, *a.shape[1:])

        # A model builds its weights from real shapes before they can be given names.
        if not model.built:
            with no_grad():
                scratch = Tracer()
                model(_one_or_list([scratch.input(f"x{i}", spec(a)[1], spec(a)[0]) for i, a in enumerate(data.x)]))
        tracer = Tracer()
        tracer.name_parameters((name, p) for name, p, _ in model._named_weights())
        specs = [spec(a) for a in data.arrays]
        symbols = [tracer.input(f"input_{i}", s[1], s[0]) for i, s in enumerate(specs)]
        nx, ny = len(data.x), len(data.y)
        outputs, penalties = self.forward(symbols[:nx], mode == "train")
        if mode == "predict":
            plan = _cpu.Plan(tracer.graph, specs, symbol_ids(outputs), False)
            return _Step(plan, [], [])
        y, weight = symbols[nx : nx + ny], symbols[nx + ny] if data.weight is not None else None
        loss = self.loss(y, outputs, weight, penalties)
        self.setup_metrics(y, outputs)
        results = [loss]
        for m, i, weighted in self._metric_outputs:
            terms = m.terms(y[i], outputs[i], self._weight(i, outputs[i], weight if weighted else None))
            if terms is None:
                raise NotTraceable(f"{type(m).__name__} is written in Python")
            results.extend(terms)
        plan = _cpu.Plan(tracer.graph, specs, symbol_ids(results), mode == "train")
        params = [tracer.params[tracer.graph.name(i)] for i in plan.parameters]
        return _Step(plan, params, self.metrics)

    # -- runs --

    def train(self, data: Data, order: np.ndarray | None, begin: int, steps: int, batch: int) -> tuple[float, int, int]:
        """Train on `steps` batches; returns (loss summed over samples, samples, first bad step or -1)."""
        optimizer = self.model.optimizer
        if not any(p.requires_grad for p in self.model.trainable_weights):
            if order is not None:
                data, begin = data.take(order[begin : begin + steps * batch]), 0
            return self.evaluate(data, begin, steps, batch)
        step = self.step_for(data, batch, "train")
        if step is None:
            return self._eager(data, order, begin, steps, batch, True)
        totals, samples, bad = step.plan.train(
            data.arrays, order, begin, steps, optimizer._native, [p._data for p in step.params],
            optimizer.states(step.params), optimizer.iterations + 1, optimizer.rates(steps),
        )  # fmt: skip
        optimizer.iterations += steps
        return self._count(totals), samples, bad

    def evaluate(self, data: Data, begin: int, steps: int, batch: int) -> tuple[float, int, int]:
        """As `train`, without changing anything."""
        step = self.step_for(data, batch, "evaluate")
        if step is None:
            return self._eager(data, None, begin, steps, batch, False)
        step.plan.invalidate_prepared()
        totals, samples, bad = step.plan.evaluate(data.arrays, None, begin, steps)
        return self._count(totals), samples, bad

    def _count(self, totals: list[float]) -> float:
        for i, m in enumerate(self.metrics):
            m.add(totals[1 + 2 * i], totals[2 + 2 * i])
        return totals[0] if totals else 0.0

    def _eager(
        self, data: Data, order: np.ndarray | None, begin: int, steps: int, batch: int, training: bool
    ) -> tuple[float, int, int]:
        total, bad = 0.0, -1
        for s in range(steps):
            rows: Any = slice(begin + s * batch, begin + (s + 1) * batch)
            part = data.take(rows if order is None else order[rows])
            x = [wrap(a.astype(self.model.compute_dtype) if a.dtype.kind == "u" else a) for a in part.x]
            y = [wrap(a) for a in part.y]
            weight = None if part.weight is None else wrap(part.weight)
            if training:
                outputs, penalties = self.forward(x, True)
                loss = self.loss(y, outputs, weight, penalties)
                params = [p for p in self.model.trainable_weights if p.requires_grad]
                for p in params:
                    p._grad = None
                loss.backward()
                self.model.optimizer.apply_gradients((p._grad, p) for p in params)
            else:
                with no_grad():
                    outputs, penalties = self.forward(x, False)
                    loss = self.loss(y, outputs, weight, penalties)
            self.setup_metrics(y, outputs)
            for m, i, weighted in self._metric_outputs:
                m.update_state(
                    y[i].detach(), outputs[i].detach(), self._weight(i, outputs[i], weight if weighted else None)
                )
            value = loss.item()
            total += value * batch
            if not np.isfinite(value) and bad < 0:
                bad = s
        return total, steps * batch, bad

    def predict(self, data: Data, batch: int) -> list[np.ndarray]:
        """The model's outputs for all rows."""
        outputs: list[np.ndarray] = []
        begin = 0
        for size, steps in batches(data.rows, batch):
            step = self.step_for(data, size, "predict")
            if step is None:
                self._predict_eager(data, outputs, begin, steps, size)
            else:
                if not outputs:
                    outputs = [np.empty((data.rows, *s[1:]), d) for d, s in step.plan.results]
                step.plan.invalidate_prepared()
                step.plan.predict(data.x, begin, steps, outputs)
            begin += steps * size
        return outputs

    def _predict_eager(self, data: Data, outputs: list[np.ndarray], begin: int, steps: int, batch: int) -> None:
        with no_grad():
            for s in range(steps):
                first = begin + s * batch
                part = data.take(slice(first, first + batch))
                x = [wrap(a.astype(self.model.compute_dtype) if a.dtype.kind == "u" else a) for a in part.x]
                got = [as_array(o) for o in self.forward(x, False)[0]]
                if not outputs:
                    outputs.extend(np.empty((data.rows, *g.shape[1:]), g.dtype) for g in got)
                for whole, g in zip(outputs, got, strict=True):
                    whole[first : first + batch] = g

    def logs(self, loss: float, samples: int) -> dict[str, float]:
        """What an epoch reports."""
        out = {"loss": loss / max(samples, 1)}
        for m in self.metrics:
            out[m.name] = float(m.result())
        return out

    def reset_metrics(self) -> None:
        for m in self.metrics:
            m.reset_state()


def symbol_ids(tensors: Sequence[Any]) -> list[int]:
    """The graph values of traced tensors."""
    if not all(isinstance(t, Symbol) for t in tensors):
        raise NotTraceable("an output or a loss that does not depend on the inputs")
    return [t.id for t in tensors]


def _one_or_list(items: list[Any]) -> Any:
    return items[0] if len(items) == 1 else items


def batches(rows: int, batch: int) -> list[tuple[int, int]]:
    """(batch size, steps): the full batches, then what is left."""
    full, rest = divmod(rows, batch)
    return [(size, steps) for size, steps in ((batch, full), (rest, 1 if rest else 0)) if steps]


class EpochRunner:
    """One epoch over arrays, in slices short enough for progress bars, callbacks and Ctrl-C."""

    def __init__(
        self, engine: Engine, callbacks: Any, progress: Callable[[int, dict[str, float]], None] | None
    ) -> None:
        self.engine, self.callbacks, self.progress = engine, callbacks, progress
        self.loss, self.samples, self.step = 0.0, 0, 0
        self.warned = False

    def run(self, data: Data, order: np.ndarray | None, batch: int, most_steps: int | None, epoch: int) -> None:
        """Train on the data in the given order."""
        begin = 0
        for size, steps in batches(data.rows if order is None else len(order), batch):
            if most_steps is not None:
                steps = min(steps, most_steps - self.step)
            done, slice_steps = 0, 1
            while done < steps and not self.engine.model.stop_training:
                n = 1 if self.callbacks.needs_batches else min(slice_steps, steps - done)
                if self.callbacks.needs_batches:
                    self.callbacks.on_train_batch_begin(self.step, {})
                started = time.perf_counter()
                loss, samples, bad = self.engine.train(data, order, begin, n, size)
                elapsed = max(time.perf_counter() - started, 1e-6)
                if bad >= 0 and not self.warned:
                    self.warned = True
                    warn_not_finite(f"epoch {epoch + 1}, batch {self.step + bad} (counted from 0)")
                self.loss += loss
                self.samples += samples
                self.step += n
                done += n
                begin += n * size
                slice_steps = max(1, min(int(n * _SLICE_SECONDS / elapsed), 2 * slice_steps + 8))
                if self.callbacks.needs_batches:
                    self.callbacks.on_train_batch_end(self.step - 1, self.engine.logs(self.loss, self.samples))
                if self.progress is not None:
                    self.progress(n, self.engine.logs(self.loss, self.samples))


def warn_not_finite(where: str) -> None:
    """Say which batch made the loss NaN or infinite."""
    warnings.warn(
        f"the loss became NaN or infinite in {where}: check the data for NaN, or lower the learning rate",
        RuntimeWarning,
        stacklevel=4,
    )


def iterate(source: Iterable[Any], model: Any, class_weight: Any = None) -> Iterable[Data]:
    """Batches of an iterable as Data: (x, y), (x, y, sample_weight), x, or dicts."""
    for item in source:
        if isinstance(item, (tuple, list)):
            if not 1 <= len(item) <= 3:
                raise ValueError(f"fit: x: expected batches (x, y) or (x, y, sample_weight), got {len(item)} parts")
            part = Data(model, *item)
            part.weigh_classes(class_weight)
            yield part
        else:
            yield Data(model, item)


class Stream:
    """The batches of an iterable, epoch by epoch.

    With a number of steps an epoch goes on where the last one stopped; without one, each starts the iterable again.
    """

    def __init__(self, source: Iterable[Any], model: Any, class_weight: Any, steps: int | None) -> None:
        self._source, self._model, self._class_weight, self._steps = source, model, class_weight, steps
        self._rest: Iterator[Data] | None = None
        self._seen, self._ran_out = 0, False

    def epoch(self) -> Iterator[Data]:
        """The batches of the next epoch."""
        self._seen, self._ran_out = 0, False
        if self._rest is None:
            self._rest = iter(iterate(self._source, self._model, self._class_weight))
        while self._seen != self._steps:
            part = next(self._rest, None)
            if part is None:
                self._rest, self._ran_out = None, True
                return
            self._seen += 1
            yield part

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
