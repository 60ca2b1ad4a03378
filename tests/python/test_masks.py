"""Masks of padded time steps: which layers use them, which pass them on, where they end."""

import warnings

import numpy as np
import pytest

import lamella
from lamella import layers, models


@pytest.fixture(autouse=True)
def _seed():
    lamella.seed(2)


def tokens():
    """Sequences of 2 to 6 tokens from 1 to 8, padded with zeros."""
    rng = np.random.default_rng(0)
    x = rng.integers(1, 9, (20, 6))
    for row, length in zip(x, rng.integers(2, 7, 20), strict=True):
        row[length:] = 0
    return x


def embed(**kwargs):
    return layers.Embedding(9, 4, mask_zero=True, **kwargs)


class ShowMask(layers.Layer):
    """The mask that reaches this layer, as numbers; -1 for none."""

    def call(self, inputs, mask=None):
        return inputs[:, 0] * 0.0 - 1.0 if mask is None else mask.to(np.float32)


def run(model, x, eager):
    model.compile("sgd", "mse", run_eagerly=eager)
    out = model.predict(x, verbose=0)
    assert eager == (None in model._engine._steps.values())  # masks need no way back to Python
    return out


def seen(layer, eager, x=None):
    """The mask behind a layer."""
    return run(models.Sequential([embed(), layer, ShowMask()]), tokens() if x is None else x, eager)


both = pytest.mark.parametrize("eager", [False, True])


@both
@pytest.mark.parametrize("keepdims", [False, True])
def test_global_average_pooling_leaves_padding_out(eager, keepdims):
    x = tokens()
    x[3] = 0  # nothing but padding
    model = models.Sequential([embed(), layers.GlobalAveragePooling1D(keepdims=keepdims)])
    got = run(model, x, eager)
    table = model.get_weights()[0]
    truth = np.stack([table[row[row > 0]].mean(0) if row.any() else np.zeros(4) for row in x])
    np.testing.assert_allclose(got.reshape(20, 4), truth, rtol=1e-5, atol=1e-7)
    assert got.shape == ((20, 1, 4) if keepdims else (20, 4))
    before = table.copy()
    model.fit(x, np.ones(got.shape), verbose=0)
    assert eager == (None in model._engine._steps.values())
    after = model.get_weights()[0]
    assert (after[1:] != before[1:]).any()
    np.testing.assert_array_equal(after[0], before[0])  # padding has no part in it


def test_global_average_pooling_by_hand():
    x = np.random.default_rng(0).standard_normal((3, 5, 2)).astype(np.float32)
    mask = np.arange(5) < np.array([[1], [5], [3]])
    got = layers.GlobalAveragePooling1D()(x, mask=mask).numpy()
    np.testing.assert_allclose(got, np.stack([a[m].mean(0) for a, m in zip(x, mask, strict=True)]), rtol=1e-5)
    np.testing.assert_allclose(layers.GlobalAveragePooling1D()(x).numpy(), x.mean(1), rtol=1e-5)


@both
@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.Dense(4), lambda: layers.Activation("relu"), layers.ReLU, layers.LeakyReLU, layers.ELU,
        layers.Softmax, layers.Identity, lambda: layers.Dropout(0.5), layers.BatchNormalization,
        layers.LayerNormalization, lambda: layers.LSTM(3, return_sequences=True),
    ],
)  # fmt: skip
def test_layers_that_pass_the_mask_on(eager, make):
    np.testing.assert_array_equal(seen(make(), eager), tokens() > 0)


@both
@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.Conv1D(4, 3, padding="same"), lambda: layers.MaxPooling1D(2), lambda: layers.AveragePooling1D(2),
        lambda: layers.Reshape((12, 2)), lambda: layers.Permute((2, 1)),
    ],
)  # fmt: skip
def test_layers_at_which_the_mask_ends_with_a_warning(eager, make):
    with pytest.warns(UserWarning, match="does not support masking: the mask of its input ends here"):
        assert (seen(make(), eager) == -1).all()
    # later recurrent layers see every step
    model = models.Sequential([embed(input_shape=(6,)), make(), layers.LSTM(3)])
    with pytest.warns(UserWarning, match="masking"):
        assert run(model, tokens(), eager).shape == (20, 3)


@both
def test_pooling_and_flattening_end_the_mask(eager):
    for layer in (layers.GlobalMaxPooling1D(), layers.Flatten(), layers.LSTM(3), layers.GlobalAveragePooling1D()):
        model = models.Sequential([embed(input_shape=(6,)), layer, layers.RepeatVector(6), ShowMask()])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert (run(model, tokens(), eager) == -1).all()


@both
def test_a_users_layer_says_whether_it_keeps_the_mask(eager):
    class Twice(layers.Layer):
        def call(self, inputs):
            return inputs * 2.0

    class TwiceMasked(Twice):
        def __init__(self):
            super().__init__()
            self.supports_masking = True

    class PositiveOnly(Twice):
        def compute_mask(self, inputs, previous_mask=None):
            return inputs[:, :, 0] > 0

    with pytest.warns(UserWarning, match=r"twice: Twice does not support masking"):
        assert (seen(Twice(name="twice"), eager) == -1).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(seen(TwiceMasked(), eager), tokens() > 0)
        model = models.Sequential([embed(), PositiveOnly(), ShowMask()])
        got = run(model, tokens(), eager)
        np.testing.assert_array_equal(got, model.get_weights()[0][tokens(), 0] > 0)


@both
def test_masks_of_joined_inputs(eager):
    a, b = tokens(), tokens()[::-1].copy()
    first, second = layers.Input((6,), dtype="int64"), layers.Input((6,), dtype="int64")
    left, right = embed(name="left")(first), embed(name="right")(second)
    plain = layers.Embedding(9, 4, name="plain")(second)

    def mask(out):
        return run(models.Model([first, second], ShowMask()(out)), [a, b], eager)

    either = (a > 0) | (b > 0)
    for layer in (layers.Add, layers.Subtract, layers.Multiply, layers.Average, layers.Maximum, layers.Concatenate):
        np.testing.assert_array_equal(mask(layer()([left, right])), either)
        assert (mask(layer()([left, plain])) == -1).all()
    for axis in (1, -2):
        joined = layers.Concatenate(axis=axis)([left, right])
        np.testing.assert_array_equal(mask(joined), np.concatenate([a > 0, b > 0], 1))
        joined = layers.Concatenate(axis=axis)([plain, right])
        np.testing.assert_array_equal(mask(joined), np.concatenate([np.ones((20, 6)), b > 0], 1))
    assert (mask(layers.Concatenate(axis=1)([plain, plain])) == -1).all()


@both
def test_masks_in_nested_models(eager):
    inner = models.Sequential([layers.Dense(4), layers.LSTM(3, return_sequences=True)])
    np.testing.assert_array_equal(seen(inner, eager), tokens() > 0)
    pooled = models.Sequential([layers.Dense(6), layers.GlobalAveragePooling1D(), layers.RepeatVector(6)])
    assert (seen(pooled, eager) == -1).all()


def test_a_mask_given_to_a_model_reaches_its_layers():
    x = np.random.default_rng(0).standard_normal((3, 5, 2)).astype(np.float32)
    mask = np.arange(5) < np.array([[1], [5], [3]])
    inputs = layers.Input((5, 2))
    pool = layers.GlobalAveragePooling1D()
    truth = pool(x, mask=mask).numpy()
    for model in (models.Sequential([layers.Input((5, 2)), pool]), models.Model(inputs, pool(inputs))):
        np.testing.assert_array_equal(model(x, mask=mask).numpy(), truth)
        np.testing.assert_allclose(model(x).numpy(), x.mean(1), rtol=1e-5)


@both
def test_masking_compares_exactly(eager):
    x = np.ones((4, 3, 2), np.float32)
    x[0, 1] = 0
    x[1, 2] = [0, np.nan]  # NaN is data that went wrong, not padding
    x[2, 0] = [0, 1e-30]
    model = models.Sequential([layers.Masking(0.0, input_shape=(3, 2)), ShowMask()])
    want = np.ones((4, 3))
    want[0, 1] = 0
    np.testing.assert_array_equal(run(model, x, eager), want)
    out = layers.Masking(1.0)(np.ones((2, 3, 2, 5), np.float32)).numpy()
    np.testing.assert_array_equal(out, 0)
