"""JAX: the whole step (gradients, running statistics, update) jitted, its buffers donated."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.workloads import BN_EPS, BN_MOMENTUM, Array, Batch, Network

PAUSE = 0.03


def loss_of(params: Any, running: Any, x: Any, y: Any) -> tuple[Any, Any]:
    new = []
    for i, (weight, bias, *affine) in enumerate(params):
        x = x @ weight.T + bias
        if affine:
            gamma, beta = affine
            mean, var = x.mean(0), x.var(0)
            x = (x - mean) * jax.lax.rsqrt(var + BN_EPS) * gamma + beta
            unbiased = var * (len(x) / (len(x) - 1))
            new.append(
                tuple(
                    old + BN_MOMENTUM * (batch - old)
                    for old, batch in zip(running[i], (mean, unbiased), strict=True)
                )
            )
        if i < len(params) - 1:
            x = jax.nn.relu(x)
    logp = jax.nn.log_softmax(x)
    return -jnp.take_along_axis(logp, y[:, None], axis=1).mean(), new


@lru_cache
def compiled(network: Network, rule: str) -> Callable[..., Any]:
    """The jitted step."""
    hyper = network.hyper(rule)

    def update(p: Any, g: Any, state: Any, t: Any) -> tuple[Any, Any]:
        if rule == "sgd":
            return p - hyper["lr"] * g, state
        if rule == "momentum":
            v = hyper["mu"] * state[0] - g
            return p + hyper["lr"] * v, (v,)
        m, v = state
        beta1, beta2 = hyper["beta1"], hyper["beta2"]
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        return p - hyper["lr"] * m_hat / (jnp.sqrt(v_hat) + hyper["eps"]), (m, v)

    @partial(jax.jit, donate_argnums=0)
    def step(everything: Any, x: Any, y: Any) -> tuple[Any, Any]:
        params, running, states, t = everything
        (loss, running), grads = jax.value_and_grad(loss_of, has_aux=True)(params, running, x, y)
        leaves, tree = jax.tree.flatten(params)
        pairs = [
            update(p, g, state, t + 1)
            for p, g, state in zip(leaves, jax.tree.leaves(grads), states, strict=True)
        ]
        params = jax.tree.unflatten(tree, [p for p, _ in pairs])
        return (params, running, [state for _, state in pairs], t + 1), loss

    return step


class Jax:
    def __init__(self, network: Network, rule: str) -> None:
        weights = [[jnp.array(p) for p in layer] for layer in network.weights()]
        running = [(jnp.zeros(len(b)), jnp.ones(len(b))) for _, b, *bn in weights if bn]
        count = {"sgd": 0, "momentum": 1, "adam": 2}[rule]
        states = [tuple(jnp.zeros_like(p) for _ in range(count)) for p in jax.tree.leaves(weights)]
        self.everything = (weights, running, states, jnp.zeros((), jnp.int32))
        self.program = compiled(network, rule)

    def step(self, x: Array, y: Array) -> Any:
        # The call returns before the result is there; the next step begins when it is.
        self.everything, self.loss = self.program(self.everything, x, y)
        return self.loss

    def wait(self) -> None:
        jax.block_until_ready((self.everything, self.loss))


def training(network: Network, rule: str) -> dict[str, Callable[[], Jax]]:
    return {"jit": lambda: Jax(network, rule)}


def batches(batches: list[Batch]) -> list[Any]:
    return [(jnp.array(x), jnp.array(y.astype("int32"))) for x, y in batches]
