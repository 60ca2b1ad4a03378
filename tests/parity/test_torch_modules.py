"""Modules of `lamella.nn` beside PyTorch's: outputs, gradients, ten steps of training."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import lamella
from lamella import nn

from .compare import dtypes, normal, parity, seeds
from .torch_side import check_modules, copy_to_torch, module_pair, shake, torch

flags = st.booleans()
few = st.integers(1, 4)

# Normalised numbers: gradients are differences of nearly equal ones of scale 1.
NORMALISED = {"float32": {"tolerance": 1e-4, "least": 1.0}, "float64": {"tolerance": 1e-10, "least": 1.0}}


def per_dimension(dims, least, most):
    return st.integers(least, most) | st.tuples(*[st.integers(least, most)] * dims)


@parity
@given(st.lists(few, max_size=2), st.integers(1, 20), st.integers(1, 20), flags, dtypes, seeds)
def test_linear(leading, inputs, outputs, bias, dtype, seed):
    ours, theirs = module_pair("Linear", inputs, outputs, bias, dtype=dtype)
    check_modules(ours, theirs, normal(seed, *leading, inputs), dtype=dtype)


@st.composite
def convolutions(draw, dims, transposed):
    """Arguments and the shape of an input."""
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    kwargs = {
        "in_channels": groups * draw(few),
        "out_channels": groups * draw(few),
        "kernel_size": draw(per_dimension(dims, 1, 4)),
        "stride": draw(per_dimension(dims, 1, 3)),
        "dilation": draw(per_dimension(dims, 1, 2)),
        "groups": groups,
        "bias": draw(flags),
        "padding": draw(per_dimension(dims, 0, 2)),
    }
    if transposed:
        # PyTorch wants it below the stride or the dilation.
        steps = zip(np.broadcast_to(kwargs["stride"], dims), np.broadcast_to(kwargs["dilation"], dims), strict=True)
        kwargs["output_padding"] = draw(st.integers(0, min(max(s, d) for s, d in steps) - 1))
    elif draw(st.integers(0, 3)) == 0:
        kwargs["padding"] = draw(st.sampled_from(["valid", "same"]))
        if kwargs["padding"] == "same":
            kwargs["stride"] = 1
    batch = draw(st.sampled_from([[], [1], [3]]))
    return kwargs, (*batch, kwargs["in_channels"], *[draw(st.integers(7, 12)) for _ in range(dims)])


@pytest.mark.parametrize("name", ["Conv1d", "Conv2d", "ConvTranspose1d", "ConvTranspose2d"])
@parity
@given(data=st.data(), dtype=dtypes, seed=seeds)
def test_convolution(name, data, dtype, seed):
    kwargs, shape = data.draw(convolutions(int(name[-2]), "Transpose" in name))
    ours, theirs = module_pair(name, dtype=dtype, **kwargs)
    check_modules(ours, theirs, normal(seed, *shape), dtype=dtype)


@parity
@given(st.integers(16, 40), st.integers(16, 40), st.integers(8, 24), seeds)
def test_wide_convolution(channels, filters, size, seed):
    """Sizes at which the transforms run, which round more."""
    ours, theirs = module_pair("Conv2d", channels, filters, 3, padding=1)
    check_modules(ours, theirs, normal(seed, 2, channels, size, size), steps=3, tolerance=4e-5)


def windows(dims):
    return {
        "kernel_size": per_dimension(dims, 2, 4),
        "stride": st.none() | per_dimension(dims, 1, 3),
        "padding": st.integers(0, 1),
        "ceil_mode": flags,
    }


@pytest.mark.parametrize("dims", [1, 2])
@parity
@given(data=st.data(), dtype=dtypes, seed=seeds)
def test_max_pool(dims, data, dtype, seed):
    kwargs = data.draw(st.fixed_dictionaries({**windows(dims), "dilation": st.integers(1, 2)}))
    shape = data.draw(st.tuples(few, few, *[st.integers(8, 13)] * dims))
    ours, theirs = module_pair(f"MaxPool{dims}d", dtype=dtype, **kwargs)
    check_modules(ours, theirs, normal(seed, *shape), dtype=dtype)


@pytest.mark.parametrize("dims", [1, 2])
@parity
@given(data=st.data(), dtype=dtypes, seed=seeds)
def test_average_pool(dims, data, dtype, seed):
    kwargs = data.draw(st.fixed_dictionaries({**windows(dims), "count_include_pad": flags}))
    if dims == 2:
        kwargs["divisor_override"] = data.draw(st.none() | st.integers(1, 9))
    shape = data.draw(st.tuples(few, few, *[st.integers(8, 13)] * dims))
    ours, theirs = module_pair(f"AvgPool{dims}d", dtype=dtype, **kwargs)
    check_modules(ours, theirs, normal(seed, *shape), dtype=dtype)


@pytest.mark.parametrize("name", ["AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveMaxPool2d"])
@parity
@given(data=st.data(), dtype=dtypes, seed=seeds)
def test_adaptive_pool(name, data, dtype, seed):
    dims = int(name[-2])
    size = data.draw(st.integers(1, 6) if dims == 1 else st.integers(1, 6) | st.tuples(few, st.none() | few))
    ours, theirs = module_pair(name, size, dtype=dtype)
    shape = data.draw(st.tuples(few, few, *[st.integers(3, 11)] * dims))
    check_modules(ours, theirs, normal(seed, *shape), dtype=dtype)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dims", [0, 1, 2])
@parity
@given(
    kwargs=st.fixed_dictionaries({
        "eps": st.sampled_from([1e-5, 1e-2]),
        "momentum": st.sampled_from([0.1, 0.5, 1.0, None]),
        "affine": flags,
        "track_running_stats": flags,
    }),
    n=st.integers(3, 6),
    channels=st.integers(1, 9),
    dtype=dtypes,
    seed=seeds,
)  # fmt: skip
def test_batch_norm(dims, training, kwargs, n, channels, dtype, seed):
    ours, theirs = module_pair(f"BatchNorm{max(dims, 1)}d", channels, dtype=dtype, **kwargs)
    x = normal(seed, n, channels, *[5] * dims)
    check_modules(ours, theirs, x, dtype=dtype, training=training, **NORMALISED[dtype])


@parity
@given(
    st.lists(few, min_size=1, max_size=2),
    st.lists(st.integers(3, 7), min_size=1, max_size=2),
    st.fixed_dictionaries({"eps": st.sampled_from([1e-5, 1e-2]), "elementwise_affine": flags, "bias": flags}),
    dtypes,
    seeds,
)
def test_layer_norm(leading, shape, kwargs, dtype, seed):
    ours, theirs = module_pair("LayerNorm", tuple(shape), dtype=dtype, **kwargs)
    check_modules(ours, theirs, normal(seed, *leading, *shape), dtype=dtype, **NORMALISED[dtype])


@parity
@given(few, few, few, st.fixed_dictionaries({"eps": st.sampled_from([1e-5, 1e-2]), "affine": flags}), dtypes, seeds)
def test_group_norm(n, groups, per_group, kwargs, dtype, seed):
    ours, theirs = module_pair("GroupNorm", groups, groups * per_group, dtype=dtype, **kwargs)
    x = normal(seed, n, groups * per_group, 4, 3)
    check_modules(ours, theirs, x, dtype=dtype, **NORMALISED[dtype])


@parity
@given(st.integers(2, 12), st.integers(1, 8), st.data(), dtypes, seeds)
def test_embedding(rows, width, data, dtype, seed):
    padding = data.draw(st.none() | st.integers(-rows, rows - 1))
    indices = data.draw(st.lists(st.integers(0, rows - 1), min_size=6, max_size=6))
    ours, theirs = module_pair("Embedding", rows, width, padding, dtype=dtype)
    check_modules(ours, theirs, np.array(indices).reshape(2, 3), dtype=dtype)


ACTIVATIONS = {
    "ELU": {"alpha": st.sampled_from([1.0, 0.3])},
    "GELU": {"approximate": st.sampled_from(["none", "tanh"])},
    "Hardsigmoid": {},
    "Hardswish": {},
    "LeakyReLU": {"negative_slope": st.sampled_from([0.01, 0.3])},
    "LogSigmoid": {},
    "LogSoftmax": {"dim": st.sampled_from([-1, 0, 1])},
    "Mish": {},
    "ReLU": {},
    "ReLU6": {},
    "SELU": {},
    "SiLU": {},
    "Sigmoid": {},
    "Softmax": {"dim": st.sampled_from([-1, 0, 1])},
    "Softplus": {"beta": st.sampled_from([1.0, 0.5, 3.0]), "threshold": st.sampled_from([20.0, 2.0])},
    "Softsign": {},
    "Tanh": {},
}


@pytest.mark.parametrize("name", ACTIVATIONS)
@parity
@given(data=st.data(), dtype=dtypes, scale=st.sampled_from([1.0, 10.0]), seed=seeds)
def test_activation(name, data, dtype, scale, seed):
    kwargs = data.draw(st.fixed_dictionaries(ACTIVATIONS[name]))
    ours, theirs = module_pair(name, dtype=dtype, **kwargs)
    tolerance = 1e-7 if name == "Hardsigmoid" and dtype == "float64" else None  # PyTorch's sixth is a float32
    check_modules(ours, theirs, normal(seed, 3, 17, 5, scale=scale), dtype=dtype, tolerance=tolerance, least=1.0)


@pytest.mark.parametrize("name", ["Dropout", "Dropout1d", "Dropout2d"])
def test_dropout_does_nothing_in_evaluation(name):
    ours, theirs = module_pair(name, 0.4)
    check_modules(ours, theirs, normal(0, *[2, 3, 4, 5][: 3 if name == "Dropout1d" else 4]), training=False)


@parity
@given(st.data(), dtypes, seeds)
def test_upsample(data, dtype, seed):
    factors = st.integers(1, 3)
    h, w = data.draw(few), data.draw(few)
    if data.draw(flags):
        kwargs = {"size": (h * data.draw(factors), w * data.draw(factors))}
    else:
        kwargs = {"scale_factor": data.draw(factors | st.tuples(factors, factors))}
    ours, theirs = module_pair("Upsample", dtype=dtype, **kwargs)
    check_modules(ours, theirs, normal(seed, 2, 3, h, w), dtype=dtype)


@parity
@given(st.integers(0, 3) | st.tuples(*[st.integers(0, 3)] * 4), dtypes, seeds)
def test_zero_pad(padding, dtype, seed):
    ours, theirs = module_pair("ZeroPad2d", padding, dtype=dtype)
    check_modules(ours, theirs, normal(seed, 2, 3, 4, 5), dtype=dtype)


@parity
@given(st.integers(0, 3), st.integers(-1, 3), seeds)
def test_flatten(start, end, seed):
    assume(end < 0 or start <= end)
    ours, theirs = module_pair("Flatten", start, end)
    check_modules(ours, theirs, normal(seed, 2, 3, 4, 5))


@pytest.mark.parametrize("case", [(1, (2, 3)), (1, (-1, 3)), (-3, (6, 1)), (2, (2, 2))])
def test_unflatten(case):
    ours, theirs = module_pair("Unflatten", *case)
    check_modules(ours, theirs, normal(0, 2, 6, 4, 5))


def test_identity_takes_anything():
    ours, theirs = module_pair("Identity", 54, unused=1)
    check_modules(ours, theirs, normal(0, 2, 3))


def network(nn, depth):
    body = []
    for i in range(depth):
        body += [nn.Conv2d(2 if i == 0 else 4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.GELU()]
    return nn.Sequential(*body, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4 * 9, 8), nn.Tanh(), nn.Linear(8, 3))


@parity
@given(st.integers(1, 3), dtypes, seeds)
def test_networks(depth, dtype, seed):
    lamella.seed(seed)
    ours, theirs = network(nn, depth).to(np.dtype(dtype)), network(torch.nn, depth).double()
    shake(ours)
    copy_to_torch(ours, theirs)
    # What goes into a batch norm has biases without gradients.
    tolerance = 2e-4 if dtype == "float32" else 1e-9
    check_modules(ours, theirs, normal(seed, 4, 2, 6, 6), dtype=dtype, tolerance=tolerance, least=1.0)
