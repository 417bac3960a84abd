"""What an answer to a write invalidates (RFC 9111 section 4.4, RFC 9875 section 3)."""

from __future__ import annotations

import pytest

from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.policy.invalidation import invalidated, resolve
from origin_sdk_wire.choices import Profile
from origin_sdk_wire.facts import ResponseFacts
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.settings import Rule, Settings

TARGET = parse_target("https://a.example/shop/7?x=1")
SAFE, STRICT = Settings(), Settings(profile=Profile.RFC9111)
OWN = "url/a.example/shop/7?x=1"


def marks(method: str, status: int, settings: Settings = SAFE, **fields: str) -> set[str]:
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    request, response = RequestFacts(method, TARGET, {}), ResponseFacts(status, named, 0, 0)
    return set(invalidated(request, response, Rule(), settings))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(marks("GET", 200), set(), id="a safe method"),
        pytest.param(marks("QUERY", 200), set(), id="a safe method of late"),
        pytest.param(marks("POST", 200), {OWN}, id="a write that succeeds"),
        pytest.param(marks("FROBNICATE", 204), {OWN}, id="an unknown method"),
        pytest.param(marks("POST", 404), set(), id="one that fails"),
        pytest.param(marks("POST", 303, location="/shop/8"), {OWN, "url/a.example/shop/8"}, id="to a page"),
        pytest.param(marks("POST", 302, location="/login?next=/shop/7"), set(), id="to a login"),
        pytest.param(marks("POST", 302, location="https://b.example/"), set(), id="to another host"),
        pytest.param(marks("POST", 301), set(), id="to be sent again"),
        pytest.param(marks("POST", 301, STRICT), {OWN}, id="strictly"),
        pytest.param(
            marks("PUT", 201, content_location="/shop/9"),
            {OWN, "url/a.example/shop/9"},
            id="Content-Location",
        ),
        pytest.param(
            marks("PUT", 201, content_location="https://b.example/x"), {OWN}, id="another host's is not ours"
        ),
        pytest.param(
            marks("PUT", 200, cache_group_invalidation='"menu"'),
            {OWN, "host-group/a.example/menu", "host-groups/a.example"},
            id="groups of its host",
        ),
        pytest.param(
            marks(
                "PUT", 200, Settings(shared_groups=frozenset({"menu*"})), cache_group_invalidation='"menu"'
            ),
            {OWN, "group/menu"},
            id="groups that hosts share",
        ),
        pytest.param(marks("PUT", 200, cache_group_invalidation="menu, ("), {OWN}, id="an invalid field"),
    ],
)
def test_a_write_invalidates(found: set[str], expected: set[str]) -> None:
    assert found == expected


@pytest.mark.parametrize(
    ("reference", "url"),
    [
        ("https://b.example/x", "https://b.example/x"),
        ("//b.example/x", "https://b.example/x"),
        ("/y", "https://a.example/y"),
        ("8", "https://a.example/shop/8"),
        ("?z", "https://a.example/shop/7?z"),
        ("#top", "https://a.example/shop/7?x=1"),
        ("../y", "https://a.example/y"),
        ("mailto:a@b.example", None),
    ],
)
def test_a_reference_is_resolved(reference: str, url: str | None) -> None:
    found = resolve(TARGET, reference)
    assert (str(found) if found else None) == url
