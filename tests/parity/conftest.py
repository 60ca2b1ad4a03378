"""Parity with PyTorch and Keras. Every file here skips where the one it compares with is not installed.

`torch_side` and `keras_side` hold what the tests share: weights copied both ways, and one check each of outputs,
gradients and ten steps of training. Import names from them; they do the skipping.
"""

import os

import numpy as np
import pytest

import lamella

# Before anything imports keras: PyTorch is needed anyway, and its gradients are easy to reach.
os.environ["KERAS_BACKEND"] = "torch"


@pytest.fixture(autouse=True, scope="module")
def seeds():
    """Files do not depend on which ran before."""
    lamella.seed(0)
    np.random.seed(0)


@pytest.fixture(scope="module")
def keras_in_float64():
    """Keras' own default precision, for the files that use `keras_side`."""
    import keras

    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    yield
    keras.config.set_floatx(before)
