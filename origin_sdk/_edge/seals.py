"""Seals what the origin's side writes to KV, and opens what lies there, with the Worker's ``STORE_KEYS``.

:mod:`origin_sdk_wire.seals` says how it is laid out.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from origin_sdk._values.errors import InvalidSettings
from origin_sdk_wire.errors import BrokenSeal
from origin_sdk_wire.seals import (
    GENERATION_BYTES,
    NONCE_BYTES,
    Purpose,
    Seal,
    SealedParts,
    StoreKey,
    authenticated,
    bound_to_body,
    bound_to_value,
    derived,
    encrypted_metadata,
    key_named,
    note_of,
    opened_text,
    part_mac,
    sealed_text,
    verified,
)

__all__ = ["UNSEALED", "ClientSeals"]


@dataclass(frozen=True, slots=True)
class ClientSeals:
    """The keys of one client, the first of which writes. Without any nothing is sealed."""

    keys: Sequence[StoreKey] = ()

    def text(self, key: str, text: str) -> str:
        """Return the value of a mark as it is to lie under ``key``."""
        return sealed_text(self.keys[0], key, text) if self.keys else text

    def opened_text(self, key: str, value: str) -> str | None:
        """Return the value of a mark; with keys ``None`` for one that nobody wrote who has them."""
        if not self.keys:
            return value
        try:
            return opened_text(self.keys, key, value)
        except BrokenSeal:
            return None

    def metadata(self, key: str, metadata: Mapping[str, object], value: bytes = b"") -> Mapping[str, object]:
        """Return metadata as they are to lie under ``key`` beside ``value``, authenticated with it."""
        return authenticated(self.keys[0], key, metadata, value) if self.keys else metadata

    def opened_metadata(self, key: str, metadata: object, value: bytes = b"") -> object:
        """Return metadata; with keys ``None`` for those that nobody wrote who has them."""
        if not self.keys:
            return metadata
        try:
            return verified(self.keys, key, metadata, value)
        except BrokenSeal:
            return None

    def closed(
        self, seal: Seal, key: str, metadata: Mapping[str, object], value: bytes
    ) -> tuple[Mapping[str, object], bytes]:
        """Return metadata and value of a record as they are to lie under ``key``."""
        if seal is not Seal.ENCRYPT or not self.keys:
            return (metadata if seal is Seal.NONE else self.metadata(key, metadata, value)), value
        own, head = self.keys[0], json.dumps(metadata, ensure_ascii=False, separators=(",", ":")).encode()
        bound = bound_to_value(own.id, key, len(head))
        sealed = _encrypt(derived(own, Purpose.ENCRYPT), head + value, bound)
        return json.loads(encrypted_metadata(own.id, len(head))), sealed

    def closed_body(self, seal: Seal, body_key: str, body: bytes) -> bytes:
        """Return a body that lies apart in sealed parts."""
        own = self.keys[0]
        parts = SealedParts(seal, own.id, os.urandom(GENERATION_BYTES), len(body))
        sealed = [parts.header]
        for number in range(parts.count):
            begin, end = parts.span(number)
            part, bound = body[begin:end], bound_to_body(parts, body_key, number)
            if seal is Seal.ENCRYPT:
                sealed.append(_encrypt(derived(own, Purpose.ENCRYPT), part, bound))
            else:
                sealed += (part_mac(own, bound, part), part)
        return b"".join(sealed)

    def opened(self, key: str, metadata: object, value: bytes) -> tuple[object, bytes]:
        """Return metadata and value of a record as they were before it was sealed.

        What has no seal is returned as it is. Raises :class:`BrokenSeal`.
        """
        note = note_of(metadata)
        if note is None:
            return metadata, value
        own = key_named(self.keys, note.key_id)
        if note.seal is Seal.AUTHENTICATE:
            return verified(self.keys, key, metadata, value), value
        plain = _decrypt(derived(own, Purpose.ENCRYPT), value, bound_to_value(own.id, key, note.size_bytes))
        return json.loads(plain[: note.size_bytes]), plain[note.size_bytes :]


UNSEALED = ClientSeals()


def _encrypt(secret: bytes, plain: bytes, bound: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    encrypted: bytes = _cipher(secret).encrypt(nonce, plain, bound)
    return nonce + encrypted


def _decrypt(secret: bytes, sealed: bytes, bound: bytes) -> bytes:
    cipher = _cipher(secret)
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - an extra

    try:
        plain: bytes = cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound)
    except (InvalidTag, ValueError) as error:
        raise BrokenSeal(BrokenSeal.BROKEN, "it was altered, or moved from another key") from error
    return plain


def _cipher(secret: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise InvalidSettings(
            "what is encrypted needs a package: pip install 'origin-sdk[crypto]'"
        ) from error
    return AESGCM(secret)
