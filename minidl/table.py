"""The derivative table: how a function comes into it, and what its row must be like.

The engine passes values by position, and a rule gets what its parameters are named after. So a spec
that does not fit its function, or a name with two meanings, would give wrong gradients and no
error. All of it is checked here, once, when ``vjp`` is called.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl.autograd import TABLE, Operation

Function = Callable[..., Any]


def vjp(
    function: Callable[..., Any],
    spec: str,
    /,
    *,
    forward: Callable[..., Any] | None = None,
    definition: Callable[..., Any] | None = None,
    common: Callable[..., Any] | None = None,
    **rules: Callable[..., Any],
) -> None:
    """Enter the derivative of ``function`` in the table: one vector-Jacobian product per input.

    ``spec`` lists the parameters of ``function`` in their order, options with their defaults
    (``"a axis=None keepdims=False"``). A parameter that has a rule is a differentiable input.

    A rule maps the gradient ``g`` of the result to the gradient of its input. It asks for what it
    needs by naming it: ``g``; ``y``, the result; any parameter of the function; ``shape``, the
    shape of the input the rule is for; ``common``, which is computed once for all rules of the call
    by the function of that name. ``g`` comes first. What no rule names is not kept. Broadcasting is
    not a rule's business: the walk sums a gradient back to the shape of its input. A parameter of
    the function that has one of these names gets an underscore in the spec and in the rules
    (``"x y_"``); calls keep the function's own name for it.

    Rules use only differentiable functions of NumPy, so that they can themselves be differentiated.
    A rule that cannot is accompanied by a ``definition``: the same function written in
    differentiable ones, taking those of the parameters that it needs, which are kept for it. It is
    what grad of grad goes through. Such a function may leave more than its result for its rules, as
    a tuple that begins with the result: ``"x eps -> root"`` is the spec of one that returns ``(y,
    root)``. What it leaves under the name of a parameter is kept in the place of that.

    Args:
        function: what people call; NumPy's own, or one made by :func:`minidl.differentiable`.
        spec: its parameters, as above.
        forward: the function on ndarrays, if it is not ``function`` itself.
        definition: the function in differentiable ones.
        common: what all rules need, as a function of what it names.
        rules: a rule for each differentiable input.

    Raises:
        ValueError: if a rule is for something, or names something, that ``spec`` does not list; if
            ``spec`` does not fit the function, or a name in it could mean two things.
        TypeError: if a rule is not a function.

    Example:
        >>> import numpy as np
        >>> import minidl
        >>> @minidl.differentiable
        ... def cube(x):
        ...     return x**3
        >>> minidl.vjp(cube, "x", x=lambda g, x: g * 3 * x**2)
        >>> x = minidl.Tensor([1.0, 2.0], requires_grad=True)
        >>> cube(x).sum().backward()
        >>> x.grad
        array([ 3., 12.], dtype=float32)
    """
    TABLE[function] = _row(function, spec, forward, rules, definition, common)


# --- What a row must be like ----------------------------------------------------------------------

RESERVED = {
    "g": "the gradient of the result",
    "y": "the result",
    "shape": "the shape of the input that a rule is for",
    "common": "what common= computes",
    "forward": "the function on ndarrays",
    "definition": "the function in differentiable ones",
}
"""What these names mean in a rule or to ``vjp``; a parameter called so gets an underscore."""


class Parameters:
    """The parameters of a function, as far as they can be known: not those of builtins."""

    def __init__(self, function: Function) -> None:
        function = inspect.unwrap(getattr(function, "forward", function))
        if not hasattr(function, "__code__") and hasattr(type(function).__call__, "__code__"):
            function = type(function).__call__.__get__(function)
        code = getattr(function, "__code__", None)
        self.known = code is not None
        self.names: tuple[str, ...] = ()  # those that can be given by position
        self.keyword_only: tuple[str, ...] = ()
        self.defaults: dict[str, Any] = {}
        self.keyword_defaults: dict[str, Any] = {}
        self.variadic = self.any_keyword = False
        if code is None:
            return
        n, k = code.co_argcount, code.co_kwonlyargcount
        is_method = int(inspect.ismethod(function))  # whose first parameter is filled already
        self.names = code.co_varnames[is_method:n]
        self.keyword_only = code.co_varnames[n : n + k]
        self.variadic = bool(code.co_flags & inspect.CO_VARARGS)
        self.any_keyword = bool(code.co_flags & inspect.CO_VARKEYWORDS)
        defaults = getattr(function, "__defaults__", None) or ()
        self.defaults = dict(zip(self.names[len(self.names) - len(defaults) :], defaults))  # noqa: B905
        self.keyword_defaults = getattr(function, "__kwdefaults__", None) or {}


def name_of(function: Function) -> str:
    """The name people know a function by: ``np.add``, ``np.linalg.norm``, ``relu``."""
    module = getattr(function, "__module__", None) or "numpy"
    short = getattr(function, "__name__", repr(function)).lstrip("_")
    module = module.replace("numpy", "np", 1) if module.startswith("numpy") else ""
    return f"{module}.{short}" if module and short != "getitem" else short


def _row(
    function: Function,
    spec: str,
    forward: Function | None,
    rules: dict[str, Function],
    definition: Function | None,
    common: Function | None,
) -> Operation:
    """The row of a function, once it is sure that it means one thing."""
    name = name_of(function)
    call = f"vjp({name}, {spec!r})"
    listed, _, left = spec.partition("->")
    names: list[str] = []
    defaults: dict[str, Any] = {}
    for word in listed.split():
        key, has_default, default = word.partition("=")
        names.append(key)
        if has_default:
            defaults[key] = _literal(default, call)
    beside = left.split()
    needs = _check_row(call, names, beside, defaults, function, forward, rules, definition, common)
    own = Parameters(function)
    called = [as_called(key, own) for key in names]
    known = {a: own.defaults[b] for a, b in zip(names, called, strict=True) if b in own.defaults}
    n = len(names)
    places = {"y": n} | {key: i for i, key in enumerate(names)}  # a name of its own comes first
    places |= {key: n + 1 + i for i, key in enumerate(beside)}
    keeps = {}
    for key, rule in rules.items():
        words = [*needs[rule], *(needs[common] if common and "common" in needs[rule] else ())]
        if definition is not None:
            taken = taken_by(definition, called)
            words += [own_name for own_name, as_ in zip(names, called, strict=True) if as_ in taken]
        keeps[key] = [(w, places[w]) for w in dict.fromkeys(words) if w in places]
    on_arrays: Any = forward or getattr(function, "forward", function)
    return Operation(
        function, name, on_arrays, tuple(names),
        tuple(called), known | defaults, tuple(beside), rules, definition, common, needs, keeps,
    )  # fmt: skip


def _literal(default: str, call: str) -> Any:
    try:
        return ast.literal_eval(default)
    except (SyntaxError, ValueError):
        raise ValueError(
            f"{call}: the default {default!r} is not a number, a string, a tuple, True, False or "
            f"None, written without spaces"
        ) from None


def as_called(name: str, own: Parameters) -> str:
    """The name that a call uses for what a spec calls ``name``."""
    called = name[:-1]
    return called if name[-1:] == "_" and called in RESERVED and name not in own.names else name


def _check_row(
    call: str,
    names: list[str],
    beside: list[str],
    defaults: dict[str, Any],
    function: Function,
    forward: Function | None,
    rules: dict[str, Function],
    definition: Function | None,
    common: Function | None,
) -> dict[Function, tuple[str, ...]]:
    """Raise unless the row means one thing; return what each of its functions names.

    ``call`` is the call of ``vjp``, for the message.
    """
    odd = [name for name in [*names, *beside] if not name.isidentifier()]
    if odd:
        raise ValueError(
            f"{call}: {odd[0]!r} is not a name: a spec is names separated by spaces, each alone or "
            f"as name=default without spaces"
        )
    if len(set(names)) < len(names) or len(set(beside)) < len(beside):
        raise ValueError(f"{call}: a parameter stands twice in the spec")
    unknown = [name for name in rules if name not in names]
    if unknown or not rules:
        raise ValueError(f"{call}: a rule for {unknown or 'nothing'}")
    named = {f: _named_by(f, call) for f in [*rules.values(), *([common] if common else [])]}
    given = {"common": common, "definition": definition, "forward": forward}
    for name, meaning in RESERVED.items():
        used = name in rules or any(name in words for words in named.values())
        if name in [*names, *beside] and (used or given.get(name) is not None):
            raise ValueError(
                f"{call}: {name!r} is a parameter of the function and in rules {meaning}: write "
                f"{name}_ for the parameter, in the spec and in the rules (calls may still say "
                f"{name}=)"
            )
    for f, words in named.items():
        for word in words:
            if word not in [*names, *beside, "g", "y", "shape", "common"]:
                raise ValueError(
                    f"{call}: a rule names {word!r}, which is neither a parameter of the function "
                    f"nor one of g, y, shape, common"
                )
        if "g" in words[1:]:
            raise ValueError(f"{call}: a rule that takes {words}: g comes first")
        if f is common and {"common", "shape"} & {*words}:
            raise ValueError(
                f"{call}: common= is computed for all rules at once, and cannot name common, or "
                f"the shape of one input"
            )
        if "common" in words and common is None:
            raise ValueError(f"{call}: a rule names common, and there is no common=")
    if beside and definition is None:
        raise ValueError(
            f"{call}: rules that use what the function leaves, {', '.join(beside)}, know only its "
            f"value: a definition= is needed for gradients of gradients"
        )
    own = Parameters(function)
    called = [as_called(name, own) for name in names]
    if definition is not None:
        inputs = [b for a, b in zip(names, called, strict=True) if a in rules]
        _check_definition(call, called, inputs, definition)
    is_numpys = (getattr(function, "__module__", None) or "numpy").startswith("numpy")
    if not (is_numpys or forward or hasattr(function, "forward")):
        raise ValueError(
            f"{call}: it is a plain function, whose rules nobody would ask for: put "
            f"@minidl.differentiable above it (or say forward=, if apply() is called with it)"
        )
    _check_order(call, called, function)
    if not is_numpys:  # whose own defaults may be a mark for "nothing given"
        for name, default in defaults.items():
            other = own.defaults.get(as_called(name, own), default)
            if other is not default and repr(other) != repr(default):
                raise ValueError(
                    f"{call}: the spec says {name}={default!r} and the function {name}={other!r}"
                )
    return named


def _named_by(rule: Function, call: str) -> tuple[str, ...]:
    """The parameters of a rule."""
    own = Parameters(rule)
    if isinstance(rule, type | np.ufunc) or not hasattr(rule, "__code__"):
        raise TypeError(
            f"{call}: a rule is a function or a lambda, whose parameters say what it needs"
        )
    if own.variadic or own.any_keyword or own.keyword_only or own.defaults:
        raise ValueError(
            f"{call}: a rule names what it needs, each by a parameter of its own, without *, ** or "
            f"defaults: constants belong into a function around the rule"
        )
    return own.names


def _check_order(call: str, names: list[str], function: Function) -> None:
    """The spec lists the parameters of the function, in their order, up to some with defaults."""
    own = Parameters(function)
    if isinstance(function, np.ufunc) and len(names) != function.nin:
        raise ValueError(f"{call}: the function takes {function.nin} arrays, not {len(names)}")
    if not own.known:
        return
    fits = all(a == b for a, b in zip(names, own.names, strict=False))
    rest = [name for name in own.names[len(names) :] if name not in own.defaults]
    rest += [name for name in own.keyword_only if name not in own.keyword_defaults]
    if not fits or rest or (len(names) > len(own.names) and not own.variadic):
        takes = [*own.names, *["*args"] * own.variadic]
        takes += [f"{name} by keyword only" for name in own.keyword_only]
        raise ValueError(
            f"{call}: the function takes ({', '.join(takes)}), and a spec lists what can be given "
            f"by position, in that order; only parameters with defaults may be left out at the end"
        )


def taken_by(definition: Function, names: Sequence[str]) -> tuple[str, ...]:
    """Those of the names that a definition takes; all, if that cannot be known."""
    own = Parameters(definition)
    if not own.known or own.any_keyword:
        return tuple(names)
    return tuple(name for name in names if name in (*own.names, *own.keyword_only))


def _check_definition(
    call: str, names: list[str], inputs: Sequence[Any], definition: Function
) -> None:
    """A definition takes of what the spec lists what it needs, by name, and each input."""
    own = Parameters(definition)
    takes = (*own.names, *own.keyword_only)
    given = {*own.defaults, *own.keyword_defaults, *names}
    lacks = [name for name in inputs if name not in takes and not own.any_keyword]
    if own.known and lacks:
        raise ValueError(
            f"{call}: definition= takes ({', '.join(takes)}), and lacks {lacks[0]!r}, which has a "
            f"rule"
        )
    if not given.issuperset(takes):
        raise ValueError(
            f"{call}: definition= takes ({', '.join(takes)}), and is called with parameters of the "
            f"spec, by name, of which there are: {', '.join(names)}"
        )
