"""A signed webhook as a source, after the Standard Webhooks specification: for any framework.

::

    webhook = Webhook("whsec_…", outbox.record)

    @app.post("/edge-events")
    async def events(request: Request) -> Response:
        status, text = webhook.receive(request.headers, await request.body())
        return Response(text, status)
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping

from origin_sdk._process.clock import Clock, SystemClock
from origin_sdk._values.errors import InvalidRequest, InvalidSettings
from origin_sdk.events.calls import Recorder
from origin_sdk.events.messages import Reads, read_intents, read_message

__all__ = ["TOLERANCE_SECONDS", "Webhook", "signature"]

TOLERANCE_SECONDS = 300.0
"""A message that is older, or from the future, is refused: it may be a replay."""

_MAX_BYTES = 1_000_000
_MIN_KEY_BYTES = 24
_ID = re.compile(r"[!-\-/-~]{1,256}")


def signature(key: bytes, id_: str, timestamp: str, body: bytes) -> str:
    """Return what ``webhook-signature`` has to be, for senders and tests."""
    signed = b".".join((id_.encode(), timestamp.encode(), body))
    return f"v1,{base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()}"


class Webhook:
    """Checks signature and age, and records what the message says.

    Several secrets, separated by spaces, are for changing them without a gap. A message that comes twice is
    recorded twice, which purges twice: that does no harm.
    """

    def __init__(
        self, secrets: str, record: Recorder, *, read: Reads = read_message, clock: Clock | None = None
    ) -> None:
        self._keys = [_key(secret) for secret in secrets.split()]
        if not self._keys:
            raise InvalidSettings("a webhook needs a secret: whsec_ and 24 random bytes or more in base64")
        self._record, self._read, self._clock = record, read, clock or SystemClock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._keys)} secrets)"

    def receive(self, fields: Mapping[str, str], body: bytes) -> tuple[int, str]:
        """Take a POST's header fields and body; return the status and text to answer with."""
        by_name = {name.lower(): value for name, value in fields.items()}
        id_, timestamp = by_name.get("webhook-id", ""), by_name.get("webhook-timestamp", "")
        if len(body) > _MAX_BYTES:
            return 413, "too long"
        if not self._is_signed(id_, timestamp, body, by_name.get("webhook-signature", "")):
            return 401, "the signature doesn't match"
        if abs(self._clock.now() - float(timestamp)) > TOLERANCE_SECONDS:
            return 401, "the timestamp is too far from now"
        try:
            intents = read_intents(self._read, body.decode("utf-8", "replace"))
        except InvalidRequest as error:
            return 422, str(error)
        if intents:
            self._record(*intents)
        return 202, ""

    def _is_signed(self, id_: str, timestamp: str, body: bytes, given: str) -> bool:
        # What is signed is joined by dots, so that one in the id would let its parts be cut differently.
        if not _ID.fullmatch(id_):
            return False
        if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 16):
            return False
        known = [signature(key, id_, timestamp, body).encode() for key in self._keys]
        # All are compared, each in constant time.
        matches = [
            hmac.compare_digest(part.encode(errors="replace"), one)
            for part in given.split(" ")
            for one in known
        ]
        return any(matches)


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        key = b""
    if len(key) < _MIN_KEY_BYTES:
        raise InvalidSettings(
            f"a webhook's secret is whsec_ and {_MIN_KEY_BYTES} random bytes or more in base64"
        )
    return key
