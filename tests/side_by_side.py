"""Run all tests in two processes, in half the time, where there are two cores and Linux.

Both begin with what has been collected. A file of tests is run by whichever process is free, and
what comes of each test goes to the first process, which reports and counts it as its own. Of some
tests only, or with ``-x``, ``-s``, ``--pdb`` and the like, one process runs all.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest

FEW = 2000  # so many tests are soon done by one process
ONE_PROCESS = ("maxfail", "usepdb", "trace", "setupshow", "setuponly", "collectonly", "stepwise")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run the tests in two processes, or leave them to pytest."""
    option = session.config.option
    one = option.capture == "no" or any(getattr(option, name, False) for name in ONE_PROCESS)
    if one or len(session.items) < FEW or session.testsfailed:
        return None
    # (Elsewhere a process that is forked off may not be able to compute.)
    if sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2:
        return None
    files = [list(items) for _, items in groupby(session.items, key=lambda item: item.path)]
    fork = multiprocessing.get_context("fork")
    taken = fork.Value("l", 0)
    with tempfile.NamedTemporaryFile("r", prefix="minidl-tests-") as results:
        second = fork.Process(target=_second, args=(session, files, taken, results.name))
        # What tests print goes into a file, and each process needs its own.
        capture = session.config.pluginmanager.getplugin("capturemanager")
        capture.stop_global_capturing()
        second.start()
        _capture_anew(capture)
        report = _reporter(session, results)
        done = 0
        try:
            for _ in _run(files, taken):
                done += 1 + report()
            while second.is_alive():
                second.join(0.1)
                done += report()
            done += report()
        finally:
            second.terminate()
            second.join()
    if done < len(session.items):
        missing = f"{len(session.items) - done} tests came to no end"
        pytest.exit(f"{missing}: their process ended with status {second.exitcode}", 3)
    return True


def _run(files: list[list[pytest.Item]], taken: Any) -> Iterator[None]:
    """Run the files that nobody has taken yet, and stop after each test."""
    while True:
        with taken.get_lock():
            number = taken.value
            taken.value += 1
        if number >= len(files):
            return
        # What is set up for one file ends with it, what is for all stays, whichever comes next.
        another = files[number - 1][0]
        for item, following in pairwise((*files[number], another)):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            yield


def _reporter(session: pytest.Session, results: Any) -> Callable[[], int]:
    """A function that reports what the second process has written since it was last called, and
    returns how many tests came to an end."""
    begun = ""

    def report() -> int:
        nonlocal begun
        *lines, begun = (begun + results.read()).split("\n")
        ended = 0
        for line in lines:
            hook = session.config.hook
            data = pickle.loads(bytes.fromhex(line))
            told = hook.pytest_report_from_serializable(config=session.config, data=data)
            place = {"nodeid": told.nodeid, "location": told.location}
            if told.when == "setup":
                hook.pytest_runtest_logstart(**place)
            hook.pytest_runtest_logreport(report=told)
            if told.when == "teardown":
                hook.pytest_runtest_logfinish(**place)
                ended += 1
        return ended

    return report


def _capture_anew(capture: Any) -> None:
    capture.start_global_capturing()
    capture.suspend_global_capture()  # until a test begins


def _second(
    session: pytest.Session, files: list[list[pytest.Item]], taken: Any, results: str
) -> None:
    """All that the second process does."""
    plugins = session.config.pluginmanager
    plugins.register(_Writer(session.config, Path(results)))
    nowhere = os.open(os.devnull, os.O_WRONLY)  # for what pytest says of its tests
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    _capture_anew(plugins.getplugin("capturemanager"))
    for _ in _run(files, taken):
        pass
    session._setupstate.teardown_exact(None)


class _Writer:
    """A plugin of the second process, which writes down what comes of each test."""

    def __init__(self, config: pytest.Config, path: Path) -> None:
        self.config = config
        self.file = path.open("a", buffering=1)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        to_data = self.config.hook.pytest_report_to_serializable
        data = pickle.dumps(to_data(config=self.config, report=report))
        self.file.write(data.hex() + "\n")
