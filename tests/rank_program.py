"""What the tests of several processes run under mpiexec; prints JSON, from rank 0 only.

python rank_program.py equal
python rank_program.py run FILE [EPOCH]     to EPOCH 4; with EPOCH rank 1 fails there
"""

from __future__ import annotations

import hashlib
import json
import sys

import numpy as np

import minidl
from minidl import data, nn, optim, parallel

rng = np.random.default_rng(0)
N, BATCH = 110, 24  # the last batch has 14 samples, 7 or 4, 5, 5 for each rank
X, Y = rng.normal(size=(N, 6)), rng.integers(0, 4, N)
IGNORED = np.where(rng.random(N) < 0.5, -100, Y)
WEIGHTS = np.array([0.2, 1.0, 3.0, 0.7])


def network(norm=True):
    middle = [nn.BatchNorm(8, dtype=np.float64)] if norm else []
    return nn.Sequential(
        nn.Linear(6, 8, rng=0, bias=not norm, dtype=np.float64),
        *middle,
        nn.ReLU(),
        nn.Linear(8, 8, rng=1, dtype=np.float64),
        nn.Tanh(),
        nn.Linear(8, 4, rng=2, dtype=np.float64),
    )


def loader(y=Y):
    return data.DataLoader(X, y, batch_size=BATCH, shuffle=True, rng=5, dtype=np.float64)


def adam(model):
    return optim.Adam(model.parameters(), lr=0.01)


def momentum_in_groups(model):
    """Two groups, and a layer that is frozen."""
    *others, middle, _, last = model
    for p in middle.parameters():
        p.requires_grad = False
    return optim.Momentum(
        [
            {"params": list(last.parameters()), "lr": 0.1},
            {
                "params": [p for m in (*others, middle) for p in m.parameters()],
                "weight_decay": 0.01,
            },
        ],
        lr=0.05,
    )


CASES = {  # name: rule, norm, targets, loss
    "adam": (adam, False, Y, nn.CrossEntropyLoss()),
    "groups": (momentum_in_groups, False, Y, nn.CrossEntropyLoss()),
    "weights": (adam, False, IGNORED, nn.CrossEntropyLoss(weight=WEIGHTS)),
    "sync": (momentum_in_groups, True, Y, nn.CrossEntropyLoss()),
    "sync weights": (adam, True, IGNORED, nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.1)),
}


def train(case, ranks=None, epochs=10):
    """Fifty steps of a case on all ranks, or, without them, in this process alone."""
    rule, norm, y, loss = CASES[case]
    model = network(norm)
    if ranks is None:
        options = {"epochs": epochs, "progress": False}
        history = minidl.fit(model, loss, rule(model), loader(y), (X, Y), **options)
    else:
        parallel.sync_batch_norm(model, ranks)
        options = {"epochs": epochs, "progress": False, "ranks": ranks}
        history = parallel.fit(model, loss, rule(model), loader(y), (X, Y), **options)
    return model, history


def difference(case, ranks):
    """How far weights and history are from those of one process, and a digest of the weights."""
    model, history = train(case, ranks)
    other, alone = train(case)
    theirs = other.state_dict()
    digest = hashlib.sha256(b"".join(a.tobytes() for a in model.state_dict().values()))
    pairs = [(a, theirs[name]) for name, a in model.state_dict().items()]
    pairs += [(history[name], alone[name]) for name in history]
    return max(float(np.abs(np.subtract(a, b)).max()) for a, b in pairs), digest.hexdigest()


def run_with_dropout(path, fails_in, ranks):
    """Four epochs with a checkpoint; rank 1 fails in the third step of an epoch."""
    model = nn.Sequential(
        nn.Linear(6, 8, rng=0), nn.BatchNorm(8), nn.Dropout(0.3), nn.Linear(8, 4, rng=1)
    )
    steps = 0
    loss_function = nn.CrossEntropyLoss()

    class Loss(nn.CrossEntropyLoss):
        def forward(self, input, target):
            nonlocal steps
            steps += model.training
            if ranks.rank == 1 and steps == 5 * (fails_in - 1) + 3:
                raise ZeroDivisionError("planted on rank 1")
            return loss_function(input, target)

    minidl.seed(1)
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    batches = data.DataLoader(X, Y, batch_size=BATCH, shuffle=True, rng=5)
    parallel.fit(
        model, Loss(), optimizer, batches, (X, Y), epochs=4, checkpoint=path, progress=False,
        ranks=ranks,
    )  # fmt: skip


def main(what, *arguments):
    with parallel.Ranks() as ranks:
        if what == "equal":
            found = {case: ranks.comm.allgather(difference(case, ranks)) for case in CASES}
            if ranks.first:
                print(json.dumps(found))
        else:
            path, *epoch = arguments
            run_with_dropout(path, int(epoch[0]) if epoch else 99, ranks)


if __name__ == "__main__":
    main(*sys.argv[1:])
