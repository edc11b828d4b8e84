"""minidl: a deep-learning framework from scratch on NumPy."""

from minidl import derivatives as _derivatives  # fills the derivative table
from minidl.autograd import no_grad, vjp
from minidl.rng import seed
from minidl.tensor import Tensor, differentiable, grad
