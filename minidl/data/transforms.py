"""What happens to whole arrays before training: split them, scale them, encode the labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from minidl.arrays import as_real
from minidl.checks import number, whole_number
from minidl.data.checks import as_array, as_numbers, equally_long, require_finite
from minidl.rng import RNG, generator
from minidl.states import same_keys


def train_test_split(
    *arrays: ArrayLike,
    test_size: float | int = 0.2,
    stratify: ArrayLike | None = None,
    rng: RNG = None,
) -> tuple[np.ndarray, ...]:
    """Split arrays into a training and a test part, at random, the same way for all of them.

    With ``stratify``, every class has the same share of both parts, as nearly as whole numbers
    allow, and at least one sample in each. Both parts are copies, in random order.

    Args:
        *arrays: arrays or array-likes (N, ...) with the same N.
        test_size: a fraction of N between 0 and 1, rounded to the nearest whole number of
            samples, or that number itself as an int. (scikit-learn rounds up.)
        stratify: class labels (N,), integers or strings, such as a column of a DataFrame.
        rng: a seed, a generator, or None for minidl's own.

    Returns:
        ``(train_a, test_a, train_b, test_b, ...)``, one flat tuple, as in scikit-learn.

    Raises:
        TypeError: for no array, an array of Python objects, a ``test_size`` that is no number.
        ValueError: for different lengths, a ``test_size`` that leaves one part empty or, with
            ``stratify``, with fewer samples than classes, or a class with fewer than 2 members.

    Example:
        >>> x, y = np.arange(20).reshape(10, 2), np.array([0] * 6 + [1] * 4)
        >>> x_train, x_test, y_train, y_test = train_test_split(
        ...     x, y, test_size=0.5, stratify=y, rng=0)
        >>> x_train.shape, np.bincount(y_train), np.bincount(y_test)
        ((5, 2), array([3, 2]), array([3, 2]))
    """
    made = equally_long(arrays, "train_test_split")
    n = len(made[0])
    n_test = _test_count(test_size, n)
    order = generator(rng).permutation(n)
    if stratify is None:
        is_test = np.arange(n) < n_test
    else:
        is_test = _stratified(_labels(stratify), order, n_test)
    train, test = order[~is_test], order[is_test]
    return tuple(part for array in made for part in (array[train], array[test]))


def _labels(stratify: Any) -> np.ndarray:
    """The labels as an array; pandas keeps words as Python objects, and so may an array."""
    array = stratify.to_numpy() if hasattr(stratify, "to_numpy") else stratify
    if isinstance(array, np.ndarray) and array.dtype == object and array.ndim == 1:
        array = array.astype(str) if all(isinstance(label, str) for label in array) else array
    return as_array(array, "stratify")


def _test_count(test_size: float | int, n: int) -> int:
    if isinstance(test_size, float | np.floating):
        name = "train_test_split: test_size as a fraction (a number of samples is an int)"
        count = round(n * number(test_size, name, above=0, below=1))
    else:
        name = "train_test_split: test_size, if not a fraction,"
        count = whole_number(test_size, name, at_least=1)
    if not 1 <= count < n:
        part = "test" if count < 1 else "training"
        raise ValueError(
            f"test_size={test_size} of {n} samples puts {count} into the test part "
            f"and leaves the {part} part empty"
        )
    return count


def _stratified(labels: np.ndarray, order: np.ndarray, n_test: int) -> np.ndarray:
    """Return which places of ``order`` go to the test part so that each class has its share."""
    n = len(order)
    if labels.shape != (n,):
        raise ValueError(f"stratify is one label per sample, shape ({n},), got {labels.shape}")
    classes, label, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if counts.min() < 2:
        lonely = classes[counts.argmin()]
        raise ValueError(
            f"class {lonely!s} has one member, and stratify needs 2 of each, one for either part; "
            f"leave such classes out, or give no stratify (labels, not numbers, belong there)"
        )
    if not len(classes) <= n_test <= n - len(classes):
        raise ValueError(
            f"{n_test} test and {n - n_test} training samples cannot both hold all "
            f"{len(classes)} classes: change test_size, or give no stratify"
        )
    share = n_test * counts / n
    taken = np.maximum(np.floor(share), 1).astype(np.intp)
    while short := n_test - int(taken.sum()):  # one sample more, or less, where it hurts least
        step = 1 if short > 0 else -1
        free = taken < counts - 1 if step > 0 else taken > 1
        taken[np.where(free, step * (share - taken), -np.inf).argmax()] += step
    is_test, drawn = np.zeros(n, dtype=bool), label[order]
    for c, count in enumerate(taken):
        is_test[np.flatnonzero(drawn == c)[:count]] = True
    return is_test


class Standardize:
    """Scale each feature to mean 0 and standard deviation 1: z = (x - mean) / std.

    Fit it on the training part only, and transform every part with it. Axis 0 counts samples;
    each place of the other axes is a feature, so (N,), (N, features) and (N, 8, 8) all work. The
    standard deviation is that of the sample itself (divided by N). Statistics and scaling are
    computed in float64, whatever the dtype; the result has the dtype of the input if that is
    floating, and float32 for integers and booleans.

    A feature that does not vary in the training data (or only by a few roundings of float64) has
    ``std`` 0. It becomes 0 in all data, new data too, since nothing could be learned from it, and
    ``inverse`` gives its mean. scikit-learn would hand on x - mean there.

    Example:
        >>> scale = Standardize()
        >>> scale.fit_transform([[1.0, 5.0], [3.0, 5.0]])
        array([[-1.,  0.],
               [ 1.,  0.]])
        >>> scale.inverse([[0.0, 0.0]])
        array([[2., 5.]])
    """

    def __init__(self) -> None:
        self._statistics: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def mean(self) -> np.ndarray:
        """The mean of each feature, float64. Raises RuntimeError before ``fit``."""
        return self._fitted()[0]

    @property
    def std(self) -> np.ndarray:
        """The standard deviation of each feature, float64. Raises RuntimeError before ``fit``."""
        return self._fitted()[1]

    def fit(self, x: ArrayLike) -> Standardize:
        """Measure the features of ``x`` (N, ...) and return self.

        Raises:
            TypeError: if ``x`` is not an array of numbers.
            ValueError: if N is below 2, or a value is NaN, infinite or too large to be summed.
        """
        array = as_numbers(x, "x")
        if len(array) < 2:
            raise ValueError(f"Standardize.fit needs at least 2 samples, got {len(array)}")
        require_finite(array, "x")
        # Measured from the first row, a constant feature has exactly the mean x[0] and spread 0;
        # squares of parts of the spread neither overflow nor vanish.
        values = array.astype(np.float64, copy=False)
        with np.errstate(over="ignore", invalid="ignore"):
            mean = np.asarray(values[0] + (values - values[0]).mean(axis=0))
            deviation = values - mean
            spread = np.abs(deviation).max(axis=0)
        if not np.isfinite(spread).all():
            raise ValueError("x holds values so large that float64 cannot sum them: scale x down")
        varies = spread > 8 * np.finfo(np.float64).eps * np.abs(mean)
        unit = np.where(varies, spread, 1.0)
        std = np.where(varies, unit * np.sqrt(np.square(deviation / unit).mean(axis=0)), 0.0)
        self._statistics = mean, std
        return self

    def transform(self, x: ArrayLike) -> np.ndarray:
        """Return (x - mean) / std, a new array in the shape of ``x``.

        Raises:
            RuntimeError: before ``fit``.
            TypeError: if ``x`` is not an array of numbers.
            ValueError: for other features than those of ``fit``, or a NaN or infinite value.
        """
        mean, std = self._fitted()
        array = self._checked(x)
        require_finite(array, "x")
        z = np.divide(array - mean, std, out=np.zeros(array.shape), where=std > 0)
        return z.astype(_floating(array), copy=False)

    def fit_transform(self, x: ArrayLike) -> np.ndarray:
        """Return ``fit(x).transform(x)``."""
        return self.fit(x).transform(x)

    def inverse(self, z: ArrayLike) -> np.ndarray:
        """Return z * std + mean: what ``transform`` made ``z`` of.

        Raises:
            RuntimeError: before ``fit``.
            TypeError: if ``z`` is not an array of numbers.
            ValueError: for other features than those of ``fit``.
        """
        mean, std = self._fitted()
        array = self._checked(z)
        return (array * std + mean).astype(_floating(array), copy=False)

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return ``{"mean": ..., "std": ...}``, copies. Raises RuntimeError before ``fit``."""
        return {"mean": self.mean.copy(), "std": self.std.copy()}

    def load_state_dict(self, state: Mapping[str, ArrayLike]) -> None:
        """Take over the statistics of a saved state, as copies.

        Raises:
            TypeError: for what holds no real numbers.
            ValueError: for missing or unexpected keys, unequal shapes, NaN or infinity, or a
                negative ``std``; nothing is then changed.
        """
        same_keys(state, ("mean", "std"), "Standardize")
        given = (as_real(state[name], f"Standardize: {name}") for name in ("mean", "std"))
        mean, std = (array.astype(np.float64) for array in given)
        if mean.shape != std.shape:
            raise ValueError(f"mean has shape {mean.shape}, std {std.shape}: expected equal shapes")
        if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std >= 0).all()):
            raise ValueError("mean and std of a state are finite, and std is not negative")
        self._statistics = mean, std

    def _fitted(self) -> tuple[np.ndarray, np.ndarray]:
        if self._statistics is None:
            raise RuntimeError("Standardize knows no mean and std yet: call fit(x_train) first")
        return self._statistics

    def _checked(self, x: ArrayLike) -> np.ndarray:
        array = as_numbers(x, "x")
        if array.shape[1:] != self.mean.shape:
            raise ValueError(
                f"fit saw samples of shape {self.mean.shape}, expected x of shape "
                f"{('N', *self.mean.shape)}, got {array.shape}; one sample alone is x[None]"
            )
        return array

    def __repr__(self) -> str:
        if self._statistics is None:
            return "Standardize(not fitted)"
        return f"Standardize(features of shape {self.mean.shape})"


def _floating(array: np.ndarray) -> np.dtype:
    return array.dtype.newbyteorder("=") if array.dtype.kind == "f" else np.dtype(np.float32)


def one_hot(
    labels: ArrayLike, num_classes: int | None = None, dtype: DTypeLike = np.float32
) -> np.ndarray:
    """Return rows of zeros with a single 1 at the place of each label.

    Args:
        labels: integers of any shape (...), each from 0 to ``num_classes`` - 1.
        num_classes: the length of a row; by default the largest label plus 1.
        dtype: the dtype of the result.

    Returns:
        An array of shape (..., num_classes).

    Raises:
        TypeError: for labels that are not integers.
        ValueError: for a label that is negative or not below ``num_classes``, or no labels
            without ``num_classes``.

    Example:
        >>> one_hot([0, 2])
        array([[1., 0., 0.],
               [0., 0., 1.]], dtype=float32)
    """
    array = as_array(labels, "labels")
    if num_classes is None and not array.size:
        raise ValueError("without a label, the number of classes is unknown: pass num_classes=")
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(
            f"labels are integers, got dtype {array.dtype}: "
            f"if they are whole numbers, convert them with labels.astype(np.int64)"
        )
    flat = array.ravel()
    if num_classes is None:
        classes, expected = int(flat.max()) + 1, "0 or more"
    else:
        classes = whole_number(num_classes, "one_hot: num_classes", at_least=1)
        expected = f"0 to {classes - 1} (num_classes={classes})"
    wrong = np.flatnonzero((flat < 0) | (flat >= classes))
    if wrong.size:
        raise ValueError(
            f"label {flat[wrong[0]]} in row {wrong[0]} (counted from 0) is out of range, expected "
            f"{expected}: labels count from 0, and num_classes is the largest label plus 1"
        )
    rows = np.zeros((flat.size, classes), dtype=dtype)
    rows[np.arange(flat.size), flat.astype(np.intp)] = 1
    return rows.reshape(*array.shape, classes)
