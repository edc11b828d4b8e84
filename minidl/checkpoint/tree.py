"""What a checkpoint stores: nested dicts, lists and numbers, as JSON, beside a list of arrays.

It is a file of its own because it knows of no file. An object of the JSON has one key, which says
what stands under it; ``{"array": 0}`` stands for the first of the arrays.
"""

from __future__ import annotations

import math
import re
import struct
from types import NoneType
from typing import Any

import numpy as np

_DEEPEST = 100  # levels of containers
_DTYPES = re.compile(  # the dtypes whose bytes mean the same on every machine, as dtype.str
    r"\|[biu]1|\|S[1-9]\d*|[<>]([iu][248]|f[248]|c8|c16|U[1-9]\d*|[mM]8(\[\d*[a-zA-Z]+\])?)"
)


class CheckpointError(ValueError):
    """A file is not a whole checkpoint; the message names the file and what is wrong with it."""


def encoded(state: object) -> tuple[Any, list[np.ndarray]]:
    """Return ``state`` as JSON can hold it, and its arrays."""
    arrays: list[np.ndarray] = []
    return _encode(state, "state", arrays, ()), arrays


def decoded(tree: Any, arrays: list[np.ndarray]) -> Any:
    """Return the state that :func:`encoded` was given."""
    left = dict(enumerate(arrays))
    try:
        state = _decode(tree, left)
    except (LookupError, ValueError, TypeError, struct.error) as error:
        raise CheckpointError(
            f"its description makes no sense: {type(error).__name__}: {error}"
        ) from None
    if left:
        raise CheckpointError(f"its description does not say where array {min(left)} belongs")
    return state


def _encode(value: Any, where: str, arrays: list[np.ndarray], above: tuple[int, ...]) -> Any:
    """Return ``value`` as JSON can hold it, and append its arrays to ``arrays``.

    ``where`` is its place in the tree, ``above`` the identities of the containers it stands in.
    """
    kind = type(value)
    if kind in (NoneType, bool, str):
        return value
    if kind is int:  # large ones in base 16: Python limits the decimal digits it reads
        return value if abs(value) <= 2**53 else {"int": hex(value)}
    if kind is float:
        return value if math.isfinite(value) else {"float": struct.pack(">d", value).hex()}
    if kind is complex:
        return {"complex": struct.pack(">2d", value.real, value.imag).hex()}
    if kind is np.str_:
        return {"numpy.str_": str(value)}
    if kind in (np.ndarray, np.memmap):
        _check_dtype(value.dtype, where)
        arrays.append(value)
        return {"array": len(arrays) - 1}
    if isinstance(value, np.generic) and kind is not np.bytes_:
        _check_dtype(value.dtype, where)
        return {"scalar": [value.dtype.str, value.tobytes().hex()]}
    if kind not in (dict, list, tuple):
        raise TypeError(
            f"{where}: a {kind.__name__} cannot be saved; a checkpoint holds dicts with string "
            "keys, lists, tuples, NumPy arrays and scalars, numbers, strings, booleans and None"
            f"{_remedy_for(value)}"
        )

    if id(value) in above:
        raise ValueError(f"{where}: the {kind.__name__} contains itself, so saving would not end")
    if len(above) == _DEEPEST:
        raise ValueError(f"{where}: the state has more than {_DEEPEST} levels; make it flatter")
    above = (*above, id(value))
    if kind is dict:
        for key in value:
            if type(key) is not str:
                raise TypeError(
                    f"{where}: the key {key!r} is of type {type(key).__name__}, and the keys in a "
                    "checkpoint are strings; use str(key)"
                )
        items = {k: _encode(v, f'{where}["{k}"]', arrays, above) for k, v in value.items()}
        return {"dict": items}
    nodes = [_encode(item, f"{where}[{i}]", arrays, above) for i, item in enumerate(value)]
    return nodes if kind is list else {"tuple": nodes}


def _decode(node: Any, arrays: dict[int, np.ndarray], level: int = 0) -> Any:
    """Return the value of a node of the tree, and take its arrays out of ``arrays``."""
    if level > _DEEPEST:
        raise ValueError(f"more than {_DEEPEST} levels")
    if isinstance(node, list):
        return [_decode(item, arrays, level + 1) for item in node]
    if not isinstance(node, dict):
        return node
    [(kind, content)] = node.items()
    match kind, content:
        case "dict", dict():
            return {key: _decode(item, arrays, level + 1) for key, item in content.items()}
        case "tuple", list():
            return tuple(_decode(item, arrays, level + 1) for item in content)
        case "array", int():
            return arrays.pop(content)
        case "int", str():
            return int(content, 16)
        case "float", str():
            return struct.unpack(">d", bytes.fromhex(content))[0]
        case "complex", str():
            return complex(*struct.unpack(">2d", bytes.fromhex(content)))
        case "numpy.str_", str():
            return np.str_(content)
        case "scalar", [str(dtype), str(data)] if is_storable(dtype):
            [scalar] = np.frombuffer(bytes.fromhex(data), dtype)
            return scalar
    raise ValueError(f"unknown kind {kind!r}")


def is_storable(dtype: str) -> bool:
    try:
        return bool(_DTYPES.fullmatch(dtype)) and np.dtype(dtype).str == dtype
    except (TypeError, ValueError, OverflowError):  # a unit of time that is none, a width too large
        return False


def _check_dtype(dtype: np.dtype, where: str) -> None:
    if is_storable(dtype.str):
        return
    if dtype.hasobject:
        reason = (
            "it holds Python objects, which only pickle could store, and loading a pickle can run "
            "any code; convert it with astype to numbers or fixed-width strings"
        )
    elif dtype.names:
        reason = "save each field of a structured array as an array of its own"
    else:
        reason = (
            "a checkpoint holds what means the same on every machine: convert it with astype to "
            "bool, an integer, float16/32/64, complex64/128, a fixed-width string or a date"
        )
    raise TypeError(f"{where}: an array or scalar of dtype {dtype} cannot be saved: {reason}")


def _remedy_for(value: Any) -> str:
    for method in ("state_dict", "numpy"):
        if not isinstance(value, type) and callable(getattr(value, method, None)):
            return f"; save what its {method}() returns"
    if isinstance(value, bytes | bytearray):
        return "; save numpy.frombuffer(value, numpy.uint8)"
    if isinstance(value, np.ndarray):
        return "; it would come back as a plain array: save numpy.asarray(value), and a mask apart"
    for plain in (dict, list, tuple, str, int, float):
        if isinstance(value, plain):
            name = plain.__name__
            return f"; it would come back as a plain {name}: save {name}(value)"
    return ""
