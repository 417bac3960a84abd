from collections.abc import Callable
from dataclasses import replace

import pytest

from origin_sdk import Project, PurgeClient
from origin_sdk._edge.diagnosis import Grade
from origin_sdk.testing import FakeKV
from tests.sdk.records import store

GOOD, WARNING, BAD = Grade.GOOD, Grade.WARNING, Grade.BAD


def found(client: PurgeClient, check: str) -> list[tuple[Grade, str]]:
    return [(finding.verdict, finding.message) for finding in client.check() if finding.check == check]


def test_all_is_well(client: PurgeClient, fake_kv: FakeKV) -> None:
    store(fake_kv, "https://a.example/")
    findings = client.check()
    assert {finding.verdict for finding in findings} == {GOOD}
    checks = [finding.check for finding in findings]
    assert checks == ["settings", "token", "namespace", "write permission", "wire version", "clock"]
    assert not any(key.startswith("probe/") for key in fake_kv.stored_keys()), "the probe is deleted"


def test_nothing_is_written_if_it_may_not_be(client: PurgeClient, fake_kv: FakeKV) -> None:
    client.check(may_write=False)
    assert {request.method for request in fake_kv.requests} == {"GET"}


@pytest.mark.parametrize(
    ("spoil", "check", "verdict", "said"),
    [
        pytest.param(
            lambda kv: setattr(kv, "token", "another"),
            "token",
            BAD,
            "doesn't know the token",
            id="an unknown token",
        ),
        pytest.param(
            lambda kv: setattr(kv, "may_write", False),
            "write permission",
            BAD,
            "can't purge",
            id="a token that may read",
        ),
        pytest.param(
            lambda kv: setattr(kv, "namespace_id", "other"),
            "namespace",
            BAD,
            "no such KV",
            id="no such namespace",
        ),
        pytest.param(
            lambda _: None, "wire version", WARNING, "nothing is stored there yet", id="an empty namespace"
        ),
        pytest.param(
            lambda kv: kv.put("m2/s/everything", "1 x"),
            "wire version",
            WARNING,
            "only purge marks are there",
            id="marks alone, which this SDK writes itself",
        ),
        pytest.param(
            lambda kv: kv.put("r2/https/a.example/", b""),
            "wire version",
            BAD,
            "r2/",
            id="records of another version",
        ),
        pytest.param(
            lambda kv: kv.put("m1/s/everything", b""),
            "wire version",
            BAD,
            "m1/",
            id="marks of another version",
        ),
        pytest.param(
            lambda kv: setattr(kv, "skew_seconds", 120),
            "clock",
            WARNING,
            "behind",
            id="a clock two minutes behind",
        ),
        pytest.param(
            lambda kv: setattr(kv, "skew_seconds", -120),
            "clock",
            WARNING,
            "ahead",
            id="a clock two minutes ahead",
        ),
    ],
)
def test_what_is_wrong_is_named(
    client: PurgeClient,
    fake_kv: FakeKV,
    spoil: Callable[[FakeKV], None],
    check: str,
    verdict: Grade,
    said: str,
) -> None:
    spoil(fake_kv)
    [(found_verdict, message)] = found(client, check)
    assert found_verdict is verdict
    assert said in message


@pytest.mark.parametrize(
    ("project", "verdict", "said"),
    [
        pytest.param(
            Project(namespace_id="another"), BAD, "doesn't read", id="the Worker has another namespace"
        ),
        pytest.param(
            Project(namespace_id="namespace", stale_if_error=99 * 86_400),
            WARNING,
            "raise RETENTION",
            id="KV drops what is to stand in",
        ),
    ],
)
def test_settings_that_make_no_sense_together(
    new_client: Callable[..., PurgeClient], project: Project, verdict: Grade, said: str
) -> None:
    findings = found(new_client(project=project), "settings")
    assert any(each is verdict and said in message for each, message in findings)


def test_a_client_never_promises_more_than_the_workers_interval_allows(
    new_client: Callable[..., PurgeClient], fake_kv: FakeKV
) -> None:
    client = new_client(
        settings=replace(fake_kv.settings, mark_interval=1.0), project=Project(mark_interval=30.0)
    )
    assert client.settings.mark_interval == 30.0
