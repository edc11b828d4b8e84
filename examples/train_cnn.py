"""Train a network of convolutions to read handwritten digits, and look at its filters.

    python examples/train_cnn.py                     the digits that come with minidl, in 5 seconds
    python examples/train_cnn.py --plot filters.png  and a figure of what it has learned to see
    python examples/train_cnn.py --idx FOLDER        a LeNet, on MNIST's own files in a folder

You see the loss fall and the accuracy rise to some 99.5 percent (five runs on five splits: 99.2 to
99.7), where the linear layers of train_digits.py reach 98. Then how often each digit was read as
which, and those that were read wrong, drawn in the terminal.

The data are 1,797 images of 8x8 pixels (UCI optical digits, part of minidl). For --idx FOLDER holds
the four files of MNIST, or of a data set of its kind such as Fashion-MNIST, under their own names
(train-images-idx3-ubyte.gz and so on), gzipped or not.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _one_thread  # noqa: F401  (before NumPy)
import numpy as np
from _shared import (
    COLORS,
    Parser,
    check_plot,
    confusion_table,
    counts,
    end_if_interrupted,
    new_figure,
    percent,
    positive,
    save_figure,
)
from train_digits import check_same_run, gallery

import minidl
from minidl import data, nn, optim
from minidl import functional as F

Arrays = tuple[np.ndarray, np.ndarray]
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


# --- The networks ---------------------------------------------------------------------------------


def network() -> nn.Sequential:
    """Three convolutions; after each pool the images have half the size. In shapes N is the batch.

    What keeps it from learning its 1,438 images by heart are the two dropouts.
    """
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),  # (N, 16, 8, 8)
        nn.BatchNorm(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),  # (N, 32, 8, 8)
        nn.BatchNorm(32),
        nn.ReLU(),
        nn.MaxPool2d(2),  # (N, 32, 4, 4)
        nn.Dropout(0.3),
        nn.Conv2d(32, 64, 3, padding=1),  # (N, 64, 4, 4)
        nn.BatchNorm(64),
        nn.ReLU(),
        nn.MaxPool2d(2),  # (N, 64, 2, 2)
        nn.Flatten(),  # (N, 256)
        nn.Dropout(0.5),
        nn.Linear(256, 10),
    )


def lenet(classes: int) -> nn.Sequential:
    """LeNet-5 of LeCun et al. (1998), with ReLU and max pooling, as it is built today."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),  # (N, 6, 28, 28)
        nn.ReLU(),
        nn.MaxPool2d(2),  # (N, 6, 14, 14)
        nn.Conv2d(6, 16, 5),  # (N, 16, 10, 10)
        nn.ReLU(),
        nn.MaxPool2d(2),  # (N, 16, 5, 5)
        nn.Flatten(),  # (N, 400)
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, classes),
    )


# --- The data -------------------------------------------------------------------------------------


def load(seed: int) -> tuple[Arrays, Arrays]:
    """Return the training and the test part, each digit with its share in both."""
    x, y = data.load_digits()
    x = x.reshape(-1, 1, 8, 8) / 16  # (N, C, H, W), from 0 to 1
    x_train, x_test, y_train, y_test = data.train_test_split(
        x, y, test_size=0.2, stratify=y, rng=seed
    )
    return (x_train, y_train), (x_test, y_test)


def load_folder(folder: str) -> tuple[Arrays, Arrays]:
    """Return the training and the test part from the four files in a folder."""
    parts = []
    for images, labels in FILES.values():
        x, y = data.load_idx(file_in(folder, images)), data.load_idx(file_in(folder, labels))
        if x.ndim != 3 or x.shape[1:] != (28, 28) or y.shape != x.shape[:1]:
            raise ValueError(
                f"{folder}: {images} has shape {x.shape} and {labels} {y.shape}, expected "
                f"(N, 28, 28) and (N,)"
            )
        parts.append((x[:, None].astype(np.float32) / 255, y.astype(np.int64)))
    return parts[0], parts[1]


def file_in(folder: str, name: str) -> Path:
    """Return the path of a file of MNIST, by one of the names under which it is around."""
    names = [f"{n}{end}" for n in (name, name.replace("-idx", ".idx")) for end in ("", ".gz")]
    found = [path for path in (Path(folder, n) for n in names) if path.exists()]
    return found[0] if found else Path(folder, name)


# --- Training -------------------------------------------------------------------------------------


def train(
    model: nn.Module,
    train_set: Arrays,
    test_set: Arrays,
    lr: float,
    epochs: int,
    batch_size: int,
    checkpoint: str | None = None,
) -> tuple[Any, float]:
    """Train; return the history and the seconds. Nothing is chosen by the test set.

    Ctrl-C ends the training early, and ``history.interrupted`` tells of it.
    """
    optimizer = optim.Adam(model.parameters(), lr=lr)
    # BatchNorm cannot learn from a batch of one, and a last batch may be just that: drop it.
    loader = data.DataLoader(*train_set, batch_size=batch_size, shuffle=True, drop_last=True)
    if checkpoint is not None and os.path.exists(checkpoint):
        check_same_run(checkpoint, loader, optimizer)
    start = time.perf_counter()
    history = minidl.fit(
        model,
        nn.CrossEntropyLoss(),
        optimizer,
        loader,
        validation=test_set,
        epochs=epochs,
        checkpoint=checkpoint,
        on_interrupt="return",
        compiled=True,  # the steps run as a NumPy program: the same bits in less time
    )
    return history, time.perf_counter() - start


# --- What it has learned --------------------------------------------------------------------------


def report(model: nn.Module, test_set: Arrays, shown: int = 8) -> None:
    """Print how often each digit was read as which, and draw some that were read wrong."""
    x, y = test_set
    predicted = minidl.predict(model, x).argmax(axis=1)
    classes = int(max(y.max(), predicted.max())) + 1
    names = [str(digit) for digit in range(classes)]
    print("\n" + confusion_table(counts(y, predicted, classes), names))
    wrong = np.flatnonzero(predicted != y)
    print(f"\n{len(wrong)} of {len(y)} were read wrong", end="")
    print(f"; the first {shown}:\n" if len(wrong) > shown else ":\n" if len(wrong) else ".")
    wrong = wrong[:shown]
    captions = [f"true {y[i]}, predicted {predicted[i]}" for i in wrong]
    images = x[wrong]
    if images.shape[2] > 8:  # to half their size, so that some fit into a terminal
        images = F.avg_pool2d(images, 2)
    print(gallery(images[:, 0], captions, across=4 if images.shape[2] <= 8 else 2))


def mosaic(images: np.ndarray, across: int) -> np.ndarray:
    """Return images (n, H, W) side by side as one, with a gap of NaN between them."""
    h, w = images.shape[1:]
    down = -(-len(images) // across)
    whole = np.full((down * (h + 1) - 1, across * (w + 1) - 1), np.nan)
    for i, image in enumerate(images):
        row, column = divmod(i, across)
        top, left = row * (h + 1), column * (w + 1)
        whole[top : top + h, left : left + w] = image
    return whole


def plot(model: nn.Sequential, history: Any, image: np.ndarray, path: str) -> None:
    """Draw the filters of the first layer, what each finds in an image, and the learning curve."""
    filters = model[0].weight.data[:, 0]
    model.eval()
    first = next(i for i, layer in enumerate(model) if isinstance(layer, nn.ReLU))
    found = nn.Sequential(*list(model)[: first + 1])(image[None]).data[0]
    across = 4 if len(filters) > 6 else 3
    figure = new_figure(13, 3.6)
    seen, learned, maps, curve = figure.subplots(1, 4, width_ratios=[0.8, 1, 1, 1.3])
    limit = np.abs(filters).max()
    n = len(filters)
    for axes, title, shown, options in (
        (seen, "An image", image[0], {"cmap": "gray_r"}),
        (learned, f"{n} filters (blue +, red \u2212)", mosaic(filters, across),
         {"cmap": "RdBu", "vmin": -limit, "vmax": limit}),
        (maps, "What each finds in the image", mosaic(found, across), {"cmap": "gray_r"}),
    ):  # fmt: skip
        drawn = axes.imshow(shown, **options)
        drawn.set_cmap(drawn.get_cmap().with_extremes(bad="0.55"))  # of the gaps
        axes.set_title(title)
        axes.set_axis_off()
    dropout = any(isinstance(layer, nn.Dropout) for layer in model)
    label = "training, with dropout" if dropout else "training"
    epochs = range(1, len(history["accuracy"]) + 1)
    curve.plot(epochs, history["accuracy"], "--", color=COLORS[0], label=label)
    curve.plot(epochs, history["validation_accuracy"], color=COLORS[0], label="test")
    curve.set(xlabel="epoch", title="Digits read right", ylim=(0.9, 1.003))
    curve.yaxis.set_major_formatter("{x:.0%}")
    curve.grid(alpha=0.3)
    curve.legend(loc="lower right")
    save_figure(figure, path)


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__)
    parser.add_argument("--idx", metavar="FOLDER", help="train a LeNet on the files of MNIST there")
    parser.add_argument("--lr", type=float, default=0.002, help="learning rate (default: 0.002)")
    parser.add_argument("--epochs", type=positive, help="(default: 30, with --idx 5)")
    parser.add_argument("--batch-size", type=positive, default=64, help="(default: 64)")
    parser.add_argument("--seed", type=int, default=0, help="of split, weights and order")
    parser.add_argument("--plot", metavar="FILE", help="save filters and curve as a figure")
    parser.add_argument("--checkpoint", metavar="FILE", help="save the run, and go on from there")
    args = parser.parse_args(argv)

    with parser.one_line_errors():
        check_plot(args.plot)
        train_set, test_set = load(args.seed) if args.idx is None else load_folder(args.idx)
        minidl.seed(args.seed)
        model = network() if args.idx is None else lenet(int(train_set[1].max()) + 1)
        epochs = args.epochs or (30 if args.idx is None else 5)
        print(f"{len(train_set[0]):,} digits to learn from, {len(test_set[0]):,} to be tested on")
        history, seconds = train(
            model, train_set, test_set, args.lr, epochs, args.batch_size, args.checkpoint
        )
        result = minidl.evaluate(model, nn.CrossEntropyLoss(), test_set)
        print(
            f"test accuracy {percent(result['accuracy'])}, test loss {result['loss']:.3f} after "
            f"{len(history['loss'])} epochs in {seconds:.1f} s"
        )
        report(model, test_set)
        if args.plot and history["loss"]:
            plot(model, history, test_set[0][0], args.plot)
        end_if_interrupted(history)


if __name__ == "__main__":
    main()
