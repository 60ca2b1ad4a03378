"""Weights brought back after each update, in plans, eagerly, and in saved models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lamella
from lamella import constraints, layers, models, optimizers


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((48, 5)).astype(np.float32), rng.standard_normal((48, 3)).astype(np.float32)


def network(kernel: Any, bias: Any = None) -> models.Sequential:
    lamella.seed(2)
    model = models.Sequential(
        [
            layers.Dense(8, activation="tanh", kernel_constraint=kernel, bias_constraint=bias, input_shape=(5,)),
            layers.Dense(3),
        ]
    )
    return model


@pytest.mark.parametrize("eagerly", [False, True])
def test_constraints_hold_after_every_step(eagerly: bool) -> None:
    x, y = data()
    model = network(constraints.MaxNorm(0.3), "non_neg")
    model.compile(optimizers.SGD(0.5), "mse", run_eagerly=eagerly)
    model.fit(x, y, batch_size=16, epochs=3, verbose=0)
    kernel, bias = model.layers[0].get_weights()
    assert np.linalg.norm(kernel, axis=0).max() <= 0.3 * (1 + 1e-6)
    assert bias.min() >= 0
    assert eagerly == (None in model._engine._steps.values())
    model.train_on_batch(x, y)
    assert np.linalg.norm(model.layers[0].get_weights()[0], axis=0).max() <= 0.3 * (1 + 1e-6)


def test_plans_and_the_tape_agree() -> None:
    x, y = data()
    found = []
    for eagerly in (False, True):
        model = network(constraints.MinMaxNorm(0.4, 0.6, rate=0.7), constraints.UnitNorm())
        model.compile(optimizers.Adam(0.05), "mse", run_eagerly=eagerly)
        model.fit(x, y, batch_size=16, epochs=2, shuffle=False, verbose=0)
        if not eagerly:
            assert any(step is not None and step.constraints for step in model._engine._steps.values())
        found.append(model.get_weights())
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


class Whole(constraints.Constraint):
    """A constraint written in NumPy, which no plan knows."""

    def __init__(self, step: float = 0.125) -> None:
        self.step = step

    def __call__(self, w: Any) -> Any:
        return lamella.tensor(np.round(w.numpy() / self.step) * self.step)


def test_own_constraint_trains_and_is_saved(tmp_path: Any) -> None:
    x, y = data()
    model = network(Whole())
    model.compile(optimizers.SGD(0.5), "mse")
    model.fit(x, y, epochs=1, verbose=0)
    kernel = model.layers[0].get_weights()[0]
    np.testing.assert_array_equal(kernel, np.round(kernel * 8) / 8)
    model.save(tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match="constraint"):
        models.load_model(tmp_path / "m.safetensors")
    again = models.load_model(tmp_path / "m.safetensors", custom_objects={"Whole": Whole})
    assert isinstance(again.layers[0].kernel.constraint, Whole)
    np.testing.assert_array_equal(again.predict(x), model.predict(x))


def test_saved_models_keep_their_constraints(tmp_path: Any) -> None:
    model = network("unit_norm")
    model.compile("sgd", "mse")
    model.save(tmp_path / "m.safetensors")
    again = models.load_model(tmp_path / "m.safetensors")
    assert isinstance(again.layers[0].kernel.constraint, constraints.UnitNorm)
    x, y = data()
    again.fit(x, y, epochs=1, verbose=0)
    np.testing.assert_allclose(np.linalg.norm(again.layers[0].get_weights()[0], axis=0), 1, rtol=1e-5)


def test_apply_gradients_constrains() -> None:
    layer = layers.Dense(2, kernel_constraint="non_neg")
    layer.build((None, 3))
    optimizer = optimizers.SGD(1.0)
    grad = np.full((3, 2), 10.0, np.float32)
    optimizer.apply_gradients([(grad, layer.kernel)])
    assert (layer.get_weights()[0] == 0).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: constraints.get("max_nrm"), "constraint.*max_norm"),
        (lambda: constraints.MaxNorm(-1), "max_value"),
        (lambda: constraints.MinMaxNorm(2.0, 1.0), "min_value"),
        (lambda: constraints.MinMaxNorm(rate=1.5), "rate"),
        (lambda: constraints.UnitNorm("a"), "axis"),
    ],
)
def test_bad_constraints(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
