"""PyTorch's small methods of tensors and functions of the package: names that are asked, not computed with."""

import numpy as np
import pytest

import lamella
from lamella import nn


def numbers(*shape):
    return lamella.arange(int(np.prod(shape)), dtype=lamella.float32).reshape(*shape)


def test_what_a_tensor_is():
    x = numbers(2, 3)
    assert x.element_size() == 4 and x.double().element_size() == 8 and x.nelement() == x.numel() == 6
    assert x.is_floating_point() and not x.long().is_floating_point()
    assert lamella.is_tensor(x) and not lamella.is_tensor(x.numpy())
    assert lamella.get_default_dtype() == x.dtype


def test_the_form_of_another_tensor():
    x, y = numbers(2, 3), numbers(3, 2).double()
    assert x.type_as(y).dtype == np.float64 and x.type_as(x) is x
    np.testing.assert_array_equal(x.view_as(y), np.arange(6).reshape(3, 2))
    np.testing.assert_array_equal(numbers(3, 1).expand_as(y), np.arange(3)[:, None].repeat(2, 1))
    np.testing.assert_array_equal(numbers(2, 3, 4).mT, np.arange(24).reshape(2, 3, 4).transpose(0, 2, 1))


def test_in_place():
    x = numbers(4)
    memory = x.numpy()
    assert x.add_(1, alpha=2) is x and x.sub_(1) is x and x.mul_(3) is x and x.div_(2) is x
    np.testing.assert_array_equal(memory, (np.arange(4) + 1) * 1.5)
    x.clamp_(2, 5)
    np.testing.assert_array_equal(memory, [2, 3, 4.5, 5])
    x.clamp_(max=4).zero_()
    np.testing.assert_array_equal(memory, 0)


def test_no_gpu():
    lamella.cuda.manual_seed_all(3)
    assert not lamella.cuda.is_available() and lamella.cuda.device_count() == 0
    packed = nn.utils.rnn.pack_padded_sequence(numbers(3, 2, 1), [3, 2])
    assert not packed.is_cuda


def test_modules_that_have_nothing_to_do():
    rnn = nn.LSTM(2, 3)
    before = [p.numpy().copy() for p in rnn.parameters()]
    assert rnn.flatten_parameters() is None
    for a, b in zip(before, rnn.parameters(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_lazy_modules_tell_whether_they_are_made():
    layer = nn.LazyLinear(3)
    assert layer.has_uninitialized_params()
    with pytest.raises(RuntimeError, match="not known before"):
        _ = layer.weight.shape
    layer(numbers(2, 5))
    assert layer.weight.shape == (3, 5)
