"""Bradley-Terry model: the probability that `i` is preferred to `j` is `1 / (1 + exp(s_j - s_i))`, with scores `s`.

Bradley and Terry, "Rank analysis of incomplete block designs", Biometrika 1952.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

MAX_ITERATIONS = 100
# A step of Newton's method changes no score by more than this.
MAX_STEP = 1.0
# Half the width of a confidence interval of 95 %, in standard errors.
CONFIDENCE = 1.96


class Ranking(NamedTuple):
    """Scores whose sum is zero, and half the widths of their 95 % confidence intervals."""

    scores: Float[np.ndarray, " n"]
    half_widths: Float[np.ndarray, " n"]


def fit(wins: Float[np.ndarray, "n n"], prior: float = 0.1) -> Ranking:
    """Fit scores by Newton's method to `sum_ij wins_ij log p_ij - prior/2 sum_i s_i^2`.

    The intervals are those of the inverse of the Hessian. They assume independent answers: several by one person are
    not.

    Args:
        wins: `wins[i, j]` counts how often `i` was preferred to `j`.
        prior: precision of a normal prior with mean zero, positive or 0. It bounds the scores of items that always
            won or lost; 0 is the maximum likelihood, which is infinite for them.

    Returns:
        The ranking.

    Example:
        >>> ranking = fit(np.array([[0.0, 30.0], [10.0, 0.0]]), prior=0.0)
        >>> [round(float(score), 3) for score in ranking.scores]  # Their difference is log 3.
        [0.549, -0.549]
    """
    scores = np.zeros(len(wins))
    for _ in range(MAX_ITERATIONS):
        gradient, hessian = _derivatives(scores, wins, prior)
        step = np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        scores = scores + np.clip(step, -MAX_STEP, MAX_STEP)
        scores -= scores.mean()
        if np.max(np.abs(step)) < 1e-10:
            break
    _, hessian = _derivatives(scores, wins, prior)
    variances = np.diag(np.linalg.pinv(hessian)) - 1 / len(wins)
    return Ranking(scores, CONFIDENCE * np.sqrt(np.maximum(variances, 0)))


def _derivatives(
    scores: Float[np.ndarray, " n"], wins: Float[np.ndarray, "n n"], prior: float
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n n"]]:
    """Return the gradient and the negative Hessian.

    Answers leave one direction open, all scores together; there the matrix is 1.
    """
    count, comparisons = len(wins), wins + wins.T
    probabilities = 1 / (1 + np.exp(scores[None, :] - scores[:, None]))
    gradient = np.sum(wins - comparisons * probabilities, axis=1) - prior * scores
    information = comparisons * probabilities * probabilities.T
    together = np.full((count, count), 1 / count)
    hessian = np.diag(information.sum(axis=1)) - information + prior * (np.eye(count) - together) + together
    return gradient, hessian
