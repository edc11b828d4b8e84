"""Print the NumPy program that a training step is compiled to, beside the layers it comes from.

    python examples/show_program.py                   a network of two layers
    python examples/show_program.py digits            the network of train_digits.py
    python examples/show_program.py spirals --rule momentum
    python examples/show_program.py --plain > step.py       the program alone, as a module

You see to the left the parts of the model, to the right what NumPy is asked to do for each:
forwards, backwards, and in the update. ``--setup`` also shows the lines before, which lay out the
memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import _one_thread  # noqa: F401  (before NumPy)
import numpy as np
import train_digits
import train_spirals
from _shared import Parser, positive

import minidl
from minidl import nn, optim

NETWORKS = {
    "small": lambda: nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3)),
    "digits": train_digits.network,
    "spirals": lambda: train_spirals.network(arms=3),
}
RULES = {name: rule for name, (rule, _) in train_digits.RULES.items()}


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__)
    parser.add_argument("network", nargs="?", choices=NETWORKS, default="small")
    parser.add_argument("--rule", choices=RULES, default="adam", help="(default: adam)")
    parser.add_argument("--batch-size", type=positive, default=32, help="(default: 32)")
    parser.add_argument("--setup", action="store_true", help="with the lines before the step")
    parser.add_argument("--plain", action="store_true", help="only the program, as a module")
    args = parser.parse_args(argv)
    with parser.one_line_errors():
        model = NETWORKS[args.network]()
        source = program(model, RULES[args.rule], args.batch_size)
        if args.plain:
            print(source, end="")
            return
        setup, _, step = source.partition("    def step(")
        if args.setup:
            print(setup)
        for left, right in beside(model, f"    def step({step}".rsplit("\n    return step", 1)[0]):
            print(f"{left:<28} {right}".rstrip())


def program(model: nn.Sequential, rule: type[optim.Optimizer], batch_size: int) -> str:
    """Compile a step on random numbers, since only their shapes matter."""
    linear = [layer for _, layer in model.modules() if isinstance(layer, nn.Linear)]
    features, classes = linear[0].weight.shape[1], linear[-1].weight.shape[0]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch_size, features), np.float32)
    y = rng.integers(0, classes, batch_size)
    step = minidl.compile(model, nn.CrossEntropyLoss(), rule(model.parameters(), lr=0.01))
    step(x, y)
    return step.source


def beside(model: nn.Module, step: str) -> Iterator[tuple[str, str]]:
    """The lines of the step, each part under the layer that it is made for."""
    layers = {path: repr(module) for path, module in model.modules()}
    for line in step.splitlines():
        code = line[4:]
        title = code.strip().removeprefix("# ")
        if not code.strip().startswith("# "):
            yield "", code
            continue
        back = "back through " if title.startswith("back through ") else ""
        path, _, kind = title.removeprefix("back through ").partition(":")
        again = ", continued" if kind.endswith(", continued") else ""
        yield (f"{path}: {layers[path]}{again}" if path in layers else title.removeprefix(back)), ""
        if back:
            yield "   backwards", ""


if __name__ == "__main__":
    main()
