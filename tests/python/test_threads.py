"""Python threads and forked processes around one model."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import lamella
from lamella import layers, models


def cnn():
    lamella.seed(0)
    return models.Sequential(
        [
            layers.Conv2D(16, 3, activation="relu", input_shape=(16, 16, 3)),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),
            layers.Dense(5, activation="softmax"),
        ]
    )


def images(n=64):
    return np.random.default_rng(0).standard_normal((n, 16, 16, 3)).astype(np.float32)


def test_threads_predict_on_one_model():
    model, x = cnn(), images()
    want = model.predict(x, batch_size=16)
    wrong = []

    def work():
        for _ in range(20):
            if not np.array_equal(model.predict(x, batch_size=16), want):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(timeout=120)
    assert not any(t.is_alive() for t in threads) and not wrong


def test_threads_train_models_of_their_own():
    x, y = images(), np.random.default_rng(1).integers(0, 5, 64)
    results = {}

    def work(name):
        model = models.Sequential([layers.Flatten(input_shape=(16, 16, 3)), layers.Dense(5, activation="softmax")])
        model.layers[1].kernel._data[...] = 0.01
        model.compile("sgd", "sparse_categorical_crossentropy")
        model.fit(x, y, epochs=5, shuffle=False, verbose=0)
        results[name] = model.get_weights()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(timeout=120)
    assert len(results) == 3
    for i in (1, 2):
        for a, b in zip(results[0], results[i], strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process")
def test_a_forked_child_goes_on():
    model, x = cnn(), images()
    want = model.predict(x)  # the parent's pool is running now
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, b"same" if np.array_equal(model.predict(x), want) else b"other")
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        assert pipe.read() == b"same"
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(model.predict(x), want)


@pytest.mark.parametrize("first", ["lamella", "threadpoolctl"])
def test_threadpoolctl_sees_and_limits_the_pool(first):
    pytest.importorskip("threadpoolctl")
    program = f"""
import {first}
import lamella, threadpoolctl
lamella.set_num_threads(3)
[found] = [lib for lib in threadpoolctl.threadpool_info() if lib["user_api"] == "lamella"]
assert found["num_threads"] == 3 and found["version"] == lamella.__version__, found
with threadpoolctl.threadpool_limits(2):
    assert lamella.get_num_threads() == 2
with threadpoolctl.threadpool_limits(1, user_api="lamella"):
    assert lamella.get_num_threads() == 1
assert lamella.get_num_threads() == 3
"""
    subprocess.run([sys.executable, "-c", program], check=True)
