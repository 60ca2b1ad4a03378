"""Cells, wrappers, states that stay, masks, attention: in models, saved, and with what is wrong."""

import inspect

import numpy as np
import pytest

import lamella
from lamella import layers, models
from lamella.autograd import Tensor


@pytest.fixture(autouse=True)
def _seed():
    lamella.seed(2)


def array(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


X = array(4, 6, 3)


class MinimalCell(layers.Layer):
    """The user's cell of Keras' documentation."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.state_size = units

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], self.units), initializer="uniform", name="kernel")
        self.recurrent_kernel = self.add_weight(
            shape=(self.units, self.units), initializer="uniform", name="recurrent_kernel"
        )

    def call(self, inputs, states):
        output = inputs @ self.kernel + states[0] @ self.recurrent_kernel
        return output, [output]

    def get_config(self):
        return {**super().get_config(), "units": self.units}


class Counter:
    """A cell that is no layer: it adds up its inputs, and counts the steps in a second state."""

    state_size = (3, 1)
    output_size = 3

    def call(self, inputs, states):
        total = states[0] + inputs
        return total * 2.0, [total, states[1] + 1.0]


def compiled(*parts):
    model = models.Sequential(list(parts))
    model.compile("sgd", "mse")
    return model


def is_native(model):
    return None not in model._engine._steps.values()


def test_a_users_cell_is_run_in_plans():
    model = compiled(layers.RNN(MinimalCell(5), return_sequences=True), layers.RNN([MinimalCell(4), MinimalCell(2)]))
    out = model.predict(X)
    w = model.get_weights()
    h = np.zeros((4, 5))
    for t in range(6):
        h = X[:, t] @ w[0] + h @ w[1]
        if t == 0:
            first = h
    np.testing.assert_allclose(models.Model.__call__(model, X).numpy(), out, atol=1e-6)
    np.testing.assert_allclose(model.layers[0](X).numpy()[:, 0], first, atol=1e-6)
    np.testing.assert_allclose(model.layers[0](X).numpy()[:, -1], h, atol=1e-6)
    model.fit(X, array(4, 2), epochs=2, verbose=0)
    assert is_native(model)
    assert any((a != b).any() for a, b in zip(w, model.get_weights(), strict=True))


def test_a_cell_that_is_no_layer():
    layer = layers.RNN(Counter(), return_state=True)
    out, total, count = layer(X, mask=np.arange(6) < np.array([[6], [2], [4], [1]]))
    lengths = [6, 2, 4, 1]
    truth = np.stack([x[:n].sum(0) for x, n in zip(X, lengths, strict=True)])
    np.testing.assert_allclose(total.numpy(), truth, atol=1e-5)
    np.testing.assert_allclose(out.numpy(), 2 * truth, atol=1e-5)
    np.testing.assert_array_equal(count.numpy()[:, 0], lengths)
    with pytest.raises(ValueError, match="RNN: cell: expected a `state_size`"):
        layers.RNN(layers.Dense(3))
    with pytest.raises(ValueError, match="RNN: cell: expected an object with a `call` method"):
        layers.RNN(3)


CELLS = [layers.SimpleRNNCell, layers.LSTMCell, layers.GRUCell]


@pytest.mark.parametrize("cell", CELLS)
def test_kernels_and_steps_agree(cell):
    """An activation that no kernel knows, written as one that it does."""
    mask = np.random.default_rng(1).random((4, 6)) < 0.7
    for kwargs in ({}, {"return_sequences": True}, {"return_sequences": True, "zero_output_for_mask": True}):
        native = layers.RNN(cell(5), return_state=True, **kwargs)
        steps = layers.RNN(cell(5, activation=lambda x: x.tanh()), return_state=True, **kwargs)
        native(X), steps(X)
        steps.set_weights(native.get_weights())
        for backwards in (False, True):
            native.go_backwards = steps.go_backwards = backwards
            for m in (None, mask):
                for a, b in zip(native(X, mask=m), steps(X, mask=m), strict=True):
                    np.testing.assert_allclose(a.numpy(), b.numpy(), atol=2e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_is_one_step(cell):
    made = cell(5)
    out, states = made(X[:, 0], made.get_initial_state(4))
    whole = layers.RNN(made)(X[:, :1])
    np.testing.assert_allclose(out.numpy(), whole.numpy(), atol=1e-6)
    again, _ = made(X[:, 1], states)
    np.testing.assert_allclose(again.numpy(), layers.RNN(made)(X[:, :2]).numpy(), atol=1e-6)


# ---- states that stay ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [
    lambda **k: layers.LSTM(5, **k), lambda **k: layers.GRU(5, activation="gelu", **k),
    lambda **k: layers.RNN(Counter(), **k), lambda **k: layers.RNN([layers.LSTMCell(4), layers.GRUCell(3)], **k),
])  # fmt: skip
def test_stateful_layers_go_on_where_they_stopped(make):
    kept, whole = make(stateful=True, return_sequences=True), make(return_sequences=True)
    whole(X), kept(X)
    kept.reset_state()
    whole.set_weights(kept.get_weights())
    first, second = kept(X[:, :2]).numpy(), kept(X[:, 2:]).numpy()
    np.testing.assert_allclose(np.concatenate([first, second], 1), whole(X).numpy(), atol=2e-6)
    with pytest.raises(ValueError, match="batches of one size: expected 4 samples, got 2"):
        kept(X[:2])
    kept.reset_states()
    assert kept.states is None
    np.testing.assert_allclose(kept(X[:2, :2]).numpy(), first[:2], atol=2e-6)


def test_stateful_models_train_and_predict():
    model = compiled(layers.Input(batch_shape=(2, 3, 3)), layers.LSTM(4, stateful=True), layers.Dense(1))
    a = model.predict(X[:2, :3], batch_size=2)
    b = model.predict(X[:2, :3], batch_size=2)
    assert np.abs(a - b).max() > 1e-4
    model.layers[0].reset_state()
    np.testing.assert_array_equal(model.predict(X[:2, :3], batch_size=2), a)
    model.layers[0].reset_state()
    model.fit(X[:, :3], array(4, 1), batch_size=2, epochs=2, shuffle=False, verbose=0)
    assert model.layers[0].states[0].shape == (2, 4) and not model.layers[0].states[0].requires_grad
    wrapped = layers.Bidirectional(layers.GRU(3, stateful=True))
    a, b = wrapped(X).numpy(), wrapped(X).numpy()
    assert (a != b).any() and len(wrapped.states) == 2
    wrapped.reset_state()
    np.testing.assert_array_equal(wrapped(X).numpy(), a)


# ---- dropout ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_dropout_is_the_same_at_all_steps(cell):
    x = np.ones((64, 5, 40), np.float32)
    layer = layers.RNN(cell(6, dropout=0.5, use_bias=False), return_sequences=True)
    still = layer(x).numpy()
    np.testing.assert_array_equal(layer(x).numpy(), still)
    a, b = layer(x, training=True).numpy(), layer(x, training=True).numpy()
    assert (a != b).any()
    # Without a state's part in it, every step sees the same input.
    weights = layer.get_weights()
    layer.set_weights([weights[0], weights[1] * 0])
    if cell is layers.SimpleRNNCell:
        out = layer(x, training=True).numpy()
        np.testing.assert_allclose(out, np.repeat(out[:, :1], 5, 1), atol=1e-6)
        assert (out[0, 0] != out[1, 0]).any()


@pytest.mark.parametrize("kind", [layers.SimpleRNN, layers.LSTM, layers.GRU])
def test_recurrent_dropout_drops_states_in_training_alone(kind):
    layer = kind(6, recurrent_dropout=0.5, dropout=0.2)
    plain = kind(6)
    plain(X), layer(X)
    plain.set_weights(layer.get_weights())
    np.testing.assert_allclose(layer(X).numpy(), plain(X).numpy(), atol=2e-6)
    assert (layer(X, training=True).numpy() != layer(X, training=True).numpy()).any()
    model = compiled(kind(8, recurrent_dropout=0.5), layers.Dense(1))
    model.predict(X)
    losses = {round(float(model.evaluate(X, array(4, 1), verbose=0)), 9) for _ in range(3)}
    assert len(losses) == 1
    model.optimizer.learning_rate = 0.0
    losses = {model.train_on_batch(X, array(4, 1)) for _ in range(8)}
    assert len(losses) > 1 and is_native(model)  # plans draw anew at each step


# ---- wrappers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", [
    lambda **k: layers.LSTM(5, **k), lambda **k: layers.GRU(5, activation="gelu", **k),
    lambda **k: layers.RNN(layers.GRUCell(4, reset_after=False), **k),
])  # fmt: skip
@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "ave", None])
def test_bidirectional_is_two_layers(inner, merge):
    mask = np.arange(6) < np.array([[6], [2], [4], [1]])
    layer = layers.Bidirectional(inner(return_sequences=True, return_state=True), merge_mode=merge)
    out = layer(X, mask=mask)
    there = layer.forward_layer(X, mask=mask)
    back = layer.backward_layer(X, mask=mask)
    assert layer.backward_layer.go_backwards and layer.forward_layer.zero_output_for_mask
    y, z = there[0].numpy(), back[0].numpy()[:, ::-1]
    assert not y[1, 2:].any() and not z[1, 2:].any()
    truth = {"concat": np.concatenate([y, z], -1), "sum": y + z, "mul": y * z, "ave": (y + z) / 2}
    got = out[:2] if merge is None else out[:1]
    for a, b in zip(got, (y, z) if merge is None else (truth[merge],), strict=True):
        np.testing.assert_allclose(a.numpy(), b, atol=2e-6)
    for a, b in zip(out[len(got) :], (*there[1:], *back[1:]), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=2e-6)


def test_bidirectional_arguments():
    with pytest.raises(ValueError, match="merge_mode: expected 'concat'"):
        layers.Bidirectional(layers.LSTM(2), merge_mode="max")
    with pytest.raises(ValueError, match="has no go_backwards"):
        layers.Bidirectional(layers.Dense(2))
    with pytest.raises(ValueError, match="another `go_backwards`"):
        layers.Bidirectional(layers.LSTM(2), backward_layer=layers.LSTM(2))
    with pytest.raises(ValueError, match="return_sequences: expected False as in the layer, got True"):
        layers.Bidirectional(layers.LSTM(2), backward_layer=layers.LSTM(2, return_sequences=True, go_backwards=True))
    given = layers.LSTM(2)
    layer = layers.Bidirectional(given)
    layer(X)
    first = [a + 1 for a in layer.get_weights()]
    other = layers.Bidirectional(given, weights=first)
    other(X)
    for a, b in zip(first, other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(AttributeError, match="not stateful"):
        other.reset_state()


def test_masks_go_through_wrappers():
    ids = np.array([[3, 1, 2, 0], [4, 0, 0, 0]])
    for merge in ("concat", None):
        x = layers.Input((None,), dtype="int64")
        y = layers.Embedding(6, 3, mask_zero=True)(x)
        y = layers.TimeDistributed(layers.Dense(4))(y)
        y = layers.Bidirectional(layers.LSTM(2, return_sequences=True), merge_mode=merge)(y)
        parts = y if merge is None else [y]
        outs = [layers.GlobalAveragePooling1D()(p) for p in parts]
        model = models.Model(x, outs)
        short = [model.predict(ids[:1, :3]), model.predict(ids[1:, :1])]
        long = model.predict(ids)
        for i, s in enumerate(short):
            for a, b in zip(s if merge is None else [s], long if merge is None else [long], strict=True):
                np.testing.assert_allclose(a[0], b[i], atol=2e-6)


def test_time_distributed():
    inner = layers.Dense(2)
    layer = layers.TimeDistributed(inner)
    np.testing.assert_allclose(layer(X).numpy(), inner(X).numpy(), atol=1e-6)
    assert layer.compute_output_shape((None, 9, 3)) == (None, 9, 2)
    tokens = layers.TimeDistributed(layers.Embedding(5, 3))
    assert tokens(np.ones((2, 3, 4), np.int64)).shape == (2, 3, 4, 3)
    network = models.Sequential([layers.Input((6, 6, 1)), layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(3)])
    video = layers.Input((5, 6, 6, 1))
    model = models.Model(video, layers.LSTM(2)(layers.TimeDistributed(network)(video)))
    model.compile("sgd", "mse")
    model.fit(array(3, 5, 6, 6, 1), array(3, 2), verbose=0)
    assert is_native(model) and model.predict(array(3, 5, 6, 6, 1)).shape == (3, 2)
    inner_mask = np.random.default_rng(0).random((2, 3, 5)) < 0.7
    x = array(2, 3, 5, 4)
    rnn = layers.LSTM(3)
    got = layers.TimeDistributed(rnn)(x, mask=inner_mask).numpy()
    np.testing.assert_allclose(got[:, 1], rnn(x[:, 1], mask=inner_mask[:, 1]).numpy(), atol=2e-6)
    with pytest.raises(ValueError, match="TimeDistributed: layer: expected a Layer, got int"):
        layers.TimeDistributed(3)


# ---- attention -------------------------------------------------------------------------------------------------------


def test_attention_in_a_model_runs_in_plans_and_keeps_masks():
    ids = np.array([[3, 1, 2, 0, 0], [4, 5, 0, 0, 0], [1, 2, 3, 4, 5]])
    x = layers.Input((None,), dtype="int64")
    e = layers.Embedding(6, 8, mask_zero=True)(x)
    y = layers.MultiHeadAttention(2, 4, dropout=0.3)(query=e, value=e, use_causal_mask=True)
    y = layers.LayerNormalization()(layers.Add()([e, y]))
    y = layers.GlobalAveragePooling1D()(y)
    model = models.Model(x, layers.Dense(2)(y))
    model.compile("adam", "mse")
    out = model.predict(ids)
    np.testing.assert_allclose(model.predict(ids[:1, :3]), out[:1], atol=2e-6)
    np.testing.assert_allclose(model.predict(ids[1:2, :2]), out[1:2], atol=2e-6)
    model.fit(ids, array(3, 2), epochs=2, verbose=0)
    assert is_native(model)


def test_scores_and_masks_compose():
    layer = layers.MultiHeadAttention(2, 4, sliding_window=3)
    allowed = np.random.default_rng(0).random((4, 6, 6)) < 0.8
    padded = np.arange(6) < np.array([[6], [4], [5], [3]])
    _, scores = layer(
        X, X, attention_mask=allowed, value_mask=padded, use_causal_mask=True, return_attention_scores=True
    )
    near = np.abs(np.arange(6)[:, None] - np.arange(6)) < 3
    seen = allowed & padded[:, None] & np.tri(6, dtype=bool) & near
    got = scores.numpy()
    assert got.shape == (4, 2, 6, 6) and not got[~np.broadcast_to(seen[:, None], got.shape)].any()
    total = got.sum(-1)
    np.testing.assert_allclose(total, np.broadcast_to(seen.any(-1)[:, None], total.shape), atol=1e-6)


def test_attention_weights_and_configuration():
    layer = layers.MultiHeadAttention(3, 4, value_dim=5, output_shape=7, use_gate=True)
    assert layer(X, X).shape == (4, 6, 7)
    shapes = [(3, 3, 4), (3, 4), (3, 3, 4), (3, 4), (3, 3, 5), (3, 5), (3, 3, 5), (3, 5), (3, 5, 7), (7,)]
    assert [w.shape for w in layer.get_weights()] == shapes
    again = layers.MultiHeadAttention.from_config(layer.get_config())
    again(X, X)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(X, X).numpy(), layer(X, X).numpy())
    np.testing.assert_array_equal(layer.query_dense.kernel.numpy().reshape(3, 3, 4), layer.get_weights()[0])
    assert layer.output_dense.count_params() == 3 * 5 * 7 + 7


@pytest.mark.parametrize(("make", "error", "text"), [
    (lambda: layers.MultiHeadAttention(0, 4), ValueError, "num_heads: expected a positive integer"),
    (lambda: layers.MultiHeadAttention(2, 4, seed="x"), TypeError, "seed"),
    (lambda: layers.MultiHeadAttention(2, 4, attention_axes=2)(array(1, 2, 3, 4), array(1, 2, 3, 4)),
     NotImplementedError, "attention_axes: expected None or all"),
    (lambda: layers.MultiHeadAttention(2, 4)(X), TypeError, "value"),
    (lambda: layers.MultiHeadAttention(2, 4)(X, X[0]), ValueError, r"value: expected \(n, steps, features\)"),
    (lambda: layers.MultiHeadAttention(2, 4)(X, X, key=X[:, :3]), ValueError, "key: expected steps"),
    (lambda: layers.Attention(score_mode="sum"), ValueError, "score_mode"),
    (lambda: layers.Attention()(X), ValueError, r"expected a list \[query, value\]"),
    (lambda: layers.LSTM(2, use_cudnn=True), NotImplementedError, "LSTM: use_cudnn"),
    (lambda: layers.LSTM(0), ValueError, "LSTM: units: expected a positive integer"),
    (lambda: layers.LSTM(), TypeError, "LSTM: units"),
    (lambda: layers.GRU(2, activation="rely"), ValueError, "relu"),
    (lambda: layers.LSTM(2, colour=3), TypeError, "LSTM: unknown arguments: colour"),
    (lambda: layers.LSTM(2, units=3), TypeError, "LSTM: units: given twice"),
    (lambda: layers.LSTM(2, seed="x"), TypeError, "LSTM: seed"),
    (lambda: layers.LSTM(2, recurrent_dropout=1.5), ValueError, "LSTM: recurrent_dropout"),
    (lambda: layers.LSTM(2)(X[0]), ValueError, r"expected \(n, t, features\)"),
    (lambda: layers.LSTM(2)(X, mask=np.ones((4, 5), bool)), ValueError, r"mask: expected shape \(4, 6\)"),
    (lambda: layers.LSTM(2)(X, initial_state=[np.zeros((4, 2))]), ValueError, "initial_state: expected 2 tensors"),
    (lambda: layers.GRUCell(2)(X[:, 0], [np.zeros((4, 2)), np.zeros((4, 2))]), ValueError, "states"),
    (lambda: layers.StackedRNNCells([]), ValueError, "cells: expected at least one"),
])  # fmt: skip
def test_what_is_wrong_is_said(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_signatures_are_those_of_keras():
    lstm = list(inspect.signature(layers.LSTM).parameters)
    assert lstm[:4] == ["units", "activation", "recurrent_activation", "use_bias"]
    assert {"unit_forget_bias", "recurrent_dropout", "stateful", "use_cudnn", "activity_regularizer"} <= set(lstm)
    assert inspect.signature(layers.GRU).parameters["reset_after"].default is True
    layer = layers.LSTM(3, "relu", "hard_sigmoid", False)
    assert layer.activation is lamella.activations.relu and not layer.use_bias and layer.units == 3
    assert isinstance(layer.cell, layers.LSTMCell)


# ---- saved models ----------------------------------------------------------------------------------------------------


def sequence_models():
    yield [layers.Bidirectional(layers.LSTM(3, return_sequences=True, kernel_regularizer="l2"), merge_mode="ave"),
           layers.GRU(2, reset_after=False, activation="gelu", recurrent_dropout=0.2)]  # fmt: skip
    yield [layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)], return_sequences=True),
           layers.TimeDistributed(layers.Dense(2, activation="relu")), layers.RNN(MinimalCell(3))]  # fmt: skip
    yield [layers.Masking(-1.0), layers.SimpleRNN(3, return_sequences=True, zero_output_for_mask=True)]


@pytest.mark.parametrize("number", range(3))
def test_models_survive_saving(number, tmp_path):
    model = models.Sequential([layers.Input((6, 3)), *list(sequence_models())[number]])
    model.compile("sgd", "mse")
    model.save(tmp_path / "m.safetensors")
    loaded = models.load_model(tmp_path / "m.safetensors", {"MinimalCell": MinimalCell})
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    assert loaded.get_config() == model.get_config()


def test_functional_models_with_attention_and_states_survive_saving(tmp_path):
    a, b = layers.Input((6, 3)), layers.Input((5, 4))
    _, *states = layers.LSTM(4, return_state=True)(b)
    x = layers.LSTM(4, return_sequences=True)(a, initial_state=states)
    y = layers.MultiHeadAttention(2, 3)(x, b)
    z = layers.Attention(use_scale=True)([x, b])
    model = models.Model([a, b], [y, z, layers.AdditiveAttention()([x, b])])
    model.save(tmp_path / "m.safetensors")
    inputs = [X, array(4, 5, 4)]
    loaded = models.load_model(tmp_path / "m.safetensors")
    for p, q in zip(model.predict(inputs), loaded.predict(inputs), strict=True):
        np.testing.assert_array_equal(p, q)


def test_nested_states_in_functional_models():
    x = layers.Input((6, 3))
    out, first, second = layers.RNN([layers.LSTMCell(4), layers.GRUCell(2)], return_state=True)(x)
    assert [s.shape for s in first] == [(None, 4), (None, 4)] and second.shape == (None, 2)
    model = models.Model(x, [out, *first, second])
    whole = model.predict(X)
    np.testing.assert_array_equal(whole[0], whole[3])


def test_regularizers_of_cells_are_penalties():
    layer = layers.LSTM(3, kernel_regularizer="l2", recurrent_regularizer="l1", bias_regularizer="l2")
    layer(X)
    assert len(layer.losses) == 3 and all(isinstance(p, Tensor) for p in layer.losses)
    layer.trainable = False
    assert not layer.trainable_weights and len(layer.non_trainable_weights) == 3
