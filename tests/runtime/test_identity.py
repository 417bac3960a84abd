"""What belongs to one client, and what one client chose, never comes to another one.

Each row is a request, an answer that shows it, and the same for the next client.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json
from tests.runtime.edge import Variables, get, is_hit, new_path, running
from tests.runtime.origin import Answer, Request, ScriptedOrigin
from tests.runtime.replies import Fields, Reply, reply

RULES: Sequence[Json] = []


@pytest.fixture(scope="module")
def edge(running_origin: ScriptedOrigin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workerd]:
    folder: Path = tmp_path_factory.mktemp("identity")
    workers: Variables = {"safe": {"RULES": RULES}, "strict": {"PROFILE": "rfc9111"}}
    with running(folder, running_origin, workers) as workerd:
        yield workerd


def shown(fields: Fields) -> Answer:
    """An origin's answer that shows all that the request bears."""

    def answer(request: Request) -> Reply:
        return reply(200, fields, repr([request.target, *request.fields]).encode())

    return answer


# Permissions and what withdraws them

SID, TOKEN = ("Cookie", "sid=alice"), ("Authorization", "Bearer alice")

NOT_SHARED = [
    pytest.param(SID, "max-age=600", "X-Cookie-Consent", id="a Vary that only holds the word"),
    pytest.param(SID, "max-age=600", "Cookie Accept", id="a Vary without its comma"),
    pytest.param(SID, "max-age=600", "Cookie;q=1", id="a Vary with a parameter"),
    pytest.param(SID, "max-age=600", '"Cookie"', id="a Vary in quotes"),
    pytest.param(SID, "max-age=600", "Set-Cookie", id="a Vary that names another field"),
    pytest.param(SID, "public=1, max-age=600", "", id="a cookie, and public with an argument"),
    pytest.param(SID, 'x="a, public, max-age=600', "", id="a cookie, and public in an open quote"),
    pytest.param(TOKEN, "max-age=600, must-revalidate", "", id="must-revalidate"),
    pytest.param(TOKEN, "max-age=600, proxy-revalidate", "", id="proxy-revalidate"),
    pytest.param(TOKEN, "max-age=600", "Authorization", id="a Vary that names Authorization"),
    pytest.param(TOKEN, "public=bad, max-age=600", "", id="public with an argument"),
    pytest.param(TOKEN, '", public, max-age=600', "", id="public after an open quote"),
    pytest.param(TOKEN, "public; max-age=600", "", id="public before a semicolon"),
    pytest.param(TOKEN, "max-age=600, s-maxage=x", "", id="s-maxage without seconds"),
    pytest.param(TOKEN, "max-age=600, s-maxage", "", id="s-maxage alone"),
    pytest.param(("X-A", "1"), "public, max-age=600; private", "", id="private after a semicolon"),
    pytest.param(("X-A", "1"), "public max-age=600 no-store", "", id="no-store without commas"),
    pytest.param(("X-A", "1"), "public, max-age=600, private=true", "", id="private with a switch"),
    pytest.param(("X-A", "1"), 'public, max-age=600, "no-store"', "", id="no-store in quotes"),
]


@pytest.mark.parametrize(("own", "control", "vary"), NOT_SHARED)
def test_what_is_not_for_everyone_by_name_is_not_shared(
    edge: Workerd, origin: ScriptedOrigin, own: tuple[str, str], control: str, vary: str
) -> None:
    path = new_path()
    origin.decide(path, shown([("Cache-Control", control), *([("Vary", vary)] if vary else [])]))
    name, value = own

    get(edge.url("safe"), path, own)
    told = [get(edge.url("safe"), path, (name, "bob")), get(edge.url("safe"), path)]

    assert value.encode() not in told[0].body + told[1].body or value == "1"
    assert not any(map(is_hit, told))


@pytest.mark.parametrize(
    "control", ["public, max-age=600", "s-maxage=600", 's-maxage="600"', "PUBLIC, max-age=600"]
)
@pytest.mark.parametrize("worker", ["safe", "strict"])
def test_what_is_for_everyone_by_name_is_shared(
    edge: Workerd, origin: ScriptedOrigin, control: str, worker: str
) -> None:
    path = new_path()
    origin.decide(path, lambda _: reply(200, [("Cache-Control", control)], b"for all"))
    get(edge.url(worker), path, TOKEN)

    assert is_hit(get(edge.url(worker), path, ("Authorization", "Bearer bob")))


def test_must_revalidate_shares_as_the_rfc_has_it_in_its_profile(
    edge: Workerd, origin: ScriptedOrigin
) -> None:
    path = new_path()
    origin.decide(path, lambda _: reply(200, [("Cache-Control", "max-age=600, must-revalidate")], b"for all"))
    get(edge.url("strict"), path, TOKEN)

    assert is_hit(get(edge.url("strict"), path, ("Authorization", "Bearer bob")))
