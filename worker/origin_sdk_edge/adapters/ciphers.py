"""Seals by WebCrypto: large bodies never enter the Python heap.

A MAC of little is made in Python: some fifteen ways to JavaScript and back, and a promise, take longer.
"""

from hmac import digest
from typing import Any

import js
from pyodide.ffi import JsException, to_js

from origin_sdk_edge.adapters.bodies import joined
from origin_sdk_edge.adapters.javascript import from_json
from origin_sdk_edge.adapters.promises import promised
from origin_sdk_edge.ports import Body
from origin_sdk_wire.seals import NONCE_BYTES

__all__ = ["WebCiphers"]

_AES = '{"name": "AES-GCM"}'
_HMAC = '{"name": "HMAC", "hash": "SHA-256"}'
_LITTLE_BYTES = 32 * 1024
"""So much Python digests in some 80 µs."""


class WebCiphers:
    """See :class:`origin_sdk_edge.ports.Ciphers`."""

    def __init__(self) -> None:
        self._crypto = js.crypto.subtle
        self._imported: dict[tuple[str, bytes], Any] = {}

    async def encrypt(self, secret: bytes, plain: Body, bound: bytes) -> Body:
        """Return a nonce, the ciphertext and its tag."""
        key = await self._key(_AES, secret, '["encrypt", "decrypt"]')
        nonce = js.crypto.getRandomValues(js.Uint8Array.new(NONCE_BYTES))
        sealed = await promised(self._crypto.encrypt, self._crypto, _with(nonce, bound), key, plain)
        return joined((nonce, sealed))

    async def decrypt(self, secret: bytes, sealed: Body, bound: bytes) -> Body:
        """Return what was encrypted."""
        key = await self._key(_AES, secret, '["encrypt", "decrypt"]')
        try:
            nonce = js.Uint8Array.new(sealed, 0, NONCE_BYTES)
            ciphertext = js.Uint8Array.new(sealed, NONCE_BYTES)
            return await promised(self._crypto.decrypt, self._crypto, _with(nonce, bound), key, ciphertext)
        except JsException as error:
            raise ValueError(str(error)) from error

    async def sign(self, secret: bytes, bound: bytes, body: Body) -> bytes:
        """Return a MAC."""
        if body.byteLength <= _LITTLE_BYTES:
            return digest(secret, bound + body.to_bytes(), "sha256")
        key = await self._key(_HMAC, secret, '["sign"]')
        message = joined((to_js(bound), body))
        mac = await promised(self._crypto.sign, self._crypto, "HMAC", key, message)
        octets: bytes = mac.to_bytes()
        return octets

    def random(self, size_bytes: int) -> bytes:
        """Return random bytes."""
        octets: bytes = js.crypto.getRandomValues(js.Uint8Array.new(size_bytes)).to_bytes()
        return octets

    async def _key(self, kind: str, secret: bytes, uses: str) -> Any:
        found = self._imported.get((kind, secret))
        if found is None:
            crypto, how = self._crypto, (from_json(kind), False, from_json(uses))
            found = await promised(crypto.importKey, crypto, "raw", to_js(secret), *how)
            self._imported[kind, secret] = found
        return found


def _with(nonce: Any, bound: bytes) -> Any:
    how = from_json(_AES)
    how.iv, how.additionalData = nonce, to_js(bound)
    return how
