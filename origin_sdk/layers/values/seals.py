"""Keep what a store holds secret, or at least unchanged, with keys of the application's own.

A sealed payload is ``name length, key name, nonce, ciphertext``; a signed one ``name length, key name, MAC,
payload``. The cache's prefix, the cache key, the record's birth, the envelope's header with lifetimes and
groups, and the key's name are bound in: no record can be passed off as another's, or as a newer one.
"""

import hmac
import os
from collections.abc import Mapping
from typing import Protocol

from origin_sdk._values.errors import InvalidSettings
from origin_sdk.layers.errors import UnreadableRecord

__all__ = ["Encryption", "Seal", "Signature"]

_NONCE_BYTES = 12
_MAC_BYTES = 32
_MIN_KEY_BYTES = 32


class Seal(Protocol):
    """Protects payloads."""

    number: int
    """Its number in an envelope."""
    hides: bool
    """Whether the payload can't be read without the key."""

    def close(self, payload: bytes, bound: bytes) -> bytes:
        """Return the protected payload."""
        ...

    def open(self, sealed: bytes, bound: bytes) -> bytes:
        """Return the payload. Raises UnreadableRecord if a byte of it or of what is bound in is another."""
        ...


class _Keyring:
    """Secrets by name. The first protects, all are accepted: put a new one first, drop the old one later."""

    def __init__(self, secrets: Mapping[str, bytes]) -> None:
        if not secrets:
            raise InvalidSettings("no key is given")
        for name, secret in secrets.items():
            if not 0 < len(name.encode()) < 256:
                raise InvalidSettings(f"key name {name!r}: 1 to 255 bytes are needed")
            if len(secret) < _MIN_KEY_BYTES:
                raise InvalidSettings(f"key {name!r} has {len(secret)} bytes: {_MIN_KEY_BYTES} are needed")
        self.secrets = dict(secrets)
        self.first = next(iter(secrets))

    def header(self) -> bytes:
        name = self.first.encode()
        return bytes((len(name),)) + name

    def split(self, sealed: bytes) -> tuple[str, bytes, bytes]:
        """Return key name, header and rest."""
        end = 1 + (sealed[0] if sealed else 0)
        name = sealed[1:end].decode(errors="replace")
        if name not in self.secrets:
            raise UnreadableRecord(f"sealed with the key {name!r}, which isn't on the ring")
        return name, sealed[:end], sealed[end:]


class Encryption:
    """AES-256-GCM with a random nonce. Needs ``pip install origin-sdk[crypto]``."""

    number = 1
    hides = True

    def __init__(self, secrets: Mapping[str, bytes]) -> None:
        try:
            from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - an extra
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - an extra
        except ModuleNotFoundError as error:
            raise InvalidSettings("encryption needs a package: pip install 'origin-sdk[crypto]'") from error
        self._ring = _Keyring(secrets)
        if any(len(secret) != _MIN_KEY_BYTES for secret in secrets.values()):
            raise InvalidSettings("AES-256 needs keys of exactly 32 bytes")
        self._ciphers = {name: AESGCM(secret) for name, secret in secrets.items()}
        self._invalid = InvalidTag

    def close(self, payload: bytes, bound: bytes) -> bytes:
        """Encrypt."""
        header, nonce = self._ring.header(), os.urandom(_NONCE_BYTES)
        return header + nonce + self._ciphers[self._ring.first].encrypt(nonce, payload, header + bound)

    def open(self, sealed: bytes, bound: bytes) -> bytes:
        """Decrypt."""
        name, header, rest = self._ring.split(sealed)
        try:
            return self._ciphers[name].decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], header + bound)
        except (self._invalid, ValueError) as error:
            raise UnreadableRecord("the record was changed, or belongs to another key") from error


class Signature:
    """HMAC-SHA256 over a payload that may be read but not changed."""

    number = 2
    hides = False

    def __init__(self, secrets: Mapping[str, bytes]) -> None:
        self._ring = _Keyring(secrets)

    def _mac(self, name: str, header: bytes, bound: bytes, payload: bytes) -> bytes:
        message = len(bound).to_bytes(4, "big") + header + bound + payload
        return hmac.digest(self._ring.secrets[name], message, "sha256")

    def close(self, payload: bytes, bound: bytes) -> bytes:
        """Sign."""
        header = self._ring.header()
        return header + self._mac(self._ring.first, header, bound, payload) + payload

    def open(self, sealed: bytes, bound: bytes) -> bytes:
        """Verify."""
        name, header, rest = self._ring.split(sealed)
        mac, payload = rest[:_MAC_BYTES], rest[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(name, header, bound, payload)):
            raise UnreadableRecord("the record was changed, or belongs to another key")
        return payload
