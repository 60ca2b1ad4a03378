"""The networks of Simonyan & Zisserman (2014), and their weights from Keras' and torchvision's files."""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import layers
from .._errors import short
from ..autograd import as_array
from ..layers._structures import flatten
from ..models import Model
from . import _pretrained, imagenet_utils
from .imagenet_utils import MEAN_BGR, TORCH_MEAN, TORCH_STD

# Convolutions in each of the five blocks.
_BLOCKS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_FILTERS = (64, 128, 256, 512, 512)
_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications"
_MD5 = {
    (16, True): "64373286793e3c8b2b4e3219cbf3544b",
    (16, False): "6d6bbae143d832006294945121d1f1fc",
    (19, True): "cbe5617147190e668d6c5d5026f83318",
    (19, False): "253f8cb515780f3b799900260a226db6",
}
_TORCHVISION = {16: "397923af", 19: "dcbb9e9d"}


def build(
    depth: int,
    include_top: bool,
    weights: Any,
    input_tensor: Any,
    input_shape: Any,
    pooling: str | None,
    classes: int,
    classifier_activation: Any,
    name: str,
) -> Model:
    """The network with `depth` layers of weights."""
    op = f"VGG{depth}"
    if not (weights is None or weights == "imagenet" or os.path.isfile(weights)):
        raise ValueError(f"{op}: weights: expected None, 'imagenet' or a file of weights, got {short(weights)}")
    if pooling not in (None, "avg", "max"):
        raise ValueError(f"{op}: pooling: expected None, 'avg' or 'max', got {short(pooling)}")
    if isinstance(classes, bool) or not isinstance(classes, (int, np.integer)) or classes < 1:
        raise ValueError(f"{op}: classes: expected a positive integer, got {short(classes)}")
    if weights == "imagenet" and include_top and classes != 1000:
        raise ValueError(f"{op}: classes: expected 1000 with the top of weights='imagenet', got {classes}")
    if include_top and weights is not None and classifier_activation not in (None, "softmax"):
        raise ValueError(
            f"{op}: classifier_activation: expected None or 'softmax' with weights, got {short(classifier_activation)}"
        )
    shape = _input_shape(op, input_shape, weights == "imagenet", include_top)
    if input_tensor is None:
        start = layers.Input(shape)
    elif isinstance(input_tensor, layers.KerasTensor):
        start = input_tensor
    else:
        raise TypeError(f"{op}: input_tensor: expected a KerasTensor, got {type(input_tensor).__name__}")
    x = start
    for b, (count, filters) in enumerate(zip(_BLOCKS[depth], _FILTERS, strict=True), 1):
        for c in range(1, count + 1):
            x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"block{b}_conv{c}")(x)
        x = layers.MaxPooling2D(2, strides=2, name=f"block{b}_pool")(x)
    if include_top:
        x = layers.Flatten(name="flatten")(x)
        x = layers.Dense(4096, activation="relu", name="fc1")(x)
        x = layers.Dense(4096, activation="relu", name="fc2")(x)
        x = layers.Dense(classes, activation=classifier_activation, name="predictions")(x)
    elif pooling == "avg":
        x = layers.GlobalAveragePooling2D()(x)
    elif pooling == "max":
        x = layers.GlobalMaxPooling2D()(x)
    model = Model(_sources(start), x, name=name)
    if weights == "imagenet":
        load(model, _public_file(depth, include_top), depth, include_top)
    elif weights is not None:
        load(model, Path(weights), depth, include_top)
    return model


def _sources(tensor: Any) -> Any:
    """The inputs that a KerasTensor depends on."""
    found: dict[int, Any] = {}
    stack, seen = [tensor], set()
    while stack:
        t = stack.pop()
        if id(t) in seen:
            continue
        seen.add(id(t))
        if t.call is None or isinstance(t.layer, layers.InputLayer):
            found[id(t)] = t
        else:
            stack += [a for a in flatten([list(t.call.args), t.call.kwargs])
                      if isinstance(a, layers.KerasTensor)]  # fmt: skip
    inputs = list(found.values())
    return inputs[0] if len(inputs) == 1 else inputs


def _input_shape(op: str, given: Any, pretrained: bool, include_top: bool) -> tuple[int | None, ...]:
    if given is None:
        return (224, 224, 3) if include_top else (None, None, 3)
    shape = tuple(given) if isinstance(given, (tuple, list)) else ()
    if len(shape) != 3 or not all(d is None or (isinstance(d, (int, np.integer)) and d > 0) for d in shape):
        raise ValueError(f"{op}: input_shape: expected (height, width, channels), got {short(given)}")
    if pretrained and include_top and shape != (224, 224, 3):
        raise ValueError(f"{op}: input_shape: expected (224, 224, 3) with the top of weights='imagenet', got {shape}")
    if pretrained and shape[2] != 3:
        raise ValueError(f"{op}: input_shape: expected 3 channels with weights='imagenet', got {shape}")
    if any(d is not None and d < 32 for d in shape[:2]):
        raise ValueError(f"{op}: input_shape: expected sides of 32 or more, got {shape}")
    if shape[2] is None or (include_top and None in shape):
        raise ValueError(f"{op}: input_shape: expected known {'sizes' if include_top else 'channels'}, got {shape}")
    if shape[2] not in (1, 3):
        warnings.warn(f"{op}: input_shape: expected 1 or 3 channels for images, got {shape[2]}", stacklevel=4)
    return shape


def _public_file(depth: int, include_top: bool) -> Path:
    def keras(top: bool) -> _pretrained.File:
        name = f"vgg{depth}_weights_tf_dim_ordering_tf_kernels{'' if top else '_notop'}.h5"
        return _pretrained.File(name, f"{_KERAS}/vgg{depth}/{name}", "md5", _MD5[depth, top])

    name = f"vgg{depth}-{_TORCHVISION[depth]}.pth"
    torchvision = _pretrained.File(name, f"https://download.pytorch.org/models/{name}", "sha256", _TORCHVISION[depth])
    files = [keras(include_top), *([] if include_top else [keras(True)])]
    also = [f"vgg{depth}.safetensors", f"vgg{depth}.tv_in1k.safetensors"]
    # Only with h5py can Keras' files be read.
    files = [*files, torchvision] if importlib.util.find_spec("h5py") else [torchvision, *files]
    return _pretrained.fetch(f"VGG{depth}: weights='imagenet'", files, also)


def load(model: Model, path: Path, depth: int, include_top: bool) -> None:
    """Read a file of weights into the network; without the top, those of the dense layers are left out."""
    from .. import _saving
    from .._weights import keras_files

    if keras_files.is_keras_file(path):
        top_too = not include_top and "notop" not in path.name
        model.load_weights(path, by_name=top_too)
        return
    state = _saving.load_nested(path)
    if isinstance(state, Mapping) and "features.0.weight" in state:
        _load_torchvision(model, state, path, depth, include_top)
    else:
        model.load_weights(path, by_name=not include_top)


def _load_torchvision(model: Model, state: Mapping[str, Any], path: Path, depth: int, include_top: bool) -> None:
    def array(*names: str) -> np.ndarray:
        for name in names:
            if name in state:
                return as_array(state[name]).astype(np.float32, copy=False)
        raise ValueError(f"VGG{depth}: {path}: expected an array {' or '.join(names)}; the file has none")

    def put(name: str, kernel: np.ndarray, bias: np.ndarray) -> None:
        layer = model.get_layer(name)
        have = [a.shape for a in layer.weights]
        if have != [kernel.shape, bias.shape]:
            raise ValueError(f"VGG{depth}: {path}: {name}: expected shapes {have}, got {[kernel.shape, bias.shape]}")
        layer.set_weights([kernel, bias])

    place = 0
    for b, count in enumerate(_BLOCKS[depth], 1):
        for c in range(1, count + 1):
            kernel, bias = array(f"features.{place}.weight"), array(f"features.{place}.bias")
            if kernel.ndim != 4:
                raise ValueError(f"VGG{depth}: {path}: features.{place}: expected a convolution, as in a network "
                                 "without batch normalisation")  # fmt: skip
            kernel = kernel.transpose(2, 3, 1, 0)
            if place == 0:
                kernel, bias = _for_pixels(kernel, bias)
            put(f"block{b}_conv{c}", kernel, bias)
            place += 2
        place += 1
    if not include_top:
        return
    fc1 = array("classifier.0.weight", "pre_logits.fc1.weight")
    if fc1.size != 4096 * 512 * 49:
        raise ValueError(f"VGG{depth}: {path}: fc1: expected 4096 rows of 25088, got shape {fc1.shape}")
    fc1 = fc1.reshape(4096, 512, 7, 7).transpose(2, 3, 1, 0).reshape(-1, 4096)
    put("fc1", fc1, array("classifier.0.bias", "pre_logits.fc1.bias"))
    fc2 = array("classifier.3.weight", "pre_logits.fc2.weight")
    put("fc2", fc2.reshape(fc2.shape[:2]).T, array("classifier.3.bias", "pre_logits.fc2.bias"))
    put("predictions", array("classifier.6.weight", "head.fc.weight").T, array("classifier.6.bias", "head.fc.bias"))


def _for_pixels(kernel: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """torchvision's first layer, which wants RGB from 0 to 1 by mean and deviation, for pixels as Keras prepares them.

    The two means differ by a hundredth of the deviation: so much does the padding at the border differ from
    torchvision's.
    """
    if kernel.shape[2] != 3:
        return kernel, bias
    std = np.asarray(TORCH_STD, np.float64)
    offset = (np.asarray(MEAN_BGR[::-1]) / 255 - np.asarray(TORCH_MEAN)) / std
    wide = kernel.astype(np.float64)
    shifted = bias + np.einsum("hwco,c->o", wide, offset)
    scaled = (wide / (255 * std)[:, np.newaxis])[:, :, ::-1]
    return scaled.astype(np.float32), shifted.astype(np.float32)


def preprocess_input(x: Any, data_format: str | None = None) -> Any:
    """Images as VGG wants them: blue first, and the mean colour of ImageNet subtracted.

    Parameters
    ----------
    x : array or Tensor
        RGB images with values from 0 to 255, (h, w, 3) or (n, h, w, 3).
    data_format : {"channels_last", "channels_first"}, optional
        Default: channels_last.
    """
    return imagenet_utils.preprocess_input(x, data_format, mode="caffe")
