"""The first API of the page answers what its text says of it."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx

PAGE = (Path(__file__).parents[2] / "docs" / "getting-started.md").read_text(encoding="utf-8")


def test_the_first_api_says_how_long_and_what_it_belongs_to_and_changes() -> None:
    names: dict[str, Any] = {}
    [code] = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    exec(compile(code, "api.py", "exec"), names)  # noqa: S102 - the page's own

    async def ask() -> tuple[httpx.Response, httpx.Response]:
        transport = httpx.ASGITransport(names["app"])
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            first = await client.get("/products")
            await client.put("/prices", json={"lamp": 6})
            return first, await client.get("/products")

    first, second = asyncio.run(ask())
    assert (first.json(), second.json()) == ({"lamp": 5}, {"lamp": 6})
    assert first.headers["cache-control"] == "max-age=60"
    assert first.headers["cache-groups"] == '"products"'
