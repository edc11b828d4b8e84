"""A model as source of PyTorch: a class for each kind of module, and the weights by their names.

Layers are written as PyTorch's own. The forward of a module of one's own is written from what it
did when it was followed, its parts as calls of them, line by line.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from minidl import nn
from minidl.arrays import Array
from minidl.export.graph import ExportError
from minidl.export.torch_forward import Body, buffer
from minidl.export.torch_table import FUNCTIONS, LAYERS
from minidl.export.tracing import Part, check_model, checked_example, follow
from minidl.nn.members import members
from minidl.tensor import Tensor


class TorchModel(NamedTuple):
    """A model for PyTorch: the source of its classes, and its state dict, of ndarrays."""

    source: str
    state: dict[str, Array]


def write(model: nn.Module, example: Any) -> TorchModel:
    """Write the source; see :func:`minidl.export.to_pytorch`."""
    check_model(model, "to_pytorch")
    own = [(path, m) for path, m in model.modules() if _kind(m) == "own"]
    if example is None:
        if own:
            path, m = own[0]
            what = "a loss" if hasattr(m, "reduction") else type(m).__name__
            raise ExportError(
                f"to_pytorch: {what} has a forward of its own, and to write it, it must be seen at "
                f"work{f' (it is {path!r})' if path else ''}: give an example, "
                f"to_pytorch(model, x[:2])"
            )
        return _Source(model, None).model()
    x = checked_example(example, model, "to_pytorch")
    both = [_seen_at_work(model, x, training) for training in (True, False)]
    written, in_prediction = (source.model() for source in both)
    if written.source != in_prediction.source:
        raise ExportError(
            f"to_pytorch: {type(model).__name__} does other things in training than in prediction, "
            f"and only one of them can be written: put what differs into a layer, as nn.Dropout is"
        )
    return written


def _seen_at_work(model: nn.Module, x: Array, training: bool) -> _Source:
    followed = follow(
        model, x, whose="to_pytorch", layers=_is_layer, known=FUNCTIONS, training=training
    )
    if training and followed.stopped:
        raise ExportError(
            f"to_pytorch: a gradient is stopped (in {followed.stopped}), as detach(), .data and "
            f"no_grad() do, and would flow in what is written: take that out for the export, and "
            f"write .detach() into the source"
        )
    return _Source(model, followed.whole())


def _is_layer(module: nn.Module) -> bool:
    return _kind(module) == "layer"


def _kind(module: nn.Module) -> str:
    """What a module is in PyTorch: a layer, a container, or a class to be written."""
    forward = type(module).forward
    if any(forward is vars(layer)["forward"] for layer in LAYERS):
        return "layer"
    for container in (nn.Sequential, nn.ModuleList, nn.ModuleDict):
        if isinstance(module, container) and forward is container.forward:
            return container.__name__
    return "own"


class _Source:
    """The source of a model, class by class."""

    def __init__(self, model: nn.Module, whole: Part | None) -> None:
        self.root = model
        self.calls: dict[str, list[Part]] = {}
        if whole is not None:
            self._collect(whole)
        self.state: dict[str, Array] = {}
        self.names: dict[int, list[str]] = {}  # of one array, by its identity
        self.modules: dict[int, list[str]] = {}  # and of one module
        self.spelled: dict[str, str] = {}  # how the source spells what has a dotted name
        self.classes: dict[str, str] = {}  # bodies by name
        self._name_all(model, "", "self")

    def model(self) -> TorchModel:
        """Its classes, those that others need first, and a function that loads the weights."""
        root = self._class(self.root, "", self._last_lines())
        for first, *others in self.modules.values():  # of what is shared, all names
            for key, array in list(self.state.items()):
                if others and key.startswith(f"{first}."):
                    for other in others:
                        self.state.setdefault(other + key.removeprefix(first), array.copy())
        load = LOAD.format(root=root)
        uses_f = any("F." in text for text in self.classes.values())
        head = HEAD.format(root=root) + ("import torch.nn.functional as F\n" if uses_f else "")
        head += "from torch import nn\n"
        return TorchModel("\n\n".join([head, *self.classes.values(), load]), self.state)

    def _collect(self, part: Part) -> None:
        self.calls.setdefault(part.path, []).append(part)
        for inner in part.parts:
            self._collect(inner)

    def _name_all(self, module: nn.Module, path: str, spelled: str) -> None:
        """Find the names of all modules and arrays, also those that are there more than once."""
        self.modules.setdefault(id(module), []).append(path)
        self.spelled[path] = spelled
        listed = _kind(module) in ("Sequential", "ModuleList")
        for name, x in members(module.__dict__.items()):
            first, *rest = name.split(".")
            here = f"{spelled}[{first}]" if listed else f"{spelled}.{first}"
            if _kind(module) == "ModuleDict":
                here = f"{spelled}[{first!r}]"
            here += "".join(f"[{key}]" if key.isdigit() else f"[{key!r}]" for key in rest)
            inner = f"{path}.{name}".strip(".")
            if isinstance(x, Tensor):
                self._add(inner, here, x.data, id(x))
            else:
                self._name_all(x, inner, here)
        for name in module.buffers:
            x = getattr(module, name)
            if x is not None:
                array = x.data if isinstance(x, Tensor) else x
                self._add(f"{path}.{name}".strip("."), f"{spelled}.{name}", array, id(x))

    def _add(self, name: str, spelled: str, array: Array, identity: int) -> None:
        self.state[name] = array.copy()
        self.spelled[name] = spelled
        self.names.setdefault(identity, []).append(name)

    def _last_lines(self) -> list[str]:
        """What concerns the whole model: what is shared, frozen, and of another dtype."""
        lines = []
        inside: set[str] = set()
        for first, *others in [*self.modules.values(), *self.names.values()]:
            for other in others:
                if not any(other.startswith(f"{path}.") for path in inside):
                    lines.append(
                        f"{self.spelled[other]} = {self.spelled[first]}  # one and the same"
                    )
                    inside.add(other)
        lines += [
            f"{self.spelled[name]}.requires_grad_(False)"
            for name, p in self.root.named_parameters()
            if not p.requires_grad
        ]
        dtypes = {p.dtype for p in self.root.parameters()}
        if len(dtypes) > 1:
            raise ExportError(f"to_pytorch: the parameters are of {len(dtypes)} dtypes: use one")
        if dtypes - {np.dtype(np.float32)}:
            lines.append(f"self.to(torch.{dtypes.pop().name})")
        return lines

    # Modules ----------------------------------------------------------------------------------

    def _made(self, module: nn.Module, path: str) -> str:
        """The expression that makes a module."""
        kind = _kind(module)
        if kind == "layer":
            calls = self._calls_of(module)
            ndim = calls[0].args[0].ndim if calls else self._ndim_before(path)
            layer = next(c for c in type(module).__mro__ if c in LAYERS)
            return LAYERS[layer](module, ndim)
        if kind == "own":
            return f"{self._class(module, path, [])}()"
        inner = [
            (name, self._made(m, f"{path}.{name}".strip("."))) for name, m in module.children()
        ]
        if kind == "ModuleDict":
            return _listed("nn.ModuleDict({", [f"{k!r}: {text}" for k, text in inner], "})")
        brackets = ("(", ")") if kind == "Sequential" else ("([", "])")
        return _listed(f"nn.{kind}{brackets[0]}", [text for _, text in inner], brackets[1])

    def _calls_of(self, module: nn.Module) -> list[Part]:
        """What was seen of a module, under whichever of its names."""
        return [call for path in self.modules[id(module)] for call in self.calls.get(path, ())]

    def _ndim_before(self, path: str) -> int | None:
        """How many axes the input of a layer has by what stands before it in a Sequential."""
        parent, _, place = path.rpartition(".")
        above = dict(self.root.modules()).get(parent)
        before = list(above)[: int(place)] if isinstance(above, nn.Sequential) else []
        for m in reversed([inner for outer in before for _, inner in outer.modules()]):
            if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.MaxPool2d | nn.AvgPool2d):
                return 4
            if isinstance(m, nn.Linear | nn.Flatten):
                return 2
        return None

    def _class(self, module: nn.Module, path: str, last: list[str]) -> str:
        """Write the class of a module, unless there is the same already; its name."""
        kind = _kind(module)
        if kind in ("Sequential", "layer"):  # the whole model: its names begin at its layers
            text = self._made(module, path)
            base, _, rest = text.partition("(")
            inside = "\n".join(f"        {line}" for line in f"super().__init__({rest}".split("\n"))
            body = [f"class NAME({base}):", "    def __init__(self):", inside]
            body += [f"        {line}" for line in last]
        elif kind == "own":
            body = self._own_class(module, path, last)
        else:
            raise ExportError(f"to_pytorch: a {kind} has no forward: export what calls its modules")
        text = "\n".join(body) + "\n"
        base = "Model" if kind in ("Sequential", "layer") else type(module).__name__
        name, n = base, 1
        while self.classes.setdefault(name, text.replace("NAME", name)) != text.replace(
            "NAME", name
        ):
            n += 1
            name = f"{base}{n}"
        return name

    def _own_class(self, module: nn.Module, path: str, last: list[str]) -> list[str]:
        calls = self._calls_of(module)
        name = type(module).__name__
        if not calls:
            raise ExportError(
                f"to_pytorch: {name} ({path}) is a part of the model that is not called, and its "
                f"forward cannot be seen: take it out of the model"
            )
        bodies = [Body(self, part) for part in calls]
        texts = {"\n".join(body.lines()) for body in bodies}
        if len(texts) > 1:
            raise ExportError(
                f"to_pytorch: {name} ({path or 'the model'}) does other things each time that it "
                f"is called: make a module of each"
            )
        init = [*self._attributes(module, path), *bodies[0].buffers]
        lines = ["class NAME(nn.Module):", "    def __init__(self):", "        super().__init__()"]
        lines += [f"        {line}" for text in [*init, *last] for line in text.split("\n")]
        return [*lines, "", *(f"    {line}" for line in texts.pop().split("\n"))]

    def _attributes(self, module: nn.Module, path: str) -> list[str]:
        """Lines that set the parameters, buffers and parts of a module."""
        groups: dict[str, dict[str, str]] = {}
        kinds: dict[str, set[bool]] = {}
        lines = []
        for name, x in members(module.__dict__.items()):
            first, _, rest = name.partition(".")
            is_parameter = isinstance(x, Tensor)
            made = f"nn.Parameter(torch.empty({x.shape}))" if isinstance(x, Tensor) else (
                self._made(x, f"{path}.{name}".strip("."))
            )  # fmt: skip
            groups.setdefault(first, {})[rest] = made
            kinds.setdefault(first, set()).add(is_parameter)
        for first, group in groups.items():
            if list(group) == [""]:
                lines.append(f"self.{first} = {group['']}")
                continue
            if any("." in key for key in group) or len(kinds[first]) > 1:
                raise ExportError(
                    f"to_pytorch: {type(module).__name__}.{first} holds lists in lists, or "
                    f"parameters beside modules: make a ModuleList or a Module of it"
                )
            kind = "Parameter" if True in kinds[first] else "Module"
            if list(group) == [str(i) for i in range(len(group))]:
                made = _listed(f"nn.{kind}List([", list(group.values()), "])")
            else:
                made = _listed(f"nn.{kind}Dict({{", [f"{k!r}: {t}" for k, t in group.items()], "})")
            lines.append(f"self.{first} = {made}")
        for name in module.buffers:
            x = getattr(module, name)
            if x is not None:
                lines.append(buffer(name, x))
        return lines


def _listed(opening: str, items: list[str], closing: str) -> str:
    if not items:
        return opening + closing
    inside = "".join("    " + item.replace("\n", "\n    ") + ",\n" for item in items)
    return f"{opening}\n{inside}{closing}"


HEAD = """\
# A model written by minidl. load(state) makes it, with the weights of a dict of arrays.
import torch
"""

LOAD = """\
def load(state):
    model = {root}()
    model.load_state_dict({{name: torch.as_tensor(array) for name, array in state.items()}})
    return model
"""
