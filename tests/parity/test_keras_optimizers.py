"""Optimizers of `lamella.optimizers` beside Keras': every hyper-parameter, ten steps on the same gradients."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import lamella
from lamella import optimizers

from .compare import array, close, normal, parity, seeds
from .keras_side import keras, torch

pytestmark = pytest.mark.usefixtures("keras_in_float64")

flags = st.booleans()
rates = st.sampled_from([0.001, 0.05, 0.3])

CASES = {
    "SGD": {"momentum": st.sampled_from([0.0, 0.9]), "nesterov": flags},
    "Adam": {
        "beta_1": st.sampled_from([0.9, 0.5]),
        "beta_2": st.sampled_from([0.999, 0.8]),
        "epsilon": st.sampled_from([1e-7, 0.1]),
        "amsgrad": flags,
    },
    "AdamW": {
        "beta_1": st.sampled_from([0.9, 0.5]),
        "beta_2": st.sampled_from([0.999, 0.8]),
        "epsilon": st.sampled_from([1e-7, 0.1]),
        "amsgrad": flags,
    },
    "RMSprop": {
        "rho": st.sampled_from([0.9, 0.5]),
        "momentum": st.sampled_from([0.0, 0.7]),
        "epsilon": st.sampled_from([1e-7, 0.1]),
        "centered": flags,
    },
    "Adagrad": {
        "initial_accumulator_value": st.sampled_from([0.1, 0.5]),
        "epsilon": st.sampled_from([1e-7, 0.1]),
    },
}
SHARED = {
    "weight_decay": st.sampled_from([None, 0.01, 0.2]),
    "clipping": st.sampled_from([{}, {"clipnorm": 0.5}, {"clipvalue": 0.2}, {"global_clipnorm": 0.7}]),
}
SHAPES = [(3, 5), (7,), (2, 3, 4), (1, 1)]


def walk(name, kwargs, seed, dtype, steps=10):
    rng = np.random.default_rng(seed)
    values = [normal(seed + i, *s) for i, s in enumerate(SHAPES)]
    ours = [lamella.nn.Parameter(lamella.tensor(v.astype(dtype))) for v in values]
    theirs = [keras.Variable(v, dtype="float64") for v in values]
    optimizer, their_optimizer = getattr(optimizers, name)(**kwargs), getattr(keras.optimizers, name)(**kwargs)
    for _ in range(steps):
        grads = [rng.normal(size=s).astype(np.float32) for s in SHAPES]
        optimizer.apply([lamella.tensor(g.astype(dtype)) for g in grads], ours)
        their_optimizer.apply([torch.tensor(g.astype(np.float64)) for g in grads], theirs)
    for i, (p, q) in enumerate(zip(ours, theirs, strict=True)):
        # Keras holds its learning rate in float32.
        close(array(p), array(q.value), f"{name}: variable {i}", 2e-5 if dtype == "float32" else 1e-6)
    return optimizer, their_optimizer


@pytest.mark.parametrize("name", CASES)
@parity
@given(data=st.data(), rate=rates, dtype=st.sampled_from(["float32", "float64"]), seed=seeds)
def test_steps(name, data, rate, dtype, seed):
    kwargs = data.draw(st.fixed_dictionaries(CASES[name]))
    shared = data.draw(st.fixed_dictionaries(SHARED))
    kwargs.update(learning_rate=rate, **shared["clipping"])
    if name != "AdamW" or shared["weight_decay"] is not None:
        kwargs["weight_decay"] = shared["weight_decay"]
    assume(not (kwargs.get("centered") and kwargs["epsilon"] < 1e-3))  # a variance near zero: rounding decides
    optimizer, their_optimizer = walk(name, kwargs, seed, dtype)
    assert optimizer.iterations == int(array(their_optimizer.iterations.value)) == 10


@pytest.mark.parametrize("name", CASES)
def test_defaults(name):
    walk(name, {}, 0, "float64")
