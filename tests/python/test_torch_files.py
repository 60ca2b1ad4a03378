"""PyTorch's files: round trips, the formats from before 1.6, hostile and damaged files."""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

import lamella
from lamella import nn, optim


def same(a, b):
    if isinstance(a, lamella.Tensor):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for k in a:
            same(a[k], b[k])
    elif isinstance(a, (list, tuple)):
        assert type(a) is type(b) and len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            same(x, y)
    else:
        assert a == b


def checkpoint():
    lamella.seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    opt = optim.Adam(net.parameters(), 0.01)
    net(lamella.ones(2, 1, 4, 4)).sum().backward()
    opt.step()
    return {
        "epoch": 3, "loss": 0.25, "name": "net \u00e9", "best": None, "done": True, "sizes": (1, [2, 2**40, -(2**70)]),
        "model": net.state_dict(), "optimizer": opt.state_dict(), "empty": lamella.zeros(0, 3),
        "scalar": lamella.tensor(2.5), "ids": lamella.arange(5), "mask": lamella.arange(3) > 1,
        "bytes": lamella.tensor([1, 2], dtype=lamella.uint8),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["a.pt", "a.pth", "pytorch_model.bin", "last.ckpt", "last.tar"])
def test_round_trip(tmp_path, name):
    saved = checkpoint()
    lamella.save(saved, tmp_path / name)
    assert zipfile.is_zipfile(tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    found = lamella.load(tmp_path / name)
    same(saved, found)
    assert isinstance(found["model"], OrderedDict)


def test_open_files(tmp_path):
    saved = checkpoint()
    buffer = io.BytesIO()
    lamella.save(saved, buffer)
    buffer.seek(0)
    same(saved, lamella.load(buffer))
    with open(tmp_path / "f", "wb") as file:
        lamella.save(saved, file)
    with open(tmp_path / "f", "rb") as file:
        same(saved, lamella.load(file))


def test_storages_are_shared_and_aligned(tmp_path):
    w = lamella.randn(40, 30)
    lamella.save({"a": w, "b": w, "t": w.t()}, tmp_path / "s.pt")
    with zipfile.ZipFile(tmp_path / "s.pt") as archive:
        data = [m for m in archive.infolist() if "/data/" in m.filename]
        assert len(data) == 2  # `a` and `b` are one array
        raw = (tmp_path / "s.pt").read_bytes()
        for m in data:
            names = struct.unpack_from("<HH", raw, m.header_offset + 26)
            assert (m.header_offset + 30 + sum(names)) % 64 == 0
    found = lamella.load(tmp_path / "s.pt")
    np.testing.assert_array_equal(found["t"].numpy(), w.numpy().T)
    found["a"][0, 0] = 7.0
    assert found["b"][0, 0].item() == 7.0


def test_parameters_stay_parameters(tmp_path):
    net = nn.Linear(2, 3)
    net.bias.requires_grad = False
    lamella.save({"w": net.weight, "b": net.bias}, tmp_path / "p.pt")
    found = lamella.load(tmp_path / "p.pt")
    assert isinstance(found["w"], nn.Parameter) and found["w"].requires_grad and not found["b"].requires_grad


def test_what_cannot_be_saved(tmp_path):
    with pytest.raises(TypeError, match=r"save: a\.1: .*got object; pickled objects"):
        lamella.save({"a": [1, object()]}, tmp_path / "x.pt")
    with pytest.raises(TypeError, match="got complex"):
        lamella.save({"a": np.zeros(2, np.complex64)}, tmp_path / "x.pt")
    with pytest.raises(TypeError, match="keys that are strings or integers"):
        lamella.save({(1, 2): 3}, tmp_path / "x.pt")
    assert list(tmp_path.iterdir()) == []


# --- the format from before 1.6 -------------------------------------------------------------------------------------


def u(text):
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def storage(kind, key, count, view=b"N"):
    kind = f"ctorch\n{kind}Storage\n".encode()
    return b"(" + u("storage") + kind + u(key) + u("cpu") + b"J" + struct.pack("<i", count) + view + b"tQ"


def tensor(kind, key, count, offset, sizes, strides, view=b"N"):
    def numbers(values):
        return b"(" + b"".join(b"J" + struct.pack("<i", v) for v in values) + b"t"

    return (b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage(kind, key, count, view) + b"J" + struct.pack("<i", offset)
            + numbers(sizes) + numbers(strides) + b"\x89ccollections\nOrderedDict\n)RtR")  # fmt: skip


def legacy(body, *storages):
    """A file as PyTorch wrote it before 1.6."""
    out = b"".join(pickle.dumps(v, 2) for v in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    out += b"\x80\x02" + body + b"." + pickle.dumps([key for key, _ in storages], 2)
    for _, array in storages:
        out += struct.pack("<q", array.size) + array.tobytes()
    return out


def load(raw):
    return lamella.load(io.BytesIO(raw))


def test_legacy_files():
    a = np.arange(12, dtype=np.float32)
    half, brain = a.astype(np.float16), (a.view(np.uint32) >> 16).astype(np.uint16)
    body = b"}(" + u("m") + tensor("Float", "1", 12, 2, (2, 3), (1, 2))
    body += u("h") + tensor("Half", "2", 12, 0, (12,), (1,))
    body += u("b") + tensor("BFloat16", "3", 12, 0, (3, 4), (4, 1)) + b"u"
    found = load(legacy(body, ("1", a), ("2", half), ("3", brain)))
    np.testing.assert_array_equal(found["m"].numpy(), a[2:8].reshape(3, 2).T)
    for k in ("h", "b"):  # small integers are exact in both
        np.testing.assert_array_equal(found[k].numpy().ravel(), a)
        assert found[k].dtype == np.float32


def test_legacy_views_of_storages():
    a = np.arange(12, dtype=np.float64)
    view = b"(" + u("v") + b"J" + struct.pack("<i", 4) + b"J" + struct.pack("<i", 6) + b"t"
    found = load(legacy(tensor("Double", "1", 12, 1, (2,), (3,), view), ("1", a)))
    np.testing.assert_array_equal(found.numpy(), [5, 8])


# --- hostile files ---------------------------------------------------------------------------------------------------


class Evil:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


def archive(pickled, storages=(), compression=zipfile.ZIP_STORED, extra=()):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as z:
        z.writestr("m/data.pkl", pickled)
        for key, raw in storages:
            z.writestr(f"m/data/{key}", raw)
        for name, raw in extra:
            z.writestr(name, raw)
    return out.getvalue()


A = np.arange(4, dtype=np.float32)
HUGE = 2**31 - 1
BAD_PICKLES = {
    "system": pickle.dumps(Evil(eval, ("1/0",)), 2),
    "protocol 4": pickle.dumps(Evil(eval, ("1/0",)), 4),
    "exec": b"\x80\x02cbuiltins\nexec\n(" + u("1/0") + b"tR.",
    "getattr": b"\x80\x02cbuiltins\ngetattr\n(ctorch\nfloat32\n" + u("__class__") + b"tR.",
    "a dtype is called": b"\x80\x02ctorch\nfloat32\n)R.",
    "a dotted name": b"\x80\x02ctorch\n_utils._rebuild_tensor_v2\n)R.",
    "state of a dict": b"\x80\x02ccollections\nOrderedDict\n)R}(" + u("__class__") + b"Nub.",
    "state of a tensor": b"\x80\x02" + tensor("Float", "0", 4, 0, (4,), (1,)) + b"}(" + u("_data") + b"Nub.",
    "reduce of a tuple": b"\x80\x02))R.",
    "instance": b"\x80\x02(ios\nsystem\n.",
    "persistent line": b"\x80\x02P1\n.",
    "extension": b"\x80\x02\x82\x01.",
    "empty": b"",
    "no stop": b"\x80\x02N",
    "nothing": b"\x80\x02.",
    "left over": b"\x80\x02NN.",
    "only a mark": b"\x80\x02(.",
    "text beyond the end": b"\x80\x02X\xff\xff\xff\x7fab.",
    "a memo that is not there": b"\x80\x02h\x05.",
    "huge memo index": b"\x80\x02j\xff\xff\xff\xff.",
    "negative long": b"\x80\x02\x8b\xff\xff\xff\xff.",
    "unhashable key": b"\x80\x02}(]Nu.",
    "odd items": b"\x80\x02}(Nu.",
    "append to nothing": b"\x80\x02Na.",
    "nested keys": b"\x80\x02)" + b"\x85" * 100_000 + b"\x94}h\x00Ns.",
    "shape outside": b"\x80\x02" + tensor("Float", "0", 4, 0, (5,), (1,)) + b".",
    "stride outside": b"\x80\x02" + tensor("Float", "0", 4, 0, (2, 2), (HUGE, 1)) + b".",
    "offset outside": b"\x80\x02" + tensor("Float", "0", 4, 5, (0,), (1,)) + b".",
    "negative offset": b"\x80\x02" + tensor("Float", "0", 4, -1, (1,), (1,)) + b".",
    "negative size": b"\x80\x02" + tensor("Float", "0", 4, 0, (-1,), (1,)) + b".",
    "negative stride": b"\x80\x02" + tensor("Float", "0", 4, 3, (4,), (-1,)) + b".",
    "more elements than bytes": b"\x80\x02" + tensor("Float", "0", HUGE, 0, (4,), (1,)) + b".",
    "another type": b"\x80\x02" + tensor("Double", "0", 4, 0, (4,), (1,)) + b".",
    "no storage": b"\x80\x02" + tensor("Float", "7", 4, 0, (4,), (1,)) + b".",
    "a path for a key": b"\x80\x02" + tensor("Float", "../data.pkl", 4, 0, (4,), (1,)) + b".",
    "complex": b"\x80\x02" + tensor("ComplexFloat", "0", 2, 0, (2,), (1,)) + b".",
    "copies of a list": b"\x80\x02](" + b"N" * 5000 + b"e\x94" + b"cbuiltins\nset\nh\x00\x85R0" * 200 + b"N.",
}


@pytest.mark.parametrize("what", BAD_PICKLES)
def test_hostile_pickles_are_refused(what):
    with pytest.raises(ValueError, match="not a readable file of tensors"):
        load(archive(BAD_PICKLES[what], [("0", A.tobytes())]))


def test_hostile_legacy_files():
    for what in ("system", "exec", "shape outside", "negative stride"):
        with pytest.raises(ValueError, match="not a readable file of tensors"):
            load(legacy(BAD_PICKLES[what][2:-1], ("0", A)))
    with pytest.raises(ValueError, match="one of PyTorch's"):
        load(pickle.dumps({"a": 1}, 2))
    # More elements than the file has bytes are refused before memory is taken for them.
    with pytest.raises(ValueError, match="cut short"):
        load(legacy(tensor("Float", "0", HUGE, 0, (1,), (1,)), ("0", A)))


def test_a_module_says_what_to_save_instead(tmp_path):
    with pytest.raises(ValueError, match=r"refused to load .*: only tensors"):
        load(archive(b"\x80\x02c__main__\nNet\n)\x81}b."))


@pytest.mark.parametrize(
    "raw",
    [
        archive(b"\x80\x02N.", compression=zipfile.ZIP_DEFLATED, extra=[("m/data/0", b"\0" * 10**6)]),
        archive(b"\x80\x02N.", extra=[("m/constants.pkl", b"")]),
        archive(b"\x80\x02N.", extra=[("m/byteorder", b"middle")]),
        archive(b"\x80\x02N.", extra=[("k/data.pkl", b"N.")]),
        b"PK\x03\x04 and nothing more",
    ],
)
def test_hostile_archives(raw):
    with pytest.raises(ValueError, match="not a readable file of tensors"):
        load(raw)


def test_big_endian_files():
    raw = archive(b"\x80\x02" + tensor("Float", "0", 4, 0, (4,), (1,)) + b".", [("0", A.astype(">f4").tobytes())],
                  extra=[("m/byteorder", b"big")])  # fmt: skip
    np.testing.assert_array_equal(load(raw).numpy(), A)


def test_expanded_tensors_take_no_memory():
    found = load(archive(b"\x80\x02" + tensor("Float", "0", 4, 0, (2**20, 2**20), (0, 0)) + b".", [("0", A.tobytes())]))
    assert found.shape == (2**20, 2**20)


def test_truncated_files(tmp_path):
    path = tmp_path / "t.pt"
    lamella.save(checkpoint(), path)
    raw = path.read_bytes()
    for cut in [0, 1, 3, 10, 100, len(raw) // 2, len(raw) - 1]:
        path.write_bytes(raw[:cut])
        with pytest.raises(ValueError, match="file"):
            lamella.load(path)


def test_flipped_bytes_never_get_past_the_reader():
    out = io.BytesIO()
    lamella.save({"a": lamella.arange(6, dtype=lamella.float32).reshape(2, 3), "n": [1, "x", 2.0]}, out)
    raw = out.getvalue()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        damaged = bytearray(raw)
        for at in rng.integers(0, len(raw), 3):
            damaged[at] = rng.integers(256)
        try:
            found = load(bytes(damaged))
        except ValueError:  # the only way to fail
            refused += 1
        else:  # what was hit is no part of the data, or of their checksums
            assert found.keys() == {"a", "n"} and found["n"] == [1, "x", 2.0]
            np.testing.assert_array_equal(found["a"], np.arange(6).reshape(2, 3))
    assert refused > 200


def test_load_says_what_is_not_supported(tmp_path):
    lamella.save({"a": lamella.ones(1)}, tmp_path / "a.pt")
    with pytest.raises(NotImplementedError, match="weights_only"):
        lamella.load(tmp_path / "a.pt", weights_only=False)
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 100)
    with pytest.raises(ValueError, match="load_weights"):
        lamella.load(tmp_path / "a.h5")


# --- load_state_dict -------------------------------------------------------------------------------------------------


def test_messages_are_pytorchs():
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    state = net.state_dict()
    state["2.weight"] = state.pop("1.bias")
    state["0.weight"] = lamella.zeros(4, 2)
    with pytest.raises(RuntimeError) as e:
        net.load_state_dict(state)
    assert str(e.value) == (
        "Error(s) in loading state_dict for Sequential:\n"
        '\tMissing key(s) in state_dict: "1.bias". \n'
        '\tUnexpected key(s) in state_dict: "2.weight". \n'
        "\tsize mismatch for 0.weight: copying a param with shape torch.Size([4, 2]) from checkpoint, the shape in "
        "current model is torch.Size([3, 2])."
    )
    with pytest.raises(RuntimeError, match="size mismatch"):
        net.load_state_dict(state, strict=False)
    del state["0.weight"]
    found = net.load_state_dict(state, strict=False)
    assert found.missing_keys == ["0.weight", "1.bias"] and found.unexpected_keys == ["2.weight"]
    assert str(net.load_state_dict(net.state_dict())) == "<All keys matched successfully>"
    with pytest.raises(TypeError, match="expected a dict, got list"):
        net.load_state_dict([])


def test_assign_takes_the_tensors_themselves():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    net[0].bias.requires_grad = False
    state = {k: v.double() if v.dtype.kind == "f" else v for k, v in net.state_dict().items()}
    net.load_state_dict(state, assign=True)
    assert net[0].weight.dtype == np.float64 and net[1].running_mean.dtype == np.float64
    assert not net[0].bias.requires_grad and net[0].weight.requires_grad
    state["0.bias"][0] = 5.0
    assert net[0].bias[0].item() == 5.0
    out = net(lamella.ones(4, 2, dtype=lamella.float64))
    out.sum().backward()
    assert net[0].weight.grad.dtype == np.float64
    with pytest.raises(RuntimeError, match=r"1\.num_batches_tracked: expected int64, got float32"):
        net.load_state_dict({**state, "1.num_batches_tracked": lamella.tensor(1.0)}, assign=True)


def test_states_from_before_batches_were_counted():
    net = nn.BatchNorm1d(2)
    state = net.state_dict()
    del state["num_batches_tracked"]
    net.load_state_dict(state)
    state._metadata = {"": {"version": 2}}
    with pytest.raises(RuntimeError, match="num_batches_tracked"):
        net.load_state_dict(state)


# --- safetensors with other types of elements ------------------------------------------------------------------------


def safetensors(entries, metadata=None):
    header, data = ({"__metadata__": metadata} if metadata else {}), b""
    for name, (dtype, shape, raw) in entries.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    import json

    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_safetensors_of_halves(tmp_path):
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    path = tmp_path / "h.safetensors"
    path.write_bytes(safetensors({
        "h": ("F16", [2, 3], a.astype(np.float16).tobytes()),
        "b": ("BF16", [6], (a.view(np.uint32) >> 16).astype("<u2").tobytes()),
        "m": ("BOOL", [3], b"\0\1\1"), "f": ("F32", [2, 3], a.tobytes()), "i": ("I16", [1], b"\xff\xff"),
    }))  # fmt: skip
    found = lamella.load(path)
    for k in "hbf":
        np.testing.assert_array_equal(found[k].numpy().ravel(), a.ravel())
        assert found[k].dtype == np.float32
    assert found["m"].numpy().tolist() == [False, True, True] and found["i"].numpy().tolist() == [-1]


@pytest.mark.parametrize(
    "entry",
    [
        ("F16", [2, 3], b"\0" * 11),
        ("F16", [2**40, 2**40], b"\0" * 12),
        ("F16", [-2, -3], b"\0" * 12),
        ("F16", "ab", b"\0" * 12),
        ("F8_E4M3", [1], b"\0"),
    ],
)
def test_bad_safetensors(tmp_path, entry):
    path = tmp_path / "h.safetensors"
    path.write_bytes(safetensors({"b": ("BF16", [1], b"\0\0"), "a": entry}))
    with pytest.raises((ValueError, TypeError), match=r"h\.safetensors"):
        lamella.load(path)
