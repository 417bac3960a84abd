"""What is sealed is served as it was, and what isn't sealed by one of the keys counts as absent."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from origin_sdk_edge.ports import StoredValue
from origin_sdk_wire.config import load
from origin_sdk_wire.seals import PART_BYTES, parse_store_keys
from origin_sdk_wire.settings import Settings
from tests.edge.fakes import FakeEdge, FakeResponse

HOST = "http://api.example"
OLD, NEW = (
    f"{name}:{b64encode(bytes(range(first, first + 32))).decode()}"
    for name, first in (("old", 1), ("new", 99))
)
FIELDS = {"cache-control": "max-age=60", "content-type": "text/plain"}
RULES: list[dict[str, object]] = [
    {"name": "me", "path": "/me/**", "data_class": "private", "key_cookies": ["sid"], "lifetime": "1m"},
    {"name": "secret", "path": "/secret/**", "seal": "encrypt"},
    {"name": "open", "path": "/open/**", "seal": "none"},
]
SMALL, LARGE = b"body", bytes(range(256)) * (5 * PART_BYTES // 512)

Values = dict[str, StoredValue]


def settings(keys: str = NEW, **variables: object) -> Settings:
    given: dict[str, object] = {
        "ORIGIN": "http://origin",
        "LIFETIME_JITTER": 0,
        "COMPRESS_MIN_BYTES": 0,
        "MEMORY_ITEM_BYTES": 1024,
    }
    given["RULES"] = RULES if keys or "STORE_KEYS" in variables else RULES[:1]
    return load({**given, **({"STORE_KEYS": keys} if keys else {}), **variables})


def edge(
    store: FakeEdge | None = None, body: bytes = SMALL, keys: str = NEW, **variables: object
) -> FakeEdge:
    """Return an isolate that knows nothing yet, over what another one stored."""
    return FakeEdge(
        settings(keys, **variables),
        lambda _: FakeResponse(200, FIELDS, body),
        store=store.store if store else None,
        timing=store.timing if store else None,
    )


async def ask(world: FakeEdge, path: str, fields: Mapping[str, str] | None = None) -> Any:
    return (await world.full("GET", HOST + path, fields or {})).response


def kind_of(world: FakeEdge, path: str) -> str:
    [stored] = [
        value.metadata
        for key, value in world.store.values.items()
        if key.startswith(f"r1/http/api.example{path}")
    ]
    assert isinstance(stored, dict)
    return "encrypt" if "e" in stored else "authenticate" if "a" in stored else "none"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        pytest.param("/x", "authenticate", id="what is public is authenticated"),
        pytest.param("/me/x", "encrypt", id="what is private is encrypted"),
        pytest.param("/secret/x", "encrypt", id="what a rule wants encrypted is encrypted"),
        pytest.param("/open/x", "none", id="what a rule wants open lies open"),
    ],
)
@pytest.mark.parametrize("body", [pytest.param(SMALL, id="small"), pytest.param(LARGE, id="in parts")])
def test_another_isolate_serves_what_was_sealed(path: str, kind: str, body: bytes) -> None:
    async def run() -> None:
        cookie = {"cookie": "sid=a"} if path.startswith("/me") else {}
        first = edge(body=body)
        await ask(first, path, cookie)
        assert kind_of(first, path) == kind
        second = edge(first, b"of the origin")
        sent = await ask(second, path, cookie)
        assert bytes(sent.body) == body
        assert "; hit;" in sent.fields["cache-status"]
        part = await ask(edge(first), path, {**cookie, "range": f"bytes={len(body) - 3}-"})
        assert (part.status, bytes(part.body)) == (206, body[-3:])
        readable = [
            value for value in first.store.values.values() if value.body and bytes(value.body)[-50:] in body
        ]
        assert bool(readable) is (kind != "encrypt")

    asyncio.run(run())


Attack = Callable[[Values], None]


def _key(values: Values, path: str) -> str:
    return next(key for key in values if key == f"r1/http/api.example{path}")


def _changed(path: str, change: Callable[[StoredValue], StoredValue]) -> Attack:
    def attack(values: Values) -> None:
        key = _key(values, path)
        values[key] = change(values[key])

    return attack


def _flipped(octets: bytes, at: int) -> bytes:
    changed = bytearray(octets)
    changed[at] ^= 1
    return bytes(changed)


def _metadata(value: StoredValue, **members: object) -> StoredValue:
    assert isinstance(value.metadata, dict)
    return StoredValue({**value.metadata, **members}, value.body)


def _member(value: StoredValue, name: str) -> str:
    assert isinstance(value.metadata, dict)
    return str(value.metadata[name])


def _without_seal(value: StoredValue) -> StoredValue:
    assert isinstance(value.metadata, dict)
    return StoredValue({"h": value.metadata["h"]}, value.body)


def _moved(source: str) -> Attack:
    def attack(values: Values) -> None:
        values["r1/http/api.example/x"] = values[source]
        values["r1/http/api.example/secret/x"] = values[source]

    return attack


ATTACKS: dict[str, tuple[str, Attack, str]] = {
    "a bit of an authenticated body": (
        "/x",
        _changed("/x", lambda v: StoredValue(v.metadata, _flipped(v.body, 0))),
        "broken",
    ),
    "a bit of a nonce": (
        "/secret/x",
        _changed("/secret/x", lambda v: StoredValue(v.metadata, _flipped(v.body, 0))),
        "broken",
    ),
    "a bit of a ciphertext": (
        "/secret/x",
        _changed("/secret/x", lambda v: StoredValue(v.metadata, _flipped(v.body, 30))),
        "broken",
    ),
    "a bit of a tag": (
        "/secret/x",
        _changed("/secret/x", lambda v: StoredValue(v.metadata, _flipped(v.body, -1))),
        "broken",
    ),
    "an encrypted body cut short": (
        "/secret/x",
        _changed("/secret/x", lambda v: StoredValue(v.metadata, v.body[:-1])),
        "broken",
    ),
    "an encrypted body cut to nothing": (
        "/secret/x",
        _changed("/secret/x", lambda v: StoredValue(v.metadata, b"")),
        "broken",
    ),
    "an authenticated body cut short": (
        "/x",
        _changed("/x", lambda v: StoredValue(v.metadata, v.body[:-1])),
        "broken",
    ),
    "another length of the metadata": (
        "/secret/x",
        _changed("/secret/x", lambda v: _metadata(v, e="new 1")),
        "broken",
    ),
    "a head that lives longer": (
        "/x",
        _changed("/x", lambda v: _metadata(v, h=_member(v, "h").replace("=60", "=6000"))),
        "broken",
    ),
    "a member beside the head": ("/x", _changed("/x", lambda v: _metadata(v, x=1)), "broken"),
    "an index in place of the head": (
        "/x",
        _changed("/x", lambda v: StoredValue({"v": [["x"]], "a": _member(v, "a")}, v.body)),
        "broken",
    ),
    "a MAC that is no text": ("/x", _changed("/x", lambda v: _metadata(v, a=1)), "broken"),
    "a key that nobody has": (
        "/x",
        _changed("/x", lambda v: _metadata(v, a="other " + _member(v, "a").partition(" ")[2])),
        "unknown-key",
    ),
    "an unsealed record": ("/x", _changed("/x", _without_seal), "unsealed"),
    "an unsealed record where one is to be encrypted": (
        "/secret/x",
        lambda values: values.update(
            {_key(values, "/secret/x"): _without_seal(values["r1/http/api.example/x"])}
        ),
        "unsealed",
    ),
    "an unsealed index": (
        "/x",
        lambda values: values.update({_key(values, "/x"): StoredValue({"v": [["x"]]}, b"")}),
        "unsealed",
    ),
    "metadata that are none": ("/x", _changed("/x", lambda v: StoredValue(None, v.body)), "unsealed"),
    "a record of another path": ("/x", _moved("r1/http/api.example/y"), "broken"),
    "a record of another host": ("/x", _moved("r1/http/other.example/x"), "broken"),
    "an encrypted record of another path": ("/secret/x", _moved("r1/http/api.example/secret/y"), "broken"),
}


@pytest.mark.parametrize(("path", "attack", "kind"), ATTACKS.values(), ids=ATTACKS)
def test_what_somebody_without_the_keys_wrote_counts_as_absent(path: str, attack: Attack, kind: str) -> None:
    async def run() -> None:
        first = edge()
        for url in ("/x", "/y", "/secret/x", "/secret/y"):
            await ask(first, url)
        await first.full("GET", "http://other.example/x", {})
        attack(first.store.values)
        second = edge(first, b"of the origin")
        sent = await ask(second, path)
        assert sent.body == b"of the origin"
        assert "detail=broken-seal" in sent.fields["cache-status"]
        assert second.counters.counts.series["broken_seals"] == {(kind,): [1]}
        assert [where for where, _ in second.faults] == ["seal"]

    asyncio.run(run())


def _body_of(values: Values) -> str:
    return next(key for key in values if key.startswith("b2/"))


def _parts(change: Callable[[list[bytes], int], list[bytes]]) -> Callable[[Values], Awaitable[None]]:
    """Return an attack on the parts of a body; the number is the length of the header."""

    async def attack(values: Values) -> None:
        key = _body_of(values)
        octets = bytes(values[key].body)
        head = 2 + octets[1] + 16 + 8
        step = PART_BYTES + (28 if octets[0] == 1 else 32)
        parts = [octets[:head], *(octets[at : at + step] for at in range(head, len(octets), step))]
        values[key] = StoredValue(None, b"".join(change(parts, head)))

    return attack


PART_ATTACKS: dict[str, tuple[Callable[[list[bytes], int], list[bytes]], bool]] = {
    "two parts change places": (lambda p, _: [p[0], p[2], p[1], p[3]], True),
    "the first part is dropped": (lambda p, _: [p[0], *p[2:]], True),
    "the last part is dropped": (lambda p, _: p[:-1], False),
    "the last part is cut short": (lambda p, _: [*p[:-1], p[-1][:-1]], False),
    "the second part is the first": (lambda p, _: [p[0], p[1], p[1], p[3]], False),
    "a bit of the last part": (lambda p, _: [*p[:-1], _flipped(p[-1], 100)], False),
    "a bit of the kind": (lambda p, _: [_flipped(p[0], 0), *p[1:]], True),
    "a bit of the key's name": (lambda p, _: [_flipped(p[0], 2), *p[1:]], True),
    "a bit of the generation": (lambda p, head: [_flipped(p[0], head - 9), *p[1:]], True),
    "a body that says it is shorter": (
        lambda p, _: [p[0][:-8] + (PART_BYTES).to_bytes(8, "big"), p[1]],
        True,
    ),
    "a body that says it is endless": (lambda p, _: [p[0][:-8] + b"\xff" * 8, *p[1:]], True),
    "a header alone": (lambda p, _: p[:1], True),
    "nothing": (lambda _p, _: [], True),
    "a byte": (lambda p, _: [p[0][:1]], True),
}


@pytest.mark.parametrize(
    "path", [pytest.param("/x", id="authenticated"), pytest.param("/secret/x", id="encrypted")]
)
@pytest.mark.parametrize(("change", "at_once"), PART_ATTACKS.values(), ids=PART_ATTACKS)
def test_parts_that_were_tampered_with_are_never_served(
    path: str, change: Callable[[list[bytes], int], list[bytes]], at_once: bool
) -> None:
    async def run() -> None:
        first = edge(body=LARGE)
        await ask(first, path)
        await _parts(change)(first.store.values)
        second = edge(first, b"of the origin")
        sent = await ask(second, path)
        if at_once:
            assert sent.body == b"of the origin"
        else:  # what was right has been sent; then it breaks off
            assert LARGE.startswith(bytes(sent.body))
            assert len(sent.body) < len(LARGE)
        third = edge(first, b"of the origin")
        part = await ask(third, path, {"range": f"bytes=0-{len(LARGE) - 1}"})
        assert part.body == b"of the origin"

    asyncio.run(run())


def test_parts_of_two_writings_dont_mix() -> None:
    async def run() -> None:
        one, other = edge(body=LARGE), edge(body=LARGE[::-1])
        for world in (one, other):
            await ask(world, "/x")
        key = _body_of(one.store.values)
        step = PART_BYTES + 32
        mine, foreign = (bytes(world.store.values[key].body) for world in (one, other))
        head = len(mine) - len(LARGE) - 3 * 32
        one.store.values[key] = StoredValue(None, mine[: head + step] + foreign[head + step :])
        sent = await ask(edge(one, b"of the origin"), "/x")
        assert bytes(sent.body) == LARGE[:PART_BYTES]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("keys", "is_hit"),
    [
        pytest.param(f"{NEW},{OLD}", True, id="an old key still opens"),
        pytest.param(f"{OLD},{NEW}", True, id="before the turn"),
        pytest.param(NEW, False, id="without it nothing does"),
        pytest.param("", True, id="keys that are taken away leave what is only authenticated"),
    ],
)
def test_keys_are_changed_one_after_the_other(keys: str, is_hit: bool) -> None:
    async def run() -> None:
        first = edge(keys=OLD)
        await ask(first, "/x")
        sent = await ask(edge(first, b"of the origin", keys), "/x")
        assert (sent.body == SMALL) is is_hit
        if not is_hit:
            assert (await ask(edge(first, b"no", keys), "/x")).body == b"of the origin"

    asyncio.run(run())


def test_whose_response_it_is_cant_be_guessed_from_a_key() -> None:
    async def run() -> None:
        keyed, other, plain = edge(keys=NEW), edge(keys=OLD), edge(keys="")
        found = []
        for world in (keyed, other, plain):
            await ask(world, "/me/x", {"cookie": "sid=a"})
            found += [key for key in world.store.values if key.startswith("r1/")]
        assert len(set(found)) == 3

    asyncio.run(run())


def test_the_index_of_what_varies_is_sealed_too() -> None:
    async def run() -> None:
        world = FakeEdge(
            settings(), lambda _: FakeResponse(200, {**FIELDS, "vary": "accept-language"}, b"de")
        )
        await ask(world, "/x", {"accept-language": "de"})
        sent = await ask(edge(world), "/x", {"accept-language": "de"})
        assert "; hit;" in sent.fields["cache-status"]
        index = world.store.values["r1/http/api.example/x"]
        assert isinstance(index.metadata, dict)
        assert index.metadata.keys() == {"v", "a"}

    asyncio.run(run())


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        pytest.param("k", "key 1 isn't one", id="no secret"),
        pytest.param("k:c2hvcnQ=", "32 random bytes", id="too short"),
        pytest.param("k:" + "A" * 43 + "=", "isn't random", id="zeros"),
        pytest.param(f"{NEW},{NEW}", "is listed twice", id="twice"),
        pytest.param(f"{NEW},other:{NEW.partition(':')[2]}", "is listed twice", id="one secret of two names"),
        pytest.param(f"a b:{NEW.partition(':')[2]}", "letters, digits", id="a space in the name"),
        pytest.param(7, "give comma-separated keys", id="a number"),
    ],
)
def test_keys_that_are_none_are_refused_and_not_shown(value: object, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy) as raised:
        settings(STORE_KEYS=value)
    assert "(not shown)" in str(raised.value)
    assert NEW.partition(":")[2] not in str(raised.value)


def test_keys_arent_shown() -> None:
    assert NEW.partition(":")[2] not in repr(settings())
    assert repr(bytes(range(99, 131))) not in repr(parse_store_keys(NEW))


def test_a_rule_that_wants_a_seal_wants_keys() -> None:
    with pytest.raises(ValueError, match="npx wrangler secret put STORE_KEYS"):
        load({"ORIGIN": "http://origin", "RULES": RULES})
