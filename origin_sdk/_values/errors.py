"""Everything that the SDK raises; the tree is drawn in :mod:`origin_sdk.errors`."""

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
    "OutOfScope",
    "OutboxUnavailable",
    "RateLimited",
    "RequestRejected",
]


class OriginSdkError(Exception):
    """The root of all errors of this package."""


class InvalidRequest(OriginSdkError, ValueError):
    """An argument is invalid; the message names the value and the remedy."""


class InvalidSettings(InvalidRequest):
    """A setting is missing or contradicts another."""


class OutOfScope(InvalidRequest):
    """The key to the purge log isn't for this target, or not for what was to be done with it."""


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


for _error in __all__:
    globals()[_error].__module__ = "origin_sdk.errors"  # what a traceback names is what users import
