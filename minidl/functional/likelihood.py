"""The negative log likelihood of the true classes, with its derivative by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.arrays import Array
from minidl.functional.softmax import log_softmax, refuse_infinite_max
from minidl.table import vjp


def nll(logits: Array, at: Array, scale: Any, each: bool) -> tuple[Any, Array]:
    """``scale * -log(softmax(logits)[target])``, summed unless ``each``; and the softmax itself.

    Args:
        logits: shape (N, C).
        at: where the target of each sample stands in the logits turned to (C, N), row by row.
        scale: a number for all, or one for each sample.
        each: whether to return a loss for each sample.
    """
    # The logits are turned to (C, N): NumPy reduces the first axis with vector instructions, and a
    # short last one without. For 128 samples of 10 classes that is 1.4 us instead of 6.6 us.
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        z = logits.T.copy()  # (C, N)
        below = z - np.maximum.reduce(z, 0) if z.size else z  # exp is 1 at most, the softmax as is
        picked = below.reshape(-1)[at]  # (N,)
        p = np.exp(below, out=below)
        sums = np.add.reduce(p)
        p /= sums
        losses = (np.log(sums) - picked) * scale
    y = losses if each else losses.sum()
    if each or y != y:  # NaN; for one number this is quicker than any()
        refuse_infinite_max(y, logits, 1)
    return y, p


def _rule(g: Array, at: Array, scale: Any, p: Array) -> Array:
    """(softmax - one_hot(target)) * scale."""
    d = p.copy()  # (C, N)
    d.reshape(-1)[at] -= 1
    d *= g * scale
    return d.T


def _definition(logits: Any, at: Any, scale: Any, each: bool) -> Any:
    classes = np.arange(logits.shape[1])[:, None]
    is_target = classes * len(at) + np.arange(len(at)) == at  # (C, N)
    losses = -np.where(is_target.T, log_softmax(logits), 0).sum(axis=1) * scale
    return losses if each else losses.sum()


vjp(nll, "logits at scale each -> p", logits=_rule, forward=nll, definition=_definition)


def places(target: Array) -> Array:
    """The ``at`` of class numbers (N,)."""
    return np.multiply(target, len(target), dtype=np.intp) + np.arange(len(target))
