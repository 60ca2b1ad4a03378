"""Sequential and functional models with compile, fit, evaluate and predict."""

from __future__ import annotations

import itertools
import json
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import _saving, _settings, layers, losses, optimizers
from . import callbacks as cb
from . import metrics as _metrics
from ._data import Data, Stream, batches, iterate
from ._trace import NotTraceable, Tracer
from ._training import Engine, EpochRunner, symbol_ids, warn_not_finite
from .layers.base import InputLayer, KerasTensor, Layer, adopt, flatten, keep_masks, loading, map_structure, unique_name
from .nn.module import structure_clock

__all__ = ["Model", "Sequential", "load_model"]


def _is_iterable_of_batches(x: Any) -> bool:
    return not isinstance(x, (np.ndarray, list, tuple, dict)) and not hasattr(x, "__array__") and hasattr(x, "__iter__")


class Model(Layer):
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
        self.stop_training = self.stop_evaluating = self.stop_predicting = False
        self.optimizer: Any = None
        self.history: cb.History | None = None
        self._loss_arg: Any = None
        self._loss_weight_arg: Any = None
        self._metric_args: Any = None
        self._weighted_metric_args: Any = None
        self._compiled = False
        self._engine = Engine(self)
        self._graph: _Functional | None = None
        if inputs is not None or outputs is not None:
            self._graph = _Functional(inputs, outputs)
            for layer in self._graph.layers:
                self.add_module(adopt(layer, self._modules), layer)
            self.built = True

    # -- structure --

    @property
    def compute_dtype(self) -> str:  # type: ignore[override]
        """The float type of the first layer."""
        for layer in self.layers:
            if not isinstance(layer, InputLayer):
                return layer.compute_dtype
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
            f"get_layer: name: expected one of {', '.join(n for n, _ in self._named_layers())}, got {name!r}"
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

    def summary(self, line_length: int | None = None, print_fn: Callable[[str], Any] | None = None) -> None:
        """Print layers, output shapes and parameter counts.

        Parameters
        ----------
        line_length : int, optional
        print_fn : callable, optional
            Gets each line; default: print.
        """
        show = print_fn or print
        rows = [("Layer (type)", "Output Shape", "Param #")]
        shapes = self._output_shapes()
        for name, layer in self._named_layers():
            shape = shapes.get(name)
            rows.append((f"{name} ({type(layer).__name__})", "?" if shape is None else str(shape),
                         f"{layer.count_params():,}" if layer.built else "0 (unbuilt)"))  # fmt: skip
        widths = [max(len(r[i]) for r in rows) + 2 for i in range(3)]
        total_width = line_length or sum(widths)
        show(f'Model: "{self.name}"')
        show("_" * total_width)
        for i, r in enumerate(rows):
            show("".join(cell.ljust(w) for cell, w in zip(r[:2], widths[:2], strict=True)) + r[2].rjust(widths[2] - 2))
            show(("=" if i in (0, len(rows) - 1) else "_") * total_width)
        trainable = sum(int(np.prod(p.shape)) for p in self.trainable_weights)
        total = self.count_params()
        show(f"Total params: {total:,} ({total * 4 / 1024:,.1f} KiB)")
        show(f"Trainable params: {trainable:,}")
        show(f"Non-trainable params: {total - trainable:,}")

    def _output_shapes(self) -> dict[str, Any]:
        out = {}
        for name, layer in self._named_layers():
            if layer._calls:
                made = [t.shape for t in layer._calls[0].outputs]
                out[name] = made[0] if len(made) == 1 else made
        return out

    # -- training --

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
        steps_per_execution, jit_compile, auto_scale_loss
            Accepted for Keras' sake; native steps need none of them.
        """
        self.optimizer = optimizers.get(optimizer)
        self._loss_arg, self._loss_weight_arg = loss, loss_weights
        if (isinstance(loss, dict) and "class_name" in loss) or (
            loss is not None and not isinstance(loss, (list, tuple, dict))
        ):
            self._loss_arg = losses.get(loss)
        self._metric_args = [] if metrics is None else metrics
        self._weighted_metric_args = [] if weighted_metrics is None else weighted_metrics
        for args in (self._metric_args, self._weighted_metric_args):
            for name in flatten(args if isinstance(args, (list, tuple, dict)) else [args]):
                _metrics.get(name)  # unknown names fail here, not in the middle of fit
        self._engine = Engine(self)
        self.run_eagerly = bool(run_eagerly)
        if run_eagerly:
            self._engine._trace = _refuse_trace  # type: ignore
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
            uint8 arrays stay small: each batch becomes float as it is used.
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
            validates = {_positive("fit: validation_freq", e) for e in validation_freq}.__contains__
        else:
            every = _positive("fit: validation_freq", validation_freq)
            validates = lambda epoch: epoch % every == 0  # noqa: E731
        _check_callbacks("fit", callbacks)
        if isinstance(validation_split, bool) or not isinstance(validation_split, (int, float, np.number)):
            raise TypeError(f"fit: validation_split: expected a number in [0, 1), got {validation_split!r}")
        streaming = x is not None and _is_iterable_of_batches(x)
        batch = _positive("fit: batch_size", 32 if batch_size is None else batch_size)
        if streaming and (y is not None or sample_weight is not None or validation_split):
            raise ValueError("fit: y, sample_weight and validation_split go with arrays; an iterable yields its own")
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
        steps = None if data is None else sum(s for _, s in batches(data.rows, batch))
        if steps_per_epoch is not None:
            steps_per_epoch = _positive("fit: steps_per_epoch", steps_per_epoch)
            steps = steps_per_epoch if steps is None else min(steps, steps_per_epoch)
        params = {"epochs": epochs, "steps": steps, "verbose": verbose}
        hooks = cb.CallbackList([*(callbacks or []), *([bar] if bar else []), history], self, params)
        self.stop_training = False
        self.history = history
        hooks.on_train_begin({})
        source = Stream(x, self, class_weight, steps_per_epoch) if data is None else data
        last: dict[str, float] = {}
        try:
            for epoch in range(initial_epoch, epochs):
                hooks.on_epoch_begin(epoch, {})
                logs = self._fit_epoch(source, batch, shuffle, steps_per_epoch, epoch, hooks, bar)
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
                hooks.on_epoch_end(epoch, logs)
                if self.stop_training or ended:
                    break
        finally:
            if bar is not None and bar._bar is not None:
                bar.on_train_end()
        hooks.on_train_end(last)
        return history

    def _fit_epoch(
        self, data: Any, batch: int, shuffle: bool, most: int | None, epoch: int, hooks: Any, bar: Any
    ) -> dict[str, float]:
        engine = self._engine
        engine.reset_metrics()
        runner = EpochRunner(engine, hooks, None if bar is None else bar.progress)
        if isinstance(data, Data):
            from ._kernels import random

            order = random.permutation(data.rows) if shuffle else None
            runner.run(data, order, batch, most, epoch)
        else:
            for part in data.epoch():
                runner.run(part, None, part.rows, None, epoch)
                if self.stop_training:
                    break
            if runner.step == 0:
                return {}
        return engine.logs(runner.loss, runner.samples)

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
        batch = _positive("evaluate: batch_size", 32 if batch_size is None else batch_size)
        source = x if _is_iterable_of_batches(x) else Data(self, x, y, sample_weight, caller="evaluate")
        count = _step_count(source, batch, steps)
        hooks = cb.CallbackList(callbacks or [], self, {"epochs": 1, "steps": count, "verbose": verbose})
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
        logs = engine.logs(loss, samples) if samples else {}
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
        batch = _positive("predict: batch_size", 32 if batch_size is None else batch_size)
        streaming = _is_iterable_of_batches(x)
        source = x if streaming else Data(self, x, caller="predict")
        if not streaming and source.rows == 0:
            raise ValueError("predict: x: expected at least one sample, got none")
        self.stop_predicting = False
        if not (streaming or callbacks or steps is not None):
            outputs = self._engine.predict(source, batch)
            return outputs[0] if len(outputs) == 1 else outputs
        count = _step_count(source, batch, steps)
        hooks = cb.CallbackList(callbacks or [], self, {"epochs": 1, "steps": count, "verbose": verbose})
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
        description = {
            "class_name": type(self).__name__,
            "config": self.get_config(),
            "graph": self._inference_graph(),
        }
        if self._compiled:
            try:
                description["compile"] = _settings.encode(self)
            except _settings.CannotSave as e:
                warnings.warn(f"save: what compile was given is not saved: {e}", stacklevel=2)
            if include_optimizer:
                names = {id(p): name for name, p, _ in self._named_weights()}
                for p, arrays in self.optimizer._states.values():
                    for (slot, _), a in zip(self.optimizer._native.slots, arrays, strict=True):
                        if id(p) in names:
                            tensors[f"optimizer/{slot}/{names[id(p)]}"] = a
                description["iterations"] = self.optimizer.iterations
        _saving.write(path, tensors, description)

    def _inference_graph(self) -> Any:
        """The graph as the C library runs it, traced for one sample; None where the model cannot be traced."""
        shapes = self._trace_shapes()
        if shapes is None:
            return None
        tracer = Tracer()
        tracer.name_parameters((name, p) for name, p, _ in self._named_weights())
        try:
            xs = [tracer.input(f"input_{i}", s, d) for i, (d, s) in enumerate(shapes)]
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
        """Write the weights alone."""
        path = _saving.check_path(filepath)
        _refuse_existing(path, overwrite)
        _saving.write(path, {name: p._data for name, p, _ in self._named_weights()}, {"class_name": "weights"})

    def load_weights(self, filepath: Any) -> None:
        """Read weights that `save_weights` or `save` wrote, by name."""
        tensors, _ = _saving.read(filepath)
        self._assign({k: v for k, v in tensors.items() if not k.startswith("optimizer/")}, str(filepath))

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
            p._data[...] = tensors[name]

    # -- configuration --

    def get_config(self) -> dict[str, Any]:
        if self._graph is None:
            raise NotImplementedError(
                f"{type(self).__name__}: get_config: a subclassed model must define it to be saved"
            )
        return {"name": self.name, "trainable": self._trainable, **self._graph.config(self._names())}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, type] | None = None) -> Model:
        if "calls" not in config:
            return cls(**config)
        inputs, outputs = _Functional.rebuild(config, custom_objects)
        return cls(inputs, outputs, name=config.get("name"))


def _refuse_trace(*_: Any) -> Any:
    raise NotTraceable("run_eagerly=True")


def _batch_result(logs: dict[str, float], return_dict: bool) -> Any:
    if return_dict:
        return logs
    values = list(logs.values())
    return values[0] if len(values) == 1 else values


def _refuse_existing(path: str, overwrite: bool) -> None:
    import os

    if not overwrite and os.path.exists(path):
        raise FileExistsError(f"save: {path}: the file exists, and overwrite is False")


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _positive(what: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or int(value) != value or value < 1:
        raise ValueError(f"{what}: expected a positive integer, got {value!r}")
    return int(value)


def _count(what: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
        raise ValueError(f"{what}: expected an integer >= 0, got {value!r}")
    return int(value)


def _one_of(what: str, value: Any, known: tuple[Any, ...]) -> None:
    if not any(type(value) in (type(k), bool) and value == k for k in known):
        raise ValueError(f"{what}: expected one of {', '.join(map(repr, known))}, got {value!r}")


def _check_callbacks(what: str, callbacks: Any) -> None:
    if callbacks is not None and not isinstance(callbacks, (list, tuple)):
        raise TypeError(f"{what}: callbacks: expected a list of Callback, got {type(callbacks).__name__}")


def _some(data: Data) -> Data:
    if data.rows == 0:
        raise ValueError(f"{data.caller}: x: expected at least one sample, got none")
    return data


def _step_count(source: Any, batch: int, most: int | None) -> int | None:
    """How many batches there will be, where that is known."""
    if not isinstance(source, Data):
        return most
    count = -(-source.rows // batch)
    return count if most is None else min(count, most)


def _validation(model: Model, source: Any) -> Any:
    if source is None or isinstance(source, Data) or _is_iterable_of_batches(source):
        return source
    if isinstance(source, (tuple, list)) and len(source) in (2, 3):
        return Data(model, *source, caller="fit: validation_data")
    raise ValueError("fit: validation_data: expected (x, y), (x, y, sample_weight) or an iterable of batches")


class Sequential(Model):
    """Layers one after another.

    Parameters
    ----------
    layers : list of Layer, optional
    name : str, optional
    """

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
            raise ValueError(f"Sequential: add: expected a new layer, got {layer.name!r} again")
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
            "layers": [_layer_config(name, m) for name, m in self._named_layers()],
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


class _Functional:
    """The layer calls between input and output KerasTensors."""

    def __init__(self, inputs: Any, outputs: Any) -> None:
        self.input_structure, self.output_structure = inputs, outputs
        self.inputs: list[KerasTensor] = flatten(inputs)
        self.outputs: list[KerasTensor] = flatten(outputs)
        for what, tensors in (("inputs", self.inputs), ("outputs", self.outputs)):
            for t in tensors:
                if not isinstance(t, KerasTensor):
                    raise TypeError(f"Model: {what}: expected KerasTensors, got {type(t).__name__}")
        self.calls: list[Any] = []
        known = {id(t) for t in self.inputs}
        visited: set[int] = set()
        for t in self.outputs:
            self._visit(t, known, visited)
        seen: set[int] = set()
        first = [t.layer for t in self.inputs if isinstance(t.layer, InputLayer)]
        self.layers: list[Layer] = []
        for layer in [*first, *(c.layer for c in self.calls)]:
            if id(layer) not in seen:
                seen.add(id(layer))
                self.layers.append(layer)

    def _visit(self, tensor: KerasTensor, known: set[int], visited: set[int]) -> None:
        stack: list[tuple[Any, bool]] = [(tensor, False)]
        while stack:
            t, done = stack.pop()
            call = t.call
            if id(t) in known:
                continue
            if call is None or isinstance(call.layer, InputLayer):
                raise ValueError(f"Model: inputs: the outputs depend on {t.name!r}, which is not among the inputs")
            if done:
                if id(call) not in visited:
                    visited.add(id(call))
                    self.calls.append(call)
                continue
            if id(call) in visited:
                continue
            stack.append((t, True))
            for leaf in flatten([list(call.args), call.kwargs]):
                if isinstance(leaf, KerasTensor):
                    stack.append((leaf, False))

    def run(self, inputs: Any) -> Any:
        """Call the layers on tensors."""
        given = flatten(inputs)
        if isinstance(inputs, dict):
            given = [inputs[t.name] for t in self.inputs]
        if len(given) != len(self.inputs):
            raise ValueError(f"Model: inputs: expected {len(self.inputs)} tensors, got {len(given)}")
        values: dict[int, Any] = {id(t): v for t, v in zip(self.inputs, given, strict=True)}

        def fill(leaf: Any) -> Any:
            return values[id(leaf)] if isinstance(leaf, KerasTensor) else leaf

        for call in self.calls:
            out = call.layer(*[map_structure(fill, a) for a in call.args], **map_structure(fill, call.kwargs))
            for t, v in zip(call.outputs, flatten(out), strict=True):
                values[id(t)] = v
        return map_structure(fill, self.output_structure)

    def config(self, names: dict[int, str]) -> dict[str, Any]:
        """Layers and calls by number; tensors as {"tensor": [call, output]}, with call -1 - i for input i."""
        number = {id(m): i for i, m in enumerate(self.layers)}
        place: dict[int, list[int]] = {id(t): [-1 - i, 0] for i, t in enumerate(self.inputs)}
        for i, call in enumerate(self.calls):
            for k, t in enumerate(call.outputs):
                place[id(t)] = [i, k]

        def encode(leaf: Any) -> Any:
            return {"tensor": place[id(leaf)]} if isinstance(leaf, KerasTensor) else leaf

        return {
            "layers": [_layer_config(names[id(m)], m) for m in self.layers],
            "inputs": [{"shape": list(t.shape), "dtype": t.dtype, "name": names.get(id(t.layer), t.name)}
                       for t in self.inputs],
            "calls": [
                {"layer": number[id(c.layer)], "args": map_structure(encode, list(c.args)),
                 "kwargs": map_structure(encode, c.kwargs)}
                for c in self.calls
            ],
            "outputs": map_structure(encode, self.output_structure),
        }  # fmt: skip

    @staticmethod
    def rebuild(config: dict[str, Any], custom_objects: dict[str, type] | None) -> tuple[Any, Any]:
        """(inputs, outputs) from a configuration."""
        classes = _layer_classes(custom_objects)
        made = [_saving.rebuild(c, classes, custom_objects) for c in config["layers"]]
        by_name = {m.name: m for m in made if isinstance(m, InputLayer)}
        inputs = []
        for t in config["inputs"]:
            layer = by_name.get(t["name"]) or InputLayer(t["shape"][1:], t["shape"][0], t["dtype"], t["name"])
            inputs.append(layer._only_call().outputs[0])
        results: list[list[KerasTensor]] = []

        def decode(item: Any) -> Any:
            if isinstance(item, dict) and set(item) == {"tensor"}:
                call, k = item["tensor"]
                return inputs[-1 - call] if call < 0 else results[call][k]
            if isinstance(item, list):
                return [decode(v) for v in item]
            if isinstance(item, dict):
                return {k: decode(v) for k, v in item.items()}
            return item

        for c in config["calls"]:
            if not 0 <= c["layer"] < len(made):
                raise ValueError(f"load: call: expected one of {len(made)} layers, got {c['layer']}")
            out = made[c["layer"]](*decode(c["args"]), **decode(c["kwargs"]))
            results.append(flatten(out))
        return (inputs[0] if len(inputs) == 1 else inputs), decode(config["outputs"])


def _layer_config(name: str, layer: Layer) -> dict[str, Any]:
    return {"class_name": type(layer).__name__, "config": {**layer.get_config(), "name": name}}


def _layer_classes(custom_objects: dict[str, type] | None = None) -> dict[str, type]:
    found: dict[str, type] = {
        name: cls
        for name in layers.__all__
        if isinstance(cls := getattr(layers, name), type) and issubclass(cls, Layer)
    }
    return {**found, "Sequential": Sequential, "Model": Model, "Functional": Model, **(custom_objects or {})}


def load_model(filepath: Any, custom_objects: dict[str, type] | None = None, compile: bool = True) -> Model:
    """Read a model that `Model.save` wrote; no code of the file is ever run.

    Parameters
    ----------
    filepath : str or path
    custom_objects : dict of str to class, optional
        The user's own layers, losses and metrics, by name.
    compile : bool
        Whether to compile it as it was, optimizer state included.
    """
    tensors, description = _saving.read(filepath)
    if "config" not in description:
        raise ValueError(f"load_model: {filepath}: the file holds weights but no model; use load_weights")
    weights = {k: v for k, v in tensors.items() if not k.startswith("optimizer/")}
    with _saving.malformed(filepath), loading(sum(a.size for a in weights.values())):
        model = _saving.rebuild(description, _layer_classes(custom_objects), custom_objects)
        if not isinstance(model, Model):
            raise ValueError(f"expected a model, got {type(model).__name__}")
    model._assign(weights, str(filepath))
    settings = description.get("compile")
    if compile and settings:
        with _saving.malformed(filepath):
            try:
                model.compile(**_settings.decode(settings, custom_objects))
            except _settings.Unknown as e:
                warnings.warn(
                    f"load_model: {filepath}: {e} that the model was compiled with is not among custom_objects: call "
                    "compile before training",
                    stacklevel=2,
                )
                return model
            _restore_optimizer(model, tensors, description)
    return model


def _restore_optimizer(model: Model, tensors: dict[str, np.ndarray], description: dict[str, Any]) -> None:
    optimizer = model.optimizer
    optimizer.iterations = int(description.get("iterations", 0))
    for name, p, _ in model._named_weights():
        slots = [tensors.get(f"optimizer/{slot}/{name}") for slot, _ in optimizer._native.slots]
        if slots and all(a is not None and a.shape == p.shape for a in slots):
            for have, new in zip(optimizer.states([p])[0], slots, strict=True):
                have[...] = new
