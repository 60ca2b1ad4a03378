"""Tensors and modules on a device."""

import numpy as np
import pytest

import lamella
from lamella import nn

rng = np.random.default_rng(0)


def both(*shape):
    x = rng.standard_normal(shape).astype(np.float32)
    return lamella.tensor(x), lamella.tensor(x, device="cuda")


def same(on_device, on_cpu, rtol=1e-5):
    assert on_device.device.type == "cuda" and on_cpu.device.type == "cpu"
    assert on_device.dtype == on_cpu.dtype and on_device.shape == on_cpu.shape
    np.testing.assert_allclose(on_device.numpy(), on_cpu.numpy(), rtol=rtol, atol=1e-6)


def test_there_and_back(cuda):
    x, there = both(3, 4)
    import cupy

    assert isinstance(there._data, cupy.ndarray) and str(there.device) == "cuda:0"
    assert there.to("cuda") is there and there.cpu().device.type == "cpu"
    np.testing.assert_array_equal(there.numpy(), x.numpy())
    assert lamella.zeros(2, device=cuda).device.type == "cuda"
    assert lamella.zeros_like(there).device.type == "cuda"
    assert there.sum().item() == pytest.approx(x.sum().item(), rel=1e-5)


def test_softmax_each_way(cuda):
    x, there = both(5, 7)
    g, g_there = both(5, 7)
    for t in (x, there):
        t.requires_grad = True
    y, y_there = x.softmax(-1), there.softmax(-1)
    same(y_there, y)
    y.backward(g)
    y_there.backward(g_there)
    same(there.grad, x.grad)


def test_gradients_cross_devices(cuda):
    x = lamella.tensor(np.ones((2, 3), np.float32), requires_grad=True)
    y = x.to(cuda).softmax(-1).cpu().log().sum()
    y.backward()
    assert x.grad.device.type == "cpu" and np.abs(x.grad.numpy()).max() < 1e-6


def test_devices_do_not_mix(cuda):
    x, there = both(2, 3)
    with pytest.raises(TypeError, match="add: input 0: expected an array on the device"):
        x + there
    same(there * 2 + 1, x * 2 + 1)


def test_training_step(cuda):
    torch_like = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    there = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    there.load_state_dict(torch_like.state_dict())
    there.to(cuda)
    assert {p.device.type for p in there.parameters()} == {"cuda"}
    x, x_there = both(16, 6)
    labels = rng.integers(0, 3, 16)
    optimizers = [lamella.optim.Adam(m.parameters(), lr=0.01) for m in (torch_like, there)]
    for _ in range(5):
        for m, v, o, where in zip((torch_like, there), (x, x_there), optimizers, ("cpu", cuda), strict=True):
            loss = nn.functional.cross_entropy(m(v), lamella.tensor(labels, device=where))
            o.zero_grad()
            loss.backward()
            o.step()
    for a, b in zip(there.parameters(), torch_like.parameters(), strict=True):
        same(a, b, rtol=1e-4)


def test_raw_kernels_take_cupy_arrays(cuda):
    import cupy

    lamella.zeros(1, device=cuda)
    x = rng.standard_normal((4, 6)).astype(np.float32)
    there = cupy.asarray(x)
    y = lamella.kernels.softmax(there)
    assert isinstance(y, cupy.ndarray)
    np.testing.assert_allclose(y.get(), lamella.kernels.softmax(x), rtol=1e-5)
    back = lamella.kernels.softmax_backward(cupy.asarray(x), there)
    np.testing.assert_allclose(back.get(), lamella.kernels.softmax_backward(x, x), rtol=1e-4, atol=1e-6)
    out = cupy.empty((4, 6), np.float32)
    assert lamella.kernels.softmax(there, out=out) is out
    with pytest.raises(TypeError, match="softmax: out: expected an array on the inputs' device"):
        lamella.kernels.softmax(there, out=np.empty((4, 6), np.float32))


def test_streams_of_the_caller(cuda):
    import cupy

    from lamella import layers, models

    x, there = both(40, 6)
    model = models.Sequential([layers.Input((6,)), layers.Dense(8, activation="relu"), layers.Dense(3)])
    model.compile("sgd", loss="mse")
    model.to(cuda)
    expected = model.predict(x.numpy(), batch_size=8)
    cupy.cuda.get_current_stream().synchronize()
    for _ in range(3):
        for stream in [cupy.cuda.Stream(non_blocking=True) for _ in range(5)]:
            with stream:
                same(there.sum(0), x.sum(0))
                np.testing.assert_array_equal(model.predict(x.numpy(), batch_size=8), expected)
    with cupy.cuda.Stream(non_blocking=True):
        losses = model.fit(x.numpy(), x.numpy()[:, :3], batch_size=8, epochs=3, verbose=0).history["loss"]
    more = model.fit(x.numpy(), x.numpy()[:, :3], batch_size=8, epochs=2, verbose=0).history["loss"]
    assert losses == sorted(losses, reverse=True) and losses[-1] > more[0] > more[1]


def test_printing_and_saving(cuda, tmp_path):
    x = lamella.tensor([1.5, 2.0], device=cuda)
    assert repr(x) == "tensor([1.5, 2. ], device='cuda:0')"
    lamella.save({"x": x}, tmp_path / "x.safetensors")
    assert lamella.load(tmp_path / "x.safetensors")["x"].tolist() == [1.5, 2.0]
