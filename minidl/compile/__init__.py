"""The compiler: a training step as plain NumPy source (see ``docs/compile.md``).

- ``traced.py``: arrays that write down what is done to them; ``program.py``: what they write.
- ``trace.py``: a step made on such arrays.
- ``memory.py``: which calls are needed, in which order, and where each value stands in memory.
- ``source.py``: the program as text.
- ``step.py``: which program is for which batch, and when it is trusted.
"""

from minidl.compile.program import CompileError
from minidl.compile.step import CompiledStep, compile

__all__ = ["CompileError", "CompiledStep", "compile"]
