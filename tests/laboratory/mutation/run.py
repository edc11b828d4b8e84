"""Plant faults in a copy of minidl, one at a time, and see which test notices.

A test suite is as good as the faults it finds. ``faults.txt`` lists faults of the kind that people
make: a wrong sign, a missing mean, a state that is not copied. Each is planted in a copy of the
project, in a temporary folder, and the tests that should notice are run there; the others follow
if those do not. It is a script and not a test because it takes some minutes:

    python tests/laboratory/mutation/run.py               all faults
    python tests/laboratory/mutation/run.py --only optim  those with "optim" in file or fault
    python tests/laboratory/mutation/run.py --quick       only the tests named in the list
    python tests/laboratory/mutation/run.py --list        the list, if each can be planted

The exit status is 0 if every fault is found or explained in the list, 1 if one is not, and 2 if the
list does not fit the library any more or the tests fail without any fault.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from faults import Fault, ListError, read
from suite import ROOT, parser, run


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is described at the top."""
    options = parser("Plant faults in a copy of minidl, and count.", "the file's or fault's name")
    args = options.parse_args(argv)
    try:
        faults = [f for f in read() if args.only.lower() in f.name.lower()]
        if not faults:
            raise ListError(f"no fault has {args.only!r} in its file or name: see --list")
        _check_list(faults)
        if args.list:
            for fault in faults:
                print(f"{fault.name}  [{', '.join(fault.tests)}]")
            print(f"{len(faults)} faults in {len({f.file for f in faults})} files")
            return 0
        return run(faults, max(1, args.jobs), args.quick)
    except ListError as error:
        print(f"mutation: {error}", file=sys.stderr)
        return 2


def _check_list(faults: Sequence[Fault]) -> None:
    """Raise, with all that is wrong, unless every fault can be planted."""
    wrong = []
    titles = [(fault.file, fault.title) for fault in faults]
    for fault in faults:
        try:
            fault.planted((ROOT / "minidl" / fault.file).read_text())
        except (ListError, OSError) as error:
            wrong.append(str(error))
        if titles.count((fault.file, fault.title)) > 1:
            wrong.append(f"{fault.file}: two faults are called {fault.title!r}")
        wrong += [
            f"{fault.file}: {fault.title}: there is no tests/{name}"
            for name in fault.tests
            if not (ROOT / "tests" / name).exists()
        ]
    if wrong:
        raise ListError("\n".join(wrong))


if __name__ == "__main__":
    sys.exit(main())
