"""pytest fixtures: ``kv_clock``, ``fake_kv``, ``purge_client``, ``async_purge_client``.

Installing ``origin-sdk[client]`` is enough; nothing is imported until a fixture is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from origin_sdk import AsyncPurgeClient, PurgeClient
    from origin_sdk.testing import FakeKV, ManualClock

# ruff: noqa: PLC0415 - a plugin is imported by every test run, so it must cost nothing


@pytest.fixture
def kv_clock() -> ManualClock:
    """The clock of the fake API and of the clients: it moves when told to, and when someone waits."""
    from origin_sdk.testing import ManualClock

    return ManualClock()


@pytest.fixture
def fake_kv(kv_clock: ManualClock) -> FakeKV:
    """An empty KV namespace behind a fake of Cloudflare's API."""
    from origin_sdk.testing import FakeKV

    return FakeKV(kv_clock)


@pytest.fixture
def purge_client(fake_kv: FakeKV, kv_clock: ManualClock) -> Iterator[PurgeClient]:
    """A client of ``fake_kv``."""
    from origin_sdk import Options, PurgeClient
    from origin_sdk._cloudflare.budget import RateBudget

    options = Options(clock=kv_clock, budget=RateBudget())
    with PurgeClient(fake_kv.settings, options=options, transport=fake_kv.transport) as client:
        yield client


@pytest.fixture
def async_purge_client(fake_kv: FakeKV, kv_clock: ManualClock) -> AsyncPurgeClient:
    """An asynchronous client of ``fake_kv``. Its transport holds nothing open."""
    from origin_sdk import AsyncPurgeClient, Options
    from origin_sdk._cloudflare.budget import RateBudget

    options = Options(clock=kv_clock, budget=RateBudget())
    return AsyncPurgeClient(fake_kv.settings, options=options, transport=fake_kv.transport)


__all__ = ["async_purge_client", "fake_kv", "kv_clock", "purge_client"]
