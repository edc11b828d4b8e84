"""Training by real processes, started by ``mpiexec``."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import types

import pytest
from programs import EXAMPLES, TESTS, environment, run_python
from rank_program import CASES, EVERYTHING

import minidl
from minidl.parallel import Alone, Ranks


def launcher():
    """The mpiexec that belongs to this Python, or the one on PATH; None if there is none."""
    return shutil.which("mpiexec", path=os.path.dirname(sys.executable)) or shutil.which("mpiexec")


def mpiexec(size, *arguments, cwd=None):
    """Run a program on so many ranks; what it printed, and how it ended."""
    pytest.importorskip("mpi4py", reason="mpi4py is missing (extra mpi)")
    if launcher() is None:
        pytest.skip("there is no mpiexec (pip install mpich)")
    as_root = {
        f"{prefix}_ALLOW_RUN_AS_ROOT{suffix}": "1"
        for prefix in ("OMPI", "PRTE")
        for suffix in ("", "_CONFIRM")
    }
    more_ranks_than_cores = {
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",  # Open MPI 5
        "OMPI_MCA_rmaps_base_oversubscribe": "1",  # Open MPI 4
        "OMPI_MCA_mpi_yield_when_idle": "1",
    }
    return subprocess.run(
        [launcher(), "-n", str(size), sys.executable, *map(str, arguments)],
        env=environment(OPENBLAS_NUM_THREADS="1", **as_root, **more_ranks_than_cores),
        cwd=cwd,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


PROGRAM = TESTS / "rank_program.py"


def test_two_processes_hold_the_same_weights_bit_for_bit_and_those_of_one_process_to_1e_6():
    done = mpiexec(2, PROGRAM, "equal")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found) == [*CASES, EVERYTHING]
    for (far, digest), (other_far, other_digest) in found.values():
        assert digest == other_digest
        assert max(far, other_far) < 1e-6


def test_a_rank_that_fails_ends_the_run_and_it_goes_on_from_the_last_epoch_as_if_nothing_was(
    tmp_path,
):
    whole, stopped = tmp_path / "whole.npz", tmp_path / "stopped.npz"
    done = mpiexec(2, PROGRAM, "run", whole)
    assert done.returncode == 0, done.stderr
    start = time.monotonic()
    done = mpiexec(2, PROGRAM, "run", stopped, 3)
    assert time.monotonic() - start < 20
    assert done.returncode != 0
    assert "rank 1 of 2 ends the run:" in done.stderr
    assert "ZeroDivisionError: planted on rank 1" in done.stderr
    assert [len(minidl.load(p)["history"]["loss"]) for p in (whole, stopped)] == [4, 2]
    assert [p.name for p in tmp_path.iterdir() if p not in (whole, stopped)] == []
    done = mpiexec(2, PROGRAM, "run", stopped)
    assert done.returncode == 0, done.stderr
    assert stopped.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_example_trains_on_any_number_of_ranks(size, tmp_path):
    # With the layers that join ranks, three of them took long where there were two cores.
    sync = ["--sync-batch-norm"] if size < 3 else []
    options = ["--epochs", 2, *sync, "--checkpoint", "run.npz"]
    if size > 1:
        done = mpiexec(size, EXAMPLES / "data_parallel.py", *options, cwd=tmp_path)
    else:
        pytest.importorskip("mpi4py", reason="mpi4py is missing (extra mpi)")
        done = run_python(EXAMPLES / "data_parallel.py", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^(\d) rank.* 2 epochs", done.stdout) == [str(size)]
    assert float(re.search(r"test accuracy ([\d.]+) %$", done.stdout)[1]) > 85
    assert (tmp_path / "run.npz").exists()


def test_without_mpi4py_the_example_says_what_to_install(tmp_path):
    (tmp_path / "mpi4py.py").write_text("raise ImportError('not here')")
    path = os.pathsep.join([str(tmp_path), environment()["PYTHONPATH"]])
    done = run_python(EXAMPLES / "data_parallel.py", PYTHONPATH=path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "minidl.parallel needs mpi4py: " in done.stderr
    assert "python -m pip install -e '.[mpi]'" in done.stderr
    assert "finds no MPI" not in done.stderr


NO_OTHERS = """
from minidl.parallel import Alone
COMM_WORLD = Alone()
def Get_library_version():
    return "Some MPI 5, old"
"""


def test_what_is_wrong_with_a_run_of_the_example_is_told_in_a_line(tmp_path):
    (tmp_path / "mpi4py").mkdir()
    (tmp_path / "mpi4py" / "__init__.py").touch()
    (tmp_path / "mpi4py" / "MPI.py").write_text(NO_OTHERS)
    path = os.pathsep.join([str(tmp_path), environment()["PYTHONPATH"]])
    for variables, message in [({}, "no such folder"), ({"PMI_SIZE": "2"}, "Some MPI 5")]:
        options = ["--checkpoint", tmp_path / "none" / "run.npz"]
        done = run_python(EXAMPLES / "data_parallel.py", *options, PYTHONPATH=path, **variables)
        assert done.returncode == 2
        assert re.fullmatch(rf"data_parallel\.py: error: .*{message}.*\n", done.stderr)


def test_an_mpi_that_is_missing_and_an_mpiexec_of_another_one_are_named(monkeypatch):
    module = types.ModuleType("mpi4py")
    monkeypatch.setitem(sys.modules, "mpi4py", module)
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", None)
    with pytest.raises(ImportError, match=r"mpi4py finds no MPI .*pip install mpich"):
        Ranks()
    mpi = types.SimpleNamespace(COMM_WORLD=Alone(), Get_library_version=lambda: "Some MPI 5, old")
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", mpi)
    assert repr(Ranks()) == "Ranks(rank 0 of 1)"
    monkeypatch.setenv("PMI_SIZE", "2")
    with pytest.raises(RuntimeError, match=r"has started 2 processes.*mpi4py uses \(Some MPI 5\)"):
        Ranks()
