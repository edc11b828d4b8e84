"""What a learner must read to follow a training step, and how far the step leads through it.

    python tests/laboratory/path.py

A loop by hand over a ``DataLoader`` trains Linear, BatchNorm, ReLU and Linear with cross entropy by
each of the five rules. The path to read is every file of minidl that the loop enters once it is
warm, each from its first line to its last. One warm step with Adam is then followed line by line.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

import minidl
from minidl import data, nn, optim

HOME = Path(minidl.__file__).resolve().parent
RULES = {
    "SGD": lambda params: optim.SGD(params, lr=0.1),
    "Momentum": lambda params: optim.Momentum(params, lr=0.1),
    "Adagrad": optim.Adagrad,
    "RMSProp": optim.RMSProp,
    "Adam": optim.Adam,
}


class Hops(NamedTuple):
    """How far one step leads: the lines and the functions that run in it, each counted once (the
    lambdas of a file are one), and how often it enters a function of another file than before."""

    lines: int
    functions: int
    changes: int


def training(rule: str) -> Iterator[None]:
    """The loop as one writes it by hand; it stops after each step."""
    source = np.random.default_rng(0)
    x, y = source.normal(size=(96, 8)).astype(np.float32), source.integers(0, 3, 96)
    model = nn.Sequential(
        nn.Linear(8, 16, rng=0), nn.BatchNorm(16), nn.ReLU(), nn.Linear(16, 3, rng=1)
    )
    loss, optimizer = nn.CrossEntropyLoss(), RULES[rule](model.parameters())
    while True:
        for inputs, labels in data.DataLoader(x, y, batch_size=32, shuffle=True, rng=0):
            optimizer.zero_grad()
            loss(model(inputs), labels).backward()
            optimizer.step()
            yield


def entered(run: Callable[[], object]) -> list[CodeType]:
    """The functions of minidl that ``run`` enters, in their order."""
    found: list[CodeType] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and _ours(frame.f_code):
            found.append(frame.f_code)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(before)
    return found


def executed(run: Callable[[], object]) -> set[tuple[str, int]]:
    """The lines of minidl that ``run`` executes."""
    found: set[tuple[str, int]] = set()

    def note(frame: FrameType, event: str, _: object) -> Any:
        if event == "line":
            found.add((frame.f_code.co_filename, frame.f_lineno))
        return note if _ours(frame.f_code) else None

    before = sys.gettrace()
    sys.settrace(note)
    try:
        run()
    finally:
        sys.settrace(before)
    return found


def _ours(code: CodeType) -> bool:
    return Path(code.co_filename).is_relative_to(HOME)


def files() -> dict[str, int]:
    """The files on the path, from minidl's folder, and the lines of each."""
    names = set()
    for rule in RULES:
        steps = training(rule)
        for _ in range(3):  # an epoch to get warm
            next(steps)
        names |= {code.co_filename for code in entered(lambda s=steps: [next(s) for _ in range(3)])}
    paths = sorted(Path(name) for name in names)
    return {path.relative_to(HOME).as_posix(): path.read_text().count("\n") for path in paths}


def hops() -> Hops:
    """One warm step with Adam, from taking the batch on."""
    steps = training("Adam")
    for _ in range(4):
        next(steps)
    lines = executed(lambda: next(steps))
    next(steps)
    next(steps)  # at the same place in the epoch
    calls = entered(lambda: next(steps))
    functions = {(code.co_filename, code.co_name) for code in calls}
    changes = sum(a != b for a, b in pairwise(["", *(code.co_filename for code in calls)]))
    return Hops(len(lines), len(functions), changes)


def main() -> None:
    path = files()
    for name, lines in path.items():
        print(f"{name:28} {lines:5,}")
    print(f"The path to read: {sum(path.values()):,} lines in {len(path)} files")
    print("One step with Adam: {} lines, {} functions, {} changes of file".format(*hops()))


if __name__ == "__main__":
    main()
