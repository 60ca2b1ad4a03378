"""Models as tables: `Model.summary` in Keras' form, and the same for notebooks."""

from __future__ import annotations

import html
import math
import re
import shutil
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ._errors import short
from .layers._structures import flatten
from .layers._symbolic import KerasTensor

__all__ = ["model_html", "module_html", "print_summary"]


class Row(NamedTuple):
    """What is shown of a layer."""

    name: str
    kind: str
    shape: str
    params: str
    connected: str
    trainable: str
    level: int


def _kind(layer: Any) -> str:
    return "Functional" if getattr(layer, "_graph", None) is not None else type(layer).__name__


def _is_model(layer: Any) -> bool:
    return hasattr(layer, "_named_layers")


def _shape(layer: Any) -> str:
    if layer._calls:
        shapes = [str(t.shape) for t in layer._calls[-1].outputs]
    elif getattr(layer, "_last", None) is not None:  # a Sequential that knows its input
        shapes = [str(layer._last.shape)]
    elif layer.__dict__.get("_build_shape") is not None:
        try:
            found = layer.compute_output_shape(layer._build_shape)
        except (NotImplementedError, TypeError, ValueError):
            return "?"
        shapes = [str(s) for s in (found if isinstance(found, list) else [found])]
    else:
        return "?"
    return shapes[0] if len(shapes) == 1 else f"[{', '.join(shapes)}]"


def _sources(call: Any) -> list[Any]:
    return [t for t in flatten([list(call.args), call.kwargs]) if isinstance(t, KerasTensor)]


def _is_chain(graph: Any) -> bool:
    """Whether each layer takes the one output of the layer before, and none is used twice."""
    if len(graph.inputs) != 1 or len({id(c.layer) for c in graph.calls}) != len(graph.calls):
        return False
    last = graph.inputs[0]
    for call in graph.calls:
        sources = _sources(call)
        if len(sources) != 1 or sources[0] is not last or len(call.outputs) != 1:
            return False
        last = call.outputs[0]
    return True


def _connections(layer: Any, graph: Any, names: dict[int, str]) -> str:
    found = []
    inside = {id(c) for c in graph.calls}
    for call in layer._calls:
        if id(call) not in inside:
            continue
        for t in _sources(call):
            if t.call is None:
                found.append(t.name)
                continue
            node = next(i for i, c in enumerate(t.layer._calls) if c is t.call)
            place = next(i for i, o in enumerate(t.call.outputs) if o is t)
            found.append(f"{names.get(id(t.layer), t.layer.name)}[{node}][{place}]")
    return ", ".join(found) or "-"


def rows(model: Any, expand_nested: bool = False, connected: bool = False, layer_range: Any = None) -> list[Row]:
    """A row per layer, in order."""
    named = model._named_layers()
    if layer_range is not None:
        named = _range(named, layer_range)
    found: list[Row] = []

    def add(name: str, layer: Any, level: int, names: dict[int, str]) -> None:
        has_weights = any(True for _ in layer.parameters())
        params = f"{layer.count_params():,}" if layer.built else "0 (unbuilt)"
        links = _connections(layer, model._graph, names) if connected and level == 0 else "-" if connected else ""
        trained = ("Y" if layer.trainable else "N") if has_weights else "-"
        found.append(Row(name, _kind(layer), _shape(layer), params, links, trained, level))
        if expand_nested and _is_model(layer):
            for inner, part in layer._named_layers():
                add(inner, part, level + 1, {})

    names = model._names()
    for name, layer in named:
        add(name, layer, 0, names)
    return found


def _range(named: list[tuple[str, Any]], layer_range: Any) -> list[tuple[str, Any]]:
    if (
        not isinstance(layer_range, (list, tuple))
        or len(layer_range) != 2
        or not all(isinstance(n, str) for n in layer_range)
    ):
        raise ValueError(f"summary: layer_range: expected two names or patterns, got {short(layer_range)}")
    first = [i for i, (n, _) in enumerate(named) if re.match(layer_range[0], n)]
    last = [i for i, (n, _) in enumerate(named) if re.match(layer_range[1], n)]
    if not first or not last:
        raise ValueError(f"summary: layer_range: expected names of layers, got {short(layer_range)}")
    begin, end = min(first), max(last)
    return named[min(begin, end) : max(begin, end) + 1]


def memory(size: float) -> str:
    """Bytes in a readable unit."""
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if size < 1024:
            return f"{size:.2f} {unit}"
        size /= 1024
    return f"{size:.2f} PB"


def totals(model: Any) -> list[tuple[str, int, int]]:
    """(what, elements, bytes) of all weights, those that are trained, and the others; of an optimizer with state."""
    weights = list(model._named_weights())

    def count(what: str, params: Sequence[Any]) -> tuple[str, int, int]:
        return what, sum(math.prod(p.shape) for p in params), sum(p._data.nbytes for p in params)

    trained = count("Trainable params", [p for _, p, t in weights if t])
    fixed = count("Non-trainable params", [p for _, p, t in weights if not t])
    found = [trained, fixed]
    states = [a for _, arrays in getattr(getattr(model, "optimizer", None), "_states", {}).values() for a in arrays]
    if states:
        found.append(("Optimizer params", sum(a.size for a in states), sum(a.nbytes for a in states)))
    return [("Total params", sum(n for _, n, _ in found), sum(b for _, _, b in found)), *found]


def print_summary(
    model: Any,
    line_length: int | None = None,
    positions: Sequence[float] | None = None,
    print_fn: Callable[[str], Any] | None = None,
    expand_nested: bool = False,
    show_trainable: bool = False,
    layer_range: Any = None,
) -> None:
    """Print the table of `Model.summary`."""
    show = print_fn or print
    graph = getattr(model, "_graph", None)
    connected = graph is not None and not _is_chain(graph)
    heads = ["Layer (type)", "Output Shape", "Param #"]
    aligns = ["left", "left", "right"]
    places = list(positions or ([0.3, 0.56, 0.74, 1.0] if connected else [0.45, 0.8, 1.0]))
    usual = 108 if connected else 88
    if connected:
        heads.append("Connected to")
        aligns.append("left")
    if show_trainable:
        heads.append("Trainable")
        aligns.append("center")
        usual += 12
        places = [p * 0.9 for p in places] + [1.0]
    if len(places) != len(heads) or not all(isinstance(p, (int, float)) for p in places):
        raise ValueError(f"summary: positions: expected {len(heads) - show_trainable} numbers, got {short(positions)}")
    length = line_length or min(usual, shutil.get_terminal_size().columns - 4)
    widths = _widths(places, length)

    show(f'Model: "{model.name}"')
    cells = []
    for r in rows(model, expand_nested, connected, layer_range):
        prefix = "   " * r.level + "└ " if r.level else ""
        line = [f"{prefix}{r.name} ({r.kind})", r.shape, r.params]
        cells.append(line + ([r.connected] if connected else []) + ([r.trainable] if show_trainable else []))
    for drawn in _table(heads, cells, widths, aligns):
        show(drawn)
    for what, elements, size in totals(model):
        show(f" {what}: {elements:,} ({memory(size)})")


def _widths(places: Sequence[float], length: int) -> list[int]:
    """The widths of the columns, padding included, such that they and the rules between them take up the length."""
    ends = [int(p * length) for p in places]
    widths = [end - begin + 2 for begin, end in zip([0, *ends], ends, strict=False)]
    if any(w < 6 for w in widths):
        raise ValueError(f"summary: line_length: expected room for {len(places)} columns, got {length}")
    excess = sum(widths) + len(widths) + 1 - length
    for i in range(len(widths)):
        share = round(excess / (len(widths) - i))
        widths[i] -= share
        excess -= share
    return widths


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in re.findall(r"\s*\S+\s*", text):
        if lines[-1] and len(lines[-1]) + len(word.rstrip()) > width:
            lines.append("")
        lines[-1] += word
    lines = [line.rstrip() for line in lines]
    return [line if len(line) <= width else line[: width - 1] + "…" for line in lines]


def _table(heads: list[str], cells: list[list[str]], widths: list[int], aligns: list[str]) -> list[str]:
    justify: dict[str, Callable[[str, int], str]] = {"left": str.ljust, "right": str.rjust, "center": _centered}

    def rule(left: str, line: str, middle: str, right: str) -> str:
        return left + middle.join(line * w for w in widths) + right

    def lines(row: list[str], edge: str) -> list[str]:
        wrapped = [_wrapped(c, w - 2) for c, w in zip(row, widths, strict=True)]
        out = []
        for i in range(max(map(len, wrapped))):
            parts = [
                f" {justify[a](part[i] if i < len(part) else '', w - 2)} "
                for part, w, a in zip(wrapped, widths, aligns, strict=True)
            ]
            out.append(edge + edge.join(parts) + edge)
        return out

    out = [rule("┏", "━", "┳", "┓"), *lines(heads, "┃"), rule("┡", "━", "╇", "┩")]
    for i, row in enumerate(cells):
        if i:
            out.append(rule("├", "─", "┼", "┤"))
        out += lines(row, "│")
    out.append(rule("└", "─", "┴", "┘"))
    return out


def _centered(text: str, width: int) -> str:
    left = (width - len(text)) // 2
    return (" " * left + text).ljust(width)


# --- notebooks ---------------------------------------------------------------------------------------------------


def html_table(heads: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """A table; the columns in `right` hold numbers."""

    def row(tag: str, items: Sequence[str]) -> str:
        styles = ["right" if i in right else "left" for i in range(len(items))]
        return "<tr>" + "".join(
            f'<{tag} style="text-align:{s}">{html.escape(c)}</{tag}>' for c, s in zip(items, styles, strict=True)
        ) + "</tr>"  # fmt: skip

    body = "".join(row("td", c) for c in cells)
    return f"<table><thead>{row('th', heads)}</thead><tbody>{body}</tbody></table>"


def model_html(model: Any) -> str:
    """A model's layers and weights."""
    cells = [
        ["\u2003" * r.level + r.name, r.kind, r.shape, r.params, {"Y": "yes", "N": "no"}.get(r.trainable, "")]
        for r in rows(model, expand_nested=True)
    ]
    table = html_table(["Layer", "Type", "Output shape", "Params", "Trainable"], cells, right=(3,))
    sums = ", ".join(f"{what.lower()}: {n:,} ({memory(b)})" for what, n, b in totals(model))
    return f"<b>{html.escape(model.name)}</b> ({html.escape(_kind(model))}){table}<p>{sums}</p>"


def module_html(module: Any) -> str:
    """A module's parts and parameters."""
    cells = []
    for path, m in module.named_modules():
        own = list(m._parameters.values())
        count = sum(math.prod(p.shape) for p in own if p is not None)
        text = repr(m) if not m._modules else type(m).__name__
        trained = any(p.requires_grad for p in own if p is not None)
        cells.append(
            [path or "(self)", text, f"{count:,}" if count else "", "yes" if trained else "no" if count else ""]
        )
    total = sum(math.prod(p.shape) for p in module.parameters())
    size = sum(p._data.nbytes for p in module.parameters())
    table = html_table(["Module", "What it is", "Params", "Trainable"], cells, right=(2,))
    return f"<b>{html.escape(type(module).__name__)}</b>{table}<p>parameters: {total:,} ({memory(size)})</p>"
