"""One thin function per op, in the kernels' own layout: images (n, h, w, c), sequences (n, t, c).

`lamella.nn.functional` has PyTorch's conventions on top of these.
"""

from ._explain import explain_all
from ._functional import attention as _attention
from ._functional import elementwise, indexing, joining, layers, losses, reduce, shape
from ._functional.attention import *  # noqa: F403
from ._functional.elementwise import *  # noqa: F403
from ._functional.indexing import *  # noqa: F403
from ._functional.joining import *  # noqa: F403
from ._functional.layers import *  # noqa: F403
from ._functional.losses import *  # noqa: F403
from ._functional.reduce import *  # noqa: F403
from ._functional.shape import *  # noqa: F403

__all__ = [
    *_attention.__all__,
    *elementwise.__all__,
    *indexing.__all__,
    *joining.__all__,
    *layers.__all__,
    *losses.__all__,
    *reduce.__all__,
    *shape.__all__,
]

explain_all(globals(), __all__)
