"""The lecture's seventeen claims as experiments: what each says, what was measured, the verdict.

    python examples/lecture                    all of them, in less than a minute
    python examples/lecture --plots figures    with a figure for each (needs matplotlib)
    python examples/lecture/adam.py            those of one topic

Each experiment is one function with its settings as arguments: change them and see what happens.
"""

from __future__ import annotations

import _one_thread  # noqa: F401  (before NumPy)
import adagrad
import adam
import batchnorm
import momentum
import preprocessing
import rmsprop
import sgd
from experiment import main

TOPICS = (preprocessing, batchnorm, sgd, momentum, adagrad, rmsprop, adam)
EXPERIMENTS = tuple(experiment for topic in TOPICS for experiment in topic.EXPERIMENTS)

if __name__ == "__main__":
    main(EXPERIMENTS, __doc__)
