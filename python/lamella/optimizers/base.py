"""The base of optimizers in Keras' idiom: shared options, states, and one native call per step."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .. import _cpu
from .._device import namespace, on_device, place
from .._errors import short
from ..autograd import Tensor, as_array, wrap, written
from ..constraints import constrain
from . import schedules

_INTERNAL = ("self", "hyper", "shared")


class LearningRate(float):
    """An optimizer's learning rate: a number that `assign` can replace."""

    _owner: Optimizer

    def assign(self, value: Any) -> LearningRate:
        """Set the optimizer's learning rate."""
        self._owner.learning_rate = value
        return self._owner.learning_rate  # type: ignore[no-any-return]

    def numpy(self) -> np.ndarray:
        """The number as a NumPy scalar array."""
        return np.asarray(float(self), np.float32)

    @property
    def value(self) -> float:
        """The number."""
        return float(self)


class Optimizer:
    """The base of optimizers.

    A subclass of the user's that writes `update_step(gradient, variable, learning_rate)`, and makes its states in
    `build(variables)` with `add_optimizer_variables`, runs in Python: `fit` takes its steps on the eager tape.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or callable
        A number, or what gives it when called with the step (from 0) or with nothing.
    weight_decay : float, optional
        Decoupled: every step takes ``learning_rate * weight_decay`` of each weight.
    clipnorm, clipvalue, global_clipnorm : float, optional
        Clip each gradient to a norm, each of its elements, or all gradients to a common norm; at most one of them.
    use_ema : bool
        Keep moving averages of the weights. At the end of `fit` they replace the weights.
    ema_momentum : float
        ``average = ema_momentum * average + (1 - ema_momentum) * weight`` after every step.
    ema_overwrite_frequency : int, optional
        The averages replace the weights every so many steps too.
    loss_scale_factor : float, optional
        `scale_loss` multiplies the loss by it, and gradients are divided by it before they are used.
    gradient_accumulation_steps : int, optional
        Update the weights every so many steps, from the mean of their gradients.
    name : str, optional
    """

    _kind = ""

    def __init__(
        self,
        learning_rate: Any,
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
        *,
        hyper: dict[str, Any] | None = None,
        **unknown: Any,
    ) -> None:
        if unknown:
            raise self._unknown(next(iter(unknown)))
        cls = type(self).__name__
        for key, value in (("clipnorm", clipnorm), ("clipvalue", clipvalue), ("global_clipnorm", global_clipnorm),
                           ("loss_scale_factor", loss_scale_factor)):  # fmt: skip
            if value is not None and not value > 0:
                raise ValueError(f"{cls}: {key}: expected a positive number, got {short(value)}")
        for key, count, least in (("ema_overwrite_frequency", ema_overwrite_frequency, 1),
                                  ("gradient_accumulation_steps", gradient_accumulation_steps, 2)):  # fmt: skip
            whole = isinstance(count, (int, np.integer)) and not isinstance(count, bool)
            if count is not None and not (whole and count >= least):
                raise ValueError(f"{cls}: {key}: expected an integer >= {least} or None, got {short(count)}")
        if not 0 <= ema_momentum <= 1:
            raise ValueError(f"{cls}: ema_momentum: expected a number in [0, 1], got {short(ema_momentum)}")
        self.name = name or cls.lower()
        self.weight_decay, self.clipnorm, self.clipvalue = weight_decay, clipnorm, clipvalue
        self.global_clipnorm, self.loss_scale_factor = global_clipnorm, loss_scale_factor
        self.use_ema, self.ema_momentum = bool(use_ema), ema_momentum
        self.ema_overwrite_frequency = ema_overwrite_frequency
        self.gradient_accumulation_steps = gradient_accumulation_steps
        shared = {"weight_decay": weight_decay, "clipnorm": clipnorm, "clipvalue": clipvalue,
                  "global_clipnorm": global_clipnorm, "loss_scale": loss_scale_factor,
                  "accumulation_steps": gradient_accumulation_steps,
                  "ema_overwrite": ema_overwrite_frequency if use_ema else None}  # fmt: skip
        settings = {**(hyper or {}), **{k: v for k, v in shared.items() if v is not None}, "decoupled": True,
                    "use_ema": self.use_ema, "ema_momentum": ema_momentum}  # fmt: skip
        # Optimizers written in Python take from the native one what all have: averages, clipping and so on.
        self._native = _cpu.Optimizer(self._kind or "sgd", settings)
        self.built = False
        self._iterations = 0
        self._set_rate(learning_rate)
        self._states: dict[int, tuple[Any, list[np.ndarray]]] = {}
        self._variables: list[Any] = []  # those that build was given
        self._own: list[Tensor] = []  # states of optimizers written in Python
        self._names: dict[int, str] = {}
        self._excluded: tuple[set[int], re.Pattern[str] | None] = (set(), None)
        self._excluded_keep: list[Any] = []
        self._swapped = False  # whether the averages are where the weights were

    @classmethod
    def _unknown(cls, argument: str) -> TypeError:
        import difflib

        makers = [vars(c)["__init__"] for c in cls.__mro__[:-1] if "__init__" in vars(c)]
        named = {n: p for make in makers for n, p in inspect.signature(make).parameters.items()}
        known = sorted(n for n, p in named.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL))
        known = [n for n in known if n not in _INTERNAL]
        close = "learning_rate" if argument == "lr" else next(iter(difflib.get_close_matches(argument, known)), None)
        hint = f" (did you mean {close!r}?)" if close else ""
        return TypeError(f"{cls.__name__}: unknown argument {argument!r}{hint}; known are {', '.join(known)}")

    # -- learning rate and steps --

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the next step."""
        rate = LearningRate(self._rate_at(self._iterations))
        rate._owner = self
        return rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if isinstance(self._learning_rate, schedules.LearningRateSchedule) and not callable(value):
            raise TypeError(
                f"{type(self).__name__}: learning_rate: expected a schedule, for the optimizer was made with one, "
                f"got {short(value)}"
            )
        self._set_rate(value)

    lr = learning_rate

    def _set_rate(self, value: Any) -> None:
        self._takes_step = True
        if isinstance(value, dict):
            value = schedules.deserialize(value)
        if callable(value):
            if not isinstance(value, schedules.LearningRateSchedule):
                self._takes_step = _takes_argument(value)
        else:
            value = float(value)
            self._native.set_hyper("learning_rate", value)
        self._learning_rate = value

    def _rate_at(self, step: int) -> float:
        rate = self._learning_rate
        if not callable(rate):
            return rate  # type: ignore[no-any-return]
        return float(rate(step) if self._takes_step else rate())

    def rates(self, steps: int) -> Any:
        """The learning rates of the next `steps` steps: one number where all have the same."""
        if not callable(self._learning_rate):
            return self._learning_rate
        return np.array([self._rate_at(self._iterations + i) for i in range(steps)])

    @property
    def iterations(self) -> int:
        """How many updates there have been."""
        return self._iterations // (self.gradient_accumulation_steps or 1)

    @iterations.setter
    def iterations(self, value: Any) -> None:
        self._iterations = int(value) * (self.gradient_accumulation_steps or 1)

    def scale_loss(self, loss: Any) -> Any:
        """The loss times `loss_scale_factor`: what gradients are to be taken of."""
        return loss if self.loss_scale_factor is None else loss * float(self.loss_scale_factor)

    # -- states --

    def build(self, variables: Sequence[Any]) -> None:
        """Make the states for these variables; the first step does it otherwise.

        Parameters
        ----------
        variables : sequence of Parameter
        """
        self._variables = list(variables)
        self.built = True
        if self._runs_natively:
            self.states(self._variables)

    @property
    def _runs_natively(self) -> bool:
        return bool(self._kind) and type(self).update_step is Optimizer.update_step

    @property
    def slots(self) -> list[str]:
        """The names of the states that each variable has."""
        return [name for name, _ in self._native.slots] if self._runs_natively else []

    def states(self, params: Sequence[Any]) -> list[list[np.ndarray]]:
        """The state arrays of each parameter, made at first use."""
        out = []
        for p in params:
            known = self._states.get(id(p))
            if known is None or (known[1] and known[1][0].shape != p.shape):
                known = (p, [namespace(p._data).full(p.shape, initial, p.dtype) for _, initial in self._native.slots])
                self._states[id(p)] = known
            elif known[1] and on_device(known[1][0]) != on_device(p._data):  # the model has been moved
                known[1][:] = [place(a, p.device) for a in known[1]]
            out.append(known[1])
        self.built = True
        return out

    @property
    def variables(self) -> list[Any]:
        """The step count and the learning rate, as copies, and the states of all variables, as tensors over them."""
        own = [wrap(np.asarray(self._iterations, np.int64))]
        if not callable(self._learning_rate):
            own.append(wrap(np.asarray(self._learning_rate, np.float32)))
        return [*own, *[wrap(a) for _, arrays in self._states.values() for a in arrays], *self._own]

    def add_variable(
        self, shape: Sequence[int], initializer: Any = "zeros", dtype: Any = None, name: str | None = None
    ) -> Tensor:
        """Make a state: for optimizers written in Python."""
        from .. import initializers

        made = wrap(np.ascontiguousarray(initializers.get(initializer)(tuple(shape), dtype or "float32")))
        self._own.append(made)
        return made

    def add_variable_from_reference(
        self, reference_variable: Any, name: str | None = None, initializer: Any = "zeros"
    ) -> Tensor:
        """Make a state of a variable's shape and dtype."""
        return self.add_variable(reference_variable.shape, initializer, reference_variable.dtype, name)

    def add_optimizer_variables(self, trainable_variables: Sequence[Any], name: Any, initializer: Any = "zeros") -> Any:
        """Make a state for each variable; with several names, a tuple of lists."""
        names = [name] if isinstance(name, str) else list(name)
        starts = list(initializer) if isinstance(initializer, (list, tuple)) else [initializer] * len(names)
        if len(starts) != len(names):
            raise ValueError(f"{type(self).__name__}: initializer: expected {len(names)} of them, got {len(starts)}")
        made = tuple(
            [self.add_variable_from_reference(v, n, s) for v in trainable_variables]
            for n, s in zip(names, starts, strict=True)
        )
        return made[0] if isinstance(name, str) else made

    def _get_variable_index(self, variable: Any) -> int:
        for i, v in enumerate(self._variables):
            if v is variable:
                return i
        raise ValueError(f"{type(self).__name__}: variable: expected one of those that build was given, got another")

    def assign(self, variable: Any, value: Any) -> None:
        """Overwrite a variable or state."""
        variable._data[...] = as_array(value)
        written(variable)

    def assign_add(self, variable: Any, value: Any) -> None:
        """Add to a variable or state."""
        self.assign(variable, variable._data + as_array(value))

    def assign_sub(self, variable: Any, value: Any) -> None:
        """Subtract from a variable or state."""
        self.assign(variable, variable._data - as_array(value))

    def __getstate__(self) -> dict[str, Any]:
        keep: dict[str, Any] = {
            "_states": list(self._states.values()),
            "_names": {},
            "_excluded": (set(), self._excluded[1]),
        }
        return {**self.__dict__, **keep}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # In a copy the parameters are other objects.
        self.__dict__.update(
            state,
            _states={id(p): (p, arrays) for p, arrays in state["_states"]},
            _excluded=({id(p) for p in state["_excluded_keep"]}, state["_excluded"][1]),
        )

    # -- weight decay --

    def exclude_from_weight_decay(
        self, var_list: Sequence[Any] | None = None, var_names: Sequence[str] | None = None
    ) -> None:
        """Let weight decay pass over some variables; to be called before the first step.

        Parameters
        ----------
        var_list : list of Parameter, optional
        var_names : list of str, optional
            Regular expressions: variables of a model whose path one of them is found in, such as "bias".
        """
        if self.built:
            raise ValueError(
                f"{type(self).__name__}: exclude_from_weight_decay: expected a call before the first step or build"
            )
        pattern = re.compile("|".join(set(var_names))) if var_names else None
        self._excluded_keep = list(var_list or [])
        self._excluded = {id(v) for v in self._excluded_keep}, pattern

    def name_variables(self, named: Iterable[tuple[str, Any]]) -> None:
        """Tell the paths of a model's variables."""
        if self._excluded[1] is not None:
            self._names = {id(p): name for name, p in named}

    def _decays(self, variable: Any) -> bool:
        excluded, pattern = self._excluded
        if id(variable) in excluded:
            return False
        if pattern is None:
            return True
        name = self._names.get(id(variable), getattr(variable, "name", None))
        if name is None:
            raise ValueError(
                f"{type(self).__name__}: exclude_from_weight_decay: var_names: expected variables of a compiled model, "
                "got one without a name; use var_list"
            )
        return pattern.search(name) is None

    def decays(self, params: Sequence[Any]) -> list[float | None] | None:
        """The weight decay of each parameter where it is not everywhere the same: None for the optimizer's own."""
        if not self.weight_decay or self._excluded == (set(), None):
            return None
        return [None if self._decays(p) else 0.0 for p in params]

    # -- updates --

    def update_step(self, gradient: Tensor, variable: Any, learning_rate: float) -> None:
        """One step of one variable; to be written by optimizers in Python."""
        raise NotImplementedError(f"{type(self).__name__}: update_step is not defined")

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Any]]) -> int:
        """One step from pairs (gradient, variable); a None gradient leaves its variable as it is.

        Returns
        -------
        int
            The number of steps so far.
        """
        pairs = list(grads_and_vars)
        self.apply([g for g, _ in pairs], [v for _, v in pairs])
        return self._iterations

    def apply(self, grads: Iterable[Any], trainable_variables: Iterable[Any] | None = None) -> None:
        """One step from gradients and variables in the same order.

        Parameters
        ----------
        grads : list of Tensor, array or None
        trainable_variables : list of Parameter, optional
            Default: those that `build` was given.
        """
        grads = list(grads)
        if trainable_variables is None:
            if not self._variables:
                raise ValueError(f"{type(self).__name__}: apply: trainable_variables: expected a list, or build before")
            trainable_variables = self._variables
        variables = list(trainable_variables)
        if len(grads) != len(variables):
            raise ValueError(
                f"{type(self).__name__}: apply: grads: expected {len(variables)}, one a variable, got {len(grads)}"
            )
        if not self._variables:
            self.build(variables)
        pairs = [(np.ascontiguousarray(as_array(g)), v) for g, v in zip(grads, variables, strict=True) if g is not None]
        if not pairs and grads:
            raise ValueError(f"{type(self).__name__}: apply: grads: expected a gradient for some variable, got none")
        if len(pairs) < len(grads):
            missing = f"{len(grads) - len(pairs)} of {len(grads)} variables have no gradient"
            warnings.warn(f"{type(self).__name__}: apply: grads: {missing}", stacklevel=2)
        self._step([g for g, _ in pairs], [v for _, v in pairs])

    def _step(self, grads: list[np.ndarray], params: list[Any]) -> None:
        if not self._runs_natively:
            self._step_in_python(grads, params)
        else:
            self._native.step([p._data for p in params], grads, self.states(params), self._iterations + 1,
                              lr=self._rate_at(self._iterations), weight_decays=self.decays(params))  # fmt: skip
        for p in params:
            if isinstance(p, Tensor):
                written(p)
        constrain(params)
        self._iterations += 1

    def _step_in_python(self, grads: list[np.ndarray], params: list[Any]) -> None:
        from ..autograd import no_grad

        if self.use_ema or self.gradient_accumulation_steps:
            raise NotImplementedError(
                f"{type(self).__name__}: use_ema, gradient_accumulation_steps: expected neither with an update_step "
                "written in Python"
            )
        if self.loss_scale_factor is not None:
            grads = [g / g.dtype.type(self.loss_scale_factor) for g in grads]
        if self.clipvalue is not None:
            grads = [np.clip(g, -self.clipvalue, self.clipvalue) for g in grads]
        if self.clipnorm is not None:
            grads = [_clipped(g, _cpu.global_norm([g]), self.clipnorm) for g in grads]
        if self.global_clipnorm is not None:
            norm = _cpu.global_norm(grads)
            grads = [_clipped(g, norm, self.global_clipnorm) for g in grads]
        rate = self._rate_at(self._iterations)
        with no_grad():
            for g, p in zip(grads, params, strict=True):
                if self.weight_decay and self._decays(p):
                    p._data[...] -= p._data * p._data.dtype.type(rate * self.weight_decay)
                self.update_step(wrap(g), p, rate)

    # -- averages --

    def finalize_variable_values(self, var_list: Iterable[Any]) -> None:
        """Put the moving averages in the variables' place, where the optimizer keeps them; `fit` ends with it."""
        for p, average in self._averages(var_list):
            if self._swapped:
                average[...] = p._data
            else:
                p._data[...] = average
                written(p)
        self._swapped = False

    def swap_ema(self, var_list: Iterable[Any]) -> None:
        """Exchange the variables and their moving averages."""
        for p, average in self._averages(var_list):
            kept = p._data.copy()
            p._data[...] = average
            average[...] = kept
            written(p)
        self._swapped = not self._swapped

    def _averages(self, variables: Iterable[Any]) -> list[tuple[Any, np.ndarray]]:
        if not self.use_ema:
            return []
        place = self.slots.index("average")
        return [(p, self._states[id(p)][1][place]) for p in variables if id(p) in self._states]

    # -- saving --

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        keys = ("name", "weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "use_ema", "ema_momentum",
                "ema_overwrite_frequency", "loss_scale_factor", "gradient_accumulation_steps")  # fmt: skip
        return {"learning_rate": self._rate_config(), **{key: getattr(self, key) for key in keys}}

    def _rate_config(self) -> Any:
        rate = self._learning_rate
        if isinstance(rate, schedules.LearningRateSchedule):
            return schedules.serialize(rate)
        if not callable(rate):
            return rate
        name = getattr(rate, "__name__", "<lambda>")
        if not name.isidentifier():
            raise TypeError(
                f"{type(self).__name__}: get_config: learning_rate: expected a number, a LearningRateSchedule or a "
                f"function with a name, got {short(rate)}: what has no name cannot be saved"
            )
        return {"function": name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Optimizer:
        """An optimizer from what `get_config` gave; the user's schedules and functions are in `custom_objects`."""
        rate = config.get("learning_rate")
        if isinstance(rate, dict) and "function" in rate:
            rate = (custom_objects or {}).get(rate["function"])
            if rate is None:
                raise ValueError(
                    f"{cls.__name__}: learning_rate: expected the function {config['learning_rate']['function']!r} "
                    "among custom_objects"
                )
        elif isinstance(rate, dict):
            rate = schedules.deserialize(rate, custom_objects)
        return cls(**({**config, "learning_rate": rate} if "learning_rate" in config else config))

    def save_own_variables(self, store: dict[str, np.ndarray]) -> None:
        """Put `variables` into a dict, by number."""
        for i, v in enumerate(self.variables):
            store[str(i)] = as_array(v).copy()

    def load_own_variables(self, store: dict[str, np.ndarray]) -> None:
        """Take over what `save_own_variables` wrote, for the same variables, built."""
        own = self.variables
        if len(store) != len(own):
            raise ValueError(
                f"{type(self).__name__}: load_own_variables: expected {len(own)} arrays, got {len(store)}; build comes "
                "first"
            )
        values = [np.asarray(store[str(i)]) for i in range(len(own))]
        for i, (v, new) in enumerate(zip(own, values, strict=True)):
            if tuple(v.shape) != new.shape:
                raise ValueError(
                    f"{type(self).__name__}: load_own_variables: {i}: expected shape {tuple(v.shape)}, got {new.shape}"
                )
        self._iterations = int(values[0])
        if not callable(self._learning_rate):
            self._set_rate(float(values[1]))
        for v, new in zip(own, values, strict=True):
            v._data[...] = new


def _clipped(g: np.ndarray, norm: float, limit: float) -> np.ndarray:
    return g * g.dtype.type(limit / norm) if norm > limit else g


def _takes_argument(fn: Callable[..., Any]) -> bool:
    """Whether a callable learning rate wants the step."""
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return True
    return any(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL) for p in parameters)
