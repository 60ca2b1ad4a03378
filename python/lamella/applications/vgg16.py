"""VGG16 (Simonyan & Zisserman 2014)."""

from __future__ import annotations

from typing import Any

from ._vgg import build, preprocess_input
from .imagenet_utils import decode_predictions

__all__ = ["VGG16", "decode_predictions", "preprocess_input"]


def VGG16(
    include_top: bool = True,
    weights: Any = "imagenet",
    input_tensor: Any = None,
    input_shape: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    name: str = "vgg16",
) -> Any:
    """The network with 16 layers of weights, as a functional model.

    Parameters
    ----------
    include_top : bool
        Whether the three dense layers are part of it.
    weights : {"imagenet"}, str, path or None
        "imagenet": the public weights, from a local folder (`LAMELLA_MODELS`, by default ~/.lamella/models; also the
        caches of Keras and PyTorch) or downloaded and checked. A path: a file of Keras (.h5, .weights.h5, .keras), of
        torchvision (.pth, .safetensors) or of Lamella. None: random.
    input_tensor : KerasTensor, optional
        What to build it on, e.g. the output of `Input`.
    input_shape : tuple, optional
        Shape of one image, (height, width, channels); only without the top may it differ from (224, 224, 3) where
        `weights` is "imagenet". Sides are 32 or more.
    pooling : {"avg", "max"}, optional
        Without the top: pool over the whole image at the end.
    classes : int
    classifier_activation : str or None
        That of the last layer; None gives logits.
    name : str

    Returns
    -------
    Model
        It takes images as `preprocess_input` gives them, whichever file the weights come from.

    Raises
    ------
    FileNotFoundError
        If the public weights are neither found nor downloaded; the message says where to put them.
    """
    return build(16, include_top, weights, input_tensor, input_shape, pooling, classes, classifier_activation, name)
