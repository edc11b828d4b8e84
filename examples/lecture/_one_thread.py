"""Keep NumPy to one thread; to be imported before it, as ``examples/_one_thread.py``.

The matrices here are so small that threads which share a product spend longer waiting for each
other. Whoever has set a number of threads keeps it.
"""

import os

for library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")
