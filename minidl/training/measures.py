"""Measures: accuracy, and results over a data set that do not depend on how it is cut into batches.

A mean over all samples is the sum of all terms by the number of them. Batches give it only if each
one's mean counts by what it was divided by: the samples, as a rule, but the weights of their
classes in a weighted cross entropy, and nothing for targets that are ignored. A measure that knows
has a method ``divisor`` that tells::

    def divisor(self, predictions, targets):
        return what the mean over this batch was divided by, or None if it is a sum

:mod:`minidl.nn`'s losses have it; of any other function each sample counts alike.

What is no mean at all, such as F1 or a rank, needs all predictions at once. Such a metric says so
by an attribute, ``whole_set = True``, which the decorator :func:`whole_set` sets. Then predictions
and targets are kept over the epoch or evaluation, and it is called once.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from minidl import functional as F
from minidl.arrays import Array, as_real, check_means_the_same
from minidl.nn import BCEWithLogitsLoss, CrossEntropyLoss, HuberLoss, L1Loss, MSELoss
from minidl.protocols import plain

Function = Callable[[Any, Any], Any]  # of predictions and targets: a loss or a metric
Named = TypeVar("Named", bound=Callable[..., Any])


# --- Accuracy -------------------------------------------------------------------------------------


def accuracy(predictions: ArrayLike, targets: ArrayLike, ignore_index: int | None = None) -> float:
    """The share of targets that were predicted right.

    Of several classes the one with the largest prediction is meant. Of a single prediction, a
    logit, class 1 is meant where it is above 0 (a probability above 0.5), class 0 elsewhere; where
    a model ends in a sigmoid, compare with 0.5 in a function of your own. NaN is never right.
    Targets below 0 and those equal to ``ignore_index`` do not count.

    Args:
        predictions: logits or probabilities of C classes, shape (N, C) or (N, C, ...); or one logit
            each, shape (N,), (N, 1) or (N, 1, ...).
        targets: class numbers, shape (N,) or (N, ...); for one logit 0 and 1, also in its shape.
        ignore_index: a class number that does not count.

    Raises:
        TypeError: for what is no array of numbers.
        ValueError: if the shapes are others, if targets for one logit are not 0 and 1, or if none
            counts.

    Example:
        >>> accuracy(np.array([[0.2, 0.8], [0.9, 0.1]]), np.array([1, 1]))
        0.5
        >>> accuracy(np.array([[-0.3], [0.4]]), np.array([0, 1]))
        1.0
    """
    predictions, targets = (as_real(plain(a), "accuracy") for a in (predictions, targets))
    return Accuracy(ignore_index)(predictions, targets)


class Accuracy:
    """:func:`accuracy` as a metric of arrays, which counts each batch by its targets that count.

    Args:
        ignore_index: a class number that does not count.

    Example:
        >>> metric = Accuracy(ignore_index=1)
        >>> predictions, targets = np.array([[0.2, 0.8], [0.9, 0.1]]), np.array([1, 0])
        >>> metric(predictions, targets), metric.divisor(predictions, targets)
        (1.0, 1)
    """

    name = "accuracy"

    def __init__(self, ignore_index: int | None = None) -> None:
        self.ignore_index = ignore_index

    def __call__(self, predictions: Array, targets: Array) -> float:
        counted = self.divisor(predictions, targets)
        if not counted:
            raise ValueError(
                f"accuracy: of {targets.size} targets none counts (those below 0 and "
                f"ignore_index={self.ignore_index} do not), so that there is no share of them"
            )
        z, y = as_pairs(predictions, targets)
        right = classes_meant(z, y) == y
        if counted < y.size:
            right &= counted_of(y, self.ignore_index)
        if z.dtype.kind == "f" and math.isnan(np.maximum.reduce(z, axis=None)):
            right &= ~np.isnan(z if z.ndim == y.ndim else z.max(axis=1))
        return int(np.count_nonzero(right)) / counted

    def divisor(self, predictions: Array, targets: Array) -> int:
        """How many targets count."""
        return int(np.count_nonzero(counted_of(targets, self.ignore_index)))


def counted_of(targets: Array, ignore_index: int | None) -> Array:
    """Which targets count: those from 0 on that are not ``ignore_index``."""
    counts: Array = targets >= 0
    if targets.dtype.kind == "f":
        counts |= np.isnan(targets)  # it counts, and is never right
    if ignore_index is not None and ignore_index >= 0:
        counts &= targets != ignore_index
    return counts


def as_pairs(predictions: Array, targets: Array, name: str = "accuracy") -> tuple[Array, Array]:
    """Predictions (N, C, ...) with targets (N, ...), or one prediction for each target."""
    single = predictions.shape[1:2] == (1,)
    if single:
        targets = targets[:, 0] if targets.shape == predictions.shape else targets
        predictions = predictions[:, 0]
    shape = predictions.shape if single else predictions.shape[:1] + predictions.shape[2:]
    if shape != targets.shape or not predictions.ndim:
        raise ValueError(
            f"{name} compares predictions (N, C) with class numbers (N,), or one logit each with "
            f"0 and 1, got shapes {predictions.shape} and {targets.shape}: pass a function of your "
            f"own, as in metrics={{'{name}': lambda z, y: np.mean((z > 0) == y)}}"
        )
    return predictions, targets


def classes_meant(predictions: Array, targets: Array, name: str = "accuracy") -> Array:
    """The class that is meant by each prediction."""
    if predictions.ndim > targets.ndim:
        return predictions.argmax(axis=1)
    beyond = targets[(targets > 1) | ((targets > 0) & (targets < 1))]
    if beyond.size:
        raise ValueError(
            f"{name}: for one logit each, targets are 0 and 1, got {beyond.flat[0]}: pass a "
            f"function of your own, as in metrics={{'error': lambda z, y: np.mean(abs(z - y))}}"
        )
    return predictions > 0


def accuracy_beside(loss: Function) -> Accuracy:
    """Accuracy of what a loss does not ignore."""
    return Accuracy(getattr(known(loss), "ignore_index", None))


def can_be_classes(loss: Function, predictions: Any, targets: Array) -> bool:
    """Whether accuracy is measured unasked: of class numbers, not of integers that are a count."""
    if not isinstance(predictions, np.ndarray) or targets.dtype.kind not in "biu":
        return False
    if isinstance(known(loss), BCEWithLogitsLoss):
        return predictions.ndim == 1 or predictions.shape[1:] == (1,)
    return predictions.ndim == 2 and predictions.shape[1] > 1 and targets.ndim == 1


# --- Over a data set ------------------------------------------------------------------------------


def whole_set(metric: Named) -> Named:
    """Mark a metric as one of the whole set, which is no mean over batches.

    ``fit`` and ``evaluate`` call it once, with the predictions and targets of the whole epoch or
    evaluation, which they keep for it: that takes the memory of all predictions. An object says the
    same by an attribute ``whole_set = True``. If it has a method ``check(predictions, targets)``,
    that is called with the first batch, to refuse at once what does not fit.

    Example:
        >>> from minidl import evaluate, nn
        >>> @whole_set
        ... def worst(predictions, targets):
        ...     return np.sort(abs(predictions - targets), axis=None)[-2:].mean()
        >>> x = np.array([[1.0], [2.0], [3.0], [9.0]])
        >>> evaluate(nn.Flatten(), nn.MSELoss(), (x, np.ones((4, 1))), [worst])["worst"]
        5.0
    """
    metric.whole_set = True  # type: ignore[attr-defined]
    return metric


def is_of_whole_set(metric: Any) -> bool:
    """Whether a metric, or what a partial calls, is marked so."""
    while isinstance(metric, functools.partial):
        metric = metric.func
    return bool(getattr(metric, "whole_set", False))


class Means:
    """The means of loss and metrics over the batches so far, and what those of the whole set need.

    Attributes:
        kept: predictions and targets of the batches so far, if there is a metric of the whole set.
    """

    def __init__(self, loss: Function, metrics: dict[str, Function] | None) -> None:
        self.loss, self.metrics = loss, metrics
        self.share = divisor_of(loss)  # how much a batch counts in the mean of the loss
        self._sort()
        self.sums: dict[str, float] = {}
        self.counts: dict[str, float] = {}  # what each sum is to be divided by, unless it is a sum
        self.batches = 0
        self.kept: list[tuple[Array, Array]] = []

    def add(self, predictions: Any, targets: Array, share: float | None, loss: float) -> None:
        """Add a batch, whose share and loss are known already; metrics see arrays."""
        outputs = plain(predictions)
        if self.metrics is None:
            classes = can_be_classes(self.loss, outputs, targets)
            self.metrics = {"accuracy": accuracy_beside(self.loss)} if classes else {}
            self._sort()
        self.batches += 1
        self._add("loss", share, loss)
        if self.whole:
            self._keep(outputs, targets)
        for name, (metric, share_of) in self.means.items():
            share = share_of(outputs, targets)
            if share != 0:
                value = single_number(metric(outputs, targets), f"the metric {name!r}")
                self._add(name, share, value)

    def _sort(self) -> None:
        """Which metrics are means, and by what each batch counts in them, and which are not."""
        named = (self.metrics or {}).items()
        self.means = {n: (m, divisor_of(m)) for n, m in named if not is_of_whole_set(m)}
        self.whole = {n: m for n, m in named if is_of_whole_set(m)}

    def _add(self, name: str, share: float | None, value: float) -> None:
        if share is None:
            self.sums[name] = self.sums.get(name, 0.0) + value
        elif share != 0:
            self.sums[name] = self.sums.get(name, 0.0) + share * value
            self.counts[name] = self.counts.get(name, 0) + share

    def _keep(self, outputs: Any, targets: Array) -> None:
        """Keep a batch. It is copied, since a compiled step computes the next into its memory."""
        if not isinstance(outputs, np.ndarray):
            raise TypeError(
                f"metrics of the whole set ({', '.join(self.whole)}) take predictions that are one "
                f"array, and the model returned a {type(outputs).__name__}"
            )
        first = self.kept[0][0].shape if self.kept else outputs.shape
        if outputs.shape[1:] != first[1:]:
            raise ValueError(
                f"metrics of the whole set ({', '.join(self.whole)}) take predictions of one shape "
                f"but for their number, and batches gave {first} and {outputs.shape}"
            )
        if not self.kept:
            for metric in self.whole.values():
                getattr(metric, "check", lambda *_: None)(outputs, targets)
        self.kept.append((outputs.copy(), targets.copy()))

    def _all_kept(self) -> tuple[Array, Array]:
        """Predictions and targets so far, each as one array."""
        if len(self.kept) > 1:
            predictions, targets = zip(*self.kept, strict=True)
            self.kept = [(np.concatenate(predictions), np.concatenate(targets))]
        return self.kept[0]

    def now(self) -> dict[str, float]:
        """The means so far, of what there is a mean of."""
        return {name: total / self.counts.get(name, 1) for name, total in self.sums.items()}

    def final(self) -> dict[str, float]:
        """The means over a whole data set."""
        if not self.batches:
            raise ValueError("the loader gave no batch, so that there is no mean of the loss")
        for name in ("loss", *self.means):
            if name not in self.sums:
                raise ValueError(
                    f"there is no mean of {name!r}: in {self.batches} batches no target counts "
                    f"(they are ignored, or their classes have weight 0)"
                )
        found = self.now()
        for name, metric in self.whole.items():
            value = metric(*self._all_kept())
            found[name] = single_number(value, f"the metric {name!r}", "for the whole set")
        return {name: found[name] for name in ("loss", *(self.metrics or found))}

    def state_dict(self) -> dict[str, Any]:
        sums, counts = dict(self.sums), dict(self.counts)
        state: dict[str, Any] = {"sums": sums, "counts": counts, "batches": self.batches}
        if self.whole:
            state["kept"] = list(self._all_kept()) if self.kept else []
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.sums, self.counts = dict(state["sums"]), dict(state["counts"])
        self.batches = int(state["batches"])
        self.kept = [tuple(state["kept"])] if state.get("kept") else []


_KNOWN: list[tuple[Function, Callable[..., Function]]] = [
    (F.cross_entropy, CrossEntropyLoss),
    (F.binary_cross_entropy_with_logits, BCEWithLogitsLoss),
    (F.mse_loss, MSELoss),
    (F.l1_loss, L1Loss),
    (F.huber_loss, HuberLoss),
    (accuracy, Accuracy),
]


def known(measure: Function) -> Function:
    """The object that stands for a function of minidl, also for a partial of it; else ``measure``.

    What a function wraps, by ``functools.wraps``, is what it is.
    """
    measure = function = inspect.unwrap(measure)
    options: dict[str, Any] = {}
    if isinstance(measure, functools.partial) and not measure.args:
        function, options = inspect.unwrap(measure.func), measure.keywords
    for one, kind in _KNOWN:
        if inspect.unwrap(one) is function:
            return kind(**options)
    return measure


def divisor_of(measure: Function) -> Callable[[Any, Any], float | None]:
    """What tells how much each batch counts in the mean of a measure."""
    return getattr(known(measure), "divisor", _samples)


def _samples(predictions: Any, targets: Array) -> int:
    return len(targets)


def single_number(value: Any, name: str, per: str = "for each batch") -> float:
    """What a loss or a metric returned."""
    if type(value) is float:
        return value
    check_means_the_same(value, name)
    array = np.asarray(plain(value))
    if array.size != 1 or array.dtype.kind not in "fiub":
        raise ValueError(
            f"{name} is one number {per}, such as a mean (reduction='mean'), got a "
            f"{type(value).__name__} of shape {array.shape} and dtype {array.dtype}"
        )
    return float(array.item())
