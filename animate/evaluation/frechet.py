"""Fréchet distance of two sets of features: FID, FID-VID and FVD."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


class Statistics:
    """Mean and covariance of features that come in batches; holds no feature."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Matrix = np.zeros(0)
        self._squares: Matrix = np.zeros((0, 0))
        """Sum of outer products of the deviations from the mean."""

    def add(self, features: NDArray[np.floating]) -> None:
        """Take features (N,D); all batches have the same D."""
        batch = Statistics()
        values = features.astype(np.float64)
        batch.count, batch.mean = len(values), values.mean(0)
        batch._squares = (values - batch.mean).T @ (values - batch.mean)
        self.merge(batch)

    def merge(self, other: Statistics) -> None:
        """Take all that another one took (Chan et al. 1983)."""
        if not other.count:
            return
        if not self.count:
            self.count, self.mean = other.count, other.mean.copy()
            self._squares = other._squares.copy()
            return
        total = self.count + other.count
        away = other.mean - self.mean
        self._squares += other._squares + np.outer(away, away) * self.count * other.count / total
        self.mean = self.mean + away * other.count / total
        self.count = total

    @property
    def covariance(self) -> Matrix:
        """(D,D) sample covariance. Raises ValueError for fewer than two features."""
        if self.count < 2:
            raise ValueError("a covariance needs two features or more")
        return self._squares / (self.count - 1)


def frechet_distance(first: Statistics, second: Statistics) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), at least 0 (Heusel et al. 2017).

    Raises ValueError where one has fewer than two features.
    """
    one, two = first.covariance, second.covariance
    root = _root(one)
    # The eigenvalues of S1 S2 are those of the symmetric S1^(1/2) S2 S1^(1/2).
    shared = np.sqrt(np.linalg.eigvalsh(root @ two @ root).clip(0)).sum()
    away = first.mean - second.mean
    return max(0.0, float(away @ away + np.trace(one) + np.trace(two) - 2 * shared))


def _root(matrix: Matrix) -> Matrix:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.sqrt(values.clip(0))) @ vectors.T)
