"""Train a network to tell intertwined spirals apart, and see the border that it draws.

    python examples/train_spirals.py
    python examples/train_spirals.py --arms 5 --noise 0.04
    python examples/train_spirals.py --plot border.png

No straight line can part the spirals. You see a map of the plane in the terminal: the background
is the network's answer at each point, drawn over it are test points that it never learned from.
"""

from __future__ import annotations

from collections.abc import Sequence

import _one_thread  # noqa: F401  (before NumPy)
import numpy as np
from _shared import (
    COLORS,
    Parser,
    check_plot,
    end_if_interrupted,
    new_figure,
    percent,
    positive,
    save_figure,
)

import minidl
from minidl import data, nn, optim

AREAS, POINTS = " .:-+~", "ox#*@%"  # for each class: of the background, and of a point
EDGE = 1.2  # the map reaches from -EDGE to EDGE on both axes


def network(arms: int) -> nn.Sequential:
    """Two hidden layers of 64; an output for each spiral."""
    return nn.Sequential(
        nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, arms)
    )


def answers(model: nn.Module, width: int, height: int) -> np.ndarray:
    """Return the class that the network gives to each point of a grid, the top row first."""
    x, y = np.meshgrid(np.linspace(-EDGE, EDGE, width), np.linspace(EDGE, -EDGE, height))
    points = np.stack([x.ravel(), y.ravel()], axis=1)  # (height * width, 2)
    return minidl.predict(model, points).argmax(axis=1).reshape(height, width)


def draw(model: nn.Module, x: np.ndarray, y: np.ndarray, width: int = 64, height: int = 30) -> str:
    """Draw the answers as characters, with the points ``x`` of classes ``y`` over them."""
    canvas = np.array(list(AREAS))[answers(model, width, height)]
    place = (x * [1, -1] + EDGE) / (2 * EDGE) * [width - 1, height - 1]
    column, row = np.rint(place).astype(int).T
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    canvas[row[inside], column[inside]] = np.array(list(POINTS))[y[inside]]
    return "\n".join("".join(line) for line in canvas)


def plot(model: nn.Module, x: np.ndarray, y: np.ndarray, arms: int, path: str) -> None:
    """Draw the same as a figure."""
    figure = new_figure(6, 5.5)
    axes = figure.subplots()
    border = np.arange(arms + 1) - 0.5
    axes.contourf(
        answers(model, 400, 400),
        levels=border,
        colors=COLORS[:arms],
        alpha=0.3,
        extent=(-EDGE, EDGE, EDGE, -EDGE),
    )
    for c in range(arms):
        axes.scatter(*x[y == c].T, s=14, color=COLORS[c], edgecolor="white", linewidth=0.4, label=c)
    axes.set(xlabel="x", ylabel="y", xlim=(-EDGE, EDGE), ylim=(-EDGE, EDGE), aspect="equal")
    axes.set_title("What the network answers (areas), and test points")
    axes.legend(title="class", loc="upper right")
    save_figure(figure, path)


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__)
    parser.add_argument("--arms", type=int, default=3, help="number of spirals, 2 to 6 (default 3)")
    parser.add_argument("--noise", type=float, default=0.02, help="of the points (default: 0.02)")
    parser.add_argument("--epochs", type=positive, default=60, help="(default: 60)")
    parser.add_argument("--lr", type=float, default=0.01, help="learning rate (default: 0.01)")
    parser.add_argument("--seed", type=int, default=0, help="of points, weights and order")
    parser.add_argument("--plot", metavar="FILE", help="save the map as a figure")
    args = parser.parse_args(argv)
    if args.arms > len(POINTS):
        parser.error(f"--arms is at most {len(POINTS)}, for want of characters; got {args.arms}")

    with parser.one_line_errors():
        check_plot(args.plot)
        minidl.seed(args.seed)
        x, y = data.make_spirals(300 * max(args.arms, 1), arms=args.arms, noise=args.noise)
        x_train, x_test, y_train, y_test = data.train_test_split(x, y, test_size=1 / 3, stratify=y)

        model = network(args.arms)
        loss = nn.CrossEntropyLoss()
        optimizer = optim.Adam(model.parameters(), lr=args.lr)
        test_set = (x_test, y_test)
        history = minidl.fit(
            model,
            loss,
            optimizer,
            (x_train, y_train),
            test_set,
            epochs=args.epochs,
            on_interrupt="return",  # after Ctrl-C, too, show what was learned
        )
        result = minidl.evaluate(model, loss, test_set)

        print(draw(model, x_test, y_test))
        print(f"\n{len(x_train)} points to learn from, {len(x_test)} to be tested on (drawn)")
        print(f"test accuracy {percent(result['accuracy'])}, test loss {result['loss']:.3f}")
        if args.plot:
            plot(model, x_test, y_test, args.arms, args.plot)
        end_if_interrupted(history)


if __name__ == "__main__":
    main()
