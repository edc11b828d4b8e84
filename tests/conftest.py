"""One thread for NumPy's matrix products, whose matrices are small here: on a machine that others
use as well, threads that share one wait for each other many times longer than it takes."""

import os

for library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")
