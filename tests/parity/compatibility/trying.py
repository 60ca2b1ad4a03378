"""Whether arguments have an effect, or are refused."""

from __future__ import annotations

import ast
import inspect
import re
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import lamella

from .cases import PLAIN, REQUIRED
from .signatures import EMPTY, Parameters, source_tree

_SHOWN = ("get_config", "extra_repr", "__repr__", "__getstate__")


@cache
def _read_attributes() -> frozenset[str]:
    """All attributes that Lamella reads, other than to show them."""
    found: set[str] = set()

    class Reader(ast.NodeVisitor):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
            if node.name not in _SHOWN:
                self.generic_visit(node)

        def visit_Attribute(self, node: ast.Attribute) -> None:
            if isinstance(node.ctx, ast.Load):
                found.add(node.attr)
            self.generic_visit(node)

    for file in Path(lamella.__file__).parent.rglob("*.py"):
        Reader().visit(ast.parse(file.read_text()))
    return frozenset(found)


@cache
def _nodes(tree: ast.FunctionDef) -> list[ast.AST]:
    return list(ast.walk(tree))


def _kept_as(tree: ast.FunctionDef, name: str) -> tuple[bool, set[str]]:
    """Whether a function uses an argument, and as which attributes it keeps it."""
    used, kept = False, set()
    plain: set[int] = set()
    for node in _nodes(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                sides = (
                    zip(target.elts, node.value.elts, strict=True)
                    if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
                    else [(target, node.value)]
                )
                for left, right in sides:
                    if isinstance(left, ast.Attribute) and isinstance(right, ast.Name) and right.id == name:
                        kept.add(left.attr)
                        plain.add(id(right))
    for node in _nodes(tree):
        if isinstance(node, ast.Name) and node.id == name and id(node) not in plain and isinstance(node.ctx, ast.Load):
            used = True
    return used, kept


def _takes(tree: ast.FunctionDef, name: str) -> bool:
    """Whether an argument is written in a signature, rather than taken out of **kwargs."""
    return name in {a.arg for a in (*tree.args.posonlyargs, *tree.args.args, *tree.args.kwonlyargs)}


def is_used(value: Any, name: str) -> bool:
    """Whether an argument has any effect, as far as the source tells."""
    if not inspect.isclass(value):
        tree = source_tree(value)
        if tree is None or not _takes(tree, name):
            return True
        used, kept = _kept_as(tree, name)
        return used or bool(kept & _read_attributes())
    for cls in value.__mro__:
        init = vars(cls).get("__init__")
        if init is None or cls is object or name not in inspect.signature(init).parameters:
            continue
        tree = source_tree(init)
        if tree is None or not _takes(tree, name):
            break
        used, kept = _kept_as(tree, name)
        return used or bool(kept & _read_attributes())
    return True  # taken out of **kwargs by name


def _given(table: dict[str, Any], owner: str, name: str) -> Any:
    value = table.get(f"{owner}.{name}", table.get(name, EMPTY))
    return value() if callable(value) and getattr(value, "__name__", "") == "<lambda>" else value


def _another(owner: str, name: str, default: Any) -> Any:
    """A value that is not the default."""
    value = _given(PLAIN, owner, name)
    if value is not EMPTY:
        return value
    if isinstance(default, bool):
        return not default
    if isinstance(default, int):
        return default + 1
    if isinstance(default, float):
        return default / 2 if default else 0.25
    return EMPTY


def try_argument(owner: str, value: Any, found: Parameters, name: str, default: Any) -> str:
    """What came of giving the argument: "taken", "refused", or an error. Without an example of the others, and for
    values that are wrong for other reasons, an argument of the signature counts as taken.
    """
    other = _another(owner, name, default)
    kwargs = {k: _given(REQUIRED, owner, k) for k, p in found.items() if p.default is EMPTY and k != name}
    if name in found and (other is EMPTY or any(v is EMPTY for v in kwargs.values())):
        return "taken"
    kwargs = {k: v for k, v in kwargs.items() if v is not EMPTY}
    more = _given(REQUIRED, owner, "*")
    kwargs.update({} if more is EMPTY else more)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value(**{**kwargs, name: None if other is EMPTY else other})
    except NotImplementedError as e:
        return "refused" if name in str(e) else "taken"
    except Exception as e:
        if re.search(r"unexpected keyword|multiple values|unknown argument|takes no arguments|CUDA", str(e)):
            return "refused"
        return "taken" if name in found else f"{type(e).__name__}: {e}"
    return "taken"
