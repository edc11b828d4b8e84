"""Measures minidl against one other contestant; ``run.py`` starts it as a process of its own.

One process for each pair, because libraries in one process disturb each other: thread pools that
spin while they wait, memory allocators, a garbage collector that searches what others imported.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import numpy as np

from benchmarks import ours
from benchmarks.measure import Run, calls, interleaved, ratio, steps
from benchmarks.workloads import NETWORKS, OPERATIONS, NotComparable, agree, as_number

MODULES = {
    "expert": "benchmarks.expert",
    "floor": "benchmarks.floor",
    "textbook": "benchmarks.textbook",
    "pytorch": "benchmarks.peers.pytorch",
    "jax": "benchmarks.peers.jax_jit",
    "autograd": "benchmarks.peers.hips_autograd",
    "mygrad": "benchmarks.peers.my_grad",
    "sklearn": "benchmarks.peers.scikit_learn",
}
SIZES = [(size, tensors) for size in (1_000, 100_000, 5_000_000) for tensors in (4, 80)]
CHAIN = 100_000
Row = dict[str, Any]


class Worker:
    def __init__(self, against: str, quick: bool) -> None:
        self.quick = quick
        self.rounds, self.seconds = (9, 0.008) if quick else (31, 0.02)
        self.other: ModuleType = importlib.import_module(MODULES[against])
        self.pause = getattr(self.other, "PAUSE", 0.0)

    def compared(
        self, mine: dict[str, Run], others: dict[str, Run], rounds: int, seconds: float
    ) -> Iterator[Row]:
        """Each variant of minidl against the fastest variant of the other, all in turns."""
        if len(others) > 2:  # a first heat: the best of each number of threads goes on
            heat = interleaved(others, 3, seconds, self.pause)
            order = sorted(others, key=lambda name: float(np.median(heat[name])), reverse=True)
            best = {name.rpartition(", ")[2]: name for name in order}
            others = {name: others[name] for name in best.values()}
        ours_ = {f"minidl {name}": run for name, run in mine.items()}
        times = interleaved(ours_ | others, rounds, seconds, self.pause)
        for name in mine:
            ratios = {other: ratio(times[f"minidl {name}"], times[other]) for other in others}
            variant = max(ratios, key=lambda other: ratios[other]["ratio"])
            yield {"ours": name, "variant": variant, **ratios[variant], "rounds": rounds}

    def training(self, name: str, rule: str) -> Iterator[Row]:
        network = NETWORKS[name]
        batches = network.batches()
        others = self.other.training(network, rule)
        convert = getattr(self.other, "batches", lambda batches: batches)
        converted = convert(batches)
        mine = ours.training(network, rule)
        expected = losses(mine["eager"], batches)
        if losses(mine["compiled"], batches) != expected:
            raise ArithmeticError("eager and compiled steps differ")
        differences = [agree(losses(make, converted), expected) for make in others.values()]
        if hasattr(self.other, "timed"):
            runs = self.other.timed(network, rule)
        else:
            runs = {variant: steps(make, converted) for variant, make in others.items()}
        own = {name: steps(make, batches) for name, make in mine.items()}
        for row in self.compared(own, runs, self.rounds, self.seconds):
            yield {"difference of losses": max(differences), **row}

    def epoch(self, name: str, rule: str) -> Iterator[Row]:
        runs = self.function("epoch")(rule)
        rounds = 5 if self.quick else 15
        yield from self.compared(ours.epoch(rule), runs, rounds, 0.15)

    def optimizer(self, name: str, rule: str) -> Iterator[Row]:
        for size, tensors in SIZES:
            runs = self.function("optimizer")(rule, size, tensors)
            kinds = dict.fromkeys(variant.split(",")[0] for variant in runs)  # default, fused, ...
            for kind in kinds:
                some = {v: run for v, run in runs.items() if v.split(",")[0] == kind}
                mine = ours.optimizer(rule, size, tensors)
                for row in self.compared(mine, some, self.rounds, self.seconds):
                    yield {"detail": f"{size:,} in {tensors}", "kind": kind, **row}

    def operation(self, name: str, rule: str) -> Iterator[Row]:
        for operation in OPERATIONS:
            others = self.function("operation")(operation)
            mine = ours.operation(operation)
            for row in self.compared(mine, others, self.rounds, self.seconds):
                yield {"detail": operation, **row}

    def chain(self, name: str, rule: str) -> Iterator[Row]:
        others = self.function("chain")(CHAIN)
        rounds = 3 if self.quick else 7
        yield from self.compared(ours.chain(CHAIN), others, rounds, 0.0)

    def function(self, name: str) -> Any:
        function = getattr(self.other, name, None)
        if function is None:
            raise NotComparable("not comparable")
        return function


def losses(make: Any, batches: list[Any]) -> list[float]:
    """The losses of the first 20 steps."""
    contestant = make()
    if hasattr(contestant, "begin"):
        contestant.begin()
    return [as_number(contestant.step(*batches[i % len(batches)])) for i in range(20)]


def imports(quick: bool) -> Row:
    """``import minidl`` and ``import numpy``, each in fresh processes, in turns."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # else each import would compile minidl anew

    def of(module: str) -> Run:
        command = [sys.executable, "-c", f"import {module}"]
        return calls(lambda: subprocess.run(command, check=True, env=environment))

    runs = {"minidl": of("minidl"), "numpy": of("numpy")}
    times = interleaved(runs, 7 if quick else 25, 0.0)
    extra = np.array(times["minidl"]) - np.array(times["numpy"])
    low, middle, high = np.percentile(extra, [25, 50, 75])
    extra_row = {"extra": float(middle), "low": float(low), "high": float(high)}
    return ratio(times["minidl"], times["numpy"]) | extra_row | {"rounds": len(extra)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("against")
    parser.add_argument("rules", nargs="*")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    name, against = options.name, options.against

    def report(row: Row, rule: str = "") -> None:
        print(json.dumps({"name": name, "rule": rule, "against": against} | row), flush=True)

    if name == "import":
        report(imports(options.quick))
        return
    worker = Worker(against, options.quick)
    section = getattr(worker, name, worker.training)
    for rule in options.rules or [""]:
        start = time.perf_counter()
        try:
            for row in section(name, rule):
                report(row, rule)
        except NotComparable as reason:
            report({"note": str(reason)}, rule)
        except (ArithmeticError, RecursionError, RuntimeError, MemoryError) as error:
            report({"note": f"failed with {type(error).__name__}"}, rule)
        print(f"{time.perf_counter() - start:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
