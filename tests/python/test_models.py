"""Sequential and functional models: training, evaluation, prediction, weights."""

import numpy as np
import pytest

import lamella
from lamella import activations, callbacks, layers, losses, models, optimizers
from lamella.utils import to_categorical


@pytest.fixture(autouse=True)
def _seed():
    lamella.seed(1)


def blobs(n=240, classes=3, features=5, seed=0):
    """Separable clouds."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    x = rng.standard_normal((n, features)) * 0.4 + 2.5 * np.eye(classes, features)[y]
    return x.astype(np.float32), y


def mlp(features=5, classes=3):
    return models.Sequential(
        [
            layers.Dense(16, activation="relu", input_shape=(features,)),
            layers.Dense(classes, activation="softmax"),
        ]
    )


def compiled(**kwargs):
    model = mlp()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], **kwargs)
    return model


def test_fit_learns_and_reports():
    x, y = blobs()
    model = compiled()
    history = model.fit(x, y, epochs=30, batch_size=32, verbose=0, validation_data=(x[:50], y[:50]))
    assert set(history.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert history.history["loss"][-1] < 0.5 * history.history["loss"][0]
    loss, accuracy = model.evaluate(x, y, verbose=0)
    assert accuracy > 0.95
    assert loss == pytest.approx(float(-np.log(model.predict(x)[np.arange(len(y)), y]).mean()), rel=1e-4)


@pytest.mark.parametrize("target", ["sparse", "column", "one-hot"])
def test_targets_in_every_form_train_alike(target):
    x, y = blobs()
    lamella.seed(3)
    model = mlp()
    loss = "categorical_crossentropy" if target == "one-hot" else "sparse_categorical_crossentropy"
    model.compile("adam", loss, metrics=["accuracy"])
    t = {"sparse": y, "column": y[:, None].astype(np.uint8), "one-hot": to_categorical(y, 3)}[target]
    got = model.fit(x, t, epochs=3, verbose=0).history
    lamella.seed(3)
    other = mlp()
    other.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    want = other.fit(x, y, epochs=3, verbose=0).history
    np.testing.assert_allclose(got["loss"], want["loss"], rtol=1e-5)
    np.testing.assert_allclose(got["accuracy"], want["accuracy"])


def train(model_of, eager, epochs=2, threads=None):
    lamella.seed(5)
    x, y = blobs(100)
    model = model_of()
    model.compile(optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy", metrics=["accuracy"],
                  run_eagerly=eager)  # fmt: skip
    history = model.fit(x, y, epochs=epochs, batch_size=32, verbose=0)
    return history.history, model.get_weights(), model.predict(x)


def dropout_net():
    return models.Sequential(
        [
            layers.Dense(32, activation="tanh", input_shape=(5,), kernel_regularizer="l2"),
            layers.Dropout(0.3),
            layers.BatchNormalization(),
            layers.Dense(3),
            layers.Activation("softmax"),
        ]
    )


@pytest.mark.parametrize("model_of", [mlp, dropout_net])
def test_plan_and_eager_agree(model_of):
    planned, eager = train(model_of, False), train(model_of, True)
    np.testing.assert_allclose(planned[0]["loss"], eager[0]["loss"], rtol=1e-4)
    for a, b in zip(planned[1], eager[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(planned[2], eager[2], rtol=1e-3, atol=1e-4)


def test_same_bits_for_one_and_two_threads():
    results = []
    for threads in (1, 2):
        lamella.set_num_threads(threads)
        results.append(train(dropout_net, False))
    for a, b in zip(results[0][1] + [results[0][2]], results[1][1] + [results[1][2]], strict=True):
        np.testing.assert_array_equal(a, b)


def test_seed_fixes_everything():
    a, b = train(dropout_net, False), train(dropout_net, False)
    for p, q in zip(a[1], b[1], strict=True):
        np.testing.assert_array_equal(p, q)


def test_sample_and_class_weights():
    x, y = blobs()
    model = compiled()
    base = model.evaluate(x, y, verbose=0)[0]
    weight = np.where(y == 0, 2.0, 0.0)
    per_sample = -np.log(model.predict(x)[np.arange(len(y)), y])
    weighted = model.evaluate(x, y, sample_weight=weight, verbose=0)[0]
    assert weighted == pytest.approx(float((per_sample * weight).mean()), rel=1e-4)
    assert base != pytest.approx(weighted)
    lamella.seed(2)
    a = compiled()
    a.fit(x, y, class_weight={0: 5.0, 1: 1.0}, epochs=2, verbose=0)
    lamella.seed(2)
    b = compiled()
    b.fit(x, y, sample_weight=np.where(y == 0, 5.0, 1.0), epochs=2, verbose=0)
    for p, q in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_array_equal(p, q)


def test_the_last_smaller_batch_counts():
    x, y = blobs(70)
    model = compiled()
    whole = model.evaluate(x, y, batch_size=70, verbose=0)
    np.testing.assert_allclose(model.evaluate(x, y, batch_size=32, verbose=0), whole, rtol=1e-5)
    np.testing.assert_allclose(model.predict(x, batch_size=32), model.predict(x, batch_size=70), rtol=1e-5, atol=1e-6)


def test_uint8_images_train_like_floats():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (64, 6, 6, 1)).astype(np.uint8)
    y = rng.integers(0, 2, 64)
    results = []
    for data in (x, x.astype(np.float32)):
        lamella.seed(4)
        model = models.Sequential(
            [
                layers.Conv2D(4, 3, activation="relu", input_shape=(6, 6, 1)),
                layers.Flatten(),
                layers.Dense(2, activation="softmax"),
            ]
        )
        model.compile("sgd", "sparse_categorical_crossentropy")
        model.fit(data / np.uint8(1) if data.dtype == np.uint8 else data, y, epochs=2, verbose=0)
        results.append(model.get_weights())
    for p, q in zip(*results, strict=True):
        np.testing.assert_array_equal(p, q)


def test_train_on_batch_and_generators():
    x, y = blobs()
    model = compiled()
    first = model.train_on_batch(x, y, return_dict=True)
    for _ in range(60):
        last = model.train_on_batch(x, y, return_dict=True)
    assert last["loss"] < first["loss"]
    batches = [(x[i : i + 40], y[i : i + 40]) for i in range(0, 240, 40)]
    history = model.fit(iter(batches), epochs=1, verbose=0)
    assert history.history["accuracy"][0] > 0.5
    history = model.fit(iter(batches), steps_per_epoch=2, epochs=1, verbose=0)
    assert len(history.epoch) == 1


def test_validation_split_is_the_end_of_the_data():
    x, y = blobs(100)
    x[80:] = np.nan
    with pytest.warns(RuntimeWarning, match="validation_data, batch 0"):
        history = compiled().fit(x, y, validation_split=0.2, epochs=1, verbose=0).history
    assert np.isfinite(history["loss"][0]) and np.isnan(history["val_loss"][0])


@pytest.mark.parametrize(
    "method", ["fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch"]
)
def test_errors_begin_with_the_method_that_was_called(method):
    x, y = blobs(20)
    model = compiled()
    model.fit(x, y, epochs=1, verbose=0)
    with pytest.raises(ValueError, match=f"^{method}: x: expected shape"):
        getattr(model, method)(np.ones((20, 9), np.float32), *([] if "predict" in method else [y]))
    if method in ("evaluate", "predict"):
        with pytest.raises(ValueError, match=f"^{method}: x: expected shape"):
            getattr(model, method)(iter([(np.ones((20, 9), np.float32), y)]))


def test_validation_data_is_named():
    x, y = blobs(20)
    with pytest.raises(ValueError, match=r"^fit: validation_data: y: expected 20 rows as in x, got 19"):
        compiled().fit(x, y, validation_data=(x, y[:-1]), verbose=0)


def test_no_loss_is_said():
    x, y = blobs(20)
    model = compiled()
    model.compile("sgd")
    for method in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match="compile: loss: expected a loss, got None"):
            method(x, y, verbose=0)


def test_nan_is_reported_with_its_batch():
    x, y = blobs(96)
    x[40] = np.nan
    with pytest.warns(RuntimeWarning, match="epoch 1, batch 1"):
        compiled().fit(x, y, batch_size=32, shuffle=False, epochs=1, verbose=0)


def test_functional_model_with_two_inputs_and_a_skip():
    a, b = layers.Input((4,)), layers.Input((4,))
    h = layers.Dense(8, activation="relu")(layers.Concatenate()([a, b]))
    h = layers.Add()([h, layers.Dense(8)(a)])
    model = models.Model(inputs=[a, b], outputs=layers.Dense(1)(h))
    rng = np.random.default_rng(0)
    xa, xb = rng.standard_normal((2, 128, 4)).astype(np.float32)
    y = (xa.sum(1) - xb.sum(1))[:, None]
    model.compile(optimizers.Adam(0.01), "mse", metrics=["mae"])
    history = model.fit([xa, xb], y, epochs=60, verbose=0).history
    assert history["loss"][-1] < 0.1 * history["loss"][0]
    assert model.predict([xa, xb]).shape == (128, 1)


def test_frozen_layers_do_not_change():
    x, y = blobs()
    model = mlp()
    model.layers[0].trainable = False
    model.compile("adam", "sparse_categorical_crossentropy")
    before = model.get_weights()
    model.fit(x, y, epochs=2, verbose=0)
    after = model.get_weights()
    np.testing.assert_array_equal(before[0], after[0])
    assert np.abs(before[2] - after[2]).max() > 0
    assert len(model.trainable_weights) == 2 and len(model.non_trainable_weights) == 2


class Scale(layers.Layer):
    """A user's layer with a weight, made of tensor operations."""

    def build(self, input_shape):
        self.add_weight((input_shape[-1],), "ones", name="factor")

    def call(self, inputs):
        return inputs * self.factor


class Halve(lamella.autograd.Function):
    """A user's op in Python."""

    @staticmethod
    def forward(ctx, x):
        return x / 2

    @staticmethod
    def backward(ctx, grad):
        return grad / 2


class HalveLayer(layers.Layer):
    def call(self, inputs):
        return Halve.apply(inputs)


@pytest.mark.parametrize("extra", [Scale, HalveLayer])
def test_users_layers_and_ops_train(extra):
    x, y = blobs()
    model = models.Sequential(
        [layers.Dense(16, activation="relu", input_shape=(5,)), extra(), layers.Dense(3, activation="softmax")]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=20, verbose=0)
    assert model.evaluate(x, y, verbose=0)[1] > 0.9
    assert model.predict(x[:5]).shape == (5, 3)


class Subclassed(models.Model):
    def __init__(self):
        super().__init__()
        self.first = layers.Dense(8, activation="relu")
        self.second = layers.Dense(3)

    def call(self, x):
        return self.second(self.first(x))


def test_subclassed_model_and_loss_from_logits():
    x, y = blobs()
    model = Subclassed()
    model.compile("adam", losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(x, y, epochs=20, verbose=0)
    assert model.evaluate(x, y, verbose=0)[1] > 0.9


def test_a_users_loss_function():
    x, _ = blobs()
    model = models.Sequential([layers.Dense(1, input_shape=(5,))])
    model.compile("sgd", lambda t, p: ((p - t) ** 2).mean(-1))
    target = x.sum(1, keepdims=True)
    history = model.fit(x, target, epochs=20, verbose=0).history["loss"]
    assert history[-1] < 0.2 * history[0]


def test_callbacks_see_epochs_and_batches():
    x, y = blobs(96)
    seen = []

    class Watch(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(batch)

        def on_epoch_end(self, epoch, logs=None):
            seen.append(f"epoch {epoch}")

    compiled().fit(x, y, batch_size=32, epochs=2, verbose=0, callbacks=[Watch()])
    assert seen == [0, 1, 2, "epoch 0", 0, 1, 2, "epoch 1"]


def test_early_stopping_restores_the_best_weights():
    x, y = blobs()
    model = compiled()
    stop = callbacks.EarlyStopping(monitor="loss", patience=0, min_delta=10.0, restore_best_weights=True)
    history = model.fit(x, y, epochs=10, verbose=0, callbacks=[stop])
    assert len(history.epoch) == 2


def test_initial_epoch_counts_on():
    x, y = blobs()
    history = compiled().fit(x, y, epochs=5, initial_epoch=3, verbose=0)
    assert history.epoch == [3, 4]


def test_summary_prints_shapes_and_counts():
    lines = []
    mlp().summary(print_fn=lines.append)
    text = "\n".join(lines)
    assert "(None, 16)" in text and "Total params: 147" in text


def test_frozen_batch_normalisation_keeps_its_statistics():
    layer = layers.BatchNormalization()
    model = models.Sequential([layers.Dense(4, input_shape=(5,)), layer, layers.Dense(3, activation="softmax")])
    layer.trainable = False
    model.compile("adam", "sparse_categorical_crossentropy")
    x, y = blobs()
    before = layer.get_weights()
    model.fit(x, y, epochs=1, verbose=0)
    for a, b in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "change",
    [
        lambda x, y: (x[:10], y),
        lambda x, y: (x[:, :3], y),
        lambda x, y: (x[:0], y[:0]),
        lambda x, y: (x, y + 5),
        lambda x, y: (x, -y - 1),
        lambda x, y: (np.float32(3), y),
        lambda x, y: (x, to_categorical(y, 3)),
    ],
)
def test_bad_data_is_a_value_error(change):
    x, y = blobs()
    with pytest.raises(ValueError, match=r"expected"):
        compiled().fit(*change(x, y), verbose=0)


def test_bad_dtypes_are_type_errors():
    x, y = blobs()
    with pytest.raises(TypeError, match="numbers"):
        compiled().fit(np.array([["a"]] * len(y)), y, verbose=0)
    with pytest.raises(TypeError):
        compiled().fit(x.astype(np.complex64), y, verbose=0)


def test_strided_readonly_and_byteswapped_arrays_work():
    x, _ = blobs()
    model = compiled()
    want = model.predict(x)
    wide = np.repeat(x, 2, axis=1)[:, ::2]
    readonly = x.copy()
    readonly.flags.writeable = False
    for other in (wide, readonly, x.astype(">f4"), np.asfortranarray(x), x.astype(np.float64)):
        np.testing.assert_array_equal(model.predict(other), want)


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        (lambda: layers.Dense(3, activation="rellu"), "relu"),
        (lambda: mlp().compile("adamm", "mse"), "adam"),
        (lambda: mlp().compile("adam", "mean_square_error"), "mean_squared_error"),
        (lambda: mlp().compile("adam", "mse", metrics=["acuracy"]), "accuracy"),
        (lambda: layers.Dense(3, kernel_initializer="he_norml"), "he_normal"),
    ],
)
def test_unknown_names_give_the_closest(call, hint):
    with pytest.raises(ValueError, match=f"did you mean '{hint}'"):
        call()


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.Dense(-1),
        lambda: layers.Conv2D(8, 0),
        lambda: layers.Conv2D(8, 3, padding="maybe"),
        lambda: layers.Dropout(1.5),
        lambda: layers.MaxPooling2D(-2),
        lambda: models.Sequential([layers.Dense(3, input_shape=(4,)), layers.Conv2D(3, 3)]),
    ],
)
def test_bad_arguments(make):
    with pytest.raises(ValueError, match="expected"):
        make()


def test_unknown_arguments_are_refused():
    with pytest.raises(TypeError, match="colour"):
        layers.Dense(3, colour="red")
    with pytest.raises(RuntimeError, match="compile"):
        mlp().fit(*blobs(), verbose=0)


def test_a_sample_without_its_batch_dimension_is_refused():
    model = models.Sequential([layers.Dense(3, input_shape=(4,))])
    for x in (np.ones(4, np.float32), np.ones((5, 3), np.float32), np.ones((5, 4, 2), np.float32)):
        with pytest.raises(ValueError, match=r"x: expected shape \(None, 4\)"):
            model.predict(x, verbose=0)
    # A missing last axis of one channel is added, as Keras does.
    images = models.Sequential([layers.Input((6, 6, 1)), layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(2)])
    x = np.random.default_rng(0).random((5, 6, 6, 1), np.float32)
    np.testing.assert_array_equal(images.predict(x[..., 0], verbose=0), images.predict(x, verbose=0))


def test_an_output_without_a_row_per_sample_is_refused():
    class Fold(layers.Layer):
        def call(self, x):
            return x.sum(0)

    with pytest.raises(ValueError, match="one row per sample, 5 rows"):
        models.Sequential([Fold()]).predict(np.ones((5, 4), np.float32), verbose=0)


def two_outputs():
    x = layers.Input((5,))
    model = models.Model(x, [layers.Dense(2, name="left")(x), layers.Dense(2, name="right")(x)])
    model.compile("sgd", "mse")
    return model


def test_targets_in_a_dict_go_by_name():
    x, _ = blobs()
    rng = np.random.default_rng(1)
    left, right = rng.random((len(x), 2)), 10 + rng.random((len(x), 2))
    model = two_outputs()
    expected = model.evaluate(x, [left, right], verbose=0)
    assert model.evaluate(x, {"right": right, "left": left}, verbose=0) == expected
    assert model.evaluate(x, [right, left], verbose=0) != expected
    with pytest.raises(ValueError, match="expected entries left, right, got wrong"):
        model.evaluate(x, {"left": left, "wrong": right}, verbose=0)
    with pytest.raises(ValueError, match="missing right"):
        model.evaluate(x, {"left": left}, verbose=0)


@pytest.mark.parametrize("dtype", [bool, int, np.uint8, np.float64, np.float32])
def test_one_hot_targets_of_any_dtype(dtype):
    x, y = blobs()
    a, b = (compiled_for("categorical_crossentropy") for _ in range(2))
    one = a.fit(x, np.eye(3, dtype=np.float32)[y], verbose=0, shuffle=False).history
    assert b.fit(x, np.eye(3, dtype=dtype)[y], verbose=0, shuffle=False).history == one


def compiled_for(loss, last="softmax", classes=3, **kwargs):
    lamella.seed(1)
    model = models.Sequential([layers.Dense(classes, activation=last, input_shape=(5,))])
    model.compile("sgd", loss, metrics=["accuracy"], **kwargs)
    return model


def test_class_weights_do_not_weigh_the_validation_part():
    x, y = blobs()
    model = compiled_for("sparse_categorical_crossentropy")
    history = model.fit(x, y, class_weight={0: 7.0}, validation_split=0.25, verbose=0).history
    cut = int(len(x) * 0.75)
    np.testing.assert_allclose(history["val_loss"][0], model.evaluate(x[cut:], y[cut:], verbose=0)[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("loss", "last", "classes"),
    [
        ("sparse_categorical_crossentropy", "softmax", 3),
        ("categorical_crossentropy", "softmax", 3),
        ("binary_crossentropy", "sigmoid", 1),
    ],
)
def test_saturated_probabilities_have_one_loss(loss, last, classes):
    # Far from 0 and 1 in float32: what is computed from probabilities is off, and its gradient zero.
    x, y = blobs()
    x = x * 300
    y = np.eye(3)[y] if loss.startswith("categ") else y if classes == 3 else y % 2
    results = []
    for eager in (False, True):
        model = compiled_for(loss, last, classes, run_eagerly=eager)
        before = model.evaluate(x, y, batch_size=len(x), verbose=0)
        np.testing.assert_allclose(model.train_on_batch(x, y), before, rtol=1e-6)
        results.append((before, model.get_weights()))
    assert results[0][0][0] > 20  # more than -log(1e-7)
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-6)
    for a, b in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_float64_models():
    x, y = blobs()
    model = models.Sequential(
        [layers.Dense(8, "relu", dtype="float64", input_shape=(5,)), layers.Dense(3, "softmax", dtype="float64")]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    assert model.fit(x, y, epochs=40, sample_weight=np.ones(len(x)), verbose=0).history["loss"][-1] < 0.5
    assert model.predict(x, verbose=0).dtype == np.float64
    mixed = models.Sequential([layers.Dense(8, dtype="float64", input_shape=(5,)), layers.Dense(3)])
    assert mixed.predict(x, verbose=0).dtype == np.float32


def test_labels_that_are_no_class_numbers_name_their_sample():
    x, y = blobs()
    for bad, text in ((np.nan, "nan at sample 7"), (0.5, "0.5 at sample 7")):
        labels = y.astype(np.float32)
        labels[7] = bad
        with pytest.raises(ValueError, match=f"expected class numbers, got label {text}"):
            compiled().fit(x, labels, verbose=0)
    labels = y.copy()
    labels[200] = 3
    with pytest.raises(ValueError, match="class numbers from 0 to 2, got label 3 at sample 200"):
        compiled().fit(x, labels, verbose=0)
    compiled().fit(x, y.astype(np.float64), verbose=0)  # as they come out of a CSV file


@pytest.mark.parametrize("class_weight", [{-1: 2.0}, {"a": 2.0}, {0.5: 1.0}])
def test_class_weights_with_odd_keys_are_refused(class_weight):
    x, y = blobs()
    with pytest.raises(ValueError, match="class_weight: expected class numbers"):
        compiled().fit(x, y, class_weight=class_weight, verbose=0)


def test_class_weights_of_batches_and_of_classes_that_do_not_occur():
    x, y = blobs()
    weights = {0: 3.0, 2: 0.5, 10**13: 2.0}
    a, b = compiled_for("sparse_categorical_crossentropy"), compiled_for("sparse_categorical_crossentropy")
    a.fit(x, y, batch_size=40, shuffle=False, class_weight=weights, verbose=0)
    b.fit(((x[i : i + 40], y[i : i + 40]) for i in range(0, 240, 40)), class_weight=weights, verbose=0)
    for p, q in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_array_equal(p, q)
    with pytest.raises(TypeError, match="class_weight: expected a dict"):
        a.fit(x, y, class_weight=[1, 2, 3], verbose=0)


@pytest.mark.parametrize(
    "arguments",
    [
        {"epochs": -1}, {"epochs": "3"}, {"initial_epoch": -2}, {"validation_freq": 0}, {"verbose": "loud"},
        {"verbose": 5}, {"shuffle": "batch"}, {"batch_size": 0}, {"batch_size": "a"}, {"validation_split": 1.5},
        {"validation_data": (np.zeros((0, 5)), np.zeros(0, int))}, {"validation_data": (np.zeros((3, 4)), np.zeros(3))},
    ],
)  # fmt: skip
def test_arguments_of_fit_are_checked_before_training(arguments):
    x, y = blobs()
    model = compiled()
    before = model.get_weights()
    with pytest.raises(ValueError, match="expected"):
        model.fit(x, y, **{"verbose": 0, **arguments})
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_validation_freq_may_list_epochs():
    x, y = blobs()
    history = compiled().fit(x, y, epochs=5, validation_data=(x, y), validation_freq=[2, 5], verbose=0).history
    assert len(history["loss"]) == 5 and len(history["val_loss"]) == 2


def test_wrong_numbers_of_inputs_and_empty_batches():
    x, y = blobs()
    model = compiled()
    for call in (lambda: model.predict([x, x], verbose=0), lambda: model.predict([x[0], x[1]], verbose=0)):
        with pytest.raises(ValueError, match="expected 1 array, got 2"):
            call()
    with pytest.raises(ValueError, match="x: expected an array, got None"):
        model.predict(None, verbose=0)
    for call in (
        lambda: model.predict_on_batch(x[:0]),
        lambda: model.test_on_batch(x[:0], y[:0]),
        lambda: model.train_on_batch(x[:0], y[:0]),
    ):
        with pytest.raises(ValueError, match="at least one sample"):
            call()


def test_a_frozen_model_can_be_fitted_with_a_warning():
    x, y = blobs()
    model = compiled()
    model.trainable = False
    before = model.get_weights()
    with pytest.warns(UserWarning, match="no trainable weights"):
        history = model.fit(x, y, verbose=0).history
    np.testing.assert_allclose(history["loss"][0], model.evaluate(x, y, verbose=0)[0], rtol=1e-6)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("eager", [False, True])
def test_functions_as_metrics(eager):
    def closeness(y_true, y_pred):
        return (y_true - y_pred).abs().mean(-1)

    def in_numpy(y_true, y_pred):
        return float(np.abs(y_true.numpy() - y_pred.numpy()).mean())

    x, _ = blobs()
    y = x[:, :2] * 2
    model = models.Sequential([layers.Dense(2, input_shape=(5,))])
    model.compile("sgd", "mse", metrics=["mae", closeness], weighted_metrics=[closeness], run_eagerly=eager)
    found = model.evaluate(x, y, return_dict=True, sample_weight=np.arange(240), verbose=0)
    np.testing.assert_allclose(found["closeness"], found["mae"], rtol=1e-5)
    errors = np.abs(model.predict(x, verbose=0) - y).mean(-1)
    np.testing.assert_allclose(found["weighted_closeness"], np.average(errors, weights=np.arange(240)), rtol=1e-5)
    model.compile("sgd", "mse", metrics=["mae", in_numpy])
    found = model.evaluate(x, y, return_dict=True, batch_size=60, verbose=0)
    np.testing.assert_allclose(found["in_numpy"], found["mae"], rtol=1e-5)


def test_nan_is_warned_of_once_a_run():
    x, y = blobs()
    x[70] = np.nan
    model = compiled()
    with pytest.warns(RuntimeWarning) as seen:
        model.fit(x, y, batch_size=16, shuffle=False, verbose=0)
    assert len(seen) == 1 and "batch 4" in str(seen[0].message)
    with pytest.warns(RuntimeWarning, match="train_on_batch"):
        model.train_on_batch(x, y)


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.Input((-1,)), lambda: layers.Input(("a",)), lambda: layers.Input(5),
        lambda: layers.Dense(3, input_shape=5), lambda: layers.Dense(None), lambda: layers.Dense("a"),
        lambda: layers.Dense(True), lambda: layers.Dense(2.5), lambda: layers.Conv2D("a", 3),
        lambda: layers.Conv2D(4, 3, groups=0), lambda: layers.Embedding("a", 3), lambda: layers.Embedding(3, 0),
        lambda: layers.LSTM(-2), lambda: layers.LSTM(2, dropout="a"), lambda: layers.Dropout("a"),
        lambda: layers.Dropout(1.5), lambda: layers.RepeatVector(0),
        lambda: layers.LayerNormalization(axis=9)(np.ones((2, 3), np.float32)),
    ],
)  # fmt: skip
def test_bad_sizes_of_layers(make):
    with pytest.raises(ValueError, match="expected"):
        make()


def test_a_loss_on_probabilities_that_were_written_to_sees_what_was_written():
    logits = lamella.tensor(np.array([[2.0, 1.0], [0.5, 3.0]], np.float32))
    p = activations.softmax(logits)
    fn, y = losses.SparseCategoricalCrossentropy(), np.array([0, 1])
    np.testing.assert_allclose(fn(y, p).item(), -np.log(p.numpy()[[0, 1], [0, 1]]).mean(), rtol=1e-6)
    p.fill_(0.5)
    np.testing.assert_allclose(fn(y, p).item(), np.log(2), rtol=1e-6)
