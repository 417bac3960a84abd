"""What an answer of the origin means for the stored response: one table for every path to the origin.

An answer is of one :class:`AnswerKind`, by its status code alone, and each kind has one :class:`Bearing`.
Whether an answer that may replace the stored response is stored is for :mod:`origin_sdk_wire.storability`
to say.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType

__all__ = [
    "BEARINGS",
    "AnswerKind",
    "Bearing",
    "Ends",
    "is_final",
    "is_good",
    "kind_of",
    "speaks_of_resource",
]

_OF_RESOURCE = frozenset({401, 403, 404, 410, 451})
"""The client errors that everybody who asks for it gets."""


class AnswerKind(Enum):
    """What sort of answer the origin gave."""

    SUCCESS = auto()
    NOT_MODIFIED = auto()
    GONE = auto()
    REFUSED = auto()
    CLIENT_ERROR = auto()
    LIMITED = auto()
    SERVER_ERROR = auto()


class Ends(Enum):
    """When an answer ends the stored response: it is used no more, anywhere, not even if the origin fails."""

    IF_WITHDRAWN = auto()
    """If it can't be stored, whoever asks: what the origin said before it no longer stands."""
    UNLESS_REPLACED = auto()
    """If it isn't stored in its place."""
    NEVER = auto()


@dataclass(frozen=True, slots=True)
class Bearing:
    """What one kind of answer means for a good stored response.

    ``may_replace``: it is stored in its place, or freshens it. ``gives_way``: the stale response is sent
    instead, where one may be. ``rests``: the origin isn't asked again for what can be answered otherwise
    before Retry-After, or at least ``REFRESH_THROTTLE``, is over (:mod:`origin_sdk_edge.policy.trouble`).
    """

    may_replace: bool
    ends: Ends
    gives_way: bool
    rests: bool


BEARINGS: Mapping[AnswerKind, Bearing] = MappingProxyType(
    {
        # RFC 9111 section 4.3.3: "A full response (i.e., one containing content) indicates that none of the
        # stored responses nominated in the conditional request are suitable. Instead, the cache MUST use the
        # full response to satisfy the request. The cache MAY store such a full response".
        AnswerKind.SUCCESS: Bearing(may_replace=True, ends=Ends.IF_WITHDRAWN, gives_way=False, rests=False),
        # RFC 9111 section 3.2: "Caches are required to update a stored response's header fields from another
        # (typically newer) response in several situations", no-store and private among them.
        AnswerKind.NOT_MODIFIED: Bearing(
            may_replace=True, ends=Ends.IF_WITHDRAWN, gives_way=False, rests=False
        ),
        # RFC 9110 section 15.5.5: "the origin server did not find a current representation for the target
        # resource or is not willing to disclose that one exists".
        AnswerKind.GONE: Bearing(may_replace=True, ends=Ends.UNLESS_REPLACED, gives_way=False, rests=False),
        # RFC 9110 section 15.5.4: "the server understood the request but refuses to fulfill it"; RFC 7725
        # section 3: "the server is denying access to the resource as a consequence of a legal demand".
        AnswerKind.REFUSED: Bearing(
            may_replace=False, ends=Ends.UNLESS_REPLACED, gives_way=False, rests=False
        ),
        # RFC 9110 section 15.5: "the client seems to have erred", which says nothing of the resource.
        AnswerKind.CLIENT_ERROR: Bearing(may_replace=False, ends=Ends.NEVER, gives_way=False, rests=False),
        # RFC 6585 section 4: "the user has sent too many requests in a given amount of time", and "MAY
        # include a Retry-After header indicating how long to wait before making a new request".
        AnswerKind.LIMITED: Bearing(may_replace=False, ends=Ends.NEVER, gives_way=True, rests=True),
        # RFC 9111 section 4.3.3: "if a cache receives a 5xx (Server Error) response while attempting to
        # validate a response, it can either forward this response to the requesting client or act as if the
        # server failed to respond. In the latter case, the cache can send a previously stored response".
        AnswerKind.SERVER_ERROR: Bearing(may_replace=False, ends=Ends.NEVER, gives_way=True, rests=True),
    }
)
"""Every row, with the sentence that it follows from. No answer at all counts as a server error."""

_KINDS = MappingProxyType(
    {
        304: AnswerKind.NOT_MODIFIED,
        401: AnswerKind.REFUSED,
        403: AnswerKind.REFUSED,
        404: AnswerKind.GONE,
        410: AnswerKind.GONE,
        429: AnswerKind.LIMITED,
        451: AnswerKind.REFUSED,
    }
)


def kind_of(status: int) -> AnswerKind:
    """Return the kind of an answer; an unknown code is as the first of its class (RFC 9110 section 15).

    One of no class is a server error, and so is an interim one in a final answer's place.
    """
    if status >= 500 or not is_final(status):
        return AnswerKind.SERVER_ERROR
    return _KINDS.get(status) or (AnswerKind.CLIENT_ERROR if status >= 400 else AnswerKind.SUCCESS)


def is_final(status: int) -> bool:
    """Whether a status code is one of HTTP's, and ends an exchange."""
    return 200 <= status <= 599


def is_good(status: int) -> bool:
    """Whether a stored response of this status stands in for a failing origin, and isn't lost to errors."""
    return BEARINGS[kind_of(status)].may_replace


def speaks_of_resource(status: int) -> bool:
    """Whether an answer is one to the resource, and not to how this client asked for it."""
    return status < 400 or status in _OF_RESOURCE
