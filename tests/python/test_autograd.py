"""The tape: gradients against finite differences, accumulation, views, errors."""

import copy
import pickle

import numpy as np
import pytest

import lamella
from lamella.autograd import Function, Tensor, apply, grad

EPS = 1e-6


def numeric(fn, arrays, i):
    """Central differences of the scalar fn by arrays[i], in float64."""
    x = arrays[i]
    out = np.zeros_like(x)
    for k in np.ndindex(x.shape):
        shifted = []
        for sign in (1, -1):
            moved = [a.copy() for a in arrays]
            moved[i][k] += sign * EPS
            with lamella.no_grad():
                shifted.append(fn(*[lamella.tensor(a) for a in moved]).item())
        out[k] = (shifted[0] - shifted[1]) / (2 * EPS)
    return out


def check_gradients(fn, *arrays):
    arrays = [np.asarray(a, np.float64) for a in arrays]
    tensors = [lamella.tensor(a, requires_grad=True) for a in arrays]
    fn(*tensors).backward()
    for i, t in enumerate(tensors):
        # Central differences in float64 are good to about sqrt(eps) of the values that are subtracted.
        np.testing.assert_allclose(t.grad.numpy(), numeric(fn, arrays, i), rtol=2e-6, atol=2e-7)


def draw(*shape, seed=0):
    """Values away from zero, where |x| and relu have kinks."""
    rng = np.random.default_rng([seed, *shape])
    return rng.uniform(0.3, 1.5, shape) * rng.choice([-1, 1], shape)


EXPRESSIONS = {
    "broadcast": lambda a, b: (a * b[0] + b[:, :1] - 2 * a / (3 + b * b)).sum(),
    "scalars": lambda a, b: (1 - a) @ (2 / b).T,
    "powers": lambda a, b: (abs(a) ** 1.5 + b**2 - b**3).mean(),
    "functions": lambda a, b: (a.exp() + b.abs().log() + b.abs().sqrt() + a.tanh() * b.sigmoid()).sum(),
    "reductions": lambda a, b: a.sum(0) * b.mean(0) + a.amax(1).sum() + b.var(1).sum() + a.norm(),
    "views": lambda a, b: a.T[1:3] * b.reshape(4, 3)[1:3].unsqueeze(0).squeeze(0) + b.permute(1, 0)[::2],
    "indexing": lambda a, b: a[1, 1:] * b[np.array([0, 0, 2])][1, 1:] + a[a > 0].sum() + b[:, None, 1].sum(),
    "joining": lambda a, b: lamella.cat([a, b * 2], 1)[:, 2:7] * lamella.stack([a, b])[1, :, :1],
    "layout": lambda a, b: a.T * b.T + (a.T + b[:, 0]).softmax(0),
    "expand": lambda a, b: a[:1].expand(5, 4) * b[0],
    "shared": lambda a, b: (a * a + a) * (b + a),
    "where": lambda a, b: lamella.where(a > b, a * 2, b * b),
    "clamp": lambda a, b: a.clamp(-0.7, 0.9) * b.clamp(min=0.1),
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_expression_gradients(name):
    check_gradients(lambda a, b: (EXPRESSIONS[name](a, b) * 1.5).sum(), draw(3, 4), draw(3, 4, seed=1))


def test_leaf_grad_accumulates_and_clears():
    x = lamella.ones(3, requires_grad=True)
    (x * 2).sum().backward()
    first = x.grad
    (x * 3).sum().backward()
    assert x.grad.tolist() == [5, 5, 5]
    assert first.tolist() == [5, 5, 5], "whoever holds grad sees it grow"
    x.grad = None
    assert x.grad is None


def test_gradient_given_by_the_user_is_not_shared():
    x = lamella.zeros(2, 2, requires_grad=True)
    g = lamella.ones(2, 2)
    x.view(4).view(2, 2).backward(g)
    (x * 1).sum().backward()
    assert g.tolist() == [[1, 1], [1, 1]]
    assert x.grad.tolist() == [[2, 2], [2, 2]]


def test_first_gradient_is_not_shared():
    for _ in range(2):
        y = Tensor(np.float32(3), requires_grad=True)
        z = y * 2
        (own,) = grad(z, [z])
        assert own.item() == 1
        own.mul_(5)


def test_diamond_is_walked_once():
    x = lamella.tensor([2.0], requires_grad=True)
    y = x
    for _ in range(40):
        y = y * 0.5 + y * 0.5
    y.sum().backward()
    assert x.grad.tolist() == pytest.approx([1.0])


def test_long_chain_needs_no_recursion():
    x = lamella.ones(1, requires_grad=True)
    y = x
    for _ in range(5000):
        y = y + 0
    y.sum().backward()
    assert x.grad.item() == 1


def test_backward_needs_scalar_or_gradient():
    y = lamella.ones(2, requires_grad=True) * 2
    with pytest.raises(RuntimeError, match="gradient: needed for a tensor of more than one element"):
        y.backward()
    with pytest.raises(RuntimeError, match=r"expected shape \(2,\), got \(3,\)"):
        y.backward(lamella.ones(3))


def test_backward_without_gradients():
    with pytest.raises(RuntimeError, match="does not require a gradient"):
        lamella.ones(1).backward()


def test_second_backward():
    x = lamella.ones(2, requires_grad=True)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [4, 4]
    with pytest.raises(RuntimeError, match="second pass"):
        y.backward()


def test_in_place_write_to_what_backward_reads():
    x = lamella.ones(2, requires_grad=True)
    y = x * 2
    z = y * y
    y.detach().add_(1)
    with pytest.raises(RuntimeError, match="input 0 of mul was modified in place"):
        z.sum().backward()


def test_in_place_write_to_what_backward_does_not_read():
    x = lamella.ones(2, requires_grad=True)
    y = x + 2
    z = y + 1
    y.detach().add_(1)
    z.sum().backward()
    assert x.grad.tolist() == [1, 1]


def test_in_place_on_recorded_tensors():
    x = lamella.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf tensor that requires a gradient"):
        x += 1
    y = x * 3
    y *= y
    y[0] = 5.0
    y.sum().backward()
    assert x.grad.tolist() == [0, 18]
    with lamella.no_grad():
        x -= 0.5
    assert x.tolist() == [0.5, 0.5] and x.requires_grad


def test_setitem_gradient_goes_to_the_value():
    value = lamella.ones(3, requires_grad=True)
    y = lamella.zeros(2, 3)
    y[:] = value * 2
    (y * lamella.tensor([[1.0, 2, 3], [4, 5, 6]])).sum().backward()
    assert value.grad.tolist() == [10, 14, 18]


def test_no_grad_forms():
    x = lamella.ones(1, requires_grad=True)
    with lamella.no_grad():
        assert not (x * 2).requires_grad
        with lamella.enable_grad():
            assert (x * 2).requires_grad
    assert (x * 2).requires_grad

    @lamella.no_grad()
    def f():
        return x * 2

    @lamella.inference_mode
    def g():
        return x * 2

    assert not f().requires_grad and not g().requires_grad
    with lamella.set_grad_enabled(False):
        assert not lamella.is_grad_enabled()
    assert lamella.is_grad_enabled()


def test_detach_shares_memory():
    x = lamella.ones(2, requires_grad=True)
    d = x.detach()
    assert d.numpy() is x.numpy() and not d.requires_grad and x.is_leaf


def test_retain_grad():
    x = lamella.ones(2, requires_grad=True)
    y = x * 2
    y.retain_grad()
    (y * 3).sum().backward()
    assert y.grad.tolist() == [3, 3]
    assert not y.is_leaf


def test_grad_function():
    x = lamella.tensor([1.0, 2.0], requires_grad=True)
    y = x * x
    z = (y * 3).sum()
    gy, gx = grad(z, [y, x])
    assert gy.tolist() == [3, 3] and gx.tolist() == [6, 12] and x.grad is None
    unused = lamella.ones(1, requires_grad=True)
    with pytest.raises(RuntimeError, match="do not depend"):
        grad((x * 1).sum(), [unused])
    assert grad((x * 1).sum(), [unused], allow_unused=True) == (None,)


class Cube(Function):
    @staticmethod
    def forward(ctx, x, factor):
        assert isinstance(x, np.ndarray) and factor == 2
        ctx.save_for_backward(x)
        return factor * x**3

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * 6 * x**2, None


def test_function():
    check_gradients(lambda x: Cube.apply(x, 2).sum(), draw(4))


def test_function_errors():
    class Short(Cube):
        @staticmethod
        def backward(ctx, g):
            return g

    class Wrong(Cube):
        @staticmethod
        def backward(ctx, g):
            return g[:1], None

    x = lamella.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="expected 2 gradients"):
        Short.apply(x, 2).sum().backward()
    with pytest.raises(RuntimeError, match="expected shape"):
        Wrong.apply(x, 2).sum().backward()


def test_integers():
    t = lamella.tensor([1, 2, 3])
    assert t.dtype == lamella.int64
    assert (t + 1).dtype == lamella.int64 and (t / 2).dtype == lamella.float32 and (t * 0.5).dtype == lamella.float32
    assert (t == lamella.tensor([1, 0, 3])).sum().item() == 2
    with pytest.raises(RuntimeError, match="only float tensors"):
        t.requires_grad_()


def test_promotion():
    f, d = lamella.ones(2), lamella.ones(2, dtype=lamella.float64)
    assert (f + d).dtype == lamella.float64
    assert (f + d.sum()).dtype == lamella.float32, "a scalar takes part with its kind alone"
    assert (f * np.float64(2)).dtype == lamella.float32
    assert (np.ones(2, np.float32) * f).dtype == lamella.float32
    assert isinstance(np.ones(2, np.float32) * f, Tensor)


def test_cast_carries_gradients():
    x = lamella.ones(2, requires_grad=True)
    (x.double() * 2).sum().backward()
    assert x.grad.dtype == lamella.float32 and x.grad.tolist() == [2, 2]


def test_scalar_conversions():
    x = lamella.tensor([2.5])
    assert float(x) == 2.5 and int(x) == 2 and x.item() == 2.5 and bool(x)
    assert [0, 1, 2][lamella.tensor(1)] == 1
    assert f"{x.sum():.2f}" == "2.50"
    with pytest.raises(RuntimeError, match="expected one element"):
        lamella.ones(2).item()
    with pytest.raises(RuntimeError, match="use any"):
        bool(lamella.ones(2))


def test_array_protocols():
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    t = lamella.from_numpy(a)
    assert np.asarray(t) is a or np.shares_memory(np.asarray(t), a)
    assert np.shares_memory(np.from_dlpack(t), a)
    assert np.array_equal(np.array(t, dtype=np.float64), a)
    assert len(t) == 2 and [r.tolist() for r in t] == a.tolist()


def test_copies():
    x = lamella.tensor([[1.0, 2.0]], requires_grad=True)
    for y in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert y.tolist() == x.tolist() and y.requires_grad and y.is_leaf
        assert not np.shares_memory(y.numpy(), x.numpy())


def test_repr():
    assert repr(lamella.tensor([1.0, 2.5])) == "tensor([1.0000, 2.5000])" or "2.5" in repr(lamella.tensor([1.0, 2.5]))
    assert "requires_grad=True" in repr(lamella.ones(1, requires_grad=True))
    assert "grad_fn=<mul>" in repr(lamella.ones(1, requires_grad=True) * 2)
    assert "dtype=float64" in repr(lamella.ones(1, dtype=lamella.float64))


def test_permuted_chain_copies_nothing():
    x = lamella.randn(2, 3, 4, 5)
    y = lamella.relu(x.permute(0, 3, 1, 2))
    assert y.permute(0, 2, 3, 1).is_contiguous()
    np.testing.assert_array_equal(y.numpy(), np.maximum(x.numpy(), 0).transpose(0, 3, 1, 2))


def test_optional_inputs_and_apply():
    from lamella import _cpu

    x = lamella.tensor([[1.0, 2.0]], requires_grad=True)
    w = lamella.tensor([[1.0], [1.0]])
    y = apply(_cpu.Op("dense", {}), x, w, None)
    y.backward()
    assert y.item() == 3 and x.grad.tolist() == [[1, 1]]
