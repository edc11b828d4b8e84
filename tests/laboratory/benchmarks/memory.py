"""How much memory a training step takes beside the expert's, and that nothing stays behind.

    python tests/laboratory/benchmarks/memory.py

Three things, for 24 layers of 256 and batches of 512, with Adam:

- the peak of a step, parameters and state included, as counted by tracemalloc (all of NumPy's
  arrays and all Python objects), and as the operating system saw it (the process's high-water mark
  beyond what it was before the model; of the compiled step that includes the first ones, which are
  traced and made both ways);
- what is alive at the end of steps 100 and 1,100 with the garbage collector off;
- what is alive while backward proceeds: activations are freed as it goes.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import numpy as np

import minidl
from benchmarks import expert, ours
from benchmarks.workloads import NETWORKS, Array, Batch, Network

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

NETWORK = Network("memory", (256,) * 25 + (10,), 512)
MAKE: dict[str, Callable[[Network, str], Any]] = {
    "eager": ours.Minidl,
    "compiled": ours.Compiled,
    "expert": expert.Expert,
}


def batch_of(network: Network) -> Batch:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((network.batch, network.sizes[0]), np.float32)
    return x, rng.integers(0, network.sizes[-1], network.batch)


def peak(who: str) -> int:
    """The most that is alive at once, in bytes, in a step after the first three."""
    batch = batch_of(NETWORK)
    tracemalloc.start()
    contestant = MAKE[who](NETWORK, "adam")
    for _ in range(3):
        contestant.step(*batch)
    gc.collect()
    tracemalloc.reset_peak()
    contestant.step(*batch)
    return tracemalloc.get_traced_memory()[1]


def resident(who: str) -> int:
    """By how much the process grew, at most, in bytes."""
    batch = batch_of(NETWORK)
    before = high_water()
    contestant = MAKE[who](NETWORK, "adam")
    for _ in range(3):
        contestant.step(*batch)
    return high_water() - before


def high_water() -> int:
    if resource is None:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def growth(who: str) -> list[int]:
    """What is alive after 100 and after 1,100 steps without the garbage collector, in bytes."""
    network = NETWORKS["digits"]
    batch = network.batches()[0]
    contestant = MAKE[who](network, "adam")
    gc.disable()
    tracemalloc.start()
    alive = []
    for steps in (100, 1000):
        for _ in range(steps):
            contestant.step(*batch)
        alive.append(tracemalloc.get_traced_memory()[0])
    return alive


def falling(who: str) -> list[list[int]]:
    """What is alive, in bytes, when backward has come to each layer: pairs of layer and bytes."""
    alive: list[list[int]] = []
    now = [0]

    @minidl.differentiable
    def probe(x: Any) -> Any:
        return x

    def look(g: Array) -> Array:
        alive.append([now[0], tracemalloc.get_traced_memory()[0] - start])
        now[0] -= 1
        return g

    minidl.vjp(probe, "x", x=look)
    x, y = batch_of(NETWORK)
    tracemalloc.start()
    contestant = ours.Minidl(NETWORK, "adam")
    contestant.step(x, y)  # gradients and scratch are there from now on
    start = tracemalloc.get_traced_memory()[0]
    h = x
    for module in contestant.model:
        h = module(h)
        if isinstance(module, minidl.nn.Linear) and now[0] < len(NETWORK.layers) - 1:
            h = probe(h)
            now[0] += 1
    loss = contestant.loss(h, y)
    del h
    contestant.optimizer.zero_grad()
    alive.append([len(NETWORK.layers), tracemalloc.get_traced_memory()[0] - start])
    loss.backward()
    alive.append([0, tracemalloc.get_traced_memory()[0] - start])
    return alive


QUESTIONS: dict[str, Callable[[str], Any]] = {
    f.__name__: f for f in (peak, resident, growth, falling)
}


def asked(question: str, who: str) -> Any:
    """The answer of a fresh process."""
    command = [sys.executable, __file__, "--ask", question, who]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def rows() -> list[dict[str, Any]]:
    """The comparisons, as ``run.py`` takes them."""
    result = []
    for question, detail in ((peak, "peak of a step"), (resident, "resident set")):
        other = asked(question.__name__, "expert")
        for who in ("eager", "compiled") if other else ():
            mine = asked(question.__name__, who)
            values = {"minidl": mine, "other": other, "ratio": mine / other, "unit": "bytes"}
            bar = {"bar": 1.0} if question is peak and who == "compiled" else {}
            head = {"name": "memory", "rule": "", "against": "expert", "detail": detail}
            result.append(head | {"ours": who} | values | bar)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ask", nargs=2, metavar=("WHAT", "WHOM"), help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="a line of JSON for each comparison")
    options = parser.parse_args()
    if options.ask:
        print(json.dumps(QUESTIONS[options.ask[0]](options.ask[1])))
        return
    found = rows()
    if options.json:
        for row in found:
            print(json.dumps(row))
        return

    print("A training step of 24 layers of 256, batch 512, Adam")
    for row in found:
        verdict = ""
        if "bar" in row:
            verdict = f", bar {row['bar']}: {'met' if row['ratio'] <= row['bar'] else 'NOT MET'}"
        print(
            f"  {row['detail']:16} {row['ours']:8} {row['minidl'] / 1e6:7.2f} MB   expert "
            f"{row['other'] / 1e6:7.2f} MB   ratio {row['ratio']:.2f}{verdict}"
        )

    print("\nAlive after 100 and 1,100 steps (digits, Adam), garbage collector off")
    for who in MAKE:
        first, last = asked("growth", who)
        verdict = "met" if last - first < 1000 else "NOT MET"
        bar = f"   bar: nothing grows: {verdict}" if who != "expert" else ""
        print(f"  {who:8} {first:9,} and {last:9,} bytes: {last - first:+,}{bar}")

    print("\nAlive beyond what stays from step to step, while backward goes from layer 25 to 1")
    for layer, alive in asked("falling", "eager"):
        if layer % 4 == 0 or layer == len(NETWORK.layers):
            print(f"  layer {layer:2}  {alive / 1e6:6.2f} MB  {'#' * round(alive / 4e5)}")


if __name__ == "__main__":
    main()
