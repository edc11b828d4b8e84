"""How fast minidl is beside others: all comparisons with one command, as a table of ratios.

    python tests/laboratory/benchmarks/run.py               everything, some 25 minutes
    python tests/laboratory/benchmarks/run.py --quick       everything, some 8 minutes
    python tests/laboratory/benchmarks/run.py --quick --only digits --rule adam --against expert

Each line is one comparison, measured in a process of its own, the two in turns: the median over the
turns of minidl's time over the other's, with the quartiles in brackets; below 1 minidl is faster.
The times are medians too. Bars are what minidl is to reach; nothing fails when it does not.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tqdm import tqdm

from benchmarks.measure import machine, versions

HERE = Path(__file__).resolve().parent

NETWORKS = ("tiny", "digits", "mnist", "wide", "deep")
OTHERS = ("epoch", "optimizer", "operation", "chain", "import", "memory")
RULES = ("sgd", "momentum", "adam")
NUMPY_PEERS = {"autograd": "autograd", "mygrad": "mygrad", "sklearn": "scikit-learn"}
PEERS = {"pytorch": "torch", "jax": "jax", **NUMPY_PEERS}  # and the packages that bring them

TAKES_PART = {
    **dict.fromkeys(NETWORKS, ("expert", "floor", "textbook", *PEERS)),
    "epoch": ("expert", "floor", "pytorch"),
    "optimizer": ("expert", "floor", "pytorch"),
    "operation": ("expert", "pytorch", "autograd", "mygrad"),
    "chain": ("pytorch", "autograd", "mygrad"),
    "import": ("numpy",),
    "memory": ("expert",),
}
DIFFERENT = 1e-5  # losses that differ by more are marked

BARS: dict[tuple[str, str], dict[str, float]] = {
    ("tiny", "adam"): {"expert": 0.60, "pytorch": 0.15, "jax": 0.45, "floor": 1.6},
    ("digits", "adam"): {"expert": 0.85, "pytorch": 0.50, "jax": 0.90, "floor": 1.27},
    ("mnist", "adam"): {"expert": 0.92, "pytorch": 0.85, "jax": 0.95, "floor": 1.15},
    ("wide", "adam"): {"expert": 0.97, "pytorch": 0.95, "jax": 0.97, "floor": 1.05},
    ("deep", "adam"): {"expert": 0.75, "pytorch": 0.35, "jax": 0.65, "floor": 1.2},
    ("epoch", "adam"): {"expert": 0.90, "pytorch": 0.50, "floor": 1.45},
}
"""Of the compiled step."""

IMPORT_BAR = 0.040  # seconds beyond NumPy itself


def bar_of(row: dict[str, Any]) -> float | None:
    """The most that the ratio may be, if there is a bar for it."""
    if row["name"] == "chain" or row["against"] in NUMPY_PEERS:
        return 1.0
    if row.get("ours") == "eager":
        return None
    if row["name"] == "optimizer":
        largest = row["detail"].startswith("5,000,000")
        return 1.0 if largest and row.get("kind") == "default" else None
    return BARS.get((row["name"], row["rule"]), {}).get(row["against"])


class Job(NamedTuple):
    name: str
    against: str
    rules: tuple[str, ...]


def jobs(options: argparse.Namespace) -> Iterator[Job]:
    there = versions(*PEERS.values())
    for name in options.only or (*NETWORKS, *OTHERS):
        for against in TAKES_PART[name]:
            if options.against and against not in options.against:
                continue
            if against in PEERS and not (options.peers and there[PEERS[against]]):
                continue
            rules: tuple[str, ...] = ()
            if name in NETWORKS or name == "optimizer":
                rules = tuple(options.rule or RULES)
            elif name == "epoch":
                rules = tuple(options.rule or ("adam",))
            yield Job(name, against, rules)


def measured(job: Job, quick: bool) -> Iterator[dict[str, Any]]:
    """The rows of one job, as they come."""
    if job.name == "memory":
        command = [sys.executable, str(HERE / "memory.py"), "--json"]
    else:
        command = [sys.executable, str(HERE / "worker.py"), job.name, job.against, *job.rules]
        command += ["--quick"] if quick else []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            for line in process.stdout:
                yield json.loads(line)
            errors = process.stderr.read().decode()
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        yield {
            "name": job.name,
            "rule": "",
            "against": job.against,
            "note": f"failed: {errors.strip().splitlines()[-1]}",
        }


# --- The table ------------------------------------------------------------------------------------

HEADER = f"{'':35}{'against':29}{'minidl':>9}{'other':>10}{'ratio':>8}{'':18}{'bar':>9}"


def judged(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its bar and whether it is met."""
    if "extra" in row:
        return row | {"bar": IMPORT_BAR, "met": row["extra"] <= IMPORT_BAR}
    bar = row.get("bar", bar_of(row)) if "ratio" in row else None
    return row | {"bar": bar, "met": None if bar is None else row["ratio"] <= bar}


def line_of(row: dict[str, Any]) -> str:
    words = [row["name"], row["rule"], row.get("detail", ""), row.get("ours", "")]
    what = " ".join(word for word in words if word)
    other = " ".join(filter(None, (row["against"], row.get("variant"))))
    start = f"{what:35}{other:29}"
    if "ratio" not in row:
        return f"{start}  {row['note']}"
    verdict = {None: "", True: "met", False: "NOT MET"}[row["met"]]
    write = size_of if row.get("unit") == "bytes" else time_of
    figures = f"{write(row['minidl']):>9}{write(row['other']):>10}"
    if "extra" in row:
        spread = f"({time_of(row['low'])} to {time_of(row['high'])})"
        extra, bar = time_of(row["extra"]), time_of(row["bar"])
        return f"{start}{figures}  +{extra} {spread}  {bar}  {verdict}"
    spread = f"[{row['low']:.2f} to {row['high']:.2f}]" if "low" in row else ""
    bar = "" if row["bar"] is None else f"{row['bar']:.2f}"
    differ = row.get("difference of losses", 0)
    remark = f"  losses differ by {differ:.0e}" if differ > DIFFERENT else ""
    return f"{start}{figures}{row['ratio']:8.2f}  {spread:16}{bar:>9}  {verdict}{remark}".rstrip()


def time_of(seconds: float) -> str:
    for unit, scale in (("s", 1), ("ms", 1e3)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def size_of(size: float) -> str:
    return f"{size / 1e6:.4g} MB"


def about(where: dict[str, Any], packages: dict[str, str | None]) -> str:
    settings = ", ".join(f"{k}={v}" for k, v in where["settings"].items()) or "none"
    there = ", ".join(f"{name} {version}" for name, version in packages.items() if version)
    absent = ", ".join(name for name, version in packages.items() if not version) or "none"
    return (
        f"{where['cpu']}, {where['usable cores'] or where['cores']} cores, load {where['load']}\n"
        f"{where['system']}, Python {where['python']}\n"
        f"{where['blas']}: {where['blas in use'] or 'unknown kernels'}; "
        f"thread settings in the environment: {settings}\n"
        f"{there}; absent: {absent}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = (*NETWORKS, *OTHERS)
    contestants = ("expert", "floor", "textbook", *PEERS, "numpy")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter turns")
    parser.add_argument("--only", nargs="+", choices=names, metavar="WHAT", help=", ".join(names))
    parser.add_argument("--rule", nargs="+", choices=RULES, help="only these rules")
    parser.add_argument(
        "--against", nargs="+", choices=contestants, metavar="WHOM", help=", ".join(contestants)
    )
    parser.add_argument(
        "--peers",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether to compare with other libraries, as far as they are installed",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to this file")
    options = parser.parse_args()

    where, packages = machine(), versions("numpy", "tqdm", *PEERS.values())
    print(about(where, packages), end="\n\n")
    if (where["load"] or 0) > 0.5:
        print(
            "Others compute on this machine now. Where work is split between threads, one that\n"
            "has no core keeps the rest waiting, and the ratio says little.\n"
            "OPENBLAS_NUM_THREADS=1 helps, and so does a quiet hour.\n"
        )
    print(HEADER)
    rows: list[dict[str, Any]] = []
    try:
        with tqdm(list(jobs(options)), unit="pair", leave=False, disable=None) as bar:
            for job in bar:
                bar.set_description_str(f"{job.name} against {job.against}")
                for row in measured(job, options.quick):
                    rows.append(judged(row))
                    tqdm.write(line_of(rows[-1]), file=sys.stdout)
    except KeyboardInterrupt:
        print("\nstopped by Ctrl-C")
    if options.json:
        text = json.dumps({"machine": where, "versions": packages, "rows": rows}, indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")
    verdicts = [row["met"] for row in rows if row["met"] is not None]
    print(f"\n{sum(verdicts)} of {len(verdicts)} bars met")


if __name__ == "__main__":
    main()
