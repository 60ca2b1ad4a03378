"""Training on iterables of batches: generators that end, epochs of so many steps."""

import numpy as np
import pytest

import lamella
from lamella import callbacks, layers, models


@pytest.fixture(autouse=True)
def _seed():
    lamella.seed(1)


def data():
    rng = np.random.default_rng(0)
    return rng.standard_normal((100, 5)).astype(np.float32), rng.integers(0, 3, 100)


def compiled():
    model = models.Sequential([layers.Dense(3, activation="softmax", input_shape=(5,))])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def batches_of(x, y, size=20):
    return [(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]


def test_a_generator_that_ends_in_a_later_epoch_stops_training_with_a_warning():
    x, y = data()
    ended = []
    watch = callbacks.LambdaCallback(on_train_end=lambda logs: ended.append(logs))
    for steps, epochs in ((None, 1), (3, 2)):  # the second epoch gets two batches of three
        model = compiled()
        with pytest.warns(UserWarning, match="fit: x: the data ran out after . batches of an epoch.*training stops"):
            history = model.fit(iter(batches_of(x, y)), epochs=4, steps_per_epoch=steps, verbose=0, callbacks=[watch])
        assert model.history is history
        assert history.epoch == list(range(epochs))
        assert ended[-1]["loss"] == history.history["loss"][-1]
    model = compiled()
    with pytest.warns(UserWarning, match="ran out after 0 batches of an epoch, expected 5 batches an epoch"):
        history = model.fit(iter(batches_of(x, y)), epochs=4, steps_per_epoch=5, verbose=0, validation_data=(x, y))
    assert history.epoch == [0]
    assert len(history.history["val_loss"]) == 1


def test_an_iterable_shorter_than_an_epoch_warns_and_starts_again(recwarn):
    x, y = data()
    model = compiled()
    history = model.fit(Loader(batches_of(x, y)), epochs=2, verbose=0)
    assert history.epoch == [0, 1]
    assert not recwarn.list
    with pytest.warns(UserWarning, match="fit: x: the data ran out after 5 batches of an epoch, expected 7"):
        history = model.fit(Loader(batches_of(x, y)), epochs=2, steps_per_epoch=7, verbose=0)
    assert history.epoch == [0, 1]


class Loader:
    """An iterable that can be started again; counts the batches it gave."""

    def __init__(self, batches):
        self.batches, self.given = batches, []

    def __iter__(self):
        for i, b in enumerate(self.batches):
            self.given.append(i)
            yield b


def test_with_steps_per_epoch_an_iterable_goes_on_where_it_stopped():
    x, y = data()
    loader = Loader(batches_of(x, y))
    compiled().fit(loader, epochs=2, steps_per_epoch=2, verbose=0)
    assert loader.given == [0, 1, 2, 3]


def test_an_iterable_without_batches_is_refused():
    for empty in (Loader([]), iter([])):
        with pytest.raises(ValueError, match="the iterable gave no batch"):
            compiled().fit(empty, epochs=2, verbose=0)


def test_a_validation_generator_that_has_ended_warns():
    x, y = data()
    with pytest.warns(UserWarning, match="fit: validation_data: the iterable gave no batch"):
        history = compiled().fit(x, y, epochs=2, verbose=0, validation_data=iter(batches_of(x, y)))
    assert history.epoch == [0, 1]
    assert len(history.history["val_loss"]) == 1
