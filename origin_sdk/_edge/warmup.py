"""Ask the Worker for URLs, so that it stores them before clients come; and where lists of URLs come from."""

import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit
from xml.parsers import expat

from origin_sdk._values.arguments import check_type
from origin_sdk._values.errors import InvalidRequest
from origin_sdk._values.texts import Texts, text, texts

__all__ = [
    "MAX_DOCUMENT_BYTES",
    "WarmRequest",
    "Warmed",
    "authority_of",
    "checked_url",
    "moved_to",
    "to_warm",
    "urls_of_openapi",
    "urls_of_sitemap",
    "warmed",
]

MAX_DOCUMENT_BYTES = 50 * 1024 * 1024
"""How large a sitemap may be, uncompressed (sitemaps.org); an OpenAPI document, too."""

_MAX_URLS = 50_000
"""How many URLs a sitemap may name (sitemaps.org)."""

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class WarmRequest:
    """How URLs are asked for: ``content`` and the fields that describe it are for QUERY and POST."""

    method: str = "GET"
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def options(self) -> dict[str, Any]:
        """Return what httpx takes: no content, and so no Content-Length, on a GET."""
        sent = {} if self.method == "GET" and not self.content else {"content": self.content}
        return {"headers": dict(self.headers), **sent}


@dataclass(frozen=True, slots=True)
class Warmed:
    """How one URL came out. ``cached`` if the cache has it now, from before or from this request."""

    url: str
    status: int = 0
    cached: bool = False
    cache_status: str = ""
    error: str = ""

    @property
    def failed(self) -> bool:
        """Whether something is wrong: no answer, the origin's error, or no cache on the way.

        That the cache doesn't keep a response is its decision, and no failure.
        """
        return bool(self.error) or (
            not self.cached and (not self.cache_status or self.status >= _SERVER_ERROR)
        )

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {name: getattr(self, name) for name in self.__slots__}


def to_warm(urls: Texts, concurrency: int) -> tuple[str, ...]:
    """Return the URLs to ask for, each once. Raises InvalidRequest for what is none, or how many at once."""
    check_type("concurrency", concurrency, int, "how many may be asked for at once")
    if concurrency < 1:
        raise InvalidRequest(
            f"concurrency = {concurrency}: give how many may be asked for at once, 1 at least"
        )
    return tuple(map(text, texts(urls)))


def warmed(url: str, status: int, fields: Mapping[str, str]) -> Warmed:
    """Read from a response's Cache-Status (RFC 9211) whether the edge holds it."""
    cache_status = fields.get("cache-status", "")
    # The last member is that of the cache nearest to the client.
    nearest = _QUOTED.sub("", cache_status).rpartition(",")[2]
    parameters = {part.strip() for part in nearest.split(";")[1:]}
    return Warmed(url, status, cached=not parameters.isdisjoint({"hit", "stored"}), cache_status=cache_status)


def authority_of(url: str) -> str:
    """Return the host, and the port if it has one, of an http or https URL; ``""`` for anything else."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for one that isn't a number
    except ValueError:
        return ""
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        return ""
    return parts.netloc.lower()


def checked_url(url: str) -> str:
    """Return ``url`` if it is an absolute http or https URL; raises :class:`InvalidRequest`."""
    if not authority_of(url) or any(character.isspace() or not character.isprintable() for character in url):
        raise InvalidRequest(f"{url!r} isn't an absolute http or https URL")
    return url


def urls_of_sitemap(content: bytes) -> tuple[list[str], list[str]]:
    """Return the URLs of a sitemap (sitemaps.org), and those of further sitemaps that it names.

    It may be compressed.

    Raises :class:`InvalidRequest` if it isn't one. Entities aren't expanded.
    """
    reader = _SitemapReader()
    try:
        reader.read(_gunzipped(content) if content.startswith(b"\x1f\x8b") else content)
    except (expat.ExpatError, zlib.error) as error:
        raise InvalidRequest(f"not a sitemap: {error}; give one in the format of sitemaps.org") from error
    return reader.urls, reader.sitemaps


def _gunzipped(content: bytes) -> bytes:
    """Decompress up to the bound: three megabytes of gzip can hold three gigabytes."""
    decompressor = zlib.decompressobj(wbits=31)
    document = decompressor.decompress(content, MAX_DOCUMENT_BYTES + 1)
    if len(document) > MAX_DOCUMENT_BYTES:
        raise InvalidRequest(
            f"not a sitemap: longer than {MAX_DOCUMENT_BYTES >> 20} MiB when decompressed; split it"
        )
    return document


class _SitemapReader:
    def __init__(self) -> None:
        self.urls: list[str] = []
        self.sitemaps: list[str] = []
        self._path: list[str] = []
        self._text = ""

    def read(self, content: bytes) -> None:
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.EntityDeclHandler = self._entity
        parser.Parse(content, True)

    def _start(self, name: str, _: dict[str, str]) -> None:
        self._path.append(name.rpartition(" ")[2])
        self._text = ""

    def _characters(self, characters: str) -> None:
        self._text += characters

    def _end(self, _: str) -> None:
        match self._path[-2:]:
            case ["url", "loc"]:
                if len(self.urls) == _MAX_URLS:
                    raise InvalidRequest(f"not a sitemap: more than {_MAX_URLS:,} URLs; split it")
                self.urls.append(self._text.strip())
            case ["sitemap", "loc"]:
                self.sitemaps.append(self._text.strip())
        self._path.pop()

    def _entity(self, *_: object) -> None:
        raise InvalidRequest("not a sitemap: it declares entities; remove its DOCTYPE")


def urls_of_openapi(content: bytes, base: str = "") -> tuple[list[str], list[str]]:
    """Return the URLs of an OpenAPI document's GET operations, and the paths left out for want of examples.

    Path and required query parameters take their ``example``, ``default`` or first ``enum`` value. ``base``
    replaces the document's own server. Raises :class:`InvalidRequest`.
    """
    try:
        document = json.loads(content)
        paths: Mapping[str, Any] = document["paths"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InvalidRequest("not an OpenAPI document in JSON; YAML has to be converted first") from error
    if not isinstance(paths, Mapping):
        raise InvalidRequest('not an OpenAPI document: its "paths" isn\'t an object')
    server = base or _server(document)
    if not authority_of(server):
        raise InvalidRequest(
            f"the document's server is {server!r}: say where the API is with --base https://host"
        )
    urls: list[str] = []
    left_out: list[str] = []
    for path, item in paths.items():
        if not (isinstance(item, dict) and isinstance(item.get("get"), dict)):
            continue
        parameters = [*_parameters(document, item), *_parameters(document, item["get"])]
        filled = _filled(path, parameters) if path.startswith("/") else None
        if filled is None:
            left_out.append(path)
        else:
            urls.append(server.rstrip("/") + filled)
    return urls, left_out


def _server(document: Mapping[str, Any]) -> str:
    servers = document.get("servers")
    first = servers[0] if isinstance(servers, list) and servers else {}
    return str(first.get("url", "")) if isinstance(first, Mapping) else ""


def _parameters(document: Mapping[str, Any], holder: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the parameters of a path or an operation, references within the document resolved."""
    given = holder.get("parameters")
    for parameter in given if isinstance(given, list) else ():
        if isinstance(parameter, Mapping):
            yield _resolved(document, parameter)


def _resolved(document: Mapping[str, Any], parameter: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = parameter.get("$ref")
    if not isinstance(reference, str):
        return parameter
    found: Any = document
    for step in reference.removeprefix("#/").split("/"):
        found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
    # One that isn't found may be required, and in the path: without an example the URL is left out.
    return found if isinstance(found, Mapping) else {"name": "", "in": "query", "required": True}


def _filled(path: str, parameters: Iterable[Mapping[str, Any]]) -> str | None:
    query: list[str] = []
    for parameter in parameters:
        name, place = str(parameter.get("name", "")), parameter.get("in")
        if place not in {"path", "query"} or not (parameter.get("required") or place == "path"):
            continue
        value = _example(parameter)
        if value is None or not (_is_text(value) and _is_text(name)):
            return None
        encoded = quote(str(value), safe="")
        if place == "path":
            path = path.replace(f"{{{name}}}", encoded)
        else:
            query.append(f"{quote(name, safe='')}={encoded}")
    return None if "{" in path else path + ("?" + "&".join(query) if query else "")


def _is_text(value: object) -> bool:
    """Whether it can stand in a URL: JSON may name halves of characters."""
    return not any("\ud800" <= character <= "\udfff" for character in str(value))


def _example(parameter: Mapping[str, Any]) -> object:
    schema = _mapping(parameter.get("schema"))
    examples = [_mapping(value).get("value") for value in _mapping(parameter.get("examples")).values()]
    candidates = [
        parameter.get("example"),
        *examples,
        schema.get("example"),
        *_list(schema.get("examples")),
        schema.get("default"),
        *_list(schema.get("enum")),
    ]
    return next((value for value in candidates if value is not None), None)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def moved_to(url: str, base: str) -> str:
    """Return ``url`` on another scheme and host, for a cache that isn't under its final name yet.

    Whatever stands in ``url``, the result begins with ``base``.
    """
    if not base:
        return url
    parts = urlsplit(url)
    query = f"?{parts.query}" if parts.query else ""
    return f"{base.rstrip('/')}{parts.path or '/'}{query}"
