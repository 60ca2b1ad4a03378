"""Recurrent layers, packed sequences and attention beside PyTorch's: same weights, outputs, gradients, training."""

from __future__ import annotations

import numpy as np
import pytest

import lamella
from lamella import nn
from lamella.nn.utils import rnn as packing

torch = pytest.importorskip("torch")

ATOL = 3e-5  # float32 sums of some tens of products of size 1, through several layers


def pair(make, **kwargs):
    """The same layer twice, with PyTorch's weights."""
    torch.manual_seed(1)
    theirs = make(torch.nn, **kwargs)
    ours = make(nn, **kwargs)
    state = {k: v.detach().numpy() for k, v in theirs.state_dict().items()}
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict(state)
    return ours, theirs


def array(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def both(a, grad=False):
    t, u = lamella.tensor(a.copy()), torch.tensor(a.copy())
    if grad:
        t.requires_grad, u.requires_grad = True, True
    return t, u


def flat(x):
    if isinstance(x, (tuple, list)):
        return [y for part in x for y in flat(part)]
    return [] if x is None else [x]


def same(a, b, atol=ATOL):
    for x, y in zip(flat(a), flat(b), strict=True):
        np.testing.assert_allclose(np.asarray(x.detach()), y.detach().numpy(), rtol=0, atol=atol)


def check(ours, theirs, run, inputs, atol=ATOL):
    """Outputs, and the gradients of a weighted sum of them by inputs and weights."""
    xs = [both(a, True) for a in inputs]
    a, b = flat(run(ours, *[x[0] for x in xs])), flat(run(theirs, *[x[1] for x in xs]))
    same(a, b, atol)
    loss, other = 0, 0
    for i, (x, y) in enumerate(zip(a, b, strict=True)):
        w = array(*x.shape, seed=50 + i)
        loss, other = loss + (x * lamella.tensor(w)).sum(), other + (y * torch.tensor(w)).sum()
    loss.backward()
    other.backward()
    for x, y in xs:
        np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=0, atol=20 * atol)
    mine = dict(ours.named_parameters())
    for name, p in theirs.named_parameters():
        if p.grad is not None:
            np.testing.assert_allclose(mine[name].grad.numpy(), p.grad.numpy(), rtol=0, atol=20 * atol, err_msg=name)


CELLS = ["RNN", "LSTM", "GRU"]
VARIANTS = [
    {},
    {"num_layers": 3, "batch_first": True},
    {"bidirectional": True, "bias": False},
    {"num_layers": 2, "bidirectional": True, "batch_first": True},
]


def states(cell, kwargs, n, size=5, proj=0):
    count = kwargs.get("num_layers", 1) * (2 if kwargs.get("bidirectional") else 1)
    h = array(count, n, proj or size, seed=7)
    return [h, array(count, n, size, seed=8)] if cell == "LSTM" else [h]


def call(module, x, *hx):
    return module(x) if not hx else module(x, tuple(hx) if len(hx) == 2 else hx[0])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("kwargs", VARIANTS, ids=str)
@pytest.mark.parametrize("given", [False, True])
def test_recurrent(cell, kwargs, given):
    ours, theirs = pair(lambda lib, **k: getattr(lib, cell)(4, 5, **k), **kwargs)
    n, t = 3, 6
    x = array(n, t, 4) if kwargs.get("batch_first") else array(t, n, 4)
    check(ours, theirs, call, [x, *(states(cell, kwargs, n) if given else [])])
    single = [array(t, 4), *([s[:, 0] for s in states(cell, kwargs, 1)] if given else [])]
    check(ours, theirs, call, single)


def test_relu():
    ours, theirs = pair(lambda lib: lib.RNN(4, 5, 2, "relu"))
    check(ours, theirs, call, [array(6, 3, 4)])


@pytest.mark.parametrize("kwargs", VARIANTS, ids=str)
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_projections(kwargs, given, packed):
    ours, theirs = pair(lambda lib, **k: lib.LSTM(4, 5, proj_size=2, **k), **kwargs)
    assert "weight_hr_l0" in ours.state_dict()
    n, t = 3, 6
    first = bool(kwargs.get("batch_first"))
    x = array(n, t, 4) if first else array(t, n, 4)

    def run(module, x, *hx):
        if not packed:
            return call(module, x, *hx)
        lib = packing if module is ours else torch.nn.utils.rnn
        out, final = call(module, lib.pack_padded_sequence(x, [6, 4, 1], batch_first=first), *hx)
        return out.data, final

    check(ours, theirs, run, [x, *(states("LSTM", kwargs, n, proj=2) if given else [])])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("kwargs", VARIANTS, ids=str)
@pytest.mark.parametrize("lengths", [[6, 4, 4, 1], [2, 6, 1, 5]], ids=str)
def test_packed(cell, kwargs, lengths):
    ours, theirs = pair(lambda lib, **k: getattr(lib, cell)(4, 5, **k), **kwargs)
    first = bool(kwargs.get("batch_first"))
    x = array(4, 6, 4) if first else array(6, 4, 4)
    ordered = lengths == sorted(lengths, reverse=True)

    def run(module, x, *hx):
        lib = packing if module is ours else torch.nn.utils.rnn
        p = lib.pack_padded_sequence(x, lengths, batch_first=first, enforce_sorted=ordered)
        out, final = call(module, p, *hx)
        padded, sizes = lib.pad_packed_sequence(out, batch_first=first, padding_value=0.5, total_length=8)
        assert list(np.asarray(sizes)) == lengths
        return padded, out.data, final

    check(ours, theirs, run, [x])
    ours.zero_grad()
    theirs.zero_grad()
    check(ours, theirs, run, [x, *states(cell, kwargs, 4)])


def test_packing_functions():
    theirs_lib = torch.nn.utils.rnn
    parts = [array(t, 2, seed=t) for t in (3, 5, 1)]
    ours, theirs = [lamella.tensor(a) for a in parts], [torch.tensor(a) for a in parts]
    for kwargs in ({}, {"batch_first": True}, {"padding_value": -1.0}, {"padding_side": "left"}):
        same(packing.pad_sequence(ours, **kwargs), theirs_lib.pad_sequence(theirs, **kwargs))
    a, b = packing.pack_sequence(ours, False), theirs_lib.pack_sequence(theirs, False)
    same(list(a), list(b))
    same(packing.unpack_sequence(a), theirs_lib.unpack_sequence(b))
    padded = array(3, 5, 2)
    for first in (False, True):
        x, y = (padded if first else padded.swapaxes(0, 1).copy() for _ in range(2))
        same(
            packing.unpad_sequence(lamella.tensor(x), lamella.tensor([3, 5, 1]), first),
            theirs_lib.unpad_sequence(torch.tensor(y), torch.tensor([3, 5, 1]), first),
        )
    # tokens
    ids = np.arange(12).reshape(3, 4)
    a = packing.pack_padded_sequence(lamella.tensor(ids), [4, 2, 1], True)
    b = theirs_lib.pack_padded_sequence(torch.tensor(ids), [4, 2, 1], True)
    same([a.data, a.batch_sizes], [b.data, b.batch_sizes])
    same(packing.pad_packed_sequence(a, True, 9), theirs_lib.pad_packed_sequence(b, True, 9))


# ---- attention -------------------------------------------------------------------------------------------------------

MASKS = [None, "bool", "float"]


def mask_of(kind, *shape, seed=3):
    """True where it hides; no row is hidden whole."""
    if kind is None:
        return None
    rng = np.random.default_rng(seed)
    if kind == "float":
        return rng.standard_normal(shape).astype(np.float32)
    hidden = rng.random(shape) < 0.4
    hidden[..., 0] = False
    return hidden


def as_pair(a):
    return (None, None) if a is None else both(a)


@pytest.mark.parametrize("variant", [
    {}, {"batch_first": True}, {"bias": False}, {"kdim": 3, "vdim": 7}, {"add_bias_kv": True, "add_zero_attn": True},
    {"kdim": 3, "bias": False, "batch_first": True},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("padding", MASKS)
@pytest.mark.parametrize("need_weights", [False, True])
def test_multihead_attention(variant, mask, padding, need_weights):
    if mask != padding and "float" in (mask, padding) and None not in (mask, padding):
        padding = mask  # PyTorch warns about mixtures
    ours, theirs = pair(lambda lib, **k: lib.MultiheadAttention(8, 2, **k), **variant)
    first = bool(variant.get("batch_first"))
    n, t, s = 3, 4, 5
    shapes = [(t, 8), (s, variant.get("kdim", 8)), (s, variant.get("vdim", 8))]
    inputs = [array(*((n, t, c) if first else (t, n, c)), seed=i) for i, (t, c) in enumerate(shapes)]
    m, p = as_pair(mask_of(mask, 4, s)), as_pair(mask_of(padding, n, s))
    average = mask != "bool"

    def run(module, q, k, v):
        i = 0 if module is ours else 1
        return module(q, k, v, key_padding_mask=p[i], need_weights=need_weights, attn_mask=m[i],
                      average_attn_weights=average)  # fmt: skip

    check(ours, theirs, run, inputs)
    if mask is not None:
        m = as_pair(mask_of(mask, n * 2, 4, s))
        ours.zero_grad(), theirs.zero_grad()
        check(ours, theirs, run, inputs)
    if padding is None:
        m = as_pair(mask_of(mask, 4, s))
        ours.zero_grad(), theirs.zero_grad()
        check(ours, theirs, run, [a[0] if first else a[:, 0] for a in inputs])


def test_self_attention_and_causal_hint():
    ours, theirs = pair(lambda lib: lib.MultiheadAttention(8, 2, batch_first=True))
    causal = np.triu(np.ones((5, 5), bool), 1)
    m = both(causal)
    for hint in (False, True):
        run = lambda module, x: module(x, x, x, attn_mask=m[module is theirs], is_causal=hint, need_weights=False)  # noqa: B023, E731
        check(ours, theirs, run, [array(3, 5, 8)])
        ours.zero_grad(), theirs.zero_grad()
    check(ours, theirs, lambda module, x, y: module(x, y, y)[0], [array(3, 5, 8), array(3, 7, 8, seed=1)])


@pytest.mark.parametrize("shapes", [
    ((5, 4), (6, 4), (6, 3)), ((2, 5, 4), (2, 6, 4), (2, 6, 3)), ((2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 3)),
    ((2, 3, 5, 4), (1, 3, 6, 4), (3, 6, 3)), ((2, 2, 3, 5, 4), (2, 2, 3, 6, 4), (2, 2, 3, 6, 3)),
], ids=str)  # fmt: skip
@pytest.mark.parametrize(
    "options", [{}, {"is_causal": True}, {"scale": 0.7}, {"mask": "bool"}, {"mask": "float"}], ids=str
)
def test_scaled_dot_product_attention(shapes, options):
    options = dict(options)
    kind = options.pop("mask", None)
    leading = shapes[0][:-2]
    for shape in ((5, 6), (*leading, 5, 6), (*([1] * len(leading)), 5, 6)):
        m = (None, None)
        if kind is not None:
            a = mask_of(kind, *shape)
            m = both(~a if kind == "bool" else a)

        def run(lib, q, k, v):
            f = lib.nn.functional.scaled_dot_product_attention
            return f(q, k, v, attn_mask=m[lib is torch], **options)  # noqa: B023

        xs = [both(array(*x, seed=i), True) for i, x in enumerate(shapes)]
        a, b = run(lamella, *[x for x, _ in xs]), run(torch, *[y for _, y in xs])
        same(a, b)
        (a * a).sum().backward()
        (b * b).sum().backward()
        for x, y in xs:
            np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=0, atol=1e-4)
        if kind is None:
            break


def test_grouped_queries_and_heads_moved_by_transposing():
    q, k = array(2, 6, 5, 4), array(2, 3, 7, 4, seed=1)
    ours = nn.functional.scaled_dot_product_attention(
        lamella.tensor(q), lamella.tensor(k), lamella.tensor(k), enable_gqa=True
    )
    theirs = torch.nn.functional.scaled_dot_product_attention(*map(torch.tensor, (q, k, k)), enable_gqa=True)
    same(ours, theirs)
    x = array(2, 5, 12)
    results = []
    for lib in (lamella, torch):
        t = lib.tensor(x)
        t.requires_grad = True
        heads = t.view(2, 5, 3, 4).transpose(1, 2)
        y = lib.nn.functional.scaled_dot_product_attention(heads, heads, heads, is_causal=True)
        y = y.transpose(1, 2).reshape(2, 5, 12)
        (y * y).sum().backward()
        results.append((y, t.grad))
    same(*results)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_transformer_layers(norm_first, activation, batch_first):
    kwargs = {"dropout": 0.0, "activation": activation, "batch_first": batch_first, "norm_first": norm_first}
    x = array(3, 5, 8) if batch_first else array(5, 3, 8)
    memory = array(3, 6, 8, seed=2) if batch_first else array(6, 3, 8, seed=2)
    mask, padding = both(mask_of("bool", 5, 5)), both(mask_of("bool", 3, 5, seed=4))

    def encode(module, x):
        i = module is theirs
        return module(x, src_mask=mask[i], src_key_padding_mask=padding[i])

    ours, theirs = pair(lambda lib, **k: lib.TransformerEncoderLayer(8, 2, 16, **k), **kwargs)
    check(ours, theirs, encode, [x])
    ours, theirs = pair(lambda lib, **k: lib.TransformerDecoderLayer(8, 2, 16, **k), **kwargs)
    check(ours, theirs, lambda module, x, m: module(x, m, tgt_mask=mask[module is theirs]), [x, memory])


def test_encoder_decoder_and_whole_transformer():
    def encoder(lib):
        layer = lib.TransformerEncoderLayer(8, 2, 16, dropout=0.0, bias=False)
        return lib.TransformerEncoder(layer, 2, norm=lib.LayerNorm(8), enable_nested_tensor=False)

    causal = both(np.triu(np.full((5, 5), -np.inf, np.float32), 1))
    ours, theirs = pair(encoder)
    check(ours, theirs, lambda m, x: m(x, mask=causal[m is theirs], is_causal=True), [array(5, 3, 8)])
    ours, theirs = pair(lambda lib: lib.Transformer(8, 2, 2, 2, 16, dropout=0.0, batch_first=True))
    generated = nn.Transformer.generate_square_subsequent_mask(5)
    np.testing.assert_array_equal(generated.numpy(), torch.nn.Transformer.generate_square_subsequent_mask(5).numpy())
    check(ours, theirs, lambda m, x, y: m(x, y, tgt_mask=causal[m is theirs]), [array(3, 6, 8), array(3, 5, 8, seed=1)],
          atol=1e-4)  # fmt: skip


def model_of(lib, cell):
    class Tagger(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = lib.nn.Embedding(20, 8)
            if cell == "attention":
                self.body = lib.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
            else:
                self.body = getattr(lib.nn, cell)(8, 4, num_layers=2, bidirectional=True, batch_first=True)
            self.out = lib.nn.Linear(8, 3)

        def forward(self, x):
            x = self.body(self.embed(x))
            return self.out((x[0] if isinstance(x, tuple) else x).mean(1))

    return Tagger()


@pytest.mark.parametrize("cell", [*CELLS, "attention"])
def test_ten_training_steps(cell):
    torch.manual_seed(0)
    theirs, ours = model_of(torch, cell), model_of(lamella, cell)
    ours.load_state_dict({k: v.detach().numpy() for k, v in theirs.state_dict().items()})
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 20, (16, 7)), rng.integers(0, 3, 16)
    for lib, model in ((lamella, ours), (torch, theirs)):
        optimizer = lib.optim.Adam(model.parameters(), 0.01)
        losses = []
        for _ in range(10):
            loss = lib.nn.functional.cross_entropy(model(lib.tensor(x)), lib.tensor(y))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        if lib is lamella:
            kept = losses
    np.testing.assert_allclose(kept, losses, rtol=2e-3)
    assert kept[-1] < kept[0]
