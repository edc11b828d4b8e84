"""Data-parallel training: several processes, each with its part of every batch, as if one.

MPI starts the processes (``mpiexec -n 2 python train.py``), which it calls ranks, and carries
arrays between them. All ranks hold the same weights. Each computes the gradient of its part of a
batch; one sum over all ranks then gives every rank the gradient of the whole batch.

- ``ranks.py``: the ranks, how they begin alike, and how all end when one fails.
- ``gradients.py``: the sum between ``backward()`` and ``step()``.
- ``shards.py``: the part of each batch that a rank takes.
- ``norm.py``: batch normalisation by the statistics of the whole batch.
- ``fit.py``: a whole run, and evaluation; ``run.py``: what its checkpoint holds.

``import minidl`` does not bring it; it needs mpi4py and an MPI (extra ``mpi``).
"""

from minidl.parallel.fit import evaluate, fit
from minidl.parallel.norm import SyncBatchNorm, sync_batch_norm
from minidl.parallel.ranks import Alone, Ranks
from minidl.parallel.shards import Shards

__all__ = ["Alone", "Ranks", "Shards", "SyncBatchNorm", "evaluate", "fit", "sync_batch_norm"]
