"""The papers' update rules written down as they are printed, one weight at a time, in double precision.
Nothing here shares code with what it checks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Choose = Callable[[np.ndarray], np.ndarray]


def inverse_hessian(moments: np.ndarray, damping: float = 0.01) -> np.ndarray:
    """(X X' + lambda I)^-1."""
    return np.linalg.inv(moments + damping * np.mean(np.diag(moments)) * np.eye(len(moments)))


def eliminate(inverse: np.ndarray, j: int) -> np.ndarray:
    """The inverse Hessian of the weights after `j`: Gaussian elimination of row and column `j`."""
    return inverse - np.outer(inverse[:, j], inverse[j, :]) / inverse[j, j]


def surgeon_errors(weights: np.ndarray, inverse: np.ndarray, first: int, count: int) -> np.ndarray:
    """w^2 / [H_F^-1]_cc of `count` columns from `first`, those before each of them fixed: [N, count]."""
    scores = []
    for c in range(first, first + count):
        scores.append(weights[:, c] ** 2 / inverse[c, c])
        inverse = eliminate(inverse, c)
    return np.stack(scores, axis=1)


def naive_sparsegpt(
    weights: np.ndarray, moments: np.ndarray, span: int, choose: Choose
) -> tuple[np.ndarray, np.ndarray]:
    """Frantar and Alistarh 2023, algorithm 1, without blocks of lazy updates and without the Cholesky factor.

    choose(errors [N, span]) -> what stays, asked at each multiple of `span`. Returns (weights, what stays).
    """
    w, inverse = weights.astype(np.float64), inverse_hessian(moments)
    stay = np.ones(w.shape, bool)
    for j in range(w.shape[1]):
        if j % span == 0:
            count = min(span, w.shape[1] - j)
            stay[:, j : j + count] = choose(surgeon_errors(w, inverse, j, count))
        for row in range(len(w)):
            if not stay[row, j]:
                w[row] -= w[row, j] / inverse[j, j] * inverse[:, j]
                w[row, j] = 0.0
        inverse = eliminate(inverse, j)
        inverse[j, j] = 1.0  # fixed: never asked again
    return w, stay


def loss_without(weights: np.ndarray, moments: np.ndarray, columns: list[int]) -> np.ndarray:
    """The least squared error of the output, per row, when `columns` are 0 and the columns after them are free.

    Those before stay as they are. Solved by least squares, with the damping that the sweep uses.
    """
    hessian = moments + 0.01 * np.mean(np.diag(moments)) * np.eye(len(moments))
    free = list(range(columns[-1] + 1, len(moments)))
    losses = []
    for row in weights.astype(np.float64):
        move = np.zeros(len(row))
        move[columns] = -row[columns]
        if free:
            right = -(hessian[np.ix_(free, columns)] @ move[columns])
            move[free] = np.linalg.solve(hessian[np.ix_(free, free)], right)
        losses.append(move @ hessian @ move)
    return np.array(losses)
