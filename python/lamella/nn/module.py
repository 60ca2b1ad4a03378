"""Module: the base of every layer and model."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from .. import autograd as ag
from .._dtypes import is_float
from .._errors import short
from .._explain import explain
from .._grad_mode import state as _mode
from .parameter import Parameter, _NewBuffer, traced

__all__ = ["Module"]

_M = TypeVar("_M", bound="Module")


class _IncompatibleKeys(namedtuple("_IncompatibleKeys", ["missing_keys", "unexpected_keys"])):
    """What `load_state_dict` did not find, and what it had no place for."""

    __slots__ = ()

    def __repr__(self) -> str:
        return super().__repr__() if self.missing_keys or self.unexpected_keys else "<All keys matched successfully>"

    __str__ = __repr__


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{n}"' for n in names)


def _size(shape: tuple[int, ...]) -> str:
    return f"torch.Size({list(shape)})"


class _Handle:
    """Takes a hook off again."""

    def __init__(self, hooks: dict[int, Any], key: int) -> None:
        self._hooks, self._key = hooks, key

    def remove(self) -> None:
        structure_changed()
        self._hooks.pop(self._key, None)


_changes = 0


def structure_changed() -> None:
    """Tell that a module gained or lost parts or hooks, or was frozen or freed."""
    global _changes
    _changes += 1


def structure_clock() -> int:
    """A number that stands still as long as no module changes: what was gathered from one holds until then."""
    return _changes


class _Members(dict[str, Any]):
    """The modules or the parameters of a module, by name."""

    def __setitem__(self, name: str, part: Any) -> None:
        structure_changed()
        super().__setitem__(name, part)

    def __delitem__(self, name: str) -> None:
        structure_changed()
        super().__delitem__(name)

    def pop(self, *args: Any) -> Any:
        structure_changed()
        return super().pop(*args)

    def clear(self) -> None:
        structure_changed()
        super().clear()


class Module:
    """The base of every layer and model.

    Assign parameters and other modules to attributes in `__init__` (after `super().__init__()`), and write `forward`.
    """

    training: bool

    def __init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "_parameters", _Members())
        set_(self, "_buffers", {})
        set_(self, "_transient", set())
        set_(self, "_modules", _Members())
        set_(self, "_pre_hooks", {})
        set_(self, "_hooks", {})
        set_(self, "training", True)

    # -- running --

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output; to be written by subclasses."""
        raise NotImplementedError(f"{type(self).__name__}: forward is not defined")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not (self._pre_hooks or self._hooks):
            try:
                return self.forward(*args, **kwargs)
            except AttributeError as error:
                if not isinstance(error.obj, Module):
                    explain(type(self).__name__, self.forward, args, kwargs, error)
                raise
        return self._run_hooked(self.forward, args, kwargs)

    def _run_hooked(self, run: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run forward, or what stands in its place, between the hooks."""
        left = [h for h in self._hooks.values() if h.always]
        out = None
        try:
            for hook in tuple(self._pre_hooks.values()):
                args, kwargs = hook.change(self, args, kwargs)
            out = run(*args, **kwargs)
            for hook in tuple(self._hooks.values()):
                if hook.always:
                    left.remove(hook)
                changed = hook(self, args, kwargs, out)
                if changed is not None:
                    out = changed
        except Exception:
            for hook in left:
                hook(self, args, kwargs, out)
            raise
        return out

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> _Handle:
        """Call hook(module, args) before every forward; what it returns replaces the arguments.

        Parameters
        ----------
        hook : callable
        prepend : bool
            Before the hooks that are there.
        with_kwargs : bool
            Call hook(module, args, kwargs), which may return both.
        """
        return _add_hook(self._pre_hooks, _Hook(hook, with_kwargs), prepend)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> _Handle:
        """Call hook(module, args, output) after every forward; what it returns replaces the output.

        Parameters
        ----------
        hook : callable
        prepend : bool
            Before the hooks that are there.
        with_kwargs : bool
            Call hook(module, args, kwargs, output).
        always_call : bool
            After a forward that raises an error, too; the output is None then.
        """
        return _add_hook(self._hooks, _Hook(hook, with_kwargs, always_call), prepend)

    # -- attributes --

    def __setattr__(self, name: str, value: Any) -> None:
        d = self.__dict__
        if "_modules" not in d:
            if isinstance(value, (Parameter, Module)):
                raise AttributeError(f"{type(self).__name__}: call super().__init__() before assigning {name!r}")
            object.__setattr__(self, name, value)
            return
        if isinstance(value, Parameter):
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            self._forget(name)
            d["_modules"][name] = value
        elif isinstance(value, _NewBuffer):
            self.register_buffer(name, value.tensor, value.persistent)
        elif name in d["_buffers"]:
            if value is not None and not isinstance(value, ag.Tensor):
                raise TypeError(f"{type(self).__name__}.{name}: expected a Tensor or None, got {type(value).__name__}")
            d["_buffers"][name] = value
        elif name in d["_parameters"]:
            if value is not None:
                raise TypeError(
                    f"{type(self).__name__}.{name}: expected a Parameter or None, got {type(value).__name__}"
                )
            d["_parameters"][name] = None
        elif name in d["_modules"]:
            if value is not None:
                raise TypeError(f"{type(self).__name__}.{name}: expected a Module or None, got {type(value).__name__}")
            d["_modules"][name] = None
        else:
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        d = self.__dict__
        if "_modules" in d:
            parameters = d["_parameters"]
            if name in parameters:
                value = parameters[name]
                return value if value is None or _mode.tracer is None else traced(value)
            for entries in (d["_modules"], d["_buffers"]):
                if name in entries:
                    return entries[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        if not self._forget(name):
            object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._parameters, *self._buffers, *self._modules})

    def _forget(self, name: str) -> bool:
        d = self.__dict__
        found = d.pop(name, d) is not d
        for kind in ("_parameters", "_modules", "_buffers"):
            found |= d[kind].pop(name, d) is not d
        d["_transient"].discard(name)
        return found

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under a name; None reserves the name."""
        self._check_name(name)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(f"register_parameter: {name}: expected a Parameter or None, got {type(param).__name__}")
        if name not in self._parameters:
            self._forget(name)
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: ag.Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is no parameter, such as running statistics.

        Parameters
        ----------
        name : str
            The attribute's name.
        tensor : Tensor or None
            The buffer.
        persistent : bool
            Whether it belongs in `state_dict`.
        """
        self._check_name(name)
        if tensor is not None and not isinstance(tensor, ag.Tensor):
            raise TypeError(f"register_buffer: {name}: expected a Tensor or None, got {type(tensor).__name__}")
        self._forget(name)
        self._buffers[name] = tensor
        if not persistent:
            self._transient.add(name)

    def register_module(self, name: str, module: Module | None) -> None:
        """Add a child under a name."""
        self.add_module(name, module)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a child under a name."""
        self._check_name(name)
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"add_module: {name}: expected a Module or None, got {type(module).__name__}")
        self._forget(name)
        self._modules[name] = module

    def _check_name(self, name: str) -> None:
        if "_modules" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__}: call super().__init__() first")
        if not isinstance(name, str) or not name or "." in name:
            raise KeyError(f"{type(self).__name__}: name: expected a name without dots, got {short(name)}")

    # -- walking --

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all below it, with their paths."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                yield from child.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """This module and all below it; each once, if duplicates are removed."""
        return (m for _, m in self.named_modules(remove_duplicate=remove_duplicate))

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules right below, with their names."""
        seen = set()
        for name, child in self._modules.items():
            if child is not None and child not in seen:
                seen.add(child)
                yield name, child

    def children(self) -> Iterator[Module]:
        """The modules right below."""
        return (m for _, m in self.named_children())

    def _named(self, kind: str, prefix: str, recurse: bool, once: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        modules = self.named_modules(prefix=prefix, remove_duplicate=once) if recurse else [(prefix, self)]
        for path, module in modules:
            for name, value in getattr(module, kind).items():
                if value is not None and not (once and id(value) in seen):
                    seen.add(id(value))
                    yield f"{path}.{name}" if path else name, value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """All parameters with their paths; each once, if duplicates are removed."""
        return self._named("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """All parameters, each once."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, ag.Tensor]]:
        """All buffers with their paths; each once, if duplicates are removed."""
        return self._named("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[ag.Tensor]:
        """All buffers, each once."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The module at a path such as "encoder.0"."""
        module = self
        for name in target.split(".") if target else ():
            child = module._modules.get(name)
            if child is None:
                raise AttributeError(f"get_submodule: {target!r}: {type(module).__name__} has no module {name!r}")
            module = child
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a path such as "encoder.0.weight"."""
        path, _, name = target.rpartition(".")
        param = self.get_submodule(path)._parameters.get(name)
        if param is None:
            raise AttributeError(f"get_parameter: {target!r}: no such parameter")
        return param

    # -- changing all of it --

    def apply(self: _M, fn: Callable[[Module], Any]) -> _M:
        """Call fn on every module, children first."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def train(self: _M, mode: bool = True) -> _M:
        """Set training mode: dropout drops and batch normalisation uses the batch."""
        for m in self.modules():
            object.__setattr__(m, "training", bool(mode))
        return self

    def eval(self: _M) -> _M:
        """Leave training mode."""
        return self.train(False)

    def requires_grad_(self: _M, requires_grad: bool = True) -> _M:
        """Set whether all parameters are trained."""
        for p in self.parameters():
            p.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop all gradients, or fill them with zeros."""
        for p in self.parameters():
            clear_grad(p, set_to_none)

    def to(self: _M, *args: Any, dtype: Any = None, device: Any = None) -> _M:
        """Convert float parameters and buffers to a dtype, and bring all of them to a device, in place."""
        from .._device import parse_to

        wanted, where = parse_to(args, dtype, device)
        if wanted is not None:
            if not is_float(wanted):
                raise TypeError(f"to: dtype: expected a float dtype, got {wanted}")
            self._convert(wanted)
        if where is not None:
            self._move(where)
        return self

    def _move(self, where: Any) -> None:
        from .._device import place

        for p in self.parameters():
            p.move(where)
        for m in self.modules():
            for name, b in m._buffers.items():
                if b is not None and b.device.type != where.type:
                    m._buffers[name] = ag.wrap(place(b._data, where))

    def float(self: _M) -> _M:
        """Convert to float32."""
        return self.to(np.dtype(np.float32))

    def half(self: _M) -> _M:
        """Convert to float16."""
        return self.to(np.dtype(np.float16))

    def bfloat16(self: _M) -> _M:
        """Convert to bfloat16."""
        return self.to("bfloat16")

    def double(self: _M) -> _M:
        """Convert to float64."""
        return self.to(np.dtype(np.float64))

    def cpu(self: _M) -> _M:
        """Bring all parameters and buffers to the host's memory."""
        return self.to("cpu")

    def cuda(self: _M, device: Any = None) -> _M:
        """Bring all parameters and buffers to a GPU."""
        return self.to("cuda" if device is None else device)

    def _convert(self, dtype: np.dtype) -> None:
        for p in self.parameters():
            if is_float(p.dtype) and p.dtype != dtype:
                p.assign(p._data.astype(dtype))
        for m in self.modules():
            for name, b in m._buffers.items():
                if b is not None and is_float(b.dtype) and b.dtype != dtype:
                    m._buffers[name] = ag.wrap(b._data.astype(dtype))

    # -- saving --

    def state_dict(
        self, *, destination: dict[str, Any] | None = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, ag.Tensor]:
        """All parameters and persistent buffers by path; the tensors share their memory.

        Parameters
        ----------
        destination : dict, optional
            Where to put them.
        prefix : str
            What the paths begin with.
        keep_vars : bool
            The parameters themselves, rather than tensors detached from them.
        """
        state: dict[str, ag.Tensor] = OrderedDict() if destination is None else destination
        for path, module in self.named_modules(prefix=prefix.rstrip("."), remove_duplicate=False):
            for name, t in module._state():
                state[f"{path}.{name}" if path else name] = t if keep_vars else t.detach()
        return state

    def _state(self) -> Iterator[tuple[str, ag.Tensor]]:
        for name, p in self._parameters.items():
            if p is not None:
                yield name, p
        for name, b in self._buffers.items():
            if b is not None and name not in self._transient:
                yield name, b

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Copy values into parameters and buffers.

        Parameters
        ----------
        state_dict : mapping of str to Tensor or array
            Values by path, as `state_dict` gives them.
        strict : bool
            Whether missing and unexpected names are errors.
        assign : bool
            Take the given tensors themselves, dtypes included, rather than copying their values. An optimizer made
            before keeps its hold on the parameters, whose state it has then to be given anew where a dtype changed.

        Returns
        -------
        tuple
            `missing_keys` and `unexpected_keys`.

        Raises
        ------
        RuntimeError
            For missing and unexpected names if `strict`, and for shapes that differ.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"load_state_dict: state_dict: expected a dict, got {type(state_dict).__name__}")
        own: dict[str, tuple[Module, str, ag.Tensor]] = {}
        for path, module in self.named_modules(remove_duplicate=False):
            for name, t in module._state():
                own[f"{path}.{name}" if path else name] = module, name, t
        missing = [k for k in own if k not in state_dict and not self._may_lack(k, state_dict)]
        unexpected = [k for k in state_dict if k not in own]
        errors = []
        if strict and missing:
            errors.append(f"Missing key(s) in state_dict: {_quoted(missing)}. ")
        if strict and unexpected:
            errors.append(f"Unexpected key(s) in state_dict: {_quoted(unexpected)}. ")
        arrays = {k: ag.as_array(state_dict[k]) for k in own if k in state_dict}
        for k, a in arrays.items():
            have = own[k][2].shape
            if a.shape != have:
                errors.append(
                    f"size mismatch for {k}: copying a param with shape {_size(a.shape)} from checkpoint, "
                    f"the shape in current model is {_size(have)}."
                )
            elif assign and (is_float(a.dtype)) != (is_float(own[k][2].dtype)):
                errors.append(f"{k}: expected {own[k][2].dtype}, got {a.dtype}.")
        if errors:
            raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t" + "\n\t".join(errors))
        for k, a in arrays.items():
            module, name, t = own[k]
            if not assign:
                t._data[...] = a
                ag.written(t)
            elif isinstance(t, Parameter):
                structure_changed()
                t.replace(a)
            else:
                given = state_dict[k]
                module._buffers[name] = given.detach() if isinstance(given, ag.Tensor) else ag.wrap(a)
        return _IncompatibleKeys(missing, unexpected)

    def _may_lack(self, key: str, state_dict: Mapping[str, Any]) -> bool:
        """Whether a name was not yet there in the PyTorch that wrote the state."""
        path, _, name = key.rpartition(".")
        if name != "num_batches_tracked":
            return False
        versions = getattr(state_dict, "_metadata", None)
        known = versions.get(path) if isinstance(versions, Mapping) else None
        version = known.get("version") if isinstance(known, Mapping) else None
        return version is None or version < 2

    # -- printing --

    def _repr_html_(self) -> str:
        from .._summary import module_html

        return module_html(self)

    def extra_repr(self) -> str:
        """What stands between the parentheses when the module is printed."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        children = []
        for name, child in self._modules.items():
            body = repr(child).split("\n")
            children.append("\n".join([f"({name}): {body[0]}", *("  " + line for line in body[1:])]))
        if not children and len(lines) <= 1:
            return f"{self._get_name()}({extra})"
        return f"{self._get_name()}(\n  " + "\n  ".join(lines + children) + "\n)"


class _Hook:
    """A function that is called before or after a module's forward."""

    def __init__(self, function: Callable[..., Any], with_kwargs: bool, always: bool = False) -> None:
        self.function, self.with_kwargs, self.always = function, with_kwargs, always

    def change(self, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The arguments as the function wants them."""
        if not self.with_kwargs:
            changed = self.function(module, args)
            return (args if changed is None else changed if isinstance(changed, tuple) else (changed,)), kwargs
        changed = self.function(module, args, kwargs)
        if changed is None:
            return args, kwargs
        if not (isinstance(changed, tuple) and len(changed) == 2):
            raise RuntimeError(
                f"register_forward_pre_hook: hook: expected None or (args, kwargs), got {short(changed)}"
            )
        return changed

    def __call__(self, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Any:
        return self.function(module, args, kwargs, out) if self.with_kwargs else self.function(module, args, out)


def _add_hook(hooks: dict[int, Any], hook: Any, first: bool = False) -> _Handle:
    structure_changed()
    key = max(hooks, default=-1) + 1
    before = dict(hooks) if first else {}
    for k in before:
        del hooks[k]
    hooks[key] = hook
    hooks.update(before)
    return _Handle(hooks, key)


def clear_grad(param: ag.Tensor, set_to_none: bool) -> None:
    """Drop a gradient, or fill it with zeros."""
    leaf = getattr(param, "physical", param)
    if set_to_none:
        leaf._grad = None
    elif leaf._grad is not None:
        leaf._grad.fill(0)
