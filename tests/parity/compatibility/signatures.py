"""What public names take: signatures, also those that hide behind *args, **kwargs or native code."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from functools import cache
from typing import Any

EMPTY = inspect.Parameter.empty
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

Parameters = dict[str, inspect.Parameter]


@cache
def source_tree(function: Any) -> ast.FunctionDef | None:
    """The source of a function, parsed."""
    try:
        source = textwrap.dedent(inspect.getsource(inspect.unwrap(function)))
        node = ast.parse(source).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):
        return None
    return node if isinstance(node, ast.FunctionDef) else None


def _written(name: str, doc: str | None, first: bool = False) -> Parameters | None:
    """A signature that stands in the documentation (at its beginning, if `first`): native functions have no other."""
    for match in re.finditer(rf"(?:{re.escape(name)}|__init__)\s*(\([^)]*(?:\([^)]*\)[^)]*)*\))", doc or ""):
        if first and (doc or "")[: match.start()].strip():
            break
        try:
            spec = ast.parse(f"def f{match[1]}: pass").body[0]
        except SyntaxError:
            continue
        assert isinstance(spec, ast.FunctionDef)
        args, defaults = spec.args.posonlyargs + spec.args.args, spec.args.defaults
        values = [EMPTY] * (len(args) - len(defaults)) + [_literal(d) for d in defaults]
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        found = {a.arg: inspect.Parameter(a.arg, kind, default=v) for a, v in zip(args, values, strict=True)}
        for a, d in zip(spec.args.kwonlyargs, spec.args.kw_defaults, strict=True):
            value = EMPTY if d is None else _literal(d)
            found[a.arg] = inspect.Parameter(a.arg, inspect.Parameter.KEYWORD_ONLY, default=value)
        found.pop("self", None)
        return found
    return None


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)


def _only_variable(found: Parameters) -> bool:
    return bool(found) and all(p.kind in VARIABLE for p in found.values())


def _of_function(name: str, function: Any, module: Any) -> Parameters:
    try:
        found = dict(inspect.signature(function).parameters)
    except (ValueError, TypeError):
        return _written(name, function.__doc__) or {}
    if _only_variable(found):
        for other in (f"{name}_with_indices", f"_{name}"):  # what a dispatching function chooses from
            if hasattr(module, other):
                return dict(inspect.signature(getattr(module, other)).parameters)
        return _written(name, function.__doc__) or found
    return found


def _handed_up(init: Any, above: list[str]) -> set[str]:
    """Arguments that `super().__init__` gets by name or place, so that a caller cannot give them."""
    tree = source_tree(init)
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "super().__init__":
            places = [a for a in node.args if not isinstance(a, ast.Starred)]
            return {*above[: len(places)], *(k.arg for k in node.keywords if k.arg)}
    return set()


def _of_class(name: str, cls: type) -> Parameters:
    chain = [c for c in cls.__mro__ if "__init__" in vars(c) and c is not object]
    return _of_inits(name, chain, cls.__doc__) if chain else {}


def _of_inits(name: str, chain: list[type], doc: str | None) -> Parameters:
    """The parameters of the first `__init__`, with those that its **kwargs reach further up."""
    init = vars(chain[0])["__init__"]
    found = dict(list(inspect.signature(init).parameters.items())[1:])
    if _only_variable(found) and len(found) == 2 and (written := _written(name, doc, first=True)):
        return written
    variable = [p.kind for p in found.values() if p.kind in VARIABLE]
    found = {k: p for k, p in found.items() if p.kind not in VARIABLE}
    if variable and len(chain) > 1:
        above = _of_inits(name, chain[1:], None)
        bound = _handed_up(init, list(above))
        by_place = inspect.Parameter.VAR_POSITIONAL in variable
        for key, p in above.items():
            if key not in found and key not in bound:
                found[key] = p if by_place else p.replace(kind=inspect.Parameter.KEYWORD_ONLY)
    elif inspect.Parameter.VAR_POSITIONAL in variable:
        found["*"] = inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL)
    return found


def parameters(name: str, value: Any, module: Any) -> Parameters:
    """What a public name takes, `self` left out."""
    if inspect.isclass(value):
        found = _of_class(name, value)
    else:
        found = _of_function(name, value, module)
        if "." in name:
            found.pop("self", None)
    return {k: p for k, p in found.items() if p.kind not in VARIABLE}
