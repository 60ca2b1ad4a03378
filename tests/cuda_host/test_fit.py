"""fit, evaluate and predict on a device: the same numbers as on the CPU, from recorded steps."""

import numpy as np
import pytest

import lamella
from lamella import layers, models, nn

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
