"""AdamW, the sixth rule: Adam with the weight decay outside."""

from __future__ import annotations

from minidl.arrays import Array
from minidl.optim.optimizer import LearningRate, Parameters
from minidl.optim.rules import Adam


class AdamW(Adam):
    """Adam with decoupled weight decay: ``x *= 1 - lr * weight_decay``, and then Adam's step,
    ``x -= lr * m / (sqrt(v) + eps)``.

    In the other rules the decay is a part of the gradient. Adam divides the gradient by its own
    size, and so would decay least where gradients are large; here every weight shrinks alike.

    Args:
        params, lr: see :class:`Optimizer`.
        betas, eps, bias_correction: see :class:`Adam`.
        weight_decay: how fast weights shrink, in each step by this share of the learning rate.

    State: ``m`` and ``v``, zero at the start.
    Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019, algorithm 2, with
    the decay multiplied by the learning rate as in PyTorch, whose AdamW is the same.

    Example:
        >>> from minidl import Tensor
        >>> x = Tensor([1.0], requires_grad=True)
        >>> optimizer = AdamW([x], lr=0.1, weight_decay=0.5)
        >>> (x**2).sum().backward()
        >>> optimizer.step()
        >>> x
        Tensor([0.85], requires_grad=True)
    """

    def __init__(
        self, params: Parameters, lr: LearningRate = 0.001,
        betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0.01, bias_correction: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(params, lr, betas, eps, weight_decay, bias_correction)

    def update(  # type: ignore[override]
        self, x: Array, dx: Array, m: Array, v: Array, *, t: int, lr: float,
        betas: tuple[float, float], eps: float, weight_decay: float, bias_correction: bool,
    ) -> None:  # fmt: skip
        x *= 1 - lr * weight_decay
        super().update(x, dx, m, v, t=t, lr=lr, betas=betas, eps=eps,
                       bias_correction=bias_correction)  # fmt: skip
