"""The gradient check: proves the gradient of any function, module or loss against differences.

A check that sums outputs, looks at a few elements, or compares loosely lets wrong gradients through
(docs/gradient-checking.md shows which). This one works in float64, weights the output at random,
looks at every element of every input, and knows how exact its own differences are.
"""

from minidl.gradcheck.check import GradcheckError, InputReport, Report, gradcheck

__all__ = ["GradcheckError", "InputReport", "Report", "gradcheck"]
