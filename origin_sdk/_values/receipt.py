"""What a purge returns, and what it raises if only part of it is done."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from origin_sdk._values.errors import OriginSdkError
from origin_sdk._values.targets import Purge

__all__ = ["PartialPurgeError", "Receipt"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof of a purge.

    ``marks`` are the KV keys written. Stored responses that the origin was asked for at or before ``moment``
    are purged, and none that it was asked for after ``latest_moment``: a mark that took several tries may
    hold the moment of any. From ``visible_by`` on, every location honours it: KV's propagation and the
    Worker's mark interval after the last write. ``requests`` counts API requests, tries included, and
    ``deleted`` the keys removed from KV.

    ``log`` are the ids of the purge's entries in the purge log, none where there is no log. ``told`` says
    whether the Worker took them, which otherwise finds them in KV; ``None`` where nobody was to be told.
    """

    id: str
    purge: Purge
    marks: tuple[str, ...]
    requests: int
    moment: datetime
    latest_moment: datetime
    visible_by: datetime
    deleted: int = 0
    log: tuple[str, ...] = ()
    told: bool | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the receipt as JSON types."""
        return {
            "id": self.id,
            "purge": self.purge.as_json(),
            "marks": list(self.marks),
            "requests": self.requests,
            "moment": self.moment.isoformat(),
            "latest_moment": self.latest_moment.isoformat(),
            "visible_by": self.visible_by.isoformat(),
            "deleted": self.deleted,
            "log": list(self.log),
            "told": self.told,
        }


class PartialPurgeError(OriginSdkError):
    """Some marks are written and some aren't.

    ``receipt`` tells what is purged. ``remaining`` holds the targets that aren't: pass it to ``client.send``
    to try again. The cause, if there is one, is ``__cause__``.
    """

    def __init__(self, message: str, receipt: Receipt, remaining: Purge) -> None:
        super().__init__(message)
        self.receipt = receipt
        self.remaining = remaining


PartialPurgeError.__module__ = "origin_sdk.errors"  # as the rest of its tree
