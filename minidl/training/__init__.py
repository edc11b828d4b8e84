"""Training: the loop that fits a model to data, and the ways to look at what it learned.

- ``loop.py``: the loop, five lines long; ``steps.py``: what ``fit`` looks at around each of them.
- ``fit.py``: a whole run; ``run.py``: what moves in it, and what a checkpoint holds of it.
- ``batches.py``: what data may be; ``weighting.py``: weights of samples.
- ``updates.py``: clipping, one update from several batches; ``plans.py``: schedules for a run.
- ``trials.py``: what would go wrong only later.
- ``evaluation.py``: evaluate and predict; ``measures.py``: accuracy, and means over a data set.
- ``metrics.py``: what ``metrics=`` takes; ``classification.py``, ``regression.py``: F1, AUC, R^2.
- ``lr_range.py``: the learning-rate range test, which is in ``optim`` by its name.
- ``callbacks.py``: what is told of a run after each epoch; ``best.py``, ``csv_log.py``: those that
  come with minidl; ``history.py``: what is left of it.
- ``provenance.py``: how a run that goes on knows its parts again; ``console.py``: bar and Ctrl-C.

Models, optimizers and loaders know nothing of it; they work the same in a loop written by hand.
"""

from minidl.training.best import EarlyStopping, KeepBest
from minidl.training.callbacks import Callback
from minidl.training.classification import (
    F1,
    ROCAUC,
    Precision,
    Recall,
    confusion_matrix,
    f1,
    precision,
    recall,
    roc_auc,
)
from minidl.training.csv_log import CSVLog
from minidl.training.evaluation import evaluate, predict
from minidl.training.fit import fit
from minidl.training.history import History
from minidl.training.lr_range import RateRange, lr_range
from minidl.training.measures import Accuracy, accuracy, whole_set
from minidl.training.regression import R2, r2

__all__ = ["Accuracy", "History", "accuracy", "evaluate", "fit", "predict"]
# Metrics over the whole set
__all__ += ["F1", "R2", "ROCAUC", "Precision", "Recall", "confusion_matrix"]
__all__ += ["f1", "precision", "r2", "recall", "roc_auc", "whole_set"]
__all__ += ["RateRange", "lr_range"]
# Callbacks
__all__ += ["CSVLog", "Callback", "EarlyStopping", "KeepBest"]
