"""Keep NumPy to one thread; to be imported before it.

A product of matrices as small as here takes microseconds, and threads that share it spend longer
waiting for each other: a hundred times as long where other programs use the processor too, or a
container has fewer processors than it shows. Whoever has set a number of threads keeps it.
"""

import os

for library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")
