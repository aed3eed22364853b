"""How much gradients conflict, from their Gram matrix G = M Mᵀ, M (T, P) with a task's gradient in each row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
RESOLVED = 1e-6  # inner products are kept to six digits: what is smaller, relative to the largest, is noise


def cosine(gram: Matrix) -> float:
    """Mean over pairs of tasks of cos(g_i, g_j), in [−1, 1]; pairs with a gradient of zero have none. NaN without
    any.

    gram: (T, T).
    """
    norms = np.sqrt(np.diag(gram))
    return _over_pairs(gram, np.outer(norms, norms))


def magnitude_similarity(gram: Matrix) -> float:
    """Mean over pairs of tasks of 2 |g_i| |g_j| / (|g_i|² + |g_j|²), in [0, 1]; 1 where they are equally long.

    gram: (T, T). Source: Yu et al. 2020 (arXiv 2001.06782), definition 2.
    """
    squares = np.diag(gram)
    norms = np.sqrt(squares)
    return _over_pairs(2 * np.outer(norms, norms), squares[:, None] + squares[None, :])


def condition_number(gram: Matrix) -> float:
    """σ_max / σ_min of M: 1 where gradients are orthogonal and equally long, large where some dominate or agree.
    At most 1000, where the digits of the inner products end. NaN where all gradients are zero.

    gram: (T, T). Source: Senushkin et al. 2023 (Aligned-MTL, arXiv 2305.19000).
    """
    values = np.linalg.eigvalsh(gram)
    largest = float(values[-1])
    return float(np.sqrt(largest / max(float(values[0]), RESOLVED * largest))) if largest > 0 else float("nan")


def _over_pairs(above: Matrix, below: Matrix) -> float:
    pairs = np.triu_indices(len(above), 1)
    used = below[pairs] > 0
    return float((above[pairs][used] / below[pairs][used]).mean()) if used.any() else float("nan")
