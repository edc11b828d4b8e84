"""The estimator that learns classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl import nn
from minidl.arrays import Array
from minidl.estimators.network import Network
from minidl.extras import need

base = need("sklearn.base", extra="sklearn", what="minidl.estimators")
multiclass = need("sklearn.utils.multiclass", extra="sklearn", what="minidl.estimators")
validation = need("sklearn.utils.validation", extra="sklearn", what="minidl.estimators")
ClassifierMixin: Any = base.ClassifierMixin


class Classifier(ClassifierMixin, Network):
    """A network that learns classes, as an estimator of scikit-learn.

    Inputs are taken as they are; put a ``StandardScaler`` before it in a pipeline. Labels may be
    strings. It learns in float32 and predicts in float64. With the same ``random_state`` and the
    same data, in any order of the samples, it learns the same to the bit; minidl's own generator
    and NumPy's are neither read nor set.

    A ``sample_weight`` of whole numbers, at most eight in the mean, means so many copies of each
    sample, to the bit. Of others the loss of a batch is ``sum(w * l) / sum(w)``, by steps that are
    not compiled and take longer.

    Args:
        hidden: the widths of the hidden layers, each a ``Linear``, with Glorot's initial weights,
            and a ``ReLU``.
        batch_norm: whether there is a ``BatchNorm`` between them.
        dropout: the probability to drop a hidden unit while learning.
        rule: ``"sgd"``, ``"momentum"``, ``"adagrad"``, ``"rmsprop"`` or ``"adam"``, or a class as
            in ``optim.AdamW``, called with the parameters and, if given, lr and weight_decay.
        lr: the learning rate, a number or a schedule (one without steps spans the fit). None means
            that of the rule: sgd 0.1, momentum and adagrad 0.01, rmsprop and adam 0.001.
        weight_decay: that of the rule.
        epochs: how often at most to go through the samples; ``partial_fit`` goes once.
        batch_size: the samples of a step, at most all, or the next number that leaves no last batch
            of one.
        patience: stop when for so many epochs the loss has not fallen by more than ``tol`` below
            the best; None makes all epochs.
        tol: see patience.
        early_stopping: whether the loss that patience looks at is that of samples held out, and the
            weights of the best epoch are kept.
        validation_fraction: the share of them.
        module: a function of the numbers of inputs and outputs that returns any Module of (N,
            inputs) to (N, outputs), in place of hidden, batch_norm and dropout. What it draws from
            minidl's generator comes from ``random_state``.
        random_state: a seed, a ``RandomState``, a ``Generator``, or None, each time another.
        verbose: whether to show the progress.

    Attributes:
        classes_: the labels, sorted.
        loss_curve_: the mean loss in each epoch.
        validation_loss_curve_: that of the samples held out, with ``early_stopping``.
        n_iter_: how many epochs there were.
        n_features_in_, feature_names_in_: what it learned from.
        model_, optimizer_: the network and its rule.

    Raises:
        TypeError, ValueError: by ``fit``, for data or settings that make no sense; for sparse data.
        FloatingPointError: if the loss becomes NaN or infinite.
    """

    _of_numbers = False

    def _loss(self) -> nn.Module:
        return nn.CrossEntropyLoss()

    def _targets(self, y: Array, first: bool, classes: Any) -> Array:
        multiclass.check_classification_targets(y)
        y = validation.column_or_1d(y, warn=True)
        if first:
            self.classes_ = np.unique(y if classes is None else classes)
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(
                f"Classifier: classes are those of the first call, {self.classes_}, got {classes}"
            )
        if len(self.classes_) < 2:
            raise ValueError(
                f"Classifier: there are two or more classes to learn, and here is one class only, "
                f"{self.classes_[0]}"
            )
        unknown = np.setdiff1d(y, self.classes_)
        if unknown.size:
            raise ValueError(f"Classifier: y has {unknown}, and classes are {self.classes_}")
        return np.searchsorted(self.classes_, y)

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Any:
        """Go once through samples, and go on from what was learned before.

        Args:
            X, y, sample_weight: as for :meth:`fit`.
            classes: all labels there will be; in the first call, unless all are in y.

        Returns:
            The estimator itself.
        """
        return self._partial_fit(X, y, sample_weight, classes)

    def predict(self, X: Any) -> Array:
        """The most likely label of each sample, (N,)."""
        outputs = self._outputs(X)  # the first to say that it was not fitted
        return self.classes_[outputs.argmax(axis=1)]

    def predict_log_proba(self, X: Any) -> Array:
        """The logarithms of the probabilities, (N, classes)."""
        z = self._outputs(X)
        z -= z.max(axis=1, keepdims=True)
        return z - np.log(np.exp(z).sum(axis=1, keepdims=True))

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, in the order of ``classes_``, (N, classes)."""
        return np.exp(self.predict_log_proba(X))
