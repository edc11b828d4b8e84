"""The training loop written out: what ``minidl.fit`` does for you, on the digits.

    python examples/from_scratch.py

You see a line per epoch. Read the loop from top to bottom; the five lines in its middle are all
that training is, here and in every other framework.
"""

from __future__ import annotations

from collections.abc import Sequence

import _one_thread  # noqa: F401  (before NumPy)
import numpy as np
from _shared import Parser, percent, positive

import minidl
from minidl import data, nn, optim


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__)
    parser.add_argument("--epochs", type=positive, default=15, help="(default: 15)")
    parser.add_argument("--lr", type=float, default=0.002, help="learning rate (default: 0.002)")
    parser.add_argument("--seed", type=int, default=0, help="of split, weights and order")
    args = parser.parse_args(argv)
    with parser.one_line_errors():
        train(args.epochs, args.lr, args.seed)


def train(epochs: int, lr: float, seed: int) -> None:
    minidl.seed(seed)  # everything random below follows from this one number

    x, y = data.load_digits()  # images (1797, 64) of 0 to 16, digits (1797,) of 0 to 9
    x_train, x_test, y_train, y_test = data.train_test_split(x / 16, y, stratify=y)
    loader = data.DataLoader(x_train, y_train, batch_size=64, shuffle=True, drop_last=True)

    model = nn.Sequential(
        nn.Linear(64, 128), nn.BatchNorm(128), nn.ReLU(),
        nn.Linear(128, 128), nn.BatchNorm(128), nn.ReLU(),
        nn.Linear(128, 10),
    )  # fmt: skip
    loss_function = nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters(), lr=lr)

    for epoch in range(1, epochs + 1):
        model.train()  # BatchNorm now goes by the mean and variance of each batch
        total = 0.0
        for images, digits in loader:  # (64, 64), (64,); in a new order in every epoch
            optimizer.zero_grad()  # gradients add up, so forget those of the last step
            logits = model(images)  # (64, 10), one number for each digit; the largest is the answer
            loss = loss_function(logits, digits)  # one number: how wrong the answers are
            loss.backward()  # the gradient of the loss in every parameter
            optimizer.step()  # a small step of every parameter, downhill
            total += loss.item()

        model.eval()  # BatchNorm now goes by the statistics that it gathered
        with minidl.no_grad():  # nothing will be differentiated, so nothing need be kept for it
            answers = model(x_test).numpy().argmax(axis=1)
        right = np.mean(answers == y_test)
        print(f"epoch {epoch:2}  loss {total / len(loader):.4f}  test accuracy {percent(right)}")
        if not np.isfinite(total):
            raise FloatingPointError("the loss is no longer finite: take a smaller --lr")


if __name__ == "__main__":
    main()
