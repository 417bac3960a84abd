"""What the SDK's tests share: the API of a running `wrangler dev`, and clients of the fake one."""

from collections.abc import Callable, Iterator

import pytest

from origin_sdk import Options, PurgeClient, Settings
from origin_sdk.budget import RateBudget
from origin_sdk.exchange import Exchange
from origin_sdk.skew import Skew
from origin_sdk.testing import FakeKV, ManualClock
from scripts.runtime.wrangler import Wrangler

NewExchange = Callable[[], Exchange]


@pytest.fixture(scope="session")
def wrangler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wrangler]:
    with Wrangler(tmp_path_factory.mktemp("sdk")) as running:
        yield running


@pytest.fixture(scope="session")
def local_settings(wrangler: Wrangler) -> Settings:
    """Settings for the API that `wrangler dev` serves over the local KV."""
    base, _, namespace = wrangler.kv_url().partition("/storage/kv/namespaces/")
    return Settings(base_url=base, namespace_id=namespace)


@pytest.fixture
def local_client(local_settings: Settings) -> Iterator[PurgeClient]:
    with PurgeClient(local_settings) as client:
        yield client


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


@pytest.fixture
def new_exchange(kv_clock: ManualClock) -> NewExchange:
    return lambda: Exchange(kv_clock, RateBudget.unlimited(), Skew())
