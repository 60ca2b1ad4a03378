"""compile, fit, evaluate and predict: what makes a layer trainable."""

from __future__ import annotations

import itertools
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import callbacks as cb
from . import losses, optimizers
from . import metrics as _metrics
from ._data import Batches, Data, Feed, Stream, batches, iterate
from ._errors import short
from ._snapshot import FitState, random_state, set_random_state
from ._steps import Steps
from ._training import Engine, EpochRunner, warn_not_finite
from .layers._arguments import positive
from .layers._structures import flatten
from .layers._symbolic import KerasTensor
from .nn.module import structure_clock


def _is_iterable_of_batches(x: Any) -> bool:
    return not isinstance(x, (np.ndarray, list, tuple, dict)) and not hasattr(x, "__array__") and hasattr(x, "__iter__")


class Trainable(Steps):
    """The part of a model that `compile` sets up and `fit` runs; `models.Model` adds structure and files."""

    if TYPE_CHECKING:
        _graph: Any

        @property
        def inputs(self) -> list[KerasTensor]: ...
        @property
        def outputs(self) -> list[KerasTensor]: ...
        @property
        def output_names(self) -> list[str]: ...

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stop_training = self.stop_evaluating = self.stop_predicting = False
        self.optimizer: Any = None
        self.history: cb.History | None = None
        self._loss_arg: Any = None
        self._loss_weight_arg: Any = None
        self._metric_args: Any = None
        self._weighted_metric_args: Any = None
        self._compiled = False
        self.run_eagerly, self.jit_compile, self.steps_per_execution = False, "auto", 1
        self._fit_state = FitState()
        self._engine = Engine(self)
        self._loss_tracker = _metrics.Mean("loss")

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: Any = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Say how to train.

        Parameters
        ----------
        optimizer : str or Optimizer
        loss : str, Loss, callable, or a list or dict of them by output
        loss_weights : list or dict of float, optional
        metrics, weighted_metrics : list of str or Metric, optional
            `weighted_metrics` count sample and class weights.
        run_eagerly : bool
            Run on the eager tape rather than native plans: for debugging layers.
        steps_per_execution : int
            Callbacks of batches are called once for so many of them.
        jit_compile : {"auto", True, False}
            True: a model that native plans cannot run is an error. Otherwise plans are used where they can be.
        auto_scale_loss : bool
            Layers that compute in float16 lose small gradients: with True they are refused, unless the optimizer has a
            `loss_scale_factor`.
        """
        self.optimizer = optimizers.get(optimizer)
        if auto_scale_loss is True and self.optimizer.loss_scale_factor is None:
            for layer in self.modules():
                if getattr(layer, "compute_dtype", "") == "float16":
                    raise ValueError(
                        f"compile: auto_scale_loss: {layer.name} computes in float16, whose small gradients are lost: "
                        'expected an optimizer with a loss_scale_factor, "mixed_bfloat16", or auto_scale_loss=False'
                    )
        self._loss_arg, self._loss_weight_arg = loss, loss_weights
        self.__dict__.pop("_known_target_rules", None)
        if (isinstance(loss, dict) and "class_name" in loss) or (
            loss is not None and not isinstance(loss, (list, tuple, dict))
        ):
            self._loss_arg = losses.get(loss)
        self._metric_args = [] if metrics is None else metrics
        self._weighted_metric_args = [] if weighted_metrics is None else weighted_metrics
        for args in (self._metric_args, self._weighted_metric_args):
            for name in flatten(args if isinstance(args, (list, tuple, dict)) else [args]):
                _metrics.get(name)  # unknown names fail here, not in the middle of fit
        for name, value in (("run_eagerly", run_eagerly), ("auto_scale_loss", auto_scale_loss)):
            _one_of(f"compile: {name}", value, (True, False))
        _one_of("compile: jit_compile", jit_compile, ("auto", True, False))
        if run_eagerly and jit_compile is True:
            raise ValueError("compile: jit_compile: expected 'auto' or False with run_eagerly=True, got True")
        self.run_eagerly, self.jit_compile = bool(run_eagerly), jit_compile
        self.steps_per_execution = positive(steps_per_execution, "compile: steps_per_execution")
        self._engine = Engine(self)
        self._loss_tracker = _metrics.Mean("loss")
        self._compiled = True

    def _per_output(self, args: Any, count: int) -> list[list[Any]]:
        if isinstance(args, dict):
            return [_as_list(args.get(name, [])) for name in self.output_names]
        args = _as_list(args)
        if count > 1 and len(args) == count and all(isinstance(a, (list, tuple)) or a is None for a in args):
            return [_as_list(a or []) for a in args]
        return [list(args) for _ in range(count)]

    def _losses_for(self, count: int) -> list[Any]:
        arg = self._loss_arg
        if isinstance(arg, dict):
            unknown = set(arg) - set(self.output_names)
            if unknown:
                raise ValueError(f"compile: loss: expected outputs {self.output_names}, got {sorted(unknown)}")
            arg = [arg.get(name) for name in self.output_names]
        if not isinstance(arg, (list, tuple)):
            arg = [arg] * count
        if len(arg) != count:
            raise ValueError(f"compile: loss: expected {count} losses, one per output, got {len(arg)}")
        return [None if a is None else losses.get(a) for a in arg]

    def _target_rules(self, count: int) -> tuple[list[Any], list[int | None]]:
        """The losses that read the `count` target arrays, and the size of the last axis of each one's output."""
        key = (structure_clock(), self.built, count)
        known = self.__dict__.get("_known_target_rules")
        if known is None or known[0] != key:
            rules = self._target_losses(count), self._output_sizes()
            known = self.__dict__["_known_target_rules"] = key, rules
        return known[1]  # type: ignore[no-any-return]

    def _target_losses(self, count: int) -> list[Any]:
        """The losses that read the `count` target arrays, as far as compile's argument fits them."""
        names = self.output_names
        outputs = len(names) or count
        if count == 0 or (isinstance(self._loss_arg, (list, tuple)) and len(self._loss_arg) != outputs):
            return []
        return [f for f in self._losses_for(outputs) if f is not None]

    def _output_sizes(self) -> list[int | None]:
        """The size of the last axis of each output that a loss reads, where it is known."""
        fns = self._losses_for(len(self.outputs))
        return [t.shape[-1] for t, f in zip(self.outputs, fns, strict=True) if f is not None]

    def _input_count(self) -> int | None:
        return len(self.inputs) if self._graph else None

    def _loss_weights_for(self, count: int) -> list[float]:
        arg = self._loss_weight_arg
        if arg is None:
            return [1.0] * count
        if isinstance(arg, dict):
            arg = [arg.get(name, 1.0) for name in self.output_names]
        if len(arg) != count:
            raise ValueError(f"compile: loss_weights: expected {count} numbers, got {len(arg)}")
        return [float(a) for a in arg]

    def _need_compiled(self, what: str) -> None:
        if not self._compiled:
            raise RuntimeError(f"{what}: call compile(optimizer, loss) first")

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Sequence[cb.Callback] | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: dict[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int = 1,
    ) -> cb.History:
        """Train.

        Parameters
        ----------
        x : array, list or dict of arrays, or an iterable of batches (x, y[, sample_weight])
            uint8 arrays stay small: each batch becomes float as it is used. Iterables are generators, DataLoaders, data
            sets of batches (`utils.PyDataset`, or anything with `__getitem__` and `__len__`). A TensorDataset is the
            arrays in it.
        y : array or list of arrays
        batch_size : int
            Default 32.
        epochs, initial_epoch : int
            Train from `initial_epoch` up to `epochs`.
        verbose : {"auto", 0, 1, 2}
            1: a progress bar an epoch, 2: a line an epoch; "auto": 1 on a terminal, else 2.
        callbacks : list of Callback
        validation_split : float
            The last part of the data is kept for validation.
        validation_data : (x, y) or (x, y, sample_weight), or an iterable of batches
        shuffle : bool
            Another order every epoch.
        class_weight : dict of int to float
        sample_weight : array of one number a sample
        steps_per_epoch, validation_steps : int
            At most so many batches an epoch. With `steps_per_epoch`, the next epoch takes an iterable's next batches;
            without, it starts the iterable again. Training stops, with a warning, where a generator has ended.
        validation_batch_size : int
        validation_freq : int
            Validate every so many epochs.

        Returns
        -------
        History
        """
        self._need_compiled("fit")
        epochs, initial_epoch = _count("fit: epochs", epochs), _count("fit: initial_epoch", initial_epoch)
        _one_of("fit: verbose", verbose, ("auto", 0, 1, 2))
        _one_of("fit: shuffle", shuffle, (True, False))
        if isinstance(validation_freq, (list, tuple, set)):
            validates = {positive(e, "fit: validation_freq") for e in validation_freq}.__contains__
        else:
            every = positive(validation_freq, "fit: validation_freq")
            validates = lambda epoch: epoch % every == 0  # noqa: E731
        _check_callbacks("fit", callbacks)
        if isinstance(validation_split, bool) or not isinstance(validation_split, (int, float, np.number)):
            raise TypeError(f"fit: validation_split: expected a number in [0, 1), got {short(validation_split)}")
        batch = positive(32 if batch_size is None else batch_size, "fit: batch_size")
        given = x
        feed = Feed.of(x) if steps_per_epoch is None else None
        x = Batches.of(x, shuffle)
        streaming = feed is None and x is not None and _is_iterable_of_batches(x)
        if (streaming or feed) and (y is not None or sample_weight is not None or validation_split):
            raise ValueError("fit: y, sample_weight and validation_split go with arrays; an iterable yields its own")
        order: Any = shuffle  # whether the rows are shuffled, or a function that gives their order
        if feed is not None:
            batch = feed.batch or batch
            order = feed.shuffled if feed.batch is None and shuffle else feed.order
            x, y, sample_weight = (*feed.parts, None, None)[:3]
        if validation_split and not 0 < validation_split < 1:
            raise ValueError(f"fit: validation_split: expected a number in (0, 1), got {validation_split}")
        data = None
        if not streaming:
            data = Data(self, x, y, sample_weight, caller="fit")
            if data.rows == 0:
                raise ValueError("fit: x: expected at least one sample, got none")
            if validation_split and validation_data is None:
                cut = int(data.rows * (1 - validation_split))
                if cut == 0 or cut == data.rows:
                    raise ValueError(
                        f"fit: validation_split: {validation_split} of {data.rows} samples leaves an empty part"
                    )
                validation_data = data.take(slice(cut, None))
                data = data.take(slice(0, cut))
            data.weigh_classes(class_weight)
        validation = _validation(self, validation_data)
        if isinstance(validation, Data):
            if validation.rows == 0:
                raise ValueError("fit: validation_data: expected at least one sample, got none")
            # Shapes that do not fit are found now, not after an epoch.
            self._engine.step_for(validation, min(validation_batch_size or batch, validation.rows), "evaluate")
        if self.built and not self.trainable_weights:
            warnings.warn("fit: the model has no trainable weights: only its metrics are computed", stacklevel=2)

        if verbose == "auto":
            verbose = 1 if sys.stderr.isatty() else 2
        history = cb.History()
        bar = cb.ProgbarLogger(int(verbose)) if verbose else None
        steps = _length(x) if data is None else sum(s for _, s in batches(data.rows, batch))
        if steps_per_epoch is not None:
            steps_per_epoch = positive(steps_per_epoch, "fit: steps_per_epoch")
            steps = steps_per_epoch if steps is None else min(steps, steps_per_epoch)
        params = {"epochs": epochs, "steps": steps, "verbose": verbose, "do_validation": validation is not None}
        hooks = cb.CallbackList([*(callbacks or []), *([bar] if bar else []), history], model=self, **params)
        self.stop_training = False
        self.history = history
        source = Stream(x, self, class_weight, steps_per_epoch) if data is None else data
        state = self._fit_state = FitState(initial_epoch, source=given)
        state.watched = hooks.keeps_place
        if data is not None:
            state.layout = [data.rows, batch]
            if state.watched:
                self._engine.build(data)  # before what has been saved is put into the weights
        hooks.on_train_begin({})
        last: dict[str, float] = {}
        try:
            for epoch in range(state.epoch, epochs):
                if self.stop_training:  # as a backup says
                    break
                hooks.on_epoch_begin(epoch, {})
                logs = self._fit_epoch(source, batch, order, steps_per_epoch, epoch, hooks, bar)
                if not logs and epoch == initial_epoch:
                    raise ValueError("fit: x: the iterable gave no batch")
                ended = isinstance(source, Stream) and source.warn_if_short(epoch + 1 < epochs)
                if not logs:
                    break
                last = logs
                if validation is not None and validates(epoch + 1):
                    found = self._evaluate(
                        validation, validation_batch_size or batch, validation_steps, hooks, "fit: validation_data"
                    )
                    logs.update({f"val_{k}": v for k, v in found.items()})
                state.next_epoch(epoch + 1)
                hooks.on_epoch_end(epoch, logs)
                if self.stop_training or ended:
                    break
        finally:
            state.source = None
            if bar is not None and bar._bar is not None:
                bar.on_train_end()
        if state.epoch > initial_epoch:
            self.optimizer.finalize_variable_values(self.trainable_variables)
        hooks.on_train_end(last)
        return history

    def _fit_epoch(
        self, data: Any, batch: int, shuffle: Any, most: int | None, epoch: int, hooks: Any, bar: Any
    ) -> dict[str, float]:
        engine, state = self._engine, self._fit_state
        engine.reset_metrics()
        runner = EpochRunner(engine, hooks, None if bar is None else bar.progress, state)
        if isinstance(data, Data):
            order = self._order(data, shuffle)
            if state.metrics is not None:
                engine.resume_metrics(data, state)
            runner.run(data, order, batch, most, epoch, state.step)
        else:
            passed = None if state.metrics is None else data.start(state)
            if passed is not None:
                engine.resume_metrics(passed, state)
            for part in data.epoch(state):
                runner.run(part, None, part.rows, None, epoch)
                if self.stop_training:
                    break
            if state.step == 0:
                return {}
        return self._finished(state.loss, state.samples)

    def _finished(self, loss: float, samples: int) -> dict[str, float]:
        """What a pass over the data gives, with the loss among the metrics too."""
        if self._engine._logs is None:
            self._loss_tracker.reset_state()
            self._loss_tracker.add(loss, samples)
        return self._engine.logs(loss, samples)

    def _order(self, data: Data, shuffle: Any) -> np.ndarray | None:
        """The rows of an epoch in their order, or of the epoch that a backup goes on with."""
        from ._kernels import random

        state = self._fit_state
        if state.step and state.origin is not None:
            set_random_state(state.origin, self, state.source)
        elif state.watched:
            state.origin = random_state(self, state.source)
        order = shuffle() if callable(shuffle) else random.permutation(data.rows) if shuffle else None
        if state.random is not None:
            set_random_state(state.random, self, state.source)
            state.random = None
        return order

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Sequence[cb.Callback] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """The loss and metrics over data.

        Returns
        -------
        float, list of float or dict
            The loss alone, or [loss, *metrics], or a dict with `return_dict`.
        """
        self._need_compiled("evaluate")
        batch = positive(32 if batch_size is None else batch_size, "evaluate: batch_size")
        feed, x = Feed.of(x), Batches.of(x)
        if (feed or _is_iterable_of_batches(x)) and (y is not None or sample_weight is not None):
            raise ValueError("evaluate: y and sample_weight go with arrays; an iterable yields its own")
        if feed is not None:
            source, batch = feed.data(self, "evaluate"), feed.batch or batch
        else:
            source = x if _is_iterable_of_batches(x) else Data(self, x, y, sample_weight, caller="evaluate")
        count = _step_count(source, batch, steps)
        hooks = cb.CallbackList(callbacks, model=self, epochs=1, steps=count, verbose=verbose)
        logs = self._evaluate(source, batch, steps, hooks)
        if verbose == 2 or (verbose == "auto" and sys.stderr.isatty()) or verbose == 1:
            print(cb.format_logs(logs, " - "))
        if return_dict:
            return logs
        values = list(logs.values())
        return values[0] if len(values) == 1 else values

    def _evaluate(
        self, source: Any, batch: int, most: int | None, hooks: Any, caller: str = "evaluate"
    ) -> dict[str, float]:
        engine = self._engine
        engine.reset_metrics()
        self.stop_evaluating = False
        hooks.on_test_begin({})
        loss, samples, step = 0.0, 0, 0
        parts = [source] if isinstance(source, Data) else iterate(source, self, caller=caller)
        for part in parts:
            begin = 0
            for size, steps in batches(part.rows, batch if isinstance(source, Data) else part.rows):
                left = steps if most is None else min(steps, most - step)
                while left > 0 and not self.stop_evaluating:
                    n = 1 if hooks.needs_test_batches else left
                    if hooks.needs_test_batches:
                        hooks.on_test_batch_begin(step, {})
                    total, count, bad = engine.evaluate(part, begin, n, size)
                    if bad >= 0 and np.isfinite(loss):
                        warn_not_finite(f"{caller}, batch {step + bad} (counted from 0)")
                    loss, samples, step, begin = loss + total, samples + count, step + n, begin + n * size
                    left -= n
                    if hooks.needs_test_batches:
                        hooks.on_test_batch_end(step - 1, engine.logs(loss, samples))
            if self.stop_evaluating or (most is not None and step >= most):
                break
        if samples == 0 and not self.stop_evaluating and caller == "evaluate":
            raise ValueError("evaluate: x: expected at least one sample, got none")
        if samples == 0 and not self.stop_evaluating:
            warnings.warn("fit: validation_data: the iterable gave no batch, as a generator that has ended does",
                          stacklevel=3)  # fmt: skip
        logs = self._finished(loss, samples) if samples else {}
        hooks.on_test_end(logs)
        return logs

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        callbacks: Sequence[cb.Callback] | None = None,
    ) -> Any:
        """The outputs for many samples, as arrays.

        Parameters
        ----------
        x : array, list or dict of arrays, or an iterable of batches
        batch_size : int
            Default 32.
        verbose
            Accepted for Keras' sake: nothing is printed.
        steps : int, optional
            At most so many batches.
        """
        batch = positive(32 if batch_size is None else batch_size, "predict: batch_size")
        feed, x = Feed.of(x), Batches.of(x)
        streaming = feed is None and _is_iterable_of_batches(x)
        if feed is not None:
            source, batch = feed.data(self, "predict", inputs=True), feed.batch or batch
        else:
            source = x if streaming else Data(self, x, caller="predict")
        if not streaming and source.rows == 0:
            raise ValueError("predict: x: expected at least one sample, got none")
        self.stop_predicting = False
        if not (streaming or callbacks or steps is not None):
            outputs = self._engine.predict(source, batch)
            return outputs[0] if len(outputs) == 1 else outputs
        count = _step_count(source, batch, steps)
        hooks = cb.CallbackList(callbacks, model=self, epochs=1, steps=count, verbose=verbose)
        hooks.on_predict_begin({})
        if streaming or hooks.needs_predict_batches:
            parts = self._predict_parts(source, batch, steps, hooks)
            if not parts:
                raise ValueError("predict: x: the iterable gave no batch")
            outputs = [np.concatenate(group) for group in zip(*parts, strict=True)]
        else:
            outputs = self._engine.predict(source if steps is None else source.take(slice(0, steps * batch)), batch)
        hooks.on_predict_end({})
        return outputs[0] if len(outputs) == 1 else outputs

    def _predict_parts(self, source: Any, batch: int, most: int | None, hooks: Any) -> list[list[np.ndarray]]:
        """The outputs batch by batch."""
        if isinstance(source, Data):
            items: Any = (source.take(slice(i, i + batch)) for i in range(0, source.rows, batch))
        else:
            items = (Data(self, i[0] if isinstance(i, (tuple, list)) else i, caller="predict") for i in source)
        found: list[list[np.ndarray]] = []
        for step, part in enumerate(items if most is None else itertools.islice(items, most)):
            if self.stop_predicting:
                break
            if hooks.needs_predict_batches:
                hooks.on_predict_batch_begin(step, {})
            found.append(self._engine.predict(part, part.rows))
            if hooks.needs_predict_batches:
                hooks.on_predict_batch_end(step, {"outputs": found[-1][0] if len(found[-1]) == 1 else found[-1]})
        return found

    def predict_on_batch(self, x: Any) -> Any:
        """The outputs for one batch."""
        data = _some(Data(self, x, caller="predict_on_batch"))
        outputs = self._engine.predict(data, data.rows)
        return outputs[0] if len(outputs) == 1 else outputs

    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """One step; returns the loss and metrics of this batch."""
        self._need_compiled("train_on_batch")
        data = _some(Data(self, x, y, sample_weight, class_weight, caller="train_on_batch"))
        self._engine.reset_metrics()
        loss, samples, bad = self._engine.train(data, None, 0, 1, data.rows)
        if bad >= 0:
            warn_not_finite("train_on_batch")
        return _batch_result(self._engine.logs(loss, samples), return_dict)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """The loss and metrics of one batch."""
        self._need_compiled("test_on_batch")
        data = _some(Data(self, x, y, sample_weight, caller="test_on_batch"))
        self._engine.reset_metrics()
        loss, samples, bad = self._engine.evaluate(data, 0, 1, data.rows)
        if bad >= 0:
            warn_not_finite("test_on_batch")
        return _batch_result(self._engine.logs(loss, samples), return_dict)


def _batch_result(logs: dict[str, float], return_dict: bool) -> Any:
    if return_dict:
        return logs
    values = list(logs.values())
    return values[0] if len(values) == 1 else values


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _count(what: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
        raise ValueError(f"{what}: expected an integer >= 0, got {short(value)}")
    return int(value)


def _one_of(what: str, value: Any, known: tuple[Any, ...]) -> None:
    if not any(type(value) in (type(k), bool) and value == k for k in known):
        raise ValueError(f"{what}: expected one of {', '.join(map(repr, known))}, got {short(value)}")


def _check_callbacks(what: str, callbacks: Any) -> None:
    if callbacks is not None and not isinstance(callbacks, (list, tuple)):
        raise TypeError(f"{what}: callbacks: expected a list of Callback, got {type(callbacks).__name__}")


def _some(data: Data) -> Data:
    if data.rows == 0:
        raise ValueError(f"{data.caller}: x: expected at least one sample, got none")
    return data


def _length(source: Any) -> int | None:
    """How many batches an iterable says it has."""
    try:
        return len(source)
    except (TypeError, NotImplementedError):
        return None


def _step_count(source: Any, batch: int, most: int | None) -> int | None:
    """How many batches there will be, where that is known."""
    count = -(-source.rows // batch) if isinstance(source, Data) else _length(source)
    if count is None:
        return most
    return count if most is None else min(count, most)


def _validation(model: Trainable, source: Any) -> Any:
    if source is None or isinstance(source, Data):
        return source
    feed = Feed.of(source, ordered=True)
    if feed is not None:
        return feed.data(model, "fit: validation_data")
    source = Batches.of(source)
    if _is_iterable_of_batches(source):
        return source
    if isinstance(source, (tuple, list)) and len(source) in (2, 3):
        return Data(model, *source, caller="fit: validation_data")
    raise ValueError("fit: validation_data: expected (x, y), (x, y, sample_weight) or an iterable of batches")
