"""The functions that NumPy lacks, each beside its derivative rule.

Activations, the linear and normalising maps, and the losses. They take Tensors or ndarrays. What an
activation returns is a Tensor if a Tensor goes in; linear, batch_norm and the losses always return
Tensors. Some rules are derived by hand because the result is simpler, faster or numerically safer
than what the chain rule gives. These functions keep a *definition* in plain differentiable
functions beside them: it says what they mean, the tests hold the fast form against it, and
gradients of gradients go through it.

Names in the rules: ``g`` the gradient of the result, ``y`` the result, ``x`` the input. In comments
on shapes: N samples, C classes or channels, K input features.
"""

from __future__ import annotations

import functools
import math
from typing import Any, Literal, TypeVar

import numpy as np

from minidl.autograd import vjp
from minidl.derivatives import _rows, _spread, in_single, wide
from minidl.rng import RNG, generator
from minidl.tensor import Array, Tensor, _tensor, apply, as_array, as_real, differentiable, plain

__all__ = [
    "batch_norm",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "dropout",
    "gelu",
    "huber_loss",
    "l1_loss",
    "leaky_relu",
    "linear",
    "log_softmax",
    "logsumexp",
    "mse_loss",
    "relu",
    "sigmoid",
    "softmax",
    "softplus",
    "tanh",
]

T = TypeVar("T", Tensor, Array)
Reduction = Literal["mean", "sum", "none"]

# exp(-1000) is 0, and that is meant, also by who lets NumPy raise for all floating-point errors.
_vanishing = np.errstate(under="ignore")
_far_below = np.errstate(all="ignore")  # beside others, -inf is right and log(0) is -inf

# --- Activations ----------------------------------------------------------------------------------


@differentiable
def relu(x: T) -> T:
    """``max(x, 0)``, elementwise, with relu'(0) = 0.

    Example:
        >>> relu(Tensor([-1.0, 0.0, 2.0]))
        Tensor([0., 0., 2.])
    """
    # NumPy compares two arrays with vector instructions, an array and a number without: 256x1024
    # elements take 42 us in this form and 98 us as maximum(x, 0).
    y: Any = np.maximum(x, _zeros_like(x))
    return y


def _zeros_like(x: Any) -> Any:
    """Zeros in the shape of ``x``, to be read only: the same memory for all, as large as needed."""
    x = as_array(x)
    zeros = _ZEROS.get(x.dtype)
    if zeros is None or len(zeros) < x.size:
        zeros = _ZEROS[x.dtype] = np.zeros(x.size, x.dtype)
        zeros.flags.writeable = False
    return zeros[: x.size].reshape(x.shape)


_ZEROS: dict[np.dtype[Any], Array] = {}


vjp(relu, "x", x=lambda g, y: g * (y > 0))


@differentiable
@_vanishing
def leaky_relu(x: T, negative_slope: float = 0.01) -> T:
    """``x`` where x > 0, ``negative_slope * x`` elsewhere (also at 0), elementwise.

    Example:
        >>> leaky_relu(Tensor([-1.0, 2.0]), 0.1)
        Tensor([-0.1,  2. ])
    """
    y: Any = np.where(x > 0, x, float(negative_slope) * x)
    return y


vjp(
    leaky_relu,
    "x negative_slope=0.01",
    x=lambda g, x, negative_slope: np.where(x > 0, g, negative_slope * g),
)


@differentiable
@_vanishing
def sigmoid(x: T) -> T:
    """``1 / (1 + exp(-x))``, elementwise, without overflow for any x.

    Example:
        >>> sigmoid(Tensor([0.0, 1e4]))
        Tensor([0.5, 1. ])
    """
    e: Any = np.exp(-np.abs(x))
    y: Any = np.where(x >= 0, 1, e) / (1 + e)
    return y


vjp(sigmoid, "x", x=lambda g, y: g * (y * (1 - y)))


@_vanishing
def tanh(x: T) -> T:
    """The hyperbolic tangent, elementwise: ``numpy.tanh``.

    Example:
        >>> tanh(Tensor([0.0]))
        Tensor([0.])
    """
    y: Any = np.tanh(x)
    return y


@differentiable
@_far_below
def softplus(x: T, beta: float = 1.0) -> T:
    """``log(1 + exp(beta * x)) / beta``, elementwise: a smooth relu, exact for any x.

    PyTorch switches to ``x`` itself where ``beta * x > 20``; here there is no such step.

    Raises:
        ValueError: if ``beta`` is not above 0.

    Example:
        >>> softplus(Tensor([0.0, 1e4]))
        Tensor([6.931472e-01, 1.000000e+04])
    """
    beta = float(beta)
    if not 0 < beta < math.inf:
        raise ValueError(f"softplus takes a finite beta above 0, not {beta!r}")
    y: Any = np.maximum(x, 0) + np.log1p(np.exp(-np.abs(beta * x))) / beta
    return y


vjp(softplus, "x beta=1.0", x=lambda g, x, beta: g * sigmoid(beta * x))


@_vanishing
def gelu(x: T, approximate: Literal["none", "tanh"] = "none") -> T:
    """``x * P(Z <= x)`` for a standard normal Z, elementwise.

    Args:
        x: any shape.
        approximate: ``"none"`` for the exact form, ``"tanh"`` for
            ``0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x**3)))``.

    Raises:
        ValueError: for any other ``approximate``.

    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016, section 2.

    Example:
        >>> gelu(Tensor([0.0, 1.0]))
        Tensor([0.       , 0.8413448])
    """
    if approximate == "tanh":
        c: Any = np.clip(x, -10, 10)  # there tanh is 1 to the last digit, and x**3 cannot overflow
        low: Any = np.clip(x, -10, None)  # not -inf * 0
        return 0.5 * low * (1 + np.tanh(math.sqrt(2 / math.pi) * (c + 0.044715 * c**3)))
    if approximate != "none":
        raise ValueError(f"gelu: approximate is 'none' or 'tanh', not {approximate!r}")
    low = np.clip(x, -40, None)  # from there on the tail is 0, and -inf * 0 would be NaN
    return low * _normal_cdf(np.clip(low, None, 40))


@differentiable
@_vanishing
def _normal_cdf(x: T) -> T:
    """P(Z <= x) for a standard normal Z: half of erfc(-x / sqrt(2)).

    It is computed in float64, since the relative error of exp(-a * a) grows with a * a. From 40 on
    the tail is 0 in float64.
    """
    a = np.minimum(np.abs(x), 40).astype(np.float64) * math.sqrt(0.5)
    t = 2 / (2 + a)
    tail = 0.5 * t * np.exp(np.polynomial.chebyshev.chebval(2 * t - 1, _LOG_ERFC) - a * a)
    p = np.where(x > 0, 1 - tail, tail)
    return p.astype(x.dtype) if x.dtype.kind == "f" else p


vjp(_normal_cdf, "x", x=lambda g, x: g * np.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi)))

# log(erfc(a) exp(a**2) / t) with t = 2 / (2 + a), as a Chebyshev series in 2t - 1. The coefficients
# were fitted in 40-digit arithmetic; erfc(a) then agrees with math.erfc to 1.2e-13 relative.
_LOG_ERFC = np.array([
    -0.6513268598908547, 0.6419697923564902, 0.019476473204185836, -0.009561514786808632,
    -0.0009465953444820369, 0.00036683949785276145, 4.252332480690777e-05, -2.0278578112534242e-05,
    -1.6242900046470256e-06, 1.3036558355805232e-06, 1.5626441722066142e-08, -8.523809591492654e-08,
    6.5290544390988515e-09, 5.059343495551469e-09, -9.91364156493033e-10, -2.273651222931836e-10,
    9.646791102015527e-11, 2.3940380830391146e-12, -6.886027526497553e-12, 8.944879273090725e-13,
    3.130921399342958e-13, -1.1270822361367252e-13, 3.810905255189232e-16, 7.106097613609237e-15,
    -1.5230282014571043e-15, -9.457494571291233e-17, 1.210237189224279e-16,
])  # fmt: skip


# --- Softmax and its relatives --------------------------------------------------------------------


@differentiable
@_far_below
@in_single
def softmax(x: T, axis: int = -1) -> T:
    """``exp(x) / sum(exp(x))`` along ``axis``: numbers from 0 to 1 that sum to 1.

    An x of -inf is a mask: its share is 0.

    Raises:
        ValueError: if every x along ``axis`` is -inf.

    Example:
        >>> softmax(Tensor([0.0, 0.0, 1e4]))
        Tensor([0., 0., 1.])
    """
    logits: Any = as_array(x)
    e = np.exp(_below_max(logits, axis))
    total = np.sum(e, axis, keepdims=True)
    _refuse_infinite_max(total, logits, axis)
    return e / total


vjp(
    softmax,
    "x axis=-1",
    x=lambda g, y, axis: y * (g - np.sum(g * y, axis, keepdims=True)),
)


def _below_max(x: Any, axis: Any) -> Any:
    """``x`` minus its maximum along ``axis``, which changes no softmax and keeps exp at most 1."""
    return x - np.maximum.reduce(x, axis, keepdims=True) if x.size else x


def _refuse_infinite_max(result: Any, x: Any, axis: Any) -> None:
    """Raise if a softmax came to NaN because the maximum of x is infinite (a logit may be NaN)."""
    if (result != result).any():
        m = np.maximum.reduce(x, axis)
        if np.isneginf(m).any():
            raise ValueError(
                "softmax of nothing but -inf is not defined: a mask must leave at least one value"
            )
        if np.isposinf(m).any():
            raise ValueError(
                "softmax of infinity is not defined: what gave these logits has overflowed, as it "
                "does when the learning rate is too high or the features are not scaled"
            )


@differentiable
@_far_below
@in_single
def logsumexp(x: T, axis: int | tuple[int, ...] | None = -1, keepdims: bool = False) -> T:
    """``log(sum(exp(x)))`` over ``axis``, without overflow for any x.

    It is -inf if every x is -inf, and if there is none.

    Example:
        >>> logsumexp(Tensor([1e4, 1e4])).item()
        10000.693359375
    """
    m = _finite_max(x, axis)
    y = m + np.log(np.sum(np.exp(x - m), axis, keepdims=True))
    return y if keepdims else np.squeeze(y, axis)


def _finite_max(x: Any, axis: Any) -> Any:
    """The maximum along ``axis``, or 0 where there is none or an infinite one."""
    m = np.max(x, axis, keepdims=True) if np.size(x) else np.sum(x, axis, keepdims=True)
    return np.where(np.isfinite(m), m, 0)


vjp(
    logsumexp,
    "x axis=-1 keepdims=False",
    x=lambda g, x, shape, axis: _spread(g, shape, axis) * softmax_over(wide(x), axis),
)


def softmax_over(x: Any, axis: Any) -> Any:
    """softmax over one axis, several, or all; zero where every x is -inf."""
    x = np.minimum(x, np.finfo(x.dtype).max)  # several infinite ones share, as equals do
    e = np.exp(x - _finite_max(plain(x), axis))  # a constant: softmax is the same whatever it is
    total = np.sum(e, axis, keepdims=True)
    return e / np.where(total == 0, 1, total)


@differentiable
@_far_below
@in_single
def log_softmax(x: T, axis: int = -1) -> T:
    """``log(softmax(x))`` along ``axis``, exact where softmax itself would be 0.

    Raises:
        ValueError: if every x along ``axis`` is -inf.

    Example:
        >>> log_softmax(Tensor([0.0, 1e4]))
        Tensor([-10000.,      0.])
    """
    logits: Any = as_array(x)
    below = _below_max(logits, axis)
    total = np.sum(np.exp(below), axis, keepdims=True)
    _refuse_infinite_max(total, logits, axis)
    return below - np.log(total)


def _log_softmax_definition(x: Any, axis: int) -> Any:
    return x - logsumexp(x, axis, True)


vjp(
    log_softmax,
    "x axis=-1",
    # d/dx_j of sum_i g_i (x_i - log sum_k exp x_k) = g_j - softmax_j sum_i g_i
    x=lambda g, y, axis: g - np.exp(y) * np.sum(g, axis, keepdims=True),
    definition=_log_softmax_definition,
)

# --- Linear maps ----------------------------------------------------------------------------------


def linear(x: Tensor | Array, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``y = x @ weight.T + bias``.

    Args:
        x: shape (..., K). An array, or a Tensor that needs no gradient, is taken in the dtype of
            the weight.
        weight: shape (C, K): a row for each output feature.
        bias: shape (C,), or None.

    Returns:
        Shape (..., C).

    Raises:
        ValueError: if the last axis of ``x`` does not have K elements, or if weight or bias has
            another shape than above.

    Example:
        >>> linear(Tensor([[1.0, 2.0]]), Tensor([[1.0, 1.0], [0.0, 3.0]]), Tensor([0.5, 0.0]))
        Tensor([[3.5, 6. ]])
    """
    w = weight._data if isinstance(weight, Tensor) else as_real(weight, "linear")
    if w.ndim != 2:
        raise ValueError(f"linear: weight has shape {w.shape}, expected (C, K)")
    if not isinstance(x, Tensor) or x._node is None:
        x = _taken_in(w.dtype, x)
    a = x._data if isinstance(x, Tensor) else x
    if a.ndim == 0 or a.shape[-1] != w.shape[1]:
        raise ValueError(
            f"linear: x of shape {a.shape} does not fit a weight for {w.shape[1]} input features: "
            f"the last axis of x must be {w.shape[1]} long (images are flattened to (N, K) first, "
            f"with nn.Flatten() or reshape)"
        )
    y = _rows_times(a, w.T)  # (..., C)
    if bias is not None:
        if bias.shape != w.shape[:1]:
            raise ValueError(
                f"linear: bias has shape {bias.shape}, expected {w.shape[:1]}: one for each row of "
                f"the weight"
            )
        y += plain(bias)
    return apply(linear, x, weight, bias, y=y)


def _linear_definition(x: Any, weight: Any, bias: Any) -> Any:
    y = x @ weight.T
    return y if bias is None else y + bias


vjp(
    linear,
    "x weight bias=None",
    x=lambda g, weight: _rows_times(g, weight),
    weight=lambda g, x, out: np.dot(_rows(g).T, _rows(x), out=out),
    bias=lambda g, out: _sum_rows(_rows(g), out),
    definition=_linear_definition,
)


def _rows_times(x: Array, m: Array) -> Array:
    """``x @ m`` for a matrix m and any x. Of more axes NumPy makes many small products, or leaves
    the fast ones; and dot begins half a microsecond earlier than @."""
    if x.ndim <= 2:
        return np.dot(x, m)
    y: Array = np.dot(_rows(x), m).reshape(*x.shape[:-1], m.shape[1])
    return y


def _sum_rows(x: Array, out: Array | None = None) -> Array:
    """The sum of the rows. A product with ones does it in a third of the time of ``sum``."""
    return np.dot(_ones(len(x), x.dtype), x, out=out)


@functools.lru_cache(maxsize=64)
def _ones(n: int, dtype: np.dtype[Any]) -> Array:
    ones = np.ones(n, dtype)
    ones.flags.writeable = False
    return ones


def _taken_in(dtype: np.dtype[Any], x: Any) -> Any:
    """``x`` in the dtype of what it meets, unless a gradient flows through it."""
    if isinstance(x, Tensor):
        if x._node is not None or x._data.dtype == dtype:
            return x
        x = x._data
    if type(x) is not np.ndarray or x.dtype.kind not in "fiub":
        x = as_real(x, "a layer or a loss")
    return x.astype(dtype, copy=False)


# --- Normalisation and noise ----------------------------------------------------------------------


@_vanishing
def batch_norm(
    x: Tensor | Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel: ``y = (x - mean) / sqrt(var + eps) * weight + bias``.

    In training, mean and (biased) variance are those of the batch, and the running statistics move
    towards them in place: ``running = (1 - momentum) * running + momentum * batch``, with the
    unbiased variance. Otherwise the running statistics are used.

    Args:
        x: shape (N, C) or (N, C, ...); statistics are taken over all axes but the second.
        running_mean: an ndarray of shape (C,), or None.
        running_var: an ndarray of shape (C,), or None.
        weight: shape (C,), or None for 1.
        bias: shape (C,), or None for 0.
        training: whether to use the statistics of the batch.
        momentum: the weight of the new batch in the running statistics.
        eps: added to the variance, inside the root.

    Raises:
        ValueError: if ``x`` has fewer than two axes or another number of channels than the rest;
            in training, if there are not two values per channel; otherwise, if the running
            statistics are missing; if only one of them is given.

    Source: Ioffe and Szegedy, "Batch Normalization", 2015, algorithms 1 and 2.

    Example:
        >>> batch_norm(Tensor([[1.0], [3.0]]), None, None, training=True)
        Tensor([[-0.999995],
                [ 0.999995]])
    """
    given = (weight, bias, running_mean, running_var)
    for p in given:
        if p is not None:
            x = _taken_in(p.dtype, x)
            break
    a = x._data if isinstance(x, Tensor) else as_real(x, "batch_norm")
    shape = a.shape[1:2]
    for p in given:
        if not shape or (p is not None and p.shape != shape):
            raise _misfit(a.shape, [p.shape for p in given if p is not None])
    if (running_mean is None) != (running_var is None):
        raise ValueError("batch_norm: running_mean and running_var go together; one is None")
    eps = float(eps)
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm: outside training it needs running_mean and running_var")
        mean = running_mean.astype(a.dtype, copy=False)
        scale = (1 / np.sqrt(running_var + eps)).astype(a.dtype, copy=False)
        y = (x - _beside(mean, a.ndim)) * _beside(scale, a.ndim)
        y = y if weight is None else y * _beside(weight, a.ndim)
        y = y if bias is None else y + _beside(bias, a.ndim)
        return y if isinstance(y, Tensor) else _tensor(y, None)
    n = a.size // a.shape[1] if a.size else 0
    if n < 2:
        raise ValueError(
            f"batch_norm: training takes two values per channel at least, and a batch of shape "
            f"{a.shape} has {n}: use a larger batch (drop_last=True drops a last one that is too "
            f"small), or eval() for prediction"
        )
    half = _is_half(a)
    if half:  # its sums of squares would overflow
        a = a.astype(np.float32)
    mean = _channel_sums(a) / n
    centered = a - _beside(mean, a.ndim)
    # The mean was rounded; what is left of it matters where it is large beside the deviation.
    rest = _channel_sums(centered) / n
    centered -= _beside(rest, a.ndim)
    y = centered * centered
    var = _channel_sums(y) / n
    scale = 1 / np.sqrt(var + eps)
    if running_mean is not None and running_var is not None:
        running_mean += momentum * (mean + rest - running_mean)
        running_var += momentum * (var * (n / (n - 1)) - running_var)
    factor = scale if weight is None else scale * plain(weight)
    np.multiply(centered, _beside(factor, a.ndim), out=y)
    if bias is not None:
        y += _beside(plain(bias), a.ndim)
    if half:
        y = y.astype(np.float16)
    # Batch normalisation does not change when a constant is added to x, so that its derivatives at
    # ``centered`` are those at x, and x itself need not be kept.
    kept = _tensor(centered, x._node) if isinstance(x, Tensor) else centered
    return apply(batch_norm, kept, weight, bias, scale, eps, y=y)


def _misfit(shape: tuple[int, ...], given: list[tuple[int, ...]]) -> ValueError:
    """The error of a batch norm whose input and parameters do not fit together."""
    if len(set(given)) > 1:
        return ValueError(
            f"batch_norm: weight, bias and running statistics have one shape (C,), not "
            f"{' and '.join(map(str, sorted(set(given))))}"
        )
    channels = math.prod(given[0]) if given else "C"
    return ValueError(
        f"batch_norm: x has shape {shape}, expected (N, {channels}) or (N, {channels}, ...)"
    )


def _batch_norm_definition(x: Any, weight: Any, bias: Any, scale: Any, eps: float) -> Any:
    axes = (0, *range(2, x.ndim))
    y = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)
    y = y if weight is None else y * _beside(weight, x.ndim)
    return y if bias is None else y + _beside(bias, x.ndim)


def _batch_norm_rule(g: Array, x: Array, weight: Any, scale: Array, common: Any) -> Array:
    """The gradient of x, which reaches y directly, through the mean, and through the variance.

    With x centered, s = scale, h = x * s and w = weight:  w s (g - mean(g) - h mean(g h)).
    """
    n = x.size // x.shape[1]
    sum_g, sum_gx = common
    d = x * _beside(-sum_gx * scale * scale / n, x.ndim)
    d += g
    d -= _beside(sum_g / n, x.ndim)
    d *= _beside(scale if weight is None else weight * scale, x.ndim)
    return d


vjp(
    batch_norm,
    "x weight bias scale eps",
    x=_batch_norm_rule,
    weight=lambda scale, common: common[1] * scale,
    bias=lambda common: common[0],
    common=lambda g, x: (_channel_sums(g), _channel_sums(g * x)),
    definition=_batch_norm_definition,
)


def _beside(v: Any, ndim: int) -> Any:
    """A vector over the channels, shaped to broadcast against (N, C, ...)."""
    return v if ndim == 2 else v.reshape(-1, *(1,) * (ndim - 2))


def _channel_sums(x: Array) -> Array:
    """The sum over all axes but the second: shape (C,)."""
    return _sum_rows(x) if x.ndim == 2 else x.reshape(*x.shape[:2], -1).sum(axis=2).sum(axis=0)


def dropout(x: T, p: float = 0.5, training: bool = True, rng: RNG = None) -> T:
    """In training, set each element to 0 with probability ``p`` and scale the rest by 1 / (1 - p).

    The expectation stays what it was, so that nothing needs to change for prediction.

    Args:
        x: any shape.
        p: the probability to drop an element, from 0 to 1.
        training: outside training ``x`` is returned as it is.
        rng: a seed, a generator, or None for minidl's own.

    Raises:
        ValueError: if ``p`` is not from 0 to 1.

    Source: Srivastava et al., "Dropout", JMLR 15, 2014 (there with the scaling in prediction).

    Example:
        >>> dropout(Tensor([1.0, 1.0, 1.0, 1.0]), 0.5, rng=0)
        Tensor([2., 2., 2., 0.])
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p is a probability from 0 to 1, not {p!r}")
    if not training or p == 0:
        return x
    dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float32)
    kept = generator(rng).random(x.shape, np.float32) >= p  # the same elements in any dtype
    return x * (kept * dtype.type(0 if p == 1 else 1 / (1 - p)))


# --- Losses ---------------------------------------------------------------------------------------


def cross_entropy(
    input: Tensor | Array,
    target: Array,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Softmax cross entropy: ``-log(softmax(input)[target])``, from logits and class numbers.

    Args:
        input: the logits, any real numbers (no softmax before), shape (N, C) or (N, C, ...).
        target: the true classes 0 to C - 1, integers of any kind, shape (N,) or (N, ...).
        weight: a weight for each class, 0 or more, shape (C,); the mean is then the weighted one.
        ignore_index: samples with this target count for nothing.
        reduction: ``"mean"``, ``"sum"``, or ``"none"`` for one loss per sample.
        label_smoothing: this share of the target is spread evenly over all classes, from 0 to 1.

    Raises:
        TypeError: if targets are not integers.
        ValueError: if shapes do not fit (one-hot targets, another number of samples), if a target
            is out of range, if a class weight is below 0 or not finite, or if there is no sample
            to take a mean of.

    Example:
        >>> cross_entropy(Tensor([[1e4, 0.0], [0.0, 0.0]]), np.array([0, 1]))
        Tensor(0.3465736)
    """
    _check_reduction("cross_entropy", reduction)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing is from 0 to 1, not {label_smoothing!r}")
    label_smoothing = float(label_smoothing)
    target = as_array(plain(target))
    logits: Any = _predictions(input)
    half = logits.dtype.char == "e"
    if half:
        logits = logits.astype(np.float32)
    some_ignored = _check_classes(logits.shape, target, ignore_index)
    shape = target.shape
    if logits.ndim > 2:  # (N, C, ...) to (N, ..., C), and all but the last axis as one
        logits = np.moveaxis(logits, 1, -1).reshape(-1, logits.shape[1])
        target = target.reshape(-1)
    valid = share = None  # what each sample counts in the mean, None if all count alike
    if some_ignored:
        valid = target != ignore_index
        share = valid.astype(np.float64)
        target = np.where(valid, target, 0)
        if label_smoothing:  # what is ignored may be anything, even NaN
            logits = np.where(valid[:, None], logits, 0)
    if weight is not None:
        weight = as_real(weight, "cross_entropy").astype(np.float64)
        if weight.shape != logits.shape[1:]:
            raise ValueError(
                f"cross_entropy: weight has shape {weight.shape}, expected {logits.shape[1:]}: one "
                f"weight for each class"
            )
        if not ((weight >= 0) & (weight < math.inf)).all():
            bad = int(np.argmin((weight >= 0) & (weight < math.inf)))
            raise ValueError(
                f"cross_entropy: the weight of class {bad} is {weight[bad]}: class weights are "
                f"finite and 0 or more, since a loss of negative weight has no minimum"
            )
        share = weight[target] if share is None else weight[target] * share
    total = len(target) if share is None else share.sum()
    if reduction == "mean" and not total > 0:
        raise ValueError(
            f"cross_entropy: the mean over {len(target)} samples, of which none counts "
            f"(ignore_index, weight), is not defined: use reduction='sum', or skip the batch"
        )
    scale: Any = 1 / total if reduction == "mean" else 1.0
    if label_smoothing:
        scale = scale if share is None else np.multiply(scale, 1, dtype=logits.dtype)
        result = _smoothed(logits, target, weight, valid, label_smoothing) * scale
        result = result if reduction == "none" else result.sum()
    else:
        if share is not None:
            logits = np.where((share == 0)[:, None], 0, logits)  # not 0 * inf
            scale = (share * scale).astype(logits.dtype)
        result = _nll(logits, target, scale, reduction == "none")
    if reduction == "none" and len(shape) > 1:
        result = result.reshape(shape)
    return _as_half(result) if half else result


def _nll(logits: Any, target: Array, scale: Any, each: bool) -> Any:
    """scale * -log_softmax(logits)[target] for logits (N, C), summed unless ``each``."""
    # The logits are turned to (C, N): NumPy reduces the first axis with vector instructions, and a
    # short last one without. For 128 samples of 10 classes that is 1.4 us instead of 6.6 us.
    n = len(target)
    at = np.multiply(target, n, dtype=np.intp) + np.arange(n)  # of each target, row by row
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        below = _below_max(plain(logits).T.copy(), 0)  # (C, N)
        picked = below.reshape(-1)[at]  # (N,)
        p = np.exp(below, out=below)
        sums = np.add.reduce(p)
        p /= sums
        losses = (np.log(sums) - picked) * scale
    y = losses if each else losses.sum()
    if each or y != y:  # for one number this is quicker than any()
        _refuse_infinite_max(y, plain(logits), 1)
    return apply(_nll, logits, at, scale, p, each, y=y)


def _nll_rule(g: Array, at: Any, scale: Any, p: Array) -> Array:
    """(softmax - one_hot(target)) * scale."""
    d = p.copy()  # (C, N)
    d.reshape(-1)[at] -= 1
    d *= g * scale
    return d.T


def _nll_definition(logits: Any, at: Any, scale: Any, p: Array, each: bool) -> Any:
    classes = np.arange(logits.shape[1])[:, None]
    is_target = classes * len(at) + np.arange(len(at)) == at  # (C, N)
    losses = -np.where(is_target.T, log_softmax(logits), 0).sum(axis=1) * scale
    return losses if each else losses.sum()


vjp(_nll, "logits at scale p each", logits=_nll_rule, definition=_nll_definition)


@_vanishing
def _smoothed(logits: Any, target: Array, weight: Any, valid: Any, smoothing: float) -> Any:
    """One loss per sample for the target (1 - smoothing) * one_hot + smoothing / C."""
    classes = logits.shape[1]
    is_target = (np.arange(classes) == target[:, None]).astype(logits.dtype)  # (N, C)
    wanted = is_target * (1 - smoothing) + smoothing / classes
    if weight is not None:
        wanted *= weight
    if valid is not None:
        wanted *= valid[:, None]
    logp = np.where(wanted == 0, 0, log_softmax(logits))  # not 0 * -inf
    return -(wanted * logp).sum(axis=1)


@_vanishing
def binary_cross_entropy_with_logits(
    input: Tensor | Array,
    target: Array | Tensor,
    pos_weight: Array | float | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """``-(t log(s) + (1 - t) log(1 - s))`` with ``s = sigmoid(input)``, exact for any
    finite logit.

    Args:
        input: the logits, any real numbers (no sigmoid before), any shape.
        target: 0 or 1, or a probability between, of the same shape.
        pos_weight: what the positive term is multiplied by, broadcast to the shape of ``input``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: if the shapes differ, if ``pos_weight`` does not broadcast, or if a target is
            not from 0 to 1.

    Example:
        >>> binary_cross_entropy_with_logits(Tensor([1e4, 0.0]), np.array([1, 1]))
        Tensor(0.3465736)
    """
    x, t = _pair("binary_cross_entropy_with_logits", input, target)
    _check_shares(plain(t))
    losses = _bce(x, t)
    if pos_weight is not None:
        extra = (_taken_in(x.dtype, pos_weight) - 1) * t
        if extra.shape != x.shape:
            raise ValueError(
                f"binary_cross_entropy_with_logits: pos_weight must broadcast to the shape of the "
                f"logits, {x.shape}, and has shape {np.shape(plain(pos_weight))}"
            )
        losses = losses + extra * softplus(-x)
    return _reduced("binary_cross_entropy_with_logits", losses, reduction, input)


@differentiable
@_vanishing
def _bce(x: T, t: T) -> T:
    """max(x, 0) - x t + log(1 + exp(-|x|)), which cancels exactly for t = 0 and t = 1."""
    y: Any = np.maximum(x, 0) - x * t + np.log1p(np.exp(-np.abs(x)))
    return y


vjp(_bce, "x t", x=lambda g, x, t: g * (sigmoid(x) - t), t=lambda g, x: -g * x)


@_vanishing
def mse_loss(
    input: Tensor | Array, target: Array | Tensor, reduction: Reduction = "mean"
) -> Tensor:
    """``(input - target)**2``.

    Args:
        input: the predictions, any shape.
        target: of the same shape.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: if the shapes differ; nothing is broadcast.

    Example:
        >>> mse_loss(Tensor([1.0, 2.0]), np.array([1.0, 4.0]))
        Tensor(2.)
    """
    x, t = _pair("mse_loss", input, target)
    return _reduced("mse_loss", np.square(x - t), reduction, input)


@_vanishing
def l1_loss(input: Tensor | Array, target: Array | Tensor, reduction: Reduction = "mean") -> Tensor:
    """``|input - target|``; arguments and errors as for :func:`mse_loss`.

    Example:
        >>> l1_loss(Tensor([1.0, 2.0]), np.array([1.0, 4.0]))
        Tensor(1.)
    """
    x, t = _pair("l1_loss", input, target)
    return _reduced("l1_loss", np.abs(x - t), reduction, input)


@_vanishing
def huber_loss(
    input: Tensor | Array,
    target: Array | Tensor,
    reduction: Reduction = "mean",
    delta: float = 1.0,
) -> Tensor:
    """``0.5 d**2`` where ``|d| <= delta`` and ``delta (|d| - 0.5 delta)`` elsewhere.

    ``d`` is ``input - target``.

    Args:
        input: the predictions, any shape.
        target: of the same shape.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        delta: where the parabola goes over into the lines, above 0.

    Raises:
        ValueError: if the shapes differ, or ``delta`` is not above 0.

    Source: Huber, "Robust Estimation of a Location Parameter", 1964.

    Example:
        >>> huber_loss(Tensor([1.0, 2.0]), np.array([1.5, 4.0]), reduction="none")
        Tensor([0.125, 1.5  ])
    """
    if not delta > 0:
        raise ValueError(f"huber_loss: delta is above 0, not {delta!r}")
    x, t = _pair("huber_loss", input, target)
    return _reduced("huber_loss", _huber(x - t, float(delta)), reduction, input)


@differentiable
def _huber(d: T, delta: float) -> T:
    near: Any = np.clip(d, -delta, delta)
    y: Any = near * (d - 0.5 * near)
    return y


vjp(_huber, "d delta", d=lambda g, d, delta: g * np.clip(d, -delta, delta))


def _predictions(input: Any) -> Tensor:
    """The first argument of a loss as a Tensor of floating-point numbers."""
    x = input if isinstance(input, Tensor) else Tensor(input)
    return x if x.dtype.kind == "f" else x.astype(np.float32)


def _pair(name: str, input: Any, target: Any) -> tuple[Any, Any]:
    """Predictions and targets of one shape and dtype, float32 at least: squares and sums would
    overflow in float16."""
    x = _predictions(input)
    t = target if isinstance(target, Tensor) else as_real(target, name)
    if x.shape != t.shape:
        raise ValueError(
            f"{name}: predictions have shape {x.shape} and targets {t.shape}: they must be equal, "
            f"since broadcasting would compare every prediction with every target; use "
            f"reshape to bring one to the shape of the other"
        )
    if _is_half(x):
        x = x.astype(np.float32)
    return x, _taken_in(x.dtype, t)


def _reduced(name: str, losses: Any, reduction: str, input: Any) -> Any:
    """The losses as asked for, in float16 if the predictions were."""
    _check_reduction(name, reduction)
    if reduction == "mean" and losses.size == 0:
        raise ValueError(f"{name}: the mean over no elements is not defined: skip empty batches")
    if reduction != "none":
        losses = losses.mean() if reduction == "mean" else losses.sum()
    return _as_half(losses) if _is_half(input) else losses


@_vanishing
def _as_half(losses: Any) -> Any:
    return losses.astype(np.float16)


def _is_half(x: Any) -> bool:
    return isinstance(x, Tensor | np.ndarray) and x.dtype.char == "e"


def _check_reduction(name: str, reduction: str) -> None:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{name}: reduction is 'mean', 'sum' or 'none', not {reduction!r}")


def _check_shares(target: Array) -> None:
    """Raise unless targets of the binary cross entropy are from 0 to 1."""
    if target.size and not (target.min() >= 0 and target.max() <= 1):
        raise ValueError(
            f"binary_cross_entropy_with_logits: targets are from 0 to 1, got {target.min()} to "
            f"{target.max()}"
        )


def _check_classes(shape: tuple[int, ...], target: Array, ignore_index: int) -> bool:
    """Whether some targets are to be ignored; raise unless they fit logits of ``shape``."""
    if len(shape) < 2:
        raise ValueError(f"cross_entropy: logits of shape {shape}, expected (N, C) or (N, C, ...)")
    classes = shape[1]
    if target.shape != (shape[0], *shape[2:]):
        hint = ""
        if target.shape == shape:
            hint = ": these look one-hot, class numbers are target.argmax(axis=1)"
        elif target.size == math.prod(shape) // max(classes, 1):
            hint = ": use target.reshape(-1)" if len(shape) == 2 else ""
        raise ValueError(
            f"cross_entropy: targets have shape {target.shape}, and logits of shape {shape} take "
            f"{(shape[0], *shape[2:])}{hint}"
        )
    if target.dtype.kind not in "iu":
        raise TypeError(
            f"cross_entropy: targets are class numbers and must be integers, not {target.dtype}: "
            f"convert with astype(np.int64)"
        )
    if not target.size:
        return False
    # Taken as unsigned, a negative target is larger than any class: one pass finds both faults.
    if not target.dtype.isnative:
        target = target.astype(target.dtype.newbyteorder("="))
    largest = np.maximum.reduce(target.view(_UNSIGNED[target.dtype.itemsize]), axis=None)
    if largest >= classes:
        is_bad = (target != ignore_index) & ((target < 0) | (target >= classes))
        if is_bad.any():
            bad = target[is_bad]
            hint = " (if they count from 1, subtract 1)" if bad.min() == classes else ""
            raise ValueError(
                f"cross_entropy: target {bad[0]} is out of range: with {classes} classes, targets "
                f"are 0 to {classes - 1}{hint}"
            )
    return bool((largest >= classes or ignore_index >= 0) and (target == ignore_index).any())


_UNSIGNED = {n: np.dtype(f"u{n}") for n in (1, 2, 4, 8)}  # by size in bytes
