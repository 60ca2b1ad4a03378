"""Pictures of models: a graph in the language of Graphviz, drawn by its `dot` program or, without it, by Matplotlib."""

from __future__ import annotations

import html
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

from .._errors import refuse, short
from .._summary import _is_model, _kind, _shape, _sources
from ..layers._structures import flatten

__all__ = ["Dot", "model_to_dot", "plot_model"]

_SPLINES = ("ortho", "curved", "line", "polyline", "spline", "none")


@dataclass
class _Box:
    """A layer in the picture."""

    key: str
    title: str
    rows: list[tuple[str, str]]  # what, value
    trainable: bool | None  # None: not shown


@dataclass
class _Picture:
    """Boxes, arrows, and boxes of nested models around others."""

    boxes: list[_Box] = field(default_factory=list)
    arrows: list[tuple[str, str]] = field(default_factory=list)
    clusters: list[tuple[str, _Picture]] = field(default_factory=list)

    def all_boxes(self) -> list[_Box]:
        return [*self.boxes, *(b for _, p in self.clusters for b in p.all_boxes())]

    def all_arrows(self) -> list[tuple[str, str]]:
        return [*self.arrows, *(a for _, p in self.clusters for a in p.all_arrows())]


class Dot:
    """A graph in the language of Graphviz.

    Attributes
    ----------
    source : str
        The text.
    """

    def __init__(self, picture: _Picture, rankdir: str, dpi: int, splines: str) -> None:
        self._picture, self._rankdir, self._dpi = picture, rankdir, dpi
        lines = [
            "digraph model {",
            f"  graph [rankdir={rankdir}, dpi={dpi}, splines={splines}];",
            '  node [shape=plain, fontname="Helvetica", fontsize=11];',
            *_dot_lines(picture, "  "),
            "}",
        ]
        self.source = "\n".join(lines) + "\n"

    def to_string(self) -> str:
        """The text."""
        return self.source

    def write(self, path: Any) -> None:
        """Write the text to a file."""
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.source)

    def draw(self, path: Any) -> None:
        """Draw a picture, of the kind that the file's name tells: png, svg, pdf, ..."""
        name = os.fspath(path)
        kind = os.path.splitext(name)[1][1:].lower()
        if not kind.isalnum():
            raise ValueError(
                f"plot_model: to_file: expected a name that ends in .png, .svg, .pdf or .dot, got {short(name)}"
            )
        program = shutil.which("dot")
        if program is None:
            return _draw(self._picture, name, self._rankdir, self._dpi)
        done = subprocess.run(
            [program, f"-T{kind}", "-o", name], input=self.source.encode(), capture_output=True, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"plot_model: dot failed: {done.stderr.decode(errors='replace').strip()}")

    def __repr__(self) -> str:
        return self.source


def _dot_lines(picture: _Picture, indent: str) -> list[str]:
    lines = [f"{indent}{b.key} [label=<{_label(b)}>];" for b in picture.boxes]
    for i, (title, inner) in enumerate(picture.clusters):
        name = inner.all_boxes()[0].key if inner.all_boxes() else f"empty{i}"
        lines += [
            f"{indent}subgraph cluster_{name} {{",
            f'{indent}  label="{_quoted(title)}"; style="dashed"; fontname="Helvetica"; fontsize=11;',
            *_dot_lines(inner, indent + "  "),
            f"{indent}}}",
        ]
    return lines + [f"{indent}{a} -> {b};" for a, b in picture.arrows]


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _label(box: _Box) -> str:
    # Black for titles, as in a table's head; trainable layers stand out.
    color = {None: "#e0e0e0", True: "#cfe8cf", False: "#f0d8d0"}[box.trainable]
    cells = [f'<tr><td bgcolor="{color}" cellpadding="5"><b>{html.escape(box.title)}</b></td></tr>']
    cells += [f"<tr><td>{html.escape(what)}: {html.escape(value)}</td></tr>" for what, value in box.rows]
    return f'<table border="0" cellborder="1" cellspacing="0" cellpadding="3">{"".join(cells)}</table>'


# --- from models to boxes and arrows -----------------------------------------------------------------------------


@dataclass
class _Options:
    show_shapes: bool
    show_dtype: bool
    show_layer_names: bool
    expand_nested: bool
    show_layer_activations: bool
    show_trainable: bool


def _activation(layer: Any) -> str | None:
    found = getattr(layer, "activation", None)
    if found is None:
        return None
    return found if isinstance(found, str) else getattr(found, "__name__", type(found).__name__)


def _box(name: str, layer: Any, key: str, options: _Options) -> _Box:
    kind = _kind(layer)
    rows: list[tuple[str, str]] = []
    if options.show_layer_activations and _activation(layer) is not None:
        rows.append(("Activation", str(_activation(layer))))
    if options.show_shapes:
        shape = layer.__dict__.get("_build_shape")
        sources = _sources(layer._calls[-1]) if layer._calls else []
        if sources:
            shapes = [str(t.shape) for t in sources]
            rows.append(("Input shape", shapes[0] if len(shapes) == 1 else f"[{', '.join(shapes)}]"))
        elif shape is not None:
            rows.append(("Input shape", str(shape)))
        rows.append(("Output shape", _shape(layer)))
    if options.show_dtype:
        made = [t.dtype for t in layer._calls[-1].outputs] if layer._calls else [layer.compute_dtype]
        rows.append(("Output dtype", ", ".join(made)))
    has_weights = any(True for _ in layer.parameters())
    if options.show_trainable and has_weights:
        rows.append(("Trainable", str(layer.trainable)))
    trainable = layer.trainable if options.show_trainable and has_weights else None
    return _Box(key, f"{name} ({kind})" if options.show_layer_names else kind, rows, trainable)


def _picture(model: Any, path: str, options: _Options) -> tuple[_Picture, list[str], list[str]]:
    """The picture of a model, and the boxes where it begins and ends."""
    picture = _Picture()
    ends: dict[int, tuple[list[str], list[str]]] = {}  # of each layer
    for i, (name, layer) in enumerate(model._named_layers()):
        key = f"{path}_{i}"
        if options.expand_nested and _is_model(layer) and layer._named_layers():
            inner, first, last = _picture(layer, key, options)
            picture.clusters.append((name, inner))
            ends[len(ends)] = first, last
        else:
            picture.boxes.append(_box(name, layer, key, options))
            ends[len(ends)] = [key], [key]
    layers = [layer for _, layer in model._named_layers()]
    graph = getattr(model, "_graph", None)
    if graph is None:  # one after another; what a `call` method does cannot be seen
        if hasattr(model, "add"):
            for i in range(len(layers) - 1):
                picture.arrows += [(a, b) for a in ends[i][1] for b in ends[i + 1][0]]
            return (picture, ends[0][0], ends[len(layers) - 1][1]) if layers else (picture, [], [])
        boxes = [b for first, _ in ends.values() for b in first]
        return picture, boxes[:1], boxes[-1:]
    place = {id(layer): i for i, layer in enumerate(layers)}
    for call in graph.calls:
        for t in _sources(call):
            if id(t.layer) in place:
                here = place[id(call.layer)]
                for arrow in ((a, b) for a in ends[place[id(t.layer)]][1] for b in ends[here][0]):
                    if arrow not in picture.arrows:
                        picture.arrows.append(arrow)
    first = [i for t in graph.inputs if id(t.layer) in place for i in ends[place[id(t.layer)]][0]]
    last = [i for t in flatten(graph.output_structure) if id(t.layer) in place for i in ends[place[id(t.layer)]][1]]
    return picture, first, last


def model_to_dot(
    model: Any,
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = True,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: int = 200,
    subgraph: bool = False,
    show_layer_activations: bool = False,
    show_trainable: bool = False,
    splines: str = "ortho",
) -> Dot:
    """A model as a graph in the language of Graphviz.

    Parameters
    ----------
    model : Model
    show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable : bool
        What stands in the boxes beside the layers' types.
    rankdir : {"TB", "LR", "BT", "RL"}
        From top to bottom, from left to right, ...
    expand_nested : bool
        Whether models inside are drawn in clusters.
    dpi : int
    subgraph : bool
        Must be False.
    splines : {"ortho", "curved", "line", "polyline", "spline", "none"}
        How Graphviz draws the arrows.

    Returns
    -------
    Dot
        With its text in `source`.
    """
    if not _is_model(model):
        raise TypeError(f"model_to_dot: model: expected a Model, got {type(model).__name__}")
    if rankdir not in ("TB", "LR", "BT", "RL"):
        raise ValueError(f"model_to_dot: rankdir: expected 'TB', 'LR', 'BT' or 'RL', got {short(rankdir)}")
    refuse("model_to_dot", False, subgraph=subgraph)
    if splines not in _SPLINES:
        raise ValueError(f"model_to_dot: splines: expected one of {', '.join(_SPLINES)}, got {short(splines)}")
    if isinstance(dpi, bool) or not isinstance(dpi, int) or dpi < 1:
        raise ValueError(f"model_to_dot: dpi: expected a positive integer, got {short(dpi)}")
    if not model.built:
        raise ValueError(
            "model_to_dot: the model has no weights yet: give its first layer an input_shape, or call it once"
        )
    options = _Options(show_shapes, show_dtype, show_layer_names, expand_nested, show_layer_activations, show_trainable)
    return Dot(_picture(model, "n", options)[0], rankdir, dpi, splines)


def plot_model(
    model: Any,
    to_file: Any = "model.png",
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = False,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: int = 200,
    show_layer_activations: bool = False,
    show_trainable: bool = False,
    splines: str = "ortho",
) -> Any:
    """Draw a model.

    Parameters
    ----------
    model : Model
    to_file : str or path
        A picture (.png, .svg, .pdf), which needs Graphviz' `dot` program or Matplotlib; or .dot or .gv, the text alone.
    show_shapes, show_dtype, show_layer_names, rankdir, expand_nested, dpi, show_layer_activations, show_trainable,
    splines
        As for `model_to_dot`.

    Returns
    -------
    IPython.display.Image or None
        In a notebook, a .png to look at.

    Raises
    ------
    ImportError
        If there is neither `dot` nor Matplotlib.
    """
    dot = model_to_dot(model, show_shapes, show_dtype, show_layer_names, rankdir, expand_nested, dpi,
                       False, show_layer_activations, show_trainable, splines)  # fmt: skip
    name = os.fspath(to_file)
    if name.endswith((".dot", ".gv")):
        dot.write(name)
        return None
    dot.draw(name)
    if name.endswith(".png") and "ipykernel" in sys.modules:
        from IPython.display import Image

        return Image(filename=name)
    return None


# --- without dot -------------------------------------------------------------------------------------------------


def _depths(boxes: list[_Box], arrows: list[tuple[str, str]]) -> dict[str, int]:
    """How far each box is from the beginning, along the longest way."""
    after: dict[str, list[str]] = {b.key: [] for b in boxes}
    before = dict.fromkeys(after, 0)
    for a, b in arrows:
        after[a].append(b)
        before[b] += 1
    depth = dict.fromkeys(after, 0)
    ready = [i for i, n in before.items() if n == 0]
    while ready:
        here = ready.pop()
        for there in after[here]:
            depth[there] = max(depth[there], depth[here] + 1)
            before[there] -= 1
            if before[there] == 0:
                ready.append(there)
    return depth


def _draw(picture: _Picture, path: str, rankdir: str, dpi: int) -> None:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as e:
        raise ImportError(
            "plot_model: drawing needs Graphviz' dot program (apt-get install graphviz) or Matplotlib (pip install "
            "lamella[plot]); to_file='model.dot' writes the graph as text"
        ) from e
    boxes, arrows = picture.all_boxes(), picture.all_arrows()
    depth = _depths(boxes, arrows)
    ranks: dict[int, list[_Box]] = {}
    for box in boxes:
        ranks.setdefault(depth[box.key], []).append(box)
    height = 1 + max((len(b.rows) for b in boxes), default=0)
    wide = max([len(b.title) for b in boxes] + [len(w) + len(v) + 2 for b in boxes for w, v in b.rows], default=8)
    step_x, step_y = 0.085 * wide + 0.6, 0.22 * height + 0.5  # inches
    most = max((len(r) for r in ranks.values()), default=1)
    down = rankdir in ("TB", "BT")
    size = (step_x * most, step_y * len(ranks)) if down else (step_x * len(ranks), step_y * most)
    figure = Figure(figsize=(max(size[0], 1.5), max(size[1], 1.0)), dpi=dpi)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, max(size[0], 1.5))
    axes.set_ylim(0, max(size[1], 1.0))
    places: dict[str, tuple[float, float]] = {}
    for d, rank in ranks.items():
        along = (d if rankdir in ("BT", "LR") else len(ranks) - 1 - d) + 0.5
        for i, box in enumerate(rank):
            across = (i + 0.5) * most / len(rank)
            places[box.key] = (across * step_x, along * step_y) if down else (along * step_x, across * step_y)
    texts = {}
    for box in boxes:
        color = {None: "#e0e0e0", True: "#cfe8cf", False: "#f0d8d0"}[box.trainable]
        text = "\n".join([box.title, *(f"{w}: {v}" for w, v in box.rows)])
        texts[box.key] = axes.text(*places[box.key], text, ha="center", va="center", fontsize=8,
                                  bbox={"boxstyle": "round", "facecolor": color, "edgecolor": "#606060"})  # fmt: skip
    for a, b in arrows:
        axes.annotate("", xy=places[b], xytext=places[a],
                      arrowprops={"arrowstyle": "-|>", "color": "#404040", "patchA": texts[a].get_bbox_patch(),
                                  "patchB": texts[b].get_bbox_patch()})  # fmt: skip
    figure.savefig(path, dpi=dpi)
