"""Batch normalisation by the statistics of the whole batch, over all ranks.

It is the definition of batch norm with one function more: a sum over the ranks. Its derivative is
such a sum again, and all else follows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.arrays import Array
from minidl.functional.linear import in_dtype_of
from minidl.functional.norm import beside
from minidl.functional.targets import misfit_of_norm
from minidl.nn import BatchNorm, Module
from minidl.parallel.ranks import Ranks
from minidl.table import vjp
from minidl.tensor import Tensor, apply


def sum_over_ranks(x: Any, ranks: Ranks) -> Tensor:
    """``sum(x_r)`` over the ranks r, which all of them get; they all must call it.

    Backward every rank gets the sum of the gradients of all ranks, since its ``x`` is part of what
    each of them got.

    Example:
        >>> from minidl.parallel import Alone
        >>> sum_over_ranks(Tensor([1.0, 2.0]), Ranks(Alone()))
        Tensor([1., 2.])
    """
    return apply(sum_over_ranks, x, ranks)


vjp(
    sum_over_ranks,
    "x ranks",
    x=lambda g, ranks: sum_over_ranks(g, ranks) if isinstance(g, Tensor) else ranks.sum(g),
    forward=lambda x, ranks: ranks.sum(x),
)


class SyncBatchNorm(BatchNorm):
    """BatchNorm whose batch is that of all ranks together, in training.

    Forward it takes two sums over the ranks of a few numbers per channel, backward two more.
    :func:`sync_batch_norm` makes it of the BatchNorm in a model.

    In a loop of one's own whose ranks have unequal shares, the gradients that meet here must be
    those of one loss: write ``loss.backward(share)`` and ``ranks.average_gradients(optimizer,
    share, weighed=True)``.

    Raises:
        ValueError: in training, if there are not two values per channel in all ranks together.

    Source: Zhang et al., "Context Encoding for Semantic Segmentation", 2018, section 3.
    """

    ranks: Ranks

    def forward(self, x: Tensor | Array) -> Tensor:
        if not self.training:
            return super().forward(x)
        given = [p for p in (self.weight, self.bias, self.running_mean, self.running_var)
                 if p is not None]  # fmt: skip
        t: Any = in_dtype_of(given[0], x)
        t = t if isinstance(t, Tensor) else Tensor(t)
        if t.ndim < 2 or t.shape[1] != len(self.running_mean):
            raise misfit_of_norm(t.shape, self.running_mean, self.running_var, given)
        self.ranks.synced = True
        dtype = t.dtype
        if dtype.itemsize == 2:  # its sums of squares would overflow
            t = t.astype(np.float32)
        axes, c = (0, *range(2, t.ndim)), t.shape[1]
        own = np.array([t.size / c], t.dtype)
        total = sum_over_ranks(np.concatenate([t.sum(axes), own]), self.ranks)
        n = int(total.data[-1])
        if n < 2:
            raise misfit_of_norm(t.shape, self.running_mean, self.running_var, given, n)
        mean = total[:-1] / n
        centered = t - beside(mean, t.ndim)
        sums = [centered.detach().sum(axes), np.square(centered).sum(axes)]
        total = sum_over_ranks(np.concatenate(sums), self.ranks)
        # The mean was rounded; what is left of it matters where it is large beside the deviation.
        rest = total.data[:c] / n
        var = total[c:] / n - rest * rest
        self.running_mean += self.momentum * (mean.data + rest - self.running_mean)
        self.running_var += self.momentum * (var.data * (n / (n - 1)) - self.running_var)
        self.num_batches_tracked += 1
        y = (centered - beside(rest, t.ndim)) / beside(np.sqrt(var + self.eps), t.ndim)
        if self.weight is not None:
            y = y * beside(self.weight, t.ndim)
        if self.bias is not None:
            y = y + beside(self.bias, t.ndim)
        return y if y.dtype == dtype else y.astype(dtype)


def sync_batch_norm(model: Module, ranks: Ranks) -> Module:
    """Let every BatchNorm in a model use the statistics of all ranks; return the model.

    The layers stay the objects that they are, with their parameters and running statistics, so
    that an optimizer made before goes on with them, and the state dict is the same.

    Raises:
        TypeError: for a subclass of BatchNorm, which may have a ``forward`` of its own.

    Example:
        >>> from minidl import nn
        >>> from minidl.parallel import Alone
        >>> sync_batch_norm(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(4)), Ranks(Alone()))[1]
        SyncBatchNorm(4, eps=1e-05, momentum=0.1)
    """
    norms = [(name, m) for name, m in model.modules() if isinstance(m, BatchNorm)]
    for name, module in norms:
        if type(module) not in (BatchNorm, SyncBatchNorm):
            raise TypeError(
                f"sync_batch_norm: {name or 'the model'} is a {type(module).__name__}, which may "
                f"have a forward of its own: derive it from SyncBatchNorm, and set its ranks"
            )
    for _, module in norms:
        module.__class__ = SyncBatchNorm
        module.ranks = ranks  # type: ignore[attr-defined]
    return model
