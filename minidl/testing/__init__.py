"""Conformance suites: what must hold of every optimizer and module, of a plug-in as of our own."""

from minidl.testing.modules import check_module
from minidl.testing.optimizers import check_optimizer, optimizer_checks

__all__ = ["check_module", "check_optimizer", "optimizer_checks"]
