"""The five rules of the lecture, each as the lecture writes it.

``x`` is the parameters, ``dx`` their gradient, both flat arrays; then comes the state, which is
zero at first. ``x`` and the state are changed in place, ``dx`` is read only. After the star stand
numbers: hyper-parameters, and ``t``, the number of the step. All else (groups, storage, weight
decay, schedules) is the base class's business.
"""

from __future__ import annotations

import numpy as np

from minidl.arrays import Array
from minidl.optim.optimizer import LearningRate, Optimizer, Parameters


class SGD(Optimizer):
    """Stochastic gradient descent: ``x -= lr * dx``.

    Args:
        params, lr, weight_decay: see :class:`Optimizer`. No rate suits all problems.

    Source: the lecture, "Vanilla SGD"; Robbins and Monro, 1951.
    PyTorch's and Keras's SGD without momentum are the same.

    Example:
        >>> from minidl import Tensor
        >>> x = Tensor([1.0], requires_grad=True)
        >>> optimizer = SGD([x], lr=0.1)
        >>> (x**2).sum().backward()
        >>> optimizer.step()
        >>> x
        Tensor([0.8], requires_grad=True)
    """

    def __init__(self, params: Parameters, lr: LearningRate, weight_decay: float = 0.0) -> None:
        super().__init__(params, lr=lr, weight_decay=weight_decay)

    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        x -= lr * dx


class Momentum(Optimizer):
    """SGD with momentum: ``v = mu * v - dx; x += lr * v``.

    A ball rolling down the loss: ``v`` is its velocity, ``mu`` what friction leaves of it.

    Args:
        params, lr, weight_decay: see :class:`Optimizer`.
        mu: the share of the velocity that is kept, from 0 to below 1.
        nesterov: move as the next step would with this gradient: ``x += lr * (mu * v - dx)``.

    State: ``v``, zero at the start.
    Source: the lecture, "SGD + momentum"; Polyak, 1964; Sutskever et al., ICML 2013, for Nesterov's
    form. PyTorch's is the same with the sign of ``v`` reversed. Keras has the learning rate inside
    (``v = mu * v - lr * dx; x += v``), which differs when the learning rate changes.

    Example:
        >>> from minidl import Tensor
        >>> x = Tensor([1.0], requires_grad=True)
        >>> optimizer = Momentum([x], lr=0.1)
        >>> for _ in range(2):
        ...     optimizer.zero_grad()
        ...     (x**2).sum().backward()
        ...     optimizer.step()
        >>> x
        Tensor([0.46], requires_grad=True)
    """

    state = ("v",)
    below_one = ("mu",)
    switches = ("nesterov",)
    mu: float
    nesterov: bool

    def __init__(
        self, params: Parameters, lr: LearningRate, mu: float = 0.9,
        weight_decay: float = 0.0, nesterov: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, lr=lr, weight_decay=weight_decay, mu=mu, nesterov=nesterov)

    def update(
        self, x: Array, dx: Array, v: Array, *, lr: float, mu: float, nesterov: bool = False
    ) -> None:
        v *= mu
        v -= dx
        x += lr * (mu * v - dx if nesterov else v)


class Adagrad(Optimizer):
    """Adagrad: ``cache += dx**2; x -= lr * dx / (sqrt(cache) + eps)``.

    Args:
        params, lr, weight_decay: see :class:`Optimizer`.
        eps: keeps the division safe; outside the root.

    State: ``cache``, zero at the start.
    Source: the lecture, "Adagrad"; Duchi, Hazan and Singer, JMLR 12, 2011. PyTorch's is the same;
    Keras puts epsilon inside the root and starts ``cache`` at 0.1.

    Example:
        >>> from minidl import Tensor
        >>> x = Tensor([1.0], requires_grad=True)
        >>> optimizer = Adagrad([x], lr=0.1)
        >>> (x**2).sum().backward()
        >>> optimizer.step()
        >>> x
        Tensor([0.9], requires_grad=True)
    """

    state = ("cache",)
    eps: float

    def __init__(
        self, params: Parameters, lr: LearningRate = 0.01,
        eps: float = 1e-10, weight_decay: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(params, lr=lr, weight_decay=weight_decay, eps=eps)

    def update(self, x: Array, dx: Array, cache: Array, *, lr: float, eps: float) -> None:
        cache += dx * dx
        x -= lr * dx / (np.sqrt(cache) + eps)


class RMSProp(Optimizer):
    """RMSProp: ``cache = decay_rate * cache + (1 - decay_rate) * dx**2``, then as Adagrad.

    ``x -= lr * dx / (sqrt(cache) + eps)``.

    Args:
        params, lr, weight_decay: see :class:`Optimizer`.
        decay_rate: the share of the cache that is kept, from 0 to below 1.
        eps: keeps the division safe; outside the root.

    State: ``cache``, zero at the start.
    Source: the lecture, "RMSProp"; Hinton, "Neural Networks for Machine Learning", lecture 6e,
    2012. PyTorch's is the same (``alpha`` is the decay rate); Keras has epsilon inside the root, a
    decay rate of 0.9 and a learning rate of 0.001 by default.

    Example:
        >>> from minidl import Tensor
        >>> x = Tensor([1.0], requires_grad=True)
        >>> optimizer = RMSProp([x], lr=0.1, decay_rate=0.75)
        >>> (x**2).sum().backward()
        >>> optimizer.step()
        >>> x
        Tensor([0.8], requires_grad=True)
    """

    state = ("cache",)
    below_one = ("decay_rate",)
    decay_rate: float
    eps: float

    def __init__(
        self, params: Parameters, lr: LearningRate = 0.01,
        decay_rate: float = 0.99, eps: float = 1e-8, weight_decay: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(params, lr=lr, weight_decay=weight_decay, decay_rate=decay_rate, eps=eps)

    def update(
        self, x: Array, dx: Array, cache: Array, *, lr: float, decay_rate: float, eps: float
    ) -> None:
        cache *= decay_rate
        cache += (1 - decay_rate) * dx * dx
        x -= lr * dx / (np.sqrt(cache) + eps)


class Adam(Optimizer):
    """Adam: RMSProp with momentum.

    ``m = beta1 * m + (1 - beta1) * dx; v = beta2 * v + (1 - beta2) * dx**2``, and then
    ``x -= lr * m / (sqrt(v) + eps)``, where ``m`` and ``v`` are first divided by ``1 - beta1**t``
    and ``1 - beta2**t`` in step t = 1, 2, ..., because at first they are too close to their start.

    Args:
        params, lr, weight_decay: see :class:`Optimizer`.
        betas: beta1 and beta2, the shares of ``m`` and ``v`` that are kept, from 0 to below 1.
        eps: keeps the division safe; outside the root.
        bias_correction: False leaves out the two divisions: the rule as the lecture writes it,
            whose first steps are several times too large.

    State: ``m`` and ``v``, zero at the start.
    Source: Kingma and Ba, "Adam", 2015, Algorithm 1; the lecture, "Adam". PyTorch's is the same;
    Keras adds epsilon before the correction of ``v`` (the paper's "epsilon hat"), 1e-7 by default.

    Example:
        >>> from minidl import Tensor
        >>> x = Tensor([1.0], requires_grad=True)
        >>> optimizer = Adam([x], lr=0.1)
        >>> (x**2).sum().backward()
        >>> optimizer.step()
        >>> x
        Tensor([0.9], requires_grad=True)
    """

    state = ("m", "v")
    below_one = pairs = ("betas",)
    switches = ("bias_correction",)
    betas: tuple[float, float]
    eps: float
    bias_correction: bool

    def __init__(
        self, params: Parameters, lr: LearningRate = 0.001,
        betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0.0, bias_correction: bool = True,
    ) -> None:  # fmt: skip
        hyper = {"betas": betas, "eps": eps, "bias_correction": bias_correction}
        super().__init__(params, lr=lr, weight_decay=weight_decay, **hyper)

    def update(
        self, x: Array, dx: Array, m: Array, v: Array, *, t: int, lr: float,
        betas: tuple[float, float], eps: float, bias_correction: bool,
    ) -> None:  # fmt: skip
        beta1, beta2 = betas
        m *= beta1
        m += (1 - beta1) * dx
        v *= beta2
        v += (1 - beta2) * dx * dx
        # (m / c1) / (sqrt(v / c2) + eps), with the numbers taken together before the arrays
        c1 = 1 - beta1**t if bias_correction else 1.0
        root = (1 - beta2**t) ** 0.5 if bias_correction else 1.0  # of c2
        x -= lr * root / c1 * m / (np.sqrt(v) + eps * root)
