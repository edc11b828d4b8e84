"""Write an optimizer rule of your own, in ten lines, and race it against the five.

    python examples/own_rule.py

The rule is Lion (Chen et al., "Symbolic Discovery of Optimization Algorithms", 2023, algorithm 2,
here without weight decay), which a computer search found. It moves every parameter by the same
distance, up or down: only the sign counts, of the gradient mixed with its running mean. That takes
one state array where Adam needs two. You see it learn the digits beside the five rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import _one_thread  # noqa: F401  (before NumPy)
import numpy as np
from _shared import Parser, positive
from train_digits import RULES, compare, load

from minidl import optim


class Lion(optim.Optimizer):
    below_one = ("beta1", "beta2")  # anything else is refused
    state = ("m",)  # its names are arguments of update, and after the star come numbers

    def __init__(self, params: Any, lr: float, beta1: float = 0.9, beta2: float = 0.99) -> None:
        super().__init__(params, lr=lr, beta1=beta1, beta2=beta2)

    def update(
        self, x: np.ndarray, dx: np.ndarray, m: np.ndarray, *, lr: float, beta1: float, beta2: float
    ) -> None:
        x -= lr * np.sign(beta1 * m + (1 - beta1) * dx)
        m *= beta2
        m += (1 - beta2) * dx


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__)
    parser.add_argument("--lr", type=float, default=0.0002, help="of Lion (default: 0.0002)")
    parser.add_argument("--epochs", type=positive, default=30, help="(default: 30)")
    parser.add_argument("--seed", type=int, default=0, help="of split, weights and order")
    args = parser.parse_args(argv)
    with parser.one_line_errors():
        rules = {"lion": (Lion, args.lr), **RULES}
        compare(rules, *load(args.seed), epochs=args.epochs, seed=args.seed)


if __name__ == "__main__":
    main()
