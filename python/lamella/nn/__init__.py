"""Layers and losses in PyTorch's idiom."""

from . import functional, init, utils
from .activation import *  # noqa: F403
from .activation import __all__ as _activation
from .attention import MultiheadAttention
from .container import *  # noqa: F403
from .container import __all__ as _container
from .conv import *  # noqa: F403
from .conv import __all__ as _conv
from .embedding import Embedding, EmbeddingBag
from .image import *  # noqa: F403
from .image import __all__ as _image
from .lazy import *  # noqa: F403
from .lazy import __all__ as _lazy
from .linear import Bilinear, Flatten, Identity, Linear, Unflatten
from .loss import *  # noqa: F403
from .loss import __all__ as _loss
from .module import Module
from .normalization import *  # noqa: F403
from .normalization import __all__ as _normalization
from .parameter import Buffer, Parameter
from .pooling import *  # noqa: F403
from .pooling import __all__ as _pooling
from .rnn import *  # noqa: F403
from .rnn import __all__ as _rnn
from .transformer import *  # noqa: F403
from .transformer import __all__ as _transformer

__all__ = [
    "Bilinear",
    "Buffer",
    "Embedding",
    "EmbeddingBag",
    "Flatten",
    "Identity",
    "Linear",
    "Module",
    "MultiheadAttention",
    "Parameter",
    "Unflatten",
    "functional",
    "init",
    "utils",
    *_activation,
    *_container,
    *_conv,
    *_image,
    *_lazy,
    *_loss,
    *_normalization,
    *_pooling,
    *_rnn,
    *_transformer,
]
