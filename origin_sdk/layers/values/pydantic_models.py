"""pydantic's models, which pydantic itself takes apart and puts together. It is imported by who uses them."""

import dataclasses
import itertools
import sys
import typing
from collections.abc import Iterator
from typing import Any

from origin_sdk.layers.errors import InvalidFamily
from origin_sdk.layers.values.aliases import unaliased

__all__ = ["Models", "are_in", "fields_of", "is_frozen"]


def _base() -> type | None:
    pydantic = sys.modules.get("pydantic")
    base: type | None = getattr(pydantic, "BaseModel", None)
    return base


def fields_of(kind: type) -> tuple[str, ...] | None:
    """Return the names of what a model consists of; None for what isn't a model."""
    base = _base()
    if base is None or not issubclass(kind, base):
        return None
    fields: dict[str, object] = getattr(kind, "model_fields", {})
    return (*fields, "__pydantic_extra__", "__pydantic_private__")


def is_frozen(kind: type) -> bool:
    """Whether a class is a model that is declared as frozen."""
    base = _base()
    return (
        base is not None and issubclass(kind, base) and bool(getattr(kind, "model_config", {}).get("frozen"))
    )


def are_in(kind: object) -> bool:
    """Whether a model is part of a type."""
    base = _base()
    return base is not None and _has(kind, base, [])


def _has(kind: object, base: type, seen: list[object]) -> bool:
    kind = unaliased(kind)
    if isinstance(kind, type) and not typing.get_args(kind):
        if issubclass(kind, base):
            return True
        if any(kind is each for each in seen) or not (
            dataclasses.is_dataclass(kind) or hasattr(kind, "__annotations__")
        ):
            return False
        seen.append(kind)
        try:
            return any(_has(each, base, seen) for each in typing.get_type_hints(kind).values())
        except NameError:
            return False
    if any(kind is each for each in seen):  # a name that stands for a list of itself, for example
        return False
    seen.append(kind)
    return any(_has(each, base, seen) for each in typing.get_args(kind))


class Models:
    """Takes values apart, and puts them together again."""

    def __init__(self, kind: object) -> None:
        pydantic: Any = sys.modules["pydantic"]
        try:
            self._adapter = pydantic.TypeAdapter(kind)
        except pydantic.errors.PydanticUserError as error:
            raise InvalidFamily(f"values of type {kind!r} can't be stored: {error}") from error
        self.load = self._adapter.validate_python

    def dumps(self, value: object) -> Iterator[object]:
        """Return what a value consists of, in ways of which one may not say all of it.

        The first keeps which fields were set; but what a factory made as a default has to be said.
        """
        for mode, by_alias, leaves_out in itertools.product(("python", "json"), (True, False), (True, False)):
            yield self._adapter.dump_python(
                value, mode=mode, round_trip=True, by_alias=by_alias, exclude_unset=leaves_out, warnings=False
            )
