"""Kill processes that save and damage what they saved, many times, and count what is lost.

It is a script and not a test because it takes a minute or two, and because random moments are
worth more the more of them there are. It needs a POSIX system (it forks and kills), and draws its
progress in a terminal only:

    python tests/laboratory/endurance/checkpoint_faults.py

The exit status is 0 only if no file was lost and every damaged file was refused with a
CheckpointError.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import os
import pathlib
import pickle
import random
import signal
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
from tqdm import tqdm

import minidl
from minidl import checkpoint
from minidl.checkpoint.archive import packed, write_archive
from minidl.checkpoint.tree import encoded

tqdm.monitor_interval = 0  # its thread and fork() do not go together

Faults = collections.Counter[str]


def state_number(n: int) -> dict[str, Any]:
    """Return a state that is known from ``n`` alone, of a size between 0.1 and 13 megabytes."""
    size = [1_000, 30_000, 200_000, 800_000][n % 4]
    return {
        "n": n,
        "model": [np.full(size, n, np.float64), np.full((size, 4), n, np.int16)[::2]],
        "history": [n / 7] * 1000,
    }


def as_bytes(state: object) -> bytes:
    """Return bytes that are the same for the same state, to the bit."""
    return pickle.dumps(plain(state))


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return [(key, plain(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return [type(value).__name__, *map(plain, value)]
    if isinstance(value, np.ndarray | np.generic):
        return type(value).__name__, value.dtype.str, value.shape, value.tobytes()
    return repr(value)


def strays_beside(path: str) -> int:
    return len(os.listdir(os.path.dirname(path))) - 1


# ---- Kills


def save_forever(path: str) -> None:
    for n in itertools.count(checkpoint.load(path)["n"] + 1):
        checkpoint.save(path, state_number(n))
        print(n, flush=True)


def kill_savers(path: str, kills: int, rng: random.Random) -> Faults:
    """Kill processes at random moments, most with SIGKILL, some with Ctrl-C."""
    faults: Faults = collections.Counter()
    command = [sys.executable, __file__, "--save-forever", path]
    package = str(pathlib.Path(minidl.__file__).parent.parent)
    environment = os.environ | {"PYTHONPATH": package, "OPENBLAS_NUM_THREADS": "1"}
    checkpoint.save(path, state_number(0))
    for _ in tqdm(range(kills), desc="killing savers", unit="kill", disable=None):
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline()]  # it has begun
            time.sleep(rng.uniform(0, 0.1))
            process.send_signal(rng.choice([signal.SIGKILL] * 4 + [signal.SIGINT]))
            lines += process.stdout.readlines()
        faults["killed in the middle of a save"] += strays_beside(path)
        saved = [int(line) for line in lines if line.endswith("\n")]
        try:
            state = checkpoint.load(path)
            n = state["n"]
            whole = as_bytes(state) == as_bytes(state_number(n))
        except Exception as error:  # whatever it is, it goes into the count
            tqdm.write(f"lost: {type(error).__name__}: {error}")
            whole = False
        if not whole:
            faults["files lost"] += 1
            checkpoint.save(path, state_number(0))
        elif not saved or n not in (saved[-1], saved[-1] + 1):
            faults["finished saves lost"] += 1
    checkpoint.save(path, state_number(0))
    faults["stray files that the next save left"] += strays_beside(path)
    return faults


def kill_at_every_line(path: str) -> Faults:
    """Kill a process at the first line of the room that it executes, at the second, ..."""
    faults: Faults = collections.Counter()
    old, new = {"n": 0, "model": np.zeros(5)}, {"n": [1, 2.5], "model": np.ones((2, 300_000))}
    whole = {as_bytes(old), as_bytes(new)}
    for line in tqdm(itertools.count(1), desc="killing at every line", unit="kill", disable=None):
        checkpoint.save(path, old)
        faults["stray files that the next save left"] += strays_beside(path)
        child = os.fork()
        if child == 0:
            killed_at(line)
            checkpoint.save(path, new)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        faults["kills at a line"] += 1
        faults["killed in the middle of a save"] += strays_beside(path)
        try:
            lost = as_bytes(checkpoint.load(path)) not in whole
        except Exception as error:
            tqdm.write(f"lost at line {line}: {type(error).__name__}: {error}")
            lost = True
        faults["files lost"] += lost
        if status == 0:
            break
    return faults


def killed_at(line: int) -> None:
    """Have this process killed when it has come to its ``line``-th line in minidl/checkpoint/."""
    executed, room = 0, os.path.dirname(checkpoint.__file__)

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal executed
        if os.path.dirname(frame.f_code.co_filename) != room:
            return None
        executed += event == "line"
        if executed == line:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


# ---- Damage


def damaged_bytes(data: bytes, per_byte: int, rng: random.Random) -> Iterator[bytes]:
    """Yield ``data`` with each of its bytes changed in several ways: every bit, then at random."""
    for position, byte in enumerate(data):
        others = [byte ^ 1 << bit for bit in range(8)]
        others += rng.sample([b for b in range(256) if b not in (byte, *others)], 247)
        for other in others[:per_byte]:
            yield data[:position] + bytes([other]) + data[position + 1 :]


def damaged_regions(data: bytes, times: int, rng: random.Random) -> Iterator[bytes]:
    """Yield ``data`` with a region lost, doubled, moved or overwritten."""
    for _ in range(times):
        a, b, c = sorted(rng.sample(range(len(data) + 1), 3))
        noise = rng.randbytes(b - a)
        yield rng.choice(
            [
                data[:a],
                data[a:],
                data[:a] + data[b:],
                data[:b] + data[a:],
                data[:a] + data[b:c] + data[a:b] + data[c:],
                data[:a] + bytes(b - a) + data[b:],
                data[:a] + noise + data[b:],
                data[:a] + noise + data[a:],
                data + data[a:b],
            ]
        )


def damaged_large(data: bytes, times: int, rng: random.Random) -> Iterator[bytes]:
    """Yield ``data`` with a random byte changed, here and there."""
    for _ in range(times):
        changed = bytearray(data)
        for _ in range(rng.choice([1, 1, 1, 10])):
            changed[rng.randrange(len(data))] ^= rng.randint(1, 255)
        yield bytes(changed)


def forged(state: object, times: int, rng: random.Random, path: str) -> Iterator[bytes]:
    """Yield archives with a changed description and right checksums, as an attacker would make."""
    members, arrays = packed(*encoded(state))
    for _ in range(times):
        text = bytearray(arrays[0])
        for _ in range(rng.randint(1, 4)):
            a, b = sorted(rng.sample(range(len(text) + 1), 2))
            b = min(b, a + 30)
            changes = [
                b"",
                bytes(text[a:b]) * 2,
                b"[" * 50,
                b"-1",
                b"99999999999999999999",
                b"null",
            ]
            changes += [bytes([rng.choice(b'{}[],:"0123456789-.abcdefinrstuy <')])]
            text[a : rng.choice([a, a + 1, b])] = rng.choice(changes)
        data = np.frombuffer(bytes(text), np.uint8)
        first = members[0]._replace(shape=data.shape)
        with open(path, "wb", buffering=0) as file:
            write_archive(file, [first, *members[1:]], [data, *arrays[1:]])
        yield pathlib.Path(path).read_bytes()


def noise(times: int, rng: random.Random) -> Iterator[bytes]:
    """Yield files of random bytes, some of which begin like an archive."""
    for _ in range(times):
        yield rng.choice([b"", b"PK\3\4", b"PK\5\6", b"\x93NUMPY"]) + rng.randbytes(
            rng.randrange(2000)
        )


def load_all(
    files: Iterator[bytes], total: int, what: str, path: str, right: bytes, may_load: bool = False
) -> Faults:
    """Load every one of the damaged files; each must be refused with a CheckpointError.

    Those that ``may_load`` were changed before their checksums were made, and may be right.
    """
    faults: Faults = collections.Counter()
    for data in tqdm(files, total=total, desc=what, unit="file", disable=None):
        if data == right:
            continue
        faults["damaged files"] += 1
        os.unlink(path)  # to overwrite it would, on some file systems, wait for the disk
        with open(path, "wb") as file:
            file.write(data)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        try:
            checkpoint.load(path)
        except checkpoint.CheckpointError:
            pass
        except BaseException as error:
            faults["crashes other than CheckpointError"] += 1
            tqdm.write(f"crash: {type(error).__name__}: {error}")
            if isinstance(error, KeyboardInterrupt):
                raise
        else:
            if not may_load:
                faults["damaged files that were loaded"] += 1
        memory = tracemalloc.get_traced_memory()[1] - before
        faults["files that took much more memory than they have bytes"] += memory > 2 * len(
            data
        ) + (1 << 20)
    return faults


def damage(folder: str, per_byte: int, times: int, rng: random.Random) -> Faults:
    state = {
        "epoch": 3,
        "model": {"weight": np.ones((2, 3), np.float32), "bias": np.zeros(0), "n": np.array(7)},
        "rest": [(0.5, float("nan")), 2**70, None, True, "text", 1j, np.float16(2), np.str_("a")],
        "fortran": np.asfortranarray(np.ones((2, 3), ">i2")),
    }
    path = os.path.join(folder, "small.npz")
    checkpoint.save(path, state)
    small = pathlib.Path(path).read_bytes()
    checkpoint.save(path, state_number(3))
    large = pathlib.Path(path).read_bytes()
    scratch = os.path.join(folder, "forged.npz")
    tracemalloc.start()
    faults = load_all(
        damaged_bytes(small, per_byte, rng), len(small) * per_byte, "every byte", path, small
    )
    faults += load_all(damaged_regions(small, times, rng), times, "regions", path, small)
    faults += load_all(noise(times, rng), times, "noise", path, small)
    faults += load_all(
        forged(state, times, rng, scratch), times, "forged", path, small, may_load=True
    )
    some = max(1, times // 20)
    faults += load_all(damaged_large(large, some, rng), some, "large, bytes", path, large)
    faults += load_all(damaged_regions(large, some, rng), some, "large, regions", path, large)
    tracemalloc.stop()
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=200, help="processes to kill (200)")
    parser.add_argument("--per-byte", type=int, default=12, help="changes of each byte (12)")
    parser.add_argument("--times", type=int, default=5000, help="damages of each other kind (5000)")
    parser.add_argument("--seed", type=int, default=0, help="of moments and damages (0)")
    parser.add_argument("--save-forever", metavar="PATH", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
    if arguments.save_forever:
        save_forever(arguments.save_forever)
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(os.path.join(folder, "kills"))
        path = os.path.join(folder, "kills", "run.npz")
        counts = kill_savers(path, arguments.kills, rng)
        counts.update({"kills at random": arguments.kills})
        counts.update(kill_at_every_line(path))
        counts.update(damage(folder, arguments.per_byte, arguments.times, rng))
    for what in ["kills at random", "kills at a line", "killed in the middle of a save"]:
        print(f"{what}: {counts.pop(what)}")
    print(f"damaged files: {counts.pop('damaged files')}")
    for what in [
        "files lost",
        "finished saves lost",
        "stray files that the next save left",
        "crashes other than CheckpointError",
        "damaged files that were loaded",
        "files that took much more memory than they have bytes",
    ]:
        print(f"{what}: {counts[what]}")
    return 1 if counts.total() else 0


if __name__ == "__main__":
    sys.exit(main())
