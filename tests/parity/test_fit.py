"""fit against Keras: the same start and data give the same weights and histories; skips without it."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np
import pytest

import lamella
from lamella import keras as ours

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 6)).astype(np.float32)
Y = (X @ RNG.standard_normal((6, 2))).astype(np.float32)
LABELS = (X[:, 0] > 0).astype(np.int64)
WEIGHT = RNG.uniform(0.1, 2, 40).astype(np.float32)
START: list[np.ndarray] = []


@pytest.fixture(scope="module")
def theirs():
    return pytest.importorskip("keras")


def classifier(k):
    return k.models.Sequential(
        [k.layers.Input((6,)), k.layers.Dense(5, activation="tanh"), k.layers.Dense(2, activation="softmax")]
    )


def regression(k):
    return k.models.Sequential([k.layers.Input((6,)), k.layers.Dense(5, activation="tanh"), k.layers.Dense(2)])


def two_outputs(k):
    x = k.layers.Input((6,), name="x")
    h = k.layers.Dense(5, activation="tanh", name="hidden")(x)
    return k.models.Model(x, {"size": k.layers.Dense(2, name="size")(h),
                              "kind": k.layers.Dense(2, activation="softmax", name="kind")(h)})  # fmt: skip


MSE = {"loss": "mse", "metrics": ["mae"]}
SPARSE = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}
BOTH = {"loss": {"size": "mse", "kind": "sparse_categorical_crossentropy"},
        "loss_weights": {"size": 0.5, "kind": 2.0}}  # fmt: skip
TARGETS = {"size": Y, "kind": LABELS}

CASES = {
    "validation": (regression, MSE, lambda k: {"y": Y, "validation_split": 0.25, "validation_freq": 2}),
    "sample weights": (
        regression,
        {**MSE, "weighted_metrics": ["mse"]},
        lambda k: {"y": Y, "sample_weight": WEIGHT, "validation_data": (X[:9], Y[:9], WEIGHT[:9])},
    ),
    "class weights": (classifier, SPARSE, lambda k: {"y": LABELS, "class_weight": {0: 0.3, 1: 1.7}}),
    "two outputs": (two_outputs, BOTH, lambda k: {"y": TARGETS}),
    "weights of two outputs": (
        two_outputs,
        BOTH,
        lambda k: {"y": TARGETS, "sample_weight": {"size": WEIGHT, "kind": 2 - WEIGHT}},
    ),
    "plateau": (
        regression,
        MSE,
        lambda k: {"y": Y, "callbacks": [k.callbacks.ReduceLROnPlateau("loss", 0.5, 1, min_delta=0.5, cooldown=1)]},
    ),
    "scheduler": (
        regression,
        MSE,
        lambda k: {"y": Y, "callbacks": [k.callbacks.LearningRateScheduler(lambda epoch, lr: lr * 0.5)]},
    ),
    "early stop": (
        regression,
        MSE,
        lambda k: {"y": Y, "callbacks": [k.callbacks.EarlyStopping("loss", 0.3, 1, restore_best_weights=True)]},
    ),
    "swapped averages": (
        regression,
        MSE,
        lambda k: {"y": Y, "validation_split": 0.25, "callbacks": [k.callbacks.SwapEMAWeights()]},
    ),
    "by steps": (regression, MSE, lambda k: {"y": Y, "initial_epoch": 1, "callbacks": [k.callbacks.TerminateOnNaN()]}),
}
OPTIMIZERS = {
    "swapped averages": lambda k: k.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.8),
    "two outputs": lambda k: k.optimizers.Adam(k.optimizers.schedules.CosineDecay(0.05, 20, warmup_target=0.1,
                                                                                   warmup_steps=4)),
    "class weights": lambda k: k.optimizers.RMSprop(0.01, gradient_accumulation_steps=2, clipnorm=0.5),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES)
def test_fit(case, theirs):
    make, settings, given = CASES[case]
    found, start = [], None
    for k in (ours, theirs):
        model = make(k)
        dense = [m for m in model.layers if m.get_weights()]
        dense.sort(key=lambda m: m.name)  # heads come in another order
        start = start or [[RNG.standard_normal(w.shape).astype(np.float32) * 0.4 for w in m.get_weights()]
                          for m in dense]  # fmt: skip
        for m, weights in zip(dense, start, strict=True):
            m.set_weights(weights)
        optimizer = OPTIMIZERS.get(case, lambda k: k.optimizers.SGD(0.05, momentum=0.9))(k)
        model.compile(optimizer, **settings)
        history = model.fit(X, **given(k), batch_size=16, epochs=5, shuffle=False, verbose=0).history
        logs = model.evaluate(X, given(k)["y"], batch_size=16, verbose=0, return_dict=True)
        found.append(([w for m in dense for w in m.get_weights()], history, logs))
    (a, ours_history, ours_logs), (b, their_history, their_logs) = found
    # Weighted means of metrics and losses in float32, five epochs of three steps.
    for one, two in zip(a, b, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-4)
    assert set(their_history) == set(ours_history) and set(their_logs) == set(ours_logs)
    for name, values in ours_history.items():
        np.testing.assert_allclose(values, their_history[name], rtol=2e-3, atol=1e-5, err_msg=name)
    for name, value in ours_logs.items():
        np.testing.assert_allclose(value, their_logs[name], rtol=2e-3, atol=1e-5, err_msg=name)


def test_events_of_callbacks(theirs):
    """The same hooks in the same order, with the same names in the logs."""
    seen = []
    for k in (ours, theirs):
        calls = []

        class Watch(k.callbacks.Callback):
            pass

        def hook(name, calls=calls):
            def call(self, *args, logs=None):
                at = [a for a in args if isinstance(a, int)]
                logs = logs or next((a for a in args if isinstance(a, dict)), {})
                calls.append((name, *at, sorted(logs)))

            return call

        for when in ("begin", "end"):
            for what in ("train", "epoch", "train_batch", "test", "test_batch"):
                setattr(Watch, f"on_{what}_{when}", hook(f"{what} {when}"))
        for name in ("on_train_begin", "on_epoch_begin", "on_test_begin"):
            assert hasattr(Watch, name)
        lamella.seed(1)
        model = regression(k)
        model.compile("sgd", "mse", metrics=["mae"])
        model.fit(X, Y, batch_size=16, epochs=2, validation_split=0.25, verbose=0, callbacks=[Watch()])
        seen.append([c[:-1] for c in calls])
        ends = [c for c in calls if c[0] == "epoch end"]
        assert ends[0][-1] == ["loss", "mae", "val_loss", "val_mae"]
    assert seen[0] == seen[1]
