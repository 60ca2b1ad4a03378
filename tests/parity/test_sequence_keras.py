"""Recurrent layers, wrappers and attention beside Keras': same weights, outputs, and ten training steps."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest

import lamella
from lamella import layers, models

os.environ.setdefault("KERAS_BACKEND", "torch")
pytest.importorskip("torch")
keras = pytest.importorskip("keras")

ATOL = 3e-5  # float32 sums of some tens of products of size 1, through several steps


def array(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


MASK = np.arange(6) < np.array([[6], [3], [1]])
HOLES = np.random.default_rng(3).random((3, 6)) < 0.6
HOLES[:, 0] = True


def numbers(x):
    if isinstance(x, (tuple, list)):
        return [y for part in x for y in numbers(part)]
    return [np.asarray(x.detach() if hasattr(x, "detach") else x)]


def same(a, b, atol=ATOL):
    for x, y in zip(numbers(a), numbers(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=atol)


def pair(make, *inputs, **kwargs):
    """The same layer twice with Keras' weights, which are random in biases too."""
    random.seed(1)  # from which Keras draws its seeds
    ours, theirs = make(layers), make(keras.layers)
    theirs(*inputs, **kwargs), ours(*inputs, **kwargs)
    weights = [w + array(*w.shape, seed=i) * 0.1 for i, w in enumerate(theirs.get_weights())]
    theirs.set_weights(weights)
    ours.set_weights(weights)
    assert ours.count_params() == theirs.count_params()
    return ours, theirs


def check(make, *inputs, atol=ATOL, **kwargs):
    ours, theirs = pair(make, *inputs, **kwargs)
    same(ours(*inputs, **kwargs), theirs(*inputs, **kwargs), atol)


CELLS = ["SimpleRNN", "LSTM", "GRU"]
X = array(3, 6, 4)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
def test_recurrent(cell, sequences, backwards):
    kwargs = {"return_sequences": sequences, "go_backwards": backwards, "return_state": True}
    ours, theirs = pair(lambda lib: getattr(lib, cell)(5, **kwargs), X)
    for zeros in (False, True):
        ours.zero_output_for_mask = theirs.zero_output_for_mask = zeros
        for mask in (None, MASK, HOLES):
            same(ours(X, mask=mask), theirs(X, mask=mask))


@pytest.mark.parametrize("cell,kwargs", [
    ("SimpleRNN", {"activation": "relu"}), ("SimpleRNN", {"activation": "gelu", "use_bias": False}),
    ("LSTM", {"activation": "relu", "recurrent_activation": "hard_sigmoid"}),
    ("LSTM", {"activation": "silu", "recurrent_activation": "hard_sigmoid", "unit_forget_bias": False}),
    ("LSTM", {"activation": "linear", "use_bias": False}), ("LSTM", {"activation": "leaky_relu"}),
    ("GRU", {"reset_after": False}), ("GRU", {"reset_after": False, "activation": "gelu"}),
    ("GRU", {"activation": "mish", "recurrent_activation": "relu"}), ("GRU", {"use_bias": False}),
    ("GRU", {"reset_after": False, "use_bias": False, "activation": "softsign"}),
    ("GRU", {"activation": "elu", "unroll": True}),
], ids=str)  # fmt: skip
def test_options(cell, kwargs):
    states = [array(3, 5, seed=i) for i in range(2 if cell == "LSTM" else 1)]
    ours, theirs = pair(lambda lib: getattr(lib, cell)(5, return_sequences=True, return_state=True, **kwargs), X)
    for given in ({}, {"mask": HOLES}, {"initial_state": states}):
        same(ours(X, **given), theirs(X, **given))


@pytest.mark.parametrize("cell", CELLS)
def test_cells_and_rnn(cell):
    name = f"{cell}Cell"
    states = [array(3, 5, seed=i) for i in range(2 if cell == "LSTM" else 1)]
    check(lambda lib: getattr(lib, name)(5), X[:, 0], states)
    check(lambda lib: getattr(lib, name)(5, activation="gelu"), X[:, 0], states)
    kwargs = {"return_sequences": True, "return_state": True, "go_backwards": cell != "GRU"}
    check(lambda lib: lib.RNN(getattr(lib, name)(5), **kwargs), X, mask=MASK)
    check(lambda lib: lib.RNN([getattr(lib, name)(5), lib.GRUCell(3), getattr(lib, name)(2)], **kwargs), X, mask=HOLES)


@pytest.mark.parametrize(("cell", "merge", "sequences", "mask"), [
    ("LSTM", "concat", True, MASK), ("LSTM", "sum", False, None), ("GRU", "mul", True, None),
    ("GRU", None, False, MASK),
    ("SimpleRNN", "ave", True, MASK), ("SimpleRNN", None, True, None), ("LSTM", "concat", False, MASK),
])  # fmt: skip
def test_bidirectional(cell, merge, sequences, mask):
    def make(lib, **kwargs):
        layer = getattr(lib, cell)(5, return_sequences=sequences, return_state=sequences, **kwargs)
        return lib.Bidirectional(layer, merge_mode=merge)

    check(make, X, mask=mask)
    states = [array(3, 5, seed=i) for i in range(4 if cell == "LSTM" else 2)]
    check(make, X, initial_state=states)


def test_bidirectional_with_another_layer_behind():
    def make(lib):
        return lib.Bidirectional(
            lib.LSTM(5, return_sequences=True),
            backward_layer=lib.GRU(5, return_sequences=True, go_backwards=True, activation="relu"),
        )

    check(make, X)


def test_time_distributed():
    check(lambda lib: lib.TimeDistributed(lib.Dense(3, activation="relu")), X)
    check(lambda lib: lib.TimeDistributed(lib.Conv2D(2, 3)), array(1, 2, 4, 4, 2))
    check(lambda lib: lib.TimeDistributed(lib.LSTM(3)), array(2, 2, 3, 4))


@pytest.mark.parametrize("kwargs", [
    {}, {"value_dim": 3}, {"use_bias": False}, {"output_shape": 5}, {"output_shape": (2, 3)}, {"sliding_window": 2},
    {"attention_axes": 1}, {"use_gate": True},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("mask", [False, True])
def test_multi_head_attention(kwargs, mask):
    q, v, k = array(3, 6, 4), array(3, 5, 7, seed=1), array(3, 5, 6, seed=2)
    allowed = np.random.default_rng(0).random((3, 6, 5)) < 0.7
    allowed[..., 0] = True
    if kwargs.get("sliding_window"):
        allowed |= np.abs(np.arange(6)[:, None] - np.arange(5)) < 2
        q = q[:, :5]
        allowed = allowed[:, :5]
    m = {"attention_mask": allowed} if mask else {}
    make = lambda lib: lib.MultiHeadAttention(2, 4, **kwargs)  # noqa: E731
    check(make, q, v, key=k, **m)
    check(make, q, v, **m)
    check(make, q, v, return_attention_scores=True, **m)
    if not kwargs.get("sliding_window"):
        check(make, q, q[:, :, :4], use_causal_mask=True)
    if mask:
        check(make, q, v, attention_mask=allowed[:, None])


def test_multi_head_attention_over_images():
    x = array(2, 3, 4, 5)
    check(lambda lib: lib.MultiHeadAttention(2, 3), x, x)
    check(lambda lib: lib.MultiHeadAttention(2, 3), x, x, return_attention_scores=True)


def test_padding_masks_reach_attention():
    ids = np.array([[3, 1, 2, 0, 0], [1, 2, 3, 4, 5], [4, 0, 0, 0, 0]])

    def make(lib, model):
        a = lib.Input((5,), dtype="int32")
        x = lib.Embedding(6, 4, mask_zero=True)(a)
        y = lib.MultiHeadAttention(2, 3)(x, x)
        y = lib.GlobalAveragePooling1D()(y)
        return model(a, y)

    ours, theirs = make(layers, models.Model), make(keras.layers, keras.Model)
    ours.set_weights(theirs.get_weights())
    same(ours.predict(ids), theirs.predict(ids, verbose=0))


@pytest.mark.parametrize("kwargs", [{}, {"use_scale": True}, {"score_mode": "concat"}], ids=str)
@pytest.mark.parametrize("causal", [False, True])
def test_attention(kwargs, causal):
    q, v, k = array(3, 6, 4), array(3, 5, 4, seed=1), array(3, 5, 4, seed=2)
    masks = [MASK, HOLES[:, :5]]
    inputs, masks = ([q, v], masks) if causal else ([q, v, k], [*masks, None])
    options = {"use_causal_mask": causal}
    check(lambda lib: lib.Attention(**kwargs), inputs, **options)
    check(lambda lib: lib.Attention(**kwargs), inputs, mask=masks, **options)
    check(lambda lib: lib.Attention(**kwargs), inputs, return_attention_scores=True, **options)
    if "score_mode" not in kwargs:
        check(lambda lib: lib.AdditiveAttention(use_scale=bool(kwargs)), inputs, mask=masks, **options)


def network(lib, model, kind):
    a = lib.Input((7,), dtype="int32")
    x = lib.Embedding(20, 8, mask_zero=kind != "attention")(a)
    if kind == "attention":
        y = lib.LayerNormalization()(lib.Add()([x, lib.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True)]))
        y = lib.TimeDistributed(lib.Dense(6, activation="relu"))(y)
        y = lib.GlobalAveragePooling1D()(y)
    elif kind == "RNN":
        y = lib.RNN([lib.LSTMCell(5), lib.GRUCell(4, activation="silu")])(x)
    else:
        y = lib.Bidirectional(getattr(lib, kind)(5, return_sequences=True))(x)
        y = getattr(lib, kind)(4, go_backwards=True)(y)
    return model(a, lib.Dense(3, activation="softmax")(y))


@pytest.mark.parametrize("kind", [*CELLS, "RNN", "attention"])
def test_ten_training_steps(kind):
    rng = np.random.default_rng(0)
    x, y = rng.integers(1, 20, (16, 7)).astype(np.int32), rng.integers(0, 3, 16)
    for row, length in zip(x, rng.integers(2, 8, 16), strict=True):
        row[length:] = 0
    theirs, ours = network(keras.layers, keras.Model, kind), network(layers, models.Model, kind)
    ours.set_weights(theirs.get_weights())
    ours.compile(lamella.optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy")
    theirs.compile(keras.optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy")
    a = [float(ours.train_on_batch(x, y)) for _ in range(10)]
    b = [float(np.asarray(theirs.train_on_batch(x, y))) for _ in range(10)]
    np.testing.assert_allclose(a, b, rtol=1e-3)
    same(ours.get_weights(), theirs.get_weights(), 2e-4)
    assert None not in ours._engine._steps.values()  # native plans
