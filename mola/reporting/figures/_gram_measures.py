"""How much gradients conflict, from their Gram matrices G = M Mᵀ, M (T, P) with a task's gradient in each row.

All functions: gram (…, T, T) → (…).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# inner products are kept to six digits: what is smaller, relative to the largest, is noise
RESOLUTION = 1e-6


def cosine(gram: Floats) -> Floats:
    """Mean over pairs of tasks of cos(g_i, g_j), in [−1, 1]; pairs with a gradient of zero have none. NaN without
    any.
    """
    norms = _norms(gram)
    return _over_pairs(gram, norms[..., :, None] * norms[..., None, :])


def magnitude_similarity(gram: Floats) -> Floats:
    """Mean over pairs of tasks of 2 |g_i| |g_j| / (|g_i|² + |g_j|²), in [0, 1]; 1 where they are equally long.

    Source: Yu et al. 2020 (arXiv 2001.06782), definition 2.
    """
    norms = _norms(gram)
    a, b = norms[..., :, None], norms[..., None, :]
    return _over_pairs(2 * a * b, a**2 + b**2)


def condition_number(gram: Floats) -> Floats:
    """σ_max / σ_min of M: 1 where gradients are orthogonal and equally long, large where some dominate or agree.
    At most 1000, where the digits of the inner products end. NaN where all gradients are zero.

    Source: Senushkin et al. 2023 (Aligned-MTL, arXiv 2305.19000).
    """
    values = np.linalg.eigvalsh(gram)
    largest = np.where(values[..., -1] > 0, values[..., -1], np.nan)
    ratio: Floats = np.sqrt(largest / np.maximum(values[..., 0], RESOLUTION * largest))
    return ratio


def _norms(gram: Floats) -> Floats:
    return np.sqrt(np.diagonal(gram, axis1=-2, axis2=-1))


def _over_pairs(numerators: Floats, denominators: Floats) -> Floats:
    """The mean of the ratios (…, T, T) over pairs of tasks whose denominator is not 0."""
    pairs = (..., *np.triu_indices(numerators.shape[-1], 1))
    above, below = numerators[pairs], denominators[pairs]
    valid = below > 0
    total = np.where(valid, above / np.where(valid, below, 1), 0).sum(-1)
    mean: Floats = total / np.where(valid.any(-1), valid.sum(-1), np.nan)
    return mean
