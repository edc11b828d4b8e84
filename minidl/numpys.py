"""All of NumPy's functions that are known: the tables are filled, and what is refused is named.

``REMEDIES`` (protocols.py) gets, for functions that people try on Tensors and that have no rule, a
sentence that says what to write instead. It is part of the error.
"""

from __future__ import annotations

import numpy as np

from minidl import arranging, elementwise, linalg, reductions  # noqa: F401  (they fill the tables)
from minidl.protocols import PLAIN, REMEDIES

PLAIN.update(
    [
        np.argpartition, np.lexsort, np.digitize, np.isin, np.isposinf, np.isneginf,
        np.nanargmax, np.nanargmin, np.iscomplexobj, np.isrealobj, np.array_equiv,
    ]
)  # fmt: skip

REMEDIES.update(
    {
        np.insert: "join the pieces with np.concatenate",
        np.interp: "take both neighbours with np.searchsorted and indexing, and weigh them",
        np.copysign: "write np.abs(a) * np.sign(b)",
        np.fmod: "write a - b * np.trunc(a / b)",
        np.modf: "write a - np.trunc(a) for the fraction",
        np.ldexp: "write a * 2.0**n",
        np.heaviside: "write np.where(a > 0, 1.0, 0.0)",
        np.gradient: "write np.diff and divide by the steps",
        np.correlate: "write np.convolve(a, v[::-1], mode)",
        np.cov: "subtract the mean and write x @ x.T / (n - 1)",
        np.corrcoef: "divide the covariance by the deviations",
        np.polyfit: "solve with np.linalg.solve(x.T @ x, x.T @ y)",
        np.polyval: "add the powers by Horner's rule",
        np.nanmedian: "choose what is there, and take np.median",
        np.nanstd: "choose what is there, and take np.std",
        np.nanvar: "choose what is there, and take np.var",
        np.nancumsum: "write np.cumsum(np.where(np.isnan(a), 0, a))",
        np.put_along_axis: "build a new array with np.where",
        np.copyto: "build a new array with np.where",
        np.fill_diagonal: "write np.where(np.eye(n, dtype=bool), value, a)",
        np.apply_along_axis: "write the function for all rows at once, with axis=",
        np.vectorize: "write the function for arrays",
        np.linalg.pinv: "for full rank, np.linalg.solve(a.T @ a, a.T)",
        np.linalg.lstsq: "for full rank, np.linalg.solve(a.T @ a, a.T @ b)",
        np.linalg.cond: "pass the Tensor's .data to get a plain array",
        np.linalg.matrix_rank: "pass the Tensor's .data to get a plain array",
        np.fft.fft: "multiply by the matrix of the transform, its cosines and sines apart",
    }
)
