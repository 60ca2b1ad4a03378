"""Optimizers in Keras' idiom, over the same native updates as `lamella.optim`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from . import _cpu
from ._suggest import unknown_name
from .autograd import as_array

_INTERNAL = ("self", "args", "hyper", "config")

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "get"]


class Optimizer:
    """The base of optimizers.

    Parameters
    ----------
    learning_rate : float or callable
        A number, or a schedule: called with the step (from 0), gives the rate.
    weight_decay : float, optional
        Decoupled: every step takes ``learning_rate * weight_decay`` of each weight.
    clipnorm, global_clipnorm, clipvalue : float, optional
        Clip each gradient to a norm, all of them to a common norm, or each element; at most one of them.
    name : str, optional
    """

    _kind = ""

    def __init__(
        self,
        learning_rate: float | Callable[[int], float] = 0.001,
        *,
        hyper: dict[str, Any] | None = None,
        config: dict[str, Any] | None = None,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        **unknown: Any,
    ) -> None:
        if unknown:
            raise self._unknown(next(iter(unknown)))
        if use_ema or ema_overwrite_frequency is not None or ema_momentum != 0.99:
            raise NotImplementedError(f"{type(self).__name__}: use_ema: weight averaging is not supported")
        if loss_scale_factor is not None or gradient_accumulation_steps is not None:
            raise NotImplementedError(
                f"{type(self).__name__}: loss_scale_factor and gradient_accumulation_steps are not supported"
            )
        for key, value in (("clipnorm", clipnorm), ("clipvalue", clipvalue), ("global_clipnorm", global_clipnorm)):
            if value is not None and not value > 0:
                raise ValueError(f"{type(self).__name__}: {key}: expected a positive number, got {value}")
        shared = {"weight_decay": weight_decay, "clipnorm": clipnorm, "clipvalue": clipvalue,
                  "global_clipnorm": global_clipnorm}  # fmt: skip
        self.name = name or type(self).__name__.lower()
        self._config = {**(config or {}), **shared}
        settings = {**(hyper or {}), **{k: v for k, v in shared.items() if v is not None}, "decoupled": True}
        self._native = _cpu.Optimizer(self._kind, settings)
        self.iterations = 0
        self.learning_rate = learning_rate
        self._states: dict[int, tuple[Any, list[np.ndarray]]] = {}

    @classmethod
    def _unknown(cls, argument: str) -> TypeError:
        import difflib
        import inspect

        makers = [vars(c)["__init__"] for c in cls.__mro__[:-1] if "__init__" in vars(c)]
        named = {n: p for make in makers for n, p in inspect.signature(make).parameters.items()}
        known = sorted(n for n, p in named.items() if p.kind is not p.VAR_KEYWORD and n not in _INTERNAL)
        close = "learning_rate" if argument == "lr" else next(iter(difflib.get_close_matches(argument, known)), None)
        hint = f" (did you mean {close!r}?)" if close else ""
        return TypeError(f"{cls.__name__}: unknown argument {argument!r}{hint}; known are {', '.join(known)}")

    @property
    def learning_rate(self) -> Any:
        """The rate, or the schedule that gives it."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if not callable(value):
            value = float(value)
            self._native.set_hyper("learning_rate", value)
        self._learning_rate = value

    lr = learning_rate

    def rates(self, steps: int) -> Any:
        """The learning rates of the next `steps` steps: one number where all have the same."""
        rate = self._learning_rate
        if not callable(rate):
            return rate
        return np.array([float(rate(self.iterations + i)) for i in range(steps)])

    def states(self, params: Sequence[Any]) -> list[list[np.ndarray]]:
        """The state arrays of each parameter, made at first use."""
        out = []
        for p in params:
            known = self._states.get(id(p))
            if known is None or (known[1] and known[1][0].shape != p.shape):
                known = (p, [np.full(p.shape, initial, p.dtype) for _, initial in self._native.slots])
                self._states[id(p)] = known
            out.append(known[1])
        return out

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_states": list(self._states.values())}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # In a copy the parameters are other objects.
        self.__dict__.update(state, _states={id(p): (p, arrays) for p, arrays in state["_states"]})

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Any]]) -> None:
        """One step from pairs (gradient, variable); a None gradient leaves its variable as it is."""
        pairs = [(g, v) for g, v in grads_and_vars if g is not None]
        params = [v for _, v in pairs]
        grads = [np.ascontiguousarray(as_array(g)) for g, _ in pairs]
        self._native.step([p._data for p in params], grads, self.states(params), self.iterations + 1,
                          lr=float(np.ravel(self.rates(1))[0]))  # fmt: skip
        self.iterations += 1

    def apply(self, grads: Iterable[Any], trainable_variables: Iterable[Any]) -> None:
        """One step from gradients and variables in the same order."""
        self.apply_gradients(zip(grads, trainable_variables, strict=True))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        if callable(self._learning_rate):
            raise TypeError(f"{type(self).__name__}: a learning-rate schedule cannot be saved")
        return {"learning_rate": self._learning_rate, "name": self.name, **self._config}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Optimizer:
        """An optimizer from what `get_config` gave."""
        return cls(**config)


class SGD(Optimizer):
    """Gradient descent with momentum.

    Parameters
    ----------
    learning_rate : float
    momentum : float
    nesterov : bool
    **kwargs
        See Optimizer.
    """

    _kind = "sgd"

    def __init__(self, learning_rate: Any = 0.01, momentum: float = 0.0, nesterov: bool = False, **kwargs: Any) -> None:
        # Keras lets nesterov stand without momentum, where it changes nothing.
        hyper = {"momentum": momentum, "nesterov": bool(nesterov) and momentum > 0, "velocity": True}
        super().__init__(learning_rate, hyper=hyper, config={"momentum": momentum, "nesterov": nesterov}, **kwargs)


class Adam(Optimizer):
    """Adam (Kingma & Ba 2014), epsilon added as "epsilon hat".

    Parameters
    ----------
    learning_rate, beta_1, beta_2, epsilon : float
    amsgrad : bool
    **kwargs
        See Optimizer.
    """

    _kind = "adam"

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **kwargs: Any,
    ) -> None:
        hyper = {"beta1": beta_1, "beta2": beta_2, "eps": epsilon, "amsgrad": bool(amsgrad), "eps_hat": True}
        config = {"beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon, "amsgrad": amsgrad}
        super().__init__(learning_rate, hyper=hyper, config=config, **kwargs)


class AdamW(Adam):
    """Adam with decoupled weight decay, 0.004 by default (Loshchilov & Hutter 2017)."""

    def __init__(self, learning_rate: Any = 0.001, weight_decay: float = 0.004, *args: Any, **kwargs: Any) -> None:
        super().__init__(learning_rate, *args, weight_decay=weight_decay, **kwargs)


class RMSprop(Optimizer):
    """Gradients divided by a running mean of their magnitude.

    Parameters
    ----------
    learning_rate, rho, momentum, epsilon : float
    centered : bool
    **kwargs
        See Optimizer.
    """

    _kind = "rmsprop"

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **kwargs: Any,
    ) -> None:
        hyper = {"rho": rho, "momentum": momentum, "eps": epsilon, "centered": bool(centered), "eps_inside": True,
                 "velocity": True}  # fmt: skip
        config = {"rho": rho, "momentum": momentum, "epsilon": epsilon, "centered": centered}
        super().__init__(learning_rate, hyper=hyper, config=config, **kwargs)


class Adagrad(Optimizer):
    """Gradients divided by the root of the sum of their squares (Duchi et al. 2011)."""

    _kind = "adagrad"

    def __init__(
        self,
        learning_rate: Any = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        **kwargs: Any,
    ) -> None:
        hyper = {"initial_accumulator": initial_accumulator_value, "eps": epsilon, "eps_inside": True}
        config = {"initial_accumulator_value": initial_accumulator_value, "epsilon": epsilon}
        super().__init__(learning_rate, hyper=hyper, config=config, **kwargs)


_CLASSES: dict[str, type[Optimizer]] = {c.__name__: c for c in (SGD, Adagrad, Adam, AdamW, RMSprop)}


def get(identifier: Any) -> Optimizer:
    """An optimizer from its name ("adam", ...), configuration, or itself."""
    if isinstance(identifier, Optimizer):
        return identifier
    if isinstance(identifier, dict):
        name = identifier.get("class_name")
        if name not in _CLASSES:
            raise unknown_name("optimizer", name, _CLASSES)
        return _CLASSES[name].from_config(identifier.get("config", {}))
    if isinstance(identifier, str):
        by_name = {n.lower(): c for n, c in _CLASSES.items()}
        if identifier.lower() not in by_name:
            raise unknown_name("optimizer", identifier, by_name)
        return by_name[identifier.lower()]()
    raise TypeError(f"optimizer: expected a name or an Optimizer, got {type(identifier).__name__}")


def serialize(optimizer: Optimizer, replace: dict[str, Any] | None = None) -> dict[str, Any]:
    """The configuration from which `get` rebuilds the optimizer; `replace` holds what JSON cannot hold."""
    if type(optimizer).__name__ not in _CLASSES:
        raise TypeError(f"optimizer: only Lamella's own optimizers can be saved, got {optimizer!r}")
    config = {"name": optimizer.name, **optimizer._config}
    if "learning_rate" not in (replace or {}):
        config = optimizer.get_config()
    return {"class_name": type(optimizer).__name__, "config": {**config, **(replace or {})}}
