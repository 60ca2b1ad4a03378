"""Recurrent layers in models: learning, masks, states, weights."""

import numpy as np
import pytest

import lamella
from lamella import layers, models


@pytest.fixture(autouse=True)
def _seed():
    lamella.seed(2)


def first_token_task(n=256, t=6):
    """Is the first token large? Only memory can tell at the end."""
    rng = np.random.default_rng(0)
    x = rng.integers(1, 20, (n, t))
    return x, (x[:, 0] >= 10).astype(np.int64)


@pytest.mark.parametrize("cell", [layers.LSTM, layers.GRU, layers.SimpleRNN])
def test_recurrent_networks_learn(cell):
    x, y = first_token_task()
    model = models.Sequential(
        [layers.Input((6,), dtype="int64"), layers.Embedding(20, 8), cell(24), layers.Dense(1, activation="sigmoid")]
    )
    model.compile(lamella.optimizers.Adam(0.02), "binary_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=30, verbose=0)
    assert model.evaluate(x, y, verbose=0)[1] > 0.9


@pytest.mark.parametrize("cell", [layers.LSTM, layers.GRU, layers.SimpleRNN])
@pytest.mark.parametrize("sequences", [False, True])
def test_masked_steps_change_nothing(cell, sequences):
    embed = layers.Embedding(20, 4, mask_zero=True)
    layer = cell(5, return_sequences=sequences)
    model = models.Sequential([embed, layer])
    short = np.array([[3, 7, 9]])
    padded = np.array([[3, 7, 9, 0, 0]])
    a, b = model.predict(short), model.predict(padded)
    np.testing.assert_allclose(a, b[:, :3] if sequences else b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("cell", "states"), [(layers.LSTM, 2), (layers.GRU, 1), (layers.SimpleRNN, 1)])
def test_states_go_out_and_in(cell, states):
    x = np.random.default_rng(0).standard_normal((2, 7, 3)).astype(np.float32)
    layer = cell(4, return_sequences=True, return_state=True)
    whole = layer(x)
    assert len(whole) == 1 + states
    first = layer(x[:, :3])
    rest = layer(x[:, 3:], initial_state=first[1:])
    np.testing.assert_allclose(rest[0].numpy(), whole[0].numpy()[:, 3:], rtol=1e-5, atol=1e-6)
    for a, b in zip(rest[1:], whole[1:], strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6)


def test_go_backwards_reverses_time():
    x = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32)
    layer = layers.LSTM(4, return_sequences=True)
    forward = layer(x[:, ::-1]).numpy()
    backwards = layers.LSTM(4, return_sequences=True, go_backwards=True)
    backwards(x)
    backwards.set_weights(layer.get_weights())
    np.testing.assert_allclose(backwards(x).numpy(), forward, rtol=1e-5, atol=1e-6)


def test_lstm_forget_bias_and_gru_weights_in_keras_order():
    lstm = layers.LSTM(3)
    lstm(np.zeros((1, 2, 2), np.float32))
    np.testing.assert_array_equal(lstm.get_weights()[2], [0] * 3 + [1] * 3 + [0] * 6)
    gru = layers.GRU(3)
    gru(np.zeros((1, 2, 2), np.float32))
    shapes = [w.shape for w in gru.get_weights()]
    assert shapes == [(2, 9), (3, 9), (2, 9)]
    marked = [np.arange(np.prod(s), dtype=np.float32).reshape(s) for s in shapes]
    gru.set_weights(marked)
    for a, b in zip(gru.get_weights(), marked, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(gru.kernel.numpy()[:, :3], marked[0][:, 3:6])  # r first, as the kernels want it


def test_recurrent_models_survive_saving(tmp_path):
    x, _ = first_token_task(8)
    model = models.Sequential(
        [
            layers.Input((6,), dtype="int64"),
            layers.Embedding(20, 8, mask_zero=True),
            layers.GRU(4, return_sequences=True),
            layers.LSTM(3),
        ]
    )
    model.save(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(models.load_model(tmp_path / "m.safetensors").predict(x), model.predict(x))


@pytest.mark.parametrize("argument", [{"use_cudnn": True}])
def test_what_is_not_supported_is_refused(argument):
    with pytest.raises(NotImplementedError, match=next(iter(argument))):
        layers.LSTM(3, **argument)


@pytest.mark.parametrize("eager", [False, True])
def test_masking_hides_padded_steps(eager):
    x = np.random.default_rng(0).standard_normal((4, 6, 3)).astype(np.float32)
    x[:, 4:] = -1
    x[1, 2:] = -1
    model = models.Sequential([layers.Masking(-1.0, input_shape=(6, 3)), layers.LSTM(5)])
    model.compile("sgd", "mse", run_eagerly=eager)
    out = model.predict(x, verbose=0)
    np.testing.assert_allclose(out[[0, 2, 3]], model.layers[1](x[[0, 2, 3], :4]).numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(out[1:2], model.layers[1](x[1:2, :2]).numpy(), rtol=1e-5, atol=1e-6)
    before = model.get_weights()
    model.fit(x, np.ones((4, 5)), verbose=0)
    assert any((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))


def test_arrays_as_mask_and_initial_state():
    x = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32)
    layer = layers.LSTM(4)
    mask = np.arange(5) < np.array([[3], [5]])
    np.testing.assert_allclose(layer(x, mask=mask).numpy()[:1], layer(x[:1, :3]).numpy(), rtol=1e-5, atol=1e-6)
    h, c = np.ones((2, 4)), np.full((2, 4), 2.0)  # float64: taken in the layer's type
    by_arrays = layer(x, initial_state=[h, c]).numpy()
    tensors = [lamella.tensor(a.astype(np.float32)) for a in (h, c)]
    np.testing.assert_array_equal(by_arrays, layer(x, initial_state=tensors).numpy())
    assert np.abs(by_arrays - layer(x).numpy()).max() > 0.01


@pytest.mark.parametrize("eager", [False, True])
def test_padded_steps_count_neither_in_the_loss_nor_in_metrics(eager):
    rng = np.random.default_rng(0)
    x, y, weight = rng.integers(1, 9, (20, 6)), rng.integers(0, 3, (20, 6)), rng.random(20)
    for row, length in zip(x, rng.integers(2, 7, 20), strict=True):
        row[length:] = 0
    model = models.Sequential(
        [
            layers.Embedding(9, 4, mask_zero=True),
            layers.LSTM(5, return_sequences=True),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(
        "sgd", "sparse_categorical_crossentropy", metrics=["accuracy"], weighted_metrics=["accuracy"], run_eagerly=eager
    )
    p, real = model.predict(x, verbose=0), x > 0
    loss, hit = -np.log(np.take_along_axis(p, y[..., None], -1)[..., 0]), p.argmax(-1) == y
    np.testing.assert_allclose(
        model.evaluate(x, y, batch_size=20, verbose=0)[:2], [loss[real].mean(), hit[real].mean()], rtol=1e-5
    )
    each = np.broadcast_to(weight[:, None], x.shape)[real]
    np.testing.assert_allclose(
        model.evaluate(x, y, batch_size=20, sample_weight=weight, verbose=0),
        [(loss[real] * each).mean(), hit[real].mean(), np.average(hit[real], weights=each)],
        rtol=1e-5,
    )
