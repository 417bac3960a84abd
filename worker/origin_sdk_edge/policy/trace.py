"""W3C Trace Context: what of it is passed on, so that the origin's spans join the client's trace.

This cache makes no spans of its own, and so hands both fields on as they are, if they are valid (Trace
Context sections 3.2 and 3.3).
"""

import re

from origin_sdk_wire.facts import Fields

__all__ = ["TRACEPARENT", "TRACESTATE", "with_valid_trace"]

_IDS = r"-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
# Section 3.2.2: ff is no version, and zeros are no id; what a later version adds comes after the flags.
TRACEPARENT = re.compile(rf"00{_IDS}|(?!00|ff)[0-9a-f]{{2}}{_IDS}(?:-[0-9a-z-]{{0,200}})?")
_KEY = r"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
_VALUE = r"[ -+\--<>-~]{0,255}[!-+\--<>-~]"
_MEMBER = rf"(?:{_KEY}={_VALUE})?"
TRACESTATE = re.compile(rf"{_MEMBER}(?:[ \t]*,[ \t]*{_MEMBER}){{0,31}}")
_MOST_CHARACTERS = 512
"""Section 3.3.1.5: so many should be passed on."""


def with_valid_trace(fields: Fields) -> Fields:
    """Return a request's fields without a trace context that can't be read."""
    if "traceparent" not in fields and "tracestate" not in fields:
        return fields
    is_valid = TRACEPARENT.fullmatch(fields.get("traceparent", "")) is not None
    has_state = is_valid and _is_state(fields.get("tracestate", ""))
    invalid = {"tracestate"} if is_valid else {"traceparent", "tracestate"}
    if is_valid and has_state:
        return fields
    return {name: value for name, value in fields.items() if name not in invalid}


def _is_state(value: str) -> bool:
    if len(value) > _MOST_CHARACTERS or TRACESTATE.fullmatch(value) is None:
        return False
    keys = [member.partition("=")[0].strip() for member in value.split(",") if member.strip()]
    return bool(keys) and len(keys) == len(set(keys))
