"""minidl: a deep-learning framework from scratch on NumPy."""

from minidl import derivatives as _derivatives  # noqa: F401  (fills the derivative table)
from minidl import data, functional, nn, optim
from minidl.autograd import no_grad, vjp
from minidl.gradcheck import gradcheck
from minidl.hessian import hessian, hessian_vector_product
from minidl.rng import seed
from minidl.tensor import Tensor, differentiable, grad
