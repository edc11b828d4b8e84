"""How well classes are told apart, over a whole set: confusion matrix, precision, recall, F1, AUC.

None of these is a mean over batches, and so they are marked as metrics of the whole set (see
``measures.py``). Each is a function of two arrays, and a class of its name that holds settings::

    f1(predict(model, x), y, average="macro")
    fit(..., metrics=["accuracy", F1(average="macro"), "auc"])
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from minidl.arrays import Array, as_real
from minidl.checks import is_number, one_of
from minidl.diagnosis.softmax import are_probabilities
from minidl.protocols import plain
from minidl.training.measures import as_pairs, classes_meant, counted_of, whole_set

Average = Literal["auto", "binary", "macro", "micro", "weighted"]


def confusion_matrix(
    predictions: ArrayLike, targets: ArrayLike, ignore_index: int | None = None
) -> Array:
    """How often each class was taken for which: row i, column j counts targets i predicted as j.

    It is a function only: a history has one number per epoch. Which class a prediction means, and
    which targets count, is as in :func:`minidl.training.accuracy`.

    Args:
        predictions: logits or probabilities of C classes, shape (N, C) or (N, C, ...); or one logit
            each, shape (N,), (N, 1) or (N, 1, ...), for C = 2.
        targets: class numbers below C, shape (N,) or (N, ...).
        ignore_index: a class number that does not count.

    Returns:
        An array of integers, shape (C, C).

    Raises:
        TypeError: for what is no array of numbers.
        ValueError: for other shapes, targets that are no classes of the predictions, NaN among the
            predictions, which means no class, or if no target counts.

    Example:
        >>> logits = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [0.5, 1.0, 0.0]])
        >>> confusion_matrix(logits, np.array([0, 1, 0]))
        array([[1, 1, 0],
               [0, 1, 0],
               [0, 0, 0]])
    """
    matrix, missed = _confusion("confusion_matrix", predictions, targets, ignore_index)
    if missed.any():
        raise ValueError(
            f"confusion_matrix: {missed.sum()} of the predictions are NaN, which is no class and "
            f"has no column"
        )
    return matrix


@whole_set
def precision(
    predictions: ArrayLike,
    targets: ArrayLike,
    average: Average | None = "auto",
    ignore_index: int | None = None,
    zero_division: float = 0.0,
) -> float | Array:
    """Of what was taken for a class, the share that is of it: TP / (TP + FP).

    Arguments, averages and errors are those of :func:`f1`.

    Example:
        >>> precision(np.array([0.3, 2.0, -1.0, 0.1]), np.array([1, 1, 1, 0]))
        0.6666666666666666
    """
    return _score("precision", predictions, targets, average, ignore_index, zero_division)


@whole_set
def recall(
    predictions: ArrayLike,
    targets: ArrayLike,
    average: Average | None = "auto",
    ignore_index: int | None = None,
    zero_division: float = 0.0,
) -> float | Array:
    """Of what is of a class, the share that was taken for it: TP / (TP + FN).

    Arguments, averages and errors are those of :func:`f1`.

    Example:
        >>> recall(np.array([0.3, 2.0, -1.0, -0.1]), np.array([1, 1, 1, 1]))
        0.5
    """
    return _score("recall", predictions, targets, average, ignore_index, zero_division)


@whole_set
def f1(
    predictions: ArrayLike,
    targets: ArrayLike,
    average: Average | None = "auto",
    ignore_index: int | None = None,
    zero_division: float = 0.0,
) -> float | Array:
    """The harmonic mean of precision and recall: 2 TP / (2 TP + FP + FN).

    TP counts what was rightly taken for a class, FP what was wrongly, FN what is of the class and
    was taken for another. Which class a prediction means, and which targets count, is as in
    :func:`minidl.training.accuracy`; NaN is taken for no class.

    ``average`` says what is done with the values of the classes:

    - ``"auto"``: ``"binary"`` for two classes, ``"macro"`` for more;
    - ``"binary"``: the value of class 1 of two;
    - ``"macro"``: their mean, over the classes that occur in targets or predictions;
    - ``"weighted"``: the mean in which each class counts by its targets;
    - ``"micro"``: TP, FP and FN are added up over the classes first (of predictions without NaN
      that is the accuracy);
    - ``None``: all C of them, in an array (not as a metric of ``fit``).

    Args:
        predictions: logits or probabilities of C classes, shape (N, C) or (N, C, ...); or one logit
            each, shape (N,), (N, 1) or (N, 1, ...), for C = 2.
        targets: class numbers below C, shape (N,) or (N, ...).
        average: see above.
        ignore_index: a class number that does not count.
        zero_division: what 0 / 0 is, 0, 1 or NaN: for a class that is never predicted (precision)
            or never a target (recall). Means leave NaN out.

    Raises:
        TypeError: for what is no array of numbers.
        ValueError: for other shapes or settings, targets that are no classes of the predictions,
            ``"binary"`` for more than two classes, or if no target counts.

    Source: van Rijsbergen, Information Retrieval (1979), chapter 7. The values are scikit-learn's,
    which warns of 0 / 0 and, with ``average=None``, leaves out classes that occur nowhere.

    Example:
        >>> logits = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [0.5, 1.0, 0.0]])
        >>> f1(logits, np.array([0, 1, 0]), average=None)
        array([0.66666667, 0.66666667, 0.        ])
        >>> f1(logits, np.array([0, 1, 0]))
        0.6666666666666666
    """
    return _score("f1", predictions, targets, average, ignore_index, zero_division)


@whole_set
def roc_auc(predictions: ArrayLike, targets: ArrayLike, ignore_index: int | None = None) -> float:
    """The area under the ROC curve: how surely the right ones stand above the others.

    It is the share of pairs of one sample of the class and one of another in which the first has
    the higher score; a tie counts one half, a pair with NaN nothing. 0.5 is chance, 1 perfect.

    Of one logit each, or of two classes, that is asked of class 1. Of more it is asked of each
    class against the rest, and the mean is returned, over those classes that occur in the targets.
    The score of a class is its probability: of logits, that of their softmax (its log odds, in
    float64, which keep the order where probabilities are rounded to 1); rows that are not
    negative and sum to 1 are probabilities already.

    Args:
        predictions: as for :func:`f1`.
        targets: as for :func:`f1`.
        ignore_index: a class number that does not count.

    Raises:
        TypeError: for what is no array of numbers.
        ValueError: as :func:`f1`, and if all targets that count are of one class.

    Source: Hanley and McNeil, "The Meaning and Use of the Area under a ROC Curve" (1982). The
    values are scikit-learn's ``roc_auc_score(y, softmax(z), multi_class="ovr")``, which refuses a
    class that does not occur.

    Example:
        >>> roc_auc(np.array([-2.0, 0.5, 0.5, 3.0]), np.array([0, 0, 1, 1]))
        0.875
    """
    z, y, classes = _counted("auc", predictions, targets, ignore_index)
    counts = np.bincount(y, minlength=classes)
    if counts.max() == len(y):
        raise ValueError(
            f"auc compares samples of a class with others, and all {len(y)} targets are of class "
            f"{y[0]}"
        )
    if classes == 2:
        z = z.astype(np.float64)
        return _area(z if z.ndim == 1 else z[:, 1] - z[:, 0], y == 1)
    scores = z if are_probabilities(z) else _log_odds(z.astype(np.float64))
    areas = [_area(scores[:, k], y == k) for k in range(classes) if counts[k]]
    return math.fsum(areas) / len(areas)


# --- As metrics with settings ---------------------------------------------------------------------


class _Score:
    """What precision, recall and F1 as metrics have in common."""

    whole_set = True
    function: Callable[..., Any]
    name: str

    def __init__(
        self,
        average: Average = "auto",
        ignore_index: int | None = None,
        zero_division: float = 0.0,
    ) -> None:
        if average is None:
            raise ValueError(
                f"{type(self).__name__}: a metric is one number, and average=None gives one for "
                f"each class: call {self.name}(predictions, targets, average=None) for them"
            )
        _check_settings(type(self).__name__, average, zero_division)
        self.average, self.ignore_index = average, ignore_index
        self.zero_division = zero_division

    def __call__(self, predictions: Array, targets: Array) -> float:
        settings = self.average, self.ignore_index, self.zero_division
        return float(_score(self.name, predictions, targets, *settings))

    def check(self, predictions: Array, targets: Array) -> None:
        """Refuse a first batch that is not of classes."""
        z, y = as_pairs(predictions, targets, self.name)
        _check_binary(self.name, self.average, z.shape[1] if z.ndim > y.ndim else 2)


class Precision(_Score):
    """:func:`precision` as a metric of ``fit`` and ``evaluate``; settings as there.

    Example:
        >>> Precision(average="macro")(np.array([[0.2, 0.8], [0.9, 0.1]]), np.array([1, 1]))
        0.5
    """

    name = "precision"


class Recall(_Score):
    """:func:`recall` as a metric of ``fit`` and ``evaluate``; settings as there.

    Example:
        >>> Recall()(np.array([[0.2, 0.8], [0.9, 0.1]]), np.array([1, 1]))
        0.5
    """

    name = "recall"


class F1(_Score):
    """:func:`f1` as a metric of ``fit`` and ``evaluate``; settings as there.

    Example:
        >>> from minidl import evaluate, nn
        >>> data = (np.array([[0.2, 0.8], [0.9, 0.1]]), np.array([1, 1]))
        >>> evaluate(nn.Flatten(), nn.CrossEntropyLoss(), data, [F1(average="macro")])["f1"]
        0.3333333333333333
    """

    name = "f1"


class ROCAUC:
    """:func:`roc_auc` as a metric of ``fit`` and ``evaluate``, named ``"auc"``.

    Example:
        >>> ROCAUC()(np.array([[-2.0], [0.5], [0.5], [3.0]]), np.array([[0], [0], [1], [1]]))
        0.875
    """

    whole_set = True
    name = "auc"

    def __init__(self, ignore_index: int | None = None) -> None:
        self.ignore_index = ignore_index

    def __call__(self, predictions: Array, targets: Array) -> float:
        return roc_auc(predictions, targets, self.ignore_index)

    def check(self, predictions: Array, targets: Array) -> None:
        """Refuse a first batch that is not of classes."""
        as_pairs(predictions, targets, self.name)


# --- Counting -------------------------------------------------------------------------------------


def _counted(
    name: str, predictions: ArrayLike, targets: ArrayLike, ignore_index: int | None
) -> tuple[Array, Array, int]:
    """Predictions (M, C) or (M,) of the targets (M,) that count, and the number of classes."""
    z, y = (as_real(plain(a), name) for a in (predictions, targets))
    z, y = as_pairs(z, y, name)
    single = z.ndim == y.ndim
    classes = 2 if single else z.shape[1]
    z = z.reshape(-1) if single else np.moveaxis(z, 1, -1).reshape(-1, classes)  # (N * ..., C)
    total, counts = y.size, counted_of(y, ignore_index).reshape(-1)
    z, y = z[counts], y.reshape(-1)[counts]
    if not y.size:
        raise ValueError(
            f"{name}: of {total} targets none counts (those below 0 and "
            f"ignore_index={ignore_index} do not)"
        )
    wrong = y[~((y < classes) & (y == np.floor(y)))]  # NaN among them
    if wrong.size:
        wanted = "0 and 1" if single else f"whole numbers from 0 to {classes - 1}"
        raise ValueError(
            f"{name}: targets are the numbers of classes, here {wanted} since predictions have "
            f"shape {np.shape(predictions)}, got {wrong[0]}"
        )
    return z, y.astype(np.int64), classes


def _confusion(
    name: str, predictions: ArrayLike, targets: ArrayLike, ignore_index: int | None
) -> tuple[Array, Array]:
    """The confusion matrix (C, C), and how many targets of each class got NaN (C,)."""
    z, y, classes = _counted(name, predictions, targets, ignore_index)
    meant = classes_meant(z, y, name)
    known = ~np.isnan(z if z.ndim == 1 else z.max(axis=1))
    pairs = y[known] * classes + meant[known]
    matrix = np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    return matrix, np.bincount(y[~known], minlength=classes)


def _score(
    name: str,
    predictions: ArrayLike,
    targets: ArrayLike,
    average: Average | None,
    ignore_index: int | None,
    zero_division: float,
) -> float | Array:
    """Precision, recall or F1: right ones over what the three divide by."""
    _check_settings(name, average, zero_division)
    matrix, missed = _confusion(name, predictions, targets, ignore_index)
    _check_binary(name, average, len(matrix))
    right = np.diagonal(matrix)
    predicted, actual = matrix.sum(axis=0), matrix.sum(axis=1) + missed
    over = {"precision": predicted, "recall": actual, "f1": (predicted + actual) / 2}[name]
    if average == "micro":
        return float(_ratio(right.sum(), over.sum(), zero_division))
    values = _ratio(right, over, zero_division)
    if average is None:
        return values
    if average == "binary" or (average == "auto" and len(matrix) == 2):
        return float(values[1])
    weights = actual if average == "weighted" else predicted + actual > 0
    weights = np.where(np.isnan(values), 0, weights)
    if not weights.any():
        return math.nan
    return float(np.average(np.nan_to_num(values), weights=weights))


def _ratio(right: Any, over: Any, zero_division: float) -> Array:
    """right / over, where nothing is divided by nothing ``zero_division``."""
    return np.where(over == 0, zero_division, right / np.where(over == 0, 1, over))


def _check_settings(name: str, average: Any, zero_division: Any) -> None:
    choices = ("auto", "binary", "macro", "micro", "weighted", None)
    one_of(average, f"{name}: average", choices)
    good = is_number(zero_division) and (zero_division in (0, 1) or math.isnan(zero_division))
    if not good:
        raise ValueError(f"{name}: zero_division is 0, 1 or NaN, got {zero_division!r}")


def _check_binary(name: str, average: Average | None, classes: int) -> None:
    if average == "binary" and classes != 2:
        raise ValueError(
            f"{name}: average='binary' is the value of class 1 of two, and there are {classes} "
            f"classes: use 'macro', 'micro' or 'weighted'"
        )


# --- Ranks ----------------------------------------------------------------------------------------


def _area(scores: Array, positive: Array) -> float:
    """The share of pairs in which a positive stands above a negative; a tie is half a pair."""
    above, below = scores[positive], np.sort(scores[~positive])
    pairs = above.size * below.size
    above, below = above[~np.isnan(above)], below[~np.isnan(below)]
    # Negatives on the left of a positive are below it; it ties with those from there to its right.
    left, right = (np.searchsorted(below, above, side) for side in ("left", "right"))
    return float(int(left.sum() + right.sum()) / (2 * pairs))


def _log_odds(z: Array) -> Array:
    """log(p / (1 - p)) of p = softmax(z), as z - log(sum of exp over the other classes)."""
    top = z.argmax(axis=1)
    rows = np.arange(len(z))
    with np.errstate(invalid="ignore", divide="ignore"):
        z = z - z[rows, top, None]
        e = np.exp(z)
        others = e.sum(axis=1, keepdims=True) - e
        e[rows, top] = 0
        others[rows, top] = e.sum(axis=1)  # without what e.sum() - 1 would lose
        return z - np.log(others)
