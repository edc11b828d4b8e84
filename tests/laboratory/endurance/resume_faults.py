"""Kill training processes, many times, and hold what they come to against a run never stopped.

Each run is ``fit(..., checkpoint=...)`` in a process of its own that is killed at random moments
and started again until it is through. Then every bit of weights, BatchNorm statistics, optimizer
state and history must be that of the same run in one go. All five rules take turns, with
hyper-parameters unlike the defaults, a schedule, dropout and shuffled loaders.

It is a script and not a test because it takes a minute or two. It needs a POSIX system, and draws
its progress in a terminal only:

    python tests/laboratory/endurance/resume_faults.py

The exit status is 0 only if no run differs from the one that was never stopped.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import hashlib
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from tqdm import tqdm

import minidl
from minidl import checkpoint, data, nn, optim

RULES: dict[str, Callable[[Any], optim.Optimizer]] = {
    "sgd": lambda params: optim.SGD(params, lr=0.07, weight_decay=0.01),
    "momentum": lambda params: optim.Momentum(
        params, lr=optim.schedules.exponential_decay(0.03, 0.99), mu=0.8
    ),
    "adagrad": lambda params: optim.Adagrad(params, lr=0.02, eps=1e-6),
    "rmsprop": lambda params: optim.RMSProp(params, lr=0.002, decay_rate=0.95),
    "adam": lambda params: optim.Adam(
        params, lr=optim.schedules.cosine(0.004, 500), betas=(0.8, 0.99), weight_decay=0.001
    ),
}
EPOCHS = 60


def run(rule: str, seed: int, path: str | None) -> str:
    """Train, going on from ``path`` if it is there, and return a digest of all that came out."""
    minidl.seed(seed)
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(90, 12)).astype(np.float32), rng.integers(0, 4, 90)
    model = nn.Sequential(
        nn.Linear(12, 24), nn.BatchNorm(24), nn.ReLU(), nn.Dropout(0.3),
        nn.Linear(24, 16), nn.Tanh(), nn.Dropout(0.2, rng=seed + 1), nn.Linear(16, 4),
    )  # fmt: skip
    optimizer = RULES[rule](model.parameters())
    train = data.DataLoader(x[:70], y[:70], batch_size=16, shuffle=True)
    validation = data.DataLoader(x[70:], y[70:], batch_size=8)
    history = minidl.fit(
        model, nn.CrossEntropyLoss(), optimizer, train, validation,
        epochs=EPOCHS, progress=False, checkpoint=path, on_interrupt="return",
    )  # fmt: skip
    if history.interrupted:
        return ""
    outcome = model.state_dict(), optimizer.state_dict(), train.state_dict(), dict(history)
    return hashlib.sha256(repr(as_bits(outcome)).encode()).hexdigest()


def as_bits(value: Any) -> Any:
    """The same structure with every array as its bytes."""
    if isinstance(value, dict):
        return {key: as_bits(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_bits(item) for item in value]
    return (value.dtype.str, value.tobytes()) if isinstance(value, np.ndarray) else value


def changed(path: str) -> int:
    """When the file was last replaced; 0 if it is not there yet."""
    with contextlib.suppress(FileNotFoundError):
        return os.stat(path).st_mtime_ns
    return 0


def killed_until_done(
    rule: str, seed: int, path: str, dice: random.Random, bar: Any, counts: collections.Counter[str]
) -> str:
    """Start the run again and again, kill it each time, and return its digest in the end."""
    command = [sys.executable, __file__, "--one", rule, str(seed), path]
    package = str(pathlib.Path(minidl.__file__).parent.parent)
    environment = os.environ | {"PYTHONPATH": package, "OPENBLAS_NUM_THREADS": "1"}
    while True:
        before = changed(path)
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as child:
            while child.poll() is None and changed(path) == before:
                time.sleep(0.0005)  # it has not come to its first save yet
            time.sleep(dice.uniform(0, 0.06))
            how = dice.choice([signal.SIGKILL] * 4 + [signal.SIGINT])
            running = child.poll() is None
            if running:
                child.send_signal(how)
            output, errors = child.communicate()
        if child.returncode == 0 and output.strip():
            return output.strip()
        if child.returncode not in (0, -how, 130):
            raise RuntimeError(f"the run of {rule} failed, status {child.returncode}:\n{errors}")
        saved = checkpoint.load(path)
        counts["kills"] += 1
        counts["kills by Ctrl-C"] += how == signal.SIGINT
        counts["stopped in the middle of an epoch"] += saved["epoch"]["batches"] > 0
        counts["killed in the middle of a save"] += len(os.listdir(os.path.dirname(path))) - 1
        bar.update()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=200, help="at least so many kills (200)")
    parser.add_argument("--seed", type=int, default=0, help="of moments and runs (0)")
    parser.add_argument("--one", nargs=3, metavar=("RULE", "SEED", "PATH"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
    if arguments.one:
        rule, seed, path = arguments.one
        print(run(rule, int(seed), path))
        return 0
    dice = random.Random(arguments.seed)
    counts: collections.Counter[str] = collections.Counter()
    with tqdm(total=arguments.kills, desc="killing runs", unit="kill", disable=None) as bar:
        seed = arguments.seed
        while counts["kills"] < arguments.kills:
            rule = list(RULES)[counts["runs"] % len(RULES)]
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "run.npz")
                digest = killed_until_done(rule, seed, path, dice, bar, counts)
            counts["runs"] += 1
            if digest != run(rule, seed, None):
                counts["runs that differ in a bit from the one never stopped"] += 1
                tqdm.write(f"different: {rule}, seed {seed}")
            seed += 1
    for what in [
        "runs", "kills", "kills by Ctrl-C", "stopped in the middle of an epoch",
        "killed in the middle of a save", "runs that differ in a bit from the one never stopped",
    ]:  # fmt: skip
        print(f"{what}: {counts[what]}")
    return 1 if counts["runs that differ in a bit from the one never stopped"] else 0


if __name__ == "__main__":
    sys.exit(main())
