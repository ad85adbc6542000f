"""A headless Chromium for tests that look at pages the way a person does.

`page` is a Playwright page; `page_log` holds what went wrong in it and what it asked the network for;
`serve` serves a folder on 127.0.0.1; `screenshot` keeps a picture under build/screenshots.
"""

import contextlib
import functools
import http.server
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
SYSTEM_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass
class PageLog:
    """What a page did: console errors and uncaught exceptions, failed and all requests (URLs)."""

    errors: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        system = next(filter(None, map(shutil.which, SYSTEM_BROWSERS)), None)
        if system is None and not Path(playwright.chromium.executable_path).exists():
            reason = "no Chromium: run scripts/ensure_chromium.sh"
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
        chromium = playwright.chromium.launch(executable_path=system, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture
def page_log() -> PageLog:
    return PageLog()


@pytest.fixture
def page(browser: Browser, page_log: PageLog) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1600, "height": 1000})
    page = context.new_page()
    page.on("pageerror", lambda error: page_log.errors.append(str(error)))
    page.on("console", lambda line: line.type == "error" and page_log.errors.append(line.text))
    page.on("request", lambda request: page_log.requests.append(request.url))
    page.on("requestfailed", lambda request: page_log.failed.append(request.url))
    yield page
    context.close()


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """The test's output is no place for an access log."""


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """Serve a folder until the test ends; gives its URL, which ends with a slash."""
    with contextlib.ExitStack() as servers:

        def start(folder: Path) -> str:
            handler = functools.partial(_QuietHandler, directory=str(folder))
            server = servers.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
            servers.callback(server.shutdown)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            return f"http://127.0.0.1:{server.server_port}/"

        yield start


@pytest.fixture
def screenshot(page: Page, request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """Keep a picture of the page as build/screenshots/<test>-<name>.png and give its path."""

    def take(name: str, full_page: bool = False) -> Path:
        path = ROOT / "build" / "screenshots" / f"{request.node.name}-{name}.png"
        page.screenshot(path=path, full_page=full_page)
        return path

    return take
