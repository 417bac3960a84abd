"""API keys in KV by the clients and the command: what is written, how often, and what nobody gets to see."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from origin_sdk import (
    ApiKeysReceipt,
    AuditEvent,
    AuthenticationFailed,
    CloudflareUnavailable,
    InvalidRequest,
    InvalidSettings,
    NewApiKey,
    Options,
    PurgeClient,
    StoredApiKey,
)
from origin_sdk._cloudflare.budget import RateBudget
from origin_sdk._cloudflare.effects import Progress
from origin_sdk._process.clock import SystemClock
from origin_sdk._values.api_keys import new_key_of
from origin_sdk._values.project import Project
from origin_sdk.cli import main
from origin_sdk.testing import FakeKV, ManualClock
from origin_sdk_wire.api_keys import key_digest
from origin_sdk_wire.key_entries import KeyEntry, kv_key, read_entry
from origin_sdk_wire.marks import MARK_PREFIX
from origin_sdk_wire.seals import authenticated, parse_store_keys, verified
from tests.sdk.conftest import Blocking

SECRET = "a secret of the tests that has thirty-two bytes"  # noqa: S105 - a test's
STORE_KEY = "one:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
SEALED, OTHERS = parse_store_keys(STORE_KEY), parse_store_keys(STORE_KEY.replace("one:AAEC", "other:AQEC"))
ACME, GLOBEX = {"tenant": "acme"}, {"tenant": "globex"}
BEGINS, ENDS = (datetime(year, 6, 30, tzinfo=UTC) for year in (2026, 2099))

NewClient = Callable[..., PurgeClient]
Claims = Mapping[str, str | int]


@pytest.fixture
def edge(fake_kv: FakeKV, new_client: NewClient) -> PurgeClient:
    return new_client(settings=replace(fake_kv.settings, api_key_table_secret=SECRET, actor="alice"))


def place(key: str) -> str:
    return kv_key(key_digest(key, SECRET))


def states(edge: PurgeClient) -> dict[str, str]:
    """Return how each key stands, by its claims."""
    now = edge.now()
    return {json.dumps(dict(key.claims), sort_keys=True): key.state(now) for key in edge.api_keys()}


def test_a_key_is_known_by_its_digest_and_says_whose_it_is(edge: PurgeClient, fake_kv: FakeKV) -> None:
    receipt = edge.add_api_keys([NewApiKey(ACME, "k", begins=BEGINS, ends=ENDS)], reason="signed")
    (listed,) = edge.api_keys()

    assert receipt.added == (key_digest("k", SECRET),)
    assert receipt.visible_by is not None
    assert timedelta(0) <= receipt.visible_by - edge.now() <= timedelta(seconds=120)
    assert (listed.digest, listed.claims, listed.ends, listed.by, listed.why) == (
        key_digest("k", SECRET),
        ACME,
        ENDS,
        "alice",
        "signed",
    )
    entry = read_entry(fake_kv.metadata(place("k")))
    assert (entry.begins_ms, entry.ends_ms) == tuple(round(at.timestamp() * 1000) for at in (BEGINS, ENDS))
    assert fake_kv.read(place("k")) == b""


def test_the_asynchronous_client_does_the_same(fake_kv: FakeKV, kv_clock: ManualClock) -> None:
    from origin_sdk import AsyncPurgeClient  # noqa: PLC0415 - this test alone

    options = Options(clock=kv_clock, budget=RateBudget())
    settings = replace(fake_kv.settings, api_key_table_secret=SECRET)
    client: Any = Blocking(AsyncPurgeClient(settings, options=options, transport=fake_kv.transport))

    assert len(client.add_api_keys([NewApiKey(ACME, "k")]).added) == 1
    assert len(client.revoke_api_keys(keys=["k"]).revoked) == 1
    assert [key.state(kv_now(kv_clock)) for key in client.api_keys()] == ["revoked"]


def kv_now(clock: ManualClock) -> datetime:
    return datetime.fromtimestamp(clock.now(), UTC)


def test_keys_that_are_made_differ_and_are_shown_by_nothing_else() -> None:
    made = [NewApiKey.generated(ACME) for _ in range(100)]

    assert len({key.key for key in made}) == 100
    assert all(len(key.key) == 43 and key.key[0].isalnum() for key in made)
    assert made[0].key not in repr(made[0])


# A list that is imported again


def test_an_import_writes_what_differs_and_nothing_else(edge: PurgeClient, fake_kv: FakeKV) -> None:
    keys = [NewApiKey(ACME, f"k{number}") for number in range(2500)]
    told: list[Progress] = []
    first = edge.add_api_keys(keys, on_progress=told.append)
    added = read_entry(fake_kv.metadata(place("k0"))).at_ms
    fake_kv.requests.clear()
    changed = [NewApiKey({"tenant": "acme", "plan": "gold"}, "k0"), *keys[1:], NewApiKey(GLOBEX, "new")]
    second = edge.add_api_keys(changed)

    assert (len(first.added), [progress.done for progress in told]) == (2500, [2000, 2500])
    assert (len(second.added), len(second.changed), second.unchanged) == (1, 1, 2499)
    writes = [json.loads(request.body) for request in fake_kv.requests if request.method == "PUT"]
    assert [len(pairs) for pairs in writes] == [2]
    assert read_entry(fake_kv.metadata(place("k0"))).at_ms == added, "it was issued when it was added"


def test_1_and_true_are_not_the_same_claim(edge: PurgeClient) -> None:
    edge.add_api_keys([NewApiKey({"id": 1}, "k")])

    assert len(edge.add_api_keys([NewApiKey({"id": True}, "k")]).changed) == 1


def test_what_was_revoked_is_not_brought_back(edge: PurgeClient) -> None:
    edge.add_api_keys([NewApiKey(ACME, "k")])
    edge.revoke_api_keys(keys=["k"], reason="leaked")
    again = edge.add_api_keys([NewApiKey(ACME, "k"), NewApiKey(GLOBEX, "other")])

    assert (again.left_revoked, len(again.added)) == ((key_digest("k", SECRET),), 1)
    (revoked,) = [key for key in edge.api_keys() if key.revoked]
    assert (revoked.claims, revoked.why) == (ACME, "leaked")


# Secrets and keys of the store that change


NEWER = "a newer secret of the tests, of thirty-two bytes"


@pytest.fixture
def changed(fake_kv: FakeKV, new_client: NewClient) -> PurgeClient:
    """A client once the secret has changed, which has the old one as well."""
    return new_client(
        settings=replace(fake_kv.settings, api_key_table_secret=NEWER, api_key_table_old_secret=SECRET)
    )


def test_with_another_secret_no_key_comes_back_and_none_is_issued_anew(
    edge: PurgeClient, changed: PurgeClient, fake_kv: FakeKV, kv_clock: ManualClock
) -> None:
    """A purge of a key's group ends it by when it was issued: a later moment would bring it back, too."""
    keys = [NewApiKey(ACME, "k"), NewApiKey(GLOBEX, "revoked")]
    edge.add_api_keys(keys)
    at_ms = read_entry(fake_kv.metadata(place("k"))).at_ms
    edge.revoke_api_keys(keys=["revoked"], reason="leaked")
    kv_clock.advance(3600)
    receipt = changed.add_api_keys(keys)

    assert (receipt.added, receipt.left_revoked) == (
        (key_digest("k", NEWER),),
        (key_digest("revoked", NEWER),),
    )
    entries = [read_entry(fake_kv.metadata(kv_key(key_digest(key.key, NEWER)))) for key in keys]
    assert (entries[0].at_ms, entries[0].api_key.is_revoked) == (at_ms, False)
    assert (entries[1].api_key.is_revoked, entries[1].why) == (True, "leaked")
    again = changed.add_api_keys(keys)
    assert (again.added, again.changed, again.unchanged, len(again.left_revoked)) == ((), (), 1, 1)


def test_a_key_that_came_back_is_revoked_again_by_what_the_old_secret_knows(
    edge: PurgeClient, changed: PurgeClient, fake_kv: FakeKV, new_client: NewClient
) -> None:
    edge.add_api_keys([NewApiKey(ACME, "k")])
    edge.revoke_api_keys(keys=["k"])
    new_client(settings=replace(fake_kv.settings, api_key_table_secret=NEWER)).add_api_keys(
        [NewApiKey(ACME, "k")]
    )

    assert changed.add_api_keys([NewApiKey(ACME, "k")]).left_revoked == (key_digest("k", NEWER),)
    assert read_entry(fake_kv.metadata(kv_key(key_digest("k", NEWER)))).api_key.is_revoked


def test_a_key_is_revoked_by_both_secrets(edge: PurgeClient, changed: PurgeClient) -> None:
    edge.add_api_keys([NewApiKey(ACME, "k"), NewApiKey(ACME, "other")])
    digests = {key_digest("k", secret) for secret in (SECRET, NEWER)}

    assert set(changed.revoke_api_keys(keys=["k"]).revoked) == digests
    assert {key.digest for key in edge.api_keys() if key.revoked} == digests
    assert changed.revoke_api_keys(keys=["unheard-of"]).revoked == (key_digest("unheard-of", NEWER),)


def test_an_import_seals_by_the_key_that_writes_now(
    sealed: PurgeClient, fake_kv: FakeKV, new_client: NewClient
) -> None:
    """So that the old key of the store can be taken out, and with it goes neither a key nor a revocation."""
    keys = [NewApiKey(ACME, "k"), NewApiKey(GLOBEX, "revoked")]
    sealed.add_api_keys(keys)
    sealed.revoke_api_keys(keys=["revoked"])
    both = f"{STORE_KEY.replace('one:AAEC', 'other:AQEC')},{STORE_KEY}"
    settings = replace(fake_kv.settings, api_key_table_secret=SECRET, store_keys=both)
    receipt = new_client(settings=settings).add_api_keys(keys)

    assert (receipt.changed, receipt.left_revoked) == (
        (key_digest("k", SECRET),),
        (key_digest("revoked", SECRET),),
    )
    later = new_client(settings=replace(settings, store_keys=both.partition(",")[0]))
    assert states(later) == {json.dumps(ACME): "valid", json.dumps(GLOBEX): "revoked"}


def test_a_revocation_whose_seal_cannot_be_opened_holds(
    sealed: PurgeClient, fake_kv: FakeKV, new_client: NewClient
) -> None:
    sealed.add_api_keys([NewApiKey(GLOBEX, "k")])
    sealed.revoke_api_keys(keys=["k"])
    store_keys = STORE_KEY.replace("one:AAEC", "other:AQEC")
    settings = replace(fake_kv.settings, api_key_table_secret=SECRET, store_keys=store_keys)
    later = new_client(settings=settings)

    assert later.add_api_keys([NewApiKey(GLOBEX, "k")]).left_revoked == (key_digest("k", SECRET),)
    assert states(later) == {"{}": "revoked"}


def test_a_part_that_is_not_written_is_told_and_the_same_call_writes_it(
    edge: PurgeClient, fake_kv: FakeKV
) -> None:
    keys = [NewApiKey(ACME, "a"), NewApiKey(ACME, "b")]
    fake_kv.leave_unsuccessful(place("b"), times=9)
    with pytest.raises(CloudflareUnavailable, match="1 of 2 keys are written, and not the rest"):
        edge.add_api_keys(keys)

    fake_kv.leave_unsuccessful(place("b"), times=-9)
    again = edge.add_api_keys(keys)
    assert (again.added, again.unchanged) == ((key_digest("b", SECRET),), 1)


def test_nothing_written_is_what_the_api_said(edge: PurgeClient, fake_kv: FakeKV) -> None:
    fake_kv.may_write = False
    with pytest.raises(AuthenticationFailed):
        edge.add_api_keys([NewApiKey(ACME, "k")])


# Revoking


@pytest.mark.parametrize(
    ("named", "revoked"),
    [
        pytest.param({"keys": ["a1"]}, ["a1"], id="the key"),
        pytest.param({"digests": [key_digest("a1", SECRET)]}, ["a1"], id="its digest"),
        pytest.param({"digests": [key_digest("a1", SECRET)[:8]]}, ["a1"], id="the beginning of it"),
        pytest.param({"claims": ACME}, ["a1", "a2"], id="all of a tenant"),
        pytest.param({"keys": ["g"], "claims": ACME}, ["a1", "a2", "g"], id="both"),
        pytest.param({"claims": {"id": 1}}, ["a1"], id="a number, and not true"),
        pytest.param({"claims": {"id": "1"}}, ["a1"], id="a number as a command has it"),
        pytest.param({"claims": {"id": "true"}}, ["g"], id="true as a command has it"),
    ],
)
def test_what_is_named_is_revoked_and_nothing_else(
    edge: PurgeClient, named: dict[str, Any], revoked: list[str]
) -> None:
    edge.add_api_keys(
        [NewApiKey({**ACME, "id": 1}, "a1"), NewApiKey(ACME, "a2"), NewApiKey({**GLOBEX, "id": True}, "g")]
    )
    receipt = edge.revoke_api_keys(**named)

    digests = {key_digest(key, SECRET) for key in revoked}
    assert set(receipt.revoked) == digests
    assert {key.digest for key in edge.api_keys() if key.revoked} == digests
    assert edge.revoke_api_keys(**named).revoked == ()


@pytest.mark.parametrize("named", [{"keys": ["k"]}, {"digests": [key_digest("k", SECRET)]}])
def test_a_key_that_no_list_shows_yet_is_revoked_all_the_same(
    edge: PurgeClient, fake_kv: FakeKV, named: dict[str, Any]
) -> None:
    assert len(edge.revoke_api_keys(**named).revoked) == 1
    assert read_entry(fake_kv.metadata(place("k"))).api_key.is_revoked


@pytest.mark.parametrize(
    ("named", "message"),
    [
        pytest.param({}, "say which keys", id="none"),
        pytest.param(
            {"digests": ["secretkey"]}, "digest 1 isn't a digest", id="a key in place of its digest"
        ),
        pytest.param({"keys": ["k", "secret key"]}, "can't be sent", id="a key that is none"),
        pytest.param({"keys": [""]}, "can't be sent", id="an empty key"),
        pytest.param({"digests": ["0" * 65]}, "isn't a digest", id="too long"),
        pytest.param({"digests": ["0" * 7]}, "at least 8 digits", id="too short"),
        pytest.param({"digests": ["0" * 8]}, "no key's digest begins so", id="nobody's"),
        pytest.param({"claims": {"tenant": "nobody"}}, "no key has tenant = 'nobody'", id="nobody's claim"),
    ],
)
def test_what_names_no_key_is_an_error(edge: PurgeClient, named: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as error:
        edge.revoke_api_keys(**named)
    assert "secret" not in str(error.value)


def test_purging_everything_and_deleting_it_leaves_keys_alone(edge: PurgeClient, fake_kv: FakeKV) -> None:
    edge.add_api_keys([NewApiKey(ACME, "k")])
    fake_kv.put("r1/https/a.example/x", b"", {"h": "unreadable"})
    edge.purge(everything=True, hard=True, delete=True)

    assert [key for key in fake_kv.stored_keys() if not key.startswith(MARK_PREFIX)] == [place("k")]
    assert [*edge.list()] == []


# What can't be added


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param({"claims": ACME}, "either the key or its digest", id="neither"),
        pytest.param({"claims": ACME, "key": "k", "digest": "0" * 64}, "either the key", id="both"),
        pytest.param({"claims": ACME, "digest": "0" * 63}, "64 digits", id="a digest that is none"),
        pytest.param({"claims": ACME, "key": "two words"}, "without spaces", id="a space"),
        pytest.param({"claims": ACME, "key": "naïve"}, "ASCII", id="not ASCII"),
        pytest.param({"claims": ACME, "key": "k" * 1025}, "1024", id="too long"),
        pytest.param({"claims": {}, "key": "k"}, "whose the key is", id="nobody's"),
        pytest.param({"claims": {"iat": 1}, "key": "k"}, "'iat' can't be", id="a name that means something"),
        pytest.param({"claims": {"level": 1.0}, "key": "k"}, "'level' is neither", id="a fraction"),
        pytest.param({"claims": {"id": 2**53}, "key": "k"}, "'id' is neither", id="too large a number"),
        pytest.param({"claims": {"roles": ["a"]}, "key": "k"}, "'roles' is neither", id="a list"),
        pytest.param({"claims": {"x": "é" * 80}, "key": "k"}, "at most 400 fit", id="too much"),
        pytest.param({"claims": ACME, "key": "k", "ends": BEGINS.replace(tzinfo=None)}, "zone", id="no zone"),
        pytest.param({"claims": ACME, "key": "k", "begins": ENDS, "ends": BEGINS}, "not after", id="no time"),
    ],
)
def test_what_cannot_be_a_key_is_an_error_that_shows_none(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as error:
        NewApiKey(**given)
    if len(key := given.get("key", "")) > 1:
        assert key not in str(error.value)


@pytest.mark.parametrize(("one", "other"), [(ACME, GLOBEX), ({"id": 1}, {"id": True})])
def test_one_key_for_two_owners_is_an_error(edge: PurgeClient, one: Claims, other: Claims) -> None:
    with pytest.raises(InvalidRequest, match="key 2 was given before"):
        edge.add_api_keys([NewApiKey(one, "k"), NewApiKey(other, "k")])


def test_without_the_secret_keys_need_their_digests(new_client: NewClient) -> None:
    edge = new_client()
    with pytest.raises(InvalidSettings, match="EDGE_CACHE_API_KEY_TABLE_SECRET"):
        edge.add_api_keys([NewApiKey(ACME, "k")])

    assert len(edge.add_api_keys([NewApiKey(ACME, digest=key_digest("k", SECRET))]).added) == 1


def test_the_largest_entry_fits_kv(fake_kv: FakeKV, new_client: NewClient) -> None:
    settings = replace(fake_kv.settings, api_key_table_secret=SECRET, store_keys=STORE_KEY, actor="é" * 99)
    claims = {"x": "y" * 390}
    new_client(settings=settings).add_api_keys(
        [NewApiKey(claims, "k", begins=BEGINS, ends=ENDS)], reason="é" * 99
    )
    new_client(settings=settings).revoke_api_keys(keys=["k"], reason="é" * 99)

    assert len(json.dumps(fake_kv.metadata(place("k"))).encode()) <= 1024


# Seals


@pytest.fixture
def sealed(fake_kv: FakeKV, new_client: NewClient) -> PurgeClient:
    return new_client(settings=replace(fake_kv.settings, api_key_table_secret=SECRET, store_keys=STORE_KEY))


def test_an_entry_is_sealed_and_bound_to_its_digest(sealed: PurgeClient, fake_kv: FakeKV) -> None:
    sealed.add_api_keys([NewApiKey(ACME, "k")])
    metadata = fake_kv.metadata(place("k"))

    assert read_entry(verified(SEALED, place("k"), metadata)).claims == ACME
    fake_kv.put(place("moved"), "", metadata)
    assert {key.digest: key.is_forged for key in sealed.api_keys()} == {
        key_digest("k", SECRET): False,
        key_digest("moved", SECRET): True,
    }


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param(KeyEntry(GLOBEX, 1).metadata(), id="unsealed"),
        pytest.param(authenticated(OTHERS[0], place("k"), KeyEntry(GLOBEX, 1).metadata()), id="by another"),
        pytest.param(None, id="nothing"),
    ],
)
def test_a_forged_entry_is_shown_as_such_and_written_over(
    sealed: PurgeClient, fake_kv: FakeKV, metadata: object
) -> None:
    fake_kv.put(place("k"), "", metadata)
    assert [key.state(sealed.now()) for key in sealed.api_keys()] == ["forged"]
    sealed.add_api_keys([NewApiKey(ACME, "k")])

    assert states(sealed) == {json.dumps(ACME): "valid"}


def test_a_forged_entry_is_revoked_without_what_it_says(sealed: PurgeClient, fake_kv: FakeKV) -> None:
    fake_kv.put(place("k"), "", KeyEntry(GLOBEX, 1).metadata())
    sealed.revoke_api_keys(keys=["k"])

    assert states(sealed) == {"{}": "revoked"}


def test_who_lacks_the_keys_of_the_store_changes_nothing(sealed: PurgeClient, edge: PurgeClient) -> None:
    sealed.add_api_keys([NewApiKey(ACME, "k")])
    calls: list[tuple[Callable[..., ApiKeysReceipt], list[Any]]] = [
        (edge.revoke_api_keys, ["k"]),
        (edge.add_api_keys, [NewApiKey(ACME, "k")]),
    ]
    for change, keys in calls:
        with pytest.raises(InvalidSettings, match="sealed by 'one': set EDGE_CACHE_STORE_KEYS"):
            change(keys=keys)


# The audit


def test_the_audit_tells_what_was_done_by_digests_and_shows_no_key(
    fake_kv: FakeKV, new_client: NewClient, kv_clock: ManualClock
) -> None:
    events: list[AuditEvent] = []
    settings = replace(fake_kv.settings, api_key_table_secret=SECRET, actor="alice")
    options = Options(clock=kv_clock, budget=RateBudget(), audit=events.append)
    edge = new_client(settings=settings, options=options)
    edge.add_api_keys([NewApiKey(ACME, "the-key-itself")], reason="signed")
    edge.revoke_api_keys(claims=ACME, reason="left")
    with pytest.raises(InvalidRequest):
        edge.revoke_api_keys(claims={"tenant": "nobody"})

    told = [event.as_json() for event in events]
    assert [(each["action"], each["outcome"], each["reason"]) for each in told] == [
        ("add keys", "done", "signed"),
        ("revoke keys", "done", "left"),
        ("revoke keys", "InvalidRequest", ""),
    ]
    assert told[0]["digests"] == told[1]["digests"] == [key_digest("the-key-itself", SECRET)]
    assert "the-key-itself" not in json.dumps(told)


# Lists


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("k, acme", "isn't JSON", id="no JSON"),
        pytest.param("[" * 5000, "isn't JSON", id="too deep"),
        pytest.param("[]", "isn't an object", id="a list"),
        pytest.param('{"key": 1, "tenant": "acme"}', "isn't an object with a key", id="a number for a key"),
        pytest.param('{"key": "very-secret"}', "whose the key is", id="nobody's"),
        pytest.param('{"key": "very-secret", "a": 1, "a": 2}', "name twice", id="a claim twice"),
        pytest.param('{"key": "very-secret", "a": 1, "ends": "soon"}', "ends = 'soon'", id="no moment"),
        pytest.param('{"key": "very-secret", "a": 1, "ends": 17}', "ends = 17", id="a number for a moment"),
        pytest.param('{"key": "very secret", "a": 1}', "without spaces", id="a space in the key"),
    ],
)
def test_a_line_that_cannot_be_read_is_told_without_its_key(line: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as error:
        new_key_of(line)
    assert "very" not in str(error.value)


def test_a_line_has_a_key_its_times_and_its_claims() -> None:
    line = '{"key": "k", "tenant": "acme", "id": 1, "begins": "2026-06-30", "ends": "2099-06-30T00:00:00Z"}'

    assert new_key_of(line) == NewApiKey({"tenant": "acme", "id": 1}, "k", "", BEGINS, ENDS)


# The command


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


Run = Callable[..., Ran]


def runner(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> Ran:
        with pytest.raises(SystemExit) as left:
            main(arguments)
        captured = capsys.readouterr()
        return Ran(int(left.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Run]:
    """The command over the fake API; tests/runtime/test_api_keys.py has the real one, and the Worker."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("EDGE_CACHE_API_KEY_TABLE_SECRET", SECRET)
    monkeypatch.setenv("EDGE_CACHE_STORE_KEYS", STORE_KEY)
    kv = FakeKV(SystemClock())
    monkeypatch.setenv("EDGE_CACHE_NAMESPACE_ID", kv.namespace_id)
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", kv.token)
    with kv.serve() as base_url:
        monkeypatch.setenv("CLOUDFLARE_API_BASE_URL", base_url)
        yield runner(capsys)


def test_the_command_adds_lists_imports_and_revokes(run: Run, tmp_path: Path) -> None:
    tenant = "acme"
    added = run("keys", "add", "--claim", f"tenant={tenant}", "--ends", "2099-01-01", "--json")
    made = json.loads(added.out)
    (tmp_path / "keys.jsonl").write_text(
        f'# all keys\n{{"key": "{made["key"]}", "tenant": "{tenant}", "ends": "2099-01-01"}}\n'
        f'{{"key": "second", "tenant": "{tenant}"}}\n'
    )
    imported = run("keys", "import", "keys.jsonl")
    revoked = run("keys", "revoke", made["added"][0][:12], "--why", "leaked")
    again = run("keys", "import", "keys.jsonl")
    listed = run("keys", "list", "--claim", f"tenant={tenant}")
    rest = run("keys", "revoke", "--claim", f"tenant={tenant}", "--yes")

    assert [each.code for each in (added, imported, revoked, again, listed, rest)] == [0] * 6
    assert made["added"] == [key_digest(made["key"], SECRET)]
    assert "Added 1 key" in imported.out
    assert "1 key as before." in imported.out
    assert f"Revoked 1 key: {made['added'][0][:12]}…" in revoked.out
    assert "1 key stays revoked" in again.out
    assert f"{made['added'][0][:12]}  revoked    tenant={tenant}  until 2099-01-01 00:00" in listed.out
    assert f"{key_digest('second', SECRET)[:12]}  valid      tenant={tenant}" in listed.out
    assert "leaked" in listed.out
    assert "Revoked 1 key" in rest.out
    shown = "".join(each.out + each.err for each in (imported, revoked, again, listed, rest))
    assert made["key"] not in shown
    assert SECRET not in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["add"], "doesn't say whose the key is", id="nobody's"),
        pytest.param(["add", "--claim", "acme"], "give NAME=VALUE", id="no value"),
        pytest.param(["add", "--claim", "a=1", "--claim", "a=2"], "each name once", id="twice"),
        pytest.param(["add", "--claim", "a=1", "--ends", "soon"], "--ends = 'soon'", id="no moment"),
        pytest.param(["add", "--claim", "a=1", "--key-file", "empty"], "no key in it", id="no key"),
        pytest.param(["import", "wrong"], "2 of 3 lines can't be used; nothing is done", id="wrong lines"),
        pytest.param(["revoke"], "say which keys", id="none to revoke"),
        pytest.param(["revoke", "--claim", "a=1"], "pass --yes", id="unconfirmed"),
    ],
)
def test_the_command_says_what_is_wrong_and_shows_no_key(
    run: Run, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "wrong").write_text(
        '{"key": "very-secret"}\n{"key": "k", "a": 1}\n{"key": "very-secret", "a": []}\n'
    )
    ran = run("keys", *arguments)

    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert "very" not in ran.err


def test_receipts_and_keys_are_plain_values() -> None:
    assert json.dumps(ApiKeysReceipt(added=("a",)).as_json())
    assert json.dumps(StoredApiKey("a", ACME, BEGINS, BEGINS, ENDS).as_json())
    key = StoredApiKey("a", ACME, BEGINS, BEGINS, ENDS)
    assert [key.state(at) for at in (BEGINS - timedelta(1), BEGINS, ENDS)] == ["not begun", "valid", "over"]


# What else looks into the namespace


@pytest.mark.parametrize(
    ("metadata", "verdict", "message"),
    [
        pytest.param((), "warning", "KV has no key", id="none"),
        pytest.param(
            (KeyEntry(ACME, 1), KeyEntry(ACME, 1, revoked_ms=2)), "ok", "KV has 2, 1 of them revoked"
        ),
        pytest.param(
            (KeyEntry({}, 1),), "problem", "1 of 1 entries aren't sealed", id="one that can't be read"
        ),
    ],
)
def test_the_doctor_tells_of_keys_where_the_worker_looks_for_some(
    new_client: NewClient, fake_kv: FakeKV, metadata: tuple[KeyEntry, ...], verdict: str, message: str
) -> None:
    for number, entry in enumerate(metadata):
        fake_kv.put(place(str(number)), "", entry.metadata())
    project = Project(api_keys_in_kv=True)
    found = [each for each in new_client(project=project).check() if each.check == "API keys"]

    assert [(each.verdict.value, message in each.message) for each in found] == [(verdict, True)]
    assert not [each for each in new_client().check() if each.check == "API keys"]
