"""What ``metrics=`` takes: names, functions, objects with settings, and dicts of them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from minidl.nn import L1Loss
from minidl.training.classification import (
    F1,
    ROCAUC,
    Precision,
    Recall,
    confusion_matrix,
    f1,
    precision,
    recall,
    roc_auc,
)
from minidl.training.measures import Accuracy, Function, accuracy, known
from minidl.training.regression import R2, r2

Metrics = Mapping[str, Function] | Sequence[str | Function] | str | Function | None

NAMED: dict[str, Callable[..., Function]] = {
    "accuracy": Accuracy,
    "precision": Precision,
    "recall": Recall,
    "f1": F1,
    "auc": ROCAUC,
    "r2": R2,
    "mae": L1Loss,
}
"""The metrics that have a name."""

_CLASSES: dict[Function, Callable[..., Function]] = {
    accuracy: Accuracy,
    precision: Precision,
    recall: Recall,
    f1: F1,
    roc_auc: ROCAUC,
    r2: R2,
}
_COUNTING = (Accuracy, Precision, Recall, F1, ROCAUC)  # targets that are not ignored


def metrics_by_name(metrics: Metrics, loss: Function) -> dict[str, Function] | None:
    """The metrics in a dict; None if they depend on the data.

    Raises:
        TypeError: for what is no metric.
        ValueError: for a name that is not known, given twice, or the history's own.
    """
    if metrics is None:
        return None
    found: dict[str, Function] = {}
    for name, metric in _pairs(metrics):
        metric = _as_metric(metric, loss)
        if not callable(metric) or isinstance(metric, type) or not isinstance(name, str | None):
            raise TypeError(
                f"metrics is a list of names and functions, as in ['accuracy', error], or a dict "
                f"of functions by name, as in {{'error': error}}; {metric!r} is neither"
            )
        name = _name_of(metric) if name is None else name
        if name == "loss" or name.startswith("validation_"):
            raise ValueError(f"the name {name!r} is the history's own: call the metric otherwise")
        if name in found:
            raise ValueError(
                f"two metrics are called {name!r}: give them names in a dict, as in "
                f"metrics={{'f1': F1(), 'macro f1': F1(average='macro')}}"
            )
        found[name] = metric
    return found


def _pairs(metrics: Any) -> Iterable[tuple[str | None, Any]]:
    """Names and metrics; None for the name of what names itself."""
    if isinstance(metrics, Mapping):
        return metrics.items()
    alone = isinstance(metrics, str) or callable(metrics) or not isinstance(metrics, Iterable)
    return [(m if isinstance(m, str) else None, m) for m in ([metrics] if alone else metrics)]


def _as_metric(metric: Any, loss: Function) -> Any:
    """A metric as it was given; of a name or a function of minidl one that counts as the loss."""
    if isinstance(metric, str):
        if metric not in NAMED:
            raise ValueError(
                f"metrics: {metric!r} is no metric's name, which are {', '.join(NAMED)}; others "
                f"come as functions in a dict, as in {{{metric!r}: function}}"
            )
        return _made(NAMED[metric], loss)
    called = inspect.unwrap(metric) if callable(metric) else metric
    function, settings = called, {}
    if isinstance(called, functools.partial) and not called.args:
        function, settings = called.func, called.keywords
    if function is confusion_matrix:
        raise TypeError(
            "confusion_matrix is no metric, since a metric is one number: call "
            "confusion_matrix(predict(model, x), y)"
        )
    kind = _CLASSES.get(function) if metric is called and callable(function) else None
    return metric if kind is None else _made(kind, loss, **settings)


def _made(kind: Callable[..., Function], loss: Function, **settings: Any) -> Function:
    if kind in _COUNTING:
        settings.setdefault("ignore_index", getattr(known(loss), "ignore_index", None))
    return kind(**settings)


def _name_of(metric: Any) -> str:
    """The name of a metric in a list."""
    name = getattr(metric, "name", getattr(metric, "__name__", None))
    if not isinstance(name, str) or name == "<lambda>":
        raise TypeError(
            f"metrics: {metric!r} has no name: give it one in a dict, as in {{'error': function}}"
        )
    return name
