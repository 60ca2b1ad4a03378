"""Embeddings on a device: what a bad index does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lamella import kernels as K


@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_bad_indices_are_reported(index: Any) -> None:
    table = np.arange(20, dtype=np.float32).reshape(10, 2)
    for bad in (10, -1):
        indices = np.zeros(3000, index)
        indices[2500] = bad
        with pytest.raises(ValueError, match=rf"embedding: indices: .*\[0, 10\).* {bad} at position 2500"):
            K.embedding(indices, table)
    with pytest.raises(ValueError, match=r"gather: indices: .*\[0, 10\).* 10 at position 1"):
        K.gather(table, np.array([9, 10], index))
    np.testing.assert_array_equal(K.embedding(np.array([9, 0], index), table), table[[9, 0]])
