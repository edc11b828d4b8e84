"""What is learnt of one column of the training rows, and the numbers that it becomes for a network.

A column of numbers or days becomes one feature, a column of words one per category. Each kind can
be stored as a plain dict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from minidl.data.columns import Column
from minidl.data.transforms import Standardize


@dataclass(frozen=True)
class NumberFeature:
    """Numbers, dates or durations: z = (x - mean) / std, as :class:`Standardize` has them."""

    name: str
    kind: str
    mean: float
    std: float
    fill: float
    """What stands for a missing value: the median of the training rows."""
    gaps: int
    """How many training rows lacked it; if any did, an indicator stands beside the number."""

    def __post_init__(self) -> None:
        check_fields(self, ("numbers", "dates", "durations"))

    @classmethod
    def learnt(cls, column: Column) -> NumberFeature:
        """What the training rows say."""
        fill = float(np.median(column.present))
        scale = Standardize().fit(_filled(column, fill))
        gaps = int(column.missing.sum())
        return cls(column.name, column.kind, float(scale.mean), float(scale.std), fill, gaps)

    @property
    def constant(self) -> str:
        """The value of every row, if it is the same in all of them, else ""."""
        return "" if self.std else self._shown(self.mean)

    def _shown(self, value: float) -> str:
        if self.kind == "dates":
            return str(np.datetime64(0, "D") + np.timedelta64(round(value), "D"))
        return f"{value:.4g}" + (" days" if self.kind == "durations" else "")

    @property
    def names(self) -> list[str]:
        """What the features are called."""
        return [*([self.name] if self.std else []), *_indicator(self)]

    def written(self, column: Column, out: np.ndarray) -> Counter[str]:
        """Write the features of the column into ``out`` (N, features); none is unseen."""
        if self.std:
            z = (_filled(column, self.fill) - self.mean) / self.std
            with np.errstate(over="ignore"):
                out[:, 0] = z
            if not np.isfinite(out[:, 0]).all():
                row = int(np.argmax(np.abs(z)))
                raise ValueError(
                    f"{column.where}: {column.values[row]:g} in {column.where.row(row)} "
                    f"is {abs(z[row]):.1g} standard deviations from the mean of the training "
                    f"rows, {self.mean:g}, more than float32 holds: repair it"
                )
        if self.gaps:
            out[:, -1] = column.missing
        return Counter()

    def told(self) -> str:
        """What a stranger reads of it."""
        if self.constant:
            text = f"left out, {self.constant} in every row"
        else:
            unit = "" if self.kind == "numbers" else " days"
            text = f"mean {self._shown(self.mean)}, standard deviation {self.std:.4g}{unit}"
        return text + _told_gaps(self, self._shown(self.fill))


@dataclass(frozen=True)
class CategoryFeature:
    """Words or true/false: one feature per category, 1 where the row is of it, else 0."""

    name: str
    kind: str
    categories: tuple[str, ...]
    fill: str
    """What stands for a missing value: the most frequent category of the training rows."""
    gaps: int
    """How many training rows lacked it; if any did, an indicator stands beside the categories."""

    def __post_init__(self) -> None:
        check_fields(self, ("words", "categories", "true/false"))
        if self.fill not in self.categories:
            raise ValueError(f"{self.name!r}: fill is {self.fill!r}, which is no category of it")

    @classmethod
    def learnt(cls, column: Column) -> CategoryFeature:
        """What the training rows say."""
        counts = Counter(column.present.tolist())
        categories = tuple(in_order(counts))
        fill = max(categories, key=counts.__getitem__)  # the first of those that are as frequent
        return cls(column.name, column.kind, categories, fill, int(column.missing.sum()))

    @property
    def constant(self) -> str:
        """The value of every row, if it is the same in all of them, else ""."""
        return repr(self.fill) if len(self.categories) == 1 else ""

    @property
    def names(self) -> list[str]:
        """What the features are called."""
        categories = [] if self.constant else self.categories
        return [*(f"{self.name}={category}" for category in categories), *_indicator(self)]

    def written(self, column: Column, out: np.ndarray) -> Counter[str]:
        """Write the features of the column into ``out`` (N, features); return what is unseen."""
        place = {category: i for i, category in enumerate(self.categories)}
        values = np.where(column.missing, self.fill, column.values).tolist()
        places = np.array([place.get(value, -1) for value in values])
        out[:] = 0
        if not self.constant:
            rows = np.flatnonzero(places >= 0)
            out[rows, places[rows]] = 1
        if self.gaps:
            out[:, -1] = column.missing
        return Counter(values[i] for i in np.flatnonzero(places < 0))

    def told(self) -> str:
        """What a stranger reads of it."""
        gaps = _told_gaps(self, in_line(self.fill))
        if self.constant:
            return f"left out, {in_line(self.constant)} in every row{gaps}"
        shown = listed([in_line(category) for category in self.categories])
        return f"{len(self.categories)} categories: {shown}{gaps}"


Feature = NumberFeature | CategoryFeature


def learnt(column: Column) -> Feature:
    """What is learnt of a column, of whatever kind."""
    return (NumberFeature if column.numeric else CategoryFeature).learnt(column)


def state_of(feature: Feature) -> dict[str, Any]:
    """The feature as a plain dict."""
    return asdict(feature)


def from_state(state: dict[str, Any]) -> Feature:
    """The feature that a state was made of."""
    if "categories" in state:
        return CategoryFeature(**{**state, "categories": as_tuple(state["categories"])})
    return NumberFeature(**state)


def as_tuple(value: Any) -> Any:
    """A list as a tuple; not a string, of which each letter would be a name."""
    return tuple(value) if isinstance(value, list) else value


def check_fields(made: Any, kinds: Sequence[str]) -> None:
    """Raise for fields of other types than are declared, as a file that was changed may have."""
    for field in fields(made):
        value = getattr(made, field.name)
        fits, expected = _FITS[str(field.type)]
        if not fits(value):
            raise TypeError(f"{type(made).__name__}: {field.name} is {value!r}, not {expected}")
    if made.kind not in kinds:
        raise ValueError(f"{type(made).__name__}: kind is {made.kind!r}, not one of {kinds}")
    if getattr(made, "std", 0) < 0:
        raise ValueError(f"{type(made).__name__}: std is {made.std}, less than 0")


_FITS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "str": (lambda value: isinstance(value, str), "a string"),
    "int": (lambda value: type(value) is int and value >= 0, "a whole number of at least 0"),
    "float": (lambda value: type(value) is float and np.isfinite(value), "a finite float"),
    "tuple[str, ...]": (
        lambda value: (
            isinstance(value, tuple)
            and all(isinstance(name, str) for name in value)
            and len(set(value)) == len(value) > 0
        ),
        "a list of different strings",
    ),
}
"""Of each type that a field may have: whether a value fits, and how it is called."""


def in_order(words: Sequence[str] | Counter[str]) -> list[str]:
    """Words sorted; by value, if all are whole numbers, so that 10 comes after 9."""
    try:
        return sorted(words, key=lambda text: (int(text), text))
    except ValueError:
        return sorted(words)


def in_line(text: str, most: int = 40) -> str:
    """A word without its line breaks, and cut if it is a long text."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 3]}..."


def listed(values: Sequence[str], most: int = 6) -> str:
    """The first of some values, and how many more there are."""
    more = f", and {len(values) - most} more" if len(values) > most else ""
    return ", ".join(values[:most]) + more


def _filled(column: Column, fill: float) -> np.ndarray:
    return np.where(column.missing, fill, column.values)


def _indicator(feature: Feature) -> list[str]:
    return [f"{feature.name} is missing"] if feature.gaps else []


def _told_gaps(feature: Feature, fill: str) -> str:
    return f"; {feature.gaps} missing, filled with {fill}, marked" if feature.gaps else ""
