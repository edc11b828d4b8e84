"""What mkdocs has to be told so that links lead to the same place in the site as in a clone.

Pages of docs/ link to files beside it: ``../minidl/autograd.py``, ``../README.md``. Whatever is
linked so becomes a page of the site under ``source/``, code as code, and the links are turned
there. The pages in HTML that the examples hold are copied as they are.
"""

from __future__ import annotations

import html
import posixpath
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(!?\[[^\]]*\]\()(?!\w+:|#|/)([^)#\s]+)(#[^)\s]*)?(?=\))")
FENCED = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)


def target(page: str, link: str) -> str:
    """What a link of a page leads to; both are paths from the top of the repository."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), link))


def in_site(path: str) -> str:
    """Where a file of the repository is in the site's sources."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    as_it_is = path.endswith((".md", ".html")) or not (ROOT / path).exists()
    return f"source/{path}" if as_it_is else f"source/{path}.md"


def turned(page: str, text: str) -> str:
    """The text of a page of the repository with its links as they are in the site."""
    here = posixpath.dirname(in_site(page)) or "."

    def turn(match: re.Match[str]) -> str:
        begins, link, anchor = match.groups()
        return f"{begins}{posixpath.relpath(in_site(target(page, link)), here)}{anchor or ''}"

    parts = FENCED.split(text)  # code is left as it is
    parts[::2] = [LINK.sub(turn, part) for part in parts[::2]]
    return "".join(parts)


def links(page: str, text: str) -> list[str]:
    """The files of the repository that a page links to."""
    prose = "".join(FENCED.split(text)[::2])
    return [target(page, match[2]) for match in LINK.finditer(prose)]


def shown(path: str) -> str:
    """A file or a folder of the repository as the text of a page."""
    file = ROOT / path
    if path.endswith(".md"):
        return turned(path, file.read_text(encoding="utf-8"))
    if file.is_dir():
        names = sorted(
            f"{p.name}{'/' * p.is_dir()}" for p in file.iterdir() if p.name[0] not in "._"
        )
        return f"# {path}\n\n" + "\n".join(f"- `{name}`" for name in names) + "\n"
    language = "python" if path.endswith(".py") else "text"
    return f"# {path}\n\n``````{language}\n{file.read_text(encoding='utf-8')}``````\n"


def in_html(path: str) -> str:
    """A page in HTML among the examples; what only lacks its data is filled by its script."""
    script = (ROOT / path).with_suffix(".py")
    if not script.exists():
        return (ROOT / path).read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        subprocess.run([sys.executable, script, "--html", page], check=True, capture_output=True)
        return page.read_text(encoding="utf-8")


def beside() -> list[str]:
    """All files beside docs/ that its pages lead to, and the pages in HTML among the examples."""
    found = dict.fromkeys(
        p.relative_to(ROOT).as_posix() for p in sorted((ROOT / "examples").glob("*.html"))
    )
    todo = [p.relative_to(ROOT).as_posix() for p in sorted((ROOT / "docs").glob("*.md"))]
    for page in todo:  # grows while it is walked
        for path in links(page, (ROOT / page).read_text(encoding="utf-8")):
            if not path.startswith("docs/") and path not in found and (ROOT / path).exists():
                found[path] = None
                todo += [path] if path.endswith(".md") else []
    return list(found)


# --- What mkdocs calls ----------------------------------------------------------------------------


def on_config(config: Any) -> Any:
    """Put the pages in HTML first among those that they belong to, by their titles."""
    helps = next(part for part in config.nav if "Why momentum or BatchNorm helps" in part)
    for path in reversed([path for path in beside() if path.endswith(".html")]):
        title = re.search("<title>(.*?)</title>", (ROOT / path).read_text(encoding="utf-8"))
        name = html.unescape(title[1]) if title else Path(path).stem
        next(iter(helps.values())).insert(0, {name: in_site(path)})
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages for what is beside docs/."""
    from mkdocs.structure.files import File, InclusionLevel

    for path in beside():
        is_html = path.endswith(".html")
        content = in_html(path) if is_html else shown(path)
        file = File.generated(config, in_site(path), content=content)
        if path != "README.md" and not is_html:
            file.inclusion = InclusionLevel.NOT_IN_NAV
        files.append(file)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn the links of the pages of docs/; those of the others are turned already."""
    path = page.file.src_uri
    return markdown if path.startswith("source/") else turned(f"docs/{path}", markdown)
