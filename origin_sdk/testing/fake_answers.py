"""How Cloudflare's API answers and refuses, as the fake one does."""

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

from origin_sdk_wire.key import MAX_KEY_BYTES
from origin_sdk_wire.record import MAX_METADATA_BYTES

__all__ = ["Answer", "RefusalError", "accepted", "check_pair", "decoded_list", "refused"]

_MIN_TTL_SECONDS = 60

Answer: TypeAlias = tuple[int, bytes]


class RefusalError(Exception):
    """A request that the API refuses, with its status, its error's code and its message."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def check_pair(number: int, pair: Mapping[str, Any]) -> None:
    """Refuse what Cloudflare refuses; one bad pair spoils the request."""
    key = pair.get("key")
    if not isinstance(key, str) or not 0 < len(key.encode()) <= MAX_KEY_BYTES or key in {".", ".."}:
        raise RefusalError(400, 10001, f"{number}.key: from 1 to {MAX_KEY_BYTES} bytes")
    if not isinstance(pair.get("value"), str):
        raise RefusalError(400, 10001, f"{number}.value: a string")
    ttl = pair.get("expiration_ttl")
    if ttl is not None and ttl < _MIN_TTL_SECONDS:
        raise RefusalError(400, 10001, f"{number}.expiration_ttl: at least {_MIN_TTL_SECONDS}")
    if (
        len(json.dumps(pair.get("metadata"), ensure_ascii=False, separators=(",", ":")).encode())
        > MAX_METADATA_BYTES
    ):
        raise RefusalError(413, 10001, f"{number}.metadata: at most {MAX_METADATA_BYTES} bytes")


def decoded_list(body: bytes) -> list[Any]:
    """Return the content of a bulk request."""
    try:
        decoded = json.loads(body)
    except ValueError:
        decoded = None
    if not isinstance(decoded, list):
        raise RefusalError(400, 10001, "the body isn't a JSON list")
    return decoded


def accepted(result: object, info: object = None) -> Answer:
    """Return the answer to what was done."""
    envelope = {"success": True, "errors": [], "messages": [], "result": result}
    return 200, json.dumps(envelope if info is None else {**envelope, "result_info": info}).encode()


def refused(code: int, message: str) -> bytes:
    """Return the content of a refusal."""
    return json.dumps(
        {"success": False, "errors": [{"code": code, "message": message}], "messages": [], "result": None}
    ).encode()
