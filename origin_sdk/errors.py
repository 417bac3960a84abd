"""Everything that the SDK raises, split by whose fault it is.

::

    OriginSdkError
    ├── InvalidRequest (ValueError)   the caller: a URL, group or option that can't be
    │   ├── InvalidSettings           the environment: a setting is missing, or two make no sense together
    │   └── NotCacheable              the response: it must not be shared, and was to be
    │       └── DataClassViolation    data were to go where their class forbids it
    ├── CloudflareError               Cloudflare's API said no
    │   ├── AuthenticationFailed      the token: unknown, expired, or without the permission that is named
    │   ├── NamespaceNotFound         the namespace or account id
    │   ├── RateLimited               too many requests, and no time left to wait
    │   ├── RequestRejected           any other refusal
    │   └── CloudflareUnavailable     5xx, or an answer that isn't the API's
    ├── ConnectionFailed              the network: no answer came
    ├── DeadlineExceeded              the time that the caller gave is over
    ├── OutboxUnavailable             the outbox's store: not there, not migrated, or failing
    └── PartialPurgeError             some of it is purged; ``remaining`` is what isn't
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from origin_sdk.purging import Receipt
    from origin_sdk.targets import Purge

__all__ = [
    "AuthenticationFailed",
    "CloudflareError",
    "CloudflareUnavailable",
    "ConnectionFailed",
    "DataClassViolation",
    "DeadlineExceeded",
    "InvalidRequest",
    "InvalidSettings",
    "NamespaceNotFound",
    "NotCacheable",
    "OriginSdkError",
    "OutboxUnavailable",
    "PartialPurgeError",
    "RateLimited",
    "RequestRejected",
]


class OriginSdkError(Exception):
    """The root of all errors of this package."""


class InvalidRequest(OriginSdkError, ValueError):
    """What the call was given can't be; the message names the value and the remedy."""


class InvalidSettings(InvalidRequest):
    """A setting is missing or contradicts another."""


class NotCacheable(InvalidRequest):
    """A response that must not be shared was declared cacheable."""


class DataClassViolation(NotCacheable):
    """Data were to go where their class forbids it: see :class:`origin_sdk.layers.DataClass`."""


class CloudflareError(OriginSdkError):
    """Cloudflare's API refused. ``status`` is the HTTP status, ``code`` the API's own first code or 0."""

    def __init__(self, message: str, *, status: int = 0, code: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class AuthenticationFailed(CloudflareError):
    """The token is unknown or expired, or lacks the permission."""


class NamespaceNotFound(CloudflareError):
    """There is no such namespace in the account."""


class RateLimited(CloudflareError):
    """Cloudflare counts too many requests, and waiting would pass the caller's limit."""


class RequestRejected(CloudflareError):
    """The API understood the request and refused it."""


class CloudflareUnavailable(CloudflareError):
    """The API failed, or something that isn't the API answered; all retries are used up."""


class ConnectionFailed(OriginSdkError):
    """No answer came; all retries are used up."""


class DeadlineExceeded(OriginSdkError):
    """The next step would end after the ``timeout`` that the caller gave."""


class OutboxUnavailable(OriginSdkError):
    """The store of an outbox isn't there, lacks its table, or fails."""


class PartialPurgeError(OriginSdkError):
    """Some marks are written and some aren't.

    ``receipt`` tells what is purged. ``remaining`` holds the targets that aren't: pass it to ``client.send``
    to try again. The cause, if there is one, is ``__cause__``.
    """

    def __init__(self, message: str, receipt: Receipt, remaining: Purge) -> None:
        super().__init__(message)
        self.receipt = receipt
        self.remaining = remaining
