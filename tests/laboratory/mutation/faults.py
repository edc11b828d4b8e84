"""The list of faults in ``faults.txt``: how it is read, and how a fault is planted.

A section begins with the file (in minidl) and the files of tests that should notice its faults::

    == autograd.py  test_autograd.py

A fault is its title, the old text and the new one, and an empty line. The title may be followed by
other files of tests, in brackets; a line with a question mark explains why no test can notice::

    a second backward overwrites  [test_autograd.py test_optimizer.py]
    - self.grad += g
    + self.grad = np.asarray(g)

The old text stands once in its file. It is as short as can be, and line breaks, indentation and
comments do not count, so that the list outlives changes around it. The new text is put in as it
stands; its lines after the first bring their indentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

LIST = Path(__file__).with_name("faults.txt")


class ListError(Exception):
    """The list of faults does not fit the library, or the tests fail without any fault."""


@dataclass(frozen=True)
class Fault:
    """One fault: ``old`` stands once in ``minidl/<file>`` and becomes ``new``.

    ``tests`` are the files that should notice; ``explained`` says why none can, if that is so.
    """

    file: str
    title: str
    old: str
    new: str
    tests: tuple[str, ...]
    explained: str = ""

    drawn: ClassVar[bool] = False
    shown: ClassVar[str] = ""  # what a report says beside the name

    @property
    def name(self) -> str:
        return f"{self.file}: {self.title}"

    def planted(self, source: str) -> str:
        """The source of the file with the fault in it."""
        where = f"minidl/{self.file}: cannot plant {self.title!r}"
        places = list(pattern(self.old).finditer(source))
        if len(places) != 1:
            raise ListError(
                f"{where}: its old text stands {len(places)} times in the file, and must stand "
                f"once; bring {LIST.name} up to date:\n{self.old}"
            )
        changed = source[: places[0].start()] + self.new + source[places[0].end() :]
        try:
            compile(changed, self.file, "exec")
        except SyntaxError as error:
            raise ListError(f"{where}: what comes out is no Python, {error}") from None
        return changed


def pattern(text: str) -> re.Pattern[str]:
    """What finds ``text`` however a formatter lays it out, and nothing else.

    Between two words or signs there may be any space and comments, or none, and a comma may follow
    the last item before a closing bracket.
    """
    space = r"(?:\s|#[^\n]*\n)"
    tokens = re.findall(r"\w+|[^\w\s]", text)
    found = [r"(?<!\w)" if re.match(r"\w", tokens[0]) else ""]
    for before, token in zip(["", *tokens], tokens, strict=False):
        if re.match(r"\w", before) and re.match(r"\w", token):
            found.append(f"{space}+")
        elif before:
            found.append(f"{',?' * (token in ')]}')}{space}*")
        found.append(re.escape(token))
    return re.compile("".join(found) + (r"(?!\w)" if re.match(r"\w", tokens[-1]) else ""))


def read(path: Path = LIST) -> list[Fault]:
    """All faults of the list, in its order."""
    faults: list[Fault] = []
    file, default = "", ()
    for number, lines in _blocks(path.read_text()):
        head, *body = lines
        if head.startswith("== ") and not body:
            file, *names = head.split()[1:]
            default = tuple(names)
            continue
        title, _, names = head.partition("  [")
        parts = {sign: [x[2:] for x in body if x[:1] == sign] for sign in "-+?"}
        if (
            not file
            or not parts["-"]
            or not parts["+"]
            or sum(map(len, parts.values())) < len(body)
        ):
            raise ListError(f"{path.name}, line {number}: {title!r} is no section and no fault")
        faults.append(
            Fault(
                file,
                title,
                "\n".join(parts["-"]),
                "\n".join(parts["+"]),
                tuple(names.rstrip("]").split()) or default,
                " ".join(parts["?"]),
            )
        )
    return faults


def _blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """What stands between empty lines, with the number of its first line."""
    block: list[str] = []
    for number, line in enumerate([*text.splitlines(), ""], 1):
        if line.strip():
            block.append(line)
        elif block:
            yield number - len(block), block
            block = []
