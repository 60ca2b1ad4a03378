"""Modules print as PyTorch's, summaries as Keras'."""

import os

import numpy as np
import pytest

from lamella import layers as own_layers
from lamella import models as own_models
from lamella import nn

MODULES = [
    "Linear(3, 2)", "Linear(3, 2, bias=False)", "Identity()", "Flatten()", "Unflatten(1, (2, 3))", "Dropout(0.3)",
    "ReLU()", "ReLU(inplace=True)", "LeakyReLU(0.2)", "Sigmoid()", "Tanh()", "GELU()", "SiLU()", "ELU(0.5)",
    "Softmax(dim=1)", "LogSoftmax(dim=-1)", "Softplus()", "PReLU()", "Hardtanh()", "ReLU6()", "Mish()", "SELU()",
    "Conv1d(2, 3, 5, stride=2)", "Conv2d(3, 4, 3, padding=1)", "Conv2d(4, 4, (3, 5), groups=2, bias=False)",
    "Conv2d(3, 4, 3, padding='same', dilation=2)", "ConvTranspose2d(3, 4, 2, stride=2, output_padding=1)",
    "MaxPool1d(2)", "MaxPool2d(2)", "MaxPool2d(3, 2, padding=1, ceil_mode=True)", "AvgPool2d((2, 3))",
    "AdaptiveAvgPool2d(1)", "AdaptiveAvgPool2d((2, None))", "AdaptiveMaxPool2d(3)", "BatchNorm1d(4)",
    "BatchNorm2d(4, momentum=None, affine=False)", "LayerNorm(5)", "LayerNorm((2, 3), elementwise_affine=False)",
    "GroupNorm(2, 4)", "InstanceNorm2d(3)", "Embedding(10, 3)", "Embedding(10, 3, padding_idx=0)", "RNN(3, 4)",
    "LSTM(3, 4, num_layers=2, batch_first=True, dropout=0.5, bidirectional=True)", "GRU(3, 4, bias=False)",
    "LSTMCell(3, 4)", "GRUCell(3, 4, bias=False)", "RNNCell(3, 4, nonlinearity='relu')", "MSELoss()",
    "CrossEntropyLoss()", "BCEWithLogitsLoss()", "NLLLoss()", "L1Loss(reduction='sum')", "SmoothL1Loss()",
    "HuberLoss()",
    "Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU(), nn.Linear(3, 1)))",
    "ModuleList([nn.Linear(2, 3), nn.ReLU()])", "ModuleList([nn.ReLU(), nn.ReLU(), nn.ReLU()])",
    "ModuleDict({'a': nn.ReLU(), 'b': nn.Dropout()})",
]  # fmt: skip


@pytest.mark.parametrize("text", MODULES)
def test_modules_print_as_pytorchs(text):
    torch = pytest.importorskip("torch")
    if not hasattr(nn, text.split("(")[0]):
        pytest.skip("not offered")
    assert repr(eval(f"nn.{text}", {"nn": nn})) == repr(eval(f"nn.{text}", {"nn": torch.nn}))


@pytest.fixture(scope="module")
def keras():
    os.environ.setdefault("KERAS_BACKEND", "torch")
    return pytest.importorskip("keras")


def chain(L, M):
    return M.Sequential([L.Conv2D(4, 3, activation="relu", input_shape=(8, 8, 1)), L.MaxPooling2D(), L.Flatten(),
                         L.BatchNormalization(), L.Dense(3)], name="chain")  # fmt: skip


def branches(L, M):
    a, b = L.Input((4,), name="left_input"), L.Input((4,), name="right")
    shared = L.Dense(3, name="shared")
    x = L.Concatenate(name="joined")([shared(a), shared(b)])
    return M.Model(
        [a, b], [L.Dense(2, name="one")(x), L.Dense(1, name="a_layer_with_a_rather_long_name")(x)], name="net"
    )


def nested(L, M):
    inner = M.Sequential([L.Dense(4, name="i1"), L.Dense(5, name="i2")], name="inner")
    inp = L.Input((3,), name="start")
    return M.Model(inp, L.Dense(2, name="end")(inner(inp)), name="outer")


def text_of(model, **kwargs):
    found = []
    model.summary(print_fn=found.append, **kwargs)
    return "\n".join(found).rstrip("\n").split("\n")


@pytest.mark.parametrize("make", [chain, branches, nested])
@pytest.mark.parametrize("kwargs", [{}, {"line_length": 100}, {"show_trainable": True}, {"expand_nested": True}])
def test_summaries(keras, make, kwargs, monkeypatch):
    monkeypatch.setenv("COLUMNS", "130")
    keras.utils.clear_session()
    theirs, ours = make(keras.layers, keras), make(own_layers, own_models)
    for m in (theirs, ours):
        m.layers[1].trainable = False
    assert text_of(ours, **kwargs) == text_of(theirs, **kwargs)


def test_summary_with_an_optimizer(keras, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    keras.utils.clear_session()
    texts = []
    for model in (chain(keras.layers, keras), chain(own_layers, own_models)):
        model.compile("adam", "mse")
        model.fit(np.zeros((2, 8, 8, 1)), np.zeros((2, 3)), verbose=0)
        texts.append(text_of(model))
    # Keras counts its two counters among the optimizer's weights.
    assert texts[0][:-4] == texts[1][:-4] and texts[0][-3:-1] == texts[1][-3:-1]
