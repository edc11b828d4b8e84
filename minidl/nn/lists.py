"""ModuleList and ModuleDict: modules in a list or by name, for a forward of one's own.

A Module finds what is in plain lists and dicts as well. These two are for who knows them from
PyTorch, whose state dicts they share, and for a part of a model that is shown or saved on its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from minidl.nn.module import Module


class ModuleList(Module):
    """A list of modules; what is to be done with them, a ``forward`` of one's own says.

    Args:
        modules: any iterable of modules.

    Raises:
        TypeError: if one is no module.

    Example:
        >>> from minidl import nn
        >>> layers = ModuleList(nn.Linear(4, 4) for _ in range(3))
        >>> len(layers), layers[-1]
        (3, Linear(4, 4))
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        for module in modules:
            self.append(module)

    def append(self, module: Module) -> ModuleList:
        """Add a module at the end."""
        setattr(self, str(len(self)), _checked(module, "ModuleList"))
        return self

    def __iter__(self) -> Iterator[Module]:
        return (m for m in self.__dict__.values() if isinstance(m, Module))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, index: int | slice) -> Any:
        modules = list(self)
        return ModuleList(modules[index]) if isinstance(index, slice) else modules[index]

    def __setitem__(self, index: int, module: Module) -> None:
        place = range(len(self))[index]
        setattr(self, str(place), _checked(module, "ModuleList"))


class ModuleDict(Module):
    """Modules by name; what is to be done with them, a ``forward`` of one's own says.

    Args:
        modules: a dict of modules, whose keys are words.

    Raises:
        TypeError: if one is no module, or its key no text.
        ValueError: if a key is empty, has a dot in it, or is the name of an attribute of modules.

    Example:
        >>> from minidl import nn
        >>> heads = ModuleDict({"age": nn.Linear(8, 1), "kind": nn.Linear(8, 3)})
        >>> "age" in heads, heads["kind"]
        (True, Linear(8, 3))
    """

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        for key, module in (modules or {}).items():
            self[key] = module

    def __setitem__(self, key: str, module: Module) -> None:
        if not isinstance(key, str):
            raise TypeError(f"ModuleDict takes words for keys, not {key!r}")
        if not key or "." in key or hasattr(type(self), key):
            raise ValueError(
                f"ModuleDict: {key!r} cannot be the key of a module, since keys become names in "
                f"the state dict: one letter at least, no dot, and no attribute of modules"
            )
        setattr(self, key, _checked(module, "ModuleDict"))

    def __getitem__(self, key: str) -> Module:
        try:
            return dict(self.items())[key]
        except KeyError:
            raise KeyError(f"ModuleDict has {', '.join(self) or 'no modules'}, not {key}") from None

    def keys(self) -> list[str]:
        """The names, in the order in which the modules were set."""
        return [key for key, _ in self.items()]

    def values(self) -> list[Module]:
        """The modules."""
        return [module for _, module in self.items()]

    def items(self) -> list[tuple[str, Module]]:
        """Names and modules."""
        return [(key, m) for key, m in self.__dict__.items() if isinstance(m, Module)]

    def __contains__(self, key: object) -> bool:
        return key in self.keys()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())


def _checked(module: Any, whose: str) -> Module:
    if not isinstance(module, Module):
        hint = f": put brackets behind it, {module.__name__}(...)" if type(module) is type else ""
        raise TypeError(f"{whose} takes modules, not a {type(module).__name__}{hint}")
    return module
