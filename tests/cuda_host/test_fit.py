"""fit, evaluate and predict on a device: the same numbers as on the CPU, from recorded steps."""

import numpy as np
import pytest

import lamella
from lamella import callbacks, layers, models, nn, optimizers

rng = np.random.default_rng(0)


def mlp():
    return models.Sequential([layers.Input((6,)), layers.Dense(8, activation="relu"), layers.Dropout(0.3),
                              layers.Dense(3, activation="softmax")])  # fmt: skip


def cnn():
    return models.Sequential([
        layers.Input((8, 8, 2)), layers.Conv2D(4, 3, activation="relu"), layers.BatchNormalization(),
        layers.MaxPooling2D(2), layers.Flatten(), layers.Dense(3, activation="softmax"),
    ])  # fmt: skip


def lstm():
    return models.Sequential([layers.Input((5, 4)), layers.LSTM(6, return_sequences=True), layers.GRU(5),
                              layers.Dense(3, activation="softmax")])  # fmt: skip


NETWORKS = {"mlp": (mlp, (6,)), "cnn": (cnn, (8, 8, 2)), "lstm": (lstm, (5, 4))}


def trained(make, shape, where, **settings):
    lamella.seed(7)
    model = make()
    model.compile(optimizer=settings.pop("optimizer", "adam"), loss="sparse_categorical_crossentropy",
                  metrics=["accuracy"])  # fmt: skip
    if where == "cuda":
        model.to(where)
    data = np.random.default_rng(1)
    x, y = data.standard_normal((50, *shape)).astype(np.float32), data.integers(0, 3, 50)
    lamella.seed(8)
    history = model.fit(x, y, batch_size=8, epochs=3, verbose=0, validation_split=0.2, **settings)
    return model, history.history, x, y


@pytest.mark.parametrize("name", NETWORKS)
def test_same_history_as_on_the_cpu(name, cuda):
    (here, expected, x, y), (there, found, *_) = (trained(*NETWORKS[name], where) for where in ("cpu", cuda))
    assert {p.device.type for p in there.parameters()} == {"cuda"}
    for key in expected:
        np.testing.assert_allclose(found[key], expected[key], rtol=2e-4, atol=2e-5, err_msg=key)
    np.testing.assert_allclose(there.predict(x, verbose=0), here.predict(x, verbose=0), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(there.evaluate(x, y, verbose=0), here.evaluate(x, y, verbose=0), rtol=1e-3, atol=1e-4)


SCHEDULE = optimizers.schedules.ExponentialDecay(0.02, 3, 0.9)
OPTIMIZERS = {
    "sgd": lambda: optimizers.SGD(0.1),
    "momentum": lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True, global_clipnorm=0.5),
    "adam": lambda: optimizers.Adam(0.01, clipnorm=0.1),
    "adamw": lambda: optimizers.AdamW(SCHEDULE, weight_decay=0.01),
    "nadam": lambda: optimizers.Nadam(0.01),
    "adamax": lambda: optimizers.Adamax(0.01),
    "rmsprop": lambda: optimizers.RMSprop(0.01, centered=True, momentum=0.5, clipvalue=0.05),
    "adagrad": lambda: optimizers.Adagrad(0.05),
    "adadelta": lambda: optimizers.Adadelta(0.5),
    "lion": lambda: optimizers.Lion(0.003),
    "ftrl": lambda: optimizers.Ftrl(0.05, l1_regularization_strength=0.001, beta=0.1),
    "averages": lambda: optimizers.Adam(0.01, use_ema=True, ema_overwrite_frequency=4),
    "accumulation": lambda: optimizers.Adam(
        0.01, gradient_accumulation_steps=3, use_ema=True, ema_overwrite_frequency=2, global_clipnorm=0.2
    ),
}


def weights_of(model):
    return [p.numpy().copy() for p in model.parameters()]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_updates_are_recorded(name, cuda):
    # A profiled step is not recorded; the epochs have 5 steps, so that most are otherwise.
    make, shape = NETWORKS["mlp"]
    here, expected, *_ = trained(make, shape, "cpu", optimizer=OPTIMIZERS[name]())
    there, found, *_ = trained(make, shape, cuda, optimizer=OPTIMIZERS[name]())
    with lamella.profile():
        plain, history, *_ = trained(make, shape, cuda, optimizer=OPTIMIZERS[name]())
    assert found == history
    for a, b in zip(weights_of(there), weights_of(plain), strict=True):
        np.testing.assert_array_equal(a, b)
    # Lion steps by signs, and so a rounding of a gradient near 0 shows.
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=5e-3 if name == "lion" else 2e-4)
    for a, b in zip(weights_of(there), weights_of(here), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-2 if name == "lion" else 2e-4)


@pytest.mark.parametrize("clip", ["clipnorm", "global_clipnorm"])
def test_more_weights_than_one_launch_takes(clip, cuda):
    x = np.random.default_rng(1).standard_normal((20, 3)).astype(np.float32)

    def run(where):
        lamella.seed(7)
        given = layers.Input((3,))
        model = models.Model(given, layers.Add()([layers.Dense(1)(given) for _ in range(85)]))
        model.compile(optimizers.Adam(0.01, **{clip: 0.3}, use_ema=True), loss="mse")
        model.to(where)
        losses = model.fit(x, x[:, :1], batch_size=4, epochs=2, shuffle=False, verbose=0).history["loss"]
        return losses, weights_of(model)

    (expected, here), (found, there) = run("cpu"), run(cuda)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    for a, b in zip(there, here, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_learning_rates_set_between_steps(cuda):
    class Rates(callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            self.model.optimizer.learning_rate = 0.2 if batch % 2 else 0.0

        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:  # not a number of each step: what has been recorded no longer holds
                self.model.optimizer.momentum = 0.5

    make, shape = NETWORKS["mlp"]
    runs = [
        trained(make, shape, w, optimizer=optimizers.SGD(0.1, momentum=0.9), callbacks=[Rates()]) for w in ("cpu", cuda)
    ]
    np.testing.assert_allclose(runs[1][1]["loss"], runs[0][1]["loss"], rtol=1e-4)
    fixed = trained(make, shape, cuda, optimizer=optimizers.SGD(0.1, momentum=0.9))
    assert fixed[1]["loss"][-1] != pytest.approx(runs[1][1]["loss"][-1], rel=1e-3)


def test_another_optimizer_on_the_same_model(cuda):
    def run(where):
        model, _, x, y = trained(mlp, (6,), where)
        losses = []
        for optimizer in (optimizers.SGD(0.1, global_clipnorm=0.1), optimizers.Adam(0.01)):
            model.compile(optimizer, loss="sparse_categorical_crossentropy")
            losses += model.fit(x, y, batch_size=10, epochs=2, verbose=0).history["loss"]
        return losses

    np.testing.assert_allclose(run(cuda), run("cpu"), rtol=2e-4)


def test_explosion_is_found_on_the_device(cuda):
    with pytest.warns(RuntimeWarning, match="NaN or infinite in epoch 1"):
        trained(mlp, (6,), cuda, optimizer=optimizers.SGD(1e30, global_clipnorm=1e30))


def two_inputs():
    a, b = layers.Input((6,)), layers.Input((4, 3))
    h = layers.Concatenate()([layers.Dense(5, activation="tanh")(a), layers.Flatten()(b)])
    return models.Model([a, b], layers.Dense(3, activation="softmax")(layers.Dropout(0.2)(h)))


@pytest.mark.parametrize("room", [0, 500], ids=["all", "largest"])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_arrays_that_stay_on_the_host(room, shuffle, dtype, cuda, monkeypatch):
    data = np.random.default_rng(1)
    x = [data.standard_normal((90, 6)).astype(np.float32), data.integers(0, 255, (90, 4, 3)).astype(dtype)]
    y, weight = data.integers(0, 3, 90), data.random(90).astype(np.float32)

    def run():
        lamella.seed(7)
        model = two_inputs()
        model.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        model.to(cuda)
        lamella.seed(8)
        history = model.fit(x, y, sample_weight=weight, batch_size=8, epochs=3, shuffle=shuffle, verbose=0,
                            validation_split=0.2).history  # fmt: skip
        return history, model.evaluate(x, y, batch_size=16), model.predict(x, batch_size=7), weights_of(model)

    expected = run()
    monkeypatch.setattr(lamella._data, "_SHARE", room / lamella._device.free_memory())
    history, evaluated, predicted, weights = run()
    assert history == expected[0] and evaluated == expected[1]
    np.testing.assert_array_equal(predicted, expected[2])
    for a, b in zip(weights, expected[3], strict=True):
        np.testing.assert_array_equal(a, b)


def test_groups_of_steps_from_the_host(cuda, monkeypatch):
    # 4 MiB a step: groups of 1, 2 and then 3 steps, and two at the end.
    x = np.random.default_rng(1).standard_normal((26, 1 << 19)).astype(np.float32)
    model = models.Sequential([layers.Input((1 << 13, 64)), layers.GlobalAveragePooling1D()])
    model.to(cuda)
    x = x.reshape(26, 1 << 13, 64)
    expected = model.predict(x, batch_size=2)
    monkeypatch.setattr(lamella._data, "_SHARE", 0.0)
    np.testing.assert_array_equal(model.predict(x, batch_size=2), expected)
    np.testing.assert_allclose(expected, x.mean(1), rtol=0, atol=1e-5)


def test_steps_without_plans_take_arrays_from_the_host(cuda, monkeypatch):
    monkeypatch.setattr(lamella._data, "_SHARE", 0.0)
    x, y = np.random.default_rng(1).standard_normal((20, 6)).astype(np.float32), np.arange(20) % 3
    model = mlp()
    model.compile("sgd", loss="sparse_categorical_crossentropy", run_eagerly=True)
    model.to(cuda)
    assert np.isfinite(model.fit(x, y, batch_size=6, verbose=0).history["loss"][0])
    assert model.predict(x, batch_size=6).shape == (20, 3) and np.isfinite(model.evaluate(x, y))


def test_arrays_of_the_device(cuda):
    import cupy

    model, _, x, y = trained(mlp, (6,), cuda)
    there = cupy.asarray(x)
    out = model.predict(there, verbose=0)
    assert isinstance(out, cupy.ndarray)
    np.testing.assert_allclose(out.get(), model.predict(x, verbose=0), rtol=1e-6)
    model.fit(there, cupy.asarray(y), batch_size=10, verbose=0)
    with pytest.raises(ValueError, match="expected arrays on the CPU"):
        trained(mlp, (6,), "cpu")[0].predict(there)


def test_clipping_and_constraints(cuda):
    from lamella import constraints, optimizers

    def make():
        first = layers.Dense(5, kernel_constraint=constraints.MaxNorm(0.5))
        return models.Sequential([layers.Input((6,)), first, layers.Dense(3, activation="softmax")])

    runs = [
        trained(make, (6,), w, optimizer=optimizers.SGD(0.1, momentum=0.9, global_clipnorm=0.5)) for w in ("cpu", cuda)
    ]
    np.testing.assert_allclose(runs[1][1]["loss"], runs[0][1]["loss"], rtol=1e-4)
    assert np.linalg.norm(runs[1][0].layers[0].kernel.numpy(), axis=0).max() <= 0.5001


def test_bad_indices_are_reported(cuda):
    cross_entropy = nn.functional.cross_entropy
    with pytest.raises(ValueError, match=r"labels: expected values in \[0, 3\), got 3 at position 1"):
        cross_entropy(lamella.zeros(2, 3, device=cuda), lamella.tensor([0, 3], device=cuda)).item()
    assert cross_entropy(lamella.zeros(2, 3, device=cuda), lamella.tensor([0, 2], device=cuda)).item() > 1
    model = models.Sequential(
        [layers.Input((4,), dtype="int64"), layers.Embedding(5, 3), layers.Flatten(), layers.Dense(1)]
    )
    model.compile(optimizer="sgd", loss="mse")
    model.to(cuda)
    with pytest.raises(ValueError, match="embedding: indices"):
        model.fit(np.full((8, 4), 5), np.zeros((8, 1), np.float32), batch_size=2, epochs=3, verbose=0)


def test_model_files_know_no_device(cuda, tmp_path):
    model, _, x, _ = trained(mlp, (6,), cuda)
    model.save(tmp_path / "m.safetensors")
    again = models.load_model(tmp_path / "m.safetensors")
    assert {p.device.type for p in again.parameters()} == {"cpu"}
    np.testing.assert_allclose(again.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-4, atol=1e-5)
    model.cpu()
    assert {p.device.type for p in model.parameters()} == {"cpu"}
    model.fit(x, np.zeros(50, int), verbose=0)


def test_training_goes_on_where_the_model_is_moved(cuda):
    def run(*places):
        lamella.seed(3)
        model = mlp()
        model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
        x, y = np.random.default_rng(1).standard_normal((40, 6)).astype(np.float32), np.arange(40) % 3
        losses = []
        for where in places:
            model.to(where)
            losses += model.fit(x, y, batch_size=8, epochs=2, verbose=0).history["loss"]
        return losses

    np.testing.assert_allclose(run("cpu", cuda, "cpu"), run("cpu", "cpu", "cpu"), rtol=1e-4)


def test_pytorch_loop_goes_on_where_the_module_is_moved(cuda):
    def run(*places):
        lamella.seed(3)
        net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 1))
        optimizer = lamella.optim.Adam(net.parameters(), lr=0.01)
        x = lamella.tensor(np.random.default_rng(1).standard_normal((16, 6)).astype(np.float32))
        losses = []
        for where in places:
            net.to(where)
            for _ in range(3):
                loss = net(x.to(where)).square().mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(net.parameters(), 0.1)
                optimizer.step()
                losses.append(loss.item())
        return losses

    np.testing.assert_allclose(run("cpu", cuda, "cpu"), run("cpu", "cpu", "cpu"), rtol=1e-4)
