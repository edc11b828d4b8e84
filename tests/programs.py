"""Python in processes of its own, which find minidl and the tests from whatever folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
EXAMPLES = ROOT / "examples"


def environment(**extra: str) -> dict[str, str]:
    """The environment of this process, with the path that such a process needs."""
    path = os.pathsep.join([str(ROOT), str(TESTS)])
    return os.environ | {"PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"} | extra


def run_python(
    *arguments: object, cwd: Path | str = ROOT, **extra: str
) -> subprocess.CompletedProcess[str]:
    """Run ``python *arguments`` with these variables; what it printed, and how it ended."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=environment(**extra),
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def printed_by(*arguments: object, cwd: Path | str = ROOT, **extra: str) -> str:
    """What a program prints that ends well."""
    done = run_python(*arguments, cwd=cwd, **extra)
    assert done.returncode == 0, done.stderr
    return done.stdout
