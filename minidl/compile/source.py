"""A program as text: NumPy as an expert writes it, with names from the model and shapes beside.

The text is a module with one function, ``program(arrays)``, which lays out the memory and returns
the step, a function of a batch. It needs nothing but NumPy.
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.compile.memory import Memory, Plan, layout, planned
from minidl.compile.program import Trace, Update, Value
from minidl.compile.traced import MEMORY, is_number
from minidl.optim import Optimizer

_COMPARISONS = {"greater": ">", "greater_equal": ">=", "less": "<", "less_equal": "<=",
                "equal": "==", "not_equal": "!="}  # fmt: skip
_WITH_NUMBERS = {f"np.{name}" for name in ("add", "subtract", "multiply", "divide", "maximum",
                                           "minimum", *_COMPARISONS)}  # fmt: skip
"""Ufuncs to which a number is given as an array without axes, which they take twice as fast."""

_NICKNAMES = {"add.reduce": "sums", "maximum.reduce": "top", "minimum.reduce": "bottom",
              "subtract": "difference", "multiply": "product", "divide": "quotient", "add": "total",
              "getitem": "picked", "greater": "mask", "where": "chosen"}  # fmt: skip


@dataclass
class Source:
    """The text, and by name the arrays and functions that it is for."""

    text: str
    arrays: dict[str, Any]


def source_of(trace: Trace, optimizer: Optimizer, title: str) -> Source:
    """Write a traced step as the text of a module."""
    writer = _Writer(trace, optimizer)
    numbers = [
        (update, [f"t_{i}", f"lr_{i}"] if len(trace.updates) > 1 else ["t", "lr"])
        for i, update in enumerate(trace.updates)
    ]
    for update, names in numbers:
        writer.names |= dict(zip((update.t, update.lr), names, strict=True))
        writer.taken |= dict.fromkeys(names)
    body = writer.statements(planned(trace, [trace.loss, trace.predictions]))
    for update, _ in numbers:
        body += ["", f"# the update: {type(optimizer).__name__}", *writer.update(update)]
    results = [writer.text(v) if v else "None" for v in (trace.loss, trace.predictions)]
    arguments = ", ".join(["x", "y", *(name for _, names in numbers for name in names)])
    program = [
        *writer.setup(), "", f"def step({arguments}):",
        *indented([*body, "", f"return {', '.join(results)}"]), "", "return step",
    ]  # fmt: skip
    lines = [f'"""{title}"""', "", "import math", "", "import numpy as np", "", "",
             "def program(arrays):", *indented(program)]  # fmt: skip
    return Source("".join(f"{part}\n" for line in lines for part in wrapped(line)), writer.arrays)


def indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" if line else "" for line in lines]


def wrapped(line: str, width: int = 100) -> list[str]:
    """A line of code in several, broken at commas: only what stands in brackets is so long."""
    code, mark, comment = line.partition("  # ")
    if len(line) <= width:
        return [line]
    indent = " " * (len(code) - len(code.lstrip()))
    lines = [f"{indent}# {comment}"] if mark else []
    while len(code) > width:
        chained = code.rfind(" = ", 0, width - 2) + 3 if code.count(" = ") > 1 else 0
        cut = chained or code.rfind(", ", 0, width) + 1
        if cut < len(indent) + 8:
            break
        lines.append(code[:cut].rstrip() + ("" if code[cut - 1] == "," else " \\"))
        code = f"{indent}    {code[cut:].lstrip()}"
    return [*lines, code]


class _Writer:
    """Gives names, and turns calls into lines."""

    def __init__(self, trace: Trace, optimizer: Optimizer) -> None:
        self.arrays: dict[str, Any] = dict(trace.given)
        self.names: dict[Value, str] = {}
        self.taken: dict[str, Memory | None] = dict.fromkeys(
            ["np", "math", "arrays", "program", "step", "x", "y", *trace.given]
        )
        self.buffers = _buffers(optimizer)
        self.taken |= dict.fromkeys(key for key, _, _ in self.buffers.values())
        self.outside = [f'{name} = arrays["{name}"]' for name in trace.given]
        self.constants: dict[str, str] = {}  # how a constant array is made, and its name
        self.numbers: dict[str, str] = {}  # how an array without axes is made, and its name
        self.memory: list[Memory] = []
        self.views: dict[str, str] = {}
        self.blocks: list[str] = []
        self.plan = Plan()
        self.lines: list[str] = []
        self.ahead: list[str] | None = None  # where numbers are computed, if not where needed

    # Before the step ------------------------------------------------------------------------------

    def setup(self) -> list[str]:
        """The lines that lay out the memory."""
        numbers = [f"{name} = {made.partition('  #')[0]}" for made, name in self.numbers.items()]
        memory = [f"{' = '.join(m.names)} = {allocation(m)}" for m in self.memory]
        views = [f"{name} = {view}" for view, name in self.views.items()]
        titles = {
            "Parameters, gradients, state, and constants": self.outside,
            "Numbers as arrays without axes, which NumPy takes faster than Python's": numbers,
            "Memory. Names in one line are never needed at the same time": memory,
            "Views": views,
            "Blocks, which stay in the processor's cache": self.blocks,
        }
        parts = [["", f"# {title}", *lines] for title, lines in titles.items() if lines]
        return [line for part in parts for line in part][1:]

    def outsider(self, x: Value) -> str:
        """The name of an array that is there before the step, and the line that gets it."""
        if id(x.sample) in self.buffers:
            key, buffer, start = self.buffers[id(x.sample)]
            if key not in self.arrays:
                self.arrays[key] = buffer
                self.outside.append(f'{key} = arrays["{key}"]  # {buffer.dtype} {buffer.shape}')
            if x.shape == buffer.shape:
                return key
            shape = "" if x.sample.ndim == 1 else f".reshape({self.text(x.shape)})"
            made = f"{key}[{start}:{start + x.sample.size}]{shape}"
            name = self.free(x.name)
        else:
            made = "" if x.name else literal(x.sample)
            name = x.name or re.split(r"\W", made or "np.constant")[1]
            if made and not x.sample.flags.writeable:  # nobody can change it between two steps
                if made in self.constants:
                    return self.constants[made]
                name = self.constants[made] = self.free(name)
            else:
                name = self.free(name)
                self.arrays[name] = x.sample
                made = f'arrays["{name}"]  # {x.sample.dtype} {x.shape}'
        self.outside.append(f"{name} = {made}")
        return name

    # The step -------------------------------------------------------------------------------------

    def statements(self, plan: Plan) -> list[str]:
        """The lines of a plan, under the titles of the parts of the model."""
        self.plan, self.lines, place = plan, [], ""
        titles: set[str] = set()
        for call in reversed(plan.calls):
            before = plan.follows.get(call)  # without a name, it has that of what takes its place
            if before is not None and before.place == call.place:
                before.name = before.name or call.name
        for call in plan.calls:
            start = len(self.lines)
            self.line(call)
            if call.place != place and len(self.lines) > start:
                place = call.place
                again = ", continued" if place in titles else ""  # what waits for the last check
                titles.add(place)
                self.lines[start:start] = ["", f"# {place}{again}"]
        return self.lines[1:] if self.lines[:1] == [""] else self.lines

    def line(self, call: Value) -> None:
        """Write one call."""
        what, inputs = call.what, [value for value in call.needs if value.is_array]
        if call.kind == "check":
            condition = self.text(call.args[0])
            if what == "finite":
                item = ".item()" if call.args[0].is_array else ""
                condition = f"not math.isfinite({condition}{item})"
            elif call.sample:
                condition = f"not ({condition})" if " " in condition else f"not {condition}"
            self.lines += [f"if {condition}:", "    return None  # left to the eager step"]
        elif call.target is not None:
            target, *args = call.args
            self.names[call] = self.text(call.target)
            if call.into:
                computed = Value("call", target.sample, what, tuple(args), call.options)
                self.lines.append(self.expression(computed, self.text(target)))
            elif what == "setitem":
                self.lines.append(
                    f"{self.text(target)}[{self.index(args[0])}] = {self.text(args[1])}"
                )
            else:
                self.lines.append(f"{what}({', '.join(map(self.text, call.args))})")
        elif not inputs and isinstance(call.sample, np.bool):
            # It becomes part of the check that it is for.
            symbol = _COMPARISONS.get(what.removeprefix("np."))
            args = list(map(self.text, call.args))
            self.names[call] = f" {symbol} ".join(args) if symbol else self.expression(call)
        elif call.home is None and call not in self.plan.memory:
            text = self.expression(call)
            self.names[call] = self.free(self.nickname(call))
            self.lines.append(f"{self.names[call]} = {text}")
        else:
            text, shape = self.expression(call, "{}"), ""
            if call.home is not None:
                name = self.text(call.home)
            else:
                name = self.in_memory(call, self.plan.memory[call])
                shape = "" if call in self.plan.follows else f"  # {call.shape}"
            self.names[call] = name
            if text and not self.stays(call):
                self.lines.append(text.format(name) + shape)

    def stays(self, call: Value) -> bool:
        """Whether a call is a copy of what is in the same memory already."""
        source = call.args[0] if call.what == "copy" else None
        if not isinstance(source, Value):
            return False
        if call.home is not None:
            return source.home is call.home
        return self.plan.memory.get(source) is self.plan.memory[call]

    def expression(self, call: Value, out: str = "") -> str:
        """The call as Python; if it writes into memory, into ``out``."""
        what = call.what
        if what == "getitem":
            return f"{self.text(call.args[0])}[{self.index(call.args[1])}]"
        args = [self.operand(call, x) for x in call.args]
        options = [f"{k}={self.text(v)}" for k, v in call.options]
        default = "axis=None" if call.needs and len(call.needs[0].shape) == 1 else "axis=0"
        if what.endswith(".reduce"):
            options = [option for option in options if option != default]
        if what in ("copy", "astype"):
            casting = ', casting="unsafe"' if what == "astype" else ""
            return (
                f"np.copyto({out}, {args[0]}{casting})"
                if out
                else f"{args[0]}.{what}({', '.join(args[1:])})"
            )
        if out and what in MEMORY:
            fill = {"np.zeros_like": "0", "np.ones_like": "1", "np.empty_like": ""}
            value = fill.get(what, args[-1])
            return f"{out}.fill({value})" if value else ""
        if out and what.endswith(".random"):  # its memory has the size
            options = [f"dtype={a}" for a in args[1:]] + [o for o in options if o[:4] != "size"]
            args = []
        axes = {len(value.shape) for value in call.needs}
        if out and (what == "np.dot" or (what == "np.matmul" and axes == {2})):
            return f"{args[0]}.dot({args[1]}, out={out})"
        return f"{what}({', '.join([*args, *options, *([f'out={out}'] if out else [])])})"

    def operand(self, call: Value, x: Any) -> str:
        """An argument; a number that meets arrays as an array without axes, of their dtype."""
        dtypes = [value.sample.dtype for value in call.needs if value.is_array]
        sample = x.sample if isinstance(x, Value) else x
        if call.what not in _WITH_NUMBERS or not call.is_array:
            return self.text(x)
        if not (is_number(sample) or (isinstance(sample, np.number) and sample is x)):
            return self.text(x)
        dtype = sample.dtype if isinstance(sample, np.number) else np.result_type(*dtypes, sample)
        if isinstance(x, Value):
            made, name = f"np.empty((), np.{dtype})  # {self.text(x)}", "rate"
        else:
            made = f"np.array({number(x if is_number(x) else x.item())}, np.{dtype})"
            name = f"n_{x:.6g}".replace("-", "m")
        if made not in self.numbers:
            self.numbers[made] = self.free(name)
            if isinstance(x, Value):
                self.compute_ahead(f"{self.numbers[made]}[...] = {self.text(x)}")
        return self.numbers[made]

    def compute_ahead(self, line: str) -> None:
        (self.lines if self.ahead is None else self.ahead).append(line)

    # Names and values -----------------------------------------------------------------------------

    def text(self, x: Any) -> str:
        """A value, or whatever else may be an argument, as Python."""
        if isinstance(x, Value):
            if x not in self.names:
                named = {"outside": self.outsider, "number": self.number, "view": self.view}
                self.names[x] = named.get(x.kind, lambda x: x.name)(x)
            return self.names[x]
        if isinstance(x, tuple | list):
            inside = ", ".join(map(self.text, x)) + (
                "," if isinstance(x, tuple) and len(x) == 1 else ""
            )
            return f"({inside})" if isinstance(x, tuple) else f"[{inside}]"
        if isinstance(x, np.generic):
            return f"np.{x.dtype}({number(x.item())})"
        if isinstance(x, np.dtype) or (isinstance(x, type) and issubclass(x, np.generic)):
            return f"np.{np.dtype(x)}"
        if isinstance(x, slice):
            return f"slice({', '.join(map(self.text, (x.start, x.stop, x.step)))})"
        if x is Ellipsis or x is None:
            return "..." if x is Ellipsis else "None"
        if isinstance(x, int | float | complex | str):
            return number(x)
        own_name = str(getattr(x, "__name__", type(x).__name__)).strip("<>")
        if vars(builtins).get(own_name) is x:
            return own_name
        name = self.free(own_name)
        self.arrays[name] = x
        self.outside.append(f'{name} = arrays["{name}"]')
        return name

    def index(self, x: Any) -> str:
        """What stands between brackets."""
        if isinstance(x, tuple) and x:
            return ", ".join(map(self.of_one_axis, x)) + ("," if len(x) == 1 else "")
        return self.of_one_axis(x)

    def of_one_axis(self, x: Any) -> str:
        if not isinstance(x, slice):
            return self.text(x)
        ends = ["" if end is None else self.text(end) for end in (x.start, x.stop, x.step)]
        return ":".join(ends[: 3 if ends[2] else 2])

    def number(self, x: Value) -> str:
        a, b = (f"({text})" if " " in text else text for text in map(self.text, x.args))
        text = f"{a} {x.what} {b}"
        if x.name:
            text, name = self.free(x.name), text
            self.compute_ahead(f"{text} = {name}")
        return text

    def view(self, x: Value) -> str:
        """A view of memory is made once, before the step; of the batch in each step."""
        base, what, options = (
            self.text(x.args[0]),
            x.what,
            [f"{k}={self.text(v)}" for k, v in x.options],
        )
        args = [*map(self.text, x.args[1:]), *options]
        made = f"{what}({', '.join([base, *args])})"
        if what == "getitem":
            made = f"{base}[{self.index(x.args[1])}]"
        elif what == "np.transpose" and not args:
            made = f"{base}.T"
        elif what in ("view", "np.reshape"):
            made = f"{base}.{what.removeprefix('np.')}({', '.join(args)})"
        root = x.root.home or x.root
        if root.kind != "outside" and root not in self.plan.memory:
            return made
        if made not in self.views:
            tags = {"getitem": "part", "np.transpose": "T", "view": "bits"}
            self.views[made] = self.free(f"{base}_{tags.get(what, what.rpartition('.')[2])}")
        return self.views[made]

    def in_memory(self, call: Value, memory: Memory) -> str:
        """A name for what is computed in a memory, which may have others for other values."""
        if not memory.names:
            self.memory.append(memory)
        if call in self.plan.follows and not call.name:
            return self.names[self.plan.follows[call]]
        name = self.free(self.nickname(call), memory)
        if name not in memory.names:
            memory.names.append(name)
        return name

    def nickname(self, call: Value) -> str:
        """The name of a value, or what it is; with the path of the module it belongs to."""
        kind = call.what.removeprefix("np.")
        name = call.name or _NICKNAMES.get(kind) or kind.rpartition(".")[2]
        path, is_module, _ = call.place.removeprefix("back through ").partition(":")
        return f"{name}_{path}" if is_module and not re.match("[yd]_", name) else name

    def free(self, name: str, memory: Memory | None = None) -> str:
        """A name that nothing else has; what stands in the same memory may have it."""
        name = candidate = re.sub(r"\W", "_", name)
        if keyword.iskeyword(name) or name in dir(builtins) or not name.isidentifier():
            name = candidate = f"v_{name}"
        n = 1
        while candidate in self.taken and (memory is None or self.taken[candidate] is not memory):
            n += 1
            candidate = f"{name}_{n}"
        self.taken[candidate] = memory
        return candidate

    # The update -----------------------------------------------------------------------------------

    def update(self, update: Update) -> list[str]:
        """The rule: on one block as it is, on several in a loop; or a call of it."""
        if update.trace is None:
            rule = self.free("rule")
            self.arrays[rule] = update.apply
            self.outside.append(f'{rule} = arrays["{rule}"]  # called as it stands')
            return [f"{rule}({self.names[update.t]}, {self.names[update.lr]})"]
        if len(update.blocks) == 1:
            return self.statements(planned(update.trace))
        first, *_ = update.blocks[0]
        size, (_, _, start) = first.size, self.buffers[id(first)]
        stop = start + sum(x.size for x, *_ in update.blocks)
        parts = []
        for value, name in zip(update.arrays, update.names, strict=True):
            key, buffer, _ = self.buffers[id(value.sample)]
            parts.append(
                f"{self.outsider(Value('outside', buffer, name=key))}[i : min(i + {size}, {stop})]"
            )
            self.names[value] = self.free(f"{name}_block")
        before, self.ahead = len(self.memory), []
        lines = self.statements(planned(update.trace))
        ahead, self.ahead = self.ahead, None
        for memory in self.memory[before:]:
            name, *others = memory.names
            self.blocks.append(f"{name} = {allocation(memory)}")
            parts.append(f"{name}[: min({size}, {stop} - i)]")
            lines = [f"{' = '.join(others)} = {name}" for _ in others[:1]] + lines
        variables = [*map(self.text, update.arrays), *(m.names[0] for m in self.memory[before:])]
        del self.memory[before:]
        blocks = self.free("blocks")
        self.blocks += [f"{blocks} = [", f"    ({', '.join(parts)})"]
        self.blocks += [f"    for i in range({start}, {stop}, {size})", "]"]
        return [*ahead, f"for {', '.join(variables)} in {blocks}:", *indented(lines)]


def _buffers(optimizer: Optimizer) -> dict[int, tuple[str, np.ndarray, int]]:
    """For each array of the optimizer, by identity: the buffer it is part of, and from where on."""
    found: dict[int, tuple[str, np.ndarray, int]] = {}
    several = sum(len(group.storage.buffers) for group in optimizer.groups) > 1
    number = 0
    for group in optimizer.groups:
        storage = group.storage
        for dtype, buffers in storage.buffers.items():
            places = zip(storage.views, storage.places, strict=True)
            parts = [arrays for arrays, place in places if place[0] == dtype]
            parts += [block for _, blocks in storage.runs for block in blocks]
            names = ("x", "dx", *storage.rule.state)
            keys = [f"all_{name}" + (f"_{number}" if several else "") for name in names]
            for part in [buffers, *parts]:
                for key, buffer, a in zip(keys, buffers, part, strict=False):
                    if np.may_share_memory(a, buffer):
                        start = (a.ctypes.data - buffer.ctypes.data) // buffer.itemsize
                        found[id(a)] = key, buffer, start
            number += 1
    return found


def allocation(m: Memory) -> str:
    """The expression that allocates a memory."""
    return turned(f"np.empty({tuple(m.shape[i] for i in m.order)}, np.{m.dtype})", m.order)


def turned(made: str, order: tuple[int, ...]) -> str:
    """An array that is made with its axes as they stand in memory, with the axes in their order."""
    ascending = tuple(range(len(order)))
    if order == ascending:
        return made
    axes = tuple(order.index(i) for i in ascending)
    return f"{made}.T" if order == ascending[::-1] else f"{made}.transpose{axes}"


def literal(a: np.ndarray) -> str:
    """A constant array as Python, if it is a regular one."""
    if a.size and a.dtype.kind in "fiub":
        first = a.reshape(-1)[0].item()
        if a.tobytes() == np.full_like(a, first).tobytes():
            name = {"0": "zeros", "1": "ones"}.get(f"{first:g}")
            order = layout(Value("outside", a))[2]
            shape = tuple(a.shape[i] for i in order)
            made = f"np.{name}({shape}" if name else f"np.full({shape}, {number(first)}"
            return turned(f"{made}, np.{a.dtype})", order)
        if a.dtype == np.int64 and a.ndim == 1 and (a == np.arange(len(a))).all():
            return f"np.arange({len(a)})"
    return ""


def number(x: Any) -> str:
    """A number as Python reads it, also one that is not finite."""
    text = repr(x)
    return {"inf": "math.inf", "-inf": "-math.inf", "nan": "math.nan"}.get(text, text)
