"""What models, runs and tensors look like: summary, pictures, curves, profiles, notebooks."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

import lamella
from lamella import callbacks, layers, models, nn
from lamella.utils import model_to_dot, plot_model


def mlp():
    return models.Sequential(
        [layers.Dense(64, activation="relu", input_shape=(4,)), layers.Dropout(0.1), layers.Dense(3)], name="net"
    )


def branched():
    a, b = layers.Input((4,), name="a"), layers.Input((4,), name="b")
    shared = layers.Dense(3, name="shared")
    return models.Model([a, b], layers.Dense(2, name="out")(layers.Add(name="sum")([shared(a), shared(b)])), name="two")


def lines_of(model, **kwargs):
    lines = []
    model.summary(print_fn=lines.append, **kwargs)
    return lines


def test_summary_is_keras_table():
    assert lines_of(mlp(), line_length=60) == [
        'Model: "net"',
        "┏━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━┓",
        "┃ Layer (type)             ┃ Output Shape      ┃   Param # ┃",
        "┡━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━┩",
        "│ dense (Dense)            │ (None, 64)        │       320 │",
        "├──────────────────────────┼───────────────────┼───────────┤",
        "│ dropout (Dropout)        │ (None, 64)        │         0 │",
        "├──────────────────────────┼───────────────────┼───────────┤",
        "│ dense_1 (Dense)          │ (None, 3)         │       195 │",
        "└──────────────────────────┴───────────────────┴───────────┘",
        " Total params: 515 (2.01 KB)",
        " Trainable params: 515 (2.01 KB)",
        " Non-trainable params: 0 (0.00 B)",
    ]


def test_summary_of_branches_and_frozen_layers():
    model = branched()
    model.get_layer("shared").trainable = False
    text = "\n".join(lines_of(model, show_trainable=True, line_length=140))
    assert "Connected to" in text and re.search(r"shared \(Dense\).*15 .*a\[0\]\[0\], b\[0\]\[0\].* N ", text)
    assert re.search(r"sum \(Add\).*shared\[0\]\[0\],", text) and re.search(r"out \(Dense\).* Y ", text)
    assert " Trainable params: 8 (32.00 B)" in text and " Non-trainable params: 15 (60.00 B)" in text
    names = [line.split()[1] for line in lines_of(model, layer_range=("shared", "sum"), line_length=120) if "(" in line]
    assert "shared" in names and "sum" in names and "out" not in names


def test_summary_of_models_inside():
    outer = models.Sequential([layers.Input((4,)), mlp(), layers.Dense(1)])
    assert "└" not in "".join(lines_of(outer)[3:-4]).replace("└─", "")
    text = "\n".join(lines_of(outer, expand_nested=True))
    assert "└ dense (Dense)" in text and "net (Sequential)" in text


def test_summary_before_and_after(capsys):
    model = models.Sequential([layers.Dense(2)])
    model.summary()
    assert "0 (unbuilt)" in capsys.readouterr().out
    model.build((None, 3))
    model.compile("adam", "mse")
    model.fit(np.ones((2, 3)), np.ones((2, 2)), verbose=0)
    text = "\n".join(lines_of(model))
    assert " Optimizer params: 16" in text
    with pytest.raises(ValueError, match="line_length"):
        model.summary(line_length=10)
    with pytest.raises(ValueError, match="positions"):
        model.summary(positions=[0.5, 1.0])
    with pytest.raises(ValueError, match="layer_range"):
        model.summary(layer_range=["nothing", "such"])
    long = models.Sequential([layers.Dense(1, name="a" * 60, input_shape=(2,))])
    lines = lines_of(long, line_length=50)
    assert all(len(line) == 50 for line in lines[1:6]) and "…" in lines[4]


def test_dot():
    dot = model_to_dot(branched(), show_shapes=True, show_dtype=True, rankdir="LR", show_trainable=True)
    text = dot.to_string()
    assert text.startswith("digraph model {") and "rankdir=LR" in text and text.count(" -> ") == 4
    assert "shared (Dense)" in text and "(None, 3)" in text and "float32" in text and "Trainable: True" in text
    nested = models.Sequential([layers.Input((4,)), mlp(), layers.Dense(1, activation="tanh", name='q"<x>')])
    text = model_to_dot(nested, expand_nested=True, show_layer_activations=True).source
    assert "subgraph cluster" in text and "Activation: tanh" in text and "q&quot;&lt;x&gt;" in text
    assert text.count(" -> ") == 3
    for bad in ({"rankdir": "up"}, {"dpi": 0}):
        with pytest.raises(ValueError, match="model_to_dot"):
            model_to_dot(mlp(), **bad)
    with pytest.raises(ValueError, match="no weights yet"):
        model_to_dot(models.Sequential([layers.Dense(2)]))
    with pytest.raises(TypeError, match="expected a Model"):
        model_to_dot(nn.Linear(1, 1))


def test_plot_model(tmp_path, monkeypatch):
    plot_model(branched(), tmp_path / "m.dot", show_shapes=True)
    assert (tmp_path / "m.dot").read_text().startswith("digraph")
    with pytest.raises(ValueError, match="to_file"):
        plot_model(mlp(), tmp_path / "picture")
    if shutil.which("dot"):
        plot_model(branched(), tmp_path / "m.svg")
        assert "<svg" in (tmp_path / "m.svg").read_text()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        with pytest.raises(ImportError, match="dot"):
            plot_model(mlp(), tmp_path / "m.png")
        return
    for rankdir in ("TB", "LR"):
        plot_model(branched(), tmp_path / "m.png", show_shapes=True, rankdir=rankdir, dpi=50)
        assert (tmp_path / "m.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_plot_model_with_dot(tmp_path, monkeypatch):
    calls = []

    def run(command, input, **kwargs):
        calls.append((command, input))
        return subprocess.CompletedProcess(command, 1 if "bad" in command[-1] else 0, b"", b"no such font")

    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/dot")
    monkeypatch.setattr(subprocess, "run", run)
    plot_model(mlp(), tmp_path / "m.pdf")
    assert calls[0][0] == ["/usr/bin/dot", "-Tpdf", "-o", str(tmp_path / "m.pdf")] and calls[0][1].startswith(
        b"digraph"
    )
    with pytest.raises(RuntimeError, match="no such font"):
        plot_model(mlp(), tmp_path / "bad.png")


def trained(**kwargs):
    model = mlp()
    model.compile("sgd", "mse", metrics=["mae"])
    x, y = np.ones((64, 4), np.float32), np.zeros((64, 3), np.float32)
    history = model.fit(x, y, epochs=4, verbose=0, validation_data=(x, y), validation_freq=2, **kwargs)
    return model, history


def test_history_plot():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    _, history = trained()
    figure = history.plot()
    panels = {ax.get_title(): ax for ax in figure.axes}
    assert set(panels) == {"loss", "mae"}
    lines = {line.get_label(): list(line.get_xdata()) for line in panels["loss"].get_lines()}
    assert lines == {"training": [1, 2, 3, 4], "validation": [2, 4]}
    assert len(history.plot(["mae"], figsize=(3, 2)).axes) == 1
    with pytest.raises(ValueError, match="metrics: expected some of loss, mae, got 'auc'"):
        history.plot(["auc"])
    with pytest.raises(ValueError, match="nothing was logged"):
        callbacks.History().plot()


# --- profiles ----------------------------------------------------------------------------------------------------


def test_profile_of_a_plan():
    model, _ = trained()
    x, y = np.ones((64, 4), np.float32), np.zeros((64, 3), np.float32)
    with lamella.profile() as p:
        model.fit(x, y, epochs=3, verbose=0)
    found = {(o["op"], o["phase"], o["label"]): o for o in p.ops}
    first, back = found["dense", "forward", "dense"], found["dense", "backward", "dense_1"]
    assert (first["calls"] == 6 and first["shapes"] == "(32, 4) (4, 64) (64)") or first["shapes"].count("(") == 3
    assert first["flops"] >= 2 * 32 * 4 * 64 and back["flops"] >= 2 * 2 * 32 * 64 * 3  # by weight and by data
    assert (
        found["dense", "backward", "dense"]["flops"] < back["flops"] * 4 * 64 / (2 * 64 * 3) * 1.01
    )  # by weight alone
    assert first["memory"] >= 32 * 64 * 4 and first["bytes"] >= 4 * (32 * 4 + 4 * 64 + 64 + 32 * 64)
    assert found["optimizer", "update", ""]["calls"] == 6 and ("gather_rows", "data", "") in found
    assert 0 < first["least"] <= first["most"] <= first["seconds"] <= p.totals()["seconds"] <= p.seconds
    assert p.plans[0]["training"] and p.plans[0]["arena_bytes"] > 0 and p.plans[0]["gradient_bytes"] >= 515 * 4
    assert all(o["plan"] == 0 for o in (first, back))


def test_profile_of_eager_code(tmp_path):
    net = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    x = lamella.randn(16, 8)

    def step():
        loss = net(x).sum()
        loss.backward()
        return loss.item()

    p = lamella.profile(step)
    assert isinstance(p.result, float)
    phases = [o["phase"] for o in p.ops]
    assert phases.count("backward") >= 3 and all(o["plan"] == -1 for o in p.ops)
    table = p.table(sort_by="calls", row_limit=2)
    assert table.count("\n") == 5 and "GFLOP/s" in table and "eager" in table
    assert "<table>" in p._repr_html_() and "forward" in repr(p)
    p.export_chrome_trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert len(events) == p.totals()["calls"] and all(e["ph"] == "X" and e["dur"] >= 0 for e in events)
    with pytest.raises(ValueError, match="sort_by: expected one of time"):
        p.table(sort_by="size")


def test_profiles_end():
    with pytest.raises(ZeroDivisionError), lamella.profile():
        1 / 0  # noqa: B018
    with lamella.profile() as p:
        lamella.ones(3) + 1
        with pytest.raises(RuntimeError, match="another profile"):
            lamella.profile(lambda: None)
    assert sum(o["calls"] for o in p.ops) == 1
    lamella.ones(3) + 1
    with lamella.profile() as q:
        pass
    assert q.ops == [] and q.totals()["calls"] == 0 and "0 calls" in str(q)
    with pytest.raises(RuntimeError, match="stop without start"):
        q.stop()
    with pytest.raises(TypeError, match="expected a function"):
        lamella.profile(None, 3)


def test_a_profile_changes_no_bits():
    def run(profiled):
        lamella.seed(0)
        model = mlp()
        model.compile("adam", "mse")
        x, y = np.ones((64, 4), np.float32), np.zeros((64, 3), np.float32)
        if profiled:
            lamella.profile(model.fit, x, y, epochs=2, verbose=0)
        else:
            model.fit(x, y, epochs=2, verbose=0)
        return model.get_weights()

    for a, b in zip(run(True), run(False), strict=True):
        np.testing.assert_array_equal(a, b)


# --- notebooks ---------------------------------------------------------------------------------------------------


def test_notebooks():
    model, history = trained()
    text = model._repr_html_()
    assert "<table>" in text and "dense_1" in text and "515" in text
    text = history._repr_html_()
    assert text.count("<tr>") == 5 and "val_mae" in text
    text = nn.Sequential(nn.Linear(3, 2), nn.ReLU())._repr_html_()
    assert "Linear(in_features=3" in text and "parameters: 8" in text
    text = lamella.arange(40, dtype=lamella.float32).reshape(2, 20)._repr_html_()
    assert "Tensor float32 (2, 20)" in text and text.count("<tr>") == 3 and "..." in text
    for t in (lamella.tensor(2.0), lamella.zeros(2, 3, 4), lamella.zeros(0, 3)):
        assert "<pre>" in t._repr_html_()
    assert "<table>" in lamella.tensor([True, False])._repr_html_()
    evil = models.Sequential([layers.Dense(1, input_shape=(2,), name="<script>")], name="<b>")
    assert "<script>" not in evil._repr_html_()
