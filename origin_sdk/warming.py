"""Ask the Worker for URLs, so that it stores them before clients come; and where lists of URLs come from."""

import gzip
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urljoin
from xml.parsers import expat

from origin_sdk.errors import InvalidRequest

__all__ = ["Warmed", "urls_of_list", "urls_of_openapi", "urls_of_sitemap", "warmed"]

_MEMBERS = re.compile(r"\s*,\s*")


@dataclass(frozen=True, slots=True)
class Warmed:
    """How one URL came out. ``cached`` if the cache has it now, from before or from this request."""

    url: str
    status: int = 0
    cached: bool = False
    cache_status: str = ""
    error: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {name: getattr(self, name) for name in self.__slots__}


def warmed(url: str, status: int, fields: Mapping[str, str]) -> Warmed:
    """Read from a response's Cache-Status (RFC 9211) whether the edge holds it."""
    cache_status = fields.get("cache-status", "")
    # The last member is that of the cache nearest to the client.
    nearest = _MEMBERS.split(cache_status)[-1]
    parameters = {part.strip() for part in nearest.split(";")[1:]}
    return Warmed(url, status, cached=not parameters.isdisjoint({"hit", "stored"}), cache_status=cache_status)


def urls_of_list(text: str) -> Iterator[str]:
    """Yield the URLs of a text with one in each line.

    Empty lines and those that begin with ``#`` don't count.
    """
    return (line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))


def urls_of_sitemap(content: bytes) -> tuple[list[str], list[str]]:
    """Return the URLs of a sitemap (sitemaps.org), and those of further sitemaps that it names.

    It may be compressed.

    Raises :class:`InvalidRequest` if it isn't one. Entities aren't expanded.
    """
    if content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)
    reader = _SitemapReader()
    try:
        reader.read(content)
    except expat.ExpatError as error:
        raise InvalidRequest(f"not a sitemap: {error}; give one as of sitemaps.org") from error
    return reader.urls, reader.sitemaps


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

    def _characters(self, text: str) -> None:
        self._text += text

    def _end(self, _: str) -> None:
        match self._path[-2:]:
            case ["url", "loc"]:
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
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidRequest("not an OpenAPI document in JSON; YAML has to be converted first") from error
    server = base or next((server.get("url", "") for server in document.get("servers", ())), "")
    if "://" not in server:
        raise InvalidRequest(
            f"the document's server is {server!r}: say where the API is with --base https://host"
        )
    urls: list[str] = []
    left_out: list[str] = []
    for path, item in paths.items():
        if not (isinstance(item, dict) and isinstance(item.get("get"), dict)):
            continue
        filled = _filled(path, [*item.get("parameters", ()), *item["get"].get("parameters", ())])
        if filled is None:
            left_out.append(path)
        else:
            urls.append(server.rstrip("/") + filled)
    return urls, left_out


def _filled(path: str, parameters: Iterable[Mapping[str, Any]]) -> str | None:
    query: list[str] = []
    for parameter in parameters:
        name, place = parameter.get("name", ""), parameter.get("in")
        if place not in {"path", "query"} or not (parameter.get("required") or place == "path"):
            continue
        value = _example(parameter)
        if value is None:
            return None
        encoded = quote(str(value), safe="")
        if place == "path":
            path = path.replace(f"{{{name}}}", encoded)
        else:
            query.append(f"{quote(name, safe='')}={encoded}")
    return None if "{" in path else path + ("?" + "&".join(query) if query else "")


def _example(parameter: Mapping[str, Any]) -> object:
    schema = parameter.get("schema", {})
    examples = [
        value.get("value") for value in (parameter.get("examples") or {}).values() if isinstance(value, dict)
    ]
    enum = schema.get("enum") or ()
    candidates = [
        parameter.get("example"),
        *examples,
        schema.get("example"),
        *(schema.get("examples") or ()),
        schema.get("default"),
        *enum,
    ]
    return next((value for value in candidates if value is not None), None)


def moved_to(url: str, base: str) -> str:
    """Return ``url`` on another scheme and host, for a cache that isn't under its final name yet."""
    if not base:
        return url
    path = url.split("://", 1)[-1].partition("/")[2]
    return urljoin(base.rstrip("/") + "/", path)
