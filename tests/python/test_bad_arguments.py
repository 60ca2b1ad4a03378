"""Errors that name what was called, the argument, what was expected and what came."""

import numpy as np
import pytest

import lamella
import lamella.nn.functional as F
from lamella import initializers, layers, losses, nn, optim, optimizers
from lamella import kernels as K
from lamella._kernels._call import op
from lamella.autograd import apply

ROWS = np.ones((2, 3), np.float32)
IMAGES = np.ones((2, 3, 8, 8), np.float32)


@pytest.mark.parametrize(
    ("module", "value", "message"),
    [
        (nn.Linear(3, 2), ROWS, r"dense: input 0: expected a Tensor, got ndarray"),
        (nn.Linear(3, 2), ROWS.tolist(), r"dense: input 0: expected a Tensor, got list"),
        (nn.Conv2d(3, 2, 3), IMAGES, r"conv2d: input: expected a Tensor, got ndarray"),
        (nn.Conv2d(3, 2, 3), IMAGES.tolist(), r"conv2d: input: expected a Tensor, got list"),
        (nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), IMAGES, r"Flatten: input: expected a Tensor, got ndarray"),
        (nn.LSTM(3, 4), np.ones((5, 2, 3), np.float32), r"lstm: input 0: expected a Tensor, got ndarray"),
    ],
)
def test_modules_want_tensors(module, value, message):
    with pytest.raises(TypeError, match=message):
        module(value)


def test_losses_want_tensors():
    with pytest.raises(TypeError, match=r"cross_entropy: target: expected a Tensor, got ndarray"):
        nn.CrossEntropyLoss()(lamella.tensor(ROWS), np.array([0, 1]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.softmax(ROWS, 1), "softmax: input: expected a Tensor, got ndarray"),
        (lambda: F.softmax(None, 1), "softmax: input: expected a Tensor, got NoneType"),
        (lambda: F.dropout(ROWS), "dropout: input: expected a Tensor, got ndarray"),
        (lambda: F.max_pool2d(IMAGES, 2), "max_pool2d: input: expected a Tensor, got ndarray"),
        (lambda: F.one_hot(np.array([1, 0]), 2), "one_hot: tensor: expected a Tensor, got ndarray"),
        (lambda: lamella.cat([ROWS, ROWS]), r"cat: tensors\[0\]: expected a Tensor, got ndarray"),
        (lambda: lamella.cat([lamella.tensor(ROWS), ROWS]), "cat: input 1: expected a Tensor, got ndarray"),
        (lambda: lamella.flatten(x=ROWS), "flatten: x: expected a Tensor, got ndarray"),
        (lambda: lamella.functional.softmax(ROWS), "softmax: x: expected a Tensor, got ndarray"),
    ],
)
def test_functions_want_tensors(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_missing_attributes_of_the_users_own_stay_what_they_are():
    class Odd(nn.Module):
        def forward(self, x, settings):
            return x * settings.scale

    with pytest.raises(AttributeError, match="scale"):
        Odd()(lamella.tensor(ROWS), object())
    with pytest.raises(AttributeError, match="nothing"):
        nn.Module.__call__(Odd(), lamella.tensor(ROWS), settings=Odd().nothing)


def test_apply_wants_tensors():
    add = op("add")
    with pytest.raises(TypeError, match=r"add: input 1: expected a Tensor, got ndarray; lamella.tensor\(\)"):
        apply(add, lamella.tensor(ROWS), ROWS)


@pytest.mark.parametrize(
    ("layer", "value", "message"),
    [
        (layers.Dense(2), ROWS.tolist(), "inputs: expected one tensor or array, got a list of 2"),
        (layers.Dense(2), [ROWS, ROWS], "inputs: expected one tensor or array, got a list of 2"),
        (layers.Dense(2), None, "inputs: expected one tensor or array, got None"),
        (layers.Dense(2), "text", "inputs: expected numbers, got str"),
        (layers.Dense(2), np.array(["a"]), "inputs: expected numbers, got an array of <U1"),
        (layers.Flatten(), [IMAGES], "inputs: expected one tensor or array, got a list of 1"),
        (layers.Dense(2), [layers.Input((3,)), layers.Input((3,))], "expected one tensor or array, got a list of 2"),
    ],
)
def test_layers_want_one_tensor(layer, value, message):
    with pytest.raises(TypeError, match=message):
        layer(value)


@pytest.mark.parametrize("units", [float("nan"), float("inf"), 2.5, 0, None, "a"])
def test_units(units):
    with pytest.raises(ValueError, match="Dense: units: expected a positive integer"):
        layers.Dense(units)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.Input((3,), batch_size=-1), "Input: batch_size: expected a positive integer, got -1"),
        (lambda: layers.LayerNormalization(axis="a"), "LayerNormalization: axis: expected a tuple of integers"),
        (lambda: layers.LayerNormalization(epsilon="a"), "LayerNormalization: epsilon: expected a number > 0, got 'a'"),
        (lambda: layers.LayerNormalization(epsilon=0), "LayerNormalization: epsilon: expected a number > 0, got 0"),
        (lambda: layers.BatchNormalization(axis=None), "BatchNormalization: axis: expected a tuple of integers"),
        (lambda: layers.BatchNormalization(momentum="a"), "BatchNormalization: momentum: expected a number in"),
        (lambda: layers.Conv1D(3, ()), r"Conv1D: kernel_size: expected a positive integer, got \(\)"),
        (lambda: layers.Conv1D(3, (2, 2)), r"Conv1D: kernel_size: expected a positive integer, got \(2, 2\)"),
        (lambda: layers.MaxPooling1D("a"), "MaxPooling1D: pool_size: expected a positive integer, got 'a'"),
        (lambda: layers.Reshape(3), "Reshape: target_shape: expected a tuple of integers, got 3"),
        (lambda: layers.Permute("a"), "Permute: dims: expected a tuple of integers, got 'a'"),
    ],
)
def test_layers(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_names_and_types_of_layers():
    with pytest.raises(TypeError, match="Dense: name: expected a string, got 3"):
        layers.Dense(3, name=3)
    with pytest.raises(
        TypeError, match="dtype: expected one of float32, float64, mixed_float16, mixed_bfloat16, got 'abc'"
    ):
        layers.Dense(3, dtype="abc")


@pytest.mark.parametrize(
    ("get", "hint"),
    [
        (lambda: losses.get("crossentropy"), "'BinaryCrossentropy' or 'BinaryFocalCrossentropy' or 'Categ"),
        (lambda: losses.get("binary_crosentropy"), r"'binary_crossentropy'\?"),
        (lambda: initializers.get("glorut"), r"'glorot_normal' or 'glorot_uniform'\?"),
        (lambda: initializers.get("glorot"), r"'glorot_normal' or 'glorot_uniform'\?"),
        (lambda: optimizers.get("adan"), r"'adam'\?"),
    ],
)
def test_close_names(get, hint):
    with pytest.raises(ValueError, match=rf"\(did you mean {hint}"):
        get()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.MaxPool2d(0), "MaxPool2d: kernel_size: expected an integer >= 1 or two of them, got 0"),
        (lambda: nn.MaxPool2d("a"), "MaxPool2d: kernel_size: expected an integer >= 1 or two of them, got 'a'"),
        (lambda: nn.MaxPool2d((2, 2, 2)), "MaxPool2d: kernel_size: expected"),
        (lambda: nn.MaxPool1d(2, stride=0), "MaxPool1d: stride: expected an integer >= 1, got 0"),
        (lambda: nn.MaxPool1d(2, dilation=0), "MaxPool1d: dilation: expected an integer >= 1, got 0"),
        (lambda: nn.AvgPool2d(2, padding=-1), "AvgPool2d: padding: expected an integer >= 0 or two of them, got -1"),
        (lambda: nn.AvgPool2d(2, divisor_override=0), "AvgPool2d: divisor_override: expected an integer >= 1, got 0"),
        (lambda: nn.AvgPool1d(-1), "AvgPool1d: kernel_size: expected an integer >= 1, got -1"),
    ],
)
def test_pooling_windows(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: K.relu(None), TypeError, "activation: x: expected float32 or float64, got none"),
        (lambda: K.conv2d(None, None), ValueError, "conv2d: x: expected 4 dimensions, got none"),
        (lambda: K.depthwise_conv2d(np.float32(1), IMAGES), ValueError, "conv2d: x: expected 4 dimensions, got 0"),
        (lambda: K.conv2d_backward_weight(ROWS, ROWS, 3), ValueError, "conv2d: x: expected 4 dimensions, got 2"),
        (
            lambda: K.conv2d_backward_weight(np.float32(1), np.float32(1), 3),
            ValueError,
            "conv2d: x: expected 4 dimensions, got 0",
        ),
        (lambda: K.conv2d_backward_weight(IMAGES, IMAGES, (3,)), ValueError, "conv2d: kernel_size: expected"),
        (lambda: K.conv2d_backward_weight(IMAGES, IMAGES, 3, groups=0), ValueError, "conv2d: groups: expected"),
        (
            lambda: K.conv2d(IMAGES, IMAGES, stride=2**70),
            ValueError,
            "conv2d: stride: expected an integer of 64 bits, got one of 72",
        ),
    ],
)
def test_raw_functions(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.parametrize("data", ["a", ["a", "b"], None, 1j, np.array([object()]), np.array(["a"])])
@pytest.mark.parametrize("make", [lamella.tensor, lamella.as_tensor])
def test_tensors_hold_numbers(make, data):
    with pytest.raises(TypeError, match="tensor: data: expected numbers, got"):
        make(data)


def test_losses():
    with pytest.raises(ValueError, match=r"mse_loss: target: expected shape \(3,\), got \(4,\)"):
        F.mse_loss(lamella.ones(3), lamella.ones(4))
    for wrong in (1.5, -0.25):
        with pytest.raises(ValueError, match=rf"input: expected probabilities in \[0, 1\], got {wrong}"):
            nn.BCELoss()(lamella.tensor([0.5, wrong]), lamella.ones(2))
    assert np.isfinite(nn.BCELoss()(lamella.tensor([0.0, 1.0]), lamella.tensor([0.0, 1.0])).item())


def trained(make):
    parameter = nn.Parameter(np.ones(3, np.float32))
    optimizer = make([parameter])
    parameter.grad = lamella.ones(3)
    optimizer.step()
    return parameter, optimizer


def test_state_of_another_optimizer():
    parameter, adam = trained(optim.Adam)
    before = adam.state_dict()["state"][0]
    sgd = trained(lambda p: optim.SGD(p, momentum=0.9))[1].state_dict()
    with pytest.raises(ValueError, match=r"Adam: load_state_dict: param_groups: expected also betas, eps, got lr, mom"):
        adam.load_state_dict(sgd)
    with pytest.raises(
        ValueError, match=r"Adam: load_state_dict: state_dict: expected 'param_groups' and 'state', got"
    ):
        adam.load_state_dict({})
    damaged = trained(optim.Adam)[1].state_dict()
    del damaged["state"][0]["exp_avg"]
    with pytest.raises(ValueError, match="expected 'exp_avg'"):
        adam.load_state_dict(damaged)
    # What was refused has changed nothing.
    np.testing.assert_array_equal(adam.state_dict()["state"][0]["exp_avg"].numpy(), before["exp_avg"].numpy())
    assert parameter in adam.state


def test_sgd_state_as_pytorch_writes_it():
    _, sgd = trained(lambda p: optim.SGD(p, momentum=0.9))
    state = sgd.state_dict()
    del state["state"][0]["step"]
    sgd.load_state_dict(state)
    assert sgd.state_dict()["state"][0]["momentum_buffer"].shape == (3,)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optimizers.Adam(lr=0.1), r"Adam: unknown argument 'lr' \(did you mean 'learning_rate'\?\)"),
        (lambda: optimizers.SGD(momentums=0.9), r"SGD: unknown argument 'momentums' \(did you mean 'momentum'\?\)"),
        (lambda: optimizers.AdamW(foo=1), r"AdamW: unknown argument 'foo'; known are amsgrad, beta_1"),
    ],
)
def test_arguments_of_optimizers(make, message):
    with pytest.raises(TypeError, match=message):
        make()
