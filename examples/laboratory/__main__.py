"""Join the laboratory's files into one page, which needs neither network nor server.

    python examples/laboratory            writes examples/laboratory.html
    python examples/laboratory --check    only says whether it is up to date

The page lets the five rules race over landscapes that you choose, and trains a network before your
eyes; everything it shows, it computes. Open examples/laboratory.html in a browser.
"""

from __future__ import annotations

import argparse
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGE = HERE.with_suffix(".html")
SCRIPTS = (  # in the order in which each needs the ones before
    "rules", "random", "surfaces", "race", "datasets", "network", "controls", "drawing",
    "race-tab", "race-pictures", "theory", "network-tab", "network-pictures", "presets", "app",
)  # fmt: skip


def joined() -> str:
    """Return the page, with its style and its scripts in their places."""
    page = (HERE / "page.html").read_text(encoding="utf-8")
    style = (HERE / "style.css").read_text(encoding="utf-8")
    parts = []
    for name in SCRIPTS:
        text = (HERE / f"{name}.js").read_text(encoding="utf-8")
        parts.append(f"// ---- {name}.js ".ljust(100, "-") + f"\n\n{text}")
    page = page.replace("/* style.css */\n", style)
    return page.replace("/* scripts */\n", '"use strict";\n\n' + "\n".join(parts))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 if stale")
    check = parser.parse_args().check
    current = PAGE.exists() and PAGE.read_text(encoding="utf-8") == joined()
    if check:
        print(f"{PAGE} is {'up to date' if current else 'not what its sources say'}")
        raise SystemExit(not current)
    PAGE.write_text(joined(), encoding="utf-8")
    print(f"page saved to {PAGE}: open it in a browser")


if __name__ == "__main__":
    main()
