"""The docs run: every Python block of README and docs, and every example in a docstring.

A ``python`` block that is followed by a ``text`` block must print what stands there; numbers with a
decimal point may differ by two percent, since processors differ. The blocks of one file share their
names, as a reader would type them in one session. A block with ``>>>`` runs as a doctest.
"""

import ast
import contextlib
import doctest
import importlib
import io
import pkgutil
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from programs import ROOT, run_python

import minidl

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MODULES = ["minidl"] + [
    m.name
    for m in pkgutil.walk_packages(minidl.__path__, "minidl.")
    if not m.name.endswith("__main__")
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"-?\d+\.\d+(?:e[+-]?\d+)?")


def blocks(page):
    """The code blocks of a page: its Python, and what it must print if that is stated."""
    found = [(m.group(1), m.group(2), m.start(), m.end()) for m in FENCE.finditer(page.read_text())]
    text = page.read_text()
    for i, (kind, code, _, end) in enumerate(found):
        if kind == "python":
            line = text[:end].count("\n") + 1
            follows = found[i + 1] if i + 1 < len(found) else None
            near = follows and follows[0] == "text" and not text[end : follows[2]].strip()
            yield line, code, follows[1] if near else None


EXTRAS = {"first-model.md": "pandas"}


@pytest.mark.parametrize("page", PAGES, ids=[p.name for p in PAGES])
def test_python_blocks_print_what_they_say(page, tmp_path, monkeypatch):
    if page.name in EXTRAS:
        pytest.importorskip(EXTRAS[page.name], reason="the page reads a table with it")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for line, code, expected in blocks(page):
        if ">>>" in code:
            test = doctest.DocTestParser().get_doctest(code, names, page.name, page.name, line)
            out = io.StringIO()
            runner.run(test, out=out.write, clear_globs=False)
            assert runner.failures == 0, out.getvalue()
            names.update(test.globs)
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, f"{page.name}:{line}", "exec"), names)
        if expected is not None:
            assert_alike(printed.getvalue(), expected)


def assert_alike(printed, expected):
    assert NUMBER.sub("#", printed).split() == NUMBER.sub("#", expected).split(), printed
    for a, b in zip(NUMBER.findall(printed), NUMBER.findall(expected), strict=True):
        assert np.isclose(float(a), float(b), rtol=0.02, atol=1e-6), printed


# --- The course on autograd -----------------------------------------------------------------------

COURSE = ROOT / "docs" / "autograd.md"
SECTIONS = re.split(r"^## ", COURSE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
ANSWER = re.compile(
    r'^<details markdown="1">\n<summary>Answer</summary>\n\n(.*?)^</details>$', re.M | re.S
)


@pytest.mark.parametrize("section", SECTIONS, ids=[s.splitlines()[0] for s in SECTIONS])
def test_each_section_of_the_course_ends_with_an_exercise_whose_answer_runs(section):
    question = section.index("**Try it.**")
    answers = ANSWER.findall(section[question:])
    assert len(answers) == section.count("<details") == section.count("**Try it.**") == 1
    assert section.rstrip().endswith("</details>")
    code = [m[2] for m in FENCE.finditer(answers[0]) if m[1] == "python"]
    stated = {code for _, code, expected in blocks(COURSE) if expected is not None}
    assert len(code) == 1
    assert code[0] in stated  # as test_python_blocks_print_what_they_say runs it


def test_the_engine_of_the_course_has_less_than_a_hundred_lines():
    """What stands at the end under these names, as the page builds it up, without blank lines."""
    names = (
        "clock TABLE vjp Node Tensor leaf recording apply summed_to oldest_first walk no_grad grad"
    )
    last = {}
    for _, code, _ in blocks(COURSE):
        for node in ast.parse(code).body:
            target = node.targets[0] if isinstance(node, ast.Assign) else node
            last[getattr(target, "name", getattr(target, "id", None))] = ast.get_source_segment(
                code, node
            )
    code = "\n".join(last[name] for name in names.split())
    lines = [line for line in code.splitlines() if line.strip()]
    rules = 6  # of add, multiply, exp, tanh, matmul and softplus
    assert 80 <= len(lines) + rules < 100


def test_the_graph_of_the_course_is_what_draw_makes_of_it():
    w, b = (minidl.Tensor(v, requires_grad=True) for v in (2.0, -1.0))
    guess = w * 3.0 + b
    error = guess - 4.0
    loss = error * error
    figure = (ROOT / "docs" / "figures" / "autograd_graph.svg").read_text(encoding="utf-8")
    assert figure == minidl.draw(loss).svg


# --- Docstrings -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    if name.startswith("minidl.estimators"):
        pytest.importorskip("sklearn", reason="pip install -e '.[sklearn]'")
    module = importlib.import_module(name)
    result = doctest.testmod(module)
    assert result.failed == 0


def test_every_public_name_has_a_docstring():
    bare = []
    for package in (minidl, minidl.nn, minidl.optim, minidl.data, minidl.functional):
        for name in package.__all__:
            thing = getattr(package, name)
            if callable(thing) and not (thing.__doc__ or "").strip():
                bare.append(f"{package.__name__}.{name}")
    assert bare == []


@pytest.mark.parametrize("page", PAGES, ids=[p.name for p in PAGES])
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\((?!http|#|mailto)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_page_is_in_the_lists_of_the_docs_and_of_the_site():
    pages = {page.name for page in PAGES[1:]} - {"README.md"}
    for listed, mark in ((ROOT / "docs" / "README.md", r"\]\(([\w-]+\.md)[)#]"),
                         (ROOT / "docs" / "site" / "mkdocs.yml", r": ([\w-]+\.md)$")):  # fmt: skip
        found = re.findall(mark, listed.read_text(encoding="utf-8"), re.MULTILINE)
        assert set(found) - {"README.md"} == pages, listed


def test_the_site_turns_links_to_what_is_beside_the_docs():
    hooks = runpy.run_path(str(ROOT / "docs" / "site" / "hooks.py"))
    for page, text, expected in [
        ("docs/tour.md", "[a](optimizers.md#x)", "[a](optimizers.md#x)"),
        ("docs/tour.md", "[a\nb](../minidl/autograd.py)", "[a\nb](source/minidl/autograd.py.md)"),
        ("docs/tour.md", "[a](../README.md#two-commands)", "[a](source/README.md#two-commands)"),
        ("docs/tour.md", "[a](../tests)", "[a](source/tests.md)"),
        ("docs/tour.md", "[a](../examples/x.html#C1)", "[a](source/examples/x.html#C1)"),
        ("README.md", "[a](docs/tour.md), ![b](docs/figures/c.svg)",
         "[a](../tour.md), ![b](../figures/c.svg)"),
        ("docs/tour.md", "[a](https://example.org/b.md)", "[a](https://example.org/b.md)"),
        ("docs/tour.md", "[a](#b)\n```\n[a](../b.py)\n```\n", "[a](#b)\n```\n[a](../b.py)\n```\n"),
    ]:  # fmt: skip
        assert hooks["turned"](page, text) == expected
    beside = hooks["beside"]()
    assert {"README.md", "examples/laboratory.html", "minidl/functional/norm.py"} <= set(beside)
    assert not any(path.startswith("docs/") for path in beside)


def test_the_folder_that_holds_the_clone_finds_the_package_too(tmp_path):
    (tmp_path / "minidl").mkdir()  # as the clone: a folder of this name, itself no package
    code = "import minidl; minidl.seed(0); print(minidl.__file__)"
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (found.returncode, found.stderr) == (0, "")
    assert Path(found.stdout.strip()).samefile(minidl.__file__)


def test_the_tests_pass_where_pytest_may_not_write(tmp_path):
    (tmp_path / "file").touch()
    one = "tests/test_docs.py::test_every_public_name_has_a_docstring"
    cache = tmp_path / "file" / "cache"  # cannot be made, as in a checkout that may only be read
    done = run_python("-m", "pytest", "-q", one, "-o", f"cache_dir={cache}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PytestCacheWarning" in done.stdout
