"""SIGKILL at random points, and Cloudflare's API on a bad day. `scripts/crash` kills 300 times."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from scripts.runtime.crash import run


@pytest.mark.timeout(120)
@pytest.mark.parametrize("is_forked", [False, True], ids=["one process", "a server that forks workers"])
def test_every_committed_change_is_purged_and_no_other(engine: Engine, is_forked: bool) -> None:
    url = engine.url.render_as_string(hide_password=False)

    outcome = run(url, kills=20, is_forked=is_forked)

    assert outcome.is_good, outcome
    assert outcome.committed > 20
    assert outcome.receipts > 0
    assert {
        "throttled",
        "failed",
        "partly",
        "late",
        "dropped before",
        "dropped after",
    } <= outcome.faults.keys()
