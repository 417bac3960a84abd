"""Rules that bring many values of request fields down to few; preflights; a version in the key."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json
from tests.runtime.client import Response
from tests.runtime.edge import Variables, detail, get, is_hit, new_path, running
from tests.runtime.origin import Request, ScriptedOrigin
from tests.runtime.replies import Reply, reply

RULES: Sequence[Json] = [
    {"path": "/language/**", "languages": ["en", "de"]},
    {"path": "/type/**", "media_types": ["application/json", "text/html"]},
    {"path": "/device/**", "device_field": "X-Device"},
    {"path": "/folded/**", "ignore_origin": True},
    {"path": "/preflight/**", "methods": ["OPTIONS"], "key_preflight": True, "lifetime": "10m"},
]
FRESH = [("Cache-Control", "public, max-age=600")]
PHONE = (
    "User-Agent",
    "Mozilla/5.0 (Linux; Android 10; K) Chrome/140 Mobile Safari/537.36",
)
LAPTOP = ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140 Safari/537.36")


@pytest.fixture(scope="module")
def edge(running_origin: ScriptedOrigin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workerd]:
    folder: Path = tmp_path_factory.mktemp("negotiation")
    rules: Mapping[str, Json] = {"RULES": RULES}
    workers: Variables = {
        "safe": rules,
        "strict": {**rules, "PROFILE": "rfc9111"},
        "first": {"KEY_VERSION": "1"},
        "second": {"KEY_VERSION": "2"},
    }
    with running(folder, running_origin, workers) as workerd:
        yield workerd


SEEN = ("accept-language", "accept", "x-device", "origin", "user-agent")


def showing(origin: ScriptedOrigin, path: str, *fields: tuple[str, str]) -> None:
    """Let the origin answer with what it sees."""

    def answer(request: Request) -> Reply:
        seen = {name: value for name in SEEN if (value := request.value(name))}
        return reply(200, [*FRESH, *fields], json.dumps(seen).encode())

    origin.decide(path, answer)


def sees(response: Response) -> Mapping[str, str]:
    found: Mapping[str, str] = json.loads(response.body)
    return found


Lines = Sequence[tuple[str, str]]
LANGUAGE = "accept-language"
ONE_ENTRY = [
    pytest.param("language", LANGUAGE, "de", [("de",), ("de-AT, en;q=0.1",), ("fr, DE",)], id="one"),
    pytest.param("language", LANGUAGE, "en", [(), ("fr",), ("*",), ("en-GB",)], id="first"),
    pytest.param("type", "accept", "text/html", [("text/html",), ("text/html, */*;q=0.1",)], id="a type"),
    pytest.param("type", "accept", "application/json", [(), ("*/*",), ("image/png",)], id="the first type"),
]


@pytest.mark.parametrize("worker", ["safe", "strict"])
@pytest.mark.parametrize(("rule", "name", "value", "given"), ONE_ENTRY)
def test_values_that_ask_for_one_meet_one_stored_response(
    edge: Workerd,
    origin: ScriptedOrigin,
    worker: str,
    rule: str,
    name: str,
    value: str,
    given: Sequence[Sequence[str]],
) -> None:
    path = new_path(f"{rule}/t")
    showing(origin, path, ("Vary", name))

    told = [
        get(edge.url(worker), path, *[(name, each) for each in values]) for _ in range(3) for values in given
    ]

    assert [is_hit(each) for each in told] == [False, *[True] * (len(told) - 1)]
    assert {sees(each)[name] for each in told} == {value}
    assert len(origin.requests(path)) == 1


def test_languages_have_a_stored_response_each(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path("language/t")
    showing(origin, path)
    told = [
        get(edge.url("safe"), path, ("Accept-Language", each)) for each in ("de", "en", "de-CH", "en-US") * 3
    ]

    assert [sees(each)["accept-language"] for each in told] == ["de", "en"] * 6
    assert len(origin.requests(path)) == 2


def test_devices_are_told_apart_by_a_field_that_no_client_can_set(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    path = new_path("device/t")
    showing(origin, path)
    forged = ("X-Device", "desktop")

    told = [get(edge.url("safe"), path, *each) for each in ([PHONE], [PHONE, forged], [LAPTOP], [forged]) * 3]

    assert [sees(each)["x-device"] for each in told] == ["mobile", "mobile", "desktop", "desktop"] * 3
    assert len(origin.requests(path)) == 2
    assert {request.value("User-Agent") for request in origin.requests(path)} == {"EdgeCache"}


def test_an_origin_that_makes_no_difference_is_folded(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path("folded/t")
    showing(origin, path)
    lines: Sequence[Lines] = [[("Origin", f"https://{name}.example")] for name in "abc"]

    told = [get(edge.url("safe"), path, *each) for each in [*lines, []] * 3]

    assert len(origin.requests(path)) == 1
    assert all("origin" not in sees(each) for each in told)


# Preflights

ASKS = [("Origin", "https://a.example"), ("Access-Control-Request-Method", "PUT")]
FIELDS = "Access-Control-Request-Headers"


def _allows(request: Request) -> Reply:
    allowed = [("Access-Control-Allow-Origin", request.value("Origin") or ""), ("Vary", "Origin")]
    return reply(204, [*allowed, ("Access-Control-Allow-Methods", "PUT")])


@pytest.mark.parametrize(
    ("first", "second", "is_met"),
    [
        pytest.param(ASKS, ASKS, True, id="the same"),
        pytest.param([*ASKS, (FIELDS, "x-a,X-B")], [*ASKS, (FIELDS, "x-b, x-a")], True, id="another order"),
        pytest.param(ASKS, [*ASKS, (FIELDS, "x-a")], False, id="other fields"),
        pytest.param(ASKS, [("Origin", "https://b.example"), ASKS[1]], False, id="another origin"),
        pytest.param(ASKS, [ASKS[0], ("Access-Control-Request-Method", "DELETE")], False, id="a method"),
        pytest.param(
            ASKS, [*ASKS, ("Access-Control-Request-Private-Network", "true")], False, id="a private network"
        ),
    ],
)
def test_a_preflight_is_met_by_one_that_asks_the_same(
    edge: Workerd, origin: ScriptedOrigin, first: Lines, second: Lines, *, is_met: bool
) -> None:
    path = new_path("preflight/t")
    origin.decide(path, _allows)
    get(edge.url("safe"), path, *first, method="OPTIONS")

    told = get(edge.url("safe"), path, *second, method="OPTIONS")

    assert (told.status, is_hit(told)) == (204, is_met)
    assert told.value("Access-Control-Allow-Origin") == dict(second)["Origin"]


@pytest.mark.parametrize(
    ("path", "lines"),
    [
        pytest.param("preflight/t", [ASKS[0]], id="no preflight"),
        pytest.param("else/t", ASKS, id="without a rule"),
    ],
)
def test_other_options_pass_by(edge: Workerd, origin: ScriptedOrigin, path: str, lines: Lines) -> None:
    path = new_path(path)
    origin.decide(path, _allows)

    assert [detail(get(edge.url("safe"), path, *lines, method="OPTIONS")) for _ in range(2)] == ["method"] * 2


def test_a_preflight_answers_no_other_request(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path("preflight/t")
    origin.decide(path, lambda request: reply(200, FRESH, request.method.encode()))
    get(edge.url("safe"), path, *ASKS, method="OPTIONS")

    assert get(edge.url("safe"), path, *ASKS).body == b"GET"


# A version


def test_versions_do_not_meet_each_others_responses(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()
    origin.decide(path, lambda _: reply(200, FRESH, str(len(origin.requests(path))).encode()))

    told = [get(edge.url(worker), path).body for worker in ("first", "second", "safe") * 2]

    assert told == [b"1", b"2", b"3"] * 2


def test_a_write_ends_what_is_stored_under_a_version(edge: Workerd, origin: ScriptedOrigin) -> None:
    path = new_path()
    origin.decide(path, lambda _: reply(200, FRESH, str(len(origin.requests(path))).encode()))
    get(edge.url("first"), path)
    get(edge.url("first"), path, method="PUT", body=b"x")

    assert get(edge.url("first"), path).body == b"3"
