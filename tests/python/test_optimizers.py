"""Optimizers in Keras' idiom: their options, in plans and on the tape with the same bits, schedules, saving."""

import copy
import pickle

import numpy as np
import pytest

import lamella
from lamella import layers, models, optimizers
from lamella.nn import Parameter
from lamella.optimizers import schedules

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 6)).astype(np.float32)
Y = (X @ RNG.standard_normal((6, 2))).astype(np.float32)

ALL = [
    (optimizers.SGD, {"momentum": 0.9, "nesterov": True}),
    (optimizers.Adam, {"amsgrad": True}),
    (optimizers.AdamW, {"weight_decay": 0.1}),
    (optimizers.RMSprop, {"momentum": 0.5, "centered": True}),
    (optimizers.Adagrad, {}),
    (optimizers.Adadelta, {"learning_rate": 1.0}),
    (optimizers.Adamax, {}),
    (optimizers.Nadam, {}),
    (optimizers.Lion, {}),
    (optimizers.Ftrl, {"l1_regularization_strength": 1e-3, "beta": 0.1}),
]
OPTIONS = [
    {"weight_decay": 0.05, "clipnorm": 0.5},
    {"clipvalue": 0.1, "use_ema": True, "ema_momentum": 0.8, "ema_overwrite_frequency": 3},
    {"global_clipnorm": 1.0, "gradient_accumulation_steps": 2},
    {"use_ema": True, "gradient_accumulation_steps": 3, "loss_scale_factor": 256.0},
]


def network(optimizer, **kwargs):
    lamella.seed(3)
    model = models.Sequential([layers.Dense(5, input_shape=(6,)), layers.Dense(2, name="head")])
    model.compile(optimizer, "mse", **kwargs)
    return model


def trained(optimizer, epochs=2, **kwargs):
    model = network(optimizer, **kwargs)
    model.fit(X, Y, batch_size=8, epochs=epochs, verbose=0)
    return model


def same(one, two):
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("cls", "given"), ALL)
def test_plans_and_the_tape_give_the_same_bits(cls, given):
    same(trained(cls(**given)).get_weights(), trained(cls(**given), run_eagerly=True).get_weights())


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("cls", [optimizers.SGD, optimizers.Adam])
def test_options_give_the_same_bits_in_plans_and_on_the_tape(cls, options):
    native, eager = trained(cls(0.01, **options)), trained(cls(0.01, **options), run_eagerly=True)
    same(native.get_weights(), eager.get_weights())
    states = zip(native.optimizer.variables, eager.optimizer.variables, strict=True)
    assert all(np.array_equal(a.numpy(), b.numpy()) for a, b in states)


def steps(optimizer, grads, start=(1.0, -2.0, 0.5)):
    """A variable after steps with these gradients."""
    v = Parameter(np.array(start, np.float64))
    for g in grads:
        optimizer.apply_gradients([(np.array(g, np.float64), v)])
    return v.numpy()


def test_weight_decay_can_be_kept_off():
    g = np.zeros(3)
    kept, left = Parameter(np.ones(3)), Parameter(np.ones(3))
    optimizer = optimizers.SGD(0.5, weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_list=[kept])
    optimizer.apply([g, g], [kept, left])
    np.testing.assert_allclose(kept.numpy(), 1)
    np.testing.assert_allclose(left.numpy(), 0.95)
    with pytest.raises(ValueError, match="exclude_from_weight_decay: expected a call before"):
        optimizer.exclude_from_weight_decay(var_list=[left])


@pytest.mark.parametrize("eagerly", [False, True])
def test_weight_decay_can_be_kept_off_by_name(eagerly):
    optimizer = optimizers.SGD(0.0001, weight_decay=5000.0)
    optimizer.exclude_from_weight_decay(var_names=["bias", "head"])
    model = network(optimizer, run_eagerly=eagerly)
    model.set_weights([np.ones_like(w) for w in model.get_weights()])
    model.fit(X, Y, batch_size=40, verbose=0)
    changed = [float(np.abs(w - 1).max()) > 0.4 for w in model.get_weights()]
    assert changed == [True, False, False, False]


def test_a_name_is_needed_to_be_passed_over_by_name():
    optimizer = optimizers.SGD(0.1, weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    with pytest.raises(ValueError, match="var_names: expected variables of a compiled model"):
        optimizer.apply([np.zeros(2)], [Parameter(np.zeros(2))])


def test_averages_end_in_the_weights():
    model = network(optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5))
    seen = []

    class Keep(lamella.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(self.model.get_weights())

    model.fit(X, Y, batch_size=8, verbose=0, callbacks=[Keep()])
    average = seen[0]
    for w in seen[1:]:
        average = [0.5 * a + 0.5 * b for a, b in zip(average, w, strict=True)]
    for a, b in zip(model.get_weights(), average, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert any(np.abs(a - b).max() > 1e-4 for a, b in zip(model.get_weights(), seen[-1], strict=True))


def test_learning_rates():
    optimizer = optimizers.SGD(0.5)
    assert optimizer.learning_rate == 0.5 and float(optimizer.lr) == 0.5
    optimizer.learning_rate.assign(0.25)
    assert optimizer.learning_rate.numpy() == 0.25
    np.testing.assert_allclose(steps(optimizer, [[1, 1, 1]]), [0.75, -2.25, 0.25])
    by_step, constant = optimizers.SGD(lambda step: 1.0 / (1 + step)), optimizers.SGD(lambda: 0.125)
    np.testing.assert_allclose(steps(by_step, [[1, 0, 0]] * 3, (0, 0, 0)), [-1 - 1 / 2 - 1 / 3, 0, 0])
    assert by_step.learning_rate == 0.25 and constant.learning_rate == 0.125 and by_step.iterations == 3
    scheduled = optimizers.Adam(schedules.ExponentialDecay(0.1, 10, 0.5))
    with pytest.raises(TypeError, match="learning_rate: expected a schedule"):
        scheduled.learning_rate = 0.1
    scheduled.learning_rate = schedules.CosineDecay(0.3, 10)
    assert scheduled.learning_rate == pytest.approx(0.3)


def test_iterations_count_updates():
    optimizer = optimizers.SGD(0.1, gradient_accumulation_steps=2)
    steps(optimizer, [[1, 1, 1]] * 5)
    assert optimizer.iterations == 2
    assert optimizer.apply_gradients([(np.ones(3), Parameter(np.ones(3)))]) == 6 and optimizer.iterations == 3


def test_missing_gradients():
    a, b = Parameter(np.ones(2)), Parameter(np.ones(2))
    optimizer = optimizers.SGD(0.5)
    with pytest.warns(UserWarning, match="1 of 2 variables have no gradient"):
        optimizer.apply_gradients([(np.ones(2), a), (None, b)])
    assert a.tolist() == [0.5, 0.5] and b.tolist() == [1, 1]
    with pytest.raises(ValueError, match="expected a gradient for some variable"):
        optimizer.apply([None, None], [a, b])
    with pytest.raises(ValueError, match="grads: expected 2, one a variable, got 1"):
        optimizer.apply([np.ones(2)], [a, b])
    optimizer.apply([np.ones(2), np.zeros(2)])  # to those of the first call
    assert a.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"lr": 0.1}, "did you mean 'learning_rate'"),
        ({"clip_norm": 0.1}, "did you mean 'clipnorm'"),
        ({"clipnorm": -1.0}, "clipnorm: expected a positive number"),
        ({"clipnorm": 1.0, "clipvalue": 1.0}, "at most one of them"),
        ({"ema_momentum": 1.5}, r"ema_momentum: expected a number in \[0, 1\]"),
        ({"gradient_accumulation_steps": 1}, "gradient_accumulation_steps: expected an integer >= 2"),
        ({"use_ema": True, "ema_overwrite_frequency": 0}, "ema_overwrite_frequency: expected an integer >= 1"),
        ({"loss_scale_factor": 0.0}, "loss_scale_factor: expected a positive number"),
    ],
)
def test_bad_arguments(given, text):
    with pytest.raises((TypeError, ValueError), match=text):
        optimizers.Adam(**given)


@pytest.mark.parametrize(("cls", "given"), ALL)
def test_configurations(cls, given):
    one = cls(**given, clipnorm=0.5, use_ema=True, ema_momentum=0.7, name="mine")
    two = cls.from_config(one.get_config())
    assert two.get_config() == one.get_config() and two._native.hyper == one._native.hyper
    three = optimizers.deserialize(optimizers.serialize(one))
    assert type(three) is cls and three.get_config() == one.get_config() and three.name == "mine"
    assert type(optimizers.get(cls.__name__)) is cls and type(optimizers.get(cls)) is cls


@pytest.mark.parametrize("options", [{}, *OPTIONS])
@pytest.mark.parametrize(("cls", "given"), ALL)
def test_training_goes_on_from_a_file(cls, given, options, tmp_path):
    options = {**given, **options}
    model = trained(cls(**options), epochs=1)
    model.save(tmp_path / "m.safetensors")
    other = models.load_model(tmp_path / "m.safetensors")
    assert other.optimizer.get_config() == model.optimizer.get_config()
    for m in (model, other, copied := copy.deepcopy(model)):
        m.fit(X, Y, batch_size=8, epochs=1, shuffle=False, verbose=0)
    same(model.get_weights(), other.get_weights())
    same(model.get_weights(), copied.get_weights())


def test_states_of_an_optimizer():
    optimizer = optimizers.Adam(0.1)
    v = Parameter(np.ones(3, np.float32))
    optimizer.build([v])
    assert [tuple(t.shape) for t in optimizer.variables] == [(), (), (3,), (3,)]
    optimizer.apply([np.ones(3, np.float32)])
    store = {}
    optimizer.save_own_variables(store)
    other, w = optimizers.Adam(0.5), Parameter(v.numpy().copy())
    with pytest.raises(ValueError, match="load_own_variables: expected 2 arrays, got 4; build comes first"):
        other.load_own_variables(store)
    other.build([w])
    other.load_own_variables(store)
    assert other.iterations == 1 and other.learning_rate == np.float32(0.1)
    optimizer.learning_rate = other.learning_rate
    for o in (optimizer, other):
        o.apply([np.full(3, 2, np.float32)])
    same([v.numpy()], [w.numpy()])


def test_copies():
    excluded = Parameter(np.ones(2))
    optimizer = optimizers.SGD(0.1, momentum=0.9, weight_decay=0.5)
    optimizer.exclude_from_weight_decay([excluded])
    both = copy.deepcopy((optimizer, excluded))
    for o, v in ((optimizer, excluded), both):
        o.apply([np.zeros(2)], [v])
        assert v.tolist() == [1, 1]
    assert pickle.loads(pickle.dumps(optimizer)).iterations == 1


class Momentum(optimizers.Optimizer):
    """SGD with momentum, as users write it."""

    def __init__(self, learning_rate=0.01, momentum=0.9, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.momentum = momentum

    def build(self, variables):
        super().build(variables)
        self.velocities = self.add_optimizer_variables(variables, "velocity")

    def update_step(self, gradient, variable, learning_rate):
        v = self.velocities[self._get_variable_index(variable)]
        self.assign(v, v * self.momentum - gradient * learning_rate)
        self.assign_add(variable, v)

    def get_config(self):
        return {**super().get_config(), "momentum": self.momentum}


@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1, "clipnorm": 0.3}, {"clipvalue": 0.05},
                                     {"global_clipnorm": 0.2, "loss_scale_factor": 64.0}])  # fmt: skip
def test_optimizers_in_python(options, tmp_path):
    mine, native = (trained(c(0.05, momentum=0.9, **options)) for c in (Momentum, optimizers.SGD))
    for a, b in zip(mine.get_weights(), native.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)
    mine.save(tmp_path / "m.safetensors")
    with pytest.warns(UserWarning, match="class 'Momentum'"):
        models.load_model(tmp_path / "m.safetensors")
    again = models.load_model(tmp_path / "m.safetensors", custom_objects={"Momentum": Momentum})
    assert type(again.optimizer) is Momentum and again.optimizer.get_config() == mine.optimizer.get_config()


def test_optimizers_in_python_refuse_what_is_native():
    with pytest.raises(NotImplementedError, match="use_ema, gradient_accumulation_steps"):
        steps(Momentum(use_ema=True), [[1, 1, 1]])
    with pytest.raises(NotImplementedError, match="update_step is not defined"):
        steps(optimizers.Optimizer(0.1), [[1, 1, 1]])


S = schedules


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (S.ExponentialDecay(0.1, 10, 0.5), {0: 0.1, 5: 0.1 * 0.5**0.5, 10: 0.05, 25: 0.1 * 0.5**2.5}),
        (S.ExponentialDecay(0.1, 10, 0.5, staircase=True), {9: 0.1, 10: 0.05, 25: 0.025}),
        (S.PiecewiseConstantDecay([2, 5], [1.0, 0.5, 0.1]), {0: 1.0, 2: 1.0, 3: 0.5, 5: 0.5, 6: 0.1}),
        (S.PolynomialDecay(1.0, 4, 0.2), {0: 1.0, 1: 0.8, 2: 0.6, 4: 0.2, 9: 0.2}),
        (S.PolynomialDecay(1.0, 4, 0.0, power=2.0, cycle=True), {0: 1.0, 2: 0.25, 4: 0.0, 6: 0.0625, 8: 0.0}),
        (S.InverseTimeDecay(1.0, 2, 0.5), {0: 1.0, 1: 1 / 1.25, 4: 0.5}),
        (S.InverseTimeDecay(1.0, 2, 0.5, staircase=True), {1: 1.0, 3: 1 / 1.5}),
        (S.CosineDecay(1.0, 10, alpha=0.1), {0: 1.0, 5: 0.55, 10: 0.1, 20: 0.1}),
        (S.CosineDecay(0.0, 10, warmup_target=2.0, warmup_steps=4), {0: 0.0, 1: 0.5, 4: 2.0, 9: 1.0, 14: 0.0, 30: 0.0}),
        (S.CosineDecayRestarts(1.0, 4, t_mul=2.0, m_mul=0.5), {0: 1.0, 2: 0.5, 4: 0.5, 8: 0.25, 12: 0.25}),
        (S.CosineDecayRestarts(1.0, 4, t_mul=1.0, alpha=0.5), {0: 1.0, 2: 0.75, 4: 1.0, 10: 0.75}),
    ],
)
def test_schedules(schedule, expected):
    assert {step: schedule(step) for step in expected} == pytest.approx(expected, abs=1e-12)
    again = S.deserialize(S.serialize(schedule))
    assert type(again) is type(schedule) and again.get_config() == schedule.get_config()
    assert {step: again(np.int64(step)) for step in expected} == pytest.approx(expected, abs=1e-12)


class Halving(S.LearningRateSchedule):
    """A schedule of the user's."""

    def __init__(self, start):
        self.start = start

    def __call__(self, step):
        return self.start * 0.5 ** (step // 5)


@pytest.mark.parametrize("schedule", [S.CosineDecay(0.1, 10), Halving(0.1)])
def test_schedules_are_saved(schedule, tmp_path):
    model = trained(optimizers.SGD(schedule))
    same(model.get_weights(), trained(optimizers.SGD(schedule), run_eagerly=True).get_weights())
    model.save(tmp_path / "m.safetensors")
    again = models.load_model(tmp_path / "m.safetensors", custom_objects={"Halving": Halving})
    assert again.optimizer.iterations == 10
    assert again.optimizer.learning_rate == pytest.approx(schedule(10), abs=1e-12)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: S.ExponentialDecay(0.1, 0, 0.5), "decay_steps: expected a number > 0"),
        (lambda: S.PiecewiseConstantDecay([1], [1.0]), "values: expected 2"),
        (lambda: S.PiecewiseConstantDecay([2, 2], [1.0, 2.0, 3.0]), "boundaries: expected rising steps"),
        (lambda: S.CosineDecay(0.1, 5, warmup_steps=-1), "warmup_steps: expected an integer >= 0"),
        (lambda: S.deserialize({"class_name": "CosinDecay", "config": {}}), "did you mean 'CosineDecay'"),
        (lambda: optimizers.get("adma"), "did you mean 'adam"),
    ],
)
def test_bad_schedules(make, text):
    with pytest.raises(ValueError, match=text):
        make()
