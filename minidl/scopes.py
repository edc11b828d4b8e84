"""Blocks in which a setting has another value, for the current thread and task only.

``no_grad`` and ``debug`` are such blocks. They are a file of their own because blocks do not always
end in the order in which they began: a generator may hold one open while others come and go.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Generator
from contextvars import ContextVar
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class Setting:
    """A value, and the blocks that are open, innermost last: the last one says what it is."""

    def __init__(self, name: str, default: Any) -> None:
        self.name = name
        self.default = default
        self.current: ContextVar[Any] = ContextVar(name, default=default)
        self.open: ContextVar[tuple[Block, ...]] = ContextVar(f"{name}: open blocks", default=())


class Block:
    """``with Block(setting, value):`` or, over a function, ``@Block(setting, value)``."""

    __slots__ = ("setting", "value")

    def __init__(self, setting: Setting, value: Any) -> None:
        self.setting = setting
        self.value = value

    def __enter__(self) -> None:
        s = self.setting
        s.open.set((*s.open.get(), self))
        s.current.set(self.value)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        s = self.setting
        before = s.open.get()
        # Found by identity, not taken from the end: blocks of two generators may end in any order.
        i = next((i for i in reversed(range(len(before))) if before[i] is self), None)
        if i is None:
            if kind is not None:
                return
            raise RuntimeError(
                f"a block that sets {s.name} began in another thread or task than the one it ends "
                f"in, and is still in force there: a generator that yields inside `with no_grad():`"
                f" was handed over; decorate it with @no_grad() instead"
            )
        rest = before[:i] + before[i + 1 :]
        s.open.set(rest)
        s.current.set(rest[-1].value if rest else s.default)

    def __call__(self, function: F) -> F:
        """The function with the block around it; around each step if it is a generator function
        or a coroutine function, so that what runs between the steps is not affected."""
        if isinstance(function, type | staticmethod | classmethod | property) or not callable(
            function
        ):
            raise TypeError(
                f"a function can be decorated so that it runs in a block that sets "
                f"{self.setting.name}, and this is {function!r}: decorate the methods of a class, "
                f"below @staticmethod, @classmethod or @property"
            )
        call = getattr(function, "__call__", None)  # noqa: B004 (of an object that is called)

        @functools.wraps(function)
        def plain(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        @functools.wraps(function)
        def generator(*args: Any, **kwargs: Any) -> Any:
            return (yield from self._steps(function(*args, **kwargs)))

        @functools.wraps(function)
        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            return await self._steps(function(*args, **kwargs))

        @functools.wraps(function)
        async def async_generator(*args: Any, **kwargs: Any) -> Any:
            body = function(*args, **kwargs)
            resume, value = body.asend, None
            while True:
                try:
                    out = await self._steps(resume(value))
                except StopAsyncIteration:
                    return
                try:
                    resume, value = body.asend, (yield out)
                except BaseException as error:
                    resume, value = body.athrow, error

        wrapped: Any = plain
        if inspect.isgeneratorfunction(function) or inspect.isgeneratorfunction(call):
            wrapped = generator
        elif inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call):
            wrapped = coroutine
        elif inspect.isasyncgenfunction(function) or inspect.isasyncgenfunction(call):
            wrapped = async_generator
        return wrapped  # type: ignore[no-any-return]

    @types.coroutine
    def _steps(self, body: Any) -> Generator[Any, Any, Any]:
        """Go through a generator or coroutine; only while it runs is the block open."""
        resume, value = body.send, None
        while True:
            try:
                with self:
                    out = resume(value)
            except StopIteration as end:
                return end.value
            try:
                resume, value = body.send, (yield out)
            except BaseException as error:  # also GeneratorExit, which is how close() ends it
                resume, value = body.throw, error
