"""A real browser, and dashboards on free ports for it to look at."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from threading import Thread

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect, sync_playwright

from origin_sdk._process.clock import SystemClock
from origin_sdk.dashboard.holdings import Holdings
from origin_sdk.dashboard.observatory import Observatory
from origin_sdk.dashboard.server import create_app
from origin_sdk.dashboard.sources import Source
from tests.dashboard.worlds import Made, shop_step

_START_SECONDS = 10.0
expect.set_options(timeout=25_000)
"""A bound for a busy machine; what is expected is looked for all the time."""


@contextmanager
def served(observatory: Observatory) -> Iterator[str]:
    """Serve a dashboard on a free port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        config = uvicorn.Config(create_app(observatory, port), log_level="warning", lifespan="off")
        server = uvicorn.Server(config)
        thread = Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(_START_SECONDS)


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Returns the URL of a dashboard over a source, the shop if none is given."""
    with ExitStack() as stack:

        def start(source: Source | None = None, holdings: Holdings | None = None) -> str:
            watched = Observatory(SystemClock(), [source or Made(shop_step)], holdings=holdings)
            return stack.enter_context(served(watched))

        yield start


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, as Debian packages it, for a module: while Playwright runs, no other event loop can.

    Where it is missing, skip on a developer's machine, and only there.
    """
    program = shutil.which("chromium")
    if program is None:
        if os.geteuid() == 0 or "CI" in os.environ:
            pytest.fail("chromium is missing: scripts/install chromium")
        pytest.skip("chromium is missing: scripts/install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that may neither complain nor ask any host but this machine."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    opened = context.new_page()
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    opened.on(
        "request",
        lambda asked: None if asked.url.startswith("http://127.0.0.1:") else faults.append(asked.url),
    )
    yield opened
    context.close()
    assert [fault for fault in faults if "Failed to load resource" not in fault] == []
