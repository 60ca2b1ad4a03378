"""Layers in Keras' idiom."""

from ._nested import deserialize
from ._nested import serialized as serialize
from ._symbolic import KerasTensor
from .activation import *  # noqa: F403
from .activation import __all__ as _activation
from .attention import *  # noqa: F403
from .attention import __all__ as _attention
from .audio import MelSpectrogram
from .augmentation import *  # noqa: F403
from .augmentation import __all__ as _augmentation
from .base import Layer
from .categories import *  # noqa: F403
from .categories import __all__ as _categories
from .convolution import *  # noqa: F403
from .convolution import __all__ as _convolution
from .core import *  # noqa: F403
from .core import __all__ as _core
from .input import Input, InputLayer
from .merge import *  # noqa: F403
from .merge import __all__ as _merge
from .normalization import *  # noqa: F403
from .normalization import __all__ as _normalization
from .operators import *  # noqa: F403
from .operators import __all__ as _operators
from .pooling import *  # noqa: F403
from .pooling import __all__ as _pooling
from .preprocessing import *  # noqa: F403
from .preprocessing import __all__ as _preprocessing
from .recurrent import *  # noqa: F403
from .recurrent import __all__ as _recurrent
from .regularization import *  # noqa: F403
from .regularization import __all__ as _regularization
from .reshaping import *  # noqa: F403
from .reshaping import __all__ as _reshaping
from .rnn_cells import *  # noqa: F403
from .rnn_cells import __all__ as _rnn_cells
from .text import *  # noqa: F403
from .text import __all__ as _text
from .wrappers import *  # noqa: F403
from .wrappers import __all__ as _wrappers

__all__ = [
    "Input",
    "InputLayer",
    "KerasTensor",
    "Layer",
    "MelSpectrogram",
    *_activation,
    *_attention,
    *_augmentation,
    *_categories,
    *_convolution,
    *_core,
    *_merge,
    *_normalization,
    *_operators,
    *_pooling,
    *_preprocessing,
    *_recurrent,
    *_regularization,
    *_reshaping,
    *_rnn_cells,
    *_text,
    *_wrappers,
    "deserialize",
    "serialize",
]
