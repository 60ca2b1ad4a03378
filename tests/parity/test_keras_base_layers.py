"""Layers of `lamella.layers` beside Keras': outputs, gradients, ten steps of training."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lamella

from .compare import array, close, dtypes, normal, parity, seeds
from .keras_side import check_layers, keras, layer_pair, theirs_of

pytestmark = pytest.mark.usefixtures("keras_in_float64")

flags = st.booleans()
few = st.integers(1, 4)
paddings = st.sampled_from(["valid", "same"])
activations = st.sampled_from([None, "relu", "tanh", "sigmoid", "gelu", "elu", "softplus"])
# See test_torch_modules.
NORMALISED = {"float32": {"tolerance": 1e-4, "least": 1.0}, "float64": {"tolerance": 1e-5, "least": 1.0}}


@parity
@given(st.lists(few, min_size=1, max_size=2), st.integers(1, 12), st.integers(1, 12), activations, flags, dtypes, seeds)
def test_dense(leading, inputs, units, activation, use_bias, dtype, seed):
    x = normal(seed, *leading, inputs)
    ours, theirs = layer_pair("Dense", units, activation, use_bias, inputs=x, dtype=dtype)
    check_layers(ours, theirs, x, dtype=dtype)


@pytest.mark.parametrize("dims", [1, 2])
@parity
@given(data=st.data(), activation=activations, use_bias=flags, dtype=dtypes, seed=seeds)
def test_convolution(dims, data, activation, use_bias, dtype, seed):
    groups = data.draw(st.sampled_from([1, 1, 2]))
    strides = data.draw(st.integers(1, 3))
    x = normal(seed, 2, *[data.draw(st.integers(7, 10)) for _ in range(dims)], groups * data.draw(few))
    ours, theirs = layer_pair(
        f"Conv{dims}D",
        groups * data.draw(few),
        data.draw(st.integers(1, 4)),
        strides=strides,
        padding=data.draw(paddings if dims == 2 else st.sampled_from(["valid", "same", "causal"])),
        dilation_rate=data.draw(st.integers(1, 2)) if strides == 1 else 1,
        groups=groups,
        activation=activation,
        use_bias=use_bias,
        inputs=x,
        dtype=dtype,
    )
    check_layers(ours, theirs, x, dtype=dtype)


@parity
@given(st.integers(1, 4), st.integers(1, 3), paddings, few, few, flags, dtypes, seeds)
def test_transposed_convolution(kernel, strides, padding, filters, channels, use_bias, dtype, seed):
    x = normal(seed, 2, 5, 4, channels)
    ours, theirs = layer_pair(
        "Conv2DTranspose", filters, kernel, strides, padding, use_bias=use_bias, inputs=x, dtype=dtype
    )
    check_layers(ours, theirs, x, dtype=dtype)


@pytest.mark.parametrize("kind", ["Max", "Average"])
@pytest.mark.parametrize("dims", [1, 2])
@parity
@given(size=st.integers(1, 4), strides=st.none() | st.integers(1, 3), padding=paddings, dtype=dtypes, seed=seeds)
def test_pooling(kind, dims, size, strides, padding, dtype, seed):
    if kind == "Average" and padding == "same":
        size, strides = 3, 1  # uneven padding counts in Keras' PyTorch backend, and in none of its others
    x = normal(seed, 2, *[9, 10][:dims], 3)
    ours, theirs = layer_pair(f"{kind}Pooling{dims}D", size, strides, padding, inputs=x, dtype=dtype)
    check_layers(ours, theirs, x, dtype=dtype)


@pytest.mark.parametrize("name", ["GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalMaxPooling1D",
                                  "GlobalMaxPooling2D"])  # fmt: skip
@parity
@given(keepdims=flags, dtype=dtypes, seed=seeds)
def test_global_pooling(name, keepdims, dtype, seed):
    x = normal(seed, 2, *[5, 6][: int(name[-2])], 3)
    ours, theirs = layer_pair(name, keepdims=keepdims, inputs=x, dtype=dtype)
    check_layers(ours, theirs, x, dtype=dtype)


@pytest.mark.parametrize("training", [True, False])
@parity
@given(
    kwargs=st.fixed_dictionaries({
        "momentum": st.sampled_from([0.99, 0.5]),
        "epsilon": st.sampled_from([1e-3, 0.1]),
        "center": flags,
        "scale": flags,
    }),
    rank=st.integers(0, 2),
    channels=st.integers(1, 6),
    dtype=dtypes,
    seed=seeds,
)  # fmt: skip
def test_batch_normalization(training, kwargs, rank, channels, dtype, seed):
    x = normal(seed, 4, *[3] * rank, channels)
    ours, theirs = layer_pair("BatchNormalization", inputs=x, dtype=dtype, **kwargs)
    check_layers(ours, theirs, x, dtype=dtype, training=training, **NORMALISED[dtype])


@parity
@given(
    st.fixed_dictionaries({"epsilon": st.sampled_from([1e-3, 0.1]), "center": flags, "scale": flags}),
    st.sampled_from([-1, 2, [1, 2], [-2, -1]]),
    dtypes,
    seeds,
)
def test_layer_normalization(kwargs, axis, dtype, seed):
    x = normal(seed, 3, 4, 5)
    ours, theirs = layer_pair("LayerNormalization", axis, inputs=x, dtype=dtype, **kwargs)
    check_layers(ours, theirs, x, dtype=dtype, **NORMALISED[dtype])


@parity
@given(st.integers(1, 9), st.integers(1, 5), dtypes, seeds)
def test_embedding(rows, width, dtype, seed):
    x = np.random.default_rng(seed).integers(0, rows, (2, 4))
    ours, theirs = layer_pair("Embedding", rows, width, inputs=x, dtype=dtype)
    check_layers(ours, theirs, x, dtype=dtype)


WITHOUT_WEIGHTS = {
    "Activation": [("relu",), ("softmax",), ("hard_sigmoid",), ("mish",), ("leaky_relu",), ("selu",), ("softsign",),
                   ("exponential",), ("log_softmax",), ("relu6",), ("hard_silu",), ("swish",), ("linear",)],
    "ELU": [(), (0.4,)],
    "LeakyReLU": [(), (0.1,)],
    "ReLU": [(), (6.0,), (None, 0.2)],
    "Softmax": [(), (1,), (-2,)],
    "Flatten": [()],
    "Reshape": [((5, 4),), ((-1, 2),), ((2, 5, 2),)],
    "Permute": [((2, 1),), ((1, 2),)],
    "Identity": [()],
    "Dropout": [(0.5,)],
}  # fmt: skip


@pytest.mark.parametrize("name", WITHOUT_WEIGHTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_without_weights(name, dtype):
    for seed, args in enumerate(WITHOUT_WEIGHTS[name]):
        x = normal(seed, 3, 4, 5)
        ours, theirs = layer_pair(name, *args, inputs=x, dtype=dtype)
        check_layers(ours, theirs, x, dtype=dtype)


def test_repeat_vector():
    x = normal(0, 3, 4)
    check_layers(*layer_pair("RepeatVector", 3, inputs=x), x)


@parity
@given(st.integers(0, 3) | st.tuples(few, few) | st.tuples(st.tuples(few, few), st.tuples(few, few)), dtypes, seeds)
def test_zero_padding(padding, dtype, seed):
    x = normal(seed, 2, 3, 4, 2)
    ours, theirs = layer_pair("ZeroPadding2D", padding, inputs=x, dtype=dtype)
    check_layers(ours, theirs, x, dtype=dtype)


@parity
@given(st.integers(1, 3) | st.tuples(few, few), st.sampled_from(["nearest", "bilinear"]), dtypes, seeds)
def test_upsampling(size, interpolation, dtype, seed):
    x = normal(seed, 2, 3, 4, 2)
    ours, theirs = layer_pair("UpSampling2D", size, interpolation=interpolation, inputs=x, dtype=dtype)
    check_layers(ours, theirs, x, dtype=dtype)


@pytest.mark.parametrize("name", ["Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract", "Concatenate"])
@parity
@given(count=st.integers(2, 4), dtype=dtypes, seed=seeds)
def test_merging(name, count, dtype, seed):
    x = [normal(seed + i, 2, 3, 4) for i in range(2 if name == "Subtract" else count)]
    check_layers(*layer_pair(name, inputs=x, dtype=dtype), x, dtype=dtype)


@parity
@given(st.sampled_from([1, 2, -1, -2]), seeds)
def test_concatenating_along_an_axis(axis, seed):
    x = [normal(seed + i, 2, *[4, 5][: axis % 3 - 1], 2 + i, *[4, 5][axis % 3 - 1 : 1]) for i in range(2)]
    check_layers(*layer_pair("Concatenate", axis=axis, inputs=x), x)


@pytest.mark.parametrize("name", ["SimpleRNN", "LSTM", "GRU"])
@parity
@given(
    kwargs=st.fixed_dictionaries({
        "units": st.integers(1, 5),
        "use_bias": flags,
        "return_sequences": flags,
        "return_state": flags,
        "go_backwards": flags,
    }),
    before=flags,
    steps=st.integers(1, 5),
    features=st.integers(1, 4),
    dtype=dtypes,
    seed=seeds,
)  # fmt: skip
def test_recurrent(name, kwargs, before, steps, features, dtype, seed):
    x = normal(seed, 3, steps, features)
    if name == "GRU":
        kwargs = {**kwargs, "reset_after": not before}
    ours, theirs = layer_pair(name, inputs=x, dtype=dtype, **kwargs)
    check_layers(ours, theirs, x, dtype=dtype, tolerance=2e-5)


@pytest.mark.parametrize("name", ["SimpleRNN", "LSTM", "GRU"])
@pytest.mark.parametrize("sequences", [True, False])
def test_recurrent_with_masks(name, sequences):
    """Padding at the end, at the beginning, inside, and nowhere."""
    x = normal(0, 4, 5, 3)
    mask = np.array([[1, 1, 1, 0, 0], [0, 1, 1, 1, 1], [1, 0, 1, 0, 1], [1, 1, 1, 1, 1]], bool)
    ours, theirs = layer_pair(name, 4, return_sequences=sequences, inputs=x)
    check_layers(ours, theirs, x, mask=mask)


@pytest.mark.parametrize("name", ["SimpleRNN", "LSTM", "GRU"])
def test_recurrent_with_initial_states(name):
    x = normal(0, 3, 5, 2)
    states = [normal(i, 3, 4) for i in range(2 if name == "LSTM" else 1)]
    check_layers(*layer_pair(name, 4, return_state=True, inputs=x), x, initial_state=states)


def test_masks_go_through_a_model():
    """Masking, and the layers that hand its mask on or use it."""

    def model(keras):
        return keras.models.Sequential([
            keras.layers.Masking(0.0),
            keras.layers.LSTM(4, return_sequences=True),
            keras.layers.Dense(3),
            keras.layers.GRU(2, return_sequences=True),
            keras.layers.GlobalAveragePooling1D(),
        ])  # fmt: skip

    x = normal(0, 4, 6, 3).astype(np.float32)
    x[0, 4:] = 0
    x[1, :2] = 0
    x[2] = 0
    ours, theirs = model(lamella.keras), model(keras)
    ours(x), theirs(x)
    ours.set_weights([w + 0.1 for w in theirs.get_weights()])
    theirs.set_weights(ours.get_weights())
    wanted = array(theirs(theirs_of(x).float())).copy()
    wanted[2] = 0  # the average of nothing is NaN in Keras
    close(ours(x), wanted, "model", 1e-5)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu", "gelu", "softmax", "sigmoid", "tanh", "softplus", "selu",
                                  "softsign", "silu", "swish", "mish", "hard_sigmoid", "exponential", "linear",
                                  "log_softmax", "relu6", "hard_swish"])  # fmt: skip
def test_activation_functions(name):
    x = normal(0, 5, 7, scale=3.0)
    ours = getattr(lamella.activations, name)(lamella.tensor(x))
    theirs = getattr(keras.activations, name)(theirs_of(x))
    close(ours, theirs, name, 2e-6)


def test_activation_arguments():
    x = normal(0, 5, 7, scale=4.0)
    for name, kwargs in [("relu", {"negative_slope": 0.3}), ("relu", {"max_value": 6.0}), ("elu", {"alpha": 0.2}),
                         ("leaky_relu", {"negative_slope": 0.05}), ("gelu", {"approximate": True}),
                         ("softmax", {"axis": 0})]:  # fmt: skip
        ours = getattr(lamella.activations, name)(lamella.tensor(x), **kwargs)
        close(ours, getattr(keras.activations, name)(theirs_of(x), **kwargs), f"{name} {kwargs}", 2e-6)


@pytest.mark.parametrize("name", ["L1", "L2", "L1L2"])
def test_regularizers(name):
    x = normal(0, 5, 7)
    args = (0.1, 0.2) if name == "L1L2" else (0.3,)
    ours = getattr(lamella.regularizers, name)(*args)(lamella.tensor(x))
    assert abs(float(array(ours)) - float(array(getattr(keras.regularizers, name)(*args)(theirs_of(x))))) < 1e-5
