"""What can be done with parts of a structure, as flows, which threads or an event loop carry out."""

from collections.abc import Iterable, Mapping
from math import inf
from typing import Any, TypeVar

from origin_sdk.layers.errors import InvalidFamily
from origin_sdk.layers.rules.ports import Cache
from origin_sdk.layers.rules.steps import Flow
from origin_sdk.layers.structures import questions
from origin_sdk.layers.structures.part_reads import Loader, reading, shape_for, whole_of
from origin_sdk.layers.structures.part_writes import writing
from origin_sdk.layers.structures.questions import Question
from origin_sdk.layers.values.families import AnyKey
from origin_sdk.layers.values.shapes import Hash, Members, SortedItems, SortedSet

__all__ = ["FieldFlows", "MemberFlows", "PageFlows", "RankingFlows"]

_Answer = TypeVar("_Answer")


class _Flows:
    """What all structures have."""

    def __init__(self, cache: Cache, key: AnyKey, loader: Loader) -> None:
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


class FieldFlows(_Flows):
    """Of a hash."""

    def __init__(self, cache: Cache, key: AnyKey, loader: Loader) -> None:
        super().__init__(cache, key, loader)
        self._shape = shape_for(key, Hash)

    async def get(self, field: object, default: object) -> object:
        """Return a field, else the default."""
        found = await self._asked(questions.fields(self._shape, (field,)))
        return found.get(field, default)

    async def get_many(self, fields: Iterable[object]) -> dict[object, object]:
        """Return those that are there."""
        found = await self._asked(questions.fields(self._shape, tuple(fields)))
        return dict(found)

    def set_many(self, values: Mapping[Any, object]) -> Flow[None]:
        """Write fields through."""
        return writing(self._cache, self._key, values)

    def delete(self, fields: tuple[object, ...]) -> Flow[None]:
        """Remove fields. Raises InvalidFamily for those without which there is no value."""
        if needed := [each for each in fields if not self._shape.may_remove(each)]:
            raise InvalidFamily(
                f"{self._key}: {self._shape.kind!r} is none without {needed}: set them, or delete the key"
            )
        return writing(self._cache, self._key, {}, fields)


class MemberFlows(_Flows):
    """Of a set."""

    def __init__(self, cache: Cache, key: AnyKey, loader: Loader) -> None:
        super().__init__(cache, key, loader)
        self._shape = shape_for(key, Members)

    async def has(self, member: object) -> bool:
        """Say whether it is a member."""
        found = await self._asked(questions.members(self._shape, (member,)))
        return bool(found)

    async def has_many(self, members: Iterable[object]) -> set[object]:
        """Return those that are members."""
        found = await self._asked(questions.members(self._shape, tuple(members)))
        return set(found)

    def add(self, members: tuple[object, ...]) -> Flow[None]:
        """Write members through."""
        return writing(self._cache, self._key, dict.fromkeys(members))

    def delete(self, members: tuple[object, ...]) -> Flow[None]:
        """Remove members."""
        return writing(self._cache, self._key, {}, members)


class RankingFlows(_Flows):
    """Of a sorted set with scores."""

    def __init__(self, cache: Cache, key: AnyKey, loader: Loader) -> None:
        super().__init__(cache, key, loader)
        self._shape = shape_for(key, SortedSet)

    async def page(self, start: int, count: int, *, descending: bool) -> list[object]:
        """Return so many from a place on."""
        found = await self._asked(questions.page(self._shape, start, count, descending=descending))
        return list(found)

    async def between(
        self, least: float, most: float, start: int, count: int | None, *, descending: bool
    ) -> list[object]:
        """Return those with a score in a range."""
        question = questions.items_between(self._shape, least, most, start, count, descending=descending)
        found = await self._asked(question)
        return list(found)

    def rank(self, member: object, *, descending: bool) -> Flow[int | None]:
        """Return a member's place."""
        return self._asked(questions.rank(self._shape, member, descending=descending))

    async def scores(self, members: Iterable[object]) -> dict[object, float]:
        """Return the scores of those that are there."""
        found = await self._asked(questions.scores(self._shape, tuple(members)))
        return dict(found)

    async def score(self, member: object) -> float | None:
        """Return a member's score."""
        found = await self._asked(questions.scores(self._shape, (member,)))
        return found.get(member)

    def count_between(self, least: float, most: float) -> Flow[int]:
        """Return how many have a score in a range."""
        is_all = least == -inf and most == inf
        return self._asked(questions.count() if is_all else questions.count_between(least, most))

    def set_many(self, scores: Mapping[Any, float]) -> Flow[None]:
        """Write scores through."""
        return writing(self._cache, self._key, scores)

    def delete(self, members: tuple[object, ...]) -> Flow[None]:
        """Remove members."""
        return writing(self._cache, self._key, {}, members)


class PageFlows(_Flows):
    """Of a list."""

    def __init__(self, cache: Cache, key: AnyKey, loader: Loader) -> None:
        super().__init__(cache, key, loader)
        self._shape = shape_for(key, SortedItems)

    async def page(self, start: int, count: int, *, descending: bool) -> list[object]:
        """Return so many from a place on."""
        found = await self._asked(questions.page(self._shape, start, count, descending=descending))
        return list(found)
