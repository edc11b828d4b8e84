"""From a table to the arrays that a network takes: numbers, words, true/false, dates and gaps.

``columns.py`` reads a column, ``features.py`` learns and writes one, ``targets.py`` the target.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from minidl.checks import one_of, whole_number
from minidl.data import columns as table_columns
from minidl.data import features, suspicions
from minidl.data import targets as goals
from minidl.data.columns import Column
from minidl.states import same_keys

_OPTIONS = ("target", "task", "missing", "ignore", "categories", "most_categories")


class TableEncoder:
    """Turn the columns of a table into features and a target; what it knows, ``fit`` learns.

    A table is a DataFrame of pandas, or a dict of name: list or 1-D array. What a column holds
    decides what it becomes, always by what the training rows say:

    - numbers, and durations in days: z = (x - mean) / std;
    - dates (also strings such as 2024-12-31) as days, standardised likewise; a time without a
      time zone counts as universal time;
    - words and true/false: one feature per category, 1 or 0. A word that the training rows lack
      is 0 in all of them, and a warning of ``transform`` counts such words;
    - a column with the same value in every row is left out, with a warning.

    None, NaN, NaT, pandas' NA and empty strings are missing values.

    Args:
        target: the name of the column to predict, or None if the table has features only.
        task: ``"classification"``, ``"regression"``, or ``"auto"``: words, true/false and at most
            20 different whole numbers, each in two rows or more on the average, are classes. The
            attribute ``task`` says which it is.
        missing: ``"error"`` refuses missing values in the features. ``"impute"`` puts the median
            of the training rows there, or their most frequent category, and adds a feature that
            is 1 where the value was missing, for each column in which the training rows have
            gaps. A missing target is always refused.
        ignore: the names of columns to leave out, such as ids.
        categories: the names of columns that hold categories though they look like numbers or
            dates, such as codes. Columns of pandas' category dtype are such unasked.
        most_categories: a column with more different words is refused.

    Example:
        >>> rows = {
        ...     "size": [1.0, 2.0, 3.0, 2.0],
        ...     "color": ["red", "blue", "red", "red"],
        ...     "kind": ["rose", "daisy", "rose", "rose"],
        ... }
        >>> encoder = TableEncoder(target="kind").fit(rows)
        >>> encoder.feature_names
        ('size', 'color=blue', 'color=red')
        >>> encoder.transform({"color": ["blue"], "size": [2.0]})
        array([[0., 1., 0.]], dtype=float32)
        >>> encoder.targets(rows), encoder.class_names
        (array([1, 0, 1, 1]), ('daisy', 'rose'))
        >>> encoder.decode([[0.5, 2.0]])
        array(['rose'], dtype='<U5')
    """

    def __init__(
        self,
        target: str | None = None,
        task: Literal["auto", "classification", "regression"] = "auto",
        missing: Literal["error", "impute"] = "error",
        ignore: Collection[str] = (),
        categories: Collection[str] = (),
        most_categories: int = 100,
    ) -> None:
        if target is not None and not isinstance(target, str):
            raise TypeError(f"TableEncoder: target is the name of a column or None, got {target!r}")
        self.target = target
        self._task = one_of(task, "TableEncoder: task", ("auto", "classification", "regression"))
        self.missing = one_of(missing, "TableEncoder: missing", ("error", "impute"))
        self.ignore = _names(ignore, "ignore")
        self.categories = _names(categories, "categories")
        self.most_categories = whole_number(
            most_categories, "TableEncoder: most_categories", at_least=1
        )
        if target in (*self.ignore, *self.categories):
            raise ValueError(
                f"TableEncoder: {target!r} is the target, and stands in ignore or categories too"
            )
        self._features: tuple[features.Feature, ...] | None = None
        self._goal: goals.Target | None = None

    def fit(self, columns: Any) -> TableEncoder:
        """Learn from the training rows, and only those, and return self.

        Warns of columns that are likely ids and of those that are left out.

        Raises:
            TypeError: if ``columns`` is neither a DataFrame nor a dict of lists or 1-D arrays.
            ValueError: for a table without a column that is named; fewer than 2 rows; a name that
                comes twice; a column that mixes kinds, or holds something else than numbers,
                words, true/false and dates, infinity, or words that are really numbers or dates;
                too many categories; missing values, unless they are to be filled; a target that
                is missing somewhere or that the task cannot have. The message names the column.
        """
        owner = "TableEncoder.fit"
        found = table_columns.named(columns, owner)
        goal_name = [] if self.target is None else [self.target]
        suspicions.check_names(found, goal_name, owner, ", the target")
        suspicions.check_names(found, self.ignore, owner, ", which ignore names")
        suspicions.check_names(found, self.categories, owner, ", which categories names")
        wanted = [name for name in found if name not in (self.target, *self.ignore)]
        rows = table_columns.rows_of({n: found[n] for n in [*wanted, *goal_name]}, owner)
        if not wanted:
            raise ValueError(f"{owner}: no column is left to learn from, the table has {[*found]}")
        if rows < 2:
            raise ValueError(f"{owner} needs at least 2 rows, got {rows}")
        goal = None
        if self.target is not None:
            column = self._read_target(found, owner)
            suspicions.check_labels(column)
            goal = goals.learnt(column, self._task, f"{owner}: the target {self.target!r}")

        read = [self._read(found[name], name, owner) for name in wanted]
        if empty := [column.name for column in read if column.kind == "nothing"]:
            raise ValueError(f"{owner}: no row has a value in {empty}: pass ignore={empty}")
        suspicions.check_words(read, self.most_categories)
        self._check_gaps(
            read,
            "Fill them in, remove such rows or columns (ignore=[...]), or pass missing='impute' to "
            "put the median, or the most frequent word, there",
        )
        learnt = tuple(features.learnt(column) for column in read)
        if not any(feature.names for feature in learnt):
            raise ValueError(f"{owner}: all rows have the same values: there is nothing to learn")
        suspicions.warn_of_ids(read, stacklevel=2)
        suspicions.warn_of_constants(learnt, stacklevel=2)
        self._features, self._goal = learnt, goal
        return self

    def transform(self, columns: Any) -> np.ndarray:
        """Return the features of a table (N, features), float32.

        The target need not be there, the order of the columns does not count, and columns that
        ``fit`` did not see are left alone. Warns of words that the training rows lack.

        Raises:
            RuntimeError: before ``fit``.
            TypeError: if ``columns`` is neither a DataFrame nor a dict of lists or 1-D arrays.
            ValueError: for a table that lacks a column, or holds another kind of value in it,
                missing values, unless they are to be filled, and whatever ``fit`` refuses in a
                column.
        """
        owner = "TableEncoder.transform"
        found, learnt = table_columns.named(columns, owner), self._fitted()
        names = [feature.name for feature in learnt if feature.names]
        suspicions.check_names(found, names, owner, ", from which the training rows have learnt")
        rows = table_columns.rows_of({name: found[name] for name in names}, owner)
        used = [feature for feature in learnt if feature.names]
        read = [
            self._read(found[feature.name], feature.name, owner, feature.kind == "categories")
            for feature in used
        ]
        for column, feature in zip(read, used, strict=True):
            suspicions.check_kind(column, feature.kind)
        self._check_gaps(
            read,
            "Fill them in, remove such rows, or learn anew with missing='impute', which puts the "
            "median, or the most frequent word, of the training rows there",
        )
        x = np.empty((rows, len(self.feature_names)), dtype=np.float32)
        unseen, start = {}, 0
        for column, feature in zip(read, used, strict=True):
            stop = start + len(feature.names)
            if words := feature.written(column, x[:, start:stop]):
                unseen[feature.name] = words
            start = stop
        suspicions.warn_of_unseen(unseen, rows, stacklevel=2)
        suspicions.warn_of_new_gaps(read, used, stacklevel=2)
        return x

    def targets(self, columns: Any) -> np.ndarray:
        """Return the target of a table: classes int64 (N,), or standardised float32 (N, 1).

        Raises:
            RuntimeError: before ``fit``.
            ValueError: if there is no target, a value is missing, of no class that ``fit`` saw, or
                no number.
        """
        goal, owner = self._aim(), "TableEncoder.targets"
        found = table_columns.named(columns, owner)
        suspicions.check_names(found, [str(self.target)], owner, ", the target")
        return goal.encoded(self._read_target(found, owner))

    def _read(self, values: Any, name: str, owner: str, categories: bool = False) -> Column:
        return table_columns.read(values, name, owner, categories or name in self.categories)

    def _read_target(self, found: Mapping[str, Any], owner: str) -> Column:
        name = str(self.target)
        table_columns.rows_of({name: found[name]}, owner)
        column = table_columns.read(found[name], name, owner)
        suspicions.check_gaps([column], "It is the target: remove those rows")
        return column

    def _check_gaps(self, columns: list[Column], remedy: str) -> None:
        if self.missing == "error":
            suspicions.check_gaps(columns, remedy)

    def decode(self, outputs: ArrayLike) -> np.ndarray:
        """Return what outputs of a network mean.

        Args:
            outputs: (N, classes), of which the largest of each row counts, or (N, 1) or (N,).

        Returns:
            The names of the classes, strings (N,), or numbers in the unit of the target, float64
            (N,).

        Raises:
            RuntimeError: before ``fit``.
            ValueError: for outputs of another shape, NaN or infinity, or without a target.
        """
        return self._aim().decoded(outputs)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the columns that ``transform`` returns."""
        return tuple(name for feature in self._fitted() for name in feature.names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the labels; empty for a regression."""
        self._fitted()
        return self._goal.names if isinstance(self._goal, goals.Classes) else ()

    @property
    def task(self) -> str:
        """What is to be learnt: ``"classification"`` or ``"regression"``."""
        return self._task if self._goal is None else self._goal.task

    def _fitted(self) -> tuple[features.Feature, ...]:
        if self._features is None:
            raise RuntimeError("TableEncoder knows no columns yet: call fit(training_rows) first")
        return self._features

    def _aim(self) -> goals.Target:
        self._fitted()
        if self._goal is None:
            raise ValueError("this TableEncoder has no target: name it, TableEncoder(target=...)")
        return self._goal

    def summary(self) -> str:
        """Return what each column became, as lines of text."""
        learnt = self._fitted()
        rows = [(feature.name, feature.kind, feature.told()) for feature in learnt]
        if self._goal is not None:
            rows.append((str(self.target), "target", self._goal.told()))
        width = max(len(features.in_line(name)) for name, *_ in rows)
        lines = [repr(self)]
        for name, kind, told in rows:
            lines.append(f"  {features.in_line(name):{width}}  {kind:10}  {told}")
        if self.ignore:
            lines.append(f"  ignored: {', '.join(self.ignore)}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        if self._features is None:
            return f"TableEncoder(target={self.target!r}, not fitted)"
        goal = f"{self.task} of {self.target!r}" if self._goal else "no target"
        return (
            f"TableEncoder({len(self._features)} columns, {len(self.feature_names)} features, "
            f"{goal})"
        )

    def state_dict(self) -> dict[str, Any]:
        """Return all that it knows as plain dicts, lists, strings and numbers.

        Raises RuntimeError before ``fit``. :func:`minidl.save` stores it, without pickle.
        """
        return {
            "target": self.target,
            "task": self._task,
            "missing": self.missing,
            "ignore": list(self.ignore),
            "categories": list(self.categories),
            "most_categories": self.most_categories,
            "features": [features.state_of(feature) for feature in self._fitted()],
            "goal": goals.state_of(self._goal),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a saved state, its options too.

        Raises:
            ValueError: if it is no state of a TableEncoder; nothing is then changed.
        """
        if not isinstance(state, Mapping):
            raise ValueError(f"this is no state of a TableEncoder but a {type(state).__name__}")
        same_keys(state, (*_OPTIONS, "features", "goal"), "TableEncoder")
        try:
            made = TableEncoder(**{name: state[name] for name in _OPTIONS})
            made._features = tuple(features.from_state(one) for one in state["features"])
            made._goal = goals.from_state(state["goal"])
            names = [feature.name for feature in made._features]
            if len({*names}) < len(names) or made.target in names or not made.feature_names:
                raise ValueError(f"its columns are {names}, its target is {made.target!r}")
            if (made.target is None) is not (made._goal is None):
                raise ValueError(f"its target is {made.target!r}, its goal {state['goal']!r}")
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(
                f"this is no state of a TableEncoder, or was changed: {error}; nothing was loaded"
            ) from error
        self.__dict__.update(made.__dict__)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> TableEncoder:
        """Return the encoder whose ``state_dict`` this is."""
        encoder = cls()
        encoder.load_state_dict(state)
        return encoder


def _names(names: Collection[str], option: str) -> tuple[str, ...]:
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"TableEncoder: {option} is a list of names of columns, got {names!r}")
    return tuple(names)
