"""The lecture's seventeen claims as experiments: what each says, what was measured, the verdict.

    python examples/lecture                            all of them
    python examples/lecture C16 C17                    some
    python examples/lecture --plots figures            with a figure for each (needs matplotlib)
    python examples/lecture --write docs/lecture.md    the page, with its figures

Each experiment is a function of minidl.lecture, with its settings as arguments: change them and see
what happens.
"""

from __future__ import annotations

import _one_thread  # noqa: F401  (before NumPy)

from minidl.lecture import EXPERIMENTS
from minidl.lecture.command import main

if __name__ == "__main__":
    main(EXPERIMENTS, __doc__)
