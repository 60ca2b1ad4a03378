"""The base of all optimizers: parameter groups, states, and one native call per step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from .. import _cpu
from .. import autograd as ag
from .._device import device_of, namespace, on_device, place
from .._errors import short
from .._functional.shape import inverse
from ..nn.module import _add_hook, clear_grad

__all__ = ["Optimizer"]

_FLAGS = frozenset({"amsgrad", "centered", "decoupled_weight_decay", "maximize", "nesterov"})


class Optimizer:
    """The base of all optimizers.

    A subclass gives `_kind`, the native optimizer's name. Its options are the native hyper-parameters, by the names in
    `_native_names` where these are others; `_fixed` are hyper-parameters that are no options.

    Parameters
    ----------
    params : iterable of Parameter, of (name, Parameter), or of dict
        What to train; a dict is a group with options of its own under "params".
    defaults : dict
        The options of groups that do not say otherwise.
    """

    _kind: str
    _native_names: ClassVar[dict[str, str]] = {"lr": "learning_rate", "decoupled_weight_decay": "decoupled"}
    _fixed: ClassVar[dict[str, Any]] = {}

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[Any, dict[str, Any]] = defaultdict(dict)
        self._native: list[tuple[_cpu.Optimizer, dict[str, Any]]] = []
        self._hooks: dict[str, dict[int, Callable[..., Any]]] = defaultdict(dict)
        if isinstance(params, ag.Tensor):
            raise TypeError("optimizer: params: expected an iterable of parameters, got a single tensor")
        groups = list(params)
        if not groups:
            raise ValueError("optimizer: params: expected at least one parameter, got none")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def _hyper(self, group: dict[str, Any]) -> dict[str, Any]:
        """The native hyper-parameters of a group."""
        hyper, names = dict(self._fixed), self._native_names
        for key in self.defaults:
            value = group[key]
            if key == "betas":
                hyper["beta1"], hyper["beta2"] = float(value[0]), float(value[1])
            else:
                hyper[names.get(key, key)] = bool(value) if key in _FLAGS else float(value)
        return hyper

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Train more parameters, with options of their own.

        Parameters
        ----------
        param_group : dict
            "params", and options that differ from the defaults.
        """
        params = param_group["params"]
        params = [params] if isinstance(params, ag.Tensor) else list(params)
        names = [p[0] for p in params if isinstance(p, tuple)]
        named = [bool(g.get("param_names")) for g in self.param_groups if g["params"]]
        if (names and len(names) != len(params)) or (params and any(n != bool(names) for n in named)):
            raise ValueError("optimizer: params: expected all of them with names, or none, got some")
        params = [p[1] if isinstance(p, tuple) else p for p in params]
        known = {"params", "param_names", "initial_lr", "swa_lr", *self.defaults}
        unknown = [k for k in param_group if k not in known]
        if unknown:
            raise ValueError(
                f"{type(self).__name__}: unknown options {', '.join(map(repr, unknown))}; "
                f"known are {', '.join(self.defaults)}"
            )
        taken = {id(p) for g in self.param_groups for p in g["params"]}
        for p in params:
            if not isinstance(p, ag.Tensor):
                raise TypeError(f"optimizer: params: expected tensors, got {type(p).__name__}")
            if not p.is_leaf:
                raise ValueError("optimizer: params: expected leaf tensors, got a computed one")
            if id(p) in taken:
                raise ValueError("optimizer: params: a parameter is there twice")
            taken.add(id(p))
        group = {**param_group, "params": params, **({"param_names": names} if names else {})}
        for key, value in self.defaults.items():
            if group.setdefault(key, value) is REQUIRED:
                raise ValueError(f"{type(self).__name__}: {key}: needed in every group, got none")
        hyper = self._hyper(group)
        self._native.append((_cpu.Optimizer(self._kind, hyper), hyper))
        self.param_groups.append(group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop all gradients, or fill them with zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                clear_grad(p, set_to_none)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        Parameters
        ----------
        closure : callable, optional
            Computes the loss again; called first, with recording on.

        Returns
        -------
        The closure's result, or None.
        """
        for hook in list(self._hooks["step_pre"].values()):
            changed = hook(self, (closure,) if closure is not None else (), {})
            if changed is not None:
                raise NotImplementedError("optimizer: register_step_pre_hook: hooks cannot replace step's arguments")
        loss = None
        if closure is not None:
            with ag.enable_grad():
                loss = closure()
        for i, group in enumerate(self.param_groups):
            native, hyper = self._native[i]
            now = self._hyper(group)
            if now != hyper:
                for key, value in now.items():
                    if hyper.get(key) != value:
                        native.set_hyper(key, value)
                self._native[i] = (native, now)
            self._step_group(native, group["params"])
        for hook in list(self._hooks["step_post"].values()):
            hook(self, (closure,) if closure is not None else (), {})
        return loss

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> Any:
        """Call ``hook(optimizer, args, kwargs)`` before each step; the handle's `remove` ends that."""
        return _add_hook(self._hooks["step_pre"], hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> Any:
        """Call ``hook(optimizer, args, kwargs)`` after each step; the handle's `remove` ends that."""
        return _add_hook(self._hooks["step_post"], hook)

    def _step_group(self, native: _cpu.Optimizer, params: list[Any]) -> None:
        # One call for all parameters that have seen the same number of steps, in one dtype: nearly always all.
        batches: dict[Any, tuple[list[Any], list[Any], list[Any]]] = {}
        changed = []
        slots_now = native.slots
        for p in params:
            leaf = getattr(p, "physical", p)
            grad = leaf._grad
            if grad is None:
                continue
            state = self.state.get(p)
            if state is None:
                state = self.state[p] = {"step": 0, "slots": []}
            data, own = leaf._data, state["slots"]
            if len(own) < len(slots_now):  # at first, or where a schedule has turned momentum on
                own += [namespace(data).full(data.shape, initial, data.dtype) for _, initial in slots_now[len(own) :]]
            there = on_device(data)
            if own and on_device(own[0]) != there:  # the module has been moved
                own[:] = [place(a, device_of(data)) for a in own]
            step = state["step"] = state["step"] + 1
            key = step, data.dtype.char, there
            batch = batches.get(key)
            if batch is None:
                batch = batches[key] = [], [], []
            arrays, grads, slots = batch
            arrays.append(data)
            grads.append(grad)
            slots.append(own)
            changed.append(leaf)
        for (step, *_), (arrays, grads, slots) in batches.items():
            native.step(arrays, grads, slots, step)
        if changed:
            ag._clock[0] += 1
            now = ag._clock[0]
            for leaf in changed:
                leaf._version[0] = now

    # -- saving --

    def state_dict(self) -> dict[str, Any]:
        """Options and states, in PyTorch's form: parameters are counted through, states have their shapes."""
        numbers: dict[int, int] = {}
        for group in self.param_groups:
            for p in group["params"]:
                numbers.setdefault(id(p), len(numbers))
        groups = [
            {
                **{k: v for k, v in group.items() if k != "params"},
                "params": [numbers[id(p)] for p in group["params"]],
            }
            for group in self.param_groups
        ]
        states: dict[int, Any] = {}
        for i, group in enumerate(self.param_groups):
            names = [name for name, _ in self._native[i][0].slots]
            for p in group["params"]:
                if p in self.state:
                    state = self.state[p]
                    entry: dict[str, Any] = {"step": state["step"]}
                    for name, array in zip(names, state["slots"], strict=True):
                        entry[name] = ag.wrap(_seen(p, array))
                    states[numbers[id(p)]] = entry
        return {"state": states, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take options and states from what `state_dict` gave."""
        name = f"{type(self).__name__}: load_state_dict"
        if not isinstance(state_dict, Mapping) or not {"param_groups", "state"} <= set(state_dict):
            got = f"{', '.join(map(repr, state_dict)) or 'nothing'}" if isinstance(state_dict, Mapping) else state_dict
            raise ValueError(f"{name}: state_dict: expected 'param_groups' and 'state', got {got}")
        groups, states = state_dict["param_groups"], state_dict["state"]
        if len(groups) != len(self.param_groups):
            raise ValueError(
                f"load_state_dict: param_groups: expected {len(self.param_groups)} groups, got {len(groups)}"
            )
        for own, given in zip(self.param_groups, groups, strict=True):
            if len(own["params"]) != len(given["params"]):
                raise ValueError(
                    f"load_state_dict: param_groups: expected {len(own['params'])} parameters in a group, "
                    f"got {len(given['params'])}"
                )
            missing = [key for key, value in self.defaults.items() if _is_setting(value) and key not in given]
            if missing:
                options = ", ".join(key for key in given if key != "params")
                raise ValueError(f"{name}: param_groups: expected also {', '.join(missing)}, got {options}")
        loaded: dict[Any, dict[str, Any]] = defaultdict(dict)
        for i, (own, given) in enumerate(zip(self.param_groups, groups, strict=True)):
            for key, value in given.items():
                if key in own and key != "params":
                    own[key] = tuple(value) if isinstance(value, list) else value
            hyper = self._hyper(own)
            native = _cpu.Optimizer(self._kind, hyper)
            self._native[i] = (native, hyper)
            for p, number in zip(own["params"], given["params"], strict=True):
                entry = states.get(number, states.get(str(number)))
                if entry is not None:
                    loaded[p] = self._loaded(native, p, entry)
        self.state = loaded

    @staticmethod
    def _loaded(native: _cpu.Optimizer, p: Any, entry: Mapping[str, Any]) -> dict[str, Any]:
        slots = []
        for name, _ in native.slots:
            if entry.get(name) is None:
                raise ValueError(f"load_state_dict: state: expected {name!r} for every parameter, got none")
            array = ag.as_array(entry[name])
            if array.shape != p.shape:
                raise ValueError(f"load_state_dict: {name}: expected shape {p.shape}, got {array.shape}")
            if p._phys is not None:
                array = array.transpose(inverse(p._phys[1]))
            slots.append(place(array, p.device).astype(p.dtype, order="C"))
        return {"step": int(entry.get("step", 1)), "slots": slots}  # PyTorch's SGD does not count

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_hooks": defaultdict(dict)}

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines.extend(f"    {k}: {group[k]}" for k in sorted(group) if k != "params")
        return "\n".join([*lines, ")"])


REQUIRED = object()


def _is_setting(default: Any) -> bool:
    """Whether every state of an optimizer has this option: switches have been added by and by."""
    return default is REQUIRED or (isinstance(default, (int, float, tuple)) and not isinstance(default, bool))


def _seen(p: Any, array: np.ndarray) -> np.ndarray:
    """A state as the parameter is seen."""
    return array if p._phys is None else array.transpose(p._phys[1])


def check(name: str, **values: Any) -> None:
    """Check that options are numbers not below zero."""
    for key, value in values.items():
        if not float(value) >= 0:
            raise ValueError(f"{name}: {key}: expected a number >= 0, got {short(value)}")


def check_betas(name: str, betas: Any) -> tuple[float, float]:
    """Check the decays of two averages."""
    if len(betas) != 2 or not all(0 <= b < 1 for b in betas):
        raise ValueError(f"{name}: betas: expected two numbers in [0, 1), got {short(betas)}")
    return betas[0], betas[1]
