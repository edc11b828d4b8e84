"""Draw faults at random from the library's syntax trees, plant them, and see which test notices.

The faults of ``faults.txt`` were thought of by those who read the library, and those who write
tests think of the same ones. These are thought of by nobody: a walk over the syntax trees of all
files lists every place where a fault of one of the kinds below can be made, and a seed draws a
sample of them, from each file in proportion to its code and from all kinds alike:

    python tests/laboratory/mutation/mutate.py --seed 7             100 faults
    python tests/laboratory/mutation/mutate.py --seed 7 --list      these, and none is planted
    python tests/laboratory/mutation/mutate.py --only optim/rules   from this file, or "axis"
    python tests/laboratory/mutation/mutate.py --explained          those that are explained

``explained.txt`` holds survivors that are no faults (nothing but speed or a text changes), each
with its reason. They are not drawn again. The exit status is that of ``run.py``.
"""

from __future__ import annotations

import ast
import io
import random
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType
from typing import ClassVar

from faults import Fault, ListError, read
from suite import ROOT, parser, run

EXPLAINED = Path(__file__).with_name("explained.txt")

# --- A fault --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mutant(Fault):
    """A fault at a place: the bytes from ``start`` are ``old`` and become ``new``."""

    start: int = 0
    line: int = 0
    before: str = ""  # the lines it is in, as they are and as they become, in one
    after: str = ""

    drawn: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return f"{self.file}:{self.line}: {self.title}"

    @property
    def shown(self) -> str:  # type: ignore[override]
        return f"\n- {self.before}\n+ {self.after}"

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What tells it from others, and outlives changes elsewhere in its file."""
        return self.file, self.title, self.before, self.after

    def planted(self, source: str) -> str:
        text, old = source.encode(), self.old.encode()
        end = self.start + len(old)
        if text[self.start : end] != old:
            raise ListError(f"minidl/{self.name}: the file has changed under the drawing")
        return (text[: self.start] + self.new.encode() + text[end:]).decode()


# --- The kinds ------------------------------------------------------------------------------------

# A kind is a function that looks at a node and yields the changes to make: from, to, new text.
Change = tuple[int, int, str]
Kind = Callable[["Source", ast.AST], Iterator[Change]]
KINDS: dict[str, Kind] = {}


def kind(title: str) -> Callable[[Kind], Kind]:
    def enter(function: Kind) -> Kind:
        KINDS[title] = function
        return function

    return enter


OPERATORS = {
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "/"), ast.Mod: ("%", "//"), ast.Pow: ("**", "*"), ast.MatMult: ("@", "*"),
    ast.BitAnd: ("&", "|"), ast.BitOr: ("|", "&"), ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"),
}  # fmt: skip
COMPARISONS = {
    ast.Lt: ("<", "<=", ">="), ast.LtE: ("<=", "<", ">"), ast.Gt: (">", ">=", "<="),
    ast.GtE: (">=", ">", "<"), ast.Eq: ("==", "", "!="), ast.NotEq: ("!=", "", "=="),
    ast.Is: ("is", "", "is not"), ast.IsNot: ("is not", "", "is"), ast.In: ("in", "", "not in"),
    ast.NotIn: ("not in", "", "in"),
}  # fmt: skip
NEIGHBOURS = dict(
    pair
    for a, b in [
        ("sum", "mean"), ("max", "min"), ("maximum", "minimum"), ("all", "any"),
        ("argmax", "argmin"), ("zeros", "ones"), ("zeros_like", "ones_like"), ("floor", "ceil"),
        ("sin", "cos"), ("sinh", "cosh"), ("log", "log1p"), ("exp", "expm1"), ("append", "extend"),
        ("var", "std"), ("logical_and", "logical_or"), ("tril", "triu"),
    ]
    for pair in ((a, b), (b, a))
)  # fmt: skip


SYMMETRIC = (
    r"(np\.)?(array_equal|shares_memory|may_share_memory|max|min|maximum|minimum|add|multiply"
    r"|logaddexp|allclose|isclose|broadcast_shapes|result_type)|math\.isclose|.*\.swapaxes"
)


@kind("another operator")
def _(s: Source, node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.BinOp):
        yield from s.sign(node.left, node.right, *OPERATORS[type(node.op)])


@kind("a boundary")
def _(s: Source, node: ast.AST) -> Iterator[Change]:
    yield from _compared(s, node, 1)


@kind("the opposite comparison")
def _(s: Source, node: ast.AST) -> Iterator[Change]:
    yield from _compared(s, node, 2)


def _compared(s: Source, node: ast.AST, which: int) -> Iterator[Change]:
    if isinstance(node, ast.Compare):
        left = node.left
        for op, right in zip(node.ops, node.comparators, strict=True):
            signs = COMPARISONS[type(op)]
            if signs[which]:
                yield from s.sign(left, right, signs[0], signs[which])
            left = right


@kind("and for or")
def _(s: Source, node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.BoolOp):
        words = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            yield from s.sign(left, right, *words)


@kind("a part of a condition left out")
def _(s: Source, node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.BoolOp):
        neutral = str(isinstance(node.op, ast.And))
        for part in node.values:
            yield (*s.span(part), neutral)


@kind("a condition negated")
def _(s: Source, node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.If | ast.IfExp):
        yield (*s.span(node.test), f"(not ({s.text(node.test)}))")
    if isinstance(node, ast.comprehension):
        for test in node.ifs:
            yield (*s.span(test), f"(not ({s.text(test)}))")


@kind("a condition that always or never holds")
def _(s: Source, node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.If | ast.IfExp):
        for value in ("True", "False"):
            yield (*s.span(node.test), value)


@kind("a not or a sign left out")
def _(s: Source, node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.UnaryOp) and not isinstance(node.operand, ast.Constant):
        start, end = s.span(node)
        yield start, s.span(node.operand)[0] if s.plain(node) else end, s.rest(node)


@kind("another number")
def _(s: Source, node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.Constant) and not s.is_index(node) and not s.is_default(node):
        value = node.value
        if type(value) is int and value > 20:  # an allowance, a size: one more is no fault
            yield (*s.span(node), f"{2 * value}")
        elif type(value) is int:
            if not s.is_open_length(node):
                yield (*s.span(node), f"{value + 1}")
            if value:
                yield (*s.span(node), f"{value - 1}")
        if type(value) is float and abs(value) > 1e-3:  # below it is a tolerance
            yield (*s.span(node), f"{value * 1.5!r}")


@kind("True for False")
def _(s: Source, node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.Constant) and isinstance(node.value, bool) and not s.is_default(node):
        up = s.parents[node]
        if isinstance(up, ast.keyword) and s.text(up) == "copy=False":
            return
        yield (*s.span(node), str(not node.value))


@kind("an argument left out")
def _(s: Source, node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.Call):
        for keyword in node.keywords:
            if s.is_text_or_type(keyword, node) or s.text(keyword) == "copy=False":
                continue  # (a copy where none is needed costs time and no more)
            start, end = s.span(keyword)
            comma = re.compile(rb"\s*,\s*").match(s.bytes, end)
            if comma and keyword.arg is not None:
                yield start, comma.end(), ""
            elif keyword.arg is not None:
                before = re.search(rb",\s*$", s.bytes[:start])
                yield (before.start() if before else start), end, ""


@kind("two arguments exchanged")
def _(s: Source, node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.Call) and not re.fullmatch(SYMMETRIC, s.text(node.func)):
        for a, b in zip(node.args, node.args[1:], strict=False):
            if not isinstance(a, ast.Starred) and not isinstance(b, ast.Starred):
                start, middle = s.span(a)
                last, end = s.span(b)
                between = s.bytes[middle:last].decode()
                if s.text(a) != s.text(b):
                    yield start, end, s.text(b) + between + s.text(a)


@kind("a statement left out")
def _(s: Source, node: ast.AST) -> Iterator[Change]:
    if (
        isinstance(node, ast.AugAssign | ast.Delete | ast.Continue)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call))
        or (isinstance(node, ast.Assign) and not isinstance(node.targets[0], ast.Name | ast.Tuple))
    ):
        yield (*s.span(node), "pass")
    if isinstance(node, ast.Assign) and s.is_bound_before(node):
        yield (*s.span(node), "pass")


@kind("a refusal left out")
def _(s: Source, node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.Raise):
        yield (*s.span(node), "pass")


@kind("nothing returned")
def _(s: Source, node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.Return) and node.value is not None:
        function = s.function(node)
        returned = function and function.returns and s.text(function.returns)
        is_bool = re.match(r"bool$|TypeGuard\b", returned or "")
        if not is_bool or s.text(node.value) != "False":  # None is as false
            yield (*s.span(node), "return None")


@kind("a return left out")
def _(s: Source, node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.If) and isinstance(node.body[-1], ast.Return):
        yield (*s.span(node.body[-1]), "pass")


@kind("another axis")
def _(s: Source, node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.keyword) and node.arg in ("axis", "axes", "dim"):
        new = {"0": "1", "1": "0", "-1": "0", "-2": "-1", "None": "0"}.get(s.text(node.value), "-1")
        yield (*s.span(node.value), new)
    if isinstance(node, ast.Call):
        for arg in node.args:
            if isinstance(arg, ast.Name) and arg.id == "axis":
                yield (*s.span(arg), "-1")


@kind("wrong in float32 only")
def _(s: Source, node: ast.AST) -> Iterator[Change]:
    for value in s.arrays(node):
        yield (*s.span(value), _changed_if('getattr(v, "dtype", None) == "float32"', s.text(value)))


@kind("wrong for a batch of one only")
def _(s: Source, node: ast.AST) -> Iterator[Change]:
    if s.file.startswith(("functional", "nn/layers", "nn/losses")):
        for value in s.arrays(node):
            test = 'getattr(v, "shape", ())[:1] == (1,) and v.dtype.kind == "f"'
            yield (*s.span(value), _changed_if(test, s.text(value)))


def _changed_if(test: str, text: str) -> str:
    return f"(lambda v: v * 1.01 if {test} else v)({text})"


@kind("a copy or conversion left out")
def _(s: Source, node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.Call):
        f = node.func
        methods = ("copy", "astype", "detach", "reshape")
        is_method = isinstance(f, ast.Attribute) and f.attr in methods
        if is_method and s.text(f.value) not in ("np", "copy"):
            yield (*s.span(node), s.text(f.value))
        called = s.text(f)
        if called in ("np.array", "np.copy") and not isinstance(node.args[0], LITERALS):
            yield (*s.span(f), "np.asarray")
        if called in ("copy.copy", "copy.deepcopy") and node.args:
            yield (*s.span(node), f"({s.text(node.args[0])})")
        if called == "float" and isinstance(node.args[0], ast.Name):  # a setting, not a result
            yield (*s.span(node), s.text(node.args[0]))


LITERALS = (ast.List, ast.ListComp, ast.Tuple)  # of which an array is new in any case


@kind("another dtype")
def _(s: Source, node: ast.AST) -> Iterator[Change]:
    swaps = {"float64": "float32", "float32": "float64", "int64": "int32"}
    if isinstance(node, ast.Attribute) and node.attr in swaps:
        yield (*s.span(node), f"{s.text(node.value)}.{swaps[node.attr]}")


@kind("an index off by one")
def _(s: Source, node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.Subscript) and not s.in_annotation(node):
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        for part in parts:
            if isinstance(part, ast.Slice):
                for bound in (part.lower, part.upper):
                    if bound is not None:
                        yield (*s.span(bound), f"({s.text(bound)}) + 1")
            elif s.number(part) is not None:
                yield (*s.span(part), f"{s.number(part) + (1 if s.number(part) >= 0 else -1)}")


@kind("another default")
def _(s: Source, node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.Constant) and s.defaults.get(node):
        value = node.value
        words = {"mean": "sum", "sum": "mean", "none": "mean", "C": "F"}
        if isinstance(value, bool):
            yield (*s.span(node), str(not value))
        elif isinstance(value, int):
            yield (*s.span(node), f"{value + 1}")
        elif isinstance(value, float):
            yield (*s.span(node), f"{value * 2 if value else 0.1!r}")
        elif value in words:
            yield (*s.span(node), repr(words[value]))


@kind("another augmented assignment")
def _(s: Source, node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.AugAssign):
        old, new = OPERATORS[type(node.op)]
        yield from s.sign(node.target, node.value, f"{old}=", f"{new}=")
        yield from s.sign(node.target, node.value, f"{old}=", "=")


@kind("a loop without its first round")
def _(s: Source, node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.For | ast.comprehension):
        yield (*s.span(node.iter), f"list({s.text(node.iter)})[1:]")


@kind("the neighbouring function")
def _(s: Source, node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.Call):
        f = node.func
        made_up = s.file.startswith("testing/") and s.text(f) in ("np.zeros", "np.ones")
        if isinstance(f, ast.Attribute) and f.attr in NEIGHBOURS and not made_up:
            yield (*s.span(f), f"{s.text(f.value)}.{NEIGHBOURS[f.attr]}")
        if isinstance(f, ast.Name) and f.id in ("any", "all", "min", "max"):
            yield (*s.span(f), NEIGHBOURS[f.id])


@kind("a with left out")
def _(s: Source, node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.With) and not any(item.optional_vars for item in node.items):
        first, last = s.span(node.items[0].context_expr)[0], s.span(node.items[-1].context_expr)[1]
        start = s.span(node)[0]
        yield start, last, f"if ({s.bytes[first:last].decode()}, True)[-1]"


MADE_UP = ("another number", "another default")
"""Kinds that make no fault in the conformance suites, where numbers are samples and seeds."""

# --- The places -----------------------------------------------------------------------------------


class Source:
    """A file of the library, its syntax tree, and what may be changed in it."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.bytes = text.encode()
        self.tree = ast.parse(text)
        self.starts = [0]
        for line in self.bytes.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        self.parents = {
            child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)
        }
        self.comments = self._comments(text)
        self.code = compile(text, file, "exec", dont_inherit=True)
        # Defaults of parameters, and whether they are part of the public interface.
        is_public = Path(file).stem in public_names()
        self.defaults = {
            default: is_public or self.scope(node).partition(".")[0] in public_names()
            for node in ast.walk(self.tree)
            for default in _defaults(node)
        }

    def _comments(self, text: str) -> list[tuple[int, int]]:
        found = []
        lines = text.splitlines(keepends=True)
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                row, column = token.start
                start = self.starts[row - 1] + len(lines[row - 1][:column].encode())
                found.append((start, start + len(token.string.encode())))
        return found

    # What the kinds ask ---------------------------------------------------------------------------

    def span(self, node: ast.AST) -> tuple[int, int]:
        """From which byte to which it stands, without brackets around it."""
        return (
            self.starts[node.lineno - 1] + node.col_offset,
            self.starts[node.end_lineno - 1] + node.end_col_offset,
        )

    def text(self, node: ast.AST) -> str:
        start, end = self.span(node)
        return self.bytes[start:end].decode()

    def sign(self, left: ast.AST, right: ast.AST, old: str, new: str) -> Iterator[Change]:
        """Replace the sign or word ``old`` between two nodes."""
        start, end = self.span(left)[1], self.span(right)[0]
        between = self.bytes[start:end]
        for a, b in self.comments:
            if start <= a < end:
                between = between[: a - start] + b" " * (b - a) + between[b - start :]
        at = re.search(r"\s+".join(map(re.escape, old.split())).encode(), between)
        if at:
            yield start + at.start(), start + at.end(), new

    def plain(self, node: ast.UnaryOp) -> bool:
        """Whether nothing stands between the sign and its operand but space."""
        start, end = self.span(node)[0], self.span(node.operand)[0]
        return b"(" not in self.bytes[start:end]

    def rest(self, node: ast.UnaryOp) -> str:
        """What remains of ``-x`` or ``not x``, from the sign on."""
        if self.plain(node):
            return ""
        return re.sub(r"^(not\b|[-+~])\s*", "", self.text(node))

    def number(self, node: ast.AST) -> int | None:
        try:
            value = ast.literal_eval(node)  # type: ignore[arg-type]
        except (ValueError, TypeError):
            return None
        return value if type(value) is int else None

    def is_index(self, node: ast.AST) -> bool:
        """Whether a number is an index or a bound of a slice; these have a kind of their own."""
        up: ast.AST | None = node
        while isinstance(up := self.parents.get(up), ast.Slice | ast.Tuple | ast.UnaryOp):
            node = up
        return isinstance(up, ast.Subscript) and node is up.slice

    def is_open_length(self, node: ast.AST) -> bool:
        """Whether it is the 1 of ``x.reshape(-1)``, where any number below 0 will do."""
        sign = self.parents[node]
        call = self.parents[sign] if isinstance(sign, ast.UnaryOp) else None
        return isinstance(call, ast.Call) and self.text(call.func).endswith(".reshape")

    def is_default(self, node: ast.AST) -> bool:
        return node in self.defaults

    def is_bound_before(self, node: ast.Assign) -> bool:
        """Whether the name it binds has a value without it: it stands under a condition."""
        target, block = node.targets[0], self.parents[node]
        if not isinstance(target, ast.Name) or not isinstance(block, ast.If | ast.For | ast.While):
            return False
        function = self.function(node)
        names = [
            n
            for n in ast.walk(function or self.tree)
            if isinstance(n, ast.Name | ast.arg) and n.lineno < block.lineno
        ]
        return any(
            n.arg == target.id
            if isinstance(n, ast.arg)
            else n.id == target.id and isinstance(n.ctx, ast.Store)
            for n in names
        )

    def function(self, node: ast.AST) -> ast.FunctionDef | None:
        up: ast.AST | None = node
        while (up := self.parents.get(up)) is not None:
            if isinstance(up, ast.FunctionDef):
                return up
        return None

    def arrays(self, node: ast.AST) -> Iterator[ast.expr]:
        """Results that are arrays: of a rule, of a function of arrays, of a step."""
        of_arrays = self.file.startswith(
            ("functional", "derivatives", "compositions", "nn/layers", "nn/losses")
        )
        function = self.function(node)
        value: ast.expr | None = None
        if isinstance(node, ast.Return) and of_arrays and function is not None:
            returned = function.returns and self.text(function.returns)
            if returned in ("Any", "T", "Tensor", "Array", "Tensor | Array"):
                value = node.value
        elif isinstance(node, ast.Lambda) and of_arrays and node.args.args:
            if node.args.args[0].arg == "g":
                value = node.body
        elif isinstance(node, ast.AugAssign) and self.file == "optim/rules.py":
            arrays = [arg.arg for arg in function.args.args[1:]] if function else []
            if any(isinstance(n, ast.Name) and n.id in arrays for n in ast.walk(node.value)):
                value = node.value
        if isinstance(value, ast.BinOp | ast.Call | ast.Name | ast.UnaryOp | ast.Attribute):
            yield value

    def in_annotation(self, node: ast.AST) -> bool:
        """Whether it is part of an annotation, or of an alias of types."""
        below, up = node, self.parents.get(node)
        while up is not None:
            if isinstance(up, ast.AnnAssign | ast.arg) and below is up.annotation:
                return True
            if isinstance(up, ast.FunctionDef) and below is up.returns:
                return True
            below, up = up, self.parents.get(up)
        return False

    # What no fault is made in ---------------------------------------------------------------------

    def nodes(self, node: ast.AST | None = None) -> Iterator[ast.AST]:
        """All nodes but those where a change is none that matters: texts, types, imports."""
        node = node or self.tree
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Raise):
                yield child  # and nothing in it
            elif not self.is_text_or_type(child, node):
                yield child
                yield from self.nodes(child)

    def is_text_or_type(self, node: ast.AST, parent: ast.AST) -> bool:
        if isinstance(node, ast.JoinedStr | ast.Import | ast.ImportFrom | ast.Assert):
            return True
        if isinstance(node, ast.expr) and (
            (isinstance(parent, ast.AnnAssign | ast.arg) and node is parent.annotation)
            or (isinstance(parent, ast.FunctionDef) and node is parent.returns)
            or (
                isinstance(parent, ast.FunctionDef | ast.ClassDef) and node in parent.decorator_list
            )
        ):
            return True
        if isinstance(node, ast.keyword):
            # (strict=True asserts, as an assert does, what the lines before see to.)
            texts = ("stacklevel", "unit", "desc", "help", "description", "metavar", "leave")
            looks = ("color", "linewidth", "linestyle", "alpha", "fontsize", "figsize")
            return node.arg in (*texts, *looks, "strict")
        if isinstance(node, ast.Call):
            called = self.text(node.func)
            texts = r".*(\bwarn|\bprint|Error|Warning|TypeVar|cast|isinstance)"
            return re.fullmatch(texts, called) is not None
        if isinstance(node, ast.If):
            return self.text(node.test) in ("TYPE_CHECKING", '__name__ == "__main__"')
        if isinstance(node, ast.FunctionDef):
            returned = self.text(node.returns) if node.returns else ""
            special = node.name in ("__repr__", "__str__", "extra_repr", "__format__", "__dir__")
            overload = any("overload" in self.text(d) for d in node.decorator_list)
            helper = node.name.startswith("_") and returned == "str"
            return special or overload or helper or returned.endswith(("Error", "NoReturn"))
        if isinstance(node, ast.Assign):  # an alias of types
            return (
                re.match(r"\w+ = (Literal|Union|Callable|NDArray)\b", self.text(node)) is not None
            )
        return False

    def scope(self, node: ast.AST) -> str:
        """The names of the functions and classes that it stands in."""
        names = []
        up: ast.AST | None = node
        while up is not None:
            if isinstance(up, ast.FunctionDef | ast.ClassDef):
                names.append(up.name)
            up = self.parents.get(up)
        return ".".join(reversed(names))

    # The faults -----------------------------------------------------------------------------------

    def mutants(self) -> Iterator[tuple[str, Mutant]]:
        """Every fault that can be made in the file, with its kind."""
        seen = set()
        tests = tests_of(self.file)
        for node in self.nodes():
            for title, find in KINDS.items():
                if self.file.startswith("testing/") and title in MADE_UP:
                    continue
                for start, end, new in find(self, node):
                    if (start, end, new) in seen:
                        continue
                    seen.add((start, end, new))
                    place = node if hasattr(node, "lineno") else self.parents[node]
                    scope = self.scope(place)
                    named = f"{title} in {scope}" if scope else title
                    # (Public defaults stand in one table.)
                    more = ("test_defaults.py",) if title == "another default" else ()
                    yield title, self.mutant(named, start, end, new, (*tests, *more))

    def mutant(self, title: str, start: int, end: int, new: str, tests: tuple[str, ...]) -> Mutant:
        line = self.bytes.count(b"\n", 0, start) + 1
        last = self.bytes.count(b"\n", 0, end) + 1
        first, stop = self.starts[line - 1], self.starts[last]
        before = self.bytes[first:stop].decode()
        after = (self.bytes[first:start] + new.encode() + self.bytes[end:stop]).decode()
        return Mutant(
            self.file,
            title,
            self.bytes[start:end].decode(),
            new,
            tests,
            start=start,
            line=line,
            before=" ".join(before.split()),
            after=" ".join(after.split()),
        )

    def is_fault(self, mutant: Mutant) -> bool:
        """Whether it is Python, and not the same program as before."""
        try:
            code = compile(mutant.planted(self.bytes.decode()), self.file, "exec")
        except (SyntaxError, ValueError):
            return False
        return _meaning(code) != _meaning(self.code)


def _defaults(node: ast.AST) -> Iterator[ast.expr]:
    if isinstance(node, ast.FunctionDef):
        for default in (*node.args.defaults, *node.args.kw_defaults):
            if default is not None:
                yield default.operand if isinstance(default, ast.UnaryOp) else default


@cache
def public_names() -> set[str]:
    """What the packages of the library offer: what their ``__init__`` imports or ``__all__``
    lists. The defaults of all else are a convenience for callers that are tested themselves."""
    names: set[str] = set()
    for path in (ROOT / "minidl").rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom) and path.name == "__init__.py":
                names.update(alias.name for alias in node.names)
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                names.update(ast.literal_eval(node.value))
    return names


def _meaning(code: CodeType) -> tuple[object, ...]:
    """What a program does, whatever its lines are."""
    constants = tuple(
        _meaning(c) if isinstance(c, CodeType) else (type(c), repr(c)) for c in code.co_consts
    )
    return code.co_code, constants, code.co_names, code.co_varnames, code.co_exceptiontable


# --- The draw -------------------------------------------------------------------------------------


@cache
def tests_of(file: str) -> tuple[str, ...]:
    """The files of tests that should notice: those that the list of faults names for the file."""
    named = Counter(name for fault in read() if fault.file == file for name in fault.tests)
    names = [name for name, _ in named.most_common(4)]
    parts = Path(file).with_suffix("").parts
    names += [f"test_{part.lstrip('_')}.py" for part in reversed(parts)]
    # Tables over many files, which the list has no reason to name.
    if parts[0] in ("functional", "derivatives", "compositions", "tensor"):
        names.append("test_numerics.py")
    if parts[0] in ("functional", "nn", "optim", "data"):
        names.append("test_borders.py")
    found = [name for name in dict.fromkeys(names) if (ROOT / "tests" / name).exists()]
    return tuple(found) or ("test_tensor.py",)


def sources() -> list[Source]:
    """The files of the library, but the table of samples, which is made-up data, and the lecture,
    whose experiments are data and figures: its verdicts have tests of their own."""
    folder = ROOT / "minidl"
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.py"))
    return [
        Source(file, (folder / file).read_text())
        for file in files
        if file != "gradcheck/samples.py" and not file.startswith("lecture/")
    ]


def draw(seed: int, count: int, only: str = "") -> tuple[list[Mutant], int]:
    """A sample of faults, and from how many it was drawn.

    Each file gets its share by how many lines of code it has. In its turn a file gives a fault of
    the kind that the sample has least of.
    """
    rng = random.Random(seed)
    explained = {(f.file, f.title, f.old, f.new) for f in read(EXPLAINED)}
    pools: dict[str, dict[str, list[Mutant]]] = {}
    weights: dict[str, int] = {}
    by_file = {source.file: source for source in sources()}
    for source in by_file.values():
        pool: dict[str, list[Mutant]] = {}
        for title, mutant in source.mutants():
            if mutant.key not in explained and only.lower() in mutant.name.lower():
                pool.setdefault(title, []).append(mutant)
        for mutants in pool.values():
            rng.shuffle(mutants)
        if pool:
            pools[source.file] = pool
            weights[source.file] = len({n.lineno for n in source.nodes() if hasattr(n, "lineno")})
    total = sum(len(mutants) for pool in pools.values() for mutants in pool.values())
    sample: list[Mutant] = []
    drawn: Counter[str] = Counter()
    while pools and len(sample) < count:
        for file in _turns(rng, {f: weights[f] for f in pools}, count - len(sample)):
            pool = pools.get(file, {})
            while pool:
                title = min(pool, key=lambda title: (drawn[title], rng.random()))
                mutant = pool[title].pop()
                if not pool[title]:
                    del pool[title]
                if by_file[file].is_fault(mutant):
                    sample.append(mutant)
                    drawn[title] += 1
                    break
            if not pool:
                pools.pop(file, None)
    sample.sort(key=lambda mutant: (mutant.file, mutant.start))
    return sample, total


def _turns(rng: random.Random, weights: dict[str, int], count: int) -> list[str]:
    """``count`` files, each as often as it weighs, in any order."""
    step, at = sum(weights.values()) / count, rng.random()
    turns, passed = [], 0.0
    for file, weight in weights.items():
        passed += weight / step
        while at < passed and len(turns) < count:
            turns.append(file)
            at += 1
    rng.shuffle(turns)
    return turns


def explained() -> list[Mutant]:
    """The mutants that ``explained.txt`` explains, with their reasons."""
    reasons = {(f.file, f.title, f.old, f.new): f.explained for f in read(EXPLAINED)}
    found: dict[tuple[str, str, str, str], Mutant] = {}
    for source in sources():
        for _, m in source.mutants():
            if m.key in reasons:
                values = {**m.__dict__, "explained": reasons[m.key]}
                found[m.key] = Mutant(**values)
    gone = [f"minidl/{file}: {title}: {old}" for file, title, old, _ in reasons.keys() - found]
    if gone:
        raise ListError(
            f"{EXPLAINED.name} explains what is not there any more:\n" + "\n".join(gone)
        )
    unreasoned = [m.name for m in found.values() if not m.explained]
    if unreasoned:
        raise ListError(f"{EXPLAINED.name} gives no reason for {', '.join(unreasoned)}")
    return list(found.values())


# --- The command ----------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is described at the top."""
    options = parser("Plant faults drawn at random, and count.", "file:line: kind in function")
    options.add_argument("--seed", type=int, default=0, help="another seed, other faults")
    options.add_argument("--count", type=int, default=100, help="how many (default: 100)")
    options.add_argument("--explained", action="store_true", help="those in explained.txt instead")
    args = options.parse_args(argv)
    try:
        if args.explained:
            faults = [fault for fault in explained() if args.only.lower() in fault.name.lower()]
        else:
            faults, total = draw(args.seed, args.count, args.only)
            print(f"seed {args.seed}: {len(faults)} faults of {total} that can be made")
        if not faults:
            raise ListError(f"there is no fault to plant with {args.only!r} in its name")
        if args.list:
            for fault in faults:
                print(f"{fault.name}  [{', '.join(fault.tests)}]{fault.shown}")
            return 0
        return run(faults, max(1, args.jobs), args.quick)
    except ListError as error:
        print(f"mutation: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
