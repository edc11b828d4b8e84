"""The page of the lecture, docs/lecture.md: all its numbers come from the run that wrote it."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from minidl.lecture.experiment import Experiment, Finding

HEAD = """\
# The lecture, tried out

The lecture behind minidl, "Neural networks: learning and evaluation", makes seventeen claims about
preparing data and about the five rules. Here each is an experiment with minidl's own rules, layers
and second derivatives, and gets one of three verdicts, computed from what was measured:

- **holds**: what the claim says was seen, and no exception to it;
- **holds with a condition**: it was seen, and so was an exception; the condition tells them apart;
- **does not hold as stated**: what the claim says was not seen.

Run them all, or some, and write this page with its figures anew (which needs matplotlib):

```sh
python examples/lecture
python examples/lecture C16 C17
python examples/lecture --write docs/lecture.md
```

Every experiment is one function, with its settings as arguments. Change them, in one line:

```python
from minidl.lecture import *

print(rmsprop_with_momentum(steps=100))
```

Each *Try* below is such a line. To see it move, open [the laboratory](../examples/laboratory.html)
of your clone in a browser: there the five rules race over landscapes, and a network learns, live.

The numbers are those of one machine; where a network is trained, yours may differ a little. The
tests hold the verdicts, run each *Try*, and break a rule on purpose to see the verdicts change.

A word on words. The *curvatures* of a loss at a point are the eigenvalues of its Hessian there, the
matrix of all second derivatives (`minidl.hessian`). All positive: a bowl. Some negative: a saddle.
Very unequal: a *ravine*, steep across and nearly flat along. Their ratio, largest over smallest, is
the *condition number*. SGD in a bowl diverges at learning rates above 2 / (largest curvature),
while its progress along the flattest direction is in proportion to the smallest.
"""

CHAPTERS = {
    "C1": "Preprocessing and batch normalisation",
    "C3": "Vanilla SGD: `weight = weight - lr * gradient`",
    "C7": "SGD + momentum: `v = mu * v - dx; x += lr * v`",
    "C10": "Adagrad: `cache += dx**2; x -= lr * dx / (sqrt(cache) + eps)`",
    "C13": "RMSProp: `cache = decay_rate * cache + (1 - decay_rate) * dx**2`",
    "C16": "Adam: `m = beta1*m + (1-beta1)*dx; v = beta2*v + (1-beta2)*dx**2`",
}
"""The headings, each before the claim that it begins with."""


LIVE = ("C1", "C2", "C5", "C9", *(f"C{n}" for n in range(11, 18)))
"""The claims that the laboratory sets up."""


def figure_of(claim: str) -> str:
    """The file of a claim's figure."""
    return f"lecture_c{int(claim[1:]):02d}.png"


def written(findings: Sequence[Finding], experiments: Mapping[str, Experiment]) -> str:
    """The whole page."""
    rows = [
        f"| [{f.claim}](#{_anchor(f)}) | {f.title} | {f.brief} | {f.chance} | {f.verdict} |"
        for f in findings
    ]
    head = [
        "| | claim | measured | seeds and spread | verdict |",
        "| --- | --- | --- | --- | --- |",
    ]
    table = "\n".join([*head, *rows])
    return "\n".join([HEAD, f"{table}\n", *(section(f, experiments[f.claim]) for f in findings)])


def section(finding: Finding, experiment: Experiment) -> str:
    """What the page says about one claim."""
    module = Path(inspect.getfile(experiment)).name
    place = f"(`{experiment.__name__}` in [{module}](../minidl/lecture/{module}))"
    chapter = CHAPTERS.get(finding.claim)
    live = f" [See it live](../examples/laboratory.html#{finding.claim})." * (finding.claim in LIVE)
    parts = [
        *([f"## {chapter}"] if chapter else []),
        f"### {finding.claim}. {finding.title}",
        _filled(f"**Claim.** {finding.says}"),
        _filled(f"**Experiment.** {finding.does} {place}"),
        _filled(f"**Measured.** {finding.measured}"),
        _filled(
            f"**Verdict: {finding.verdict}.** {finding.meaning[0].upper()}{finding.meaning[1:]}"
        ),
        f"![{finding.alt}](figures/{figure_of(finding.claim)})",
        _filled(finding.caption + live),
        *(_filled(f"*Try:* `{call}`: {asks}") for call, asks in finding.tries),
    ]
    return "\n\n".join(parts) + "\n"


def _filled(text: str) -> str:
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


def _anchor(finding: Finding) -> str:
    """How a heading is linked to: in lower case, without marks, with hyphens between the words."""
    heading = f"{finding.claim}. {finding.title}".lower().replace(" ", "-")
    return "".join(c for c in heading if c.isalnum() or c in "-_")
