"""Linear probes in closed form: ridge regression, and logistic regression of "which is later" by Newton's method.

Both are solved in the eigenbasis of the Gram matrix, so that trying another penalty costs next to nothing.
Shapes: n samples, D features, K targets, P penalties.
"""

from __future__ import annotations

from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
PENALTIES = tuple(10.0**k for k in (-4, -3, -2, -1, 0, 1))
"""Tried by every probe, in units of the mean eigenvalue of the features' covariance."""
LEAST = 0.1


class Scale(NamedTuple):
    """What makes features of mean 0 and deviation 1, as found on the training episodes.

    A feature that hardly moved there is not blown up: no deviation counts as less than `LEAST` of the average one.
    """

    mean: Array  # (D,)
    deviation: Array  # (D,)

    @classmethod
    def of(cls, x_nD: NDArray[np.floating]) -> Scale:
        x = x_nD.astype(np.float64)
        return cls(x.mean(0), floored(x.std(0), 1 + np.abs(x).max(initial=0.0)))

    def __call__(self, x_nD: NDArray[np.floating]) -> Array:
        """A feature that never moved on the training episodes becomes 0."""
        out: Array = (x_nD - self.mean) / self.deviation
        return out


def floored(deviation_D: Array, size: float) -> Array:
    """What to divide features of that size by: infinity for one that never moved, else at least `LEAST` of the average deviation."""
    moves = deviation_D > 1e-6 * size
    least = LEAST * float(deviation_D[moves].mean()) if moves.any() else 0.0
    return np.where(moves, np.maximum(deviation_D, least), np.inf)


@final
class Ridge:
    """W = argmin ||X W - Y||^2 / n + penalty * s * ||W||^2 with X of mean 0 and s the mean eigenvalue of X'X / n."""

    def __init__(self, x_nD: Array):
        self._x, n = x_nD, len(x_nD)
        values, self._basis = np.linalg.eigh(x_nD.T @ x_nD / n)
        self._values = np.maximum(values, 0.0)
        self._scale = float(self._values.mean()) or 1.0

    def weights(self, y_nK: Array, penalty: float) -> tuple[Array, Array]:
        """((D, K) weights, (K,) offset) for targets of any mean."""
        projected, offset = self._projected(y_nK)
        return self._basis @ self._shrunk(projected, penalty), offset

    def errors(self, y_nK: Array, judge_x: Array, judge_y: Array) -> list[float]:
        """Squared error on other rows (m, D) and (m, K), summed, with each of `PENALTIES`: in the eigenbasis, which they share."""
        projected, offset = self._projected(y_nK)
        seen, wanted = judge_x @ self._basis, judge_y - offset
        return [float(((seen @ self._shrunk(projected, p) - wanted) ** 2).sum()) for p in PENALTIES]

    def _projected(self, y_nK: Array) -> tuple[Array, Array]:
        offset = y_nK.mean(0)
        return self._basis.T @ (self._x.T @ (y_nK - offset) / len(self._x)), offset

    def _shrunk(self, projected_DK: Array, penalty: float) -> Array:
        out: Array = projected_DK / (self._values + penalty * self._scale)[:, None]
        return out


@final
class RidgePath:
    """Ridge regressions on the same features, each with the penalty that held-back rows choose; two decompositions for all of them."""

    def __init__(self, x_nD: Array, judge: NDArray[np.bool_]):
        self._x, self._judge = x_nD, judge
        self._part, self._whole = Ridge(x_nD[~judge]), Ridge(x_nD)

    def best(self, y_nK: Array) -> tuple[Array, Array]:
        """Weights and offset with the penalty whose error on the rows of `judge` is least, fitted on all rows."""
        errors = self._part.errors(y_nK[~self._judge], self._x[self._judge], y_nK[self._judge])
        return self._whole.weights(y_nK, PENALTIES[int(np.argmin(errors))])


@final
class Later:
    """w = argmin mean log(1 + exp(-X w)) + penalty * s * ||w||^2 / 2, X the later frame's features minus the earlier's.

    Logistic regression on the pair where swapping the frames swaps the answer: no offset, and every pair has the label 1.
    """

    def __init__(self, x_nD: Array):
        self._n = len(x_nD)
        values, vectors = np.linalg.eigh(x_nD @ x_nD.T if self._n < x_nD.shape[1] else x_nD.T @ x_nD)
        kept = values > 1e-9 * max(float(values.max(initial=0.0)), 1e-300)
        roots = np.sqrt(values[kept])
        short = self._n < x_nD.shape[1]
        self._basis = x_nD.T @ vectors[:, kept] / roots if short else vectors[:, kept]  # (D, r), orthonormal
        self._z, self._values = x_nD @ self._basis, values[kept]
        self._scale = float(values[kept].sum()) / (self._n * x_nD.shape[1]) or 1.0

    def weights(self, penalty: float, steps: int = 50) -> Array:
        """(D,) by Newton's method with halved steps where one would climb; it ends when the gradient is below 1e-8."""
        strength, w = penalty * self._scale, np.zeros(self._z.shape[1])
        loss = self._loss(w, strength)
        for _ in range(steps):
            share = 1 / (1 + np.exp(np.clip(self._z @ w, -500, 500)))  # (n,) probability of being wrong
            gradient = -self._z.T @ share / self._n + strength * w
            if float(np.abs(gradient).max(initial=0.0)) < 1e-8:
                break
            step, length = self._newton(share * (1 - share), gradient, strength), 1.0
            while (found := self._loss(w - length * step, strength)) > loss and length > 1e-4:
                length /= 2
            w, loss = w - length * step, found
        out: Array = self._basis @ w
        return out

    def _newton(self, curvature_n: Array, gradient: Array, strength: float) -> Array:
        """Solve (Z' diag(curvature) Z / n + strength) step = gradient by conjugate gradients.

        The columns of Z are orthogonal, so the diagonal that equal curvatures would leave is nearly the whole matrix.
        """
        likely = self._values * float(curvature_n.mean()) / self._n + strength
        step, left = np.zeros_like(gradient), gradient.copy()
        ready = left / likely
        direction, size = ready, float(left @ ready)
        enough = 1e-18 * size
        for _ in range(2 * len(gradient)):
            if size <= enough:
                break
            image = self._z.T @ (curvature_n * (self._z @ direction)) / self._n + strength * direction
            length = size / float(direction @ image)
            step += length * direction
            left -= length * image
            ready = left / likely
            size, before = float(left @ ready), size
            direction = ready + size / before * direction
        return step

    def _loss(self, w: Array, strength: float) -> float:
        return float(np.logaddexp(0, -(self._z @ w)).mean() + strength * (w @ w) / 2)


def best_later(x_nD: Array, judge: NDArray[np.bool_]) -> Array:
    """Weights with the penalty that orders most rows of `judge` rightly (the larger one where several do), fitted on all rows."""
    part = Later(x_nD[~judge])
    right = [float((x_nD[judge] @ part.weights(p) > 0).mean()) for p in PENALTIES]
    return Later(x_nD).weights(PENALTIES[len(right) - 1 - int(np.argmax(right[::-1]))])
