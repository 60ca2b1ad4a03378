"""Mixed precision: autocast, gradient scaling, dtype policies of layers."""

from __future__ import annotations

import copy
import math
import pickle
import threading

import numpy as np
import pytest

import lamella as L
from lamella import amp, keras, mixed_precision, nn
from lamella.keras import layers

ml_dtypes = pytest.importorskip("ml_dtypes")
BF16, F16 = np.dtype(ml_dtypes.bfloat16), np.dtype(np.float16)


@pytest.fixture(autouse=True)
def no_policy_is_left():
    yield
    mixed_precision.set_global_policy("float32")


def model():
    L.seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 5)
    )


# --- dtypes --------------------------------------------------------------------------------------------------------


def test_names():
    assert L.bfloat16 == BF16 and L.float16 == L.half == F16
    assert L.ones(3, dtype="bfloat16").dtype == BF16 and L.zeros(2, dtype=L.float16).dtype == F16
    t = L.tensor([1.0, 2.5], dtype=L.bfloat16)
    assert t.is_floating_point() and t.element_size() == 2 and t.tolist() == [1.0, 2.5] and t[1].item() == 2.5
    assert t.float().dtype == np.float32 and L.ones(2).bfloat16().dtype == BF16 and L.ones(2).half().dtype == F16
    assert "bfloat16" in repr(t)


def test_promotion():
    h, b, s = L.ones(2, 3).half(), L.ones(2, 3).bfloat16(), L.ones(2, 3)
    assert (h + s).dtype == np.float32 and (h * b).dtype == np.float32 and (b * 2.0).dtype == BF16
    assert (b + L.tensor(1.0)).dtype == BF16 and (b + L.ones(3, dtype=L.int64)).dtype == BF16
    assert L.cat([b, s]).dtype == np.float32 and (b > 0.5).dtype == np.bool_ and b.sum().dtype == BF16


def test_half_modules():
    m = nn.Linear(4, 3).half()
    y = m(L.randn(2, 4).half())
    assert y.dtype == F16 and all(p.dtype == F16 for p in m.parameters())
    y.sum().backward()
    assert m.weight.grad.dtype == F16
    assert m.bfloat16().weight.dtype == BF16 and m.float().weight.dtype == np.float32


def test_permuted_views_are_cast_where_they_lie():
    x = L.randn(2, 3, 5, 4).permute(0, 2, 3, 1)
    y = x.to(L.bfloat16)
    np.testing.assert_array_equal(y.float().numpy(), x.numpy().astype(BF16).astype(np.float32))
    w = L.randn(3, 4, requires_grad=True)
    w.t().bfloat16().float().sum().backward()
    np.testing.assert_array_equal(w.grad.numpy(), np.ones((3, 4)))


# --- autocast ------------------------------------------------------------------------------------------------------


def test_ops_take_what_suits_them():
    x, w = L.randn(4, 6), L.randn(6, 5)
    with L.autocast("cpu"):
        y = x @ w
        assert y.dtype == BF16 and nn.functional.relu(y).dtype == BF16
        assert y.softmax(-1).dtype == np.float32 and y.exp().dtype == np.float32 and y.sum().dtype == np.float32
        assert nn.functional.layer_norm(y, (5,)).dtype == np.float32
        assert nn.functional.cross_entropy(y, L.tensor([0, 1, 2, 3])).dtype == np.float32
        assert (x.double() @ w.double()).dtype == x.double().softmax(-1).dtype == np.float64
        with L.autocast("cpu", enabled=False):
            assert (x @ w).dtype == np.float32 and not L.is_autocast_enabled()
        with L.autocast("cpu", dtype=L.float16):
            assert (x @ w).dtype == F16 and L.get_autocast_dtype() == F16
        assert L.is_autocast_enabled() and L.get_autocast_dtype() == BF16
    assert (x @ w).dtype == np.float32 and not L.is_autocast_enabled()


def test_products_are_of_rounded_factors_with_float32_sums():
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(s).astype(np.float32) for s in ((9, 300), (300, 8)))
    with L.autocast("cpu"):
        y = L.tensor(x) @ L.tensor(w)
    exact = x.astype(BF16).astype(np.float64) @ w.astype(BF16).astype(np.float64)
    # One rounding to 8 bits at the end; sums of 16-bit numbers would be off by 300 of them.
    np.testing.assert_allclose(y.float().numpy(), exact, rtol=2.0**-8, atol=1e-4)


def test_as_a_decorator_and_on_its_thread_alone():
    x, w = L.randn(2, 3), L.randn(3, 2)

    @L.autocast("cpu", dtype=L.float16)
    def product():
        return x @ w

    assert product().dtype == F16
    seen = []
    with L.autocast("cpu"):
        thread = threading.Thread(target=lambda: seen.append((x @ w).dtype))
        thread.start()
        thread.join()
    assert seen == [np.float32]


def test_gradients_are_those_of_the_weights():
    m, x = model(), L.randn(4, 3, 8, 8)
    target = L.tensor([0, 1, 2, 3])
    nn.functional.cross_entropy(m(x), target).backward()
    plain = [p.grad.numpy() for p in m.parameters()]
    m.zero_grad()
    with L.autocast("cpu"):
        loss = nn.functional.cross_entropy(m(x), target)
    loss.backward()
    for p, want in zip(m.parameters(), plain, strict=True):
        assert p.dtype == np.float32 and p.grad.dtype == np.float32
        # Factors of 8 bits: some per cent of the largest.
        np.testing.assert_allclose(p.grad.numpy(), want, rtol=0, atol=0.05 * np.abs(want).max() + 1e-3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"device_type": "tpu"}, RuntimeError, "autocast: device_type: expected 'cpu' or 'cuda', got 'tpu'"),
        ({"dtype": np.float32}, TypeError, "autocast: dtype: expected bfloat16 or float16, got float32"),
        ({"enabled": 1}, TypeError, "autocast: enabled: expected True or False, got 1"),
    ],
)
def test_autocast_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        L.autocast(**arguments)


# --- gradient scaling ----------------------------------------------------------------------------------------------


def test_scaler_skips_and_backs_off_then_grows():
    p = nn.Parameter(L.ones(3))
    opt = L.optim.SGD([p], lr=0.5)
    scaler = amp.GradScaler(init_scale=8.0, growth_interval=2)
    for grads, scale, moved in (
        ([1.0, 2.0, 3.0], 8.0, True),
        ([1.0, math.inf, 3.0], 4.0, False),
        ([1.0, math.nan, 3.0], 2.0, False),
        ([1.0, 1.0, 1.0], 2.0, True),
        ([1.0, 1.0, 1.0], 4.0, True),
    ):
        before = p.detach().numpy().copy()
        opt.zero_grad()
        loss = (p * L.tensor(grads)).sum()
        at = scaler.get_scale()
        scaler.scale(loss).backward()
        np.testing.assert_array_equal(p.grad.numpy(), np.float32(grads) * np.float32(at))
        scaler.step(opt)
        scaler.update()
        assert scaler.get_scale() == scale
        want = before - np.float32(0.5) * np.float32(grads) if moved else before
        np.testing.assert_array_equal(p.detach().numpy(), want)


def test_scaler_with_clipping_and_states():
    p = nn.Parameter(L.ones(3))
    opt = L.optim.SGD([p], lr=1.0)
    scaler = amp.GradScaler(init_scale=1024.0)
    scaler.scale((p * 3).sum()).backward()
    scaler.unscale_(opt)
    np.testing.assert_array_equal(p.grad.numpy(), [3, 3, 3])
    with pytest.raises(RuntimeError, match="unscale_: has been called"):
        scaler.unscale_(opt)
    nn.utils.clip_grad_norm_([p], 1.0)
    scaler.step(opt)
    with pytest.raises(RuntimeError, match="step: has been called"):
        scaler.step(opt)
    scaler.update()
    np.testing.assert_allclose(p.detach().numpy(), 1 - 3**-0.5 * np.ones(3), rtol=1e-5)
    other = amp.GradScaler()
    other.load_state_dict(copy.deepcopy(scaler.state_dict()))
    assert other.state_dict() == scaler.state_dict() and other.get_scale() == 1024.0
    with pytest.raises(RuntimeError, match="update: expected step"):
        scaler.update()
    off = amp.GradScaler(enabled=False)
    loss = (p * 2).sum()
    assert off.scale(loss) is loss and off.get_scale() == 1.0 and off.state_dict() == {}


# --- policies of layers --------------------------------------------------------------------------------------------


def small(**last):
    L.seed(0)
    return keras.Sequential([
        layers.Input((12, 12, 3)), layers.Conv2D(8, 3, activation="relu"), layers.BatchNormalization(),
        layers.MaxPooling2D(2), layers.Dropout(0.2), layers.Flatten(), layers.Dense(16, activation="relu"),
        layers.Dense(2, activation="softmax", **last),
    ])  # fmt: skip


def pictures():
    x = np.random.default_rng(0).standard_normal((128, 12, 12, 3)).astype(np.float32)
    return x, (x.mean((1, 2, 3)) > 0).astype(np.int64)


def test_policies():
    p = mixed_precision.DTypePolicy("mixed_bfloat16")
    assert (p.compute_dtype, p.variable_dtype, p.name) == ("bfloat16", "float32", "mixed_bfloat16")
    assert mixed_precision.Policy.from_config(p.get_config()) == p
    mixed_precision.set_global_policy("mixed_bfloat16")
    layer = layers.Dense(3)
    y = layer(np.ones((2, 4), np.float32))
    assert layer.compute_dtype == "bfloat16" and layer.variable_dtype == "float32" and layer.dtype_policy == p
    assert y.dtype == BF16 and layer.kernel.dtype == np.float32
    assert layers.Dense(3, dtype="float32")(y).dtype == np.float32
    assert pickle.loads(pickle.dumps(layer))(np.ones((2, 4), np.float32)).dtype == BF16
    with pytest.raises(TypeError, match=r"dtype: expected one of float32, .* got 'float8'"):
        mixed_precision.set_global_policy("float8")


@pytest.mark.parametrize("eagerly", [False, True])
def test_fit(eagerly):
    x, y = pictures()
    losses = []
    for policy in ("float32", "mixed_bfloat16"):
        mixed_precision.set_global_policy(policy)
        m = small(dtype="float32")
        m.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], run_eagerly=eagerly)
        history = m.fit(x, y, batch_size=32, epochs=3, verbose=0).history
        losses.append(history["loss"])
        assert m.predict(x[:4], verbose=0).dtype == np.float32
        assert all(w.dtype == np.float32 for w in m.get_weights())
        assert m.evaluate(x, y, verbose=0)[0] < losses[0][0]
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.05)


def test_files_keep_policies(tmp_path):
    x, y = pictures()
    mixed_precision.set_global_policy("mixed_bfloat16")
    m = small(dtype="float32")
    m.compile("sgd", "sparse_categorical_crossentropy")
    m.fit(x, y, epochs=1, verbose=0)
    m.save(tmp_path / "m.safetensors")
    want = m.predict(x[:8], verbose=0)
    for policy in ("mixed_bfloat16", "float32"):
        mixed_precision.set_global_policy(policy)
        again = keras.models.load_model(tmp_path / "m.safetensors")
        assert [a.dtype_policy for a in again.layers] == [a.dtype_policy for a in m.layers]
        np.testing.assert_array_equal(again.predict(x[:8], verbose=0), want)
        np.testing.assert_array_equal(keras.models.clone_model(m).layers[-1].dtype_policy.name, "float32")


def test_outputs_of_sixteen_bits_have_losses_in_float32():
    mixed_precision.set_global_policy("mixed_bfloat16")
    x, y = pictures()
    m = small()
    m.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    assert math.isfinite(m.fit(x, y, verbose=0).history["loss"][0])
    assert m.predict(x[:4], verbose=0).dtype == BF16


def test_recurrent_layers_and_their_own_sizes():
    mixed_precision.set_global_policy("mixed_bfloat16")
    rng = np.random.default_rng(0)
    m = keras.Sequential(
        [layers.Input((9,)), layers.Embedding(20, 6), layers.LSTM(5), layers.Dense(1, dtype="float32")]
    )
    m.compile("sgd", "mse")
    losses = m.fit(rng.integers(0, 20, (32, 9)), rng.standard_normal((32, 1)), epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def test_float16_needs_a_scale():
    mixed_precision.set_global_policy("mixed_float16")
    x, y = pictures()
    m = small(dtype="float32")
    with pytest.raises(ValueError, match=r"compile: auto_scale_loss: conv2d.* computes in float16"):
        m.compile("adam", "sparse_categorical_crossentropy")
    m.compile(keras.optimizers.Adam(loss_scale_factor=256.0), "sparse_categorical_crossentropy")
    losses = m.fit(x, y, batch_size=32, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0] < 5
