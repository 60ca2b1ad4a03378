"""What `fit`, `evaluate` and `predict` run on: native plans where a model can be traced, else the eager tape."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from operator import is_
from typing import Any, NamedTuple

import numpy as np

from . import _cpu, metrics
from ._data import Data, batches, fits_device
from ._device import CPU, device, device_of, namespace, place, to_host
from ._dtypes import is_half
from ._metrics.base import is_native, sums_plainly
from ._snapshot import FitState, set_metric_states
from ._trace import NotTraceable, Symbol, Tracer
from .autograd import Tensor, as_array, no_grad, wrap
from .layers._phase import phases
from .layers._structures import flatten
from .nn.module import structure_clock

# fit comes up from native code at least this often, for progress bars and Ctrl-C.
_SLICE_SECONDS = 0.05


class _Reading(NamedTuple):
    """What a metric takes of a step."""

    metric: metrics.Metric
    # Of a native one, the terms: places among the results, or numbers that are the same in each step.
    terms: list[int | float] | None
    # Of one in Python, what its update_state is given: target, and the places of the output and of the weights.
    target: int = 0
    output: int = 0
    weight: int | None = None
    dtype: Any = None


class _Step:
    """One traced graph with its plan, for one batch size."""

    def __init__(
        self,
        plan: Any,
        params: list[Any],
        batch: int,
        readings: Sequence[_Reading] = (),
        constraints: dict[int, Any] | None = None,
    ) -> None:
        self.plan, self.params = plan, params
        self.constraints = constraints or {}  # by number of a parameter
        self.readings = readings
        self.watched = any(r.terms is None for r in readings)  # whether a metric in Python looks at each batch
        before = [[other.metric for other in readings[:i]] for i in range(len(readings))]
        # Native metrics, and whether their sums go on in native code: those of one that looks at several outputs only
        # once.
        self.counted = [
            (r.metric, r.terms, sums_plainly(r.metric) and r.metric not in others)
            for r, others in zip(readings, before, strict=True)
            if r.terms is not None
        ]
        shapes = [tuple(shape) for _, shape in plan.results]
        self.scalar = not any(shapes)
        self.zeros: list[Any] = [np.zeros(s) if s else 0.0 for s in shapes]
        self.arrays = [p._data for p in params]  # for as long as the parameters have these: see step_for
        self.by_row = all(s[:1] == (batch,) for _, s in plan.results)  # whether results have a row per sample
        self._trainer: Any = None
        self._optimizer: Any = None  # that of the trainer

    def trainer(self, optimizer: Any) -> Any:
        """The plan with this optimizer."""
        if self._optimizer is not optimizer._native:
            states, decays = optimizer.states(self.params), optimizer.decays(self.params)
            self._trainer = _cpu.Trainer(self.plan, optimizer._native, self.arrays, states, decays, self.constraints)
            self._optimizer = optimizer._native
        return self._trainer

    def sums(self, loss: float) -> Any:
        """The sums of the results so far, one element after another."""
        parts = [loss, *self.zeros[1:]]
        for metric, terms, goes_on in self.counted:
            if goes_on and metric._sums is not None:
                for t, known in zip(terms, metric._sums, strict=True):
                    if type(t) is int:
                        parts[t] = known
        return parts if self.scalar else np.concatenate([np.ravel(p) for p in parts])

    def count(self, totals: list[Any], steps: int) -> None:
        """Hand the native metrics their sums, which went on from those so far, over so many steps."""
        for metric, terms, goes_on in self.counted:
            if not goes_on or metric._sums is None:
                metric.add(*[totals[t] if type(t) is int else t * steps for t in terms])
            else:
                metric._sums = [
                    totals[t] if type(t) is int else k + t * steps for t, k in zip(terms, metric._sums, strict=True)
                ]

    def show(self, totals: list[Any], data: Data, rows: Any) -> None:
        """Show the batch that was just run to the metrics in Python."""
        for r in self.readings:
            if r.terms is None:
                output = wrap(np.asarray(totals[r.output], r.dtype))
                weight = None if r.weight is None else wrap(np.asarray(totals[r.weight], r.dtype))
                r.metric.update_state(wrap(to_host(data.y[r.target][rows])), output, weight)


class _Parts:
    """The weights of a model, as they are until its structure changes."""

    def __init__(self, model: Any) -> None:
        self.clock = structure_clock()
        self.hooks = [h for m in model.modules() for h in (*m._pre_hooks.values(), *m._hooks.values())]
        named = list(model._named_weights())
        self.weights = [p for _, p, _ in named]
        self.trainable = [p for _, p, trainable in named if trainable]
        self.frozen = tuple(getattr(m, "_trainable", True) for m in model.modules())

    def trains(self) -> bool:
        """Whether there is anything to train."""
        return any(p._rg for p in self.trainable)


class Engine:
    """Runs a compiled model; keeps its plans until weights or settings are replaced."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._steps: dict[Any, _Step | None] = {}
        self._recent: dict[str, tuple[Any, ...]] = {}  # the last step of each mode and what it depends on
        self._known_parts: _Parts | None = None
        self.metrics: list[metrics.Metric] = []
        self._metric_outputs: list[tuple[metrics.Metric, int, bool]] = []  # metric, output it looks at, weighted
        self._masks: list[Any] = []  # of the outputs of the last forward
        self._parts_of_loss: list[tuple[int, Tensor]] = []  # of the last loss: outputs and their losses, where several
        self._part_metrics: list[metrics.Metric] = []  # of these
        self._written: set[str] | None = None  # methods of steps that are the user's
        self._logs: dict[str, float] | None = None  # what a step of the user's gave last
        self._pending: list[dict[str, Any]] | None = None  # for metrics that are still to be made

    def __getstate__(self) -> dict[str, Any]:
        # A copy of the model makes its own plans.
        return {**self.__dict__, "_steps": {}, "_recent": {}, "_known_parts": None}

    def written(self, *names: str) -> bool:
        """Whether the model's class has one of these methods of its own in the place of the usual one."""
        if self._written is None:
            from ._fit import Trainable

            steps = ("train_step", "test_step", "predict_step", "compute_loss", "compute_metrics")
            self._written = {n for n in steps if getattr(type(self.model), n) is not getattr(Trainable, n)}
        return bool(self._written) and not self._written.isdisjoint(names)

    # -- forward, loss and metrics, on tensors or symbols --

    def forward(self, x: Sequence[Tensor], training: bool, wide: bool = True) -> tuple[list[Tensor], list[Tensor]]:
        """(outputs, activity penalties); losses and metrics want `wide` outputs, those of 16 bits in float32."""
        before, phases.now.losses = phases.now.losses, []
        try:
            outputs = flatten(self.model(x[0] if len(x) == 1 else list(x), training=training))
            self._masks = list(phases.now.output_masks)
            if wide:
                outputs = [o.to(np.dtype(np.float32)) if is_half(o.dtype) else o for o in outputs]
            return outputs, phases.now.losses
        finally:
            phases.now.losses = before

    def step_loss(
        self, x: Sequence[Tensor], y: Sequence[Tensor], outputs: Sequence[Tensor], weight: Any,
        penalties: list[Tensor], training: bool,
    ) -> Tensor:  # fmt: skip
        """The loss of a step: the model's `compute_loss` where that is the user's."""
        self._parts_of_loss = []
        if not self.written("compute_loss"):
            return self.loss(y, outputs, weight, penalties)
        before, phases.now.losses = phases.now.losses, penalties
        try:
            return self.model.compute_loss(  # type: ignore[no-any-return]
                x=_one_or_list(list(x)), y=_one_or_list(list(y)) if y else None, y_pred=_one_or_list(list(outputs)),
                sample_weight=weight, training=training,
            )  # fmt: skip
        finally:
            phases.now.losses = before

    def loss(self, y: Sequence[Tensor], outputs: Sequence[Tensor], weight: Any, penalties: list[Tensor]) -> Tensor:
        """The scalar that training minimises."""
        fns = self.model._losses_for(len(outputs))
        expected = sum(f is not None for f in fns)
        if expected and len(y) != expected:
            raise ValueError(f"loss: y: expected {expected} array{'s' * (expected != 1)}, one a loss, got {len(y)}")
        total: Any = None
        targets = iter(y)
        self._parts_of_loss = []
        for i, (fn, scale) in enumerate(zip(fns, self.model._loss_weights_for(len(outputs)), strict=True)):
            if fn is None:
                continue
            part = fn(next(targets), outputs[i], self._weight(i, outputs[i], weight))
            if len(part.shape):
                part = part.mean()
            if expected > 1:
                self._parts_of_loss.append((i, part))
            part = part if scale == 1 else part * float(scale)
            total = part if total is None else total + part
        for p in [*self.model._weight_penalties(), *penalties]:
            total = p if total is None else total + p
        if total is None:
            raise ValueError("compile: loss: expected a loss, got None, and no layer adds a penalty")
        return total

    def _weight(self, i: int, output: Tensor, weight: Any) -> Tensor | None:
        """Sample weights times the mask of output i: padded steps do not count, and the mean is over the others."""
        if isinstance(weight, list):
            weight = weight[i]
        mask = self._masks[i] if i < len(self._masks) else None
        if mask is None or tuple(mask.shape) != tuple(output.shape[: len(mask.shape)]):
            return weight
        steps = mask.to(output.dtype)
        steps = steps * (float(np.prod(steps.shape)) / steps.sum().clamp(min=1.0))
        if weight is None:
            return steps
        if len(weight.shape) == 1:
            weight = weight.reshape(weight.shape[0], *[1] * (len(steps.shape) - 1))
        return steps * weight

    def setup_metrics(self, y: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Resolve the names given to compile, now that the shapes are known."""
        args = self.model._metric_args or self.model._weighted_metric_args
        if self.metrics or not (args or self._parts_of_loss):
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
                    taken = {other.name for other, _, _ in found if other is not m}
                    name, n = m.name, 1
                    while m.name in taken:
                        m.name, n = f"{name}_{n}", n + 1
                    found.append((m, i, weighted))
        self._metric_outputs = found
        self._part_metrics = [metrics.Mean(f"{self.model.output_names[i]}_loss") for i, _ in self._parts_of_loss]
        self.metrics = [*self._part_metrics, *(m for m, _, _ in found)]
        for m in self.metrics:
            m.reset_state()
        self._go_on()

    def _go_on(self) -> None:
        if self._pending is not None:
            set_metric_states(self.model.metrics, self._pending)
            self._pending = None

    def resume_metrics(self, data: Data, state: FitState) -> None:
        """Let metrics go on from where a backup has them; `data` shows the shapes."""
        self._pending, state.metrics = state.metrics, None
        if not self.metrics and len(self._pending or []) > len(self.model.metrics):
            with no_grad():
                part = data.take(slice(0, 1)).on(self.where(), whole=True)
                x, y = [wrap(a) for a in self._floats(part.x)], [wrap(a) for a in part.y]
                outputs, penalties = self.forward(x, False)
                self.step_loss(x, y, outputs, part.by_output([wrap(a) for a in part.weights]), penalties, False)
                self.setup_metrics(y, outputs)
        self._go_on()

    def build(self, data: Data) -> None:
        """Make the weights of a model that waits for its first data."""
        if not self.model.built:
            with no_grad():
                part = data.take(slice(0, 1))
                self.model(_one_or_list([wrap(a) for a in self._floats(part.x)]))

    def _floats(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [a.astype(self.model.compute_dtype) if a.dtype.kind == "u" else a for a in arrays]

    def count(self, y: Sequence[Any], outputs: Sequence[Any], weight: Any) -> None:
        """Count a batch in the metrics that compile was given."""
        self.setup_metrics(y, outputs)
        rows = float(outputs[0].shape[0])
        for m, (_, part) in zip(self._part_metrics, self._parts_of_loss, strict=False):
            m.add(part.item() * rows, rows)
        for m, i, weighted in self._metric_outputs:
            m.update_state(
                y[i].detach(), outputs[i].detach(), self._weight(i, outputs[i], weight if weighted else None)
            )

    def _reading(self, m: metrics.Metric, i: int, y: Any, output: Any, weight: Any, results: list[Any]) -> _Reading:
        """What the metric takes of a step; what it needs is added to the results."""

        def place(t: Any) -> int:
            results.append(t)
            return len(results) - 1

        terms = None
        if is_native(m):
            seen = [output, weight]
            if m.dtype is not None:
                seen = [t if t is None else t.to(np.dtype(m.dtype)) for t in seen]
            try:
                terms = m.terms(y, *seen)
            except NotTraceable:  # a function in NumPy
                terms = None
        if terms is not None:
            return _Reading(m, [place(t) if isinstance(t, Tensor) else float(t) for t in terms])
        if output.dtype.kind != "f":
            raise NotTraceable(f"{type(m).__name__} is written in Python, and looks at integers")
        at = place(output)
        return _Reading(m, None, i, at, None if weight is None else place(weight), output.dtype)

    # -- plans --

    def _parts(self) -> _Parts:
        known = self._known_parts
        if known is None or known.clock != structure_clock():
            now = _Parts(self.model)
            if known is not None and known.hooks != now.hooks:  # plans hold what hooks did while they were traced
                self._steps.clear()
                self._recent.clear()
            known = self._known_parts = now
        return known

    def step_for(self, data: Data, batch: int, mode: str) -> _Step | None:
        """The plan for batches of this size; None where the model cannot be traced, or has nothing to train.

        mode: train, evaluate, predict.
        """
        if self.model.run_eagerly:
            self._steps[mode] = None
            return None
        parts, signature = self._parts(), data.signature()
        # Freezing layers or replacing arrays makes another plan.
        arrays = [p._data for p in parts.weights]
        trained = [p._rg for p in parts.weights] if mode == "train" else None
        recent = self._recent.get(mode)
        if recent is not None and recent[:4] == (parts, batch, signature, trained) and all(map(is_, recent[4], arrays)):
            return recent[5]  # type: ignore[no-any-return]
        if trained is not None and not (parts.trains() and self.model.optimizer._runs_natively):
            return None
        state = None if trained is None else (parts.frozen, tuple(trained))
        key = (mode, batch, state, tuple([id(a) for a in arrays]), signature)
        if key not in self._steps:
            if len(self._steps) > 64:  # many shapes: variable-length batches
                self._steps.clear()
            try:
                self._steps[key] = self._trace(data, batch, mode)
            except NotTraceable as e:
                if self.model.jit_compile is True:
                    raise ValueError(
                        f"compile: jit_compile: expected a model that plans can run, got one with {e}"
                    ) from e
                self._steps[key] = None
        step = self._steps[key]
        self._recent[mode] = parts, batch, signature, trained, arrays, step
        return step

    def _trace(self, data: Data, batch: int, mode: str) -> _Step:
        model = self.model
        dtype = np.dtype(model.compute_dtype)

        def spec(a: np.ndarray) -> tuple[str, tuple[int, ...]]:
            return (dtype.name if a.dtype.kind == "u" else a.dtype.name), (batch, *a.shape[1:])

        # A model builds its weights from real shapes before they can be given names.
        if not model.built:
            with no_grad(), Tracer() as scratch:
                model(_one_or_list([scratch.input(f"x{i}", spec(a)[1], spec(a)[0]) for i, a in enumerate(data.x)]))
        tracer = Tracer()
        tracer.name_parameters((name, p) for name, p, _ in model._named_weights())
        specs = [spec(a) for a in data.arrays]
        symbols = [tracer.input(f"input_{i}", s[1], s[0]) for i, s in enumerate(specs)]
        nx, ny = len(data.x), len(data.y)
        with tracer:
            outputs, penalties = self.forward(symbols[:nx], mode == "train", mode != "predict")
        if mode == "predict":
            plan = _cpu.Plan(tracer.graph, specs, symbol_ids(outputs), False, self.where().type == "cuda")
            return _Step(plan, [], batch)
        y, weight = symbols[nx : nx + ny], data.by_output(symbols[nx + ny :])
        with tracer:
            loss = self.step_loss(symbols[:nx], y, outputs, weight, penalties, mode == "train")
        parts = [part for _, part in self._parts_of_loss]
        self.setup_metrics(y, outputs)
        results = [self.model.optimizer.scale_loss(loss) if mode == "train" else loss]
        readings = []
        for m, part in zip(self._part_metrics, parts, strict=False):
            results.append(part * float(batch))
            readings.append(_Reading(m, [len(results) - 1, float(batch)]))
        for m, i, weighted in self._metric_outputs:
            part_weight = self._weight(i, outputs[i], weight if weighted else None)
            readings.append(self._reading(m, i, y[i], outputs[i], part_weight, results))
        plan = _cpu.Plan(tracer.graph, specs, symbol_ids(results), mode == "train", self.where().type == "cuda")
        params = [tracer.params[tracer.graph.name(i)] for i in plan.parameters]
        constrained = [(i, p) for i, p in enumerate(params) if getattr(p, "constraint", None) is not None]
        return _Step(plan, params, batch, readings, {i: _constraint_plan(p) for i, p in constrained})

    # -- runs --

    def where(self) -> device:
        """The device of the model's weights."""
        weights = self._parts().weights
        return weights[0].device if weights else CPU

    def train(
        self, data: Data, order: np.ndarray | None, begin: int, steps: int, batch: int, before: float = 0.0
    ) -> tuple[float, int, int]:
        """Train on `steps` batches; returns (loss summed over samples, samples, first bad step or -1).

        before: the sum to go on from.
        """
        data = data.on(self.where())
        optimizer = self.model.optimizer
        if self.written("train_step", "compute_metrics"):
            return self._by_user(self.model.train_step, True, data, order, begin, steps, batch, before)
        if optimizer._excluded[1] is not None:
            optimizer.name_variables((name, p) for name, p, _ in self.model._named_weights())
        step = self.step_for(data, batch, "train")
        if step is None:
            if self._parts().trains():
                return self._eager(data, order, begin, steps, batch, True, before)
            if order is not None:
                data, begin = data.take(order[begin : begin + steps * batch]), 0
            loss, samples, bad = self.evaluate(data, begin, steps, batch)
            return before + loss, samples, bad
        trainer = step.trainer(optimizer)

        def run(at: int, n: int, sums: Any) -> Any:
            found = trainer.run(data.arrays, order, at, n, optimizer._iterations + 1, optimizer.rates(n), sums)
            optimizer._iterations += n
            return found

        return _run(step, run, data, order, begin, steps, batch, before, optimizer.loss_scale_factor or 1.0)

    def evaluate(self, data: Data, begin: int, steps: int, batch: int) -> tuple[float, int, int]:
        """As `train`, without changing anything."""
        data = data.on(self.where())
        if self.written("test_step", "compute_metrics"):
            return self._by_user(self.model.test_step, False, data, None, begin, steps, batch)
        step = self.step_for(data, batch, "evaluate")
        if step is None:
            return self._eager(data, None, begin, steps, batch, False)

        def run(at: int, n: int, sums: Any) -> Any:
            return step.plan.evaluate(data.arrays, None, at, n, sums)

        return _run(step, run, data, None, begin, steps, batch)

    def _eager(
        self, data: Data, order: np.ndarray | None, begin: int, steps: int, batch: int, training: bool,
        before: float = 0.0,
    ) -> tuple[float, int, int]:  # fmt: skip
        total, bad = before, -1
        for s in range(steps):
            rows: Any = slice(begin + s * batch, begin + (s + 1) * batch)
            part = data.take(rows if order is None else order[rows]).on(self.where(), whole=True)
            x = [wrap(a) for a in self._floats(part.x)]
            y = [wrap(a) for a in part.y]
            weight = part.by_output([wrap(a) for a in part.weights])
            if training:
                outputs, penalties = self.forward(x, True)
                loss = self.step_loss(x, y, outputs, weight, penalties, True)
                params = [p for p in self._parts().trainable if p._rg]
                if not (self.model.optimizer._runs_natively or self.model.optimizer._variables):
                    self.model.optimizer.build(params)
                for p in params:
                    p._grad = None
                self.model.optimizer.scale_loss(loss).backward()
                reached = [p for p in params if p._grad is not None]
                self.model.optimizer._step([p._grad for p in reached], reached)
            else:
                with no_grad():
                    outputs, penalties = self.forward(x, False)
                    loss = self.step_loss(x, y, outputs, weight, penalties, False)
            self.count(y, outputs, weight)
            value = loss.item()
            total += value * batch
            if not np.isfinite(value) and bad < 0:
                bad = s
        return total, steps * batch, bad

    def _by_user(
        self, step: Callable[[Any], Any], training: bool, data: Data, order: np.ndarray | None, begin: int, steps: int,
        batch: int, before: float = 0.0,
    ) -> tuple[float, int, int]:  # fmt: skip
        """Steps that the user wrote, on the eager tape."""
        total, bad = before, -1
        for s in range(steps):
            rows: Any = slice(begin + s * batch, begin + (s + 1) * batch)
            part = data.take(rows if order is None else order[rows]).on(self.where(), whole=True)
            outer, phases.now.losses = phases.now.losses, []
            try:
                with nullcontext() if training else no_grad():
                    found = step(part.structure(self.model.compute_dtype))
            finally:
                phases.now.losses = outer
            if not isinstance(found, dict):
                raise TypeError(
                    f"{type(self.model).__name__}: {'train_step' if training else 'test_step'}: expected a dict of "
                    f"names to numbers, got {type(found).__name__}"
                )
            self._logs = {k: _number(v) for k, v in found.items()}
            value = self._logs.get("loss", 0.0)
            total += value * batch
            if not np.isfinite(value) and bad < 0:
                bad = s
        return total, steps * batch, bad

    def predict(self, data: Data, batch: int) -> list[np.ndarray]:
        """The model's outputs for all rows, where the inputs are."""
        home = device_of(data.x[0])
        data = data.on(self.where(), whole=data.rows <= batch)
        return [place(o, home) for o in self._predict(data, batch, home)]

    def _predict(self, data: Data, batch: int, home: device) -> list[np.ndarray]:
        if self.written("predict_step"):
            groups = []
            for begin in range(0, data.rows, batch):
                part = data.take(slice(begin, begin + batch)).on(self.where(), whole=True)
                with no_grad():
                    found = self.model.predict_step(part.structure(self.model.compute_dtype))
                groups.append([as_array(o) for o in flatten(found)])
            return [np.concatenate(group) for group in zip(*groups, strict=True)]
        if data.rows <= batch and all([a.dtype.kind != "u" for a in data.x]):
            step = self.step_for(data, data.rows, "predict")
            if step is not None and step.by_row:
                return step.plan.run(data.x)  # type: ignore[no-any-return]
        outputs: list[np.ndarray] = []
        begin = 0
        for size, steps in batches(data.rows, batch):
            step = self.step_for(data, size, "predict")
            if step is None:
                self._predict_eager(data, outputs, begin, steps, size)
            else:
                if not outputs:
                    specs = [((data.rows, *s[1:]), d) for d, s in step.plan.results]
                    whole = self.where().type == "cuda" and (home.type == "cuda" or fits_device(specs))
                    xp = sys.modules["cupy"] if whole else np
                    outputs = [xp.empty(*spec) for spec in specs]
                step.plan.predict(data.x, begin, steps, outputs)
            begin += steps * size
        return outputs

    def _predict_eager(self, data: Data, outputs: list[np.ndarray], begin: int, steps: int, batch: int) -> None:
        with no_grad():
            for s in range(steps):
                first = begin + s * batch
                part = data.take(slice(first, first + batch)).on(self.where(), whole=True)
                x = [wrap(a) for a in self._floats(part.x)]
                got = [as_array(o) for o in self.forward(x, False, False)[0]]
                if not outputs:
                    outputs.extend(namespace(g).empty((data.rows, *g.shape[1:]), g.dtype) for g in got)
                for whole, g in zip(outputs, got, strict=True):
                    whole[first : first + batch] = g

    def logs(self, loss: float, samples: int) -> dict[str, Any]:
        """What an epoch reports."""
        if self._logs is not None:
            return dict(self._logs)
        out: dict[str, Any] = {"loss": loss / max(samples, 1)}
        for m in self.metrics:
            value = m.result()
            if isinstance(value, dict):
                out.update({name: float(v) for name, v in value.items()})
            else:
                out[m.name] = value if type(value) is float or np.ndim(value) else float(value)
        return out

    def reset_metrics(self) -> None:
        """Begin an epoch."""
        self._logs = None
        for m in self.model.metrics if self.written("train_step", "test_step", "compute_metrics") else self.metrics:
            m.reset_state()


def _number(value: Any) -> Any:
    array = as_array(value)
    return float(array) if array.ndim == 0 else array.copy()


def _run(
    step: _Step, run: Any, data: Data, order: np.ndarray | None, begin: int, steps: int, batch: int,
    before: float = 0.0, scale: float = 1.0,
) -> tuple[float, int, int]:  # fmt: skip
    """Native steps; one by one where a metric in Python looks at each batch.

    Sums go on from those so far: how many steps a call has, the clock decides, and no bit may depend on that.
    """
    loss, bad = before, -1
    calls, each = (steps, 1) if step.watched else (1, steps)
    for s in range(calls):
        at = begin + s * batch
        totals, _, not_finite = run(at, each, step.sums(loss * scale))
        loss = totals[0] / scale
        step.count(totals, each)
        bad = s + not_finite if not_finite >= 0 and bad < 0 else bad
        if step.watched:
            rows: Any = slice(at, at + batch)
            step.show(totals, data, rows if order is None else order[rows])
    return loss, steps * batch, bad


def symbol_ids(tensors: Sequence[Any]) -> list[int]:
    """The graph values of traced tensors."""
    if not all(isinstance(t, Symbol) for t in tensors):
        raise NotTraceable("an output or a loss that does not depend on the inputs")
    return [t.id for t in tensors]


def _constraint_plan(weight: Any) -> Any:
    """The plan that gives what the weight becomes after each update."""
    tracer = Tracer()
    w = tracer.input("weight", weight.shape, weight.dtype)
    result = weight.constraint(w)
    if result is w:
        result = w * 1.0
    on_gpu = weight.device.type == "cuda"
    return _cpu.Plan(tracer.graph, [(w.dtype.name, w.shape)], symbol_ids([result]), False, on_gpu)


def _one_or_list(items: list[Any]) -> Any:
    return items[0] if len(items) == 1 else items


class EpochRunner:
    """One epoch over arrays, in slices short enough for progress bars, callbacks and Ctrl-C."""

    def __init__(
        self,
        engine: Engine,
        callbacks: Any,
        progress: Callable[[int, dict[str, float]], None] | None,
        state: FitState,
    ) -> None:
        self.engine, self.callbacks, self.progress, self.state = engine, callbacks, progress, state
        self.warned = False

    def run(
        self,
        data: Data,
        order: np.ndarray | None,
        batch: int,
        most_steps: int | None,
        epoch: int,
        passed: int = 0,
    ) -> None:
        """Train on the data in the given order, but for the first `passed` batches."""
        begin, state = 0, self.state
        # With batches seen one by one there are as many calls as `steps_per_execution` says.
        at_most = self.engine.model.steps_per_execution if self.callbacks.needs_batches else None
        for size, steps in batches(data.rows if order is None else len(order), batch):
            done, slice_steps = min(passed, steps), 1
            passed -= done
            begin += done * size
            if most_steps is not None:
                steps = min(steps, done + most_steps - state.step)
            while done < steps and not self.engine.model.stop_training:
                n = min(at_most or slice_steps, steps - done)
                if self.callbacks.needs_batches:
                    self.callbacks.on_train_batch_begin(state.step, {})
                started = time.perf_counter()
                loss, samples, bad = self.engine.train(data, order, begin, n, size, state.loss)
                elapsed = max(time.perf_counter() - started, 1e-6)
                if bad >= 0 and not self.warned:
                    self.warned = True
                    warn_not_finite(f"epoch {epoch + 1}, batch {state.step + bad} (counted from 0)")
                state.loss = loss
                state.samples += samples
                state.step += n
                done += n
                begin += n * size
                slice_steps = max(1, min(int(n * _SLICE_SECONDS / elapsed), 2 * slice_steps + 8))
                if self.callbacks.needs_batches:
                    self.callbacks.on_train_batch_end(state.step - 1, self.engine.logs(state.loss, state.samples))
                if self.progress is not None:
                    self.progress(n, self.engine.logs(state.loss, state.samples))


def warn_not_finite(where: str) -> None:
    """Say which batch made the loss NaN or infinite."""
    warnings.warn(
        f"the loss became NaN or infinite in {where}: check the data for NaN, or lower the learning rate",
        RuntimeWarning,
        stacklevel=4,
    )
