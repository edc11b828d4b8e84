"""What is written for PyTorch: run this where PyTorch is, to write ``exports.txt`` anew.

    python tests/laboratory/reference/make_exports.py

Nothing is stored before ``tests/test_export.py`` has run all of it in PyTorch and compared. So a
test that has no PyTorch knows what was right: what reads otherwise is wrong, or is to be run again.
"""

from __future__ import annotations

import sys
from pathlib import Path

STORED = Path(__file__).with_name("exports.txt")
TESTS = Path(__file__).parents[2]


def stored() -> dict[str, str]:
    """What is stored of each model and of each function."""
    parts = STORED.read_text().split("#### ")[1:]
    return dict(part.split("\n", 1) for part in parts)


def main() -> None:
    import pytest
    import torch

    file = TESTS / "test_export.py"
    if pytest.main(
        ["-q", "-p", "no:cacheprovider", str(file), "-k", "in_pytorch or pytorch_gives"]
    ):
        sys.exit("nothing is stored: PyTorch does not give what minidl gives")
    from test_export import EXPORTED, as_written

    STORED.write_text("".join(f"#### {name}\n{as_written(name)}" for name in EXPORTED))
    print(f"wrote {STORED}, compared with PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
