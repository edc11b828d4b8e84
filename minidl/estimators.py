"""minidl in scikit-learn: a classifier and a regressor for its pipelines, searches and scores.

They are thin: scikit-learn checks what comes in, ``minidl.fit`` trains, in float32 and with the
compiled step where there can be one. It needs the extra ``sklearn``, and ``import minidl`` does not
import it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl import nn, optim
from minidl.arrays import Array
from minidl.checks import number, one_of, whole_number
from minidl.compile import CompileError
from minidl.data import DataLoader, train_test_split
from minidl.extras import need
from minidl.modes import drawing_through
from minidl.rng import generator
from minidl.scopes import Block
from minidl.training import EarlyStopping, fit, predict

base = need("sklearn.base", extra="sklearn", what="minidl.estimators")
multiclass = need("sklearn.utils.multiclass", extra="sklearn", what="minidl.estimators")
validation = need("sklearn.utils.validation", extra="sklearn", what="minidl.estimators")

RULES: dict[str, tuple[Any, float]] = {  # with the learning rates that lr=None means
    "sgd": (optim.SGD, 0.1),
    "momentum": (optim.Momentum, 0.01),
    "adagrad": (optim.Adagrad, 0.01),
    "rmsprop": (optim.RMSProp, 0.001),
    "adam": (optim.Adam, 0.001),
}
# Few inputs and many hidden units overfit less from it than from He's, which starts larger.
INIT = "glorot_uniform"
COPIES = (
    8  # of a sample, in the mean, are made for whole-number weights; more would fill the memory
)

Module = Callable[[int, int], nn.Module]
Rule = str | Callable[..., optim.Optimizer]


class Network(base.BaseEstimator):
    """What :class:`Classifier` and :class:`Regressor` share: the network, and how it is trained."""

    def __init__(
        self,
        hidden: int | Sequence[int] = (128,),
        *,
        batch_norm: bool = False,
        dropout: float = 0.0,
        rule: Rule = "adam",
        lr: Any = None,
        weight_decay: float = 0.0,
        epochs: int = 200,
        batch_size: int = 200,
        patience: int | None = 10,
        tol: float = 1e-4,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        module: Module | None = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.hidden, self.batch_norm, self.dropout = hidden, batch_norm, dropout
        self.rule, self.lr, self.weight_decay = rule, lr, weight_decay
        self.epochs, self.batch_size = epochs, batch_size
        self.patience, self.tol = patience, tol
        self.early_stopping, self.validation_fraction = early_stopping, validation_fraction
        self.module, self.random_state, self.verbose = module, random_state, verbose

    # What the two do differently ------------------------------------------------------------------

    def _loss(self) -> nn.Module:
        """A loss of its own, since threads may learn at the same time."""
        raise NotImplementedError

    def _targets(self, y: Array, first: bool, classes: Any) -> Array:
        """Look at y: (N,) classes as numbers from 0, or (N, T) numbers."""
        raise NotImplementedError

    def _scaled(self, y: Array, weights: Array | None, first: bool) -> Array:
        """The targets that the loss is of."""
        return y

    # Learning -------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Learn from samples, beginning anew.

        Args:
            X: numbers, (N, features), or a DataFrame of them.
            y: a label or a number for each sample, (N,); for the Regressor also (N, outputs).
            sample_weight: of 0 or more, (N,); None weighs all alike.

        Returns:
            The estimator itself.
        """
        x, y, weights = self._checked(X, y, sample_weight, first=True)
        epochs = whole_number(self.epochs, f"{self._name}: epochs", at_least=1)
        callbacks, held_out = [], None
        if self.patience is not None:
            whole_number(self.patience, f"{self._name}: patience, unless None,", at_least=1)
            tol = number(self.tol, f"{self._name}: tol", at_least=0)
            callbacks = [
                EarlyStopping(self.patience, min_delta=tol)
                if self.early_stopping
                else EarlyStopping(self.patience, monitor="loss", min_delta=tol, restore_best=False)
            ]
        self._rng = _generator(self.random_state)
        order = _order(x, y, weights)
        x, y, weights = (a if a is None else a[order] for a in (x, y, weights))
        if self.early_stopping:
            x, y, weights, held_out = self._held_out(x, y, weights)
        x, y, weights = _counted(x, y, weights)
        y = self._scaled(y, weights, first=True)
        if held_out is not None:
            held_out = (held_out[0], self._scaled(held_out[1], None, first=False), *held_out[2:])
        self._begin(x.shape[1], self._outputs_for(y))
        return self._learn(x, y, weights, held_out, epochs, callbacks)

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, classes: Any = None) -> Any:
        first = not hasattr(self, "model_")
        x, y, weights = self._checked(X, y, sample_weight, first, classes)
        x, y, weights = _counted(x, y, weights)
        y = self._scaled(y, weights, first)
        if first:
            self._rng = _generator(self.random_state)
            self._begin(x.shape[1], self._outputs_for(y))
        return self._learn(x, y, weights, None, 1, [])

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _checked(
        self, X: Any, y: Any, sample_weight: Any, first: bool, classes: Any = None
    ) -> tuple[Any, Any, Any]:
        """x as float32, targets, and weights in float64 or None, each for the same samples."""
        x, y = validation.validate_data(
            self, X, y, reset=first, dtype=np.float32, order="C",
            multi_output=isinstance(self, base.RegressorMixin),
            y_numeric=isinstance(self, base.RegressorMixin),
        )  # fmt: skip
        y = self._targets(y, first, classes)
        if sample_weight is None:
            return x, y, None
        weights = validation.check_array(
            sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight"
        )
        if weights.shape != (len(x),):
            raise ValueError(
                f"{self._name}: sample_weight has shape {weights.shape}, expected ({len(x)},): one "
                f"for each sample"
            )
        if weights.min() < 0 or not weights.any():
            what = f"one of {weights.min():g}" if weights.min() < 0 else "zeros only"
            raise ValueError(f"{self._name}: sample_weight is 0 or more and not all 0, got {what}")
        return x, y, weights

    def _outputs_for(self, y: Array) -> int:
        return len(self.classes_) if y.ndim == 1 else y.shape[1]

    def _held_out(self, x: Array, y: Array, weights: Array | None) -> tuple[Any, ...]:
        """x, y and weights to learn from, and a tuple of those that are held out."""
        share = number(
            self.validation_fraction, f"{self._name}: validation_fraction", above=0, below=1
        )
        arrays = (x, y) if weights is None else (x, y, weights)
        parts = train_test_split(
            *arrays, test_size=share, stratify=y if y.ndim == 1 else None, rng=self._rng
        )
        return (*parts[::2], *[None] * (3 - len(arrays)), parts[1::2])

    def _drawing(self) -> Block:
        """A block in which what asks for minidl's own generator gets that of the estimator."""
        own = generator()
        return drawing_through(lambda rng: self._rng if rng is own else rng)

    def _begin(self, inputs: int, outputs: int) -> None:
        """Make the network and its optimizer."""
        with self._drawing():
            self.model_ = self._network(inputs, outputs)
        rule, lr = self.rule, self.lr
        if isinstance(rule, str):
            one_of(rule, f"{self._name}: rule, if no class,", list(RULES))
            rule, usual = RULES[rule]
            lr = usual if lr is None else lr
        settings: dict[str, Any] = {} if lr is None else {"lr": lr}
        if self.weight_decay:
            settings["weight_decay"] = self.weight_decay
        self.optimizer_ = rule(self.model_.parameters(), **settings)
        self.loss_curve_: list[float] = []

    def _network(self, inputs: int, outputs: int) -> nn.Module:
        if self.module is not None:
            model = self.module(inputs, outputs)
            if not isinstance(model, nn.Module):
                raise TypeError(
                    f"{self._name}: module is a function of the numbers of inputs and outputs that "
                    f"returns a Module, and it returned {model!r}"
                )
            return model
        hidden = (self.hidden,) if isinstance(self.hidden, int | np.integer) else self.hidden
        layers: list[nn.Module] = []
        for width in hidden:
            width = whole_number(width, f"{self._name}: each of hidden", at_least=1)
            layers.append(nn.Linear(inputs, width, init=INIT))
            if self.batch_norm:
                layers.append(nn.BatchNorm(width))
            layers.append(nn.ReLU())
            if self.dropout:
                layers.append(nn.Dropout(self.dropout))
            inputs = width
        return nn.Sequential(*layers, nn.Linear(inputs, outputs, init=INIT))

    def _learn(
        self, x: Array, y: Array, weights: Array | None, held_out: Any, epochs: int, callbacks: Any
    ) -> Any:
        """Train for so many epochs more."""
        size, n = whole_number(self.batch_size, f"{self._name}: batch_size", at_least=1), len(x)
        while n > 1 and n % size == 1:  # a last batch of one sample, of which BatchNorm learns not
            size += 1
        arrays = (x, y) if weights is None else (x, y, weights)
        loader = DataLoader(*arrays, batch_size=size, shuffle=True, rng=self._rng)

        def trained(compiled: bool) -> Any:
            with self._drawing():
                return fit(
                    self.model_, self._loss(), self.optimizer_, loader, held_out, epochs=epochs,
                    metrics={}, callbacks=callbacks, progress=self.verbose, compiled=compiled,
                )  # fmt: skip

        parts = self.model_, self.optimizer_, self._rng, loader
        ours = self.module is None and isinstance(self.rule, str)
        before = None if ours or weights is not None else copy.deepcopy(parts)
        try:
            history = trained(compiled=weights is None)
        except CompileError:
            if before is None:
                raise
            self.model_, self.optimizer_, self._rng, loader = before
            history = trained(compiled=False)
        self.optimizer_.zero_grad()
        self.loss_curve_ += history["loss"]
        self.n_iter_ = len(self.loss_curve_)
        if held_out is not None:
            self.validation_loss_curve_ = history["validation_loss"]
        return self

    # Predicting -----------------------------------------------------------------------------------

    def _outputs(self, X: Any) -> Array:
        """What the network says, in float64, so that it is the same alone and among others."""
        validation.check_is_fitted(self, "model_")
        x = validation.validate_data(self, X, reset=False, dtype=np.float32)
        return predict(_in_double(self.model_), x.astype(np.float64))


class Classifier(base.ClassifierMixin, Network):
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


class Regressor(base.RegressorMixin, Network):
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
            self.mean_ = np.average(y, axis=0, weights=weights)
            scale = np.sqrt(np.average((y - self.mean_) ** 2, axis=0, weights=weights))
            self.scale_ = np.where(scale > 0, scale, 1.0)
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


def _generator(random_state: Any) -> np.random.Generator:
    """A generator of the estimator's own; None means a new one each time."""
    if random_state is None:
        return np.random.default_rng()
    if isinstance(random_state, np.random.RandomState):
        return generator(int(random_state.randint(2**31 - 1)))
    return generator(random_state)


def _in_double(model: nn.Module) -> nn.Module:
    """A copy with float64 in the place of float32."""
    model = copy.deepcopy(model)
    for p in model.parameters():
        p.data = p.data.astype(np.float64)
    for _, module in model.modules():
        for name in module.buffers:
            if getattr(buffer := getattr(module, name), "dtype", None) == np.float32:
                setattr(module, name, buffer.astype(np.float64))
    return model


def _order(x: Array, y: Array, weights: Array | None) -> Array:
    """An order of the samples by what they are, and not by where they stand.

    It sorts by a number made of each row: equal rows have equal ones, and sums of whole numbers do
    not depend on what is beside them in memory.
    """
    bits = np.column_stack([x, y]).astype(np.float32).view(np.uint32)
    factors = np.random.default_rng(0).integers(2**62, size=bits.shape[1], dtype=np.uint64)
    keys = np.einsum("ij,j->i", bits, 2 * factors + 1, dtype=np.uint64, casting="safe")
    return np.argsort(keys) if weights is None else np.lexsort([weights, keys])


def _counted(x: Array, y: Array, weights: Array | None) -> tuple[Array, Array, Array | None]:
    """The samples as often as they count, if weights are whole numbers; without those of none."""
    if weights is None:
        return x, y, None
    if (weights == np.floor(weights)).all() and weights.sum() <= COPIES * len(x):
        rows = np.repeat(np.arange(len(x)), weights.astype(np.intp))
        return x[rows], y[rows], None
    there = weights > 0
    return x[there], y[there], weights[there].astype(np.float32)
