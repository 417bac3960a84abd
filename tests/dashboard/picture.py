"""Draw the picture of the dashboard that the documentation shows: the shop of the tests on an ordinary day.

usage: python -m tests.dashboard.picture docs/dashboard.png
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from origin_sdk.dashboard.observatory import Observatory
from origin_sdk.testing import ManualClock
from tests.dashboard.conftest import served
from tests.dashboard.worlds import Made, shop_step

_NOW = 1_795_903_000.0
"""An evening, an hour after the outage."""
_WIDTH, _HEIGHT = 1200, 700


def main(file: Path) -> None:
    """Write the picture."""
    watched = Observatory(ManualClock(_NOW), [Made(shop_step)])
    with served(watched) as url, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        page = chromium.new_page(viewport={"width": _WIDTH, "height": _HEIGHT}, color_scheme="light")
        page.goto(f"{url}/#range=24h")
        page.wait_for_selector("#rules tbody tr", timeout=60_000)
        page.wait_for_timeout(1000)
        page.screenshot(path=file)
        chromium.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
