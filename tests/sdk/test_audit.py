import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from origin_sdk import AuditEvent, AuditFile, Options, Project, PurgeClient
from origin_sdk._cloudflare.budget import RateBudget
from origin_sdk.errors import InvalidSettings, OriginSdkError
from origin_sdk.testing import FakeKV, ManualClock
from origin_sdk_wire.settings import Rule

FRESH = {"cache-control": "max-age=600"}


def test_a_mark_says_who_and_why(new_client: Callable[..., PurgeClient], fake_kv: FakeKV) -> None:
    client = new_client(settings=replace(fake_kv.settings, actor="ci@build"))
    receipt = client.purge(groups="a", hard=True, reason="price change")
    [entry] = client.marks()
    assert (entry.target, entry.kind, entry.by, entry.why) == ("group/a", "hard", "ci@build", "price change")
    assert (entry.purge_id, entry.moment) == (receipt.id, receipt.moment)
    assert entry.expires_at


def test_what_a_rule_hides_in_a_url_is_in_no_audit(
    new_client: Callable[..., PurgeClient], kv_clock: ManualClock
) -> None:
    events: list[AuditEvent] = []
    rules = (Rule(paths=("/reports",), methods=frozenset({"GET"}), api_key_parameters=("key",)),)
    options = Options(clock=kv_clock, budget=RateBudget(), audit=events.append)
    client = new_client(options=options, project=Project(rules=rules))
    client.purge(urls=["https://a.example/reports?page=2&key=secret", "https://a.example/other?key=secret"])
    [told] = events
    assert told.details["urls"] == ["https://a.example/reports?page=2", "https://a.example/other"]


def test_a_mark_of_the_worker_is_shown_without_a_name(client: PurgeClient, fake_kv: FakeKV) -> None:
    fake_kv.put("m2/h/group/a", "1795000000000 edge-1")
    fake_kv.put("m2/s/group/b", "nonsense")
    by_target = {entry.target: entry for entry in client.marks()}
    assert (by_target["group/a"].purge_id, by_target["group/a"].by) == ("edge-1", "")
    assert by_target["group/b"].moment is None


@pytest.mark.parametrize("at", [10**30, -(10**17), 10**15, 1e300, "x", None])
def test_a_mark_of_no_moment_at_all_hides_no_other(client: PurgeClient, fake_kv: FakeKV, at: object) -> None:
    fake_kv.put("m2/s/group/b", "9" * 16 + " x", {"at": at})
    client.purge(groups="a")
    assert [entry.target for entry in client.marks()] == ["group/a", "group/b"]


def test_many_marks_are_read_page_by_page(client: PurgeClient, fake_kv: FakeKV) -> None:
    client.purge(groups=(f"g{number}" for number in range(2500)))
    fake_kv.requests.clear()
    assert len(list(client.marks())) == 2500
    assert len(fake_kv.requests) == 3, "what marks say is in the list: no value is read"


def test_everything_that_is_done_is_told_with_its_end(
    new_client: Callable[..., PurgeClient], fake_kv: FakeKV, kv_clock: ManualClock
) -> None:
    events: list[AuditEvent] = []
    client = new_client(options=Options(clock=kv_clock, budget=RateBudget(), audit=events.append))
    client.purge(groups="a", reason="sale")
    client.publish("https://a.example/x", lambda: b"body", headers=FRESH)
    fake_kv.leave_unsuccessful("m2/s/group/c", times=99)
    with pytest.raises(OriginSdkError):
        client.purge(groups=["b", "c"])
    fake_kv.may_write = False
    with pytest.raises(OriginSdkError):
        client.purge(groups="d")
    assert [(event.action, event.outcome) for event in events] == [
        ("purge", "done"),
        ("publish", "done"),
        ("purge", "PartialPurgeError"),
        ("purge", "AuthenticationFailed"),
    ]
    assert events[0].details["groups"] == ["a"]
    assert events[0].details["reason"] == "sale"
    assert events[2].details["marks"] == 1
    assert "body" not in json.dumps([event.as_json() for event in events])


def test_the_file_that_the_settings_name_is_appended_to(
    new_client: Callable[..., PurgeClient], fake_kv: FakeKV, tmp_path: Path
) -> None:
    path = tmp_path / "audit" / "edge.jsonl"
    settings = replace(fake_kv.settings, audit_file=str(path), actor="me")
    for group in ("a", "b"):
        new_client(settings=settings).purge(groups=group)
    assert [(event["actor"], event["groups"]) for event in AuditFile(path).read()] == [
        ("me", ["a"]),
        ("me", ["b"]),
    ]
    assert path.stat().st_mode & 0o077 == 0, "for its owner alone"
    assert fake_kv.token not in path.read_text()


def test_an_auditor_that_fails_does_not_make_a_purge_look_undone(
    new_client: Callable[..., PurgeClient], kv_clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: AuditEvent) -> None:
        raise OSError("disk full")

    client = new_client(options=Options(clock=kv_clock, budget=RateBudget(), audit=fail))
    with caplog.at_level(logging.ERROR, "origin_sdk"):
        assert client.purge(groups="a").marks
    assert "audit of purge" in caplog.text


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_text('{"at": "x"}\nnonsense\n')
    with pytest.raises(InvalidSettings, match="line 2"):
        list(AuditFile(path).read())


def test_no_file_is_no_history(tmp_path: Path) -> None:
    assert list(AuditFile(tmp_path / "none").read()) == []


def test_what_a_person_interrupts_is_told_too(
    new_client: Callable[..., PurgeClient], fake_kv: FakeKV
) -> None:
    class Interrupted(ManualClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            raise KeyboardInterrupt

    events: list[AuditEvent] = []
    client = new_client(options=Options(clock=Interrupted(), budget=RateBudget(), audit=events.append))
    fake_kv.block(300)
    with pytest.raises(KeyboardInterrupt):
        client.purge(groups="a")
    assert [event.outcome for event in events] == ["interrupted"]


@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        pytest.param("price change", "price change", id="a few words"),
        pytest.param("line\nbreak\x00", "line break ", id="what can't be shown"),
        pytest.param("\U0001f525" * 300, "\U0001f525" * 50, id="many letters of four bytes"),
        pytest.param('\\"' * 300, '\\"' * 100, id="many letters that JSON escapes"),
    ],
)
def test_a_reason_never_grows_beyond_what_metadata_takes(
    new_client: Callable[..., PurgeClient], fake_kv: FakeKV, reason: str, kept: str
) -> None:
    client = new_client(settings=replace(fake_kv.settings, actor=reason))
    client.purge(groups="a", reason=reason)
    [entry] = client.marks()
    assert entry.why == entry.by == kept
