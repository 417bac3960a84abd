"""When an issuer's keys are asked for, and what becomes of tokens meanwhile. A signature is its key's id."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from origin_sdk_edge.key_sets import Verifier
from origin_sdk_edge.ports import KeysError
from origin_sdk_edge.storage.memory import Memory
from origin_sdk_wire.issuers import Issuer
from origin_sdk_wire.settings import Settings
from tests.edge.fakes import START_MS, FakeBackground, FakeTiming

ISSUER = Issuer("me", "https://me.example/keys", frozenset({"api"}))
SETTINGS = Settings(token_issuers=(ISSUER,), key_set_lifetime=600, key_set_stale=3600)
NOW = START_MS // 1000


def b64(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def token(kid: str, *, ends: int = 86_400) -> str:
    claims = {"iss": "me", "aud": "api", "sub": "alice", "exp": NOW + ends}
    signature = base64.urlsafe_b64encode(kid.encode()).rstrip(b"=").decode()
    return f"{b64({'alg': 'EdDSA', 'kid': kid})}.{b64(claims)}.{signature}"


@dataclass
class FakeKeys:
    """An issuer that has some keys now, or none to be had."""

    has: list[str] = field(default_factory=lambda: ["one"])
    is_down: bool = False
    asked: int = 0
    verified: int = 0

    async def fetch(self, url: str, _timeout_seconds: float) -> str:
        assert url == ISSUER.keys
        self.asked += 1
        await asyncio.sleep(0)
        if self.is_down:
            raise KeysError("down")
        keys = [{"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": kid} for kid in self.has]
        return json.dumps({"keys": keys})

    async def verify(self, algorithm: str, key: Mapping[str, str], signature: bytes, _message: bytes) -> bool:
        assert algorithm == "EdDSA"
        self.verified += 1
        return key["x"] == signature.decode()


class World:
    def __init__(self) -> None:
        self.keys, self.timing, self.faults = FakeKeys(), FakeTiming(), 0
        self.verifier = Verifier(SETTINGS, self.keys, self.timing, Memory(1 << 20), self._report)

    def _report(self, _where: str, _error: Exception) -> None:
        self.faults += 1

    async def lets_in(self, text: str) -> bool:
        """Whether a token is valid; what that begins in the background is done after."""
        background = FakeBackground()
        found = await self.verifier.verify(text, background)
        await background.done()
        return found.claims is not None

    def wait(self, seconds: float) -> None:
        self.timing.ms += int(seconds * 1000)


async def test_keys_and_signatures_are_used_again() -> None:
    world = World()

    assert [await world.lets_in(token("one")) for _ in range(3)] == [True] * 3
    assert (world.keys.asked, world.keys.verified) == (1, 1)
    world.wait(61)
    assert await world.lets_in(token("one"))
    assert (world.keys.asked, world.keys.verified) == (1, 2)


async def test_a_token_that_expires_is_refused_though_its_signature_was_verified() -> None:
    world = World()

    assert await world.lets_in(token("one", ends=30))
    world.wait(30)
    assert not await world.lets_in(token("one", ends=30))


async def test_those_who_come_meanwhile_wait_for_one_fetch() -> None:
    world = World()

    assert await asyncio.gather(*(world.lets_in(token("one")) for _ in range(5))) == [True] * 5
    assert world.keys.asked == 1


@pytest.mark.parametrize(
    ("seconds", "asked"),
    [pytest.param(29, 1, id="not again at once"), pytest.param(30, 2, id="once in a while")],
)
async def test_a_new_key_is_asked_for(seconds: float, asked: int) -> None:
    world = World()
    assert await world.lets_in(token("one"))
    world.keys.has = ["one", "two"]
    world.wait(seconds)

    assert [await world.lets_in(token(kid)) for kid in ("two", "three", "four")] == [asked == 2, False, False]
    assert world.keys.asked == asked


async def test_keys_are_refreshed_behind_a_request_and_what_was_withdrawn_ends() -> None:
    world = World()
    assert await world.lets_in(token("one"))
    world.keys.has = ["two"]
    world.wait(600)

    assert await world.lets_in(token("one"))  # by the keys that were there
    assert [await world.lets_in(token("two")), world.keys.asked] == [True, 2]
    world.wait(61)
    assert not await world.lets_in(token("one"))


@pytest.mark.parametrize(
    ("seconds", "is_valid"),
    [pytest.param(4199, True, id="for KEY_SET_STALE"), pytest.param(4201, False, id="and no longer")],
)
async def test_keys_are_used_on_while_they_cannot_be_had(seconds: float, *, is_valid: bool) -> None:
    world = World()
    assert await world.lets_in(token("one"))
    world.keys.is_down = True
    world.wait(seconds)

    assert [await world.lets_in(token("one")) for _ in range(3)] == [is_valid] * 3
    assert (world.keys.asked, world.faults) == (2, 1)
    world.keys.is_down = False
    world.wait(30)
    assert await world.lets_in(token("one"))


async def test_an_issuer_that_cannot_be_reached_is_left_alone_for_a_while() -> None:
    world = World()
    world.keys.is_down = True

    assert [await world.lets_in(token("one")) for _ in range(3)] == [False] * 3
    assert world.keys.asked == 1
    world.keys.is_down = False
    world.wait(30)
    assert await world.lets_in(token("one"))
