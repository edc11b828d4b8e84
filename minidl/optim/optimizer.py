"""What all rules share: storage, groups, the step, the state.

A rule is a class with an ``update`` method that moves a flat array of parameters, given a flat array
of their gradients. This file gives it those arrays. The parameters of a group are moved into one
buffer, of which each parameter's ``data`` is then a view, and their gradients arrive in another, so
that a step is one pass over the buffers however many parameters there are. The pass goes in blocks
that fit into the processor's cache.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from minidl.autograd import Leaf, Node
from minidl.tensor import Array, Tensor

LearningRate = float | Callable[[int], float]
Parameters = Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[Mapping[str, Any]]

BLOCK = 16384  # elements: with a rule's temporaries a few hundred KB, within a core's own cache


class Optimizer:
    """The base class of all rules.

    A rule names its state, and moves parameters in place, given gradients. Its hyper-parameters are
    attributes; ``self.t`` is the number of this step (1, 2, ...) for these parameters.

    Args:
        params: Tensors that require gradients, such as ``model.parameters()``; or pairs of name and
            Tensor; or dicts, each a group with ``"params"`` and hyper-parameters of its own.
        lr: the learning rate: a number, or a function of the number of steps taken so far.
        weight_decay: ``dx + weight_decay * x`` takes the place of the gradient ``dx``.
        hyper: the further hyper-parameters of the rule.

    Attributes:
        groups: a list of dicts with the parameters and hyper-parameters of each group. Values in
            them may be changed between steps.

    Raises:
        TypeError: for something among ``params`` that is not a parameter.
        ValueError: if there are no parameters, one is listed twice, two share memory, or a
            hyper-parameter is out of range.

    Example:
        >>> class Signs(Optimizer):
        ...     def update(self, x, dx):
        ...         x -= self.lr * np.sign(dx)
        >>> x = Tensor([1.0, -3.0], requires_grad=True)
        >>> optimizer = Signs([x], lr=0.5)
        >>> (x**2).sum().backward()
        >>> optimizer.step()
        >>> x
        Tensor([ 0.5, -2.5], requires_grad=True)
    """

    state: tuple[str, ...] = ()
    """The names of the rule's state arrays: further arguments of ``update``, zero at the start."""

    elementwise = True
    """Whether each element moves on its own. A rule that must see whole tensors says False: then
    ``update`` is called for each parameter, with arrays of its shape."""

    below_one: tuple[str, ...] = ()
    """The hyper-parameters that must be below 1."""

    groups: list[dict[str, Any]]
    t: int

    def __init__(
        self, params: Parameters, lr: LearningRate, weight_decay: float = 0.0, **hyper: Any
    ) -> None:
        defaults = {"lr": lr, "weight_decay": weight_decay, **hyper}
        self.__dict__["groups"] = []
        self.__dict__["steps"] = 0
        self.__dict__["_storages"] = []
        groups = _as_groups(params, type(self).__name__)
        for group in groups:
            unknown = [key for key in group if key not in (*defaults, "params", "names")]
            if unknown:
                raise TypeError(
                    f"{type(self).__name__} has no hyper-parameter {unknown[0]!r}, only "
                    f"{', '.join(defaults)}"
                )
            for key, value in (defaults | group).items():
                if key not in ("params", "names"):
                    self._check(key, value)
        _check_parameters([p for group in groups for p in group["params"]])
        _make_unique(groups)
        for group in groups:
            names = group.pop("names")
            self.groups.append(defaults | group)
            self._storages.append(_Storage(group["params"], names, self.state, self.elementwise))

    def update(self, x: Array, dx: Array, *state: Array) -> None:
        """The rule: move ``x`` and ``state`` in place, given ``dx``, which is read only."""
        raise NotImplementedError(f"{type(self).__name__} needs a method update(self, x, dx, ...)")

    def step(self) -> None:
        """Move every parameter that has a gradient by the rule.

        A parameter without a gradient stays where it is, and so does its state.

        Raises:
            ValueError: if the learning rate that a schedule gives is negative or not finite.
            TypeError: if a parameter has changed its dtype.

        Warns:
            RuntimeWarning: if no parameter has a gradient.
        """
        moved = False
        own = self.__dict__
        for group, storage in zip(self.groups, self._storages, strict=True):
            hyper = {key: value for key, value in group.items() if key != "params"}
            if callable(hyper["lr"]):
                hyper["lr"] = hyper["lr"](self.steps)
            if not 0 <= hyper["lr"] < math.inf:
                self._check("lr", hyper["lr"])
            own.update(hyper)  # within the step an attribute is the value of the current group
            try:
                for t, blocks in storage.ready():
                    moved = True
                    own["t"] = t
                    if hyper["weight_decay"]:
                        blocks = _decayed(blocks, hyper["weight_decay"])
                    for arrays in blocks:
                        self.update(*arrays)
            finally:
                for key in hyper:
                    del own[key]
        own["steps"] += 1
        if not moved:
            warnings.warn(
                f"{type(self).__name__}.step() moved nothing, since none of its parameters has a "
                f"gradient: call backward() before, and see that these are the parameters of the "
                f"model in use (an optimizer made before its model was rebuilt holds the old ones)",
                RuntimeWarning,
                stacklevel=2,
            )

    def zero_grad(self) -> None:
        """Forget the gradients, as is needed before each backward; they become None."""
        for storage in self._storages:
            storage.forget_gradients()

    # Hyper-parameters are attributes: of the current group within a step, of all outside it --------

    def __getattr__(self, name: str) -> Any:
        groups = self.__dict__.get("groups")
        if not groups or name not in groups[0] or name == "params":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        value = groups[0][name]
        return value(self.steps) if name == "lr" and callable(value) else value

    def __setattr__(self, name: str, value: Any) -> None:
        groups = self.__dict__.get("groups")
        if groups and name in groups[0] and name != "params":
            self._check(name, value)
            for group in groups:
                group[name] = value
        else:
            super().__setattr__(name, value)

    def _check(self, name: str, value: Any) -> None:
        """Raise unless the value of a hyper-parameter is in range."""
        if isinstance(value, bool) or (name == "lr" and callable(value)):
            return
        for number in value if isinstance(value, tuple | list) else (value,):
            if isinstance(number, str) or number is None:
                continue
            high = 1 if name in self.below_one else math.inf
            if not (isinstance(number, int | float | np.number) and 0 <= number < high):
                expected = "from 0 to below 1" if high == 1 else "a finite number of at least 0"
                raise ValueError(
                    f"{type(self).__name__}: {name} must be {expected}, got {value!r}"
                )

    def __repr__(self) -> str:
        groups = [
            f"{len(group['params'])} parameters, "
            + ", ".join(f"{k}={v}" for k, v in group.items() if k != "params")
            for group in self.groups
        ]
        return f"{type(self).__name__}({'; '.join(groups)})"

    # State ----------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The hyper-parameters and the state of every parameter by its name, all copied.

        A schedule is a function and cannot be stored: its place holds ``"schedule"``.
        """
        groups = []
        for group, storage in zip(self.groups, self._storages, strict=True):
            hyper = {k: _storable(v) for k, v in group.items() if k != "params"}
            groups.append({"hyper": hyper, "params": storage.state_dict()})
        return {"rule": type(self).__name__, "steps": self.steps, "groups": groups}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` returned, copying it; hyper-parameters too.

        Raises:
            ValueError: if it is of another rule or for other parameters; the message lists all
                differences, and nothing has been changed.
        """
        faults = []
        if state.get("rule") != type(self).__name__:
            faults.append(f"it is of {state.get('rule')}, not of {type(self).__name__}")
        saved = list(state.get("groups", ()))
        if len(saved) != len(self.groups):
            faults.append(f"it has {len(saved)} groups, not {len(self.groups)}")
        for i, (new, group, storage) in enumerate(
            zip(saved, self.groups, self._storages, strict=False)
        ):
            faults += storage.differences(new.get("params", {}))
            hyper = new.get("hyper", {})
            if set(hyper) != set(group) - {"params"}:
                faults.append(f"group {i} has the hyper-parameters {', '.join(hyper) or 'none'}")
                continue
            for key, value in hyper.items():
                if value == "schedule":
                    if not callable(group[key]):
                        faults.append(f"group {i} had a schedule for {key}: make it with one again")
                    continue
                try:
                    self._check(key, value)
                except ValueError as error:
                    faults.append(str(error))
        if faults:
            raise ValueError("this optimizer cannot take the state: " + "; ".join(faults))
        for new, group, storage in zip(saved, self.groups, self._storages, strict=True):
            storage.load_state_dict(new["params"])
            for key, value in new["hyper"].items():
                if value != "schedule":
                    group[key] = tuple(value) if isinstance(value, list) else value
        self.__dict__["steps"] = int(state["steps"])

    # A copy or a pickle has storage of its own, of which its own parameters are views.

    def __getstate__(self) -> dict[str, Any]:
        rest = {k: v for k, v in self.__dict__.items() if k != "_storages"}
        return rest | {"saved": [(s.listed, s.state_dict()) for s in self._storages]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        saved = state.pop("saved")
        self.__dict__.update(state, _storages=[])
        for group, (names, values) in zip(self.groups, saved, strict=True):
            storage = _Storage(group["params"], names, self.state, self.elementwise)
            storage.load_state_dict(values)
            self._storages.append(storage)


def clip_grad_norm(params: Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients by one factor so that their common Euclidean norm is at most ``max_norm``.

    Args:
        params: the parameters; those without a gradient count for nothing.
        max_norm: above 0.

    Returns:
        The norm before.

    Raises:
        ValueError: if ``max_norm`` is not above 0.
        FloatingPointError: if a gradient is NaN or infinite; no gradient has been changed.

    Source: Pascanu, Mikolov and Bengio, 2013, algorithm 1.

    Example:
        >>> x = Tensor([3.0, 4.0], requires_grad=True)
        >>> (x**2).sum().backward()
        >>> clip_grad_norm([x], 1.0)
        10.0
        >>> x.grad
        array([0.6, 0.8], dtype=float32)
    """
    if not (isinstance(max_norm, int | float) and max_norm > 0):
        raise ValueError(f"clip_grad_norm: max_norm must be above 0, got {max_norm!r}")
    leaves = [p._node for p in params if isinstance(p._node, Leaf) and p._node.grad is not None]
    grads = [leaf.grad for leaf in leaves if leaf.grad is not None]
    norm = math.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for g in grads))
    if not math.isfinite(norm):
        raise FloatingPointError(
            f"clip_grad_norm: the norm of the gradients is {norm}: a gradient is NaN or infinite; "
            f"lower the learning rate, or look for the operation that made it"
        )
    if norm > max_norm:
        for g in grads:
            g *= max_norm / norm
    return norm


# --- Storage --------------------------------------------------------------------------------------


class _Storage:
    """The parameters of one group, their gradients and state, in one buffer each for each dtype.

    Whoever else moves a parameter's ``data`` elsewhere (a second optimizer, a user) is noticed at
    the next step, which begins with the values found there.
    """

    def __init__(
        self, params: list[Tensor], names: list[str], state: tuple[str, ...], elementwise: bool
    ) -> None:
        # By dtype, so that what has the same dtype is adjacent; the sort keeps the order otherwise.
        order = sorted(range(len(params)), key=lambda i: params[i].dtype.str)
        self.params = [params[i] for i in order]
        self.names = [names[i] for i in order]
        self.listed = names
        self.state = state
        self.elementwise = elementwise
        self.counts = [0] * len(params)  # the steps that each parameter has taken
        self.starts: list[int] = []
        self.buffers: dict[str, list[Array]] = {}  # by dtype: x, dx, *state
        self.views: list[list[Array]] = []  # for each parameter: x, dx, *state, in its shape
        self.blocks: dict[tuple[int, int], list[tuple[Array, ...]]] = {}
        sizes: dict[str, int] = {}
        for p in self.params:
            self.starts.append(sizes.get(p.dtype.str, 0))
            sizes[p.dtype.str] = self.starts[-1] + p.size
        for dtype, size in sizes.items():
            self.buffers[dtype] = [np.zeros(size, dtype) for _ in range(2 + len(state))]
        for p, start in zip(self.params, self.starts, strict=True):
            buffers = self.buffers[p.dtype.str]
            self.views.append([b[start : start + p.size].reshape(p.shape) for b in buffers])
        for i in range(len(self.params)):
            self.adopt(i)
        self.forget_gradients(keep=True)

    def adopt(self, i: int) -> None:
        """Make the i-th parameter's data a view of the buffer, with the values that it has."""
        p, view = self.params[i], self.views[i][0]
        if p._data.dtype != view.dtype:
            raise TypeError(
                f"parameter {self.names[i]!r} was {view.dtype} when the optimizer was made and is "
                f"{p._data.dtype} now: make a new optimizer after changing the dtype"
            )
        view[...] = p._data
        p._data = view

    def forget_gradients(self, keep: bool = False) -> None:
        """Set gradients to None, and lend the buffer to the next ones."""
        for p, views in zip(self.params, self.views, strict=True):
            leaf = p._node
            if leaf is not None:
                if not keep:
                    leaf.grad = None  # type: ignore[misc]
                leaf.lent = views[1]  # type: ignore[misc]

    def ready(self) -> Iterator[tuple[int, list[tuple[Array, ...]]]]:
        """What is to be updated: the number of the step and blocks of (x, dx, *state)."""
        runs: list[tuple[int, int]] = []  # from and to, among the parameters
        previous = None
        for i, p in enumerate(self.params):
            views = self.views[i]
            if p._data is not views[0]:
                self.adopt(i)
            g = None if p._node is None else p._node.grad
            if g is None:
                previous = None
                continue
            if g is not views[1]:
                views[1][...] = g
            self.counts[i] += 1
            kind = (self.counts[i], p._data.dtype)
            if self.elementwise and kind == previous:
                runs[-1] = (runs[-1][0], i + 1)
            else:
                runs.append((i, i + 1))
            previous = kind
        for run in runs:
            yield self.counts[run[0]], self.blocks.get(run) or self.cut(run)

    def cut(self, run: tuple[int, int]) -> list[tuple[Array, ...]]:
        """The blocks of a run of neighbouring parameters; dx is made read only."""
        first, last = run[0], run[1] - 1
        if self.elementwise:
            buffers = self.buffers[self.params[first].dtype.str]
            begin, end = self.starts[first], self.starts[last] + self.params[last].size
            ranges = [slice(i, min(i + BLOCK, end)) for i in range(begin, end, BLOCK)]
            blocks = [tuple(b[where] for b in buffers) for where in ranges]
        else:
            blocks = [tuple(view.view() for view in self.views[first])]
        for arrays in blocks:
            arrays[1].flags.writeable = False
        self.blocks[run] = blocks
        return blocks

    def state_dict(self) -> dict[str, Any]:
        by_name = {
            name: {"steps": count}
            | {key: view.copy() for key, view in zip(self.state, views[2:], strict=True)}
            for name, count, views in zip(self.names, self.counts, self.views, strict=True)
        }
        return {name: by_name[name] for name in self.listed}

    def differences(self, saved: Mapping[str, Any]) -> list[str]:
        """In what a state dict does not fit."""
        faults = [f"it lacks {name!r}" for name in self.listed if name not in saved]
        faults += [f"{name!r} is not known" for name in saved if name not in self.listed]
        for name, views in zip(self.names, self.views, strict=True):
            entry = saved.get(name)
            if entry is None:
                continue
            wanted = {"steps", *self.state}
            if set(entry) != wanted:
                faults.append(f"{name!r} has {sorted(entry)}, not {sorted(wanted)}")
                continue
            for key, view in zip(self.state, views[2:], strict=True):
                if np.shape(entry[key]) != view.shape:
                    faults.append(
                        f"{key} of {name!r} has shape {np.shape(entry[key])}, not {view.shape}"
                    )
        return faults

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        for i, (name, views) in enumerate(zip(self.names, self.views, strict=True)):
            self.counts[i] = int(saved[name]["steps"])
            for key, view in zip(self.state, views[2:], strict=True):
                view[...] = saved[name][key]


def _decayed(
    blocks: list[tuple[Array, ...]], weight_decay: float
) -> Iterator[tuple[Array, ...]]:
    """The blocks with ``dx + weight_decay * x`` in place of dx; the gradient itself stays."""
    for x, dx, *state in blocks:
        decayed = weight_decay * x
        decayed += dx
        decayed.flags.writeable = False
        yield (x, decayed, *state)


# --- Checks ---------------------------------------------------------------------------------------


def _as_groups(params: Any, rule: str) -> list[dict[str, Any]]:
    """The groups, each with its parameters and their names."""
    if isinstance(params, Tensor | Mapping | str) or not isinstance(params, Iterable):
        raise TypeError(
            f"{rule}: params must be a list of parameters (model.parameters()) or of groups, not "
            f"a {type(params).__name__}"
        )
    names = list(getattr(params, "names", ()))
    items = list(params)
    if not items:
        raise ValueError(
            f"{rule}: the list of parameters is empty; an iterator can be used only once, and a "
            f"module finds parameters in its attributes, also in lists and dicts"
        )
    if not all(isinstance(item, Mapping) for item in items):
        return [{"params": items, "names": names} if names else _named(items)]
    groups = []
    for i, item in enumerate(items):
        if "params" not in item:
            raise TypeError(f"{rule}: group {i} has no 'params'")
        rest = {key: value for key, value in item.items() if key != "params"}
        groups.append(rest | _as_groups(item["params"], f"{rule}, group {i}")[0])
    return groups


def _named(items: list[Any]) -> dict[str, Any]:
    """Parameters that come alone are named by their number, pairs bring their names."""
    pairs = [x if isinstance(x, tuple) and len(x) == 2 else (str(i), x) for i, x in enumerate(items)]
    return {"params": [x for _, x in pairs], "names": [str(name) for name, _ in pairs]}


def _make_unique(groups: list[dict[str, Any]]) -> None:
    """Put the number of the group before the names if groups have a name in common."""
    names = [name for group in groups for name in group["names"]]
    if len(set(names)) < len(names):
        for i, group in enumerate(groups):
            group["names"] = [f"group{i}.{name}" for name in group["names"]]


def _check_parameters(params: list[Any]) -> None:
    for i, p in enumerate(params):
        if not isinstance(p, Tensor):
            raise TypeError(
                f"parameter {i} is a {type(p).__name__}, not a Tensor that requires a gradient"
            )
        if isinstance(p._node, Node):
            raise TypeError(
                f"parameter {i} was computed from other Tensors, and only leaves can be moved: "
                f"pass what it was computed from, or make a leaf with nn.Parameter(t.numpy())"
            )
        if p.dtype.kind != "f":
            raise TypeError(f"parameter {i} has dtype {p.dtype}: only floating-point ones move")
        if p._node is None and type(p) is Tensor:
            raise ValueError(
                f"parameter {i} does not require a gradient: make it with requires_grad=True"
            )
    seen: dict[int, int] = {}
    for i, p in enumerate(params):
        if id(p) in seen:
            raise ValueError(f"parameter {i} is listed twice, first as {seen[id(p)]}")
        seen[id(p)] = i
    spans = sorted((*np.lib.array_utils.byte_bounds(p.data), i) for i, p in enumerate(params))
    for (_, end, i), (start, _, j) in zip(spans, spans[1:], strict=False):
        if start < end and np.shares_memory(params[i].data, params[j].data):
            raise ValueError(
                f"parameters {i} and {j} share memory, which would be lost: let the model use one "
                f"Parameter in both places instead"
            )


def _storable(value: Any) -> Any:
    if callable(value):
        return "schedule"
    return list(value) if isinstance(value, tuple) else value
