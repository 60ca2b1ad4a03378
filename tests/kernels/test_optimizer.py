import numpy as np
import pytest
import reference_optimizer as ref

import lamella
from lamella import _cpu
from lamella import kernels as K

DTYPES = [np.float32, np.float64]
RULES = [
    ("sgd", {}),
    ("sgd", {"momentum": 0.9}),
    ("sgd", {"momentum": 0.9, "dampening": 0.3}),
    ("sgd", {"momentum": 0.9, "nesterov": True}),
    ("sgd", {"momentum": 0.9, "velocity": True}),
    ("sgd", {"momentum": 0.9, "velocity": True, "nesterov": True}),
    ("adam", {}),
    ("adam", {"amsgrad": True, "beta2": 0.6}),
    ("adam", {"eps_hat": True, "eps": 1e-7}),
    ("adam", {"eps_hat": True, "amsgrad": True, "beta2": 0.6, "eps": 1e-3}),
    ("rmsprop", {}),
    ("rmsprop", {"momentum": 0.8}),
    ("rmsprop", {"centered": True}),
    ("rmsprop", {"centered": True, "momentum": 0.8, "eps": 1e-4}),
    ("rmsprop", {"eps_inside": True, "eps": 1e-7, "rho": 0.9}),
    ("rmsprop", {"eps_inside": True, "eps": 1e-3, "momentum": 0.8, "velocity": True, "centered": True}),
    ("adagrad", {}),
    ("adagrad", {"lr_decay": 0.1, "initial_accumulator": 0.2}),
    ("adagrad", {"eps_inside": True, "eps": 1e-7, "initial_accumulator": 0.1}),
    ("adadelta", {"learning_rate": 1.0}),
    ("adamax", {}),
    ("adamax", {"eps_inside": False, "eps": 1e-3}),
    ("nadam", {}),
    ("nadam", {"momentum_decay": 1.0, "eps": 1e-7}),
    ("lion", {}),
    ("radam", {}),
    ("radam", {"beta2": 0.9, "eps": 1e-3}),
    ("ftrl", {}),
    ("ftrl", {"power": 0.3, "l1": 0.5, "l2": 0.1, "initial_accumulator": 0.2}),
    ("ftrl", {"power": 0.0, "l2_shrinkage": 0.1, "beta": 0.2}),
]
# Around vectors and the 4096-element chunks.
SHAPES = [(), (1,), (7,), (3, 5), (33,), (0, 4), (4096,), (4097,), (20_001,)]
STEPS = 7  # enough for both ways of radam


def run(name, hyper, dtype, shapes=SHAPES, grad_scale=1.0, seed=0):
    """Parameters after STEPS steps, and what float64 gives."""
    rng = np.random.default_rng(seed)
    params = [rng.standard_normal(s).astype(dtype) for s in shapes]
    params = [np.asarray(p) for p in params]
    wanted = [p.astype(np.float64) for p in params]
    states = K.optimizer_states(name, params, **hyper)
    ref_states = [{} for _ in shapes]
    h = _cpu.Optimizer(name, hyper).hyper
    for t in range(1, STEPS + 1):
        grads = [np.asarray(rng.standard_normal(s).astype(dtype)) for s in shapes]
        K.optimizer_step(name, params, grads, states, t, grad_scale=grad_scale, **hyper)
        wanted = ref.step(name, wanted, grads, ref_states, t, h, grad_scale)
    return params, wanted


def check(params, wanted, dtype, lr):
    for p, w in zip(params, wanted, strict=True):
        assert p.dtype == dtype
        # Each of the 7 steps rounds w (up to 5) once or twice, and moves it by a few lr with some eps of error; the
        # centered variance v - mean^2 may lose three digits of those steps.
        eps = float(np.finfo(dtype).eps)
        np.testing.assert_allclose(p, w, rtol=0, atol=7 * eps * 5 + 4e3 * eps * lr)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name,hyper", RULES)
def test_rule(name, hyper, dtype):
    hyper = {"learning_rate": 0.01, **hyper}
    check(*run(name, hyper, dtype), dtype, hyper["learning_rate"])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "options",
    [
        {"weight_decay": 0.1},
        {"weight_decay": 0.1, "decoupled": True},
        {"maximize": True, "weight_decay": 0.1},
        {"clipvalue": 0.5},
        {"clipnorm": 0.7},
        {"global_clipnorm": 2.0, "maximize": True},
        {"global_clipnorm": 1e6},
    ],
)
@pytest.mark.parametrize("grad_scale", [1.0, 0.125])
@pytest.mark.parametrize("name", ["sgd", "adam", "lion"])
def test_options(name, options, grad_scale, dtype):
    hyper = {"learning_rate": 0.05, **options}
    check(*run(name, hyper, dtype, grad_scale=grad_scale), dtype, 0.05)


def test_groups():
    rng = np.random.default_rng(1)
    w = [rng.standard_normal(9) for _ in range(3)]
    before = [x.copy() for x in w]
    g = [rng.standard_normal(9), rng.standard_normal(9), None]
    o = _cpu.Optimizer("sgd", {"learning_rate": 0.1, "weight_decay": 0.01})
    o.step(w, g, [[], [], []], 1, lr_scales=[1.0, 3.0, 1.0], weight_decays=[None, 0.0, None])
    np.testing.assert_allclose(w[0], before[0] - 0.1 * (g[0] + 0.01 * before[0]), rtol=1e-14)
    np.testing.assert_allclose(w[1], before[1] - 0.3 * g[1], rtol=1e-14)
    np.testing.assert_array_equal(w[2], before[2])


def test_exploding_gradients_are_clipped():
    w, g = np.zeros(3, np.float32), np.array([3e30, 0, -4e30], np.float32)
    K.optimizer_step("sgd", [w], [g], [[]], 1, learning_rate=1.0, global_clipnorm=5.0)
    np.testing.assert_allclose(w, [-3, 0, 4], rtol=1e-6)


@pytest.mark.parametrize("clip", [{}, {"clipvalue": 1.0}, {"clipnorm": 1.0}])
@pytest.mark.parametrize("name", ref.RULES)
def test_nan_is_not_hidden(name, clip):
    w, g = np.zeros(20, np.float32), np.ones(20, np.float32)
    g[3] = np.nan
    K.optimizer_step(name, [w], [g], K.optimizer_states(name, [w]), 1, **clip)
    assert np.isnan(w[3]) and (clip.get("clipnorm") or not np.isnan(w[4]))


def test_beta2_near_one_keeps_its_digits():
    # float32 holds 1 - 0.999 with an error of 5e-5 when it is computed in float32: the running square would be off.
    w, g = np.zeros(1, np.float32), np.ones(1, np.float32)
    states = K.optimizer_states("adam", [w])
    K.optimizer_step("adam", [w], [g], states, 1)
    np.testing.assert_allclose(states[0][1], 0.001, rtol=2e-7)


def test_hyper_parameters():
    o = _cpu.Optimizer("rmsprop", {"rho": 0.5})
    assert o.kind == "rmsprop" and o.hyper["rho"] == 0.5 and o.hyper["eps"] == 1e-8
    assert o.slots == [("square_avg", 0.0)]
    o.set_hyper("centered", True)
    assert [name for name, _ in o.slots] == ["square_avg", "grad_avg"]
    with pytest.raises(ValueError, match="rho"):
        o.set_hyper("rho", 1.5)
    assert o.hyper["rho"] == 0.5
    assert _cpu.Optimizer("rmsprop", o.hyper).hyper == o.hyper
    assert _cpu.Optimizer("adagrad", {"initial_accumulator": 0.25}).slots == [("sum", 0.25)]


@pytest.mark.parametrize(
    "name,hyper,error,text",
    [
        ("adan", {}, ValueError, "did you mean 'adam'"),
        ("adam", {"beta_1": 0.9}, ValueError, "did you mean 'beta1'"),
        ("adam", {"momentum": 0.9}, ValueError, "'momentum'"),
        ("adam", {"beta1": 1.0}, ValueError, "beta1"),
        ("sgd", {"learning_rate": -1.0}, ValueError, "learning_rate"),
        ("sgd", {"learning_rate": float("nan")}, ValueError, "learning_rate"),
        ("sgd", {"nesterov": True}, ValueError, "momentum > 0"),
        ("sgd", {"momentum": "0.9"}, TypeError, "momentum"),
        ("sgd", {"clipnorm": 1.0, "clipvalue": 1.0}, ValueError, "at most one"),
    ],
)
def test_bad_hyper_parameters(name, hyper, error, text):
    with pytest.raises(error, match=text):
        _cpu.Optimizer(name, hyper)


@pytest.mark.bindings
def test_bad_arrays():
    w, g = np.zeros(3, np.float32), np.zeros(3, np.float32)
    o = _cpu.Optimizer("sgd", {"momentum": 0.9})
    s = [[np.zeros(3, np.float32)]]
    read_only = w.copy()
    read_only.flags.writeable = False
    o.step([w], [g], s, 1)
    for params, grads, states, text in [
        ([read_only], [g], s, "read-only"),
        ([np.zeros(6, np.float32)[::2]], [g], s, "contiguous"),
        ([w], [g.astype(np.float64)], s, "gradient"),
        ([w], [g[:2]], s, "gradient"),
        ([w], [g], [[np.zeros(4, np.float32)]], "momentum_buffer"),
        ([w], [g], [[]], "1 arrays per parameter"),
        ([w], [g, g], s, "grads"),
        ([w.astype(np.int32)], [g], s, "int32"),
    ]:
        with pytest.raises((ValueError, TypeError), match=text):
            o.step(params, grads, states, 2)
    with pytest.raises(ValueError, match="step"):
        o.step([w], [g], s, 0)


@pytest.mark.parametrize("name", ref.RULES)
def test_threads_give_the_same_bits(name):
    results = []
    for threads in (1, 2):
        lamella.set_num_threads(threads)
        results.append(run(name, {"global_clipnorm": 1.0}, np.float32, [(50_001,), (70_000,)])[0])
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


# Functions of one array: the optimizer, hyper-parameters as the function and as the rule have them, the state arrays.
# PyTorch's defaults stand here once more, so that nobody changes them unawares.
ADAM = {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
STEP_FUNCTIONS = [
    ("sgd", K.sgd_step, {}, {"learning_rate": 1e-3}, []),
    (
        "sgd",
        K.sgd_step,
        {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
        {"learning_rate": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
        ["momentum_buffer"],
    ),
    (
        "sgd",
        K.sgd_step,
        {"momentum": 0.9, "nesterov": True, "maximize": True},
        {"learning_rate": 1e-3, "momentum": 0.9, "nesterov": True, "maximize": True},
        ["momentum_buffer"],
    ),
    ("adam", K.adam_step, {}, ADAM, ["exp_avg", "exp_avg_sq"]),
    (
        "adam",
        K.adam_step,
        {"betas": (0.8, 0.6), "eps": 1e-4, "weight_decay": 0.1},
        {**ADAM, "beta1": 0.8, "beta2": 0.6, "eps": 1e-4, "weight_decay": 0.1, "amsgrad": True},
        ["exp_avg", "exp_avg_sq", "max_exp_avg_sq"],
    ),
    ("adam", K.adamw_step, {}, {**ADAM, "weight_decay": 0.01, "decoupled": True}, ["exp_avg", "exp_avg_sq"]),
    (
        "adam",
        K.adamw_step,
        {"lr": 0.1, "maximize": True},
        {**ADAM, "learning_rate": 0.1, "weight_decay": 0.01, "decoupled": True, "maximize": True, "amsgrad": True},
        ["exp_avg", "exp_avg_sq", "max_exp_avg_sq"],
    ),
    ("rmsprop", K.rmsprop_step, {}, {"learning_rate": 0.01, "rho": 0.99, "eps": 1e-8}, ["square_avg"]),
    (
        "rmsprop",
        K.rmsprop_step,
        {"alpha": 0.9, "momentum": 0.5, "weight_decay": 0.1},
        {"learning_rate": 0.01, "rho": 0.9, "eps": 1e-8, "momentum": 0.5, "weight_decay": 0.1, "centered": True},
        ["square_avg", "grad_avg", "momentum_buffer"],
    ),
    ("adagrad", K.adagrad_step, {}, {"learning_rate": 0.01, "eps": 1e-10}, ["state_sum"]),
    (
        "adagrad",
        K.adagrad_step,
        {"lr_decay": 0.1, "weight_decay": 0.2},
        {"learning_rate": 0.01, "eps": 1e-10, "lr_decay": 0.1, "weight_decay": 0.2},
        ["state_sum"],
    ),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name,function,given,hyper,states", STEP_FUNCTIONS)
def test_step_functions(name, function, given, hyper, states, dtype):
    rng = np.random.default_rng(3)
    w = rng.standard_normal((3, 7)).astype(dtype)
    wanted, ref_states = [w.astype(np.float64)], [{}]
    arrays = {s: np.zeros_like(w) for s in states}
    h = _cpu.Optimizer(name, hyper).hyper
    for t in range(1, STEPS + 1):
        g = rng.standard_normal(w.shape).astype(dtype)
        step = {"step": t} if "adam" in function.__name__ or "dampening" in given or "lr_decay" in given else {}
        assert function(w, g, **arrays, **step, **given) is None
        wanted = ref.step(name, wanted, [g], ref_states, t, h, 1.0)
    check([w], wanted, dtype, hyper["learning_rate"])
    assert all(a.any() for a in arrays.values())


def test_step_functions_refuse():
    w, g, s = (np.ones(3, np.float32) for _ in range(3))
    for function, args, given, text in [
        (K.sgd_step, (), {"momentum": 0.9}, "sgd_step: momentum_buffer: expected a value, as momentum is not 0"),
        (K.sgd_step, (s,), {}, "sgd_step: momentum_buffer: expected None, unless momentum is not 0"),
        (K.sgd_step, (s,), {"momentum": 0.9, "dampening": 0.1}, "sgd_step: step: expected a value, as dampening"),
        (K.adam_step, (s, s[:2], 1), {}, "exp_avg_sq"),
        (K.adam_step, (s, s.copy(), 0), {}, "step"),
        (K.adam_step, (s, s.copy(), 1), {"betas": (0.9, 1.0)}, "beta2"),
        (K.adamw_step, (s, s.astype(np.float64), 1), {}, "exp_avg_sq"),
        (K.rmsprop_step, (s,), {"momentum": 0.5}, "rmsprop_step: momentum_buffer: expected a value"),
        (K.rmsprop_step, (s, None, s), {}, "rmsprop_step: momentum_buffer: expected None"),
        (K.adagrad_step, (s,), {"lr_decay": 0.1}, "adagrad_step: step: expected a value, as lr_decay is not 0"),
        (K.adagrad_step, (s,), {"lr": -1.0}, "learning_rate"),
    ]:
        with pytest.raises((ValueError, TypeError), match=text):
            function(w, g, *args, **given)
    np.testing.assert_array_equal(w, 1)


@pytest.mark.parametrize("max_norm", [0.0, 1.0, 12.9, 13.0, 100.0])
def test_clip_global_norm(max_norm):
    grads = [np.array([3.0, 0.0], np.float32), None, np.array([[4.0], [12.0]])]
    kept = [None if g is None else g.copy() for g in grads]
    assert K.clip_global_norm(grads, max_norm) == 13.0
    for g, k in zip(grads, kept, strict=True):
        if g is not None:
            np.testing.assert_allclose(g, k * min(1.0, max_norm / 13), rtol=2e-7)
    assert K.global_norm([g for g in grads if g is not None]) <= max_norm * (1 + 1e-7) or max_norm > 13


def test_clip_global_norm_of_unusual_arrays():
    assert K.clip_global_norm([], 1.0) == 0.0
    assert K.clip_global_norm([None, np.zeros((0, 3))], 1.0) == 0.0
    grads = [np.array([1.0, np.nan]), np.ones(2)]
    assert np.isnan(K.clip_global_norm(grads, 1.0)) and np.isnan(grads[1]).all()
    grads = [np.array([1.0, np.inf])]
    assert K.clip_global_norm(grads, 1.0) == np.inf
    np.testing.assert_array_equal(grads[0], [0.0, np.nan])
    big = [np.full(4, 3e38, np.float32)]  # a norm beyond float32
    assert K.clip_global_norm(big, 2.0) == 2 * float(np.float32(3e38))
    np.testing.assert_allclose(big[0], 1.0, rtol=1e-6)
    first, strided = np.full(3, 10.0), np.ones(6)[::2]
    for bad in (strided, [1.0]):
        with pytest.raises(ValueError, match="clip_global_norm: array 1: expected a C-contiguous, writable ndarray"):
            K.clip_global_norm([first, bad], 1.0)
    with pytest.raises(TypeError, match="global_norm: array 1"):
        K.clip_global_norm([first, np.ones(3, np.int32)], 1.0)
    np.testing.assert_array_equal(first, 10.0)
    for norm in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="max_norm: expected a number of at least 0"):
            K.clip_global_norm([first], norm)


@pytest.mark.parametrize(
    ("name", "hyper"),
    [("sgd", {"momentum": 0.5}), ("adam", {"beta2": 0.5}), ("rmsprop", {"rho": 0.5}), ("nadam", {"beta2": 0.5})],
)
def test_averages_of_gradients_that_have_stopped_end_at_zero(name, hyper):
    """Not among the subnormal numbers, on which processors are slow and where rounding would keep them for good."""
    params = [np.ones(37, np.float32)]
    states = K.optimizer_states(name, params, **hyper)
    for t in range(1, 1600):
        grads = [np.full(37, 1e-3 if t < 5 else 0.0, np.float32)]
        K.optimizer_step(name, params, grads, states, t, **hyper)
    for state in (a for per_tensor in states for a in per_tensor):
        np.testing.assert_array_equal(state, 0)


def test_a_small_eps_keeps_the_smallest_averages():
    params = [np.ones(5, np.float32)]
    states = K.optimizer_states("adam", params, eps=1e-30)
    K.optimizer_step("adam", params, [np.full(5, 1e-18, np.float32)], states, 1, eps=1e-30)
    assert np.all(states[0][1] > 0)
    assert np.all(states[0][1] < np.finfo(np.float32).tiny)
    np.testing.assert_allclose(params[0], 1 - 1e-3, rtol=1e-5)


def with_options(steps, **options):
    """A parameter and its average after steps of gradients 1, 2, ..., without and with the options."""
    o = _cpu.Optimizer("sgd", {"learning_rate": 0.1, **options})
    w = np.ones(5001)
    states = [[np.full_like(w, start) for _, start in o.slots]]
    seen = []
    for t in range(1, steps + 1):
        o.step([w], [np.full_like(w, t)], states, t)
        seen.append((w[-1].item(), {name: a[-1].item() for (name, _), a in zip(o.slots, states[0], strict=True)}))
    return seen


def test_gradients_are_accumulated():
    seen = with_options(7, accumulation_steps=3)
    np.testing.assert_allclose([w for w, _ in seen], [1, 1, 0.8, 0.8, 0.8, 0.3, 0.3])
    assert [s["gradient_accumulator"] for _, s in seen] == [1, 3, 0, 4, 9, 0, 7]


def test_momentum_counts_updates_where_gradients_are_accumulated():
    one = with_options(6, accumulation_steps=2, momentum=0.9, dampening=0.5)[-1][0]
    o = _cpu.Optimizer("sgd", {"learning_rate": 0.1, "momentum": 0.9, "dampening": 0.5})
    w, s = np.ones(1), [[np.zeros(1)]]
    for t in (1, 2, 3):
        o.step([w], [np.full(1, 2 * t - 0.5)], s, t)
    np.testing.assert_allclose(one, w[0], rtol=1e-14)


def test_averages_of_parameters():
    seen = with_options(4, use_ema=True, ema_momentum=0.75)
    w, average = 1.0, None
    for t, (got, state) in enumerate(seen, 1):
        w -= 0.1 * t
        average = w if average is None else 0.75 * average + 0.25 * w
        np.testing.assert_allclose((got, state["average"]), (w, average), rtol=1e-14)


def test_averages_replace_parameters():
    seen = with_options(5, use_ema=True, ema_momentum=0.5, ema_overwrite=2)
    w, average = 1.0, None
    for t, (got, state) in enumerate(seen, 1):
        w -= 0.1 * t
        average = w if average is None else 0.5 * average + 0.5 * w
        w = average if t % 2 == 0 else w
        np.testing.assert_allclose((got, state["average"]), (w, average), rtol=1e-14)


def test_a_loss_scale_is_taken_off_before_clipping():
    w = np.zeros(3, np.float32)
    o = _cpu.Optimizer("sgd", {"learning_rate": 1.0, "loss_scale": 1024.0, "clipvalue": 0.5})
    o.step([w], [np.array([100, 512, 4096], np.float32)], [[]], 1)
    np.testing.assert_allclose(w, [-100 / 1024, -0.5, -0.5])


@pytest.mark.parametrize(
    ("hyper", "text"),
    [
        ({"accumulation_steps": 0}, "accumulation_steps"),
        ({"accumulation_steps": 1.5}, "accumulation_steps"),
        ({"ema_overwrite": 2.5}, "ema_overwrite"),
        ({"ema_momentum": 1.5}, "ema_momentum"),
        ({"loss_scale": 0.0}, "loss_scale"),
    ],
)
def test_bad_options(hyper, text):
    with pytest.raises(ValueError, match=text):
        _cpu.Optimizer("sgd", hyper)
