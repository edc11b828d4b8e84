"""Training: the loop that fits a model to data, and the ways to look at what it learned.

- ``loop.py``: the loop, five lines long; ``steps.py``: what ``fit`` looks at around each of them.
- ``fit.py``: a whole run; ``run.py``: what moves in it, and what a checkpoint holds of it.
- ``batches.py``: what data may be; ``weighting.py``: weights of samples.
- ``updates.py``: clipping, one update from several batches; ``plans.py``: schedules for a run.
- ``trials.py``: what would go wrong only later.
- ``evaluation.py``: evaluate and predict; ``measures.py``: accuracy, and means over a data set.
- ``provenance.py``: how a run that goes on knows its parts again; ``console.py``: bar and Ctrl-C.

Models, optimizers and loaders know nothing of it; they work the same in a loop written by hand.
"""

from minidl.training.evaluation import evaluate, predict
from minidl.training.fit import fit
from minidl.training.measures import Accuracy, accuracy
from minidl.training.run import History

__all__ = ["Accuracy", "History", "accuracy", "evaluate", "fit", "predict"]
