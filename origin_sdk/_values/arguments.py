"""Arguments of a wrong type: refused before anything is sent, with what to give instead."""

from collections.abc import Mapping
from typing import TypeAlias

from origin_sdk._values.errors import InvalidRequest

__all__ = ["Kind", "check_header_fields", "check_type"]

Kind: TypeAlias = type | tuple[type, ...]


def check_type(name: str, value: object, kind: Kind, wanted: str) -> None:
    """Raise InvalidRequest, which shows the type alone: the value may be a secret. A bool is no number."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InvalidRequest(f"{name} is of type {type(value).__name__}: give {wanted}")


def check_header_fields(name: str, fields: object) -> None:
    """Raise InvalidRequest for what isn't a mapping of field names to their values, all of them text."""
    wanted = "a mapping of names to values, all of them text"
    check_type(name, fields, Mapping, wanted)
    for field, value in fields.items() if isinstance(fields, Mapping) else ():
        check_type(f"a name in {name}", field, str, wanted)
        check_type(f"{name}[{field!r}]", value, str, wanted)
