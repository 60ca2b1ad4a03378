"""The Keras-style Embedding layer."""

import numpy as np
import pytest

from lamella import layers, models


def test_input_length_declares_the_input():
    x = np.arange(12).reshape(3, 4) % 5
    model = models.Sequential([layers.Embedding(5, 3, input_length=4), layers.Flatten(), layers.Dense(2)])
    assert model.built and model.output_shape == (None, 2)
    assert model.predict(x, verbose=0).shape == (3, 2)
    with pytest.raises(ValueError, match="expected shape"):
        model.predict(x[:, :3], verbose=0)
    again = models.Sequential.from_config(model.get_config())
    assert again.built and again.layers[0].get_config() == model.layers[0].get_config()
    assert layers.Embedding(5, 3, input_length=4, input_shape=(4,)).get_config()["input_shape"] == [4]


@pytest.mark.parametrize("length", [0, -1, 1.5, "4", True, (4,)])
def test_input_length_is_checked(length):
    with pytest.raises(ValueError, match="Embedding: input_length: expected a positive integer, got"):
        layers.Embedding(5, 3, input_length=length)
    with pytest.raises(ValueError, match=r"Embedding: input_length: expected \(6,\), got 4"):
        layers.Embedding(5, 3, input_length=4, input_shape=(6,))
