"""Two processes that run the tests together report what one would."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2,
    reason="elsewhere, and on one core, one process runs all tests",
)

CONFTEST = """
import side_by_side
from side_by_side import pytest_runtestloop
side_by_side.FEW = 1
"""
WAITING = """
import os, pathlib, time
def test_that_waits_until_the_other_file_is_through():
    end = time.monotonic() + 20
    while not pathlib.Path("{other}").exists() and time.monotonic() < end:
        time.sleep(0.01)
    pathlib.Path("{own}").write_text(str(os.getpid()))
"""
ALL_KINDS = """
import os, pathlib, sys, warnings
import pytest
def test_that_passes():
    print("said by one that passes")
def test_that_fails():
    print("said before it failed")
    assert 2 * 2 == 5
@pytest.mark.skip(reason="not today")
def test_that_is_skipped(): pass
@pytest.mark.xfail
def test_that_fails_as_expected(): assert 0
@pytest.fixture
def broken(): raise ValueError("set up badly")
def test_with_a_broken_fixture(broken): pass
def test_the_last():
    pathlib.Path("through").write_text(str(os.getpid()))
"""

ENDING = """
import multiprocessing, os, pathlib, time
def test_that_ends_the_second_process():
    if multiprocessing.parent_process():
        pathlib.Path("ended").touch()
        os._exit(0)
    end = time.monotonic() + 20
    while not pathlib.Path("ended").exists() and time.monotonic() < end:
        time.sleep(0.01)
"""


def run(folder: Path, *options: str) -> tuple[int, str]:
    (folder / "conftest.py").write_text(CONFTEST)
    command = [sys.executable, "-m", "pytest", "-q", "-ra", "-p", "no:cacheprovider", *options, "."]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def told(text: str) -> list[str]:
    """The lines in any order, without seconds and the letters for progress."""
    lines = [re.sub(r"in [\d.]+s", "", line) for line in text.splitlines()]
    return sorted(line for line in lines if not re.fullmatch(r"[.FsxE]+( +\[100%\])?", line))


@pytest.mark.parametrize("order", ["waits first", "waits last"])
def test_all_kinds_of_results_are_those_of_one_process(tmp_path, order):
    """Whichever process gets the file; the one that waits holds the other process until then."""
    waiting, other = (
        ("test_a.py", "test_b.py") if order == "waits first" else ("test_b.py", "test_a.py")
    )
    (tmp_path / waiting).write_text(WAITING.format(other="through", own="waited"))
    (tmp_path / other).write_text(ALL_KINDS)
    status, text = run(tmp_path)
    assert (tmp_path / "through").read_text() != (tmp_path / "waited").read_text()  # two processes
    assert status == 1
    assert "1 failed, 3 passed, 1 skipped, 1 xfailed, 1 error" in text
    for part in ("said before it failed", "assert (2 * 2) == 5", "SKIPPED [1]", "not today"):
        assert part in text
    assert "said by one that passes" not in text
    alone = run(tmp_path, "--maxfail=9")  # one process runs all
    assert (tmp_path / "through").read_text() == (tmp_path / "waited").read_text()
    assert (status, told(text)) == (alone[0], told(alone[1]))


def test_a_test_that_ends_its_process_is_no_success(tmp_path):
    for name in "ab":
        (tmp_path / f"test_{name}.py").write_text(ENDING)
    status, text = run(tmp_path)
    assert status == 3
    assert "1 tests came to no end: their process ended with status 0" in text
