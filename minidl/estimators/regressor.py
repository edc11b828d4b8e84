"""The estimator that learns numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl import nn
from minidl.arrays import Array
from minidl.estimators.network import Network
from minidl.extras import need

base = need("sklearn.base", extra="sklearn", what="minidl.estimators")
validation = need("sklearn.utils.validation", extra="sklearn", what="minidl.estimators")
RegressorMixin: Any = base.RegressorMixin
TINY = np.finfo(np.float64).tiny


class Regressor(RegressorMixin, Network):
    """A network that learns numbers, as an estimator of scikit-learn.

    The targets are standardised inside, so that it does not matter in which unit they are: what
    it learns is ``(y - mean_) / scale_``, and what it predicts is ``y`` again. ``partial_fit`` does
    so by the samples of the first call. Inputs are taken as they are, as by :class:`Classifier`,
    whose arguments it has, and which says all else.

    Attributes:
        mean_, scale_: of the targets, (outputs,).
        loss_curve_: the mean squared error in each epoch, of standardised targets.
        validation_loss_curve_, n_iter_, n_features_in_, feature_names_in_, model_, optimizer_: as
            for :class:`Classifier`.
    """

    _of_numbers = True

    def _loss(self) -> nn.Module:
        return nn.MSELoss()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _targets(self, y: Array, first: bool, classes: Any) -> Array:
        if y.ndim == 2 and y.shape[1] == 1:
            y = validation.column_or_1d(y, warn=True)
        if first:
            self._shape = y.shape[1:]
        elif y.shape[1:] != self._shape:
            raise ValueError(
                f"Regressor: y of the first call had shape (N, {self._shape}), got {y.shape}"
            )
        return y.reshape(len(y), -1).astype(np.float64)

    def _scaled(self, y: Array, weights: Array | None, first: bool) -> Array:
        if first:
            largest = np.maximum(np.abs(y).max(axis=0), TINY)  # so that no square overflows
            part = y / largest
            mean = np.average(part, axis=0, weights=weights)
            scale = np.sqrt(np.average((part - mean) ** 2, axis=0, weights=weights))
            self.mean_ = mean * largest
            self.scale_ = np.where(scale > 0, scale * largest, 1.0)  # 1 if all are equal
        return ((y - self.mean_) / self.scale_).astype(np.float32)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Go once through samples, and go on from what was learned before.

        Args:
            X, y, sample_weight: as for :meth:`fit`.

        Returns:
            The estimator itself.
        """
        return self._partial_fit(X, y, sample_weight)

    def predict(self, X: Any) -> Array:
        """The number, or the numbers, of each sample: (N,) or (N, outputs), as y was."""
        outputs = self._outputs(X)  # the first to say that it was not fitted
        return (outputs * self.scale_ + self.mean_).reshape(len(outputs), *self._shape)
