"""The house: what a learner must read is short and stated, and its rooms stand in an order.

A room is a package of minidl, or a module beside the packages. What one room takes from another has
a public name; no module needs itself; and imports stand at the top, where they are seen.
"""

import ast
import graphlib
import re

import pytest
from programs import ROOT, TESTS, printed_by

LIMIT = 2_000  # lines
# Imports that wait until they are needed: the writer of programs, which takes longer to import than
# all else, the bars of notebooks, the one function of optimizers that trains, what is for tables.
LATE = {"minidl.compile.step", "tqdm.autonotebook", "minidl.training.lr_range"}
LATE |= {"minidl.data.encoder", "minidl.data.reading"}


def dotted(path):
    """The name of the module in a file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {dotted(p): ast.parse(p.read_text()) for p in sorted((ROOT / "minidl").rglob("*.py"))}


# --- The path -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured():
    """What path.py prints, by a process that nothing else has warmed."""
    return printed_by(TESTS / "laboratory" / "path.py")


@pytest.fixture(scope="module")
def path(measured):
    """The lines to read and the files they are in."""
    return re.search(r"^The path to read: ([\d,]+ lines in \d+ files)$", measured, re.MULTILINE)[1]


def test_the_path_to_read_is_short(path):
    assert int(path.split()[0].replace(",", "")) <= LIMIT


def test_the_readme_states_how_long_the_path_is(path):
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert re.findall(r"[\d,]+ lines in \d+ files", text) == [path]


def test_the_tour_leads_through_the_files_of_the_path_and_no_others(measured):
    on_path = re.findall(r"^(\S+\.py) ", measured, re.MULTILINE)
    tour = (ROOT / "docs" / "tour.md").read_text(encoding="utf-8")
    stops = re.search(r"^stops = \{.*?^\}", tour, re.MULTILINE | re.DOTALL)[0]
    assert sorted(re.findall(r"[\w/]+\.py", stops)) == sorted(on_path)


# --- The rooms ------------------------------------------------------------------------------------


def room(module):
    return ".".join(module.split(".")[:2])


def statements(tree):
    """All nodes of a module but those that only a type checker reads."""
    if isinstance(tree, ast.If) and ast.unparse(tree.test).endswith("TYPE_CHECKING"):
        return
    yield tree
    for child in ast.iter_child_nodes(tree):
        yield from statements(child)


def imported(node):
    """What an import brings: the module, the name taken from it or None, and its name here."""
    if isinstance(node, ast.Import):
        for alias in node.names:  # ``import a.b`` makes ``a`` known
            yield alias.name, None, alias.asname or alias.name.split(".")[0]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{ast.unparse(node)}: write the whole name of the module"
        for alias in node.names:
            whole = f"{node.module}.{alias.name}"
            is_module = whole in MODULES
            module, name = (whole, None) if is_module else (node.module, alias.name)
            yield module, name, alias.asname or alias.name


def late_imports(name):
    """The imports in the functions of a module."""
    for function in ast.walk(MODULES[name]):
        if isinstance(function, ast.FunctionDef):
            yield from (n for n in ast.walk(function) if isinstance(n, ast.Import | ast.ImportFrom))


def needs(name):
    """The modules of minidl that must be there before this one is; with ``a.b.c`` also ``a.b``."""
    late = set(late_imports(name))
    for node in statements(MODULES[name]):
        for module, _, _ in imported(node) if node not in late else ():
            parts = module.split(".")
            for i in range(2, len(parts) + 1):
                package = ".".join(parts[:i])
                if package in MODULES and not f"{name}.".startswith(f"{package}."):
                    yield package
            if module == "minidl":
                yield module


def test_no_module_needs_itself():
    try:
        graphlib.TopologicalSorter({name: set(needs(name)) for name in MODULES}).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" needs ".join(reversed(error.args[1])))


def is_private(name):
    return any(part.startswith("_") and not part.endswith("__") for part in name.split("."))


def private_names_from_elsewhere(name):
    """The private names that a module takes from other rooms, with the line in which it does."""
    known = {}  # the modules of minidl that have a name here
    for node in ast.walk(MODULES[name]):
        for module, taken, here in imported(node):
            if module.split(".")[0] != "minidl":
                continue
            whole = f"{module}.{taken}" if taken else module
            if is_private(whole) and room(module) != room(name):
                yield f"{name}, line {node.lineno}: {whole}"
            if taken is None:
                is_top = isinstance(node, ast.Import) and here == "minidl"
                known[here] = "minidl" if is_top else module
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            first, _, rest = ast.unparse(node.value).partition(".")
            module = f"{known.get(first, '')}.{rest}".strip(".")
            if module in MODULES and room(module) != room(name):
                yield f"{name}, line {node.lineno}: {module}.{node.attr}"


def test_no_private_name_crosses_a_room():
    assert [found for name in MODULES for found in private_names_from_elsewhere(name)] == []


def test_imports_stand_at_the_top_but_for_those_that_must_wait():
    late = [module for name in MODULES for n in late_imports(name) for module, _, _ in imported(n)]
    assert set(late) == LATE
