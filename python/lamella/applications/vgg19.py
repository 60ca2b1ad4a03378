"""VGG19 (Simonyan & Zisserman 2014)."""

from __future__ import annotations

from typing import Any

from ._vgg import build, preprocess_input
from .imagenet_utils import decode_predictions

__all__ = ["VGG19", "decode_predictions", "preprocess_input"]


def VGG19(
    include_top: bool = True,
    weights: Any = "imagenet",
    input_tensor: Any = None,
    input_shape: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    name: str = "vgg19",
) -> Any:
    """The network with 19 layers of weights, as a functional model.

    Its arguments are those of `VGG16`.
    """
    return build(19, include_top, weights, input_tensor, input_shape, pooling, classes, classifier_activation, name)
