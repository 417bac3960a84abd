"""Issuers' keys through the runtime's fetch, and signatures by WebCrypto."""

import json
from collections.abc import Mapping
from typing import Any

import js
from pyodide.ffi import JsException, to_js

from origin_sdk_edge.adapters.bodies import read_at_most
from origin_sdk_edge.adapters.javascript import from_json
from origin_sdk_edge.adapters.promises import Promised, promised, within
from origin_sdk_edge.ports import KeysError

__all__ = ["WebKeys"]

_MOST_BYTES = 256 * 1024
_MOST_IMPORTED = 64
# By algorithm: what a key is imported as, and how it verifies (RFC 7518 section 3, RFC 8037 section 3.1).
_ALGORITHMS: Mapping[str, tuple[Mapping[str, object], Mapping[str, object]]] = {
    "RS256": ({"name": "RSASSA-PKCS1-v1_5", "hash": "SHA-256"}, {"name": "RSASSA-PKCS1-v1_5"}),
    "PS256": ({"name": "RSA-PSS", "hash": "SHA-256"}, {"name": "RSA-PSS", "saltLength": 32}),
    "ES256": ({"name": "ECDSA", "namedCurve": "P-256"}, {"name": "ECDSA", "hash": "SHA-256"}),
    "EdDSA": ({"name": "Ed25519"}, {"name": "Ed25519"}),
}
_GET = '{"redirect": "manual", "headers": {"accept": "application/jwk-set+json, application/json"}}'


class WebKeys:
    """See :class:`origin_sdk_edge.ports.Keys`."""

    def __init__(self) -> None:
        self._imported: dict[str, Any] = {}

    async def fetch(self, url: str, timeout_seconds: float) -> str:
        """Return the JWK Set at a URL."""
        init, controller = from_json(_GET), js.AbortController.new()
        init.signal = controller.signal
        ends_ms = js.Date.now() + timeout_seconds * 1000

        def bounded(waiting: Promised) -> Promised:
            return within(max(0.001, (ends_ms - js.Date.now()) / 1000), waiting, controller.abort)

        try:
            response = await bounded(promised(js.fetch, None, url, init))
            if response.status != 200:
                controller.abort()
                raise KeysError(f"{url} answered {response.status}")
            body = await read_at_most(_MOST_BYTES, response.body, bounded) if response.body else None
        except ValueError as error:
            controller.abort()
            raise KeysError(f"{url}: {error}, and a JWK Set has at most that") from error
        except JsException as error:
            raise KeysError(f"{url}: {error}") from error
        except TimeoutError as error:
            raise KeysError(f"{url} took longer than {timeout_seconds:g} s") from error
        octets: bytes = body.to_bytes() if body else b""
        return octets.decode("utf-8", "replace")

    async def verify(self, algorithm: str, key: Mapping[str, str], signature: bytes, message: bytes) -> bool:
        """Return whether a signature of ``message`` is right."""
        crypto, (_, how) = js.crypto.subtle, _ALGORITHMS[algorithm]
        try:
            imported = await self._key(algorithm, key)
            verifying = promised(
                crypto.verify, crypto, from_json(json.dumps(how)), imported, to_js(signature), to_js(message)
            )
            return bool(await verifying)
        except JsException:
            return False  # a key that is none, or a signature that can't be one of it

    async def _key(self, algorithm: str, key: Mapping[str, str]) -> Any:
        crypto, (kind, _) = js.crypto.subtle, _ALGORITHMS[algorithm]
        name = json.dumps([algorithm, dict(key)])
        if name not in self._imported:
            if len(self._imported) >= _MOST_IMPORTED:
                self._imported.clear()
            jwk, kind_of, uses = (from_json(json.dumps(value)) for value in (dict(key), kind, ["verify"]))
            importing = promised(crypto.importKey, crypto, "jwk", jwk, kind_of, False, uses)
            self._imported[name] = await importing
        return self._imported[name]
