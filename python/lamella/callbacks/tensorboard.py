"""Logs for TensorBoard."""

from __future__ import annotations

import os
import time
from typing import Any

from .._errors import refuse, short
from ..layers._structures import flatten
from ._events import EventWriter
from .base import Callback

__all__ = ["TensorBoard"]


class TensorBoard(Callback):
    """Writes losses and metrics to files that TensorBoard shows.

    Training goes to the folder ``train`` below `log_dir`, validation to ``validation``, under the tags
    ``epoch_loss``, ``epoch_learning_rate`` and so on. TensorBoard is not needed for writing.

    Parameters
    ----------
    log_dir : str or path
    histogram_freq : int
        Write histograms of the weights every so many epochs; 0 for never.
    write_graph : bool
        Write the layers and how they are connected.
    write_images : bool
        Must be False.
    write_steps_per_second : bool
        Write how many batches a second each epoch took.
    update_freq : "epoch", "batch" or int
        Besides every epoch, write training's losses and metrics every so many batches, under ``batch_loss`` and so on.
    profile_batch, embeddings_freq : int
        Must be 0.
    embeddings_metadata
        Must be None.
    """

    _kept = ("_train_step",)

    def __init__(
        self,
        log_dir: Any = "logs",
        histogram_freq: int = 0,
        write_graph: bool = True,
        write_images: bool = False,
        write_steps_per_second: bool = False,
        update_freq: Any = "epoch",
        profile_batch: Any = 0,
        embeddings_freq: int = 0,
        embeddings_metadata: Any = None,
    ) -> None:
        refuse("TensorBoard", False, write_images=write_images, profile_batch=profile_batch,
               embeddings_freq=embeddings_freq, embeddings_metadata=embeddings_metadata)  # fmt: skip
        every = 1 if update_freq == "batch" else update_freq
        if every != "epoch" and (isinstance(every, bool) or not isinstance(every, int) or every < 1):
            raise ValueError(
                f"TensorBoard: update_freq: expected 'epoch', 'batch' or an integer >= 1, got {short(every)}"
            )
        if isinstance(histogram_freq, bool) or not isinstance(histogram_freq, int) or histogram_freq < 0:
            raise ValueError(f"TensorBoard: histogram_freq: expected an integer >= 0, got {short(histogram_freq)}")
        self.log_dir, self.histogram_freq, self.write_graph = os.fspath(log_dir), histogram_freq, write_graph
        self.write_steps_per_second, self.update_freq = write_steps_per_second, update_freq
        self._writers: dict[str, EventWriter] = {}
        self._train_step = 0
        if every != "epoch":
            self._every = every
            self.on_train_batch_end = self._log_batch  # type: ignore[method-assign]

    def _writer(self, part: str) -> EventWriter:
        if part not in self._writers:
            self._writers[part] = EventWriter(os.path.join(self.log_dir, part))
        return self._writers[part]

    def on_train_begin(self, logs: Any = None) -> None:
        self._close()
        self._train_step = 0
        if self.write_graph and self.model.built:
            self._writer("train").graph(_nodes(self.model))

    def _log_batch(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._train_step += 1
        if self._train_step % self._every == 0:
            for name, value in (logs or {}).items():
                self._writer("train").scalar(f"batch_{name}", value, self._train_step)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._began, self._first = time.perf_counter(), self.model.optimizer._iterations

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = {"learning_rate": float(self.model.optimizer.learning_rate), **(logs or {})}
        for name, value in logs.items():
            part, tag = ("validation", name[4:]) if name.startswith("val_") else ("train", name)
            self._writer(part).scalar(f"epoch_{tag}", value, epoch)
        if self.write_steps_per_second:
            done = self.model.optimizer._iterations - self._first
            rate = done / max(time.perf_counter() - self._began, 1e-9)
            self._writer("train").scalar("epoch_steps_per_second", rate, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            for name, p, _ in self.model._named_weights():
                self._writer("train").histogram(f"{name.replace('.', '/')}/histogram", p.numpy(), epoch)
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self, logs: Any = None) -> None:
        self._close()

    def _close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_writers": {}}


def _nodes(model: Any) -> list[tuple[str, str, list[str]]]:
    """The layers of a model as nodes of a graph."""
    if model._graph is not None:
        names = model._names()
        calls = {id(t): names[id(c.layer)] for c in model._graph.calls for t in c.outputs}
        nodes: list[tuple[str, str, list[str]]] = []
        for t in model._graph.inputs:
            calls[id(t)] = names.get(id(t.layer), t.name)
            nodes.append((calls[id(t)], "InputLayer", []))
        for c in model._graph.calls:
            inputs = [calls[id(t)] for t in flatten([list(c.args), c.kwargs]) if id(t) in calls]
            nodes.append((names[id(c.layer)], type(c.layer).__name__, inputs))
        return list({n[0]: n for n in nodes}.values())  # a shared layer once
    before: list[str] = []
    nodes = []
    for name, layer in model._named_layers():
        nodes.append((name, type(layer).__name__, before))
        before = [name]
    return nodes
