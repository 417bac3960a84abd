"""What can be done with parts of a structure, as flows, which threads or an event loop carry out."""

from collections.abc import Iterable, Mapping
from math import inf
from typing import Generic, TypeVar, cast

from origin_sdk.layers.errors import InvalidFamily
from origin_sdk.layers.rules.loads import Loader
from origin_sdk.layers.rules.ports import Cache
from origin_sdk.layers.rules.steps import Flow
from origin_sdk.layers.structures import questions
from origin_sdk.layers.structures.part_reads import reading, shape_for, whole_of
from origin_sdk.layers.structures.part_writes import writing
from origin_sdk.layers.structures.questions import Question
from origin_sdk.layers.values.families import AnyKey
from origin_sdk.layers.values.shapes import Hash, MemberSet, SortedItems, SortedSet

__all__ = ["FieldFlows", "MemberFlows", "PageFlows", "RankingFlows"]

_Answer = TypeVar("_Answer")
_Default = TypeVar("_Default")
_Field = TypeVar("_Field")
_Value = TypeVar("_Value")


class _Flows:
    """What all structures have."""

    def __init__(self, cache: Cache, key: AnyKey, loader: Loader | None) -> None:
        self._cache = cache
        self._key = key
        self._loader = loader

    def _asked(self, question: Question[_Answer]) -> Flow[_Answer]:
        return reading(self._cache, self._key, self._loader, question)

    def all(self) -> Flow[object]:
        """Return the whole; None if nothing is stored, and nothing loads it."""
        return whole_of(self._cache, self._key, self._loader)

    def count(self) -> Flow[int]:
        """Return how many there are."""
        return self._asked(questions.count())


class FieldFlows(_Flows, Generic[_Field, _Value]):
    """Of a hash."""

    def __init__(self, cache: Cache, key: AnyKey, loader: Loader | None) -> None:
        super().__init__(cache, key, loader)
        self._shape = shape_for(key, Hash)

    async def get(self, field: _Field, default: _Default) -> _Value | _Default:
        """Return a field, else the default."""
        found = await self.get_many((field,))
        return found.get(field, default)

    async def get_many(self, fields: Iterable[_Field]) -> dict[_Field, _Value]:
        """Return those that are there."""
        found = await self._asked(questions.fields(self._shape, tuple(fields)))
        return cast("dict[_Field, _Value]", dict(found))

    def set_many(self, values: Mapping[_Field, _Value]) -> Flow[None]:
        """Write fields through."""
        return writing(self._cache, self._key, cast("Mapping[object, object]", values))

    def delete(self, fields: tuple[_Field, ...]) -> Flow[None]:
        """Remove fields. Raises InvalidFamily for those without which there is no value."""
        if needed := [each for each in fields if not self._shape.may_remove(each)]:
            raise InvalidFamily(
                f"{self._key}: {self._shape.kind!r} is none without {needed}: set them, or delete the key"
            )
        return writing(self._cache, self._key, {}, fields)


class MemberFlows(_Flows, Generic[_Value]):
    """Of a set."""

    def __init__(self, cache: Cache, key: AnyKey, loader: Loader | None) -> None:
        super().__init__(cache, key, loader)
        self._shape = shape_for(key, MemberSet)

    async def has(self, member: _Value) -> bool:
        """Say whether it is a member."""
        found = await self._asked(questions.members(self._shape, (member,)))
        return bool(found)

    async def has_many(self, members: Iterable[_Value]) -> set[_Value]:
        """Return those that are members."""
        found = await self._asked(questions.members(self._shape, tuple(members)))
        return set(found)

    def add(self, members: tuple[_Value, ...]) -> Flow[None]:
        """Write members through."""
        return writing(self._cache, self._key, dict.fromkeys(members))

    def delete(self, members: tuple[_Value, ...]) -> Flow[None]:
        """Remove members."""
        return writing(self._cache, self._key, {}, members)


class RankingFlows(_Flows, Generic[_Value]):
    """Of a sorted set with scores."""

    def __init__(self, cache: Cache, key: AnyKey, loader: Loader | None) -> None:
        super().__init__(cache, key, loader)
        self._shape = shape_for(key, SortedSet)

    async def page(self, start: int, count: int, *, descending: bool) -> list[tuple[_Value, float]]:
        """Return so many from a place on."""
        found = await self._asked(questions.page(self._shape, start, count, descending=descending))
        return cast("list[tuple[_Value, float]]", list(found))

    async def between(
        self, least: float, most: float, start: int, count: int | None, *, descending: bool
    ) -> list[tuple[_Value, float]]:
        """Return those with a score in a range."""
        question = questions.items_between(self._shape, least, most, start, count, descending=descending)
        found = await self._asked(question)
        return cast("list[tuple[_Value, float]]", list(found))

    def rank(self, member: _Value, *, descending: bool) -> Flow[int | None]:
        """Return a member's place."""
        return self._asked(questions.rank(self._shape, member, descending=descending))

    async def scores(self, members: Iterable[_Value]) -> dict[_Value, float]:
        """Return the scores of those that are there."""
        found = await self._asked(questions.scores(self._shape, tuple(members)))
        return dict(found)

    async def score(self, member: _Value) -> float | None:
        """Return a member's score."""
        found = await self._asked(questions.scores(self._shape, (member,)))
        return found.get(member)

    def count_between(self, least: float, most: float) -> Flow[int]:
        """Return how many have a score in a range."""
        is_all = least == -inf and most == inf
        return self._asked(questions.count() if is_all else questions.count_between(least, most))

    def set_many(self, scores: Mapping[_Value, float]) -> Flow[None]:
        """Write scores through."""
        return writing(self._cache, self._key, cast("Mapping[object, object]", scores))

    def delete(self, members: tuple[_Value, ...]) -> Flow[None]:
        """Remove members."""
        return writing(self._cache, self._key, {}, members)


class PageFlows(_Flows, Generic[_Value]):
    """Of a list."""

    def __init__(self, cache: Cache, key: AnyKey, loader: Loader | None) -> None:
        super().__init__(cache, key, loader)
        self._shape = shape_for(key, SortedItems)

    async def page(self, start: int, count: int, *, descending: bool) -> list[_Value]:
        """Return so many from a place on."""
        found = await self._asked(questions.page(self._shape, start, count, descending=descending))
        return cast("list[_Value]", list(found))
