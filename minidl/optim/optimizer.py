"""The step: what every rule shares.

A rule is a class with an ``update`` that moves flat arrays of parameters, given flat arrays of
their gradients. This file calls it. The arrays come from ``storage.py``, where all parameters of a
group lie in one buffer, so that a step is one pass over the buffers however many there are.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from minidl.arrays import Array
from minidl.diagnosis.explain import Explanation
from minidl.optim import mistakes
from minidl.optim.declared import Declared, check_made_with
from minidl.optim.float16 import settle
from minidl.optim.groups import Group, groups_of, rate_at
from minidl.optim.home import bring_home
from minidl.optim.inplace import check_in_place, first_block
from minidl.optim.saving import Saved
from minidl.optim.storage import Blocks
from minidl.tensor import Tensor

LearningRate = float | Callable[[int], float]
Parameters = Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[Mapping[str, Any]]


class Optimizer(Declared, Saved):
    """The base class of all rules.

    A rule names its ``state`` and has an ``update`` that moves parameters in place, given
    gradients. The arguments of ``update`` say what it needs: the state after ``x`` and ``dx``, and
    by keyword hyper-parameters and ``t``, the number of this step (1, 2, ...) for these parameters.
    What else it may declare stands in :class:`~minidl.optim.declared.Declared`.

    An optimizer moves the data of its parameters into memory of its own. ``p.data`` is always
    right; an array that was taken from it before the optimizer was made is no longer part of it.

    Args:
        params: Tensors that require gradients, such as ``model.parameters()``; or pairs of name and
            Tensor; or dicts, each a group with ``"params"`` and hyper-parameters of its own.
        lr: the learning rate: a number, or a function of the number of steps taken so far.
        weight_decay: ``dx + weight_decay * x`` takes the place of the gradient ``dx``.
        hyper: the further hyper-parameters of the rule.

    Attributes:
        groups: for each group a mapping with ``"params"`` and the hyper-parameters, which may be
            changed between steps. As an attribute (``optimizer.lr``) a hyper-parameter is read from
            the first group and set in all.
        steps: the number of steps taken.

    Raises:
        TypeError: for something among ``params`` that is not a parameter, a hyper-parameter of
            another kind or that the rule does not have; when a class is made or first used, for an
            ``update`` that does not fit what the class declares.
        ValueError: if there are no parameters, one is listed twice, two share memory, or a
            hyper-parameter is out of range.

    Example:
        >>> class Signs(Optimizer):
        ...     def update(self, x, dx, *, lr):
        ...         x -= lr * np.sign(dx)
        >>> x = Tensor([1.0, -3.0], requires_grad=True)
        >>> optimizer = Signs([x], lr=0.5)
        >>> (x**2).sum().backward()
        >>> optimizer.step()
        >>> x
        Tensor([ 0.5, -2.5], requires_grad=True)
    """

    groups: tuple[Group, ...]
    steps: int

    def __init__(
        self, params: Parameters, lr: LearningRate, weight_decay: float = 0.0, **hyper: Any
    ) -> None:
        hyper = {"lr": lr, "weight_decay": weight_decay, **hyper}
        check_made_with(type(self), hyper)
        self.groups = groups_of(params, type(self), hyper)
        self.steps = 0

    def step(self) -> None:
        """Move every parameter that has a gradient by the rule.

        A parameter without a gradient stays where it is, and so does its state.

        Raises:
            ValueError: if the learning rate that a schedule gives is negative or not finite, or if
                two parameters have come to share memory. Nothing has moved then.
            TypeError: if a parameter has changed its dtype; nothing has moved then. In the first
                step, if ``update`` does not change ``x`` or a state in place (``x = x - ...``).

        Warns:
            RuntimeWarning: if no parameter has a gradient.
        """
        if any(group.storage.away() for group in self.groups):
            self.bring_home()
        rates = [self.current_rate(group) for group in self.groups]  # all, before any moves
        work = [group.storage.ready() for group in self.groups]
        for group, lr, runs in zip(self.groups, rates, work, strict=True):
            first = [] if group.proven or not lr else first_block(runs)
            for t, blocks in runs:
                self.apply(group, blocks, t, lr)
            if first:
                check_in_place(self, group.hyper, *first)
                group.proven = True
            if group.storage.narrow:
                settle(group.storage)
        self.count_step()
        if not any(work):
            warnings.warn(mistakes.nothing_moved(self), RuntimeWarning, stacklevel=2)

    def apply(self, group: Group, blocks: Blocks, t: int, lr: float) -> None:
        """Move blocks of a group by the rule, in their step number ``t``, at the rate ``lr``."""
        known = {**group.hyper, "lr": lr, "t": t}
        hyper = {name: known[name] for name in self.takes}
        decay = not self.decays_itself and group.hyper["weight_decay"]
        for arrays in _decayed(blocks, decay) if decay else blocks:
            if self.update(*arrays, **hyper) is not None:  # type: ignore[func-returns-value]
                raise mistakes.returned_something(self)

    def current_rate(self, group: Group) -> float:
        """The learning rate of a group in the next step."""
        lr = group.hyper["lr"]
        return rate_at(group, self.steps) if callable(lr) else lr

    def count_step(self, n: int = 1) -> None:
        """Count steps that were made, by :meth:`step` or elsewhere."""
        self.steps += n

    def bring_home(self) -> None:
        """Take parameters whose data was set to other arrays back into the optimizer's memory."""
        bring_home([group.storage for group in self.groups])

    def zero_grad(self) -> None:
        """Forget the gradients, as is needed before each backward; they become None."""
        for group in self.groups:
            for p in group.storage.params:
                if p.node is not None:
                    p.node.grad = None

    def explain(self, name: str) -> Explanation:
        """A block in which one step is recorded as it moves one parameter; printed, it tells of it.

        ``name`` is the parameter's, as in the state dict; if several groups have one of that name,
        ``"weight of group 1"``. See :class:`minidl.diagnosis.explain.Explanation`.
        """
        return Explanation(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in vars(self) and not hasattr(type(self), name):
            mistakes.check_own(self, name)  # a misspelt hyper-parameter
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'; '.join(group.described() for group in self.groups)})"


def _decayed(blocks: Blocks, weight_decay: float) -> Iterator[list[Array]]:
    """The blocks with ``dx + weight_decay * x`` in place of dx; the gradient itself stays."""
    for x, dx, *state in blocks:
        decayed = np.multiply(x, weight_decay, out=np.empty_like(x))
        decayed += dx
        decayed.flags.writeable = False
        yield [x, decayed, *state]
