"""Who may see what is not for everyone."""

from __future__ import annotations

import pytest

from origin_sdk_edge.policy.access import knows_secret, may_read_metrics
from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.settings import Settings

SECRET = "s" * 32
CLOSED, OPEN = Settings(debug_secret=SECRET), Settings(development=True)


@pytest.mark.parametrize(
    ("settings", "url", "fields", "may"),
    [
        pytest.param(CLOSED, "https://api.example/", {}, False, id="without a secret"),
        pytest.param(CLOSED, "https://api.example/", {"cache-debug": SECRET}, True, id="Cache-Debug"),
        pytest.param(
            CLOSED, "https://api.example/", {"authorization": f"bearer {SECRET}"}, True, id="a bearer token"
        ),
        pytest.param(
            CLOSED, "https://api.example/", {"authorization": f"Basic {SECRET}"}, False, id="another scheme"
        ),
        pytest.param(CLOSED, "https://api.example/", {"cache-debug": "s" * 31}, False, id="a part of it"),
        pytest.param(CLOSED, "http://localhost/", {}, False, id="this machine, not while developing"),
        pytest.param(OPEN, "http://localhost:8787/", {}, True, id="a developer's machine"),
        pytest.param(OPEN, "http://rebound.example/", {}, False, id="another name of it"),
        pytest.param(Settings(), "https://api.example/", {"cache-debug": ""}, False, id="no secret at all"),
    ],
)
def test_metrics_are_told(settings: Settings, url: str, fields: dict[str, str], may: bool) -> None:
    assert may_read_metrics(RequestFacts("GET", parse_target(url), fields), settings) is may


def test_a_secret_of_other_characters_is_none() -> None:
    assert not knows_secret({"cache-debug": "\ud800" * 32}, CLOSED)
