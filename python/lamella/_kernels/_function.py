"""How a raw function and its gradient are made from one description of what they run."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy import ndarray

from .. import _cpu
from .._dtypes import is_float
from .._errors import short
from ._call import an_array, as_arrays, op, run_arrays, run_backward

MAYBE = "np.ndarray | None"  # annotations, as strings


class Several(list[Any]):
    """An argument that is a sequence of arrays, each an input of its own."""


class Call:
    """What a function runs.

    Parameters
    ----------
    name, attrs
        The op.
    inputs : dict
        The op's inputs in its order, by the names of the function's arguments.
    training : bool
        Whether the function itself runs in training mode; gradients always do.
    saved : list of ndarray, optional
        What forward would save, where that is known beforehand.
    once : bool
        Whether a second run would give something else.
    """

    __slots__ = ("attrs", "inputs", "name", "once", "saved", "training")

    def __init__(
        self,
        name: str,
        attrs: dict[str, Any],
        inputs: dict[str, Any],
        training: bool = False,
        saved: list[np.ndarray] | None = None,
        once: bool = False,
    ) -> None:
        self.name, self.attrs, self.inputs = name, attrs, inputs
        self.training, self.saved, self.once = training, saved, once

    def arrays(self) -> list[np.ndarray | None]:
        """The op's inputs, one after the other."""
        flat: list[np.ndarray | None] = []
        for x in self.inputs.values():
            if x is None or isinstance(x, np.ndarray):
                flat.append(x)
            elif isinstance(x, Several):
                flat += as_arrays(x)
            else:
                flat.append(an_array(x))
        return flat


class Rule:
    """By which arguments a function is differentiated, and how its gradients are asked for and come back."""

    def __init__(self, name: str, by: tuple[str, ...], several: bool) -> None:
        self.name, self.by, self.several = name, by, several

    def asked(self, call: Call, arrays: Sequence[Any], wanted: Any, out: Any) -> tuple[list[bool], list[Any] | None]:
        """Which gradients are wanted, and where they go, as one entry per input of the op."""
        names: Sequence[str] = self.by if wanted is None else [wanted] if isinstance(wanted, str) else wanted
        if wanted is not None and not set(names) <= set(self.by):
            known = ", ".join(repr(n) for n in self.by)
            raise ValueError(f"{self.name}: wanted: expected names among {known}, got {short(wanted)}")
        flags, flat = [False] * len(arrays), [None] * len(arrays)
        given = dict.fromkeys(self.by)
        if out is not None:
            listed = self._listed(out, len(self.by), "one per gradient") if len(self.by) > 1 else [out]
            given = dict(zip(self.by, listed, strict=True))
        at = 0
        for name, x in call.inputs.items():
            n = len(x) if isinstance(x, Several) else 1
            if name in given:
                flags[at : at + n] = [name in names] * n
                where = given.pop(name)
                if isinstance(x, Several) and where is not None:
                    where = self._listed(where, n, f"one for each of {name}")
                    flat[at : at + n] = where
                elif where is not None:
                    flat[at] = where
            at += n
        for name, where in given.items():
            if where is not None:
                raise ValueError(f"{self.name}: out: expected None for {name}, which is not given, got an array")
        return flags, None if out is None else flat

    def _listed(self, out: Any, n: int, what: str) -> list[Any]:
        if not isinstance(out, (list, tuple)):
            raise TypeError(f"{self.name}: out: expected a tuple of {n} arrays or None, got {type(out).__name__}")
        if len(out) != n:
            raise ValueError(f"{self.name}: out: expected {n} arrays or None, {what}, got {len(out)}")
        return list(out)

    def grads(self, grad: Any, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray | None]:
        """The gradients by the outputs; a number takes the dtype of the inputs."""
        if self.several:
            if not isinstance(grad, (list, tuple)):
                kind = type(grad).__name__
                raise TypeError(f"{self.name}: grad: expected a list of one array or None per result, got {kind}")
            return as_arrays(grad)
        if isinstance(grad, (int, float)):
            dtypes = (x.dtype for x in arrays if x is not None and is_float(x.dtype))
            return [np.asarray(grad, next(dtypes, None))]
        return as_arrays([grad])

    def result(self, grads: list[Any], call: Call) -> Any:
        found = dict.fromkeys(self.by)
        at = 0
        for name, x in call.inputs.items():
            n = len(x) if isinstance(x, Several) else 1
            if name in found:
                part = grads[at : at + n]
                found[name] = (
                    part[0] if not isinstance(x, Several) else part if any(g is not None for g in part) else None
                )
            at += n
        return found[self.by[0]] if len(found) == 1 else tuple(found.values())


def kernel(
    build: Callable[..., Call] | None = None,
    *,
    several: bool = False,
    in_place: str | None = None,
    forward: Callable[[Call], Call] | None = None,
) -> Any:
    """Make the function that runs what `build` describes, with a further argument `out`.

    Parameters
    ----------
    build : callable
        Has the function's name, arguments and docstring (without `out`), and returns a `Call`.
    several : bool
        The result is a list of arrays, be it of one.
    in_place : str, optional
        The array that `out` may be.
    forward : callable, optional
        A cheaper way to the same result, for calls that are not to be differentiated.
    """
    if build is None:
        return lambda function: kernel(function, several=several, in_place=in_place, forward=forward)
    described = build

    shortcuts = _cpu.Shortcuts()
    shortcut = shortcuts.call

    def function(*args: Any, out: Any = None, **kwargs: Any) -> Any:
        result = shortcut(args, kwargs, out)
        if result is not None and result is not NotImplemented:
            return result
        call = described(*args, **kwargs)
        if result is NotImplemented:
            known = None if several else _shortcut(described, args, kwargs)
            shortcuts.learn(args, kwargs, *(known or (None, None)))
        if forward is not None:
            call = forward(call)
        return run_arrays(call.name, call.attrs, call.arrays(), out, call.training, several)

    text, parameters, returns = _sections(build.__doc__)
    also = f"; may be `{in_place}` itself" if in_place else ""
    entry = f"out : {'list of ndarray or None' if several else 'ndarray'}, optional\n    Where to put the result{also}."
    out_type, kind = ("Sequence[np.ndarray | None] | None", "list[np.ndarray]") if several else (MAYBE, "np.ndarray")
    own = list(inspect.signature(build).parameters.values())
    signature = _signature(own, [], [("out", out_type)], kind)
    _describe(function, build, build.__name__, signature, text, [parameters, entry], returns)
    made: Any = function
    made.__wrapped__, made.own, made.several = build, own, several
    made.shortcuts = shortcuts
    return made


class _Blind:
    """Stands for an array, and tells nothing about it."""

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise TypeError("what is run depends on the array")

    __array__ = __bool__ = __eq__ = __len__ = __iter__ = __getattr__ = _refuse
    __hash__ = None  # type: ignore[assignment]


def _shortcut(build: Callable[..., Call], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """(the op, which arguments it takes) for calls with these settings, whatever the arrays are.

    There is one if the builder does its work on objects that nothing can be learned from, and hands them on.
    """
    given = [*args, *kwargs.values()]
    blind = [_Blind() if type(a) is ndarray else a for a in given]
    n = len(args)
    try:
        call = build(*blind[:n], **dict(zip(kwargs, blind[n:], strict=True)))
    except Exception:  # it asks something of an array; what is wrong otherwise, the real call will say
        return None
    if call.training or call.once:
        return None
    order = []
    for x in call.inputs.values():
        at = [i for i, a in enumerate(blind) if a is x and a is not given[i]]
        if x is not None and not at:
            return None
        order.append(at[0] if at else None)
    return op(call.name, call.attrs), order


def gradient(function: Any, *by: str, y: bool = False, note: str = "") -> Any:
    """Make the gradient of a `kernel`: it takes the gradient by the result, then the kernel's own arguments.

    Parameters
    ----------
    function : callable
        Made by `kernel`.
    by : str
        The arguments that it is differentiated by. Of one alone the gradient comes bare, else all come in a tuple.
    y : bool
        The op's backward reads the result and saves nothing beside it, so that callers may pass it.
    note : str
        For the docstring.
    """
    build: Callable[..., Call] = function.__wrapped__
    several: bool = function.several
    name = f"{function.__name__}_backward"
    rule = function.rule = Rule(name, by, several)

    def backward(grad: Any, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        wanted = kwargs.pop("wanted", None) if len(by) > 1 else None
        result = kwargs.pop("y", None) if y else None
        call = build(*args, **kwargs)
        if call.once:
            raise ValueError(f"{name}: key: expected the key of the forward call (`vjp` needs none), got None")
        arrays = call.arrays()
        flags, places = rule.asked(call, arrays, wanted, out)
        given = None if result is None else [result]
        grads = rule.grads(grad, arrays)
        return rule.result(run_backward(call.name, call.attrs, arrays, grads, flags, places, given, call.saved), call)

    _, parameters, returns = _sections(build.__doc__)
    kind = returns.splitlines()[0] if returns else ""
    scalar = "scalar" in returns
    if several:
        entries = ["grad : sequence of ndarray or None\n    The gradient by each array of the result; None is zero."]
    else:
        number = "; a number for a scalar" if scalar else ""
        entries = [f"grad : {kind}\n    The gradient by the result{number}."]
    entries.append(parameters)
    keywords = []
    if y:
        entries.append(f"y : {kind}, optional\n    The result, where at hand: else it is computed again.")
        keywords.append(("y", MAYBE))
    lists = [n for n in by if "Sequence" in str(build.__annotations__.get(n))]
    names = by[0] if len(by) == 1 else f"{', '.join(by[:-1])} and {by[-1]}"
    if len(by) > 1:
        entries += [
            "wanted : str or sequence of str, optional\n"
            + _indented(f"Which gradients to compute, among {', '.join(repr(n) for n in by)}; all of them if None."),
            "out : tuple of ndarray or None, optional\n    Where to put the gradients; a new array where None.",
        ]
        keywords += [("wanted", "str | Sequence[str] | None"), ("out", "Sequence[Any] | None")]
        made = "tuple[Any, ...]" if lists else "tuple[np.ndarray | None, ...]"
        as_list = f", a list for {lists[0]}" if lists else ""
        returns = "tuple of ndarray or None\n" + _indented(
            f"The gradients by {names}, each of its argument's shape and dtype{as_list}; None for what is not given or "
            "not wanted."
        )
    elif lists:
        entries.append("out : list of ndarray or None, optional\n    Where to put the gradients.")
        keywords.append(("out", "Sequence[np.ndarray | None] | None"))
        made, returns = "list[np.ndarray]", f"list of ndarray\n    One for each of {names}, of its shape and dtype."
    else:
        entries.append("out : ndarray, optional\n    Where to put the gradient.")
        keywords.append(("out", MAYBE))
        made, returns = "np.ndarray", f"ndarray\n    Of the shape and dtype of {names}."
    text = f"The gradient{'s' if len(by) > 1 else ''} of `{function.__name__}` by {names}."
    first = ("grad", "Sequence[np.ndarray | None]" if several else "np.ndarray | float" if scalar else "np.ndarray")
    signature = _signature(function.own, [first], keywords, made)
    _describe(backward, build, name, signature, f"{text}\n\n{note}" if note else text, entries, returns)
    return backward


def _signature(
    own: list[inspect.Parameter], first: list[tuple[str, str]], last: list[tuple[str, str]], returns: str
) -> inspect.Signature:
    """A builder's own parameters after `first` and before the keywords `last`, which default to None."""
    P = inspect.Parameter
    end = len(own) - (1 if own and own[-1].kind is P.VAR_KEYWORD else 0)
    before = [P(name, P.POSITIONAL_OR_KEYWORD, annotation=kind) for name, kind in first]
    after = [P(name, P.KEYWORD_ONLY, default=None, annotation=kind) for name, kind in last]
    return inspect.Signature([*before, *own[:end], *after, *own[end:]], return_annotation=returns)


def _sections(doc: str | None) -> tuple[str, str, str]:
    """A docstring's text, parameters and results."""
    text, _, rest = inspect.cleandoc(doc or "").partition("\n\nParameters\n----------\n")
    parameters, _, returns = rest.partition("\n\nReturns\n-------\n")
    return text, parameters, returns


def _indented(text: str) -> str:
    return textwrap.fill(text, 112, initial_indent="    ", subsequent_indent="    ")


def _describe(
    function: Any,
    build: Callable[..., Call],
    name: str,
    signature: inspect.Signature,
    text: str,
    parameters: list[str],
    returns: str,
) -> None:
    function.__name__ = function.__qualname__ = name
    function.__module__ = build.__module__
    function.__signature__ = signature
    if build.__doc__:
        entries = "\n".join(p for p in parameters if p)
        function.__doc__ = f"{text}\n\nParameters\n----------\n{entries}\n\nReturns\n-------\n{returns}\n"
