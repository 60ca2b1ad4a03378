"""Packed sequences, projections, attention and transformers in PyTorch's idiom."""

import math

import numpy as np
import pytest

import lamella
import lamella.nn.functional as F
from lamella import nn, optim
from lamella._trace import trace
from lamella.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence, pad_packed_sequence, pad_sequence


@pytest.fixture(autouse=True)
def _seed():
    lamella.seed(2)


def tensor(*shape, seed=0):
    return lamella.tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


@pytest.mark.parametrize("cell", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_packed_sequences_are_run_one_by_one(cell, bidirectional):
    layer = cell(3, 4, num_layers=2, batch_first=True, bidirectional=bidirectional)
    x, lengths = tensor(4, 6, 3), [2, 6, 1, 4]
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    assert packed.data.shape == (13, 3) and packed.batch_sizes.tolist() == [4, 3, 2, 2, 1, 1]
    out, final = layer(packed)
    assert isinstance(out, PackedSequence)
    padded, sizes = pad_packed_sequence(out, batch_first=True)
    assert sizes.tolist() == lengths and padded.shape == (4, 6, 8 if bidirectional else 4)
    for i, n in enumerate(lengths):
        alone, state = layer(x[i : i + 1, :n])
        np.testing.assert_allclose(padded.numpy()[i, :n], alone.numpy()[0], atol=2e-6)
        assert not padded.numpy()[i, n:].any()
        a, b = (state[0], final[0]) if cell is nn.LSTM else (state, final)
        np.testing.assert_allclose(b.numpy()[:, i], a.numpy()[:, 0], atol=2e-6)


def test_gradients_pass_through_packing():
    x = tensor(3, 5, 2)
    x.requires_grad = True
    y, _ = pad_packed_sequence(pack_padded_sequence(x, [5, 3, 1], batch_first=True), batch_first=True)
    (y * y).sum().backward()
    real = (np.arange(5) < np.array([[5], [3], [1]]))[..., None]
    np.testing.assert_allclose(x.grad.numpy(), 2 * x.detach().numpy() * real)


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: pack_padded_sequence(tensor(5, 2, 3), [2, 4]), ValueError, "enforce_sorted=False sorts them"),
    (lambda: pack_padded_sequence(tensor(5, 2, 3), [6, 4]), ValueError, "lengths: expected numbers from 1 to 5"),
    (lambda: pack_padded_sequence(tensor(5, 2, 3), [2, 0]), ValueError, "lengths: expected numbers from 1 to 5"),
    (lambda: pack_padded_sequence(tensor(5, 2, 3), [2]), ValueError, "lengths: expected 2, one a sequence, got 1"),
    (lambda: pack_padded_sequence(tensor(5, 2, 3), [2.0, 1.0]), TypeError, "lengths: expected integers"),
    (lambda: pad_packed_sequence(pack_sequence([tensor(3, 2)]), total_length=2), ValueError, "total_length"),
    (lambda: pad_sequence([tensor(3)], padding_side="up"), ValueError, "padding_side"),
    (lambda: pad_sequence([]), ValueError, "at least one"),
    (lambda: nn.LSTM(3, 4)(pack_sequence([tensor(3, 2)])), ValueError, "LSTM: input: expected 3 features"),
    (lambda: nn.LSTM(3, 4, proj_size=4), ValueError, "proj_size: expected a size below 4"),
    (lambda: nn.GRU(3, 4, proj_size=2), ValueError, "GRU: proj_size: expected 0 but for LSTM"),
    (lambda: nn.LSTM(3, 4, proj_size=2)(tensor(5, 2, 3), (tensor(1, 2, 4), tensor(1, 2, 4))), ValueError,
     r"hx: expected shape \(1, 2, 2\)"),
    (lambda: nn.MultiheadAttention(8, 3), ValueError, "embed_dim: expected a multiple of 3 heads"),
    (lambda: nn.MultiheadAttention(8, 2)(tensor(5, 2, 7), tensor(5, 2, 8), tensor(5, 2, 8)), ValueError, "query"),
    (lambda: nn.MultiheadAttention(8, 2)(*[tensor(5, 2, 8)] * 3, attn_mask=tensor(4, 5)), ValueError, "attn_mask"),
    (lambda: nn.MultiheadAttention(8, 2)(*[tensor(5, 2, 8)] * 3, key_padding_mask=tensor(5, 2)), ValueError,
     r"key_padding_mask: expected shape \(2, 5\)"),
    (lambda: nn.MultiheadAttention(8, 2)(*[tensor(5, 2, 8)] * 3, is_causal=True), ValueError, "attn_mask"),
    (lambda: F.scaled_dot_product_attention(*[tensor(2, 5, 4)] * 3, tensor(5, 5), is_causal=True), ValueError,
     "attn_mask: expected None where is_causal"),
    (lambda: F.scaled_dot_product_attention(*[tensor(2, 5, 4)] * 3, dropout_p=2), ValueError, "dropout_p"),
    (lambda: nn.TransformerEncoderLayer(8, 2, activation="tanh"), ValueError, "activation"),
    (lambda: nn.Transformer(8, 2, 1, 1, 8)(tensor(3, 2, 8), tensor(3, 1, 8)), ValueError, "tgt: expected a batch of 2"),
])  # fmt: skip
def test_what_is_wrong_is_said(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_attention_weights_and_dropout():
    layer = nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True)
    x = tensor(3, 5, 8)
    padding = lamella.tensor(np.arange(5) >= np.array([[5], [3], [1]]))
    out, weights = layer.eval()(x, x, x, key_padding_mask=padding)
    assert weights.shape == (3, 5, 5) and not weights.numpy()[1, :, 3:].any()
    np.testing.assert_allclose(weights.numpy().sum(-1), 1, atol=1e-6)
    again, none = layer(x, x, x, key_padding_mask=padding, need_weights=False)
    assert none is None
    np.testing.assert_array_equal(again.numpy(), out.numpy())
    a, w = layer.train()(x, x, x, average_attn_weights=False)
    assert w.shape == (3, 2, 5, 5) and (w.numpy() == 0).mean() > 0.2
    b, _ = layer(x, x, x)
    assert (a.numpy() != b.numpy()).any()
    everything = lamella.tensor(np.ones((3, 5), bool))
    assert np.isfinite(layer.eval()(x, x, x, key_padding_mask=everything)[0].numpy()).all()


def test_a_float_mask_can_be_trained():
    bias = tensor(2, 5, 5, seed=4)
    bias.requires_grad = True
    q = tensor(3, 2, 5, 4)
    F.scaled_dot_product_attention(q, q, q, attn_mask=bias).sum().backward()
    assert bias.grad.shape == (2, 5, 5) and bias.grad.numpy().any()


class PositionalEncoding(nn.Module):
    """As in PyTorch's tutorial."""

    def __init__(self, d_model, dropout=0.1, max_len=50):
        super().__init__()
        self.dropout = nn.Dropout(p=dropout)
        position = lamella.arange(max_len).unsqueeze(1)
        div_term = lamella.exp(lamella.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
        pe = lamella.zeros(max_len, 1, d_model)
        pe[:, 0, 0::2] = lamella.sin(position * div_term)
        pe[:, 0, 1::2] = lamella.cos(position * div_term)
        self.register_buffer("pe", pe)

    def forward(self, x):
        x = x + self.pe[: x.size(0)]
        return self.dropout(x)


class LanguageModel(nn.Module):
    def __init__(self, tokens, d_model=16):
        super().__init__()
        self.embedding = nn.Embedding(tokens, d_model)
        self.positions = PositionalEncoding(d_model)
        layer = nn.TransformerEncoderLayer(d_model, 4, 32, dropout=0.1)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.out = nn.Linear(d_model, tokens)
        self.d_model = d_model

    def forward(self, ids):
        mask = nn.Transformer.generate_square_subsequent_mask(len(ids))
        x = self.positions(self.embedding(ids) * math.sqrt(self.d_model))
        return self.out(self.encoder(x, mask, is_causal=True))


def test_a_language_model_learns_to_count():
    model = LanguageModel(10)
    ids = (np.arange(7)[:, None] + np.arange(10)) % 10
    x, y = lamella.tensor(ids[:-1]), lamella.tensor(ids[1:])
    optimizer = optim.Adam(model.parameters(), 0.01)
    for _ in range(40):
        loss = F.cross_entropy(model(x).reshape(-1, 10), y.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    out = model(x)
    assert (out.numpy().argmax(-1) == ids[1:]).mean() > 0.95
    # later tokens have no part in it
    np.testing.assert_allclose(model(x[:3]).numpy(), out.numpy()[:3], atol=1e-5)
    traced = trace(model, [("int64", (6, 10))])
    assert traced.outputs
    compiled = lamella.compile(model, x)
    np.testing.assert_allclose(np.asarray(compiled(x)), out.numpy(), atol=1e-5)


@pytest.mark.parametrize("make", [
    lambda: nn.LSTM(8, 6, proj_size=3, bidirectional=True), lambda: nn.TransformerEncoderLayer(8, 2, 16),
    lambda: nn.TransformerEncoderLayer(8, 2, 16, norm_first=True, batch_first=True),
])  # fmt: skip
def test_traced_modules_compute_the_same(make):
    module = make().eval()
    x = tensor(5, 3, 8)

    class First(nn.Module):
        def __init__(self):
            super().__init__()
            self.module = module

        def forward(self, x):
            out = self.module(x)
            return out[0] if isinstance(out, tuple) else out

    compiled = lamella.compile(First().eval(), x)
    want = module(x)
    np.testing.assert_allclose(
        np.asarray(compiled(x)), (want[0] if isinstance(want, tuple) else want).numpy(), atol=1e-5
    )


def test_transformer_copies_have_weights_of_their_own():
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 3)
    names = list(encoder.state_dict())
    assert names[0] == "layers.0.self_attn.in_proj_weight" and len(names) == 36
    assert encoder.layers[0].linear1.weight is not encoder.layers[1].linear1.weight
