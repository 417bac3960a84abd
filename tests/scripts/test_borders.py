"""The borders between the rooms are kept, and would be seen if they were not."""

from __future__ import annotations

import pytest

from scripts import borders


@pytest.mark.parametrize(
    ("path", "line", "allowed"),
    [
        pytest.param("worker/origin_sdk_wire/key.py", "import re", True, id="the standard library is free"),
        pytest.param(
            "worker/origin_sdk_wire/key.py", "import httpx", False, id="the wire needs nothing else"
        ),
        pytest.param("worker/origin_sdk_wire/key.py", "import js", False, id="the wire knows no runtime"),
        pytest.param(
            "worker/origin_sdk_edge/policy/vary.py",
            "from origin_sdk_wire import key",
            True,
            id="policy: the wire",
        ),
        pytest.param(
            "worker/origin_sdk_edge/policy/vary.py",
            "import origin_sdk_edge.ports",
            False,
            id="policy: no ports",
        ),
        pytest.param("worker/origin_sdk_edge/policy/vary.py", "import js", False, id="policy: no runtime"),
        pytest.param(
            "worker/origin_sdk_edge/handler.py", "import origin_sdk_edge.ports", True, id="handler: ports"
        ),
        pytest.param(
            "worker/origin_sdk_edge/handler.py", "from js import fetch", False, id="handler: no runtime"
        ),
        pytest.param(
            "worker/origin_sdk_edge/handler.py",
            "from origin_sdk_edge import adapters",
            False,
            id="handler: no adapters",
        ),
        pytest.param("worker/origin_sdk_edge/adapters/kv.py", "import js", True, id="adapters: the runtime"),
        pytest.param(
            "worker/origin_sdk_edge/adapters/kv.py", "import origin_sdk", False, id="adapters: no SDK"
        ),
        pytest.param(
            "worker/entry.py", "from origin_sdk_edge.adapters import kv", True, id="the entry wires adapters"
        ),
        pytest.param("worker/hooks.py", "import origin_sdk_edge.adapters.kv", False, id="hooks: no adapters"),
        pytest.param("origin_sdk/_cloudflare/kv.py", "import httpx", True, id="the SDK may use packages"),
        pytest.param(
            "origin_sdk/_cloudflare/kv.py",
            "from origin_sdk_wire.key import Target",
            True,
            id="the SDK: the wire",
        ),
        pytest.param(
            "origin_sdk/_cloudflare/kv.py", "import origin_sdk_edge", False, id="the SDK: not the edge"
        ),
        pytest.param("origin_sdk/layers/rules/claims.py", "import enum", True, id="rules: pure Python"),
        pytest.param("origin_sdk/layers/rules/claims.py", "import threading", False, id="rules: no threads"),
        pytest.param("origin_sdk/layers/rules/claims.py", "import time", False, id="rules: no clock"),
        pytest.param("origin_sdk/layers/rules/claims.py", "import asyncio", False, id="rules: no event loop"),
        pytest.param("origin_sdk/layers/rules/claims.py", "import redis", False, id="rules: no redis"),
        pytest.param(
            "origin_sdk/layers/rules/claims.py",
            "from origin_sdk.layers.redis import client",
            False,
            id="rules: nothing that imports redis",
        ),
        pytest.param(
            "origin_sdk/layers/rules/claims.py",
            "from origin_sdk.layers.redis.link import Link",
            True,
            id="rules: what is known of Redis",
        ),
        pytest.param(
            "origin_sdk/layers/values/keys.py",
            "from origin_sdk.layers.rules import loads",
            False,
            id="values: no rules",
        ),
        pytest.param(
            "origin_sdk/layers/process/memory.py",
            "from origin_sdk.layers.redis.link import Link",
            False,
            id="process: no Redis",
        ),
    ],
)
def test_what_a_room_may_import(path: str, line: str, *, allowed: bool) -> None:
    assert (list(borders.violations(path, f"{line}\n")) == []) is allowed


def test_an_import_inside_a_function_counts() -> None:
    found = list(
        borders.violations(
            "origin_sdk/_cloudflare/kv.py", "def f():\n    from origin_sdk_edge import ports\n"
        )
    )

    assert found == ["origin_sdk/_cloudflare/kv.py:2: origin_sdk_edge.ports may not be imported here"]


def test_a_circle_of_imports_is_found() -> None:
    sources = {
        "room/__init__.py": "",
        "room/one.py": "from room.two import Two\n",
        "room/two.py": "def f():\n    from room import one\n",
        "room/three.py": "import room.one\n",
    }

    assert list(borders.circles(sources)) == ["imports run in a circle: room.one → room.two → room.one"]
    assert list(borders.circles(sources | {"room/two.py": ""})) == []


def test_the_tree_keeps_its_borders() -> None:
    assert borders.main() == 0
