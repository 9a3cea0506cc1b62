import numpy as np
import pytest

from tfrs_himirec.tree import circle_tree


@pytest.fixture
def tree() -> circle_tree.CircleTree:
    """Leaf 1 [0, 4); inner 2 with leaves 3 [4, 6) and 4 [6, 7); leaf 5 [7, 8); k = 3.

    Modules with a larger tree override it.
    """
    return circle_tree.CircleTree(
        k=3,
        parent=np.array([-1, 0, 0, 2, 2, 0], np.int32),
        number=np.array([-1, 0, 1, 0, 1, 2], np.int32),
        start=np.array([0, 0, 4, 4, 6, 7]),
        end=np.array([8, 4, 7, 6, 7, 8]),
        centroid=np.arange(12, dtype=np.float32).reshape(6, 2),
    )
