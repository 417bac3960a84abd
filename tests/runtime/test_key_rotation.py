"""An issuer changes its keys, goes away, answers with something else: in workerd, on a clock of its own."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from scripts.runtime import snapshot
from scripts.runtime.shifted_clock import ShiftedClock
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json, Worker
from tests.runtime.client import Response
from tests.runtime.edge import QUIET, detail, eventually, get, is_hit, new_path
from tests.runtime.origin import ScriptedOrigin
from tests.runtime.replies import Reply, reply

ISSUER, AUDIENCE = "https://login.example.com", "https://api.example.com"
LIFETIME, STALE, RETRY, REMEMBERED = 600, 1200, 30, 60
KEYS: Mapping[str, Ed25519PrivateKey] = {
    name: Ed25519PrivateKey.generate() for name in ("one", "two", "evil")
}
DAYS = 30 * 86_400


def b64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def jwk(name: str, kid: str | None = None) -> Json:
    raw = KEYS[name].public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return {"kty": "OKP", "crv": "Ed25519", "kid": kid or name, "x": b64(raw)}


def key_set(*keys: Json) -> Reply:
    return reply(200, [], json.dumps({"keys": list(keys)}).encode())


class World:
    """The edge, its issuer, and the time by which both live."""

    def __init__(self, edge: Workerd, origin: ScriptedOrigin, clock: ShiftedClock) -> None:
        self._edge, self.origin, self._clock = edge, origin, clock
        self._ahead, self._tokens = 0.0, 0
        self.path = ""

    def later(self, seconds: float) -> None:
        self._ahead += seconds
        self._clock.step(self._ahead)

    def begin(self, *keys: Json) -> None:
        """Forget all keys that there were, and let the issuer publish these."""
        self.path = new_path("mine/t")
        self.origin.on(self.path, reply(200, [("Cache-Control", "private")], b"hers"))
        self.later(LIFETIME + STALE + 1)
        self.publish(key_set(*keys))

    def publish(self, answer: Reply) -> None:
        self.origin.on("/keys", answer)

    def token(self, key: str, kid: str | None = None) -> str:
        """Return a token that nobody has seen yet."""
        self._tokens += 1
        ends = int(time.time()) + DAYS  # noqa: TID251 - tokens are dated
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": ends, "jti": self._tokens}
        parts = ({"alg": "EdDSA", "kid": kid or key}, claims)
        message = ".".join(b64(json.dumps(part).encode()) for part in parts)
        return f"{message}.{b64(KEYS[key].sign(message.encode()))}"

    def ask(self, token: str) -> Response:
        return get(self._edge.url("edge"), self.path, ("Authorization", f"Bearer {token}"))

    def lets_in(self, key: str, kid: str | None = None) -> bool:
        """Whether a new token gets what is stored for its user."""
        told = [self.ask(token) for token in (self.token(key, kid), self.token(key, kid))]
        assert {each.body for each in told} == {b"hers"}
        is_valid = is_hit(told[1])
        assert is_valid or detail(told[1]) == "identity-missing"
        return is_valid

    @property
    def fetched(self) -> int:
        return len(self.origin.requests("/keys"))


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> ShiftedClock:
    return ShiftedClock(tmp_path_factory.mktemp("clock") / "clock")


@pytest.fixture(scope="module")
def running_world(
    running_origin: ScriptedOrigin, clock: ShiftedClock, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    rule: Json = {
        "path": "/mine/**",
        "data_class": "private",
        "key_claims": ["sub"],
        "ignore_cookies": True,
        "default_lifetime": "1d",
    }
    issuer: Json = {"issuer": ISSUER, "keys": f"{running_origin.url}/keys", "audience": AUDIENCE}
    variables: dict[str, Json] = {
        **QUIET,
        "ORIGIN": running_origin.url,
        "RULES": [rule],
        "TOKEN_ISSUERS": [issuer],
        "KEY_SET_LIFETIME": f"{LIFETIME}s",
        "KEY_SET_STALE": f"{STALE}s",
    }
    folder: Path = tmp_path_factory.mktemp("rotation")
    workers = [Worker("edge", variables=variables)]
    with Workerd(folder, workers, snapshots=snapshot.deployed(), clock=clock) as workerd:
        yield World(workerd, running_origin, clock)


@pytest.fixture
def world(running_world: World, origin: ScriptedOrigin) -> World:
    assert running_world.origin is origin
    return running_world


def test_a_new_key_is_asked_for_and_the_old_one_ends(world: World) -> None:
    world.begin(jwk("one"))
    remembered = world.token("one")
    assert not is_hit(world.ask(remembered))
    assert world.lets_in("one")
    world.publish(key_set(jwk("two")))

    assert [world.lets_in("two"), world.fetched] == [False, 1]  # it was asked just now
    world.later(RETRY)
    assert [world.lets_in("two"), world.fetched] == [True, 2]

    assert not world.lets_in("one")
    assert is_hit(world.ask(remembered))  # its signature was right, less than a minute ago
    world.later(REMEMBERED)
    assert detail(world.ask(remembered)) == "identity-missing"
    assert world.lets_in("two")


def test_keys_overlap_while_an_issuer_changes_them(world: World) -> None:
    world.begin(jwk("one"))
    assert world.lets_in("one")
    world.publish(key_set(jwk("one"), jwk("two")))
    world.later(LIFETIME)

    assert world.lets_in("one")  # by what is there; behind it the set is fetched
    eventually(lambda: world.fetched == 2, "a refresh")
    eventually(lambda: world.lets_in("two"), "the new key")
    assert world.lets_in("one")


def test_an_issuer_that_goes_away_is_done_without_for_a_while(world: World) -> None:
    world.begin(jwk("one"))
    assert world.lets_in("one")
    world.publish(reply(500))
    world.later(LIFETIME + STALE - 1)

    assert world.lets_in("one")
    eventually(lambda: world.fetched == 2, "a refresh that fails")
    world.later(2)
    assert [world.lets_in("one"), world.fetched] == [False, 2]

    world.publish(key_set(jwk("one")))
    world.later(RETRY)
    assert [world.lets_in("one"), world.fetched] == [True, 3]


EVIL = json.dumps({"keys": [jwk("evil", "one")]}).encode()
POISON = {
    "a page": reply(200, [], b"<html>login</html>"),
    "a redirect": reply(302, [("Location", "/evil")]),
    "an error that looks like a set": reply(404, [], EVIL),
    "a set and more": reply(200, [], EVIL * 2),
    "members twice": reply(200, [], b'{"keys": [], %s' % EVIL[1:]),
    "a large one": reply(200, [], EVIL[:-1] + b', "pad": "%s"}' % (b"x" * (1 << 18))),
}


@pytest.mark.parametrize("name", POISON)
def test_what_is_no_set_of_keys_takes_none_away_and_brings_none(world: World, name: str) -> None:
    world.begin(jwk("one"))
    world.origin.on("/evil", key_set(jwk("evil", "one"), jwk("evil")))
    assert world.lets_in("one")
    world.publish(POISON[name])
    world.later(LIFETIME)

    assert world.lets_in("one")
    eventually(lambda: world.fetched == 2, "a refresh")

    assert [world.lets_in("one"), world.lets_in("evil", "one"), world.lets_in("evil")] == [True, False, False]
    assert not world.origin.requests("/evil")


def test_a_key_that_is_published_with_its_private_part_ends(world: World) -> None:
    world.begin(jwk("one"))
    assert world.lets_in("one")
    raw = KEYS["one"].private_bytes_raw()
    key = jwk("one")
    assert isinstance(key, dict)
    world.publish(key_set({**key, "d": b64(raw)}, jwk("two")))
    world.later(LIFETIME)

    assert world.lets_in("one")
    eventually(lambda: world.fetched == 2, "a refresh")
    eventually(lambda: world.lets_in("two"), "the other key")
    assert not world.lets_in("one")
