"""One step of training, evaluation or prediction in Python, with the metrics that it counts: what users override."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import metrics as _metrics
from .layers._phase import phases
from .layers._structures import flatten
from .layers.base import Layer
from .utils import unpack_x_y_sample_weight

if TYPE_CHECKING:
    from ._training import Engine

__all__ = ["Steps"]


class Steps(Layer):
    """The steps of a model, and its metrics."""

    optimizer: Any
    _engine: Engine
    _compiled: bool
    _loss_tracker: _metrics.Mean

    if TYPE_CHECKING:

        @property
        def output_names(self) -> list[str]: ...

    @property
    def metrics(self) -> list[Any]:
        """The loss, what compile was given, and the metrics that the model and its layers have as attributes."""
        own = [v for m in self.modules() for v in vars(m).values() if isinstance(v, _metrics.Metric)]
        found = [*([self._loss_tracker] if self._compiled else []), *self._engine.metrics, *own]
        return list({id(m): m for m in found}.values())

    @property
    def metrics_names(self) -> list[str]:
        """The names of the metrics."""
        return [m.name for m in self.metrics]

    def reset_metrics(self) -> None:
        """Start all metrics again."""
        for m in self.metrics:
            m.reset_state()

    def get_metrics_result(self) -> dict[str, Any]:
        """The values of all metrics by name; metrics that give several are in it with each."""
        found: dict[str, Any] = {}
        for m in self.metrics:
            value = m.result()
            found.update(value if isinstance(value, dict) else {m.name: value})
        return found

    # -- steps in Python: what is overridden runs on the eager tape --

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """The loss of a batch, penalties of layers included; may be overridden.

        Parameters
        ----------
        x, y, y_pred, sample_weight : Tensor, or list or dict of them
        training : bool
        """
        self._engine._masks = list(phases.now.output_masks)
        targets = [] if y is None else flatten(self._ordered(y))
        return self._engine.loss(targets, flatten(y_pred), sample_weight, list(phases.now.losses or []))

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Count a batch in the metrics and give their values; may be overridden."""
        self._engine.count([] if y is None else flatten(self._ordered(y)), flatten(y_pred), sample_weight)
        return self.get_metrics_result()

    def _ordered(self, y: Any) -> Any:
        return [y[n] for n in self.output_names if n in y] if isinstance(y, dict) else y

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step of training on the eager tape; may be overridden.

        Parameters
        ----------
        data : (x, y) or (x, y, sample_weight)

        Returns
        -------
        dict of str to number
        """
        x, y, sample_weight = unpack_x_y_sample_weight(data)
        y_pred = self(x, training=True)
        loss = self.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True)
        self._loss_tracker.update_state(loss.item(), sample_weight=_rows(x))
        params = [p for p in self.trainable_variables if p.requires_grad]
        for p in params:
            p.grad = None
        self.optimizer.scale_loss(loss).backward()
        self.optimizer.apply([p.grad for p in params], params)
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def test_step(self, data: Any) -> dict[str, Any]:
        """One step of evaluation; may be overridden. See `train_step`."""
        x, y, sample_weight = unpack_x_y_sample_weight(data)
        y_pred = self(x, training=False)
        loss = self.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=False)
        self._loss_tracker.update_state(loss.item(), sample_weight=_rows(x))
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def predict_step(self, data: Any) -> Any:
        """The outputs of a batch; may be overridden."""
        return self(unpack_x_y_sample_weight(data)[0], training=False)


def _rows(x: Any) -> int:
    return int(flatten(x)[0].shape[0])
