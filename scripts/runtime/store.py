"""Look into a KV namespace of a local workerd, over the protocol that its KV binding speaks."""

from __future__ import annotations

import json
from typing import Any, Self
from urllib.parse import quote

import httpx

_TIMEOUT_SECONDS = 10.0


class Store:
    """The contents of a KV namespace as one location sees them."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=_TIMEOUT_SECONDS, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, key: str) -> bytes | None:
        """Return a value, or None where the key is missing."""
        response = self._client.get(_path(key))
        return None if response.status_code == httpx.codes.NOT_FOUND else response.raise_for_status().content

    def metadata(self, key: str) -> Any:
        """Return a key's metadata, or None where there is none."""
        text = self._client.get(_path(key)).headers.get("CF-KV-Metadata")
        return text and json.loads(text)

    def put(self, key: str, value: bytes, *, metadata: Any = None, ttl_seconds: int | None = None) -> None:
        """Write a value. It expires `ttl_seconds` later, at least 60."""
        self._client.put(
            _path(key),
            params={} if ttl_seconds is None else {"expiration_ttl": ttl_seconds},
            headers={} if metadata is None else {"CF-KV-Metadata": json.dumps(metadata)},
            content=value,
        ).raise_for_status()

    def delete(self, key: str) -> None:
        """Delete a key, whether it is there or not."""
        self._client.delete(_path(key)).raise_for_status()

    def keys(self, prefix: str = "") -> list[str]:
        """Return the first 1,000 keys that start with `prefix`, in order."""
        response = self._client.get("/", params={"prefix": prefix}).raise_for_status()
        return [key["name"] for key in response.json()["keys"]]


def _path(key: str) -> str:
    return "/" + quote(key, safe="")
