"""Functions of `lamella.nn.functional` beside PyTorch's: those whose modules do not say it all."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import lamella
import lamella.nn.functional as F

from .compare import array, dtypes, normal, parity, seeds
from .torch_side import check_functions, torch

flags = st.booleans()
few = st.integers(1, 4)
TF = torch.nn.functional


def both(name, *inputs, dtype="float32", **kwargs):
    check_functions(getattr(F, name), getattr(TF, name), *inputs, dtype=dtype, **kwargs)


@pytest.mark.parametrize("name", ["hardsigmoid", "hardswish", "logsigmoid", "mish", "relu", "relu6", "selu", "sigmoid",
                                  "silu", "softsign", "tanh", "gelu", "elu", "leaky_relu", "softplus"])  # fmt: skip
@parity
@given(shape=st.lists(few, max_size=3), dtype=dtypes, seed=seeds)
def test_activation_defaults(name, shape, dtype, seed):
    # PyTorch holds the sixth of hardsigmoid in float32.
    tolerance = 1e-7 if name == "hardsigmoid" and dtype == "float64" else None
    both(name, normal(seed, *shape, scale=3.0), dtype=dtype, tolerance=tolerance, least=1.0)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@parity
@given(shape=st.lists(few, min_size=1, max_size=4), data=st.data(), dtype=dtypes, seed=seeds)
def test_softmax(name, shape, data, dtype, seed):
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    both(name, normal(seed, *shape, scale=5.0), dtype=dtype, dim=dim, least=1.0)


@pytest.mark.parametrize("rank", [1, 2, 3, 4])
@pytest.mark.filterwarnings("ignore")
def test_implicit_dimension(rank):
    both("softmax", normal(0, *[3] * rank))


@parity
@given(st.lists(few, max_size=2), few, few, flags, dtypes, seeds)
def test_linear(leading, inputs, outputs, bias, dtype, seed):
    args = [normal(seed, *leading, inputs), normal(seed + 1, outputs, inputs)]
    both("linear", *args, *([normal(seed + 2, outputs)] if bias else []), dtype=dtype)


@pytest.mark.parametrize("dims", [1, 2])
@parity
@given(kwargs=st.fixed_dictionaries({"stride": few, "padding": st.integers(0, 2), "dilation": st.integers(1, 2)}),
       groups=st.integers(1, 2), transposed=flags, dtype=dtypes, seed=seeds)  # fmt: skip
def test_convolution(dims, kwargs, groups, transposed, dtype, seed):
    """The gradient by the weight is that of a plain tensor here, in PyTorch's order of dimensions."""
    weight = normal(seed + 1, 2 * groups, 3, *[3] * dims)
    x = normal(seed, 2, (2 if transposed else 3) * groups, *[9] * dims)
    bias = normal(seed + 2, (3 if transposed else 2) * groups if transposed else 2 * groups)
    name = f"conv_transpose{dims}d" if transposed else f"conv{dims}d"
    both(name, x, weight, bias, dtype=dtype, groups=groups, **kwargs)


@parity
@given(
    st.integers(2, 5),
    st.integers(1, 5),
    st.fixed_dictionaries({"training": flags, "momentum": st.floats(0, 1), "eps": st.sampled_from([1e-5, 0.1])}),
    seeds,
)
def test_batch_norm_writes_its_statistics(n, channels, kwargs, seed):
    x, mean, variance = normal(seed, n, channels, 3), normal(seed + 1, channels), normal(seed + 2, channels) ** 2
    ours = [lamella.tensor(a) for a in (mean, variance)]
    theirs = [torch.tensor(a) for a in (mean, variance)]
    y = F.batch_norm(lamella.tensor(x), *ours, **kwargs)
    z = TF.batch_norm(torch.tensor(x), *theirs, **kwargs)
    for a, b in zip([y, *ours], [z, *theirs], strict=True):
        np.testing.assert_allclose(array(a), array(b), rtol=1e-9, atol=1e-9)


@parity
@given(
    st.lists(few, min_size=2, max_size=3),
    st.sampled_from([1.0, 2.0, 3.0, float("inf")]),
    st.integers(-1, 1),
    dtypes,
    seeds,
)
def test_normalize(shape, p, dim, dtype, seed):
    both("normalize", normal(seed, *shape), dtype=dtype, p=p, dim=dim, least=1.0)


@parity
@given(
    st.lists(st.integers(-1, 3), min_size=1, max_size=3),
    st.sampled_from([0.0, 1.5]),
    dtypes,
    seeds,
)
def test_constant_pad(pairs, value, dtype, seed):
    """Negative sizes cut."""
    sides = [n for p in pairs for n in (p, max(p, 0))]
    check_functions(
        lambda x: F.pad(x, sides, value=value), lambda x: TF.pad(x, sides, value=value), normal(seed, 3, 4, 5),
        dtype=dtype,
    )  # fmt: skip


@parity
@given(st.integers(2, 6), st.lists(few, max_size=2), seeds)
def test_one_hot(classes, shape, seed):
    labels = np.random.default_rng(seed).integers(0, classes, shape)
    for n in (-1, classes):
        if n == -1 and not labels.size:
            continue
        ours = F.one_hot(lamella.tensor(labels), n)
        theirs = TF.one_hot(torch.from_numpy(np.asarray(labels)), n)
        np.testing.assert_array_equal(array(ours), array(theirs))


@parity
@given(st.integers(2, 8), few, st.data(), dtypes, seeds)
def test_embedding(rows, width, data, dtype, seed):
    padding = data.draw(st.none() | st.integers(-rows, rows - 1))
    indices = np.random.default_rng(seed).integers(0, rows, (2, 5))
    assume(rows > 1)
    both("embedding", indices, normal(seed, rows, width), dtype=dtype, padding_idx=padding)


@pytest.mark.parametrize("name", ["dropout", "dropout1d", "dropout2d"])
@pytest.mark.parametrize("kwargs", [{"training": False}, {"p": 0.0}, {"p": 1.0}])
def test_dropout_without_chance(name, kwargs):
    both(name, normal(0, *[2, 3, 4, 5][: 3 if name == "dropout1d" else 4]), **kwargs)


@pytest.mark.parametrize("name", ["dropout", "dropout1d", "dropout2d"])
@pytest.mark.parametrize("p", [0.2, 0.7])
def test_dropout_drops_as_often(name, p):
    """As many units, or whole channels, within four standard deviations, and scaled alike."""
    shape = [100, 40, 5] if name == "dropout1d" else [100, 40, 3, 2]
    y = array(getattr(F, name)(lamella.ones(*shape), p))
    z = array(getattr(TF, name)(torch.ones(*shape), p))
    assert set(np.unique(y)) == set(np.unique(z))
    units = y.size if name == "dropout" else 100 * 40
    spread = 4 * np.sqrt(p * (1 - p) / units)
    assert abs((y == 0).mean() - p) < spread and abs((z == 0).mean() - p) < spread
    if name != "dropout":
        flat = y.reshape(100, 40, -1)
        np.testing.assert_array_equal(flat, flat[..., :1].repeat(flat.shape[-1], -1))


PAIRS = {
    "mse_loss": {}, "l1_loss": {}, "smooth_l1_loss": {"beta": 0.5}, "huber_loss": {"delta": 0.5},
    "poisson_nll_loss": {}, "pairwise_distance": {"p": 3.0}, "cosine_similarity": {"dim": -1}, "prelu": {},
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
@parity
@given(n=few, dtype=dtypes, seed=seeds)
def test_functions_of_pairs(name, n, dtype, seed):
    second = normal(seed + 1, 3) if name == "prelu" else normal(seed + 1, n, 3)
    both(name, normal(seed, n, 3), second, dtype=dtype, **PAIRS[name])


TRIPLES = {
    "triplet_margin_loss": {"swap": True},
    "triplet_margin_with_distance_loss": {},
    "margin_ranking_loss": {"margin": 0.5},
    "gaussian_nll_loss": {"full": True},
    "cosine_embedding_loss": {"margin": 0.2},
}


@pytest.mark.parametrize("name", TRIPLES)
@parity
@given(n=few, dtype=dtypes, seed=seeds)
def test_losses_of_triples(name, n, dtype, seed):
    third = normal(seed + 2, n, 3)
    if name == "gaussian_nll_loss":
        third = third**2 + 0.1
    if name in ("margin_ranking_loss", "cosine_embedding_loss"):  # labels have no gradient
        signs = np.where(np.random.default_rng(seed).random((n,) if "cosine" in name else (n, 3)) < 0.5, -1, 1)
        check_functions(
            lambda a, b: getattr(F, name)(a, b, lamella.tensor(signs), **TRIPLES[name]),
            lambda a, b: getattr(TF, name)(a, b, torch.tensor(signs), **TRIPLES[name]),
            normal(seed, n, 3), normal(seed + 1, n, 3), dtype=dtype,
        )  # fmt: skip
        return
    both(name, normal(seed, n, 3), normal(seed + 1, n, 3), third, dtype=dtype, **TRIPLES[name])


POOLS = {
    "max_pool": [{"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}],
    "avg_pool": [{"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False}],
    "adaptive_max_pool": [{"output_size": 3}],
    "adaptive_avg_pool": [{"output_size": 3}],
}


@pytest.mark.parametrize(("name", "kwargs"), [(n, k) for n, cases in POOLS.items() for k in cases], ids=str)
@pytest.mark.parametrize("dims", [1, 2])
def test_pooling(name, kwargs, dims):
    both(f"{name}{dims}d", normal(0, 2, 3, *[7] * dims), **kwargs)


@pytest.mark.parametrize("dims", [1, 2])
def test_unpooling(dims):
    x = normal(0, 2, 3, *[8] * dims)

    def there_and_back(functions):
        def run(t):
            y, at = getattr(functions, f"max_pool{dims}d")(t, 2, return_indices=True)
            return getattr(functions, f"max_unpool{dims}d")(y * 2, at, 2)

        return run

    check_functions(there_and_back(F), there_and_back(TF), x)


@pytest.mark.parametrize(("name", "shape", "kwargs"), [
    ("pixel_shuffle", (2, 8, 3, 3), {"upscale_factor": 2}), ("pixel_unshuffle", (2, 2, 4, 6), {"downscale_factor": 2}),
    ("channel_shuffle", (2, 6, 3, 3), {"groups": 3}), ("group_norm", (2, 6, 5), {"num_groups": 3}),
    ("layer_norm", (3, 4, 5), {"normalized_shape": (4, 5)}), ("rms_norm", (3, 4, 5), {"normalized_shape": (5,)}),
], ids=str)  # fmt: skip
def test_shapes_and_norms(name, shape, kwargs):
    both(name, normal(0, *shape), least=1.0, **kwargs)
