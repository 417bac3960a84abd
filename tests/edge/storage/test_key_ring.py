"""API keys in KV: how often it is read for them, and what becomes of a key that ends, or can't be read."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest

from origin_sdk_edge.policy.facts import CheckedToken, RequestFacts
from origin_sdk_edge.ports import StoredValue, StoreError
from origin_sdk_wire.api_keys import ApiKey, key_digest
from origin_sdk_wire.config import load
from origin_sdk_wire.facts import Reason
from origin_sdk_wire.key_entries import KeyEntry, kv_key
from origin_sdk_wire.marks import Lane
from origin_sdk_wire.seals import StoreKey, authenticated
from origin_sdk_wire.settings import Settings
from tests.edge.fakes import START_MS, FakeBackground, FakeEdge, FakeResponse, FakeStore

SECRET, OLD = "a secret of the tests that has thirty-two bytes", "another secret of the tests, of 32 bytes"
STORE_KEY, OTHER_KEY = StoreKey("one", bytes(range(32))), StoreKey("other", bytes(range(1, 33)))
ACME = KeyEntry({"tenant": "acme"}, START_MS - 1000)
SETTINGS = Settings(
    api_keys_in_kv=True, api_key_table_secret=SECRET, api_key_table_old_secret=OLD, memory_bytes=1 << 20
)
SEALED = replace(SETTINGS, store_keys=(STORE_KEY,))
CLAIMS = {"tenant": "acme", "iat": (START_MS - 1000) / 1000}


@dataclass
class ReadStore(FakeStore):
    """A KV that tells what was read of it, and can be down or slow."""

    reads: list[str] = field(default_factory=list)
    is_down: bool = False
    gate: asyncio.Event | None = None
    answers_late: dict[str, StoredValue] | None = None
    """What a read says that waits at the gate."""
    values: dict[str, StoredValue] = field(default_factory=dict)

    async def read(self, key: str) -> StoredValue | None:
        self.reads.append(key)
        if self.gate:
            await self.gate.wait()
            if self.answers_late is not None:
                return self.answers_late.get(key)
        if self.is_down:
            raise StoreError("down")
        return await super().read(key)


class World:
    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.store = ReadStore()
        self.edge = FakeEdge(settings, _unasked, store=self.store)
        keys = self.edge.storage.keys
        assert keys
        self.ring = keys

    def put(self, key: str, entry: KeyEntry = ACME, secret: str = SECRET, by: StoreKey | None = None) -> str:
        place = kv_key(key_digest(key, secret))
        told: Mapping[str, object] = entry.metadata()
        self.store.values[place] = StoredValue(authenticated(by, place, told) if by else told, b"")
        return place

    async def verify(self, key: str) -> CheckedToken:
        """Verify a key; what that begins in the background is done after."""
        background = FakeBackground()
        found = await self.ring.verify(key, background)
        await background.done()
        return found

    async def claims(self, key: str = "k") -> Mapping[str, object] | None:
        return (await self.verify(key)).claims

    def wait(self, seconds: float) -> None:
        self.edge.timing.ms += int(seconds * 1000)

    @property
    def reads(self) -> int:
        count = len(self.store.reads)
        self.store.reads.clear()
        return count


def _unasked(_: RequestFacts) -> FakeResponse:
    raise AssertionError("the origin isn't asked")


async def test_a_key_is_read_once_in_its_lifetime_and_ahead_of_its_end_behind_a_request() -> None:
    world = World()
    world.put("k")

    assert [await world.claims() for _ in range(5)] == [CLAIMS] * 5
    assert world.reads == 1
    world.wait(43)
    assert await world.claims() == CLAIMS
    assert world.reads == 1
    world.wait(41)
    assert await world.claims() == CLAIMS
    assert world.reads == 0


async def test_an_idle_key_is_read_before_it_is_used_again() -> None:
    world = World()
    place = world.put("k")
    assert await world.claims() == CLAIMS
    world.wait(60)
    del world.store.values[place]

    assert await world.claims() is None


async def test_those_who_come_meanwhile_wait_for_one_read() -> None:
    world = World(replace(SETTINGS, api_key_table_old_secret=""))
    world.put("k")
    world.store.gate = asyncio.Event()
    waiting = [asyncio.ensure_future(world.claims()) for _ in range(5)]
    await asyncio.sleep(0)
    world.store.gate.set()

    assert await asyncio.gather(*waiting) == [CLAIMS] * 5
    assert world.reads == 1


@pytest.mark.parametrize(
    ("entry", "refusal"),
    [
        pytest.param(replace(ACME, revoked_ms=START_MS), Reason.REVOKED, id="revoked"),
        pytest.param(KeyEntry({}, START_MS, revoked_ms=START_MS), Reason.REVOKED, id="revoked, of nobody"),
        pytest.param(replace(ACME, ends_ms=START_MS), None, id="over"),
        pytest.param(replace(ACME, begins_ms=START_MS + 1), None, id="not begun"),
        pytest.param(KeyEntry({}, START_MS), None, id="nobody's"),
        pytest.param(KeyEntry({"tenant": [1]}, START_MS), None, id="with a claim that is none"),
        pytest.param(replace(ACME, ends_ms=-1), None, id="with an end that is no moment"),
    ],
)
async def test_a_key_that_is_not_valid_proves_nothing(entry: KeyEntry, refusal: Reason | None) -> None:
    world = World()
    world.put("k", entry)

    assert await world.verify("k") == CheckedToken(None, is_checked=True, refusal=refusal)


async def test_an_end_is_kept_to_the_millisecond_while_a_key_is_remembered() -> None:
    world = World()
    world.put("k", replace(ACME, ends_ms=START_MS + 10_000))
    world.wait(9.999)
    assert await world.claims() == CLAIMS
    world.wait(0.001)

    assert await world.claims() is None
    assert world.reads == 1


async def test_a_revocation_is_seen_when_the_key_is_read_again() -> None:
    world = World()
    world.put("k")
    assert await world.claims() == CLAIMS
    world.put("k", replace(ACME, revoked_ms=START_MS))
    world.wait(60)

    assert (await world.verify("k")).refusal is Reason.REVOKED


@pytest.mark.parametrize("lifetime", [0, 0.2, 1])
@pytest.mark.parametrize("stale", [0, 300])
async def test_a_lifetime_is_kept_however_short(lifetime: float, stale: float) -> None:
    world = World(replace(SETTINGS, api_key_lifetime=lifetime, api_key_stale=stale))
    world.put("k")
    assert await world.claims() == CLAIMS
    world.wait(lifetime)
    assert await world.claims() == CLAIMS
    world.put("k", replace(ACME, revoked_ms=START_MS))
    world.wait(lifetime)

    assert (await world.verify("k")).refusal is Reason.REVOKED


async def test_a_key_is_found_by_the_old_secret_and_asked_for_by_the_new_one_first() -> None:
    world = World()
    world.put("k", secret=OLD)

    assert await world.claims() == CLAIMS
    assert world.store.reads == [kv_key(key_digest("k", secret)) for secret in (SECRET, OLD)]


async def test_a_key_by_another_secret_is_unknown() -> None:
    world = World()
    world.put("k", secret="neither of them, and of thirty-two bytes")  # noqa: S106 - a test's

    assert await world.claims() is None


async def test_the_table_is_asked_first_and_kv_not_at_all() -> None:
    listed = {key_digest("k", SECRET): ApiKey({"tenant": "listed"})}
    world = World(replace(SETTINGS, api_key_table=listed))
    world.put("k")

    assert await world.claims() == {"tenant": "listed"}
    assert world.reads == 0


async def test_what_kv_said_last_is_not_undone_by_a_read_that_began_before() -> None:
    world = World(replace(SETTINGS, api_key_table_old_secret=""))
    world.put("k")
    slow = world.store.gate = asyncio.Event()
    older = asyncio.ensure_future(world.claims())
    await asyncio.sleep(0)
    world.wait(SETTINGS.kv_timeout + 1)
    world.store.gate = None
    world.store.answers_late = world.store.values.copy()
    world.put("k", replace(ACME, revoked_ms=START_MS))
    assert (await world.verify("k")).refusal is Reason.REVOKED
    slow.set()

    assert await older is None
    assert (await world.verify("k")).refusal is Reason.REVOKED


# Keys that nobody knows


@pytest.mark.parametrize(("old", "looked_for"), [("", 100), (OLD, 50)], ids=["one secret", "an old one, too"])
async def test_a_flood_of_unknown_keys_reads_kv_a_bounded_number_of_times(old: str, looked_for: int) -> None:
    world = World(replace(SETTINGS, api_key_table_old_secret=old))
    world.put("good")
    assert await world.claims("good") == CLAIMS
    told = [await world.verify(f"random-{number}") for number in range(5000)]

    assert world.reads == 1 + 100
    unread = 5000 - looked_for
    assert [each.refusal for each in told] == [None] * looked_for + [Reason.KEY_UNREAD] * unread
    assert await world.claims("good") == CLAIMS, "it gave way to none of them"
    world.wait(10)
    for number in range(5000):
        await world.verify(f"more-{number}")
    assert world.reads == 50, "five a second"


async def test_keys_that_kv_knows_take_nothing_of_that() -> None:
    world = World()
    for number in range(500):
        world.put(f"k{number}")

    assert [await world.claims(f"k{number}") for number in range(500)] == [CLAIMS] * 500


async def test_an_unknown_key_is_read_once_in_a_lifetime_and_then_known() -> None:
    world = World(replace(SETTINGS, api_key_table_old_secret=""))
    assert [await world.claims() for _ in range(5)] == [None] * 5
    assert world.reads == 1
    world.put("k")
    world.wait(61)

    assert await world.claims() == CLAIMS


# While KV is down


async def test_what_was_known_is_used_on_for_a_while_and_what_was_not_is_not() -> None:
    world = World(replace(SETTINGS, api_key_stale=300))
    world.put("k")
    world.put("cold")
    assert await world.claims() == CLAIMS
    world.reads  # noqa: B018 - from here on
    world.store.is_down = True
    world.wait(359)
    assert [await world.claims() for _ in range(9)] == [CLAIMS] * 9
    assert world.reads == 1, "it isn't asked again at once"
    assert (await world.verify("cold")).refusal is Reason.KEY_UNREAD
    world.wait(1)

    assert await world.verify("k") == CheckedToken(None, is_checked=True, refusal=Reason.KEY_UNREAD)
    world.store.is_down = False
    world.wait(5)
    assert await world.claims() == CLAIMS


async def test_who_hangs_up_does_not_make_kv_unreadable() -> None:
    """Whose key was revoked could else go on for ``API_KEY_STALE``."""
    world = World(replace(SETTINGS, api_key_table_old_secret=""))
    world.put("k")
    assert await world.claims() == CLAIMS
    world.put("k", replace(ACME, revoked_ms=START_MS))
    world.wait(60)
    world.store.gate = asyncio.Event()
    hanging_up, waiting = (asyncio.ensure_future(world.verify("k")) for _ in range(2))
    await asyncio.sleep(0)
    hanging_up.cancel()
    await asyncio.sleep(0)
    world.store.gate.set()

    assert [(await waiting).refusal, (await world.verify("k")).refusal] == [Reason.KEY_UNREAD, Reason.REVOKED]


async def test_an_end_counts_while_kv_is_down() -> None:
    world = World()
    world.put("k", replace(ACME, ends_ms=START_MS + 100_000))
    assert await world.claims() == CLAIMS
    world.store.is_down = True
    world.wait(100)

    assert await world.claims() is None


# Entries that others wrote


@pytest.mark.parametrize(
    ("by", "place_of"),
    [
        pytest.param(None, "k", id="without a seal"),
        pytest.param(OTHER_KEY, "k", id="by another key"),
        pytest.param(STORE_KEY, "another", id="moved from another digest"),
    ],
)
async def test_with_store_keys_nobody_elses_entry_counts(by: StoreKey | None, place_of: str) -> None:
    world = World(SEALED)
    made = world.store.values.pop(world.put(place_of, by=by))
    world.store.values[kv_key(key_digest("k", SECRET))] = made

    assert await world.claims() is None
    assert [where for where, _ in world.edge.faults] == ["seal"]


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param(None, id="nothing"),
        pytest.param({"claims": {"tenant": "acme"}}, id="no moment"),
        pytest.param({"at": 0, "claims": ["tenant"]}, id="no claims"),
        pytest.param({"at": 0, "claims": {"tenant": None}}, id="a claim that is none"),
        pytest.param({"at": 0, "claims": {}}, id="nobody's"),
    ],
)
async def test_what_is_no_entry_opens_nothing_and_is_told_of_by_its_place(metadata: object) -> None:
    world = World()
    place = kv_key(key_digest("k", SECRET))
    world.store.values[place] = StoredValue(metadata, b"")

    assert (await world.verify("k")).claims is None

    ((where, error),) = world.edge.faults
    assert where == "store"
    assert str(error).startswith(f"{place}: an API key's entry ")
    assert str(error).endswith("; add the key again, or revoke it")


async def test_a_sealed_entry_counts_and_a_changed_one_does_not() -> None:
    world = World(SEALED)
    place = world.put("k", by=STORE_KEY)
    assert await world.claims() == CLAIMS
    made = world.store.values[place].metadata
    assert isinstance(made, dict)
    world.store.values[place] = StoredValue({**made, "claims": {"tenant": "globex"}}, b"")
    world.wait(60)

    assert await world.claims() is None


async def test_a_seal_is_no_use_to_who_lacks_the_keys() -> None:
    world = World()
    world.put("k", by=STORE_KEY)

    assert await world.claims() is None


# In requests


RULE = {
    "path": "/reports/**",
    "data_class": "private",
    "api_key_in": ["X-API-Key", "?api_key"],
    "key_claims": ["tenant"],
    "default_lifetime": "10m",
}


class Requests:
    """A whole Worker, whose origin answers each request otherwise."""

    def __init__(self, **rule: object) -> None:
        variables = {
            "ORIGIN": "https://origin.example",
            "RULES": [{**RULE, **rule}],
            "API_KEYS_IN_KV": True,
            "API_KEY_TABLE_SECRET": SECRET,
            "STORE_KEYS": f"one:{base64.b64encode(STORE_KEY.secret).decode()}",
        }
        self.asked = 0
        self.is_origin_down = False
        self.store = ReadStore()
        self.edge = FakeEdge(load(variables), self._answer, store=self.store)
        for key, tenant in (("a1", "acme"), ("a2", "acme"), ("g", "globex")):
            self.put(key, KeyEntry({"tenant": tenant, "id": key}, START_MS - 60_000))

    def _answer(self, _: RequestFacts) -> FakeResponse:
        if self.is_origin_down:
            return FakeResponse(503, {"content-length": "4"}, b"down")
        self.asked += 1
        body = str(self.asked).encode()
        return FakeResponse(
            200, {"cache-control": "private, max-age=600", "content-length": str(len(body))}, body
        )

    def put(self, key: str, entry: KeyEntry) -> None:
        place = kv_key(key_digest(key, SECRET))
        self.store.values[place] = StoredValue(authenticated(STORE_KEY, place, entry.metadata()), b"")

    async def get(self, key: str = "", query: str = "", host: str = "api.example") -> tuple[bytes, str]:
        """Return the body, and how the cache says that it came about."""
        fields = {"x-api-key": key} if key else {}
        served = await self.edge.full("GET", f"https://{host}/reports/1{query}", fields)
        status = served.response.fields["cache-status"]
        return served.response.body, status.rpartition("detail=")[2] if "hit" not in status else "hit"


async def test_keys_of_a_tenant_share_what_is_stored_wherever_they_stand() -> None:
    requests = Requests()
    first, _ = await requests.get("a1")

    assert await requests.get("a2") == (first, "hit")
    assert await requests.get(query="?api_key=a2") == (first, "hit")
    assert (await requests.get("g"))[0] != first
    assert (await requests.get("a1", host="other.example"))[0] != first
    assert await requests.get("a1", query="?api_key=a2") == (b"4", "identity-missing")
    assert await requests.get("nobody") == (b"5", "identity-missing")


async def test_who_was_revoked_by_entry_or_by_purge_gets_nothing_that_is_stored() -> None:
    requests = Requests(revoked_by="key-{id}")
    assert [(await requests.get(key))[0] for key in ("a1", "a2")] == [b"1", b"1"]

    requests.put("a1", KeyEntry({"tenant": "acme", "id": "a1"}, START_MS, revoked_ms=START_MS))
    requests.edge.timing.ms += 61_000
    assert await requests.get("a1") == (b"2", "revoked")
    assert await requests.get("a2") == (b"1", "hit")
    requests.edge.storage.marks.mark_here(["group/key-a2"], Lane.SOFT, requests.edge.timing.ms)
    assert await requests.get("a2") == (b"3", "revoked")


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        pytest.param(replace(ACME, revoked_ms=START_MS), "revoked", id="revoked"),
        pytest.param(replace(ACME, ends_ms=START_MS + 1), "identity-missing", id="over"),
        pytest.param(KeyEntry({}, START_MS), "identity-missing", id="nobody's"),
    ],
)
@pytest.mark.parametrize("seconds", [61, 601], ids=["fresh", "stale"])
async def test_what_stands_in_for_an_origin_that_is_down_is_not_for_whose_key_is_over(
    entry: KeyEntry, said: str, seconds: int
) -> None:
    requests = Requests(stale_while_revalidate="1h", stale_if_error="1h")
    assert (await requests.get("a1"))[0] == b"1"
    requests.put("a1", entry)
    requests.edge.timing.ms += seconds * 1000
    requests.is_origin_down = True

    assert [await requests.get("a1") for _ in range(2)] == [(b"down", said)] * 2
    assert (await requests.get("a2"))[0] == b"1", "it's there, for others of the tenant"
