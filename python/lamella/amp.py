"""Mixed precision: products and convolutions on 16-bit floats, everything delicate and all weights in float32.

With `autocast`, ops take their inputs in the precision that suits them. Matrix products, convolutions and attention get
16-bit copies, sums inside them are float32; losses, softmax, exponentials, logarithms, reductions, normalisations over
rows and recurrent layers get float32. The others take what comes. Weights stay float32, and so do their gradients.

bfloat16 has the range of float32 and needs nothing else. Gradients in float16 are lost below 6e-8: `GradScaler` scales
the loss up, and the gradients down again.

On a GPU of compute capability 8.0 or more this halves what activations take and lets the matrix units work. The CPU
computes in float32 and rounds: results are as on the GPU, only slower than without.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, cast

import numpy as np

from . import autograd as ag
from ._dtypes import as_dtype, is_float, is_half
from ._errors import short
from ._functional.shape import cast as _cast
from ._grad_mode import state as _mode

__all__ = ["GradScaler", "autocast", "get_autocast_dtype", "is_autocast_enabled"]

_F = TypeVar("_F", bound=Callable[..., Any])

_LOWER = frozenset({
    "attention", "conv1d", "conv1d_transpose", "conv2d", "conv2d_transpose", "dense", "gemm", "matmul",
})  # fmt: skip
_FLOAT32 = frozenset({
    "bce_loss", "bce_with_logits_loss", "cross_entropy", "ctc_loss", "exp", "expm1", "group_norm", "gru", "gru_step",
    "hinge_loss", "huber_loss", "instance_norm", "kl_div_log_loss", "kl_div_loss", "layer_norm", "log", "log1p",
    "log_cosh_loss", "log_softmax", "lstm", "lstm_step", "mae_loss", "mape_loss", "mean", "metric_accuracy",
    "metric_confusion", "metric_threshold_counts", "mse_loss", "msle_loss", "nll_loss", "norm", "poisson_loss", "pow",
    "prod", "reciprocal", "rms_norm", "rnn_step", "rsqrt", "simple_rnn", "smooth_l1_loss", "softmax",
    "softmax_cross_entropy", "squared_hinge_loss", "std", "sum", "sum_squares", "var",
})  # fmt: skip


class autocast:
    """Run ops in the precision that suits them; a context manager and a decorator.

    Parameters
    ----------
    device_type : str
        "cuda" or "cpu". Ops run where their arrays lie, and this is checked and otherwise of no effect.
    dtype : dtype, optional
        "bfloat16", the default, or "float16".
    enabled : bool
        False: ops take their inputs as they are, also inside an outer `autocast`.
    cache_enabled : bool
        Must be True or False; a weight's copy is made each time that it is used.
    """

    def __init__(
        self, device_type: str = "cuda", dtype: Any = None, enabled: bool = True, cache_enabled: bool = True
    ) -> None:
        if device_type not in ("cpu", "cuda"):
            raise RuntimeError(f"autocast: device_type: expected 'cpu' or 'cuda', got {short(device_type)}")
        wanted = as_dtype("bfloat16" if dtype is None else dtype)
        if not is_half(wanted):
            raise TypeError(f"autocast: dtype: expected bfloat16 or float16, got {wanted}")
        for name, value in (("enabled", enabled), ("cache_enabled", cache_enabled)):
            if not isinstance(value, bool):
                raise TypeError(f"autocast: {name}: expected True or False, got {short(value)}")
        self.dtype = wanted
        self.enabled = enabled

    def __enter__(self) -> autocast:
        _mode.outer_autocasts.append(_mode.autocast)
        _mode.autocast = self if self.enabled else None
        return self

    def __exit__(self, *error: object) -> None:
        _mode.autocast = _mode.outer_autocasts.pop()

    def __call__(self, fn: _F) -> _F:
        @functools.wraps(fn)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self:
                return fn(*args, **kwargs)

        return cast(_F, wrapped)

    def inputs_for(self, op: Any, inputs: Sequence[Any]) -> Sequence[Any]:
        """The inputs that an op gets."""
        name = op.name
        if name in _LOWER:
            return [_to(t, self.dtype) for t in inputs]
        if name in _FLOAT32:
            return [_to(t, _SINGLE) for t in inputs]
        return inputs


_SINGLE = np.dtype(np.float32)


class _OfLayer(autocast):
    """The precision of a layer with a mixed policy, inside of which layers have their own."""


@functools.lru_cache
def layer_precision(dtype: str) -> autocast:
    """What a layer computes under whose `compute_dtype` is a 16-bit one."""
    return _OfLayer("cuda", dtype)


@contextlib.contextmanager
def outside_layers() -> Iterator[None]:
    """Leave the precision of layers around this one; an `autocast` of the user's stays."""
    before = _mode.autocast
    if isinstance(before, _OfLayer):
        _mode.autocast = None
    try:
        yield
    finally:
        _mode.autocast = before


def _to(t: Any, dtype: np.dtype) -> Any:
    """Floats in another dtype; float64 as it is, for whoever has it wants its digits."""
    if t is None or t.dtype == dtype or t.dtype == np.float64 or not is_float(t.dtype):
        return t
    return _cast(t, dtype)


def is_autocast_enabled(device_type: str | None = None) -> bool:
    """Whether ops of this thread run under `autocast`."""
    return _mode.autocast is not None


def get_autocast_dtype(device_type: str | None = None) -> np.dtype:
    """The 16-bit dtype of `autocast` on this thread, bfloat16 where there is none."""
    return as_dtype("bfloat16") if _mode.autocast is None else _mode.autocast.dtype


class GradScaler:
    """Scale losses so that float16 gradients are not lost, and skip steps whose gradients are not finite.

    ::

        scaler = lamella.amp.GradScaler()
        with lamella.autocast("cuda", dtype=lamella.float16):
            loss = loss_fn(model(x), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    Parameters
    ----------
    device : str
        "cuda" or "cpu"; of no effect.
    init_scale : float
        The first scale.
    growth_factor, backoff_factor : float
        What the scale is multiplied by after `growth_interval` steps without, and after a step with, gradients that are
        infinite or NaN.
    growth_interval : int
    enabled : bool
        False: losses and gradients are left alone.
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        if device not in ("cpu", "cuda"):
            raise RuntimeError(f"GradScaler: device: expected 'cpu' or 'cuda', got {short(device)}")
        if not init_scale > 0 or math.isinf(init_scale):
            raise ValueError(f"GradScaler: init_scale: expected a positive number, got {init_scale}")
        if not growth_factor > 1:
            raise ValueError(f"GradScaler: growth_factor: expected more than 1, got {growth_factor}")
        if not 0 < backoff_factor < 1:
            raise ValueError(f"GradScaler: backoff_factor: expected a number in (0, 1), got {backoff_factor}")
        if int(growth_interval) != growth_interval or growth_interval < 1:
            raise ValueError(f"GradScaler: growth_interval: expected at least 1, got {growth_interval}")
        self._scale, self._growth_tracker = float(init_scale), 0
        self._growth_factor, self._backoff_factor = float(growth_factor), float(backoff_factor)
        self._growth_interval, self._enabled = int(growth_interval), bool(enabled)
        self._finite: dict[int, bool] = {}  # by optimizer, since the last update: whether its gradients were
        self._stepped: set[int] = set()

    def scale(self, outputs: Any) -> Any:
        """A loss, or a list of losses, times the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, ag.Tensor):
            return outputs * self._scale
        if isinstance(outputs, (list, tuple)):
            return type(outputs)(self.scale(o) for o in outputs)
        raise TypeError(f"scale: outputs: expected tensors, got {type(outputs).__name__}")

    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients of an optimizer's parameters by the scale: before they are clipped, for example."""
        if not self._enabled:
            return
        if id(optimizer) in self._finite:
            raise RuntimeError("unscale_: has been called for this optimizer since the last update()")
        from .nn.utils import get_total_norm

        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        for g in grads:
            g.mul_(1.0 / self._scale)
        self._finite[id(optimizer)] = not grads or math.isfinite(float(get_total_norm(grads)))

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """Let the optimizer take a step, unless its gradients are not finite.

        Parameters
        ----------
        optimizer : Optimizer
        *args, **kwargs
            For the optimizer's own `step`; a closure is not supported.
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs or any(callable(a) for a in args):
            raise RuntimeError("step: closure: not supported, for it may run backward more than once")
        if id(optimizer) in self._stepped:
            raise RuntimeError("step: has been called for this optimizer since the last update()")
        if id(optimizer) not in self._finite:
            self.unscale_(optimizer)
        self._stepped.add(id(optimizer))
        return optimizer.step(*args, **kwargs) if self._finite[id(optimizer)] else None

    def update(self, new_scale: float | None = None) -> None:
        """Adjust the scale to what the gradients of this iteration were like, or set it."""
        if not self._enabled:
            return
        if new_scale is not None:
            self._scale = float(new_scale)
        elif not self._finite:
            raise RuntimeError("update: expected step() or unscale_() before it")
        elif not all(self._finite.values()):
            self._scale *= self._backoff_factor
            self._growth_tracker = 0
        else:
            self._growth_tracker += 1
            if self._growth_tracker == self._growth_interval:
                grown = self._scale * self._growth_factor
                self._scale = grown if grown <= _LARGEST else self._scale
                self._growth_tracker = 0
        self._finite.clear()
        self._stepped.clear()

    def get_scale(self) -> float:
        """What losses are multiplied by."""
        return self._scale if self._enabled else 1.0

    def is_enabled(self) -> bool:
        """Whether losses are scaled."""
        return self._enabled

    def get_growth_factor(self) -> float:
        """What the scale grows by."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Set what the scale grows by."""
        self._growth_factor = float(new_factor)

    def get_backoff_factor(self) -> float:
        """What the scale shrinks by."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Set what the scale shrinks by."""
        self._backoff_factor = float(new_factor)

    def get_growth_interval(self) -> int:
        """How many steps it takes the scale to grow."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Set how many steps it takes the scale to grow."""
        self._growth_interval = int(new_interval)

    def state_dict(self) -> dict[str, Any]:
        """The scale and its rules, under PyTorch's names; empty where losses are not scaled."""
        if not self._enabled:
            return {}
        return {
            "scale": self._scale,
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._growth_tracker,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        if not self._enabled:
            return
        missing = set(self.state_dict()) - set(state_dict)
        if missing:
            raise RuntimeError(f"load_state_dict: state_dict: {sorted(missing)} missing")
        self._scale = float(state_dict["scale"])
        self._growth_factor = float(state_dict["growth_factor"])
        self._backoff_factor = float(state_dict["backoff_factor"])
        self._growth_interval = int(state_dict["growth_interval"])
        self._growth_tracker = int(state_dict["_growth_tracker"])


_LARGEST = float(np.finfo(np.float32).max)
