"""What the reply to each command has to be. What answers may be a proxy, or not quite a Redis."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from redis.exceptions import RedisError

from origin_sdk.layers.redis.commands import AnyCommand

__all__ = ["SHAPES", "UnexpectedReplyError", "checked"]

_Shape: TypeAlias = Callable[[AnyCommand, Any], bool]
_BID = re.compile(rb"V|[LT]\d+|H\d+ .*", re.DOTALL)
_BID_WORDS = 3
_FACTS = 6
"""Of a shard, before the names that it tells with their moments."""


class UnexpectedReplyError(RedisError):
    """A reply that isn't one to its command: it counts as none."""


def checked(command: AnyCommand, reply: Any) -> Any:
    """Return a reply. Raises UnexpectedReplyError if nobody who asked so could read it."""
    name = command.script.name if command.script else str(command.arguments[0])
    if not SHAPES[name](command, reply):
        raise UnexpectedReplyError(f"unexpected reply to {name}, of type {type(reply).__name__}")
    return reply


def _is_number(reply: object) -> bool:
    if type(reply) is not bytes:
        return False
    try:
        float(reply)
    except ValueError:
        return False
    return True


def _is_stored(reply: object) -> bool:
    return reply is None or type(reply) is bytes


def _begins_with_numbers(least: int) -> _Shape:
    def fits(_: AnyCommand, reply: Any) -> bool:
        return type(reply) is list and len(reply) >= least and all(map(_is_number, reply[:least]))

    return fits


def _are_stored(command: AnyCommand, reply: Any) -> bool:
    return type(reply) is list and len(reply) == len(command.keys) and all(map(_is_stored, reply))


def _is_change(_: AnyCommand, reply: Any) -> bool:
    return type(reply) is list and len(reply) > 1 and _is_number(reply[0]) and type(reply[1]) is int


def _is_swap(_: AnyCommand, reply: Any) -> bool:
    return type(reply) is list and len(reply) > 1 and _is_number(reply[0]) and _is_stored(reply[1])


def _are_peeked(command: AnyCommand, reply: Any) -> bool:
    if type(reply) is not list or len(reply) != 2 * (len(command.keys) - 1):
        return False
    return all(map(_is_stored, reply[::2])) and all(type(each) is int for each in reply[1::2])


def _answers_bids(command: AnyCommand, reply: Any) -> bool:
    if type(reply) is not list or not reply or not all(type(each) is bytes for each in reply):
        return False
    lines = reply[0].split(b"\n")
    if len(lines) != len(command.arguments) // _BID_WORDS or not all(map(_BID.fullmatch, lines)):
        return False
    return bool(lines.count(b"V") == len(reply) - 1)


def _tells_history(command: AnyCommand, reply: Any) -> bool:
    if not _begins_with_numbers(_FACTS)(command, reply) or len(reply) % 2:
        return False
    return all(type(name) is bytes for name in reply[_FACTS::2]) and all(
        map(_is_number, reply[_FACTS + 1 :: 2])
    )


def _is_part(_: AnyCommand, reply: Any) -> bool:
    match reply:
        case [0] | [1] | [2, bytes()]:
            return True
    return False


SHAPES: Final[Mapping[str, _Shape]] = {
    "GET": lambda _, reply: _is_stored(reply),
    "MGET": _are_stored,
    "READ": lambda _, reply: _is_stored(reply),
    "PEEK": _are_peeked,
    "CLAIM": _answers_bids,
    "HELD": lambda _, reply: reply is None or _is_number(reply),
    "STORE": lambda _, reply: type(reply) is bytes and reply.isascii(),
    "RELEASE": lambda _, reply: type(reply) is bytes,
    "RENEW": lambda _, reply: type(reply) is int,
    "RESERVE": lambda _, reply: _is_number(reply),
    "PUT": _is_change,
    "ADD": _begins_with_numbers(1),
    "SWAP": _is_swap,
    "TOUCH": _begins_with_numbers(1),
    "INVALIDATE": _begins_with_numbers(2),
    "REPEAT": lambda _, reply: type(reply) is int,
    "SINCE": _tells_history,
    "DROP": lambda _, reply: _is_number(reply),
    "NOTE": lambda _, reply: type(reply) is bytes,
    "PART": _is_part,
    "WRITE": _is_change,
    "REPLACE": _begins_with_numbers(1),
}
"""By the name of a script, or of a command of Redis's own."""
