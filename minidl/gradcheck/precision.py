"""Values and gradients in float32, held against those in float64.

Differences need float64, and so a formula that is wrong in float32 only is right to them: with a
constant too small for it, a sum that loses digits, a branch that is taken for one dtype.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from minidl.gradcheck.problem import Problem

UNITS = 32
"""How many units in the last place, of the largest element, a narrower dtype may be off."""

EXACT = float(np.finfo(np.float64).eps)


def compared(
    wide: Problem,
    narrow: Problem,
    dtype: np.dtype[Any],
    kinks: Sequence[Sequence[tuple[int, ...]]],
) -> Iterator[str]:
    """Compute value and gradient in a narrower dtype; yields where they are not those of float64.

    Both start from the same inputs, which the narrower dtype holds exactly. What it may be off is
    what float64 is off, in proportion, and some units in the last place of the largest element.
    """
    with np.errstate(all="ignore"):
        arrays = [x.astype(dtype) for x in wide.arrays]
    if not all(np.all(np.isfinite(x)) for x in arrays):
        return  # too large for the dtype
    exact = [x.astype(np.float64) for x in arrays]
    try:
        with np.errstate(all="ignore"):
            narrow.warm_up(dtype)
            gradients, values = narrow.analytic(arrays), narrow.outputs(arrays)
            drawn = narrow.drawn
            expected = [*wide.outputs(exact), *wide.analytic(exact)]
    except Exception as error:
        yield (
            f"in {dtype} the call raises {type(error).__name__}: {error} (for a function that is "
            f"meant for float64 only, say also_in=())"
        )
        return
    if drawn != wide.drawn:
        return  # other random numbers: nothing to compare
    names = ["the result" + (f" {i}" if len(values) > 1 else "") for i in range(len(values))]
    names += [f"the gradient of {label}" for label in wide.labels]
    info = np.finfo(dtype)
    units = float(info.eps) / EXACT
    for k, (name, a, b) in enumerate(zip(names, [*values, *gradients], expected, strict=True)):
        judged = np.isfinite(b) & (np.abs(b) < float(info.max) / 16)
        if k < len(values) and wide.values_are_known:
            continue
        if k >= len(values):
            if a.dtype != dtype:
                yield f"in {dtype} {name} is {a.dtype}"
            for index in kinks[k - len(values)]:
                judged[index] = False
        with np.errstate(all="ignore"):
            off = np.where(judged, np.abs(a.astype(np.float64) - b), 0.0)
        off[np.isnan(off)] = np.inf
        worst = float(np.max(off, initial=0))
        scale = float(np.max(np.abs(b[judged]), initial=0))
        # (The weights of the outputs are about 1: where they cancel, what is left is rounded so.)
        least = allowed = (UNITS * scale + 4) * float(info.eps) + 64 * float(info.tiny)
        for width in (1e-9, 1e-6, 1e-4):  # noise may come in steps too wide to be seen so near
            if allowed < worst < np.inf:
                noise = wide.rounding(width)
                allowed = least + 16 * units * [*noise.outputs, *noise.gradients][k]
        if worst > allowed:
            index = tuple(int(i) for i in np.unravel_index(np.argmax(off), off.shape))
            yield (
                f"in {dtype} {name} at {index} is {a[index]:.9g}, and in float64 {b[index]:.9g}, "
                f"further apart than rounding explains ({allowed:.1e}): a formula loses digits or "
                f"overflows, or does something else in {dtype} (also_in=() leaves this out)"
            )
