"""Train a network to read handwritten digits on several processes at once, by MPI.

    python examples/data_parallel.py                  in one process
    mpiexec -n 2 python examples/data_parallel.py     in two

    --sync-batch-norm       normalise by the statistics of the whole batch, not of each part
    --checkpoint run.npz    save after each epoch, and go on from there

Every process (MPI calls it a rank) holds the same weights and computes the gradient of its part of
each batch; their average is the gradient of the batch. So the weights after training are those of
one process but for rounding, if BatchNorm uses the statistics of the whole batch.

It needs mpi4py and an MPI. In a clone of minidl:  python -m pip install -e '.[mpi]' mpich
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import _one_thread  # noqa: F401  (before NumPy: ranks share the cores already)
from _shared import Parser, percent, positive

import minidl
from minidl import data, nn, optim, parallel


def network() -> nn.Sequential:
    """Two hidden layers of 128; ten outputs, the largest of which is the answer."""
    return nn.Sequential(
        nn.Linear(64, 128),
        nn.BatchNorm(128),
        nn.ReLU(),
        nn.Linear(128, 128),
        nn.BatchNorm(128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__)
    parser.add_argument("--epochs", type=positive, default=20, help="(default: 20)")
    parser.add_argument("--batch-size", type=positive, default=128, help="of all ranks together")
    parser.add_argument("--seed", type=int, default=0, help="of split, weights and order")
    parser.add_argument(
        "--sync-batch-norm", action="store_true", help="normalise by the batch of all ranks"
    )
    parser.add_argument("--checkpoint", metavar="FILE", help="save the run, and go on from there")
    args = parser.parse_args(argv)
    try:
        ranks = parallel.Ranks()
    except (ImportError, RuntimeError) as error:  # no MPI, or two that do not fit together
        parser.error(str(error))
    with parser.one_line_errors():
        run(args, ranks)


def run(args: argparse.Namespace, ranks: parallel.Ranks) -> None:
    """Train on all ranks, and let the first one say how well it went."""
    with ranks:  # if one rank fails, all end
        minidl.seed(args.seed)
        x, y = data.load_digits()
        x_train, x_test, y_train, y_test = data.train_test_split(
            x / 16, y, test_size=0.2, stratify=y, rng=args.seed
        )
        model = network()
        if args.sync_batch_norm:
            parallel.sync_batch_norm(model, ranks)
        loader = data.DataLoader(
            x_train, y_train, batch_size=args.batch_size, shuffle=True, drop_last=True
        )
        loss = nn.CrossEntropyLoss()
        start = time.perf_counter()
        history = parallel.fit(
            model,
            loss,
            optim.Adam(model.parameters(), lr=0.002),
            loader,
            epochs=args.epochs,
            checkpoint=args.checkpoint,
            ranks=ranks,
        )
        seconds = time.perf_counter() - start
        result = parallel.evaluate(model, loss, (x_test, y_test), ranks=ranks)
        if ranks.first:
            print(
                f"{ranks.size} rank{'s' * (ranks.size > 1)}, {len(history['loss'])} epochs in "
                f"{seconds:.1f} s: train loss {history['loss'][-1]:.4f}, test loss "
                f"{result['loss']:.4f}, test accuracy {percent(result['accuracy'])}"
            )


if __name__ == "__main__":
    main()
