import re
import tomllib
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from origin_sdk._development.loopback import serving
from origin_sdk._edge.verdict import FIXES, Asked, Given, verdict_on
from origin_sdk._values.reasons import REASONS
from origin_sdk.cli import main
from origin_sdk_edge.policy.facts import OriginFailure
from origin_sdk_wire.config import load, problems
from origin_sdk_wire.facts import Reason

_URL = "https://api.example.com/products/17?page=2"
_DETAILS = [*(reason.value for reason in Reason), *(failure.value for failure in OriginFailure)]


def _given(cache_status: str, **fields: str) -> Given:
    shown = {
        "cache-status": cache_status,
        **{name.replace("_", "-"): value for name, value in fields.items()},
    }
    return Given(200, shown, 1234, 0.041)


def _asked(rule: str = "", **fields: str) -> Asked:
    return Asked("GET", _URL, _named(fields), rule)


def _named(fields: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in fields.items()}


@pytest.mark.parametrize("reason", _DETAILS)
def test_each_reason_has_its_sentences_and_what_it_tells_to_set_loads(reason: str) -> None:
    verdict = verdict_on(_asked(), _given(f"EdgeCache; fwd=uri-miss; detail={reason}"))
    assert verdict.reason == reason
    assert verdict.why.endswith(".")
    assert verdict.remedy.endswith((".", ")"))
    assert all(sentence.endswith(".") for sentence in verdict.what)
    changes = verdict.api or verdict.rule or verdict.setting
    assert changes or not FIXES[reason].api
    assert not verdict.api or verdict.api.endswith(".")
    if verdict.rule:
        rules = tomllib.loads(verdict.rule)["vars"]["RULES"]
        assert rules[0]["path"] == "/products/17"
        assert not problems({"RULES": rules}, has_secrets=False).errors
    if verdict.setting:
        assert load({**tomllib.loads(verdict.setting)}) != load({})


def test_there_is_a_fix_for_each_reason_and_no_other() -> None:
    assert list(FIXES) == list(REASONS)
    assert set(FIXES) == set(_DETAILS)


def test_where_there_is_something_to_do_something_is_named_that_does_it() -> None:
    idle = {"hook-failed", "marks-unknown", "cache-fault", "bad-url"}  # the log says what
    for reason, explained in REASONS.items():
        fix = FIXES[reason]
        if explained.has_remedy and reason not in idle:
            assert fix.api or fix.rule or fix.setting, reason


@pytest.mark.parametrize(
    ("cache_status", "said"),
    [
        pytest.param(
            "EdgeCache; hit; ttl=296; detail=fresh",
            "answered from what it has stored, without waiting for the origin; it stays fresh for 296 s.",
            id="a hit",
        ),
        pytest.param(
            "EdgeCache; hit; ttl=-1500; detail=stale-while-revalidate", "stale for 1,500 s.", id="a stale hit"
        ),
        pytest.param(
            "EdgeCache; fwd=uri-miss; fwd-status=200; ttl=60; stored; detail=absent",
            "The response is stored; it stays fresh for 60 s: ask again for a hit.",
            id="a miss that is stored",
        ),
        pytest.param(
            "EdgeCache; fwd=uri-miss; fwd-status=200; detail=no-store",
            "The response isn't stored.",
            id="one that isn't",
        ),
        pytest.param(
            "EdgeCache; fwd=uri-miss; detail=origin-timeout",
            "asked the origin, which gave no answer",
            id="no answer",
        ),
        pytest.param("EdgeCache; fwd=uri-miss; collapsed; detail=absent", "shared that", id="collapsed"),
        pytest.param("EdgeCache; detail=only-if-cached", "answered by itself", id="an answer of its own"),
        pytest.param(
            'EdgeCache; fwd=bypass; fwd-status=200; key="r1/https/a, b; c"; detail=method',
            "Its key is r1/https/a, b; c.",
            id="a key that looks like more members",
        ),
    ],
)
def test_what_was_done_is_told(cache_status: str, said: str) -> None:
    assert said in " ".join(verdict_on(_asked(), _given(cache_status)).what)


def test_the_fields_that_keep_a_response_from_others_are_named_with_what_to_set() -> None:
    verdict = verdict_on(
        _asked(),
        _given('EdgeCache; fwd=uri-miss; key="r1/x"; unkeyed="x-api-key x-geo"; detail=unkeyed-field'),
    )
    assert "The origin saw x-api-key, x-geo, which neither the key nor Vary names." in verdict.evidence
    assert 'key_fields = ["X-Api-Key", "X-Geo"]' in verdict.rule
    assert 'PASSED_FIELDS = ["X-Api-Key", "X-Geo"]' in verdict.setting


def test_of_several_caches_ours_is_meant() -> None:
    chain = 'Origin; hit, EdgeCache; fwd=uri-miss; detail=no-freshness, "CDN, Inc."; fwd=miss'
    assert verdict_on(_asked(), _given(chain)).reason == "no-freshness"


@pytest.mark.parametrize(
    ("reason", "asked", "given", "evidence"),
    [
        pytest.param("no-freshness", {}, {}, "The response has no cache-control.", id="no lifetime"),
        pytest.param(
            "no-store",
            {},
            {"cache_control": "no-store"},
            "The response has cache-control: no-store",
            id="no-store",
        ),
        pytest.param(
            "set-cookie",
            {},
            {"set_cookie": "sid=secret; Path=/\nlang=de"},
            "The response sets the cookie sid.",
            id="cookies, without their values",
        ),
        pytest.param(
            "unkeyed-field",
            {"x_api_key": "secret", "accept": "*/*"},
            {},
            "The request has x-api-key.",
            id="the field, without its value",
        ),
        pytest.param(
            "request-no-cache",
            {"cache_control": "no-cache"},
            {},
            "The request has cache-control: no-cache",
            id="what the client wished",
        ),
    ],
)
def test_the_evidence_is_named(
    reason: str, asked: dict[str, str], given: dict[str, str], evidence: str
) -> None:
    verdict = verdict_on(_asked(**asked), _given(f"EdgeCache; fwd=uri-miss; detail={reason}", **given))
    assert evidence in verdict.evidence
    assert "secret" not in " ".join(verdict.evidence)


def test_without_a_cache_it_says_so() -> None:
    verdict = verdict_on(_asked(), Given(200, {"server": "nginx"}, 1, 0.01))
    assert (verdict.reason, verdict.is_hit) == ("", False)
    assert "nginx" in verdict.why


def test_a_detail_of_a_newer_worker_is_shown() -> None:
    verdict = verdict_on(_asked(), _given("EdgeCache; hit; detail=of-tomorrow"))
    assert "of-tomorrow" in verdict.why
    assert verdict.is_hit


# The command


class _Origin(BaseHTTPRequestHandler):
    seen: dict[str, str]

    def do_GET(self) -> None:
        type(self).seen = {name.lower(): value for name, value in self.headers.items()}
        self.send_response(302 if self.path == "/moved" else 200)
        self.send_header("Cache-Status", "EdgeCache; fwd=uri-miss; fwd-status=200; detail=set-cookie")
        self.send_header("Set-Cookie", "sid=1; Path=/")
        self.send_header("Set-Cookie", "lang=de")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    do_POST = do_GET  # noqa: N815 - the name that http.server wants

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    with serving(_Origin) as served:
        yield served


def _run(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert not ended.value.code


def test_the_command_asks_once_as_a_client_would(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    (Path.cwd() / "wrangler.toml").write_text('[[vars.RULES]]\nname = "mine"\npath = "/**"\n')
    _run(
        [
            "why",
            f"{url}/x",
            "-H",
            "Accept-Language: de",
            "--cookie",
            "a=1",
            "--cookie",
            "b=2",
            "--token",
            "t0k3n",
        ]
    )
    told = capsys.readouterr().out
    assert "302" not in told
    assert "The response sets the cookie sid." in told
    assert "The response sets the cookie lang." in told
    assert "By wrangler.toml the rule mine applies." in told
    assert "What to do: Set cookies in a separate response." in told
    assert "t0k3n" not in told
    expected = {"accept-language": "de", "cookie": "a=1; b=2", "authorization": "Bearer t0k3n"}
    assert {name: _Origin.seen.get(name) for name in expected} == expected
    assert "cache-debug" not in _Origin.seen


def test_the_command_follows_no_redirect_and_speaks_json(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _run(["why", f"{url}/moved", "--json", "-X", "post", "--debug-secret", "s3cret"])
    told = capsys.readouterr().out
    assert re.search(r'"status": ?302', told)
    assert re.search(r'"reason": ?"set-cookie"', told)
    assert _Origin.seen["cache-debug"] == "s3cret"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        pytest.param(["ftp://x"], 2, "isn't an absolute http or https URL", id="no URL of HTTP"),
        pytest.param(["http://127.0.0.1:9/"], 4, "gave no answer", id="nobody there"),
        pytest.param(
            ["http://a.test/", "-H", "nothing"], 2, "write a name, a colon and a value", id="no field"
        ),
        pytest.param(["http://a.test/", "--cookie", "x"], 2, "write a name, an equals sign", id="no cookie"),
    ],
)
def test_the_command_says_what_is_wrong(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["why", *arguments])
    assert ended.value.code == code
    assert said in capsys.readouterr().err
