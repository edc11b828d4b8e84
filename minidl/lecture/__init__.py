"""The lecture's seventeen claims about training, each an experiment that one can change.

Each is one function of one module, with its settings as arguments, and returns a
:class:`~minidl.lecture.experiment.Finding`: what was measured, and the verdict computed from it::

    from minidl.lecture import normalizing

    print(normalizing(epochs=20))

``python examples/lecture`` runs them all, and writes ``docs/lecture.md``. No other part of minidl
needs this one, and ``import minidl`` does not import it.
"""

from minidl.lecture.adagrad import going_on, overshooting, scaling
from minidl.lecture.adam import momentum_with_squares, rmsprop_with_momentum
from minidl.lecture.batchnorm import normalizing
from minidl.lecture.experiment import Finding
from minidl.lecture.momentum import along_the_velocity, like_a_ball, passing
from minidl.lecture.preprocessing import standardizing
from minidl.lecture.rmsprop import at_the_saddle, forgetting, with_momentum
from minidl.lecture.sgd import by_hand, near_the_end, stuck, zigzag

EXPERIMENTS = {
    "C1": standardizing,
    "C2": normalizing,
    "C3": zigzag,
    "C4": stuck,
    "C5": by_hand,
    "C6": near_the_end,
    "C7": like_a_ball,
    "C8": along_the_velocity,
    "C9": passing,
    "C10": scaling,
    "C11": overshooting,
    "C12": going_on,
    "C13": forgetting,
    "C14": at_the_saddle,
    "C15": with_momentum,
    "C16": rmsprop_with_momentum,
    "C17": momentum_with_squares,
}
"""The experiment of each claim."""

__all__ = [
    "EXPERIMENTS",
    "Finding",
    "along_the_velocity",
    "at_the_saddle",
    "by_hand",
    "forgetting",
    "going_on",
    "like_a_ball",
    "momentum_with_squares",
    "near_the_end",
    "normalizing",
    "overshooting",
    "passing",
    "rmsprop_with_momentum",
    "scaling",
    "standardizing",
    "stuck",
    "with_momentum",
    "zigzag",
]
