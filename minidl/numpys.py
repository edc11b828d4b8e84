"""NumPy's functions as Tensors take them: the tables filled, what is refused named, and a list.

``python -m minidl.numpys`` prints the list as it stands in docs/numpy.md. Functions that people try
on Tensors and that have no rule are in ``REMEDIES`` (protocols.py) with a sentence that says what
to write instead; it is part of the error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from minidl import arranging, elementwise, linalg, reductions  # noqa: F401  (they fill the tables)
from minidl.autograd import TABLE
from minidl.protocols import COMPOSED, PLAIN, REMEDIES
from minidl.table import name_of

PLAIN.update(
    [
        np.argpartition, np.lexsort, np.digitize, np.isin, np.isposinf, np.isneginf,
        np.nanargmax, np.nanargmin, np.iscomplexobj, np.isrealobj, np.array_equiv,
    ]
)  # fmt: skip

REMEDIES.update(
    {
        np.insert: "join the pieces with np.concatenate",
        np.interp: "find the neighbours with np.searchsorted, index them, and weigh the two",
        np.copysign: "write np.abs(a) * np.sign(b)",
        np.fmod: "write a - b * np.trunc(a / b)",
        np.modf: "write a - np.trunc(a) for the fraction",
        np.ldexp: "write a * 2.0**n",
        np.heaviside: "write np.where(a > 0, 1.0, 0.0)",
        np.gradient: "divide np.diff by the steps",
        np.trapezoid: "write np.sum((y[1:] + y[:-1]) * np.diff(x)) / 2",
        np.correlate: "write np.convolve(a, v[::-1], mode), with v the shorter one",
        np.cov: "subtract the mean from x (variables, samples) and write x @ x.T / (n - 1)",
        np.corrcoef: "standardize x (variables, samples) and write x @ x.T / n",
        np.polyfit: "solve with np.linalg.solve(x.T @ x, x.T @ y)",
        np.polyval: "add the powers up, y = y * x + p for each coefficient p",
        np.nanmedian: "pick what is there, x[~np.isnan(x)], and take np.median",
        np.nanstd: "pick what is there, x[~np.isnan(x)], and take np.std",
        np.nanvar: "pick what is there, x[~np.isnan(x)], and take np.var",
        np.nancumsum: "write np.cumsum(np.where(np.isnan(a), 0, a))",
        np.put_along_axis: "build a new array with np.where",
        np.copyto: "build a new array with np.where",
        np.fill_diagonal: "write np.where(np.eye(n, dtype=bool), value, a)",
        np.apply_along_axis: "write the function for all rows at once, with axis=",
        np.linalg.pinv: "for full rank write np.linalg.solve(a.T @ a, a.T)",
        np.linalg.lstsq: "for full rank write np.linalg.solve(a.T @ a, a.T @ b)",
    }
)

TOPICS = {
    "arithmetic": "add subtract multiply divide negative positive reciprocal power float_power "
    "square sqrt cbrt absolute fabs",
    "exponentials": "exp exp2 expm1 log log2 log10 log1p logaddexp",
    "angles": "sin cos tan arcsin arccos arctan arctan2 sinh cosh tanh arcsinh arccosh arctanh "
    "hypot degrees rad2deg radians deg2rad sinc",
    "choices": "where clip maximum minimum fmax fmin select choose piecewise nan_to_num",
    "sums": "sum mean average var std prod cumsum cumprod nansum nanmean nanprod",
    "order": "max amax nanmax min amin nanmin ptp sort partition median quantile percentile",
    "products": "matmul dot inner outer vecdot tensordot einsum cross kron convolve trace",
    "linear algebra": "linalg.inv linalg.solve linalg.det linalg.slogdet linalg.cholesky "
    "linalg.matrix_power linalg.multi_dot linalg.norm",
    "shapes": "reshape ravel transpose matrix_transpose swapaxes moveaxis expand_dims squeeze "
    "broadcast_to broadcast_arrays atleast_1d atleast_2d atleast_3d copy",
    "joining": "concatenate stack vstack hstack dstack column_stack block append repeat tile pad "
    "meshgrid",
    "parts": "split array_split hsplit vsplit dsplit take take_along_axis delete diagonal diag "
    "tril triu diff lib.stride_tricks.sliding_window_view",
    "turns": "flip fliplr flipud roll rot90",
}
"""The differentiable functions by what they are for, under their names behind ``np.``."""


def taken() -> set[str]:
    """The names of NumPy's functions that Tensors go through, with their gradients."""
    return set(_numpys([*TABLE, *COMPOSED]))


def catalogue() -> str:
    """What Tensors take, in Markdown: three tables."""
    lines = ["| differentiable | `np.` |", "| --- | --- |"]
    lines += [f"| {topic} | {_code(names.split())} |" for topic, names in TOPICS.items()]
    lines += ["", "| plain arrays come out | `np.` |", "| --- | --- |"]
    lines += [f"| without a gradient | {_code(sorted(n[3:] for n in _numpys(PLAIN)))} |"]
    lines += ["", "| refused | instead |", "| --- | --- |"]
    lines += [f"| `{name_of(f)}` | {remedy} |" for f, remedy in REMEDIES.items()]
    return "\n".join(lines)


def _numpys(functions: Iterable[Callable[..., Any]]) -> Iterable[str]:
    """The names of those that are NumPy's."""
    return (n for n in map(name_of, functions) if n.startswith("np."))


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    print(catalogue())
