"""Timing contestants side by side, and saying on what machine.

A shared machine is never the same twice: its clock changes, others take their share. So contestants
are not timed one after the other. They take turns in slices of some hundredths of a second, in an
order that rotates, and what counts is the ratio within each round; the median over the rounds is
the result, the quartiles are its spread.
"""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

Run = Callable[[int], float]
"""Does its work so many times and returns the seconds that this took."""

RESET = 400  # steps after which a contestant starts again from the first weights


def steps(make: Callable[[], Any], batches: Sequence[Any]) -> Run:
    """Training steps of the contestant that ``make`` makes.

    Every ``RESET`` steps, at the start of a slice, it is made anew, so that nobody is timed on a
    network that has long converged (its gradients become denormal numbers, which are slow). Two
    steps before each slice are not timed: they bring back into the caches what the others drove
    out.
    """
    state: dict[str, Any] = {"made": None, "taken": RESET, "next": cycle(batches)}

    def run(n: int) -> float:
        if state["taken"] >= RESET:
            state.update(made=make(), taken=0)
        contestant, step = state["made"], state["made"].step
        wait = getattr(contestant, "wait", None)
        if hasattr(contestant, "begin"):
            contestant.begin()
        for x, y in islice(state["next"], 2):
            step(x, y)
        if wait:
            wait()
        start = time.perf_counter()
        for x, y in islice(state["next"], n):
            step(x, y)
        if wait:
            wait()
        end = time.perf_counter()
        state["taken"] += n + 2
        return end - start

    return run


def calls(function: Callable[[], Any], begin: Callable[[], Any] | None = None) -> Run:
    """Calls of a function, after one that is not timed, and ``begin()`` before it."""

    def run(n: int) -> float:
        if begin:
            begin()
        function()
        start = time.perf_counter()
        for _ in range(n):
            function()
        return time.perf_counter() - start

    return run


def interleaved(
    runs: Mapping[str, Run], rounds: int, seconds: float, pause: float = 0.0
) -> dict[str, list[float]]:
    """The seconds that one piece of work took, for each contestant and round.

    Args:
        runs: the contestants.
        rounds: how often each gets its turn.
        seconds: how long a turn is to be, or one piece of work if that is longer.
        pause: how long to sleep before each turn. Idle threads of OpenBLAS and OpenMP spin for up
            to 26 ms before they sleep, and would be in the way of somebody else's threads.
    """
    counts = {}
    for name, run in runs.items():
        counts[name] = 1
        if run(1) < 2 * seconds:  # in the first one there is much that happens only once
            for _ in range(3):
                counts[name] = max(1, round(seconds * counts[name] / run(counts[name])))
    times: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    gc.collect()
    gc.freeze()  # what was imported is not searched again and again; the collector stays on
    try:
        for i in range(rounds):
            for name in names[i % len(names) :] + names[: i % len(names)]:
                time.sleep(pause)
                times[name].append(runs[name](counts[name]) / counts[name])
    finally:
        gc.unfreeze()
    return times


def ratio(times: Sequence[float], others: Sequence[float]) -> dict[str, float]:
    """Median and quartiles of the ratios of the rounds, and the medians of both."""
    low, middle, high = np.percentile(np.array(times) / np.array(others), [25, 50, 75])
    return {
        "ratio": float(middle),
        "low": float(low),
        "high": float(high),
        "minidl": float(np.median(times)),
        "other": float(np.median(others)),
    }


# --- The machine ----------------------------------------------------------------------------------

THREAD_SETTINGS = (
    "OPENBLAS_NUM_THREADS",
    "OPENBLAS_CORETYPE",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "MKL_NUM_THREADS",
    "NPY_DISABLE_CPU_FEATURES",
    "XLA_FLAGS",
)


def machine() -> dict[str, Any]:
    """On what the numbers were measured."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]  # type: ignore[call-overload]
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "usable cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "blas": f"{blas['name']} {blas['version']}",
        "blas in use": _openblas(),
        "settings": {name: os.environ[name] for name in THREAD_SETTINGS if name in os.environ},
    }


def versions(*packages: str) -> dict[str, str | None]:
    """The version of each package, None for one that is not installed."""

    def version(package: str) -> str | None:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            return None

    return {package: version(package) for package in packages}


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    pairs = (line.partition(":")[::2] for line in lines[:30])
    found = {key.strip(): value.strip() for key, value in pairs}
    family = f"family {found.get('cpu family')}, model {found.get('model')}"
    return f"{found.get('model name', platform.machine())} ({family})"


def _openblas() -> str | None:
    """The kernel that NumPy's OpenBLAS chose for this processor, and its number of threads."""
    for name in ("numpy.libs", "numpy/.dylibs"):
        folder = Path(np.__file__).parents[1] / name
        for path in folder.glob("*openblas*") if folder.is_dir() else ():
            library = ctypes.CDLL(str(path))
            core = getattr(library, "scipy_openblas_get_corename64_", None)
            threads = getattr(library, "scipy_openblas_get_num_threads64_", None)
            if core is not None and threads is not None:
                core.restype = ctypes.c_char_p
                return f"kernels for {core().decode()}, {threads()} threads"
    return None
