"""The borders between the rooms are kept, and would be seen if they were not."""

from __future__ import annotations

import pytest

from scripts import borders


@pytest.mark.parametrize(
    ("path", "line", "allowed"),
    [
        pytest.param("worker/cachewire/key.py", "import re", True, id="the standard library is free"),
        pytest.param("worker/cachewire/key.py", "import httpx", False, id="the wire needs nothing else"),
        pytest.param("worker/cachewire/key.py", "import js", False, id="the wire knows no runtime"),
        pytest.param(
            "worker/edgecache/policy/vary.py", "from cachewire import key", True, id="policy: the wire"
        ),
        pytest.param(
            "worker/edgecache/policy/vary.py", "import edgecache.ports", False, id="policy: no ports"
        ),
        pytest.param("worker/edgecache/policy/vary.py", "import js", False, id="policy: no runtime"),
        pytest.param("worker/edgecache/handler.py", "import edgecache.ports", True, id="handler: ports"),
        pytest.param("worker/edgecache/handler.py", "from js import fetch", False, id="handler: no runtime"),
        pytest.param(
            "worker/edgecache/handler.py", "from edgecache import adapters", False, id="handler: no adapters"
        ),
        pytest.param("worker/edgecache/adapters/kv.py", "import js", True, id="adapters: the runtime"),
        pytest.param("worker/edgecache/adapters/kv.py", "import origin_sdk", False, id="adapters: no SDK"),
        pytest.param(
            "worker/entry.py", "from edgecache.adapters import kv", True, id="the entry wires adapters"
        ),
        pytest.param("worker/hooks.py", "import edgecache.adapters.kv", False, id="hooks: no adapters"),
        pytest.param("origin_sdk/kv.py", "import httpx", True, id="the SDK may use packages"),
        pytest.param("origin_sdk/kv.py", "from cachewire.key import Target", True, id="the SDK: the wire"),
        pytest.param("origin_sdk/kv.py", "import edgecache", False, id="the SDK: not the edge"),
    ],
)
def test_what_a_room_may_import(path: str, line: str, *, allowed: bool) -> None:
    assert (list(borders.violations(path, f"{line}\n")) == []) is allowed


def test_an_import_inside_a_function_counts() -> None:
    found = list(borders.violations("origin_sdk/kv.py", "def f():\n    from edgecache import ports\n"))

    assert found == ["origin_sdk/kv.py:2: edgecache.ports may not be imported here"]


def test_the_tree_keeps_its_borders() -> None:
    assert borders.main() == 0
