"""Averages of models: the mean of their weights along the way (Izmailov et al. 2018), or one that forgets."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .. import autograd as ag
from .._dtypes import is_float
from .._errors import short
from ..nn.module import Module
from .lr_scheduler.base import LRScheduler, per_group

__all__ = [
    "SWALR", "AveragedModel", "get_ema_avg_fn", "get_ema_multi_avg_fn", "get_swa_avg_fn", "get_swa_multi_avg_fn",
    "update_bn",
]  # fmt: skip


def _decay(decay: float) -> float:
    if not 0 <= decay <= 1:
        raise ValueError(f"swa_utils: decay: expected a number in [0, 1], got {short(decay)}")
    return float(decay)


def get_ema_avg_fn(decay: float = 0.999) -> Callable[[Any, Any, Any], Any]:
    """A function for `AveragedModel`: ``decay * average + (1 - decay) * parameter``."""
    decay = _decay(decay)
    return lambda averaged, current, count: averaged * decay + current * (1 - decay)


def get_swa_avg_fn() -> Callable[[Any, Any, Any], Any]:
    """A function for `AveragedModel`: the mean of all."""
    return lambda averaged, current, count: averaged + (current - averaged) * (1.0 / (int(count) + 1))


def _several(fn: Callable[[Any, Any, Any], Any]) -> Callable[[list[Any], list[Any], Any], None]:
    def average(averaged: list[Any], current: list[Any], count: Any) -> None:
        for a, c in zip(averaged, current, strict=True):
            a.copy_(fn(a, c, count))

    return average


def get_ema_multi_avg_fn(decay: float = 0.999) -> Callable[[list[Any], list[Any], Any], None]:
    """As `get_ema_avg_fn`, for lists of tensors at once, in place."""
    return _several(get_ema_avg_fn(decay))


def get_swa_multi_avg_fn() -> Callable[[list[Any], list[Any], Any], None]:
    """As `get_swa_avg_fn`, for lists of tensors at once, in place."""
    return _several(get_swa_avg_fn())


class AveragedModel(Module):
    """A copy of a model whose parameters are an average of the model's.

    Parameters
    ----------
    model : Module
    device : optional
        None or the CPU.
    avg_fn : callable, optional
        Called with (average, parameter, number of updates so far), gives the new average; default: the mean of all.
    multi_avg_fn : callable, optional
        Called with lists of them, changes the averages in place.
    use_buffers : bool
        Whether buffers, such as the statistics of batch norms, are averaged too; else they are the model's last.
    """

    def __init__(
        self,
        model: Module,
        device: Any = None,
        avg_fn: Callable[[Any, Any, Any], Any] | None = None,
        multi_avg_fn: Callable[[list[Any], list[Any], Any], None] | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise ValueError("AveragedModel: avg_fn, multi_avg_fn: expected at most one of them, got both")
        if device is not None:
            from .._device import check_device

            check_device(device)
        self.module = copy.deepcopy(model)
        self.register_buffer("n_averaged", ag.Tensor(np.zeros((), np.int64)))
        self._average = multi_avg_fn or _several(avg_fn or get_swa_avg_fn())
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    @ag.no_grad()
    def update_parameters(self, model: Module) -> None:
        """Take a model's parameters into the average; the first are taken over."""
        own, other = self._tensors(self.module), self._tensors(model)
        if len(own) != len(other) or any(a.shape != b.shape for a, b in zip(own, other, strict=True)):
            raise ValueError("AveragedModel: update_parameters: model: expected the parameters of the averaged model")
        count = int(self.n_averaged.item())
        if count == 0:
            for a, b in zip(own, other, strict=True):
                a.copy_(b)
        else:
            floats = [(a, b) for a, b in zip(own, other, strict=True) if is_float(a.dtype)]
            self._average([a for a, _ in floats], [b for _, b in floats], count)
            for a, b in zip(own, other, strict=True):
                if not is_float(a.dtype):
                    a.copy_(b)
        if not self.use_buffers:
            for a, b in zip(self.module.buffers(), model.buffers(), strict=True):
                a.copy_(b)
        self.n_averaged.copy_(ag.Tensor(np.asarray(count + 1, np.int64)))

    def _tensors(self, model: Module) -> list[Any]:
        return [*model.parameters(), *(model.buffers() if self.use_buffers else [])]


@ag.no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Make the statistics of a model's batch norms anew, as means over the data.

    Parameters
    ----------
    loader : iterable of Tensor, or of lists or tuples that begin with one
    model : Module
    device : optional
        None or the CPU.
    """
    from ..nn import normalization

    if device is not None:
        from .._device import check_device

        check_device(device)
    kinds = tuple(c for c in (getattr(normalization, n, None) for n in ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d"))
                  if c is not None)  # fmt: skip
    norms = [m for m in model.modules() if isinstance(m, kinds)]
    if not norms:
        return
    before = [m.momentum for m in norms]
    modes = [(m, m.training) for m in model.modules()]
    for m in norms:
        m.reset_running_stats()
        m.momentum = None
    try:
        model.train()
        for batch in loader:
            model(batch[0] if isinstance(batch, (list, tuple)) else batch)
    finally:
        for m, momentum in zip(norms, before, strict=True):
            m.momentum = momentum
        for module, training in modes:
            module.training = training


class SWALR(LRScheduler):
    """From each group's rate to `swa_lr` over some epochs, and then constant.

    Parameters
    ----------
    optimizer : Optimizer
    swa_lr : float or sequence of float
        For all groups or for each.
    anneal_epochs : int
    anneal_strategy : {"cos", "linear"}
    last_epoch : int
    """

    def __init__(
        self,
        optimizer: Any,
        swa_lr: Any,
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"SWALR: anneal_strategy: expected 'cos' or 'linear', got {short(anneal_strategy)}")
        if isinstance(anneal_epochs, bool) or not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"SWALR: anneal_epochs: expected an integer >= 0, got {short(anneal_epochs)}")
        for group, lr in zip(optimizer.param_groups, per_group(optimizer, swa_lr, "swa_lr"), strict=True):
            group["swa_lr"] = float(lr)
        self.anneal_epochs, self.anneal_strategy = anneal_epochs, anneal_strategy
        super().__init__(optimizer, last_epoch)

    def _share(self, epoch: int) -> float:
        t = max(0.0, min(1.0, epoch / max(1, self.anneal_epochs)))
        return t if self.anneal_strategy == "linear" else (1 - math.cos(math.pi * t)) / 2

    def get_lr(self) -> list[float]:
        # Another schedule may have set the rate that the last epoch's share was mixed into.
        epoch = self.last_epoch if self.anneal_epochs else max(1, self.last_epoch)
        before, now = self._share(max(0, epoch - 1)), self._share(epoch)
        rates = []
        for group in self.optimizer.param_groups:
            start = group["swa_lr"] if before == 1 else (group["lr"] - before * group["swa_lr"]) / (1 - before)
            rates.append(group["swa_lr"] * now + start * (1 - now))
        return rates
