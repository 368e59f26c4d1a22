"""What patch tokens say, as colours: their first three principal components as red, green, blue.

    tokens ─centre, eigenvectors→ scores ─order and sign of the checkpoint before→ RGB

Components have no sign and, where they are alike, no order: without the alignment a map would turn
from red to cyan between two checkpoints that see the same.
"""

from itertools import permutations
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

NUM_COMPONENTS = 3
_TAIL_PERCENT = 2.0
"""Of the tokens on either side that are beyond the range of colours."""


class Components(NamedTuple):
    """Scores of tokens on their first three principal components."""

    scores: Float[np.ndarray, "tokens 3"]
    share: float
    """Of the variance, that these three hold."""


def principal_components(tokens: Float[np.ndarray, "tokens dim"]) -> Components:
    """Return the scores of tokens, over all of them together; NaN or constant ones give zeros."""
    centred = tokens.astype(np.float64) - tokens.mean(axis=0, dtype=np.float64)
    covariance = centred.T @ centred
    total = float(np.trace(covariance))
    if not np.isfinite(total) or total <= 0:
        return Components(np.zeros((len(tokens), NUM_COMPONENTS)), 0.0)
    values, vectors = np.linalg.eigh(covariance)
    # Ascending, and fewer than three where a token has fewer dimensions.
    first = vectors[:, ::-1][:, :NUM_COMPONENTS]
    scores = np.zeros((len(tokens), NUM_COMPONENTS))
    scores[:, : first.shape[1]] = centred @ first
    return Components(scores, float(values[::-1][:NUM_COMPONENTS].sum()) / total)


def aligned(
    scores: Float[np.ndarray, "tokens 3"], reference: Float[np.ndarray, "tokens 3"]
) -> Float[np.ndarray, "tokens 3"]:
    """Return scores in the order and with the signs in which they are most like a reference."""
    alike = _correlations(scores, reference)
    best = max(
        permutations(range(NUM_COMPONENTS)),
        key=lambda order: sum(abs(alike[order[i], i]) for i in range(NUM_COMPONENTS)),
    )
    signs = [-1.0 if alike[best[i], i] < 0 else 1.0 for i in range(NUM_COMPONENTS)]
    turned: Float[np.ndarray, "tokens 3"] = scores[:, list(best)] * np.array(signs)
    return turned


def signed_by(
    scores: Float[np.ndarray, "tokens 3"], foreground: Float[np.ndarray, " tokens"]
) -> Float[np.ndarray, "tokens 3"]:
    """Return scores with the signs in which each rises with what is foreground."""
    alike = _correlations(scores, foreground[:, None])[:, 0]
    turned: Float[np.ndarray, "tokens 3"] = scores * np.where(alike < 0, -1.0, 1.0)
    return turned


def colours(scores: Float[np.ndarray, "tokens 3"]) -> UInt8[np.ndarray, "tokens 3"]:
    """Return a colour for each token, each component stretched over its range on its own."""
    low, high = np.percentile(scores, [_TAIL_PERCENT, 100 - _TAIL_PERCENT], axis=0)
    stretched = (scores - low) / np.maximum(high - low, 1e-12)
    # What does not vary is grey, and not black.
    stretched = np.where(high - low > 1e-12, stretched, 0.5)
    rgb: UInt8[np.ndarray, "tokens 3"] = np.rint(255 * stretched.clip(0, 1)).astype(np.uint8)
    return rgb


def _correlations(
    first: Float[np.ndarray, "tokens a"], second: Float[np.ndarray, "tokens b"]
) -> Float[np.ndarray, "a b"]:
    a, b = (part - part.mean(axis=0) for part in (first, second))
    norms = np.linalg.norm(a, axis=0)[:, None] * np.linalg.norm(b, axis=0)[None, :]
    correlations: Float[np.ndarray, "a b"] = a.T @ b / np.maximum(norms, 1e-12)
    return correlations
