"""What reads what strangers write, in the SDK: each says what it can't read, within bounds."""

from __future__ import annotations

import asyncio
import gzip
import logging
import tempfile
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from origin_sdk._cloudflare.kv import ListedKey
from origin_sdk._edge.stored_responses import base_of, read_listed
from origin_sdk._edge.warmup import checked_url, moved_to, urls_of_openapi, urls_of_sitemap, warmed
from origin_sdk._responses.entity_tags import etag_of, matches
from origin_sdk._values.errors import InvalidRequest, InvalidSettings
from origin_sdk._values.media_types import encoded
from origin_sdk._values.project import read_configurations, read_project
from origin_sdk._values.targets import Purge
from origin_sdk.cli.lines import Lines
from origin_sdk.events._models.django_sql import condition_of, set_columns
from origin_sdk.events._models.sql_text import textual_writes
from origin_sdk.events.messages import intents_of, read_message, read_narrowly
from origin_sdk.events.webhook import Webhook
from origin_sdk.forwarded import ForwardedHost
from origin_sdk.outbox._stores.entries import payload_of, read_payload
from scripts.runtime.fuzz_cases import Chance, hold

__all__ = ["TARGETS"]

_JSON = [
    "{", "}", "[", "]", ":", ",", '"', '"purge"', '"republish"', '"urls"', '"groups"',
    '"prefixes"', '"hosts"',
    '"everything"', '"hard"', '"delete"', '"url"', '"renderer"', '"arguments"', "true", "false", "null", "1",
    "-1e999", "9" * 500, '"a"', '"https://a.test/x"', '"\\ud800"', "\ud800", '{"purge":{"groups":["a"]}}',
    '{"republish":{"url":"https://a.test/"}}', " ",
]  # fmt: skip
_SQL = [
    "UPDATE ", "update", "DELETE FROM ", "INSERT INTO ", "insert ", "merge ", "TRUNCATE ", "SELECT ", "INTO ",
    "SET ", "WHERE ", "FROM ", "USING ", "RETURNING ", "ONLY ", '"shop"."product" ', "`a` ",
    "[b] ", "product ",
    "a = %s", ", ", "(", ")", "'", "''", "'it''s' ", '"', "%s", "%%", "--\n", "/*", "*/", ";",
    "\n", " ", "\0",
]  # fmt: skip
_TAGS = ['"', '"a"', 'W/"a"', "W/", "*", ",", ", ", " ", "a", "\t", "\xe9"]
_XML = [
    "<urlset>", "</urlset>", "<url>", "</url>", "<loc>", "</loc>", "<sitemapindex>", "</sitemapindex>",
    "<sitemap>", "</sitemap>", "https://a.test/x", "&amp;", "&#0;", "&x;", "<!DOCTYPE x [", "<!ENTITY x 'y'>",
    "]>", "<?xml version='1.0'?>", "<![CDATA[", "]]>", "<!--", "-->", "x", "\0", " ",
    "<urlset><url><loc>https://a.test/x</loc></url></urlset>",
]  # fmt: skip
_OPENAPI = [
    "{", "}", "[", "]", ":", ",", '"paths"', '"servers"', '"url"', '"/x/{id}"', '"get"',
    '"parameters"', '"name"',
    '"id"', '"in"', '"path"', '"query"', '"required"', "true", '"schema"', '"example"', '"$ref"', '"#/paths"',
    '"\\ud800"', "1", "null", '"https://a.test"',
]  # fmt: skip
_TOML = [
    "[vars]\n", "[[vars.RULES]]\n", "[env.x]\n", "[env.x.vars]\n", "ORIGIN", "name", "path", "lifetime",
    " = ", '"', '"https://a.test"', '"/x/**"', '"5m"', "[", "]", "{", "}", "\n", "1", "true", "inf", "nan",
    "1979-05-27", "routes", "kv_namespaces", "binding", "id", ",", "#", "\0", "\xe9", "=", ".",
]  # fmt: skip
_TEXT = [
    "https://a.test/x",
    "\n",
    "\r\n",
    "#",
    " ",
    "\t",
    "\0",
    "\x1b[31m",
    "\xe9",
    "\ufeff",
    "a",
    "//",
    "?",
    "[",
]
_STATUSES = ["EdgeCache", ";", " ", "hit", "stored", "fwd=miss", ",", '"', "ttl=1", "key=", "a, b", "\\"]
_KEYS = ["r1/", "https/", "http/", "a.test", "/", "#", "?", "~", "a=1", "%", "..", "\xe9", "#f0"]
_HOSTS = [b"a.test", b",", b" ", b"b.test:1", b"\xff", b"http", b"https", b"ws", b"\r\n", b""]
_SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # it guards nothing

logging.getLogger("origin_sdk.events").addHandler(logging.NullHandler())
logging.getLogger("origin_sdk.events").propagate = False


def payloads(chance: Chance) -> None:
    """An entry of an outbox is refused, or comes back as it was when it is written again."""
    text = chance.long_text(_JSON)
    with suppress(InvalidRequest):
        intent = read_payload(text)
        hold(read_payload(payload_of(intent)) == intent, "an intent changes in writing", text[:200])


def messages(chance: Chance) -> None:
    """A message of a stream, a webhook or NOTIFY is read or put aside; it never holds up the next one."""
    text = chance.long_text([*_JSON, "\n", "\x1b[31m"])
    aside: list[str] = []
    intents = intents_of(read_message, text, "a stream", aside.append)
    hold(bool(intents) != bool(aside), "a message is lost", text[:200])
    hold(all(why.isprintable() for why in aside), "a log would take it for more than text", aside)
    for intent in intents_of(read_narrowly, text, "NOTIFY", aside.append):
        wide = isinstance(intent, Purge) and (intent.everything or intent.hosts or intent.delete)
        hold(not wide, "NOTIFY purges too much", text[:200])


def webhooks(chance: Chance) -> None:
    """What isn't signed with the secret is answered with 401 or 413, and recorded by nobody."""
    recorded: list[object] = []
    names = ["webhook-id", "webhook-timestamp", "webhook-signature"]
    parts = [
        "msg_1",
        ".",
        "1795400000",
        "9" * 15,
        "v1,",
        "v1a,",
        " ",
        "=",
        "\u0661",
        "\xe9",
        "\ud800",
        "-",
        "_",
    ]
    fields = {name: chance.long_text(parts) for name in names if chance.often(0.9)}
    status, _ = Webhook(_SECRET, lambda *given: recorded.extend(given)).receive(fields, b"{}")
    hold(status == 401 and not recorded, "a message that isn't signed is taken", fields)


def statements(chance: Chance) -> None:
    """A statement of SQL, in whatever dialect, is understood or not; its condition has its own parameters."""
    sql = chance.long_text(_SQL)
    for write in textual_writes(sql):
        hold(all(name == name.lower() for name in write.tables), "a table in capitals", sql[:200])
    parameters = list(range(chance.random.randrange(5)))
    if (found := condition_of(sql, parameters)) is not None:
        hold(set(found.parameters) <= set(parameters), "parameters from nowhere", sql[:200])
    set_columns(sql)


def entity_tags(chance: Chance) -> None:
    """A tag that a client sends matches only what it names; tags of any bytes are well-formed."""
    sent = chance.long_text(_TAGS)
    hold(not matches(sent, '"other"') or sent.strip() == "*", "a tag matches that wasn't sent", sent[:200])
    body = chance.long_text(_TEXT).encode("utf-8", "replace")
    packed = gzip.compress(body)[: chance.random.randrange(1, 200)] + (b"" if chance.often(0.5) else body)
    tag = etag_of(packed, chance.one(["gzip", "x-gzip", "br", ""]))
    hold(matches(tag, tag) and matches(f'"x", {tag}', tag), "a tag doesn't match itself", tag)


def bodies(chance: Chance) -> None:
    """A body that is published is refused, or bytes with a type that isn't HTML unless it says so."""
    text = chance.long_text([*_JSON, *_TEXT, "<!doctype html>", "<script>"])
    rendered: Any = chance.one([text, text.encode("utf-8", "replace"), {"a": text}, [float("nan")], {1: {2}}])
    with suppress(InvalidRequest):
        _, media_type = encoded(rendered, "https://a.test/x" + chance.one(["", ".json", ".html", ".zzz"]))
        hold(media_type.isascii(), "a type that no field can carry", media_type)


def sitemaps(chance: Chance) -> None:
    """A sitemap is refused or gives URLs, compressed or not."""
    content = chance.long_text(_XML).encode("utf-8", "surrogatepass")
    if chance.often(0.3):
        content = gzip.compress(content, 1)[: None if chance.often(0.5) else 100]
    with suppress(InvalidRequest):
        for urls in urls_of_sitemap(content):
            for url in urls[:100]:
                with suppress(InvalidRequest):
                    hold(
                        moved_to(checked_url(url), "https://b.test").startswith("https://b.test/"),
                        "left",
                        url,
                    )


def openapi(chance: Chance) -> None:
    """An OpenAPI document is refused, or gives URLs of its server."""
    parts = chance.text(_OPENAPI, 30)
    path = f'"/{chance.text(["{id}", "x", "/"])}"'
    value = chance.one(['"a"', "1", "null", "[]", "{}", '"\\ud800"', '"{id}"', '"/../x"', "1e999"])
    parameter = f'{{"name":"id","in":"{chance.one(["path", "query"])}","required":true,"example":{value}}}'
    whole = f'{{"paths":{{{path}:{{"get":{{"parameters":[{parameter},{chance.one(["1", parameter])}]}}}}}}}}'
    text = whole if chance.often(0.6) else parts
    with suppress(InvalidRequest):
        urls, _ = urls_of_openapi(text.encode("utf-8", "replace"), chance.one(["", "https://a.test"]))
        hold(all(url.startswith("https://a.test/") for url in urls), "a URL of another server", urls)


def projects(chance: Chance) -> None:
    """A wrangler.toml is refused with words, or read as the Worker reads it."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(chance.text(_TOML, 25).encode("latin-1" if chance.often(0.1) else "utf-8", "replace"))
        file.flush()
        with suppress(InvalidSettings):
            for each in read_configurations(Path(file.name)):
                with suppress(InvalidSettings):
                    read_project(Path(file.name), each.environment)


def lines(chance: Chance) -> None:
    """A file of URLs is refused with the numbers of its lines, or read in full."""
    text = chance.long_text(_TEXT)
    with tempfile.NamedTemporaryFile() as file:
        file.write(text.encode("utf-16" if chance.often(0.05) else "utf-8", "replace"))
        file.flush()
        with suppress(InvalidRequest), Lines(file.name) as read:
            count = read.check(checked_url)
            hold(count == sum(len(batch) for _, batch in read.batches(7)), "lines are lost", text[:200])


def statuses(chance: Chance) -> None:
    """A Cache-Status of any cache is read."""
    warmed("https://a.test/", 200, {"cache-status": chance.long_text(_STATUSES)})


def listed_keys(chance: Chance) -> None:
    """A key of KV that anyone may have written is taken apart."""
    name = "r1/" + chance.text(_KEYS)
    metadata: Any = chance.one([None, 1, "x", [], {"h": name}, {"h": "1 200 1 1 0 4 - -"}, {"v": [["a"]]}])
    stored = read_listed(ListedKey(name, metadata))
    hold(isinstance(stored.url, str), "no URL", name)
    base_of(name)


def forwarded(chance: Chance) -> None:
    """Whatever comes in X-Forwarded fields, an application gets one host and a scheme that ASGI knows."""
    seen: list[MutableMapping[str, Any]] = []

    async def app(scope: MutableMapping[str, Any], _: Any, __: Any) -> None:
        seen.append(scope)

    names: Sequence[bytes] = (b"host", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-host")
    headers = [
        (name, b"".join(chance.one(_HOSTS) for _ in range(chance.random.randrange(3)))) for name in names
    ]
    scope = {
        "type": "http",
        "scheme": chance.one(["http", "ws"]),
        "headers": headers[: chance.random.randrange(5)],
    }
    asyncio.run(ForwardedHost(app)(scope, None, None))
    [given] = seen
    hold(given["scheme"] in {"http", "https", "ws", "wss"}, "no scheme", given)
    hold(sum(name == b"host" for name, _ in given["headers"]) <= 1, "two hosts", given)


TARGETS: Sequence[Callable[[Chance], None]] = (
    *(payloads, messages, webhooks, statements, entity_tags, bodies, sitemaps, openapi),
    *(projects, lines, statuses, listed_keys, forwarded),
)
