"""``python -m minidl.gradcheck``: check the whole library, or functions of your own.

Without arguments every operation, function, layer and loss is checked at its samples, and with
axes of length one: to second order (those: to first), and in float32. A name like
``mypackage.mymodule:my_function`` checks that function instead. It is called with the inputs in
``my_function.samples``, a list of tuples of arrays, or with normal random arrays of the shapes
given by ``--shapes``.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from minidl.gradcheck import samples
from minidl.gradcheck.check import Report, gradcheck
from minidl.table import name_of


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0 if everything passed, 1 if something failed, 2 for bad usage."""
    parser = argparse.ArgumentParser(
        prog="python -m minidl.gradcheck",
        description="Check gradients against differences: all of minidl, or your own functions.",
    )
    parser.add_argument("names", nargs="*", metavar="MODULE:FUNCTION", help="what to check")
    parser.add_argument(
        "--shapes", nargs="+", metavar="N,M", help="shapes of random inputs, such as 3,4 4"
    )
    parser.add_argument("--order", type=int, choices=(1, 2), default=2, help="default: 2")
    parser.add_argument("--tolerance", type=float, default=1e-6, help="default: 1e-6")
    args = parser.parse_args(argv)
    try:
        checks = list(_named(args.names, args.shapes) if args.names else _library(args.shapes))
    except (ValueError, ImportError, AttributeError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    start = time.perf_counter()
    rows: dict[str, list[Report]] = {}
    broken: list[str] = []
    bar = tqdm(checks, disable=None, unit="check", leave=False)
    for row, f, inputs, most in bar:
        bar.set_description(row[:30].ljust(30))
        try:
            report = gradcheck(
                f,
                *inputs,
                order=min(args.order, most),
                tolerance=args.tolerance,
                max_unjudged=1.0,
                raise_on_failure=False,
            )
        except Exception as error:
            report = Report(row, args.order, faults=[f"{type(error).__name__}: {error}"])
        rows.setdefault(row, []).append(report)
    broken = [f"{row}: {fault}" for row, rs in rows.items() for r in rs for fault in r.faults]
    _print_table(rows)
    calls, failed = len(checks), sum(not r.ok for rs in rows.values() for r in rs)
    size = sum(r.size for rs in rows.values() for r in rs)
    unjudged = sum(r.unjudged for rs in rows.values() for r in rs)
    print(
        f"\n{len(rows)} operations, {calls} calls, {size:,} derivatives in "
        f"{time.perf_counter() - start:.1f} s: {failed} failed, {unjudged} not judged (at a kink)"
    )
    for fault in broken:
        print(f"FAILED {fault}")
    return 1 if broken else 0


def _library(shapes: Any) -> Iterator[tuple[str, Any, Sequence[Any], int]]:
    if shapes:
        raise ValueError("--shapes is for functions of your own: name one, MODULE:FUNCTION")
    if samples.missing():
        raise ValueError(f"operations without a sample: {', '.join(samples.missing())}")
    for function, entries in samples.SAMPLES.items():
        for sample in entries:
            yield name_of(function), sample.call, sample.inputs, sample.order
            for _, inputs in samples.smaller(sample, 1):
                yield name_of(function), sample.call, inputs, 1  # (a std of one has no second)
    for name, module, inputs in samples.MODULES:
        yield f"nn.{name}", module, inputs, 2
        if not samples.needs_a_batch(module):
            yield f"nn.{name}", module, [x[:1] for x in inputs], 2


def _named(names: Sequence[str], shapes: Any) -> Iterator[tuple[str, Any, Sequence[Any], int]]:
    sys.path.insert(0, os.getcwd())
    for name in names:
        module_name, colon, path = name.partition(":")
        if not colon:
            raise ValueError(f"{name!r} has no colon: write MODULE:FUNCTION, as in mymodule:swish")
        function: Any = importlib.import_module(module_name)
        for part in path.split("."):
            function = getattr(function, part)
        if shapes:
            rng = np.random.default_rng(0)
            calls = [[rng.normal(size=_shape(text)) for text in shapes]]
        else:
            calls = list(getattr(function, "samples", ()))
        if not calls:
            raise ValueError(
                f"{name} has no sample inputs: give shapes, as in --shapes 3,4 4, or set "
                f"{path}.samples = [(array, ...), ...] in {module_name}"
            )
        for inputs in calls:
            yield name, function, inputs, 2


def _shape(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(n) for n in text.split(",") if n)
    except ValueError:
        raise ValueError(f"--shapes takes shapes such as 3,4 (got {text!r})") from None


def _print_table(rows: dict[str, list[Report]]) -> None:
    width = max(len(row) for row in rows)
    print(f"{'operation':{width}}  calls  derivatives  not judged  worst error  result")
    print("-" * (width + 55))
    for row, reports in rows.items():
        print(
            f"{row:{width}}  {len(reports):5}  {sum(r.size for r in reports):11,}  "
            f"{sum(r.unjudged for r in reports) or '':>10}  {max(r.error for r in reports):11.1e}  "
            f"{'ok' if all(r.ok for r in reports) else 'FAILED'}"
        )


if __name__ == "__main__":
    sys.exit(main())
