"""minidl: a deep-learning framework from scratch on NumPy.

The names here are the everyday ones; the rest is in the packages ``nn`` (layers and losses),
``optim`` (the rules), ``data`` (loading and preparing) and ``functional``.
"""

from minidl import compositions as _compositions  # noqa: F401  (fills the tables)
from minidl import data, functional, nn, optim
from minidl import numpys as _numpys  # noqa: F401  (fills them further)
from minidl.checkpoint import CheckpointError, load, save
from minidl.compile import CompileError, compile
from minidl.diagnosis.debug import debug
from minidl.diagnosis.draw import draw
from minidl.gradcheck import GradcheckError, gradcheck
from minidl.gradients import grad
from minidl.hessian import hessian, hessian_vector_product
from minidl.modes import no_grad
from minidl.rng import seed
from minidl.table import vjp
from minidl.tensor import Tensor, differentiable
from minidl.training import evaluate, fit, predict

__version__ = "0.1.0"

__all__ = [
    "CheckpointError",
    "CompileError",
    "GradcheckError",
    "Tensor",
    "compile",
    "data",
    "debug",
    "differentiable",
    "draw",
    "evaluate",
    "fit",
    "functional",
    "grad",
    "gradcheck",
    "hessian",
    "hessian_vector_product",
    "load",
    "nn",
    "no_grad",
    "optim",
    "predict",
    "save",
    "seed",
    "vjp",
]
