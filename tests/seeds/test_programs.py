"""Every program of the articles that the package carries so far runs as printed."""

import numpy as np
import pytest

import lamella
from lamella.utils import to_categorical
from lamella.utils.data import DataLoader, TensorDataset

from . import programs
from .conftest import blobs, embed, reviews


def run(source, fill=None, **given):
    """Execute a program in a namespace of its own; `fill` says what stands for the dots in ``name = [...]``."""
    for name, value in (fill or {}).items():
        assert source.count(f"{name} = [...]\n") == 1
        source = source.replace(f"{name} = [...]\n", f"{name} = {value}\n")
    lamella.seed(0)
    namespace = {"__name__": "program", **given}
    exec(compile(source, "program", "exec"), namespace)
    return namespace


@pytest.mark.parametrize("source", [programs.IRIS_ADD, programs.IRIS_LIST])
def test_iris(source):
    done = run(source)
    # As printed it makes ten updates; the text's 95 % take some more.
    model = done["model"]
    assert len(model.history.epoch) == 10
    model.fit(done["X_train"], done["y_train"], epochs=200, batch_size=16, verbose=0)
    assert model.evaluate(done["X_test"], done["y_test"], verbose=0)[1] >= 0.95


def test_mnist_cnn(mnist_files):
    done = run(programs.MNIST)
    assert done["model"].history.history["val_accuracy"][-1] > 0.9


def test_cifar_cnn(cifar_files):
    done = run(programs.CIFAR)
    history = done["model"].history.history
    assert len(history["loss"]) == 10 and np.isfinite(history["loss"]).all()
    assert history["loss"][-1] < history["loss"][0]


def test_dropout_net():
    model = run(programs.DROPOUT)["model"]
    x, y = blobs(600, (28, 28), 10, 0)
    x = x.reshape(600, 784) / np.float32(255)
    history = model.fit(x, to_categorical(y, 10), epochs=15, verbose=0).history
    assert history["accuracy"][-1] > 0.5 > history["accuracy"][0]


def test_pytorch_net(capsys):
    x, y = blobs(640, (28, 28), 10, 0)
    images = lamella.from_numpy(x.astype(np.float32) / 255)
    loader = DataLoader(TensorDataset(images, lamella.from_numpy(y.astype(np.int64))), batch_size=64, shuffle=True)
    run(programs.TORCH_NET, train_loader=loader)
    lines = capsys.readouterr().out.split("\n")
    losses = [float(line.split("=")[1]) for line in lines if line.startswith("Epoch")]
    assert len(losses) == 10 and losses[-1] < losses[0]


def test_sentiment():
    texts, labels = reviews(1200, 0)
    fill = {"texts": "given_texts", "labels": "given_labels", "embeddings": "embed(texts)"}
    model = run(programs.SENTIMENT, fill, given_texts=texts, given_labels=labels, embed=embed)["model"]
    # The text's "around 80 % on the test set".
    unseen, truth = reviews(400, 1)
    with lamella.no_grad():
        found = model(embed(unseen)).argmax(1).numpy()
    assert np.mean(found == truth) >= 0.8


def test_gradient_clipping():
    rng = np.random.default_rng(0)
    x = 100 * rng.standard_normal((256, 128)).astype(np.float32)  # large inputs, for gradients worth clipping
    samples = [{"input": row, "label": int(row[:64].sum() > 0)} for row in x]
    namespace = run(programs.CLIPPING, data_loader=DataLoader(samples, batch_size=32, shuffle=True))
    # What the last step has left is what the optimizer was given.
    norm = np.sqrt(sum(float((p.grad.numpy().astype(np.float64) ** 2).sum()) for p in namespace["model"].parameters()))
    assert 0 < norm <= 1 + 1e-5
    with lamella.no_grad():
        found = namespace["model"](lamella.from_numpy(x)).argmax(1).numpy()
    assert np.mean(found == [s["label"] for s in samples]) > 0.9


def test_vgg16_transfer_learning(vgg_files):
    images, y = blobs(3, (224, 224, 3), 10, 0)
    x, y = lamella.applications.vgg16.preprocess_input(images), to_categorical(y, 10)
    model = run(programs.VGG16, x_train=x[:2], y_train=y[:2], x_test=x[2:], y_test=y[2:])["model"]
    history = model.history.history
    assert len(history["loss"]) == 10 and history["loss"][-1] < history["loss"][0]
    # The base is as it was loaded; its layers are frozen, the new ones are not.
    last = model.get_layer("block5_conv3").get_weights()[0]
    np.testing.assert_array_equal(last, vgg_files["features.28.weight"].transpose(2, 3, 1, 0))
    assert [m.name for m in model.layers if m.trainable and m.weights] == ["dense", "dense_1"]
