"""The command of the lecture: run experiments, print what they found, write the page."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from minidl.lecture.experiment import CONDITION, FAILS, HOLDS, Experiment, Finding, figure
from minidl.lecture.page import figure_of, written


def main(
    experiments: Mapping[str, Experiment],
    description: str | None = None,
    argv: Sequence[str] | None = None,
) -> None:
    """Run experiments, print what they found, and save figures or the page if asked for.

    Ctrl-C ends it with the verdicts so far and the status that shells give it, 130.
    """
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=raw)
    parser.add_argument("claims", nargs="*", metavar="CLAIM", help="such as C4 (default: all)")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="save the figures there, as PNG")
    parser.add_argument(
        "--write", type=Path, metavar="PAGE", help="write the page, its figures beside it"
    )
    args = parser.parse_args(argv)
    unknown = [claim for claim in args.claims if claim not in experiments]
    if unknown:
        parser.error(f"{unknown[0]} is no claim: they are {', '.join(experiments)}")
    if args.write and args.claims:
        parser.error("--write writes the whole page: leave out the claims, or use --plots")
    folder = args.write.parent / "figures" if args.write else args.plots
    if folder is not None:
        try:
            figure(1, 1)
            folder.mkdir(parents=True, exist_ok=True)
        except (ImportError, OSError) as error:
            parser.error(str(error))
    chosen = {c: experiments[c] for c in experiments if not args.claims or c in args.claims}
    findings: list[Finding] = []
    try:
        run_all(chosen, folder, findings)
    except KeyboardInterrupt:
        print(summary(findings))
        parser.exit(130, "stopped by Ctrl-C\n")
    print(summary(findings))
    if args.write:
        args.write.write_text(written(findings, experiments), encoding="utf-8")
        print(f"{args.write} and its figures are written")


def summary(findings: Sequence[Finding]) -> str:
    """Say how many verdicts there are of each kind."""
    verdicts = [finding.verdict for finding in findings]
    counts = [f"{v}: {verdicts.count(v)}" for v in (HOLDS, CONDITION, FAILS) if v in verdicts]
    return ", ".join([f"{len(verdicts)} verdicts", *counts])


def run_all(
    experiments: Mapping[str, Experiment], folder: Path | None, findings: list[Finding]
) -> None:
    """Run experiments and print what they found, each once it is there."""
    with tqdm(experiments.items(), unit="claim", leave=False) as bar:
        for claim, experiment in bar:
            bar.set_description(claim)
            finding = experiment()
            findings.append(finding)
            with bar.external_write_mode():
                print(f"{finding}\n", flush=True)
            if folder is not None and finding.draw is not None:
                page = figure(8, 3)
                finding.draw(page)
                path = folder / figure_of(claim)
                page.savefig(path, dpi=100, pil_kwargs={"optimize": True})
