"""minidl in scikit-learn: a classifier and a regressor for its pipelines, searches and scores.

They are thin: scikit-learn checks what comes in, ``minidl.fit`` trains, in float32 and with the
compiled step where there can be one. They need the extra ``sklearn``, and ``import minidl`` does
not import them.
"""

from minidl.estimators.classifier import Classifier
from minidl.estimators.regressor import Regressor

__all__ = ["Classifier", "Regressor"]
