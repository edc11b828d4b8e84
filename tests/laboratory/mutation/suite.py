"""The tests, run in copies of the project with a fault in each, and what comes of it.

Both commands of this folder use it: ``run.py`` for the faults of the list, ``mutate.py`` for faults
drawn at random. The project itself is never touched.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from faults import Fault, ListError
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[3]
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__")
COUNTING = "test_path.py"  # counts the lines of files, which a fault may change
NOT_COLLECTED = "the tests cannot even be collected:"
RUNNING: set[subprocess.Popen[str]] = set()
PATIENCE = 60.0  # seconds, beside ten times as long as without the fault: a loop may be endless


@dataclass
class Result:
    """How a fault fared: ``verdict`` is killed, survived or broken; ``by`` the test that failed."""

    fault: Fault
    verdict: str
    by: str
    seconds: float

    @property
    def ok(self) -> bool:
        if self.verdict == "broken":  # a mistake in a fault of the list, and bad luck in a draw
            return self.fault.drawn
        return self.verdict == ("survived" if self.fault.explained else "killed")

    def __str__(self) -> str:
        if self.verdict == "killed":
            end = f"{self.by}" + (" (explained, but not needed)" if self.fault.explained else "")
        else:
            end = self.verdict.upper()
            end += f": {self.fault.explained}" if self.fault.explained else f" {self.by}".rstrip()
        return f"{self.fault.name:<84}  {self.seconds:5.1f} s  {end}{self.fault.shown}"


class Suite:
    """The tests, in copies of the project of which one run at a time has each."""

    def __init__(self, folder: Path, copies: int, quick: bool) -> None:
        self.free: SimpleQueue[Path] = SimpleQueue()
        first = folder / "copy0"
        shutil.copytree(ROOT, first, ignore=LEFT_OUT)
        # Compiled files that go by the hash of their source: by its time and size, the change of
        # one sign within a second would not be seen.
        compiling = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode"]
        subprocess.run([*compiling, "checked-hash", str(first / "minidl")], check=True)
        self.free.put(first)
        for i in range(1, copies):
            self.free.put(shutil.copytree(first, folder / f"copy{i}"))
        files = {path.name for path in (ROOT / "tests").glob("test_*.py")}
        self.files = sorted(files - {COUNTING})
        self.quick = quick
        # For each file of tests what fails without any fault, and how many seconds it takes.
        self.sound: dict[str, tuple[str, float]] = {}
        self.lock = threading.Lock()

    @contextmanager
    def copy(self, fault: Fault | None = None) -> Iterator[Path]:
        """A copy for this run alone, with the fault in it."""
        folder = self.free.get()
        try:
            if fault is None:
                yield folder
                return
            path = folder / "minidl" / fault.file
            source = path.read_text()
            path.write_text(fault.planted(source))
            try:
                yield folder
            finally:
                path.write_text(source)
        finally:
            self.free.put(folder)

    def check(self, name: str) -> str:
        """What fails in a file of tests without any fault; empty if nothing does."""
        if name not in self.sound:
            with self.copy() as folder:
                start = time.perf_counter()
                failure = _first_failure(folder, [name], limit=1800.0)
                self.sound[name] = failure, time.perf_counter() - start
        return self.sound[name][0]

    def try_out(self, fault: Fault) -> Result:
        """Run the tests that should notice the fault, and then, if need be, the others."""
        start = time.perf_counter()
        others = [name for name in self.files if name not in fault.tests and not self.quick]
        by = ""
        for names in [list(fault.tests), *([others] if others else [])]:
            if names is others:  # they count only if they pass without the fault
                with self.lock:
                    names = [name for name in others if not self.check(name)]
                by = "".join(f" ({name} fails anyway)" for name in others if self.check(name))
            limit = PATIENCE + 10 * sum(self.sound[name][1] for name in names)
            with self.copy(fault) as folder:
                test = _first_failure(folder, names, limit)
            if test:
                collected = not test.startswith(NOT_COLLECTED)
                return Result(
                    fault, "killed" if collected else "broken", test, time.perf_counter() - start
                )
        return Result(fault, "survived", by, time.perf_counter() - start)


def parser(description: str, only: str) -> argparse.ArgumentParser:
    """The options that both commands have; ``only`` says of what a part is given."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--only", default="", help=f"a part of {only}")
    options.add_argument("--quick", action="store_true", help="only the tests for the file")
    options.add_argument("--list", action="store_true", help="list the faults and plant none")
    options.add_argument("--jobs", type=int, default=2, help="how many to try at once (default: 2)")
    return options


def _first_failure(folder: Path, names: Sequence[str], limit: float) -> str:
    """Run files of tests up to the first failure, and say what failed; nothing if nothing did."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-p", "no:cacheprovider"]
    command += [f"tests/{name}" for name in names]
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    env = os.environ | threads | {"PYTHONPATH": str(folder), "COLUMNS": "500"}
    # In a session of its own, so that what a test has started ends with it.
    run = subprocess.Popen(
        command,
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    RUNNING.add(run)
    try:
        output, _ = run.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        return f"no end after {limit:.0f} s"
    finally:
        _end(run)
    if run.returncode == 0:
        return ""
    found = re.search(r"^(?:FAILED|ERROR) (?:tests/)?(.*?)(?: - .*)?$", output, re.MULTILINE)
    test = found[1] if found else f"pytest ended with {run.returncode}"
    return f"{NOT_COLLECTED} {test}" if "during collection" in output else test


def _end(run: subprocess.Popen[str]) -> None:
    """End a run and all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    RUNNING.discard(run)


def run(faults: Sequence[Fault], jobs: int, quick: bool) -> int:
    """Plant each fault, report what comes of it, and return the exit status."""
    # In the background of a shell Ctrl-C is ignored, and tests that send it would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    start = time.perf_counter()
    used = dict.fromkeys(name for fault in faults for name in fault.tests)
    results: dict[Fault, Result] = {}
    with tempfile.TemporaryDirectory(prefix="minidl-mutation-") as folder:
        suite = Suite(Path(folder), jobs, quick)
        with ThreadPoolExecutor(jobs) as pool:
            failures = {name: pool.submit(suite.check, name) for name in used}
            failing = [f.result() for f in failures.values() if f.result()]
            if failing:
                raise ListError(f"without any fault these tests fail: {', '.join(failing)}")
            work = [pool.submit(suite.try_out, fault) for fault in faults]
            try:
                bar = tqdm(as_completed(work), total=len(work), unit="fault", smoothing=0)
                for done in bar:
                    result = done.result()
                    results[result.fault] = result
                    if not result.ok:
                        bar.write(str(result), file=sys.stderr)
                    survivors = sum(r.verdict != "killed" for r in results.values())
                    bar.set_postfix(survived=survivors, refresh=False)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for process in [*RUNNING]:
                    _end(process)
                raise
    for fault in faults:
        print(results[fault])
    verdicts = [result.verdict for result in results.values()]
    killed, drawn = verdicts.count("killed"), any(fault.drawn for fault in faults)
    counted = len(faults) - (verdicts.count("broken") if drawn else 0)
    explained = sum(r.verdict == "survived" and r.ok for r in results.values())
    print(
        f"\nkilled {killed} of {counted}"
        + (f", {killed / max(counted, 1):.1%}" if drawn else "")
        + (f" ({explained} of the others explained)" if explained else "")
        + (f", {len(faults) - counted} more break the import" if counted < len(faults) else "")
        + f", in {len({f.file for f in faults})} files and {time.perf_counter() - start:.0f} s"
    )
    for result in results.values():
        if not result.ok:
            print(f"not in order: {result}")
    return 0 if all(result.ok for result in results.values()) else 1
