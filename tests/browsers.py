"""A real browser for the tests of the pages: the Chromium or Chrome on PATH, led by Playwright."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SCREEN = {
    "viewport": {"width": 1280, "height": 900},
    "color_scheme": "light",
    "reduced_motion": "no-preference",
}


@contextmanager
def launched() -> Iterator[Any]:
    """A browser; without Playwright or without a browser the test is skipped."""
    library = pytest.importorskip("playwright.sync_api", reason="pip install -e '.[dev]'")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("needs Chromium or Chrome on PATH, such as: apt-get install chromium")
    flags = ["--disable-dev-shm-usage", "--disable-gpu"]
    with library.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=flags)
        yield Browser(browser)
        browser.close()


class Browser:
    """A browser and its empty windows of the usual kind, used again: a new one takes its time."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser
        self.empty: list[Any] = []

    def window(self, **options: Any) -> Any:
        if self.empty and not options:
            return self.empty.pop()
        page = self.browser.new_context(**SCREEN | options).new_page()
        page.set_default_timeout(20_000)
        return page

    def leave(self, page: Any, **options: Any) -> None:
        if options:
            page.context.close()
            return
        page.goto("about:blank")
        page.mouse.move(0, 0)
        page.emulate_media(**{k: SCREEN[k] for k in ("color_scheme", "reduced_motion")})
        self.empty.append(page)


@contextmanager
def opener(browser: Browser, address: str, ready: str) -> Iterator[Any]:
    """A function that opens the page anew, with Playwright's options for screen, colors and touch.

    In the end there must have been neither errors nor requests for anything but the page.
    """
    opened: list[tuple[Any, dict[str, Any]]] = []
    errors: list[str] = []
    requests: list[str] = []
    watched = {
        "pageerror": lambda error: errors.append(str(error)),
        "console": lambda said: said.type == "error" and errors.append(said.text),
        "request": lambda request: requests.append(request.url),
    }

    def open_page(fragment: str = "", **options: Any) -> Any:
        page = browser.window(**options)
        opened.append((page, options))
        for event, listener in watched.items():
            page.on(event, listener)
        page.goto(address + fragment)
        page.wait_for_selector(ready, state="attached")
        return page

    yield open_page
    for page, options in opened:
        page.evaluate("0")  # what came before has been told by then
        for event, listener in watched.items():
            page.remove_listener(event, listener)
        browser.leave(page, **options)
    assert not errors
    assert any(url.startswith(address) for url in requests)
    assert all(url.startswith(("file:", "data:")) for url in requests), requests


def drag(page: Any, selector: str, *places: tuple[float, float]) -> None:
    """Drag along places within an element, which are given as shares of its size."""
    page.locator(selector).scroll_into_view_if_needed()
    box = page.locator(selector).bounding_box()
    spots = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in places]
    page.mouse.move(*spots[0])
    page.mouse.down()
    for spot in spots[1:]:
        page.mouse.move(*spot)
    page.mouse.up()


def contrast(page: Any, selector: str) -> float:
    """The contrast of text to what is behind it, as the WCAG reckon it."""
    text, ground = page.evaluate(
        f"(e => {{ const text = getComputedStyle(e).color;"
        f"for (; e; e = e.parentElement) {{ const c = getComputedStyle(e).backgroundColor;"
        f"if (c !== 'rgba(0, 0, 0, 0)') return [text, c] }} }})"
        f"(document.querySelector('{selector}'))"
    )
    levels = []
    for color in (text, ground):
        parts = [float(n) for n in re.findall(r"[\d.]+", color)[:3]]
        parts = parts if color.startswith("color(") else [p / 255 for p in parts]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        levels.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)
    return max(levels) / min(levels)
