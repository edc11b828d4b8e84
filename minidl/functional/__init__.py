"""The functions that NumPy lacks, each beside its derivative rule.

Activations, the linear and normalising maps, and the losses. They take Tensors or ndarrays. What an
activation returns is a Tensor if a Tensor goes in; linear, batch_norm and the losses always return
Tensors. Some rules are derived by hand because the result is simpler, faster or numerically safer
than what the chain rule gives. These functions keep a *definition* in plain differentiable
functions beside them: it says what they mean, the tests hold the fast form against it, and
gradients of gradients go through it.

In comments on shapes: N samples, C classes or channels, K input features.
"""

from minidl.functional.activations import leaky_relu, relu
from minidl.functional.attention import scaled_dot_product_attention
from minidl.functional.classification import cross_entropy
from minidl.functional.embedding import embedding
from minidl.functional.gelu import gelu
from minidl.functional.layer_norm import layer_norm
from minidl.functional.linear import linear
from minidl.functional.losses import (
    binary_cross_entropy_with_logits,
    huber_loss,
    l1_loss,
    mse_loss,
)
from minidl.functional.noise import dropout
from minidl.functional.norm import batch_norm
from minidl.functional.smooth import sigmoid, softplus, tanh
from minidl.functional.softmax import log_softmax, logsumexp, softmax
from minidl.functional.targets import Reduction as Reduction

# Images
from minidl.functional.convolution import conv2d, conv_transpose2d  # isort: skip
from minidl.functional.pooling import avg_pool2d, max_pool2d  # isort: skip

__all__ = [
    "batch_norm",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "dropout",
    "embedding",
    "gelu",
    "huber_loss",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "logsumexp",
    "mse_loss",
    "relu",
    "scaled_dot_product_attention",
    "sigmoid",
    "softmax",
    "softplus",
    "tanh",
]

__all__ += ["avg_pool2d", "conv2d", "conv_transpose2d", "max_pool2d"]
