"""The origin's side of the edge cache: purge it, publish to it, look into it.

::

    from origin_sdk import PurgeClient

    with PurgeClient() as edge:
        receipt = edge.purge(groups=["product-17"])

The clients need httpx (``pip install origin-sdk[client]``); :mod:`origin_sdk.responses` and its middleware
need nothing.
"""

from typing import TYPE_CHECKING, Any

from origin_sdk._values.errors import (
    AuthenticationFailed,
    CloudflareError,
    CloudflareUnavailable,
    ConnectionFailed,
    DeadlineExceeded,
    InvalidRequest,
    InvalidSettings,
    NamespaceNotFound,
    NotCacheable,
    OriginSdkError,
    RateLimited,
    RequestRejected,
)

if TYPE_CHECKING:
    from origin_sdk._cloudflare.exchange import Retries
    from origin_sdk._edge.async_client import AsyncPurgeClient
    from origin_sdk._edge.client import PurgeClient
    from origin_sdk._edge.null import AsyncNullPurgeClient, NullPurgeClient
    from origin_sdk._edge.options import Options
    from origin_sdk._process.audit import AuditEvent, AuditFile
    from origin_sdk._values.project import Project, read_project
    from origin_sdk._values.receipt import PartialPurgeError, Receipt
    from origin_sdk._values.settings import Settings
    from origin_sdk._values.targets import Purge

__all__ = [
    "AsyncNullPurgeClient",
    "AsyncPurgeClient",
    "AuditEvent",
    "AuditFile",
    "AuthenticationFailed",
    "CloudflareError",
    "CloudflareUnavailable",
    "ConnectionFailed",
    "DeadlineExceeded",
    "InvalidRequest",
    "InvalidSettings",
    "NamespaceNotFound",
    "NotCacheable",
    "NullPurgeClient",
    "Options",
    "OriginSdkError",
    "PartialPurgeError",
    "Project",
    "Purge",
    "PurgeClient",
    "RateLimited",
    "Receipt",
    "RequestRejected",
    "Retries",
    "Settings",
    "read_project",
]

# Imported when first asked for: whoever marks responses shouldn't need httpx, nor wait for it.
_HOMES = {
    "AsyncNullPurgeClient": "_edge.null",
    "AsyncPurgeClient": "_edge.async_client",
    "AuditEvent": "_process.audit",
    "AuditFile": "_process.audit",
    "NullPurgeClient": "_edge.null",
    "Options": "_edge.options",
    "PartialPurgeError": "_values.receipt",
    "Project": "_values.project",
    "Purge": "_values.targets",
    "PurgeClient": "_edge.client",
    "Receipt": "_values.receipt",
    "Retries": "_cloudflare.exchange",
    "Settings": "_values.settings",
    "read_project": "_values.project",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - see above

    try:
        return getattr(import_module(f"origin_sdk.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name == "httpx":
            raise ImportError(f"origin_sdk.{name} needs httpx: pip install 'origin-sdk[client]'") from error
        raise
