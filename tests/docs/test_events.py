"""The pages about events do what they say: their snippets are written to files and run, over the fake API."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from origin_sdk._process.clock import SystemClock
from origin_sdk.testing import FakeKV, assert_purged
from scripts.runtime.paths import ROOT

_SNIPPET = re.compile(r"^```python\n# (\S+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = {
    "fastapi": ["product-17", "category-tea"],
    "django": ["product-17", "category-tea", "category-new", "products"],
    "flask": ["product-17", "product-18", "price-list", "from-elsewhere"],
}


@pytest.mark.parametrize("page", PAGES)
def test_the_snippets_of_a_page_run_and_purge(page: str, tmp_path: Path) -> None:
    text = (ROOT / "docs" / f"events-{page}.md").read_text(encoding="utf-8")
    snippets = dict(_SNIPPET.findall(text))
    assert len(snippets) == text.count("```python")
    for name, code in snippets.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(code, encoding="utf-8")

    fake = FakeKV(clock=SystemClock())
    with fake.serve() as url:
        environment = {
            **os.environ,
            "CLOUDFLARE_API_BASE_URL": url,
            "EDGE_CACHE_NAMESPACE_ID": fake.namespace_id,
        }
        done = subprocess.run(
            [sys.executable, "-W", "error", "-W", "ignore:Using `httpx`", "check.py"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    assert (done.returncode, done.stderr) == (0, "")
    for group in PAGES[page]:
        assert_purged(fake, group=group)
