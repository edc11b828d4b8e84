"""What an optimizer says of mistakes in its use. No step that is right comes here."""

from __future__ import annotations

import sys
from typing import Any


def nothing_moved(optimizer: Any) -> str:
    return (
        f"{type(optimizer).__name__}.step() moved nothing, since none of its parameters has a "
        f"gradient: call backward() before, and see that these are the parameters of the model in "
        f"use (an optimizer made before its model was rebuilt holds the old ones)"
    )


def returned_something(optimizer: Any) -> TypeError:
    return TypeError(
        f"{type(optimizer).__name__}.update returned something: it must change x in place "
        f"(x -= ..., x[...] = ...) and return nothing"
    )


def check_own(optimizer: Any, name: str) -> None:
    """Raise if an attribute that is not there yet is set from outside of the rule.

    A rule keeps in its methods what it likes; from elsewhere it is a misspelt name.
    """
    if "groups" not in vars(optimizer):  # it is being made
        return
    rule = type(optimizer)
    caller = sys._getframe(2).f_code.co_qualname
    if not any(caller.startswith(f"{c.__qualname__}.") for c in rule.__mro__):
        raise AttributeError(
            f"{rule.__name__} has no attribute {name!r} that could be set; its hyper-parameters "
            f"are {', '.join(optimizer.groups[0].hyper)}, and what else a rule keeps is set in its "
            f"own methods or in its class"
        )
