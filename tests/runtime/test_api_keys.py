"""API keys in KV in the real runtime: whose keys open what is stored, and what others write opens nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from origin_sdk import NewApiKey, PurgeClient, Settings
from origin_sdk.cli import main
from origin_sdk_wire.api_keys import key_digest
from origin_sdk_wire.key_entries import KeyEntry, kv_key
from origin_sdk_wire.marks import Lane, Mark, group_mark, value_of, written_keys
from origin_sdk_wire.seals import authenticated, parse_store_keys, sealed_text
from scripts.runtime import snapshot
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json, StandIn, Worker
from scripts.runtime.wrangler import Wrangler
from tests.runtime.client import Response
from tests.runtime.edge import QUIET, detail, eventually, get, is_hit, new_path
from tests.runtime.kv import BreakableKV, Entry, failing
from tests.runtime.origin import Request, ScriptedOrigin
from tests.runtime.replies import Reply, reply

SECRET = "a secret of the tests that has thirty-two bytes"  # noqa: S105 - a test's
OLD, OTHER = "another secret of the tests, of thirty-two bytes", "a third secret of the tests, of 32 bytes"
STORE_KEY = "one:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
(OWN,), (FOREIGN,) = parse_store_keys(STORE_KEY), parse_store_keys(STORE_KEY.replace("one:AAEC", "one:AQEC"))
RULE: Mapping[str, Json] = {
    "data_class": "private",
    "api_key_in": ["X-API-Key", "?api_key"],
    "key_claims": ["tenant"],
    "default_lifetime": "10m",
}
VARIABLES: Mapping[str, Json] = {
    **QUIET,
    "RULES": [{"path": "/keys/**", **RULE}, {"path": "/revocable/**", "revoked_by": "key-{id}", **RULE}],
    "API_KEYS_IN_KV": True,
    "API_KEY_TABLE_SECRET": SECRET,
    "API_KEY_LIFETIME": "200ms",
    "KV_TIMEOUT": "20s",  # on a busy machine a read that is given up would count as KV being down
    "MARK_INTERVAL": "100ms",
    "STORE_KEYS": STORE_KEY,
}
NOW_MS = int(time.time() * 1000)  # noqa: TID251 - entries are dated
ACME, GLOBEX = (KeyEntry({"tenant": tenant, "id": tenant}, NOW_MS - 60_000) for tenant in ("acme", "globex"))

_numbers = count(1)


@pytest.fixture(scope="module")
def edge(
    running_origin: ScriptedOrigin, running_kv: BreakableKV, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workerd]:
    variables = {"ORIGIN": running_origin.url, **VARIABLES}
    away = {"CACHE": StandIn(running_kv.address)}
    workers = [
        Worker("edge", variables={**variables, "API_KEY_TABLE_OLD_SECRET": OLD}),
        Worker("patient", variables={**variables, "API_KEY_STALE": "1h"}, stores=away),
        Worker("strict", variables={**variables, "API_KEY_STALE": 0}, stores=away),
        Worker("counted", variables={**variables, "API_KEY_LIFETIME": "1m"}, stores=away),
        Worker("flooded", variables={**variables, "API_KEY_LIFETIME": "1m"}, stores=away),
    ]
    with Workerd(tmp_path_factory.mktemp("api-keys"), workers, snapshots=snapshot.deployed()) as workerd:
        yield workerd


def new_key() -> str:
    """A key that no other test uses."""
    return f"key-{next(_numbers)}"


def place(key: str, secret: str = SECRET) -> str:
    return kv_key(key_digest(key, secret))


def sealed(key: str, entry: KeyEntry, secret: str = SECRET) -> Mapping[str, object]:
    return authenticated(OWN, place(key, secret), entry.metadata())


def put(edge: Workerd, key: str, entry: KeyEntry = ACME, secret: str = SECRET) -> str:
    """Add a key to the real KV, and return it."""
    edge.store().put(place(key, secret), b"", metadata=sealed(key, entry, secret))
    return key


def ask(edge: Workerd, path: str, key: str = "", by: str = "edge", host: str = "api.test") -> Response:
    return get(edge.url(by), path, *([("X-API-Key", key)] if key else []), host=host)


@pytest.fixture
def path(edge: Workerd, origin: ScriptedOrigin) -> str:
    """A path of which something is stored for acme; the origin answers each request otherwise."""
    made = new_path("keys/t")
    answers = count(1)
    origin.decide(
        made, lambda _: reply(200, [("Cache-Control", "private, max-age=600")], b"%d" % next(answers))
    )
    ask(edge, made, put(edge, new_key()))
    return made


def kept(kv: BreakableKV, key: str, entry: KeyEntry = ACME) -> str:
    """Add a key to the KV that breaks, and return it."""
    kv.entries[place(key)] = Entry(b"", json.dumps(sealed(key, entry)))
    return key


def reads(kv: BreakableKV) -> int:
    """How often that was read for keys."""
    return sum(request.path.startswith("/k1%2F") for request in kv.requests())


# Whose key it is


def test_keys_of_a_tenant_share_what_is_stored_wherever_they_stand(edge: Workerd, path: str) -> None:
    own, other = put(edge, new_key()), put(edge, new_key(), GLOBEX)

    assert is_hit(ask(edge, path, own))
    assert is_hit(ask(edge, f"{path}?api_key={own}"))
    assert not is_hit(ask(edge, path, other))
    assert is_hit(ask(edge, path, other))
    assert not is_hit(ask(edge, path, own, host="other.test"))


def test_a_digest_by_the_old_secret_still_counts_and_one_by_another_does_not(
    edge: Workerd, path: str
) -> None:
    assert is_hit(ask(edge, path, put(edge, new_key(), secret=OLD)))
    assert detail(ask(edge, path, put(edge, new_key(), secret=OTHER))) == "identity-missing"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        pytest.param(replace(ACME, revoked_ms=NOW_MS), "revoked", id="revoked"),
        pytest.param(replace(ACME, ends_ms=NOW_MS), "identity-missing", id="over"),
        pytest.param(replace(ACME, begins_ms=NOW_MS + 10**9), "identity-missing", id="not begun"),
        pytest.param(KeyEntry({"id": 1}, NOW_MS), "identity-missing", id="without the claim of the rule"),
        pytest.param(KeyEntry({}, NOW_MS), "identity-missing", id="nobody's"),
    ],
)
def test_a_key_that_is_not_valid_gets_nothing_that_is_stored(
    edge: Workerd, path: str, entry: KeyEntry, said: str
) -> None:
    key = put(edge, new_key(), entry)

    assert [detail(ask(edge, path, key)) for _ in range(2)] == [said] * 2
    assert detail(ask(edge, path)) == "identity-missing"
    assert detail(ask(edge, path, key_digest(key, SECRET))) == "identity-missing"
    assert detail(ask(edge, f"{path}?api_key={key}", put(edge, new_key()))) == "identity-missing"


KEY, PLACE = "X-API-Key", "?api_key="


@pytest.mark.parametrize(
    ("query", "fields", "others"),
    [
        pytest.param("", [(KEY, "{acme}"), (KEY, "{globex}")], {}, id="the field twice"),
        pytest.param("", [(KEY, "{globex}, {acme}")], {}, id="two in a field"),
        pytest.param("", [("X_API_Key", "{acme}")], {}, id="the field with underscores"),
        pytest.param("", [(KEY, "{acme}"), ("Cookie", "session=globex")], {}, id="a cookie beside it"),
        pytest.param("", [(KEY, "{acme}"), ("Authorization", "Basic eA==")], {}, id="a user beside it"),
        pytest.param(f"{PLACE}{{globex}}", [(KEY, "{acme}")], {}, id="another in the query"),
        pytest.param(f"{PLACE}{{acme}}", [(KEY, "{acme}")], {}, id="the same in the query"),
        pytest.param(f"{PLACE}", [(KEY, "{acme}")], {}, id="an empty one in the query"),
        pytest.param(f"{PLACE}{{acme}}&api_key={{globex}}", [], {}, id="the parameter twice"),
        pytest.param(f"{PLACE}{{acme}}&API_KEY={{globex}}", [], {}, id="the parameter in another case"),
        pytest.param(f"{PLACE}{{acme}}&api%5Fkey={{globex}}", [], {}, id="the parameter in percent-encoding"),
        pytest.param(f"{PLACE}{{acme}};api_key={{globex}}", [], {}, id="the parameter behind a semicolon"),
        pytest.param(f"{PLACE}{{acme}}&api.key={{globex}}", [], {}, id="the parameter with a dot"),
        pytest.param("?API_KEY={acme}", [], {}, id="the parameter in another case alone"),
        pytest.param(f"{PLACE}{{acme}}%00", [], {}, id="a NUL at its end"),
        pytest.param(f"{PLACE}+{{acme}}", [], {}, id="a space before it"),
        pytest.param("", [(KEY, "")], {}, id="an empty field"),
        pytest.param("", [(KEY, "k" * 12_000)], {}, id="a very long one"),
        pytest.param("", [(KEY, "{acme}\xff\xfe")], {}, id="octets that are no UTF-8"),
        pytest.param("", [(KEY, "{ACME}")], {}, id="the key in another case"),
        pytest.param("", [(KEY, "{globex}"), ("Range", "bytes=0-")], {}, id="a range, by another tenant"),
        pytest.param("", [(KEY, "{globex}")], {"method": "HEAD"}, id="a HEAD, by another tenant"),
        pytest.param(
            "", [(KEY, "{globex}"), ("If-None-Match", "*")], {}, id="a condition, by another tenant"
        ),
        pytest.param(
            "", [(KEY, "{globex}"), ("Cache-Control", "max-stale")], {}, id="a wish, by another tenant"
        ),
        pytest.param(
            "", [(KEY, "{globex}"), ("Cache-Control", "only-if-cached")], {}, id="nothing but stored"
        ),
    ],
)
def test_what_an_origin_may_read_as_another_key_opens_nothing(
    edge: Workerd, path: str, query: str, fields: list[tuple[str, str]], others: dict[str, Any]
) -> None:
    acme, globex = put(edge, new_key()), put(edge, new_key(), GLOBEX)
    assert is_hit(ask(edge, path, acme))

    def told(text: str) -> str:
        return text.format(acme=acme, ACME=acme.upper(), globex=globex)

    sent = [(name, told(value)) for name, value in fields]
    first, second = (
        get(edge.url("edge"), f"{path}{told(query)}", *sent, host="api.test", **others) for _ in range(2)
    )
    assert not is_hit(first), detail(first)
    assert b"1" not in {first.body, second.body}
    assert ask(edge, path, acme).body == b"1"


def test_a_key_that_ends_while_it_is_in_use_is_refused_from_then_on(edge: Workerd, path: str) -> None:
    ends_ms = int(time.time() * 1000) + 1500  # noqa: TID251 - entries are dated
    key = put(edge, new_key(), replace(ACME, ends_ms=ends_ms))
    assert is_hit(ask(edge, path, key))

    eventually(lambda: not is_hit(ask(edge, path, key)), "its end")
    assert time.time() * 1000 >= ends_ms  # noqa: TID251 - by the Worker's clock, which is this one
    assert detail(ask(edge, path, key)) == "identity-missing"


def test_a_key_that_is_revoked_while_it_is_in_use_is_refused_once_kv_shows_it(
    edge: Workerd, path: str
) -> None:
    key = put(edge, new_key())
    assert is_hit(ask(edge, path, key))
    put(edge, key, replace(ACME, revoked_ms=NOW_MS))
    edge.advance_kv_clock(60)

    eventually(lambda: detail(ask(edge, path, key)) == "revoked", "a revocation")


def test_a_purge_of_its_group_revokes_a_key_until_it_is_added_anew(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    path, key = new_path("revocable/t"), new_key()
    origin.decide(path, lambda _: reply(200, [("Cache-Control", "private, max-age=600")]))
    put(edge, key, replace(ACME, claims={"tenant": "acme", "id": key}))
    assert [is_hit(ask(edge, path, key)) for _ in range(2)] == [False, True]
    now_ms = int(time.time() * 1000)  # noqa: TID251 - marks are dated
    for mark in written_keys([group_mark(f"key-{key}")], Lane.SOFT):
        value = sealed_text(OWN, mark, value_of(mark, Mark(now_ms, "test")))
        edge.store().put(mark, value.encode())

    edge.advance_kv_clock(60)
    eventually(lambda: detail(ask(edge, path, key)) == "revoked", "a revocation")


# What others write


Attack = Callable[[str], Mapping[str, object] | None]


@pytest.mark.parametrize(
    "attack",
    [
        pytest.param(lambda _: ACME.metadata(), id="no seal"),
        pytest.param(lambda key: authenticated(FOREIGN, place(key), ACME.metadata()), id="another's seal"),
        pytest.param(lambda _: sealed("another", ACME), id="moved from another digest"),
        pytest.param(lambda key: {**sealed(key, GLOBEX), "claims": dict(ACME.claims)}, id="other claims"),
        pytest.param(
            lambda key: {
                name: value
                for name, value in sealed(key, replace(ACME, revoked_ms=1)).items()
                if name != "revoked"
            },
            id="its revocation taken out",
        ),
        pytest.param(lambda key: {**sealed(key, replace(ACME, ends_ms=1)), "ends": 10**13}, id="a later end"),
        pytest.param(lambda key: {**sealed(key, ACME), "more": None}, id="a member more"),
        pytest.param(lambda _: {"e": "one 40"}, id="said to be encrypted"),
        pytest.param(lambda _: {"a": 17}, id="no MAC"),
        pytest.param(lambda _: None, id="nothing"),
    ],
)
def test_an_entry_that_nobody_wrote_who_has_the_keys_opens_nothing(
    edge: Workerd, path: str, attack: Attack
) -> None:
    key = new_key()
    edge.store().put(place(key), b"", metadata=attack(key))

    assert detail(ask(edge, path, key)) == "identity-missing"


# How often KV is read


def test_a_flood_of_unknown_keys_is_bounded_and_costs_a_known_one_nothing(
    edge: Workerd, origin: ScriptedOrigin, breakable_kv: BreakableKV
) -> None:
    path, good = new_path("keys/t"), kept(breakable_kv, new_key())
    origin.decide(path, lambda _: reply(200, [("Cache-Control", "private, max-age=600")]))
    assert not is_hit(ask(edge, path, good, "flooded"))
    began = time.monotonic()
    told = [detail(ask(edge, path, new_key(), "flooded")) for _ in range(200)]
    seconds = time.monotonic() - began

    assert 100 < reads(breakable_kv) <= 1 + 100 + 5 * (seconds + 1)
    assert set(told) == {"identity-missing", "key-unread"}
    assert is_hit(ask(edge, path, good, "flooded"))
    assert detail(ask(edge, path, "", "flooded")) == "identity-missing"


def test_those_who_come_together_cost_one_read(
    edge: Workerd, origin: ScriptedOrigin, breakable_kv: BreakableKV
) -> None:
    path, key = new_path("keys/t"), kept(breakable_kv, new_key())
    origin.decide(path, lambda _: reply(200, [("Cache-Control", "private, max-age=600")]))
    with ThreadPoolExecutor(5) as pool:
        told = [*pool.map(lambda _: ask(edge, path, key, "counted"), range(10))]

    assert {detail(each) for each in told} <= {"absent", "fresh"}
    assert is_hit(ask(edge, path, key, "counted"))
    assert reads(breakable_kv) == 1


@pytest.mark.parametrize(("by", "is_used_on"), [("patient", True), ("strict", False)])
def test_while_kv_is_down_only_what_was_known_is_used_on_for_as_long_as_said(
    edge: Workerd, origin: ScriptedOrigin, breakable_kv: BreakableKV, by: str, *, is_used_on: bool
) -> None:
    path, key, cold = new_path("keys/t"), kept(breakable_kv, new_key()), kept(breakable_kv, new_key())

    def answer(_: Request) -> Reply:
        return reply(200, [("Cache-Control", "private, max-age=600")])

    origin.decide(path, answer)
    eventually(lambda: is_hit(ask(edge, path, key, by)), "a hit")
    breakable_kv.fault = failing(500)
    if not is_used_on:
        eventually(lambda: detail(ask(edge, path, key, by)) == "key-unread", "the end of its lifetime")
        return
    time.sleep(0.3)  # its lifetime

    # A purge can't be ruled out while KV is down, so that the origin is asked; but for whom is known.
    assert detail(ask(edge, path, key, by)) == "marks-unknown"
    assert detail(ask(edge, path, cold, by)) == "key-unread"


# From the command to the Worker


def test_what_the_command_adds_and_revokes_counts_in_the_worker(
    running_origin: ScriptedOrigin,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(*arguments: str) -> Mapping[str, list[str]]:
        with pytest.raises(SystemExit) as left:
            main(("keys", *arguments, "--json"))
        told: Mapping[str, list[str]] = json.loads(capsys.readouterr().out)
        assert not left.value.code, told
        return told

    variables = {
        name: value if isinstance(value, str) else json.dumps(value) for name, value in VARIABLES.items()
    }
    variables["ORIGIN"] = running_origin.url
    path, digest = "/keys/shown", key_digest("by-digest", SECRET)
    running_origin.decide(path, lambda _: reply(200, [("Cache-Control", "private, max-age=600")]))
    with Wrangler(tmp_path / "dev", variables=variables, snapshots=snapshot.deployed()) as wrangler:
        base, _, namespace = wrangler.kv_url().partition("/storage/kv/namespaces/")
        monkeypatch.setenv("CLOUDFLARE_API_BASE_URL", base)
        monkeypatch.setenv("EDGE_CACHE_NAMESPACE_ID", namespace)
        monkeypatch.setenv("EDGE_CACHE_API_KEY_TABLE_SECRET", SECRET)
        monkeypatch.setenv("EDGE_CACHE_STORE_KEYS", STORE_KEY)
        monkeypatch.chdir(tmp_path)
        Path("keys.jsonl").write_text(
            "".join(f'{{"key": "many-{number}", "tenant": "acme"}}\n' for number in range(30))
            + f'{{"digest": "{digest}", "tenant": "acme"}}\n'
        )
        added = run("add", "--claim", "tenant=acme")
        imported = run("import", "keys.jsonl")
        made = [str(added["key"]), "many-29", "by-digest"]

        def asked(key: str) -> Response:
            return get(wrangler.url, path, ("X-API-Key", key))

        asked(made[0])
        assert [is_hit(asked(key)) for key in made] == [True] * 3
        with PurgeClient(Settings(base_url=base, namespace_id=namespace, store_keys=STORE_KEY)) as client:
            client.purge(everything=True, hard=True, delete=True)
            assert client.add_api_keys([NewApiKey({"tenant": "acme"}, digest=digest)]).unchanged == 1
        assert len(run("list", "--limit", "9999")["keys"]) == len(imported["added"]) + 1 == 32
        run("revoke", added["added"][0][:16], digest, "--why", "leaked")
        eventually(lambda: detail(asked(made[0])) == detail(asked(made[2])) == "revoked", "a revocation")
        assert detail(asked("many-29")) != "revoked"
