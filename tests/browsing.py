"""Pages in a real, headless Chromium; tests that import this are skipped where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("no Chromium on this machine: apt-get install chromium", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")


@contextmanager
def launched(*arguments: str) -> Iterator[Any]:
    """A browser, also as root in a container."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *arguments])
        yield browser
        browser.close()


@contextmanager
def watched(
    browser: Any,
    path: Path,
    viewport: dict[str, int],
    *,
    not_ours: Sequence[str] = (),
    within: tuple[str, ...] = ("data:",),
    **options: Any,
) -> Iterator[Any]:
    """A page; at the end it has complained about nothing and asked for nothing but the file.

    Args:
        browser: From `launched`.
        path: Of the page.
        viewport: Its width and height.
        not_ours: What complaints of the browser itself hold.
        within: How addresses begin that lie in the page.
        options: Of playwright's context.
    """
    context = browser.new_context(viewport=viewport, **options)
    page = context.new_page()
    page.set_default_timeout(120_000)
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    yield page
    assert [text for text in complaints if not any(known in text for known in not_ours)] == []
    assert [url for url in requests if not url.startswith(within)] == [path.as_uri()]
    context.close()
