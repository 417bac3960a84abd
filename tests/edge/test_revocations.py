"""Whether a credential was revoked: by which purges, and what holds where nobody can say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from origin_sdk_edge.ports import StoreError
from origin_sdk_edge.revocations import checked
from origin_sdk_edge.storage import Storage
from origin_sdk_wire.facts import Reason
from origin_sdk_wire.marks import Lane, group_mark
from origin_sdk_wire.settings import Rule, Settings
from tests.edge.fakes import START_MS, FakeBodies, FakeStore, FakeTiming

RULE = Rule(revoked_by=("user-{sub}", "roles"))
ISSUED = START_MS // 1000 - 600
CLAIMS = {"sub": "7", "roles": ["admin", "editor"], "iat": ISSUED}


class Store(FakeStore):
    """KV, which may be away."""

    is_away = False

    async def read_texts(self, keys: Sequence[str]) -> Mapping[str, str]:
        if self.is_away:
            raise StoreError("away")
        return await super().read_texts(keys)


class World:
    def __init__(self) -> None:
        self.store = Store()
        self.storage = self.isolate()

    def isolate(self) -> Storage:
        return Storage(self.store, FakeBodies(), FakeTiming(), Settings(), lambda *_: None)

    async def purge(self, group: str, lane: Lane, moment_ms: int) -> None:
        await self.isolate().marks.mark_everywhere([group_mark(group)], lane, "p", moment_ms)

    async def refusal(self, claims: Mapping[str, object]) -> Reason | None:
        token = await checked(claims, RULE, self.storage.marks, START_MS)
        assert token.is_checked
        assert token.claims == (None if token.refusal else claims)
        return token.refusal


@pytest.mark.parametrize(
    ("group", "after_seconds", "lane", "refusal"),
    [
        pytest.param("user-7", 1, Lane.HARD, Reason.REVOKED, id="its user's purge since it was issued"),
        pytest.param("editor", 1, Lane.HARD, Reason.REVOKED, id="of any of several"),
        pytest.param("user-7", 1, Lane.SOFT, Reason.REVOKED, id="softly, too"),
        pytest.param("user-7", -1, Lane.HARD, None, id="a purge before it was issued"),
        pytest.param("user-8", 1, Lane.HARD, None, id="another user's"),
    ],
)
async def test_what_revokes(group: str, after_seconds: int, lane: Lane, refusal: Reason | None) -> None:
    world = World()
    await world.purge(group, lane, (ISSUED + after_seconds) * 1000)
    assert await world.refusal(CLAIMS) is refusal


@pytest.mark.parametrize(
    "issued",
    [
        pytest.param({}, id="no iat"),
        pytest.param({"iat": "yesterday"}, id="one that is no number"),
        pytest.param({"iat": START_MS // 1000 + 3600}, id="one that lies ahead"),
    ],
)
async def test_a_credential_that_does_not_say_when_it_was_issued_was_before_any_purge(
    issued: Mapping[str, object],
) -> None:
    world = World()
    await world.purge("user-7", Lane.HARD, START_MS - 86_400_000)
    assert await world.refusal({"sub": "7", "roles": "admin", **issued}) is Reason.REVOKED


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param(None, id="a credential that isn't valid"),
        pytest.param({"sub": "7", "iat": ISSUED}, id="one that lacks a claim which names a group"),
        pytest.param({"sub": {}, "roles": "admin"}, id="one whose claim names none"),
    ],
)
async def test_nobody_is_proved_by(claims: Mapping[str, object] | None) -> None:
    token = await checked(claims, RULE, World().storage.marks, START_MS)
    assert (token.claims, token.is_checked, token.refusal) == (None, True, None)


async def test_what_is_not_known_is_not_taken_for_valid() -> None:
    world = World()
    world.store.is_away = True
    assert await world.refusal(CLAIMS) is Reason.MARKS_UNKNOWN
    world.store.is_away = False
    assert await world.refusal(CLAIMS) is None
