"""What the SDK's tests share: the API of a running `wrangler dev`, and clients of the fake one."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import cast

import pytest

from origin_sdk import AsyncPurgeClient, Options, PurgeClient, Settings
from origin_sdk._cloudflare.budget import RateBudget
from origin_sdk.testing import FakeKV, ManualClock
from scripts.runtime import snapshot
from scripts.runtime.wrangler import Wrangler


@pytest.fixture(scope="session")
def wrangler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wrangler]:
    with Wrangler(tmp_path_factory.mktemp("sdk"), snapshots=snapshot.deployed()) as running:
        yield running


@pytest.fixture(scope="session")
def local_settings(wrangler: Wrangler) -> Settings:
    """Settings for the API that `wrangler dev` serves over the local KV."""
    base, _, namespace = wrangler.kv_url().partition("/storage/kv/namespaces/")
    return Settings(base_url=base, namespace_id=namespace)


@pytest.fixture
def new_client(fake_kv: FakeKV, kv_clock: ManualClock) -> Callable[..., PurgeClient]:
    """Makes further clients of the fake API, with settings or options of their own."""

    def make(**arguments: object) -> PurgeClient:
        defaults: dict[str, object] = {
            "settings": fake_kv.settings,
            "options": Options(clock=kv_clock, budget=RateBudget()),
            "transport": fake_kv.transport,
        }
        return PurgeClient(**{**defaults, **arguments})  # type: ignore[arg-type]  # a table of arguments

    return make


class Blocking:
    """The asynchronous client with the face of the synchronous one, so that one test speaks for both."""

    def __init__(self, client: AsyncPurgeClient) -> None:
        self.client = client

    def __getattr__(self, name: str) -> object:
        attribute = getattr(self.client, name)
        if inspect.isasyncgenfunction(attribute):
            return lambda *given, **named: asyncio.run(_collected(attribute(*given, **named)))
        if inspect.iscoroutinefunction(attribute):
            return lambda *given, **named: asyncio.run(attribute(*given, **named))
        return attribute


async def _collected(items: AsyncIterator[object]) -> list[object]:
    return [item async for item in items]


@pytest.fixture(params=["sync", "async"])
def client(
    request: pytest.FixtureRequest, purge_client: PurgeClient, async_purge_client: AsyncPurgeClient
) -> PurgeClient:
    """Each of the two clients, over the fake API."""
    return purge_client if request.param == "sync" else cast("PurgeClient", Blocking(async_purge_client))
