"""Header fields as frameworks and callers give them."""

from collections.abc import Iterable

from origin_sdk_wire.fields import combined as combined_lower

__all__ = ["combined"]


def combined(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return fields by name in lower case, repeated ones combined."""
    return combined_lower((name.lower(), value) for name, value in fields)
