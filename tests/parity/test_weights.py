"""Files written by PyTorch and by Keras give the same outputs here, and files written here give the same there."""

import io
import os

import numpy as np
import pytest

import lamella
from lamella import layers as own_layers
from lamella import models as own_models
from lamella import nn

# --- PyTorch -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def net(nn):
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 6),
        nn.LayerNorm(6), nn.Linear(6, 2, bias=False),
    )  # fmt: skip


class Recurrent:
    """The same network of either package."""

    @staticmethod
    def make(nn, cell):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.emb = nn.Embedding(10, 5)
                self.rnn = getattr(nn, cell)(5, 4, num_layers=2, bidirectional=True, batch_first=True)
                self.out = nn.Linear(8, 3)

            def forward(self, x):
                return self.out(self.rnn(self.emb(x))[0])

        return Net()


def written(torch, obj, legacy=False):
    out = io.BytesIO()
    torch.save(obj, out, _use_new_zipfile_serialization=not legacy)
    out.seek(0)
    return out


@pytest.mark.parametrize("legacy", [False, True])
def test_state_dicts_of_convolutions(torch, legacy):
    torch.manual_seed(0)
    theirs, ours = net(torch.nn), net(nn)
    x = np.random.default_rng(0).standard_normal((5, 3, 8, 8)).astype(np.float32)
    theirs(torch.from_numpy(x))  # running statistics
    found = ours.load_state_dict(lamella.load(written(torch, theirs.state_dict(), legacy)))
    assert str(found) == str(theirs.load_state_dict(theirs.state_dict()))
    theirs.eval(), ours.eval()
    with torch.no_grad():
        want = theirs(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(ours(lamella.from_numpy(x)).detach().numpy(), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", ["RNN", "LSTM", "GRU"])
def test_state_dicts_of_recurrent_nets(torch, cell):
    torch.manual_seed(0)
    theirs, ours = Recurrent.make(torch.nn, cell), Recurrent.make(nn, cell)
    ours.load_state_dict(lamella.load(written(torch, theirs.state_dict())))
    x = np.random.default_rng(0).integers(0, 10, (3, 7))
    with torch.no_grad():
        want = theirs(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(ours(lamella.from_numpy(x)).detach().numpy(), want, rtol=1e-4, atol=1e-5)


def test_files_written_here(torch, tmp_path):
    ours, theirs = net(nn), net(torch.nn)
    for path in (tmp_path / "n.pt", tmp_path / "n.bin"):
        lamella.save(
            {"model": ours.state_dict(), "epoch": 4, "lr": 0.5, "betas": (0.9, 0.99), "t": ours[5].weight.t()}, path
        )
        found = torch.load(path, weights_only=True)
        assert found["epoch"] == 4 and found["betas"] == (0.9, 0.99)
        np.testing.assert_array_equal(found["t"].detach().numpy(), ours[5].weight.numpy().T)
        theirs.load_state_dict(found["model"])
        assert torch.load(path, weights_only=True, mmap=True)["model"].keys() == found["model"].keys()
    x = np.random.default_rng(0).standard_normal((5, 3, 8, 8)).astype(np.float32)
    theirs.eval(), ours.eval()
    with torch.no_grad():
        want = theirs(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(ours(lamella.from_numpy(x)).detach().numpy(), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("legacy", [False, True])
def test_all_kinds_of_tensors(torch, legacy):
    w = torch.arange(24, dtype=torch.float32).reshape(4, 6) / 7
    obj = {
        "t": w.t(), "v": w[1:3, 2:4], "e": torch.ones(1).expand(5), "h": w.half(), "b": w.bfloat16(), "d": w.double(),
        "i": [torch.arange(5, dtype=d) for d in (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8)],
        "mask": w > 1, "z": torch.zeros(0, 3), "s": torch.tensor(3.5), "p": torch.nn.Parameter(w),
        "cl": torch.randn(1, 3, 4, 4).to(memory_format=torch.channels_last), "set": {1, "a"}, "bytes": b"ab",
        "size": w.shape, "big": 2**80, "none": None,
    }  # fmt: skip
    found = lamella.load(written(torch, obj, legacy))
    for k in ("t", "v", "e", "d", "mask", "z", "s", "p", "cl"):
        np.testing.assert_array_equal(found[k].detach().numpy(), obj[k].detach().numpy(), err_msg=k)
    for k in ("h", "b"):
        np.testing.assert_array_equal(found[k].numpy(), obj[k].float().numpy())
    for a, b in zip(found["i"], obj["i"], strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
        assert a.numpy().dtype == b.numpy().dtype
    assert found["set"] == {1, "a"} and found["bytes"] == b"ab" and found["size"] == (4, 6) and found["big"] == 2**80
    assert isinstance(found["p"], nn.Parameter) and found["none"] is None


def test_optimizers_go_on(torch):
    torch.manual_seed(0)
    theirs = torch.nn.Linear(4, 2)
    ours = nn.Linear(4, 2)
    opt = torch.optim.Adam(theirs.parameters(), lr=0.05)
    x = torch.randn(8, 4)

    def step(model, optimizer, data):
        optimizer.zero_grad()
        (model(data) ** 2).mean().backward()
        optimizer.step()

    for _ in range(3):
        step(theirs, opt, x)
    saved = lamella.load(written(torch, {"m": theirs.state_dict(), "o": opt.state_dict()}))
    ours.load_state_dict(saved["m"])
    mine = lamella.optim.Adam(ours.parameters(), lr=0.05)
    mine.load_state_dict(saved["o"])
    for _ in range(5):
        step(theirs, opt, x)
        step(ours, mine, lamella.from_numpy(x.numpy()))
    np.testing.assert_allclose(ours.weight.detach().numpy(), theirs.weight.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_modules_and_programs_are_refused(torch):
    with pytest.raises(ValueError, match=r"refused to load torch\.nn"):
        lamella.load(written(torch, torch.nn.Linear(2, 2)))
    with pytest.raises(ValueError, match="not supported"):
        lamella.load(written(torch, torch.zeros(2, dtype=torch.complex64)))


def test_messages(torch):
    def failure(module, make):
        state = module.state_dict()
        state["9.weight"] = state.pop("5.bias")
        state["0.weight"] = make(4, 3, 1, 1)
        with pytest.raises(RuntimeError) as e:
            module.load_state_dict(state)
        return str(e.value)

    assert failure(net(nn), lamella.zeros) == failure(net(torch.nn), torch.zeros)


# --- Keras -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keras():
    pytest.importorskip("h5py")
    os.environ.setdefault("KERAS_BACKEND", "torch")
    return pytest.importorskip("keras")


def images(L, M):
    inp = L.Input((9, 9, 3))
    x = L.Conv2D(4, 3, activation="relu", name="c1")(inp)
    x = L.BatchNormalization()(x)
    x = L.DepthwiseConv2D(3, depth_multiplier=2)(x)
    x = L.Conv2DTranspose(5, 2)(x)
    x = L.MaxPooling2D(2)(x)
    x = L.Dropout(0.2)(x)
    inner = M.Sequential([L.Conv2D(6, 2), L.BatchNormalization(), L.Conv2D(5, 1), L.BatchNormalization()])
    x = L.Flatten()(inner(x))
    x = L.LayerNormalization()(L.Dense(4)(x))
    return M.Model(inp, L.Dense(2, activation="softmax")(x))


def sequences(L, M):
    inp = L.Input((5,), dtype="int32")
    x = L.Embedding(11, 4)(inp)
    x = L.GRU(3, return_sequences=True)(x)
    x = L.GRU(3, return_sequences=True, reset_after=False)(x)
    x = L.SimpleRNN(3, return_sequences=True)(x)
    x = L.Conv1D(4, 2)(x)
    return M.Model(inp, L.Dense(2)(L.LSTM(3)(x)))


def wrapped(L, M):
    inp = L.Input((5,), dtype="int32")
    x = L.Embedding(11, 4)(inp)
    x = L.Bidirectional(L.LSTM(3, return_sequences=True))(x)
    x = L.Bidirectional(L.GRU(2, return_sequences=True), merge_mode="sum")(x)
    x = L.RNN([L.LSTMCell(3), L.GRUCell(2), L.LSTMCell(2)], return_sequences=True)(x)
    x = L.TimeDistributed(L.Dense(4))(x)
    x = L.TimeDistributed(M.Sequential([L.Input((4,)), L.Dense(3), L.BatchNormalization(), L.Dense(4)]))(x)
    return M.Model(inp, L.Bidirectional(L.SimpleRNN(3))(x))


def attention(L, M):
    inp = L.Input((5,), dtype="int32")
    x = L.Embedding(11, 4)(inp)
    x = L.LayerNormalization()(x + L.MultiHeadAttention(2, 3, value_dim=2)(x, x))
    x = L.MultiHeadAttention(2, 3, use_bias=False, use_gate=True)(x, x)
    x = L.Attention(use_scale=True, score_mode="concat")([x, x])
    x = L.AdditiveAttention()([x, x])
    return M.Model(inp, L.Dense(2)(L.GlobalAveragePooling1D()(x)))


def mlp(L, M):
    return M.Sequential([L.Input((7,)), L.Dense(5, activation="tanh"), L.BatchNormalization(), L.Dense(2)])


DATA = {images: (4, 9, 9, 3), sequences: (4, 5), wrapped: (4, 5), attention: (4, 5), mlp: (4, 7)}


def example(make):
    rng = np.random.default_rng(0)
    return (
        rng.integers(0, 11, DATA[make]) if DATA[make] == (4, 5) else rng.standard_normal(DATA[make]).astype(np.float32)
    )


def randomize(model):
    rng = np.random.default_rng(1)
    model.set_weights([rng.uniform(0.1, 1, w.shape).astype(np.float32) for w in model.get_weights()])
    return model


@pytest.mark.parametrize("make", list(DATA))
@pytest.mark.parametrize("file", ["m.weights.h5", "m.keras", "m.h5"])
def test_kerass_files(keras, tmp_path, make, file):
    theirs = randomize(make(keras.layers, keras))
    ours = make(own_layers, own_models)
    path = os.fspath(tmp_path / file)
    theirs.save_weights(path) if file == "m.weights.h5" else theirs.save(path)
    ours.load_weights(path)
    x = example(make)
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x, verbose=0), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("make", list(DATA))
def test_files_for_keras(keras, tmp_path, make):
    ours, theirs = make(own_layers, own_models), randomize(make(keras.layers, keras))
    path = os.fspath(tmp_path / "m.weights.h5")
    ours.save_weights(path)
    theirs.load_weights(path)
    x = example(make)
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x, verbose=0), rtol=2e-4, atol=2e-5)


def test_models_with_weights_of_their_own(keras, tmp_path):
    def make(L, M):
        class Net(M.Model):
            def __init__(self):
                super().__init__()
                self.dense = L.Dense(3)
                self.shift = self.add_weight(shape=(3,), initializer="ones", name="shift")

            def call(self, x):
                return self.dense(x) + self.shift

        net = Net()
        net(np.zeros((1, 2), np.float32))
        return net

    ours, theirs, path = make(own_layers, own_models), make(keras.layers, keras), os.fspath(tmp_path / "m.weights.h5")
    randomize(theirs).save_weights(path)
    ours.load_weights(path)
    x = np.random.default_rng(0).standard_normal((4, 2)).astype(np.float32)
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x, verbose=0), rtol=1e-5, atol=1e-6)
    for p in ours.weights:
        p.data.numpy()[...] += 1
    ours.save_weights(path)
    theirs.load_weights(path)
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


def test_trained_files_hold_optimizers_too(keras, tmp_path):
    theirs = mlp(keras.layers, keras)
    theirs.compile("adam", "mse")
    x = example(mlp)
    theirs.fit(x, np.zeros((4, 2)), verbose=0)
    theirs.save(os.fspath(tmp_path / "m.keras"))
    ours = mlp(own_layers, own_models)
    ours.load_weights(tmp_path / "m.keras")
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x, verbose=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("file", ["m.weights.h5", "m.h5"])
def test_by_name(keras, tmp_path, file):
    def make(L, M, names):
        return M.Sequential([L.Input((3,)), *(L.Dense(3, name=n) for n in names)])

    theirs = make(keras.layers, keras, ["a", "b", "c"])
    ours = make(own_layers, own_models, ["c", "x", "a"])
    path = os.fspath(tmp_path / file)
    theirs.save_weights(path) if file == "m.weights.h5" else theirs.save(path)
    ours.load_weights(path, by_name=True)
    for name in "ac":
        for p, q in zip(ours.get_layer(name).get_weights(), theirs.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(p, q)


def test_vgg16(keras, tmp_path):
    from lamella.applications import VGG16

    theirs = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))
    theirs.save(os.fspath(tmp_path / "vgg.h5"))
    ours = VGG16(weights=tmp_path / "vgg.h5", include_top=False, input_shape=(32, 32, 3))
    assert [m.name for m in ours.layers][1:] == [m.name for m in theirs.layers][1:]
    x = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    mine = lamella.applications.vgg16.preprocess_input(x)
    np.testing.assert_array_equal(mine, keras.applications.vgg16.preprocess_input(x.copy()))
    want = theirs.predict(mine, verbose=0)
    # Thirteen layers with sums of up to 4,608 products, in Winograd's transforms.
    np.testing.assert_allclose(ours.predict(mine), want, atol=1e-4 * np.abs(want).max())
