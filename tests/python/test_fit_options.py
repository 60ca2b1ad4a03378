"""fit, evaluate and predict: steps of the user's, several inputs and outputs, weights, ways to compile."""

import numpy as np
import pytest

import lamella
from lamella import callbacks, layers, losses, metrics, models, optimizers
from lamella.utils import class_weights, pack_x_y_sample_weight, sampling_weights, unpack_x_y_sample_weight
from lamella.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 6)).astype(np.float32)
Z = RNG.standard_normal((40, 3)).astype(np.float32)
Y = (X @ RNG.standard_normal((6, 2))).astype(np.float32)
LABELS = (X[:, 0] > 0).astype(np.int64)


@pytest.fixture(autouse=True)
def _seed():
    lamella.seed(1)


def same(one, two, **tolerance):
    for a, b in zip(one, two, strict=True):
        if tolerance:
            np.testing.assert_allclose(a, b, **tolerance)
        else:
            np.testing.assert_array_equal(a, b)


# -- steps of the user's --


class Usual(models.Model):
    """Two layers, with nothing of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.a, self.b = layers.Dense(5, "tanh"), layers.Dense(2)

    def call(self, inputs):
        return self.b(self.a(inputs))


class WholeStep(Usual):
    """The step as Keras' guides write it, with metrics of its own."""

    def __init__(self):
        super().__init__()
        self.loss_tracker, self.mae = metrics.Mean(name="loss"), metrics.MeanAbsoluteError(name="mae")

    def train_step(self, data):
        x, y = data
        y_pred = self(x, training=True)
        loss = losses.mean_squared_error(y, y_pred).mean()
        self.zero_grad()
        loss.backward()
        gradients = [v.value.grad for v in self.trainable_weights]
        self.optimizer.apply(gradients, self.trainable_weights)
        self.loss_tracker.update_state(loss.item(), sample_weight=x.shape[0])
        self.mae.update_state(y, y_pred)
        return {m.name: m.result() for m in self.metrics}

    def test_step(self, data):
        x, y = data
        self.mae.update_state(y, self(x, training=False))
        return {"mae": self.mae.result()}

    @property
    def metrics(self):
        return [self.loss_tracker, self.mae]


class CallsTheUsual(Usual):
    calls = 0

    def train_step(self, data):
        type(self).calls += 1
        return super().train_step(data)


class OwnLoss(Usual):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)
        return loss + (x * x).mean() * 0.5


def trained(cls, *, compiled=None, **kwargs):
    lamella.seed(7)
    model = cls()
    model(X[:1])
    model.compile(optimizers.Adam(0.01), "mse", metrics=["mae"], **(compiled or {}))
    history = model.fit(X, Y, batch_size=16, epochs=2, verbose=0, **kwargs)
    return model, history.history


@pytest.mark.parametrize("cls", [WholeStep, CallsTheUsual])
def test_a_step_of_the_users_trains_alike(cls):
    CallsTheUsual.calls = 0
    usual, expected = trained(Usual)
    model, history = trained(cls)
    same(usual.get_weights(), model.get_weights(), rtol=1e-5, atol=1e-6)
    for name in ("loss", "mae"):
        np.testing.assert_allclose(history[name], expected[name], rtol=1e-5)
    assert CallsTheUsual.calls == (6 if cls is CallsTheUsual else 0)
    logs = model.evaluate(X, Y, verbose=0, return_dict=True)
    assert list(logs) == (["mae"] if cls is WholeStep else ["loss", "mae"])
    np.testing.assert_allclose(logs["mae"], np.abs(Y - model.predict(X)).mean(), rtol=1e-5)
    assert model.train_on_batch(X[:8], Y[:8], return_dict=True).keys() == {"loss", "mae"}


def test_a_step_of_the_users_with_weights_and_validation():
    weight = RNG.uniform(0, 2, 40).astype(np.float32)
    given = {"sample_weight": weight, "validation_split": 0.25, "compiled": {"weighted_metrics": ["mse"]}}
    usual, expected = trained(Usual, **given)
    model, history = trained(CallsTheUsual, **given)
    same(usual.get_weights(), model.get_weights(), rtol=1e-5, atol=1e-6)
    assert history.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("eagerly", [False, True])
def test_a_loss_of_the_users(eagerly):
    usual, expected = trained(Usual)
    model, history = trained(OwnLoss, compiled={"run_eagerly": eagerly}, shuffle=True)
    same(usual.get_weights(), model.get_weights(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.array(history["loss"]) - expected["loss"], 0.5 * (X * X).mean(), rtol=1e-4)
    assert (None in model._engine._steps.values()) is False or eagerly  # natively, as it is made of tensors
    np.testing.assert_allclose(
        model.evaluate(X, Y, verbose=0)[0] - usual.evaluate(X, Y, verbose=0)[0], 0.5 * (X * X).mean(), rtol=1e-4
    )


def test_a_prediction_of_the_users():
    class Twice(Usual):
        def predict_step(self, data):
            return super().predict_step(data) * 2

    model = Twice()
    np.testing.assert_allclose(model.predict(X, batch_size=16), 2 * model(X).numpy(), rtol=1e-6)
    assert model.predict(X).shape == (40, 2)


def test_what_a_step_has_to_give():
    class Wrong(Usual):
        def train_step(self, data):
            return 1.0

    with pytest.raises(TypeError, match="Wrong: train_step: expected a dict of names to numbers, got float"):
        trained(Wrong)


def test_packing():
    for parts in ((1, None, None), (1, 2, None), (1, 2, 3)):
        assert unpack_x_y_sample_weight(pack_x_y_sample_weight(*parts)) == parts
    assert unpack_x_y_sample_weight(([1, 2],)) == ([1, 2], None, None)
    with pytest.raises(ValueError, match=r"expected x, .* got 4 parts"):
        unpack_x_y_sample_weight((1, 2, 3, 4))


def test_steps_see_data_as_they_were_given():
    seen = []

    class Look(models.Model):
        def train_step(self, data):
            seen.append(data)
            return super().train_step(data)

    a, b = layers.Input((6,), name="a"), layers.Input((3,), name="b")
    h = layers.Concatenate()([a, b])
    model = Look([a, b], [layers.Dense(2, name="p")(h), layers.Dense(1, name="q")(h)])
    model.compile("sgd", "mse")
    q = Z[:, :1]
    model.fit([X, Z], {"p": Y, "q": q}, batch_size=40, shuffle=False, verbose=0, sample_weight={"q": np.ones(40)})
    x, y, weight = seen[0]
    assert isinstance(x, list) and set(y) == {"p", "q"} and weight[0] is None and weight[1].shape == (40,)
    np.testing.assert_array_equal(x[1].numpy(), Z)
    np.testing.assert_array_equal(y["q"].numpy(), q)


# -- several inputs and outputs --


def two_by_two(**kwargs):
    lamella.seed(5)
    a, b = layers.Input((6,), name="a"), layers.Input((3,), name="b")
    h = layers.Dense(8, "tanh")(layers.Concatenate()([a, b]))
    model = models.Model([a, b], [layers.Dense(2, name="size")(h), layers.Dense(2, "softmax", name="kind")(h)])
    model.compile("sgd", {"size": "mse", "kind": "sparse_categorical_crossentropy"}, **kwargs)
    return model


def parts(model):
    size, kind = model.predict([X, Z])
    return ((size - Y) ** 2).mean(1), -np.log(kind[np.arange(40), LABELS])


@pytest.mark.parametrize("eagerly", [False, True])
def test_losses_weights_and_metrics_by_output(eagerly):
    model = two_by_two(
        loss_weights={"kind": 0.25},
        metrics={"kind": ["accuracy"], "size": "mae"},
        weighted_metrics={"size": ["mae"]},
        run_eagerly=eagerly,
    )
    size, kind = parts(model)
    weight = RNG.uniform(0, 2, 40).astype(np.float32)
    given = {"x": {"b": Z, "a": X}, "y": {"kind": LABELS, "size": Y}, "verbose": 0, "return_dict": True}
    logs = model.evaluate(**given)
    np.testing.assert_allclose(logs["loss"], size.mean() + 0.25 * kind.mean(), rtol=1e-5)
    expected = {"size_loss": size.mean(), "kind_loss": kind.mean()}
    assert set(logs) == {"loss", *expected, "size_mae", "kind_accuracy", "weighted_size_mae"}
    assert {name: logs[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    both = model.evaluate(**given, sample_weight=weight)
    np.testing.assert_allclose(both["loss"], (size * weight).mean() + 0.25 * (kind * weight).mean(), rtol=1e-5)
    for one in ({"kind": weight}, [None, weight]):
        logs = model.evaluate(**given, sample_weight=one)
        np.testing.assert_allclose(logs["loss"], size.mean() + 0.25 * (kind * weight).mean(), rtol=1e-5)
    history = model.fit(given["x"], given["y"], sample_weight=[weight, None], batch_size=8, epochs=3, verbose=0,
                        validation_split=0.2).history  # fmt: skip
    assert history["loss"][-1] < history["loss"][0] and {"val_kind_accuracy", "val_size_mae"} <= set(history)


def test_weights_by_output_give_the_same_bits_natively_and_eagerly():
    weights = [RNG.uniform(0, 2, 40), RNG.uniform(0, 2, 40)]
    found = []
    for eagerly in (False, True):
        model = two_by_two(run_eagerly=eagerly)
        model.fit([X, Z], [Y, LABELS], sample_weight=weights, batch_size=8, epochs=2, verbose=0)
        found.append(model.get_weights())
    same(*found, rtol=1e-5, atol=1e-6)


def test_weights_of_time_steps():
    x, y = RNG.standard_normal((12, 5, 3)).astype(np.float32), RNG.standard_normal((12, 5, 1)).astype(np.float32)
    weight = RNG.uniform(0, 1, (12, 5)).astype(np.float32)
    model = models.Sequential([layers.Dense(1, input_shape=(5, 3))])
    for eagerly in (False, True):
        model.compile("sgd", "mse", run_eagerly=eagerly)
        expected = (((model.predict(x) - y) ** 2)[..., 0] * weight).mean()
        np.testing.assert_allclose(model.evaluate(x, y, sample_weight=weight, verbose=0), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"sample_weight": {"colour": np.ones(40)}}, "sample_weight: expected entries size, kind, got colour"),
        ({"sample_weight": [np.ones(40)]}, "sample_weight"),
        ({"sample_weight": [np.ones(40), np.ones(39)]}, r"sample_weight\[1\]: expected shape \(40,\), got \(39,\)"),
        ({"sample_weight": np.ones(39)}, r"sample_weight: expected shape \(40,\), got \(39,\)"),
        ({"class_weight": {0: 1.0}}, "class_weight: expected a model with one output"),
    ],
)
def test_bad_weights(given, text):
    with pytest.raises(ValueError, match=text):
        two_by_two().fit([X, Z], [Y, LABELS], verbose=0, **given)


# -- compile --


def dense(**kwargs):
    model = models.Sequential([layers.Dense(2, input_shape=(6,))])
    model.compile("sgd", "mse", metrics=["mae"], **kwargs)
    return model


def test_steps_per_execution():
    seen = []
    watch = callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: seen.append(("begin", batch)),
                                     on_train_batch_end=lambda batch, logs: seen.append(("end", batch)))  # fmt: skip
    dense(steps_per_execution=3).fit(X, Y, batch_size=8, verbose=0, callbacks=[watch])  # 5 batches
    assert seen == [("begin", 0), ("end", 2), ("begin", 3), ("end", 4)]


def test_jit_compile():
    class Untraceable(layers.Layer):
        def call(self, inputs):
            return inputs * float(inputs.numpy().max())

    def model(**kwargs):
        net = models.Sequential([layers.Dense(2, input_shape=(6,)), Untraceable()])
        net.compile("sgd", "mse", **kwargs)
        return net

    model().fit(X, Y, verbose=0)
    model(jit_compile=False).fit(X, Y, verbose=0)
    with pytest.raises(ValueError, match="compile: jit_compile: expected a model that plans can run"):
        model(jit_compile=True).fit(X, Y, verbose=0)
    dense(jit_compile=True).fit(X, Y, verbose=0)
    with pytest.raises(ValueError, match="jit_compile: expected 'auto' or False with run_eagerly=True"):
        model(jit_compile=True, run_eagerly=True)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"jit_compile": "yes"}, "jit_compile: expected one of"),
        ({"run_eagerly": 2}, "run_eagerly: expected one of"),
        ({"steps_per_execution": 0}, "steps_per_execution: expected a positive integer"),
        ({"auto_scale_loss": None}, "auto_scale_loss: expected one of"),
    ],
)
def test_bad_ways_to_compile(given, text):
    with pytest.raises(ValueError, match=f"compile: {text}"):
        dense(**given)


def test_layers_that_are_added_later_run_eagerly_too():
    model = models.Sequential([layers.Dense(4, input_shape=(6,))])
    model.compile("sgd", "mse", run_eagerly=True)
    model.add(layers.Dense(2))
    model.fit(X, Y, verbose=0)
    assert set(model._engine._steps.values()) == {None}


# -- metrics of a model --


def test_metrics_of_a_model():
    model = dense()
    logs = {k: v[-1] for k, v in model.fit(X, Y, epochs=2, verbose=0).history.items()}
    assert model.metrics_names == ["loss", "mae"]
    assert model.get_metrics_result() == pytest.approx(logs)
    found = model.evaluate(X, Y, verbose=0, return_dict=True)
    assert model.get_metrics_result() == pytest.approx(found)
    model.reset_metrics()
    assert model.get_metrics_result() == {"loss": 0, "mae": 0}


def test_losses_and_metrics_in_python():
    def loss(y_true, y_pred):
        return ((y_true - y_pred) ** 2).mean(-1)

    def largest(y_true, y_pred):
        return float(np.abs(y_true.numpy() - y_pred.numpy()).max())

    class Count(metrics.Metric):
        def update_state(self, y_true, y_pred, sample_weight=None):
            self.seen += len(y_true)

        def result(self):
            return self.seen

        def reset_state(self):
            self.seen = 0

    model = models.Sequential([layers.Dense(2, input_shape=(6,))])
    model.compile("sgd", loss, metrics=["mse", largest, Count(name="count")])
    history = model.fit(X, Y, batch_size=16, verbose=0).history
    np.testing.assert_allclose(history["loss"], history["mse"], rtol=1e-6)
    assert history["count"] == [40] and history["largest"][0] > 0


def test_sums_do_not_depend_on_how_steps_are_cut():
    """How many steps a native call makes depends on the clock; the logs must not."""
    histories, scale = [], (10.0 ** np.linspace(-3, 3, 40))[:, None]
    for every in (1, 3, 7):
        lamella.seed(3)
        model = dense(steps_per_execution=every)
        watch = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)
        histories.append(model.fit(X, Y * scale, batch_size=2, epochs=2, verbose=0, callbacks=[watch]).history)
    assert histories[0] == histories[1] == histories[2]


# -- classes of unlike size --


def test_weights_that_balance_classes():
    y = np.repeat([0, 1, 3], [60, 30, 10])
    weights = class_weights(y)
    assert weights == pytest.approx({0: 100 / 180, 1: 100 / 90, 3: 100 / 30})
    assert class_weights(np.eye(4)[y]) == weights and class_weights(y[:, None].astype(np.float32)) == weights
    draws = sampling_weights(y)
    assert draws.sum() == pytest.approx(1)
    assert [draws[y == c].sum() for c in (0, 1, 3)] == pytest.approx([1 / 3] * 3)
    seen = []

    class Look(models.Sequential):
        def train_step(self, data):
            seen.append(data[1].numpy())
            return super().train_step(data)

    model = Look([layers.Dense(4, input_shape=(2,))])
    model.compile("sgd", losses.SparseCategoricalCrossentropy(from_logits=True))
    tensors = [lamella.tensor(a) for a in (RNG.standard_normal((100, 2)).astype(np.float32), y)]
    loader = DataLoader(TensorDataset(*tensors), 50, sampler=WeightedRandomSampler(draws, 3000))
    model.fit(loader, verbose=0)
    counts = np.bincount(np.concatenate(seen), minlength=4)
    assert counts.sum() == 3000 and counts[2] == 0
    assert np.abs(counts[[0, 1, 3]] - 1000).max() < 130  # five standard deviations
    for bad in ([], ["a"], [0.5]):
        with pytest.raises(ValueError, match="class_weights: labels: expected class numbers"):
            class_weights(bad)
