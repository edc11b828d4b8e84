"""What holds for every test: one thread, Ctrl-C is heard, the derivative table stays as it was."""

import gc
import os
import signal

import pytest
from side_by_side import pytest_runtestloop  # noqa: F401 (a hook of pytest)

# One thread for NumPy's matrix products, whose matrices are small here: on a machine that others
# use as well, threads that share one wait for each other many times longer than it takes.
for library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

# In the background of a script, a shell has Ctrl-C ignored, and programs hand that on to those that
# they start. The tests press it, and so they hear it wherever they run.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption("--reverse", action="store_true", help="run the last test first")


def pytest_collection_modifyitems(config, items):
    if config.getoption("reverse"):
        items.reverse()


def pytest_collection_finish():
    """Take what is there for good out of the search for garbage, which many tests set off."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _tables_stay_as_they_were():
    """Take out what a test has entered, so that no other test finds it there."""
    from minidl import autograd, protocols  # not above: NumPy would come before its variables

    before = [
        (table, table.copy()) for table in (autograd.TABLE, protocols.COMPOSED, protocols.PLAIN)
    ]
    yield
    for table, entries in before:
        table.clear()
        table.update(entries)


@pytest.fixture
def path(tmp_path):
    """Where a checkpoint may be."""
    return tmp_path / "run.npz"


@pytest.fixture
def seeded():
    import minidl

    minidl.seed(0)
