"""Where `origin-sdk warm` takes its URLs from: sitemaps and OpenAPI documents, in files or on the web.

What a remote document names is somebody's word: it makes this machine read no file, ask no other host, and
hold no more than the bounds below.
"""

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urljoin

import httpx

from origin_sdk._cloudflare.connections import tls
from origin_sdk._edge.warmup import MAX_DOCUMENT_BYTES, authority_of, urls_of_openapi, urls_of_sitemap
from origin_sdk._values.errors import InvalidRequest

__all__ = ["FoundUrls", "of_openapi", "of_sitemap"]

_MAX_SITEMAPS = 50
_MAX_REDIRECTS = 5
_FETCH_SECONDS = 30.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass
class FoundUrls:
    """URLs to ask for; what was left out, and why; and what a person should know."""

    urls: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def of_sitemap(place: str, base: str, found: FoundUrls) -> None:
    """Add the URLs of a sitemap, and of those that it names; raises :class:`InvalidRequest`.

    A sitemap on the web may name URLs and sitemaps on its own host, and on that of ``base``; one in a file is
    the user's own, and names http and https URLs of any host.
    """
    hosts = {host for host in (authority_of(place), authority_of(base)) if host}
    is_local = not authority_of(place)
    places, seen = deque([place]), {place}
    read = 0
    while places:
        if read == _MAX_SITEMAPS:
            found.notes.append(
                f"only the first {_MAX_SITEMAPS} sitemaps are read, {len(places)} are left out"
            )
            return
        urls, further = urls_of_sitemap(fetched(places.popleft()))
        read += 1
        for url in urls:
            host = authority_of(url)
            if host and (is_local or host in hosts):
                found.urls.append(url)
            else:
                found.left_out.append(f"{url} (not a URL of {_named(hosts)})")
        for other in further:
            host = authority_of(other)
            if not host or not (host in hosts or (is_local and not hosts)):
                found.left_out.append(f"{other} (a sitemap elsewhere than at {_named(hosts)})")
            elif other not in seen:
                seen.add(other)
                places.append(other)


def _named(hosts: set[str]) -> str:
    return " or ".join(sorted(hosts)) or "any http(s) host"


def of_openapi(place: str, base: str, found: FoundUrls) -> None:
    """Add the URLs of an OpenAPI document; raises :class:`InvalidRequest`."""
    urls, left_out = urls_of_openapi(fetched(place), base)
    found.urls += urls
    found.left_out += [f"{path} (a parameter has no example)" for path in left_out]


def fetched(place: str) -> bytes:
    """Read a file, or what a URL answers; redirects are followed on the same host alone."""
    try:
        if not authority_of(place):
            return _read_file(place)
        with httpx.Client(timeout=_FETCH_SECONDS, verify=tls()) as client:
            return _get(client, place)
    except (OSError, httpx.HTTPError, httpx.InvalidURL) as error:
        raise InvalidRequest(f"{place}: can't be read: {error}") from error


def _read_file(place: str) -> bytes:
    if "://" in place:
        raise InvalidRequest(f"{place}: can't be read: give a file, or an http or https URL")
    with Path(place).open("rb") as file:
        content = file.read(MAX_DOCUMENT_BYTES + 1)
    _check_size(place, content)
    return content


def _get(client: httpx.Client, place: str) -> bytes:
    host = authority_of(place)
    for _ in range(_MAX_REDIRECTS + 1):
        with client.stream("GET", place) as response:
            location = response.headers.get("location", "")
            if response.status_code not in _REDIRECTS or not location:
                response.raise_for_status()
                content = bytearray()
                for chunk in response.iter_bytes():
                    content += chunk
                    _check_size(place, content)
                return bytes(content)
        place = urljoin(place, location)
        if authority_of(place) != host:
            raise InvalidRequest(f"{place}: can't be read: {host} redirects to another host; name that one")
    raise InvalidRequest(f"{place}: can't be read: more than {_MAX_REDIRECTS} redirects")


def _check_size(place: str, content: bytes | bytearray) -> None:
    if len(content) > MAX_DOCUMENT_BYTES:
        raise InvalidRequest(
            f"{place}: longer than {MAX_DOCUMENT_BYTES >> 20} MiB, the bound of a sitemap; split it"
        )
