"""The target of a table: classes by their names, or numbers by mean and standard deviation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minidl.data.checks import as_numbers, require_finite
from minidl.data.columns import Column, word
from minidl.data.features import as_tuple, check_fields, in_line, in_order, listed
from minidl.data.suspicions import LIKELY_ID
from minidl.data.transforms import Standardize

_MOST_CLASSES = 20  # of whole numbers that may be either


@dataclass(frozen=True)
class Classes:
    """The target of a classification."""

    kind: str
    names: tuple[str, ...]

    task = "classification"

    def __post_init__(self) -> None:
        check_fields(self, ("words", "categories", "true/false", "numbers"))

    @classmethod
    def learnt(cls, column: Column, where: str) -> Classes:
        """The classes of the training rows, sorted; by value, if all are whole numbers."""
        if column.kind in ("dates", "durations"):
            raise ValueError(f"{where} holds {column.kind}: make classes or numbers of them")
        if column.numeric and (column.values != np.floor(column.values)).any():
            odd = column.values[column.values != np.floor(column.values)][0]
            raise ValueError(
                f"{where} holds numbers such as {odd:g}, no classes: pass task='regression'"
            )
        names = in_order(list(dict.fromkeys(_labels(column))))
        if len(names) < 2:
            raise ValueError(f"{where} needs at least 2 different classes, got only {names[0]!r}")
        if len(column.values) >= LIKELY_ID and len(names) > len(column.values) / 2:
            remedy = "pass task='regression'" if column.numeric else "is it the right column?"
            raise ValueError(
                f"{where} has {len(names)} classes in {len(column.values)} rows, such as "
                f"{listed(names, 3)}: a class needs several rows to be learnt from; {remedy}"
            )
        return cls(column.kind, tuple(names))

    def encoded(self, column: Column) -> np.ndarray:
        """The class of each row, int64 (N,)."""
        number = {name: c for c, name in enumerate(self.names)}
        labels = _labels(column)
        for row, label in enumerate(labels):
            if label not in number:
                raise ValueError(
                    f"{column.where}: {label!r} in {column.where.row(row)} is none of the "
                    f"classes of the training rows, {listed(self.names)}"
                )
        return np.array([number[label] for label in labels], dtype=np.int64)

    def decoded(self, outputs: ArrayLike) -> np.ndarray:
        """The name of the class of the largest output of each row, strings (N,)."""
        array = as_numbers(outputs, "outputs")
        if array.ndim != 2 or array.shape[1] != len(self.names):
            labels = array.ndim == 1 and np.asarray(outputs).dtype.kind in "iu"
            raise ValueError(
                f"outputs of {len(self.names)} classes have shape (N, {len(self.names)}), one "
                f"number for each class, got {array.shape}"
                + "; the names of labels are np.array(encoder.class_names)[labels]"
                * labels
            )
        require_finite(array, "outputs")
        return np.asarray(self.names)[array.argmax(axis=1)]

    def told(self) -> str:
        """What a stranger reads of it."""
        return f"{len(self.names)} classes: {listed([*map(in_line, self.names)])}"


@dataclass(frozen=True)
class Quantity:
    """The target of a regression: z = (y - mean) / std."""

    kind: str
    mean: float
    std: float

    task = "regression"

    def __post_init__(self) -> None:
        check_fields(self, ("numbers",))

    @classmethod
    def learnt(cls, column: Column, where: str) -> Quantity:
        """Mean and standard deviation of the training rows."""
        if column.kind in ("dates", "durations"):
            raise ValueError(
                f"{where} holds {column.kind}, and a regression learns numbers: make numbers of "
                f"them, such as days from a first one"
            )
        if column.kind != "numbers":
            raise ValueError(
                f"{where} holds {column.kind} such as {column.values[0]!s}, and a regression "
                f"learns numbers: convert them, or pass task='classification'"
            )
        scale = Standardize().fit(column.values)
        if not scale.std:
            raise ValueError(f"{where} is {scale.mean:g} in every row: there is nothing to learn")
        return cls(column.kind, float(scale.mean), float(scale.std))

    def encoded(self, column: Column) -> np.ndarray:
        """The standardised numbers, float32 (N, 1)."""
        if column.kind != "numbers":
            raise ValueError(
                f"{column.where} held numbers in the training rows, and holds {column.kind} here"
            )
        z = ((column.values - self.mean) / self.std)[:, None]
        with np.errstate(over="ignore"):
            narrow = z.astype(np.float32)
        require_finite(narrow, str(column.where), source=z)
        return narrow

    def decoded(self, outputs: ArrayLike) -> np.ndarray:
        """The numbers in the unit of the target, float64 (N,)."""
        array = as_numbers(outputs, "outputs")
        if array.shape not in ((len(array),), (len(array), 1)):
            raise ValueError(
                f"outputs of a regression have shape (N, 1) or (N,), got {array.shape}"
            )
        require_finite(array, "outputs")
        return array.ravel().astype(np.float64) * self.std + self.mean

    def told(self) -> str:
        """What a stranger reads of it."""
        return f"numbers, mean {self.mean:.4g}, standard deviation {self.std:.4g}"


Target = Classes | Quantity


def learnt(column: Column, task: str, where: str) -> Target:
    """What is learnt of the target; with task ``auto``, of which kind it is."""
    if task == "auto":
        task = "classification" if _like_classes(column) else "regression"
    return (Classes if task == "classification" else Quantity).learnt(column, where)


def state_of(target: Target | None) -> dict[str, Any] | None:
    """The target as a plain dict."""
    return None if target is None else asdict(target)


def from_state(state: dict[str, Any] | None) -> Target | None:
    """The target that a state was made of."""
    if state is None:
        return None
    if "names" in state:
        return Classes(**{**state, "names": as_tuple(state["names"])})
    return Quantity(**state)


def _labels(column: Column) -> list[str]:
    return [word(value) for value in column.values.tolist()]


def _like_classes(column: Column) -> bool:
    """Whether a target holds words, true/false, or few whole numbers, each in several rows."""
    if not column.numeric:
        return True
    distinct = np.unique(column.values)
    few = len(distinct) <= min(_MOST_CLASSES, len(column.values) / 2)
    return column.kind == "numbers" and few and bool((distinct == np.floor(distinct)).all())
