"""The learning-rate range test: at which rates a model learns, found in a few dozen steps.

The name is in :mod:`minidl.optim`; it stands here because it trains.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.arrays import Array
from minidl.checks import number, whole_number
from minidl.compile import compile as compiled_step
from minidl.data import DataLoader
from minidl.diagnosis.divergence import outputs_of, spoiled
from minidl.nn import Module
from minidl.optim import SGD, Optimizer
from minidl.parts import check_parts
from minidl.protocols import plain
from minidl.rng import generator
from minidl.tensor import Tensor
from minidl.training.batches import Data, as_loader, called, columns
from minidl.training.evaluation import modes_restored
from minidl.training.figures import COLORS, new_figure, save
from minidl.training.measures import Function, single_number
from minidl.training.provenance import generators
from minidl.training.run import copied, put_back
from minidl.training.trials import check_parameters
from minidl.training.weighting import Weighted

Rule = Callable[..., Optimizer]
DIVERGED = 4.0  # times the lowest smoothed loss, and the test is over
SMOOTHING = 0.8  # of the running mean is kept in each step


@dataclass(frozen=True, eq=False, repr=False)
class RateRange:
    """What :func:`lr_range` found.

    Attributes:
        rates: the learning rates, one for each step, rising.
        losses: the loss of each step's batch, before the step.
        smoothed: their running mean, in which the latest counts most.
        diverged: whether the test ended because the loss rose beyond four times its lowest value,
            or was no longer finite; else it came to the highest rate.
    """

    rates: Array
    losses: Array
    smoothed: Array
    diverged: bool

    @property
    def suggestion(self) -> float | None:
        """A tenth of the rate at which the smoothed loss was lowest; None if it never fell.

        It fell if the lowest smoothed loss is below the mean of the losses at the lowest rates (the
        first tenth of the steps) by more than their standard deviation.
        """
        n = max(5, len(self.losses) // 10)
        first = self.losses[:n]
        if len(self.losses) <= n or not self.smoothed.min() < first.mean() - first.std():
            return None
        return float(self.rates[self.smoothed.argmin()] / 10)

    def __repr__(self) -> str:
        rates = f"{len(self.rates)} steps from {self.rates[0]:.2g} to {self.rates[-1]:.2g}"
        if self.suggestion is None:
            end = "the loss never fell"
        elif self.diverged:
            end = f"then the loss diverged; suggestion {self.suggestion:.2g}"
        else:
            end = f"the loss did not diverge; suggestion {self.suggestion:.2g}"
        return f"<RateRange: {rates}, {end}>"

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw the loss over the rates, with the suggestion marked.

        Args:
            path: where to save the figure; its suffix says as what (``.png``, ``.svg``, ``.pdf``).

        Returns:
            The ``matplotlib.figure.Figure``, which a notebook shows.

        Raises:
            ImportError: if there is no matplotlib; the message says how to install it.
            FileNotFoundError: if there is no folder to save it to.
            ValueError: for a suffix that matplotlib does not know.
        """
        figure = new_figure("RateRange.plot", 6.4, 4.0)
        axes = figure.add_subplot()
        axes.plot(self.rates, self.losses, color="0.75", linewidth=1, label="each batch")
        axes.plot(self.rates, self.smoothed, color=COLORS[0], linewidth=2, label="smoothed")
        best = int(self.smoothed.argmin())
        if self.suggestion is not None:
            label = f"lowest, at {self.rates[best]:.2g}"
            axes.plot(self.rates[best], self.smoothed[best], "o", color=COLORS[0], label=label)
            label = f"suggestion {self.suggestion:.2g}, a tenth of that rate"
            axes.axvline(self.suggestion, color=COLORS[1], linestyle="--", label=label)
        axes.set_xscale("log")
        # What is far above the loss at the beginning is divergence, and would flatten the rest.
        highest = self.losses[: best + 1].max()
        axes.set_ylim(top=highest + 0.6 * abs(highest))
        end = "it diverged at" if self.diverged else "it did not diverge up to"
        never = "the loss never fell; " if self.suggestion is None else ""
        axes.set_title(f"Learning-rate range test: {never}{end} {self.rates[-1]:.2g}")
        axes.set_xlabel("learning rate, raised in every step")
        axes.set_ylabel("training loss")
        axes.grid(alpha=0.3)
        axes.legend()
        save(figure, path, "RateRange.plot")
        return figure


def lr_range(
    model: Module,
    loss: Function,
    data: Data,
    rule: Optimizer | Rule = SGD,
    *,
    lowest: float = 1e-6,
    highest: float = 10.0,
    steps: int = 100,
    compiled: bool = False,
) -> RateRange:
    """Train for some steps at rising learning rates, and tell at which the loss falls, or diverges.

    The rate of step i = 0, 1, ... is ``lowest * (highest / lowest) ** (i / (steps - 1))``. Too low
    a rate leaves the loss as it is, a good one lets it fall, too high a one lets it rise. The test
    ends after ``steps``, or as soon as the smoothed loss is four times its lowest or not finite.
    Smoothed is the running mean ``s = 0.8 * s + 0.2 * loss``, divided by ``1 - 0.8 ** (i + 1)``
    since it starts at 0.

    The model is left as it was: weights, buffers, gradients and modes, the optimizer, minidl's
    generator and those that the parts hold. Other things that ``forward`` sets are not.

    The ``suggestion`` is a tenth of the rate at which the smoothed loss was lowest. There the loss
    is about to rise already, and further training needs a margin. The other usual choice, the rate
    at which the loss falls fastest, is a slope of noisy numbers: with 8 seeds each of SGD, Momentum
    and Adam on digits and moons, it often was one at which nothing is learnt, and a tenth of the
    lowest never was. It is a first guess for a constant rate; look at the plot.

    Args:
        model: any Module.
        loss: a function of predictions and targets that returns a Tensor of one number.
        data: the training data, as for :func:`minidl.fit`; a tuple of arrays in shuffled batches of
            32. The best rate depends on the size of the batches.
        rule: a rule, such as ``optim.Adam``, or anything that makes an optimizer when it is called
            with parameters and ``lr=``; or an optimizer, with its state. The rates of its groups
            keep their ratios to that of the first group, which is the one that is reported.
        lowest, highest: the first and the last rate.
        steps: how many, at least 10. They go through the data again and again.
        compiled: whether to run the steps as programs (see :func:`minidl.compile`).

    Returns:
        A :class:`RateRange`: ``rates``, ``losses``, ``smoothed``, ``suggestion``, ``plot(path)``.

    Raises:
        TypeError, ValueError: for arguments that do not fit together.
        FloatingPointError: if the loss is not finite before the first step.
        CompileError: with ``compiled``, if the step cannot be written as a program.

    Sources: Smith, "Cyclical Learning Rates for Training Neural Networks" (2017), section 3.3, of
    which the test is (there the rate rises linearly); the tenth of the lowest: Gugger, "How Do You
    Find A Good Learning Rate" (2018), and fastai's ``lr_find``.

    Example:
        >>> import minidl
        >>> from minidl import data, nn, optim
        >>> minidl.seed(0)
        >>> x, y = data.make_moons()
        >>> model = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 2))
        >>> found = optim.lr_range(model, nn.CrossEntropyLoss(), (x, y), optim.Adam)
        >>> 0.001 < found.suggestion < 0.3
        True
    """
    check_parts("lr_range", model, loss)
    if not isinstance(rule, Optimizer) and not callable(rule):
        raise TypeError(
            f"lr_range: rule is a rule such as optim.Adam, or an optimizer, got {rule!r}"
        )
    lowest = number(lowest, "lr_range: lowest", above=0)
    highest = number(highest, "lr_range: highest", above=lowest)
    rates = np.geomspace(lowest, highest, whole_number(steps, "lr_range: steps", at_least=10))
    losses: list[float] = []
    smoothed: list[float] = []
    mean = 0.0
    # Here losses may overflow: that is what is looked for.
    with _put_back(model, loss, rule, data) as to_train_mode, np.errstate(all="ignore"):
        optimizer = rule if isinstance(rule, Optimizer) else rule(model.parameters(), lr=lowest)
        check_parts("lr_range", model, loss, optimizer)
        check_parameters(model, optimizer, saving=False, caller="lr_range")
        loader = as_loader("lr_range: data", data, model, shuffle=True)
        if columns(loader)[2] is not None:
            Weighted(loss).check("lr_range: data")
        _let_follow(optimizer, rates)
        to_train_mode()
        for value in _losses(model, loss, optimizer, copy.copy(loader), compiled):
            if not math.isfinite(value):
                break
            losses.append(value)
            mean = SMOOTHING * mean + (1 - SMOOTHING) * value
            smoothed.append(mean / (1 - SMOOTHING ** len(losses)))
            if len(losses) == steps or smoothed[-1] > DIVERGED * min(smoothed):
                break
    n = len(losses)
    if not n:
        raise FloatingPointError(
            f"lr_range: the loss of the first batch is {value}, before any step was made: look at "
            f"the data and the initial weights"
        )
    return RateRange(rates[:n], np.array(losses), np.array(smoothed), n < steps)


def _losses(
    model: Module, loss: Function, optimizer: Optimizer, loader: DataLoader, compiled: bool
) -> Iterator[float]:
    """Train without end, and tell the loss before each step; NaN for what the loss refuses."""
    attempt = compiled_step(model, loss, optimizer).attempt if compiled else None
    loss_of = Weighted(loss)
    before = -1
    while before < optimizer.steps:  # else there was no step in the whole epoch
        before = optimizer.steps
        for x, y, *weights in loader:
            made = None if attempt is None or weights else attempt(x, y)
            if made is not None:
                yield made[0]
                continue
            optimizer.zero_grad()
            predictions = called(model, x)
            if loss_of.share(plain(predictions), y, *weights) == 0:
                continue
            try:
                value = loss_of(predictions, y, *weights)
            except ValueError:
                if not spoiled(outputs_of(predictions)):
                    raise
                value = math.nan
            yield single_number(value, "the loss")
            if not isinstance(value, Tensor) or not value.requires_grad:
                raise ValueError(
                    f"lr_range: the loss is a {type(value).__name__} that depends on no parameter: "
                    f"compute it by functions of minidl from what the model returned"
                )
            value.backward()
            optimizer.step()
    raise ValueError("lr_range: in all batches of data no target counts, so that there is no loss")


def _let_follow(optimizer: Optimizer, rates: Array) -> None:
    """Give each group a schedule: these rates, in the ratio that it has to the first group."""
    several = len(optimizer.groups) > 1  # a schedule for a whole run may have no rate here
    now = [optimizer.current_rate(group) if several else 1.0 for group in optimizer.groups]
    if not now[0]:
        raise ValueError(
            f"lr_range: the first of {len(now)} groups has the rate 0, to which the others have no "
            f"ratio: set its lr"
        )
    begun = optimizer.steps
    for group, rate in zip(optimizer.groups, now, strict=True):
        own = rates if group is optimizer.groups[0] else rates * (rate / now[0])
        group["lr"] = lambda t, own=own: float(own[t - begun])


@contextmanager
def _put_back(
    model: Module, loss: Function, rule: Optimizer | Rule, data: Data
) -> Iterator[Callable[[], None]]:
    """Afterwards all is as it was; what is yielded switches to training (``modes_restored``)."""
    parts = [part for part in (model, loss) if isinstance(part, Module)]
    groups = rule.groups if isinstance(rule, Optimizer) else ()
    tensors = [p for part in parts for p in part.parameters()]
    tensors += [p for group in groups for p in group["params"]]
    arrays = [(p, p.array, p.array.copy()) for p in dict.fromkeys(tensors)]
    nodes = [(p.node, p.node.grad) for p in dict.fromkeys(tensors) if p.node is not None]
    gradients = [(node, g, None if g is None else g.copy()) for node, g in nodes]
    buffers = copied((m, name) for part in parts for _, m in part.modules() for name in m.buffers)
    state = rule.state_dict() if isinstance(rule, Optimizer) else {}
    rates = [group["lr"] for group in groups]  # a schedule has no place in a state
    owners = {"model": model, "loss": loss, "rule": rule, "data": data}
    sources = [generator(), *(g for _, g in generators(owners))]
    drawn = [(g, g.bit_generator.state) for g in sources]
    try:
        with modes_restored(model) as to_train_mode:
            yield to_train_mode
    finally:
        for p, array, content in arrays:
            array[...] = content
            p.array = array  # which a new optimizer has taken into memory of its own
        for node, gradient, held in gradients:
            node.grad = gradient
            if gradient is not None:
                gradient[...] = held
        put_back(buffers)
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate
        if isinstance(rule, Optimizer):
            rule.load_state_dict(state)
        for source, was in drawn:
            source.bit_generator.state = was
