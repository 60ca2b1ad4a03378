"""Recurrent layers and cells beside PyTorch's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .compare import dtypes, normal, parity, seeds
from .torch_side import check_modules, module_pair

flags = st.booleans()


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
@parity
@given(
    kwargs=st.fixed_dictionaries({
        "input_size": st.integers(1, 5),
        "hidden_size": st.integers(1, 5),
        "num_layers": st.integers(1, 2),
        "bias": flags,
        "batch_first": flags,
        "bidirectional": flags,
    }),
    steps=st.integers(1, 6),
    batch=st.none() | st.integers(1, 3),
    nonlinearity=st.sampled_from(["tanh", "relu"]),
    states=flags,
    dtype=dtypes,
    seed=seeds,
)  # fmt: skip
def test_layer(name, kwargs, steps, batch, nonlinearity, states, dtype, seed):
    if name == "RNN":
        kwargs = {**kwargs, "nonlinearity": nonlinearity}
    ours, theirs = module_pair(name, dtype=dtype, **kwargs)
    shape = (steps,) if batch is None else (batch, steps) if kwargs["batch_first"] else (steps, batch)
    inputs = [normal(seed, *shape, kwargs["input_size"])]
    if states:
        layers = kwargs["num_layers"] * (2 if kwargs["bidirectional"] else 1)
        given_states = [
            normal(seed + i, layers, *([] if batch is None else [batch]), kwargs["hidden_size"]) for i in (1, 2)
        ]
        inputs.append(tuple(given_states) if name == "LSTM" else given_states[0])
    check_modules(ours, theirs, *inputs, dtype=dtype, tolerance=2e-5 if dtype == "float32" else None)


@pytest.mark.parametrize("name", ["RNNCell", "LSTMCell", "GRUCell"])
@parity
@given(st.integers(1, 6), st.integers(1, 6), flags, st.none() | st.integers(1, 4), flags, dtypes, seeds)
def test_cell(name, inputs, hidden, bias, batch, states, dtype, seed):
    ours, theirs = module_pair(name, inputs, hidden, bias, dtype=dtype)
    leading = [] if batch is None else [batch]
    args = [normal(seed, *leading, inputs)]
    if states:
        given_states = [normal(seed + i, *leading, hidden) for i in (1, 2)]
        args.append(tuple(given_states) if name == "LSTMCell" else given_states[0])
    check_modules(ours, theirs, *args, dtype=dtype)


def test_dropout_between_layers_does_nothing_in_evaluation():
    ours, theirs = module_pair("LSTM", 3, 4, num_layers=2, dropout=0.5)
    check_modules(ours, theirs, normal(0, 5, 2, 3), training=False)
