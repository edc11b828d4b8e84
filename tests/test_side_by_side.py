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
MEETING = """
import os, pathlib, time
def wait_for(name):
    end = time.monotonic() + 20
    while not pathlib.Path(name).exists() and time.monotonic() < end:
        time.sleep(0.01)
"""
WAITING = """
from meeting import *
def test_that_waits_until_the_other_file_is_through():
    pathlib.Path("begun").touch()
    wait_for("through")
    pathlib.Path("waited").write_text(str(os.getpid()))
"""
ALL_KINDS = """
import pytest
from meeting import *
def test_that_passes():
    wait_for("begun")
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
import multiprocessing
from meeting import *
def test_that_ends_the_second_process():
    if multiprocessing.parent_process():
        pathlib.Path("ended").touch()
        os._exit(0)
    wait_for("ended")
"""


def run(folder: Path, *options: str, conftest: str = CONFTEST) -> tuple[int, str]:
    (folder / "conftest.py").write_text(conftest)
    (folder / "meeting.py").write_text(MEETING)
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
    (tmp_path / waiting).write_text(WAITING)
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


LATE = """
second = side_by_side._second
def late(*arguments):
    from meeting import wait_for
    wait_for("printed")
    second(*arguments)
side_by_side._second = late
"""
PRINTING = """
from meeting import *
def test_that_prints_before_the_second_process_begins():
    print("said before it failed")
    pathlib.Path("printed").touch()
    wait_for("begun")
    assert 2 * 2 == 5
"""


def test_what_was_printed_stays_with_its_test_when_the_second_process_begins(tmp_path):
    (tmp_path / "test_a.py").write_text(PRINTING)
    (tmp_path / "test_b.py").write_text(WAITING.replace("through", "printed"))
    status, text = run(tmp_path, conftest=CONFTEST + LATE)
    assert status == 1
    assert text.count("said before it failed") == 2  # in the source, and as what was captured
    assert re.search(r"Captured stdout call -+\nsaid before it failed\n", text)
