"""What both estimators are: a network, its settings, and how scikit-learn's calls train it."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl import nn, optim
from minidl.arrays import Array
from minidl.checks import number, one_of, whole_number
from minidl.compile import CompileError
from minidl.data import DataLoader, train_test_split
from minidl.estimators.samples import counted, in_order
from minidl.extras import need
from minidl.modes import drawing_through
from minidl.rng import generator
from minidl.scopes import Block
from minidl.training import EarlyStopping, fit, predict

base = need("sklearn.base", extra="sklearn", what="minidl.estimators")
validation = need("sklearn.utils.validation", extra="sklearn", what="minidl.estimators")
BaseEstimator: Any = base.BaseEstimator

RULES: dict[str, tuple[Any, float]] = {  # with the learning rates that lr=None means
    "sgd": (optim.SGD, 0.1),
    "momentum": (optim.Momentum, 0.01),
    "adagrad": (optim.Adagrad, 0.01),
    "rmsprop": (optim.RMSProp, 0.001),
    "adam": (optim.Adam, 0.001),
}
# Few inputs and many hidden units overfit less from it than from He's, which starts larger.
INIT = "glorot_uniform"

Module = Callable[[int, int], nn.Module]
Rule = str | Callable[..., optim.Optimizer]


class Network(BaseEstimator):
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

    _of_numbers: bool  # whether targets are, and not classes

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
        callbacks: list[Any] = []
        held_out: Any = None
        if self.patience is not None:
            whole_number(self.patience, f"{self._name}: patience, unless None,", at_least=1)
            tol = number(self.tol, f"{self._name}: tol", at_least=0)
            callbacks = [
                EarlyStopping(self.patience, min_delta=tol)
                if self.early_stopping
                else EarlyStopping(self.patience, monitor="loss", min_delta=tol, restore_best=False)
            ]
        one_of(self.early_stopping, f"{self._name}: early_stopping", (False, True))
        self._rng = own_generator(self.random_state)
        x, y, weights = in_order(x, y, weights)
        if self.early_stopping:
            x, y, weights, held_out = self._held_out(x, y, weights)
        x, y, weights = counted(x, y, weights)
        y = self._scaled(y, weights, first=True)
        if held_out is not None:
            held_out = (held_out[0], self._scaled(held_out[1], None, first=False), *held_out[2:])
        self._begin(x, self._outputs_for(y))
        return self._learn(x, y, weights, held_out, epochs, callbacks)

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, classes: Any = None) -> Any:
        first = not hasattr(self, "model_")
        x, y, weights = self._checked(X, y, sample_weight, first, classes)
        x, y, weights = counted(x, y, weights)
        y = self._scaled(y, weights, first)
        if first:
            self._rng = own_generator(self.random_state)
            self._begin(x, self._outputs_for(y))
        return self._learn(x, y, weights, None, 1, [])

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _checked(
        self, X: Any, y: Any, sample_weight: Any, first: bool, classes: Any = None
    ) -> tuple[Any, Any, Any]:
        """x as float32, targets, and weights in float64 or None, each for the same samples."""
        with np.errstate(
            over="ignore", invalid="ignore"
        ):  # what is too large for float32 is refused
            x, y = validation.validate_data(
                self, X, y, reset=first, dtype=np.float32, order="C",
                multi_output=self._of_numbers, y_numeric=self._of_numbers,
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
        classes = y if y.ndim == 1 else None
        try:
            parts = train_test_split(*arrays, test_size=share, stratify=classes, rng=self._rng)
        except ValueError as error:
            raise ValueError(
                f"{self._name}: early_stopping holds out a validation_fraction of {share:g}: "
                f"{error}"
            ) from error
        return (*parts[::2], *[None] * (3 - len(arrays)), parts[1::2])

    def _drawing(self) -> Block:
        """A block in which what asks for minidl's own generator gets that of the estimator."""
        own = generator()
        return drawing_through(lambda rng: self._rng if rng is own else rng)

    def _begin(self, x: Array, outputs: int) -> None:
        """Make the network and its optimizer."""
        with self._drawing():
            self.model_ = self._network(x.shape[1], outputs)
            if self.module is not None:
                self._check_module(x[:2], outputs)
        self.optimizer_ = self._optimizer()
        self.loss_curve_: list[float] = []

    def _check_module(self, x: Array, outputs: int) -> None:
        """Raise unless the network, or rather a copy, gives so many numbers for each sample."""
        shape = predict(copy.deepcopy(self.model_), x).shape
        if shape != (len(x), outputs):
            raise ValueError(
                f"{self._name}: module({x.shape[1]}, {outputs}) gives for {len(x)} samples an "
                f"array of shape {shape}, expected ({len(x)}, {outputs})"
            )

    def _optimizer(self) -> optim.Optimizer:
        rule, lr = self.rule, self.lr
        if isinstance(rule, str):
            one_of(rule, f"{self._name}: rule, if no class,", list(RULES))
            rule, usual = RULES[rule]
            lr = usual if lr is None else lr
        elif not callable(rule) or (
            isinstance(rule, type) and not issubclass(rule, optim.Optimizer)
        ):
            raise TypeError(
                f"{self._name}: rule is the name of one, or a class as optim.AdamW is, got {rule!r}"
            )
        elif lr is None and _is_needed("lr", rule):
            raise ValueError(
                f"{self._name}: {getattr(rule, '__name__', rule)} has no learning rate of its own: "
                f"give lr as well"
            )
        settings: dict[str, Any] = {} if lr is None else {"lr": lr}
        if self.weight_decay:
            settings["weight_decay"] = self.weight_decay
        return rule(self.model_.parameters(), **settings)

    def _network(self, inputs: int, outputs: int) -> nn.Module:
        if self.module is not None:
            what = "module is a function of the numbers of inputs and outputs that returns a Module"
            if not callable(self.module) or isinstance(self.module, nn.Module):
                raise TypeError(f"{self._name}: {what}, got {self.module!r}")
            model = self.module(inputs, outputs)
            if not isinstance(model, nn.Module):
                raise TypeError(f"{self._name}: {what}, and it returned {model!r}")
            return model
        one_of(self.batch_norm, f"{self._name}: batch_norm", (False, True))
        hidden: Any = self.hidden
        if isinstance(hidden, str | dict | set) or not np.iterable(hidden):
            hidden = (hidden,)
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
        with np.errstate(over="ignore", invalid="ignore"):
            x = validation.validate_data(self, X, reset=False, dtype=np.float32)
        return predict(in_double(self.model_), x)


def _is_needed(name: str, function: Callable[..., Any]) -> bool:
    """Whether a function has an argument of that name, and no default for it."""
    argument = inspect.signature(function).parameters.get(name)
    return argument is not None and argument.default is argument.empty


def own_generator(random_state: Any) -> np.random.Generator:
    """A generator of the estimator's own; None means a new one each time."""
    if random_state is None:
        return np.random.default_rng()
    if isinstance(random_state, np.random.RandomState):
        return generator(int(random_state.randint(2**31 - 1)))
    return generator(random_state)


def in_double(model: nn.Module) -> nn.Module:
    """A copy with float64 in the place of float32."""
    model = copy.deepcopy(model)
    for p in model.parameters():
        p.data = p.data.astype(np.float64)
    for _, module in model.modules():
        for name in module.buffers:
            if getattr(buffer := getattr(module, name), "dtype", None) == np.float32:
                setattr(module, name, buffer.astype(np.float64))
    return model
