"""Parts of structures, for threads: what :class:`origin_sdk.layers.LayeredCache` gives of a key."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from math import inf
from typing import Any, Generic, Protocol, TypeVar, cast, overload

from origin_sdk.layers.base_cache import BaseCache
from origin_sdk.layers.rules.loads import Loader
from origin_sdk.layers.rules.steps import Flow
from origin_sdk.layers.structures.verbs import FieldFlows, MemberFlows, PageFlows, RankingFlows
from origin_sdk.layers.values.families import AnyKey

__all__ = ["Fields", "FlowRunner", "Members", "Pages", "Ranking"]

_Field = TypeVar("_Field")
_Value = TypeVar("_Value")
_Default = TypeVar("_Default")
_Result = TypeVar("_Result")


class FlowRunner(Protocol):
    """A cache's driver: it carries out the steps of a flow."""

    def __call__(self, flow: Flow[_Result], /) -> _Result:
        """Return what it comes to."""
        ...


class Fields(Generic[_Field, _Value]):
    """The fields of one hash. Whoever asks for one that isn't there lets the loader load the whole.

    A write goes to what is stored: write to your source first. Where nothing is stored, nothing is written,
    and what loads under way return isn't kept.
    """

    def __init__(self, cache: BaseCache, run: FlowRunner, key: AnyKey, loader: Loader | None) -> None:
        self._run = run
        self._flows: FieldFlows[_Field, _Value] = FieldFlows(cache, key, loader)

    @overload
    def get(self, field: _Field) -> _Value | None: ...
    @overload
    def get(self, field: _Field, default: _Default) -> _Value | _Default: ...
    def get(self, field: _Field, default: _Default | None = None) -> _Value | _Default | None:
        """Return a field, from one round trip to Redis; ``default`` if it isn't there."""
        return self._run(self._flows.get(field, default))

    def get_many(self, fields: Iterable[_Field]) -> dict[_Field, _Value]:
        """Return those of the fields that are there, from one round trip."""
        return self._run(self._flows.get_many(fields))

    def count(self) -> int:
        """Return how many fields there are."""
        return self._run(self._flows.count())

    def all(self) -> Any:
        """Return the whole value; None if nothing is stored, and there is no loader."""
        return self._run(self._flows.all())

    def set(self, field: _Field, value: _Value) -> None:
        """Write a field through, in one round trip."""
        self._run(self._flows.set_many({field: value}))

    def set_many(self, values: Mapping[_Field, _Value]) -> None:
        """Write fields through, all at once."""
        self._run(self._flows.set_many(values))

    def delete(self, *fields: _Field) -> None:
        """Remove fields. Raises InvalidFamily for those that the declared type can't be without."""
        self._run(self._flows.delete(fields))


class Members(Generic[_Value]):
    """The members of one set. Asking and writing is as with fields."""

    def __init__(self, cache: BaseCache, run: FlowRunner, key: AnyKey, loader: Loader | None) -> None:
        self._run = run
        self._flows: MemberFlows[_Value] = MemberFlows(cache, key, loader)

    def has(self, member: _Value) -> bool:
        """Say whether it is a member, from one round trip to Redis."""
        return self._run(self._flows.has(member))

    def has_many(self, members: Iterable[_Value]) -> set[_Value]:
        """Return those that are members, from one round trip."""
        return self._run(self._flows.has_many(members))

    def count(self) -> int:
        """Return how many members there are."""
        return self._run(self._flows.count())

    def all(self) -> AbstractSet[_Value] | None:
        """Return the whole set; None if nothing is stored, and there is no loader."""
        return cast("AbstractSet[_Value] | None", self._run(self._flows.all()))

    def add(self, *members: _Value) -> None:
        """Write members through, in one round trip."""
        self._run(self._flows.add(members))

    def delete(self, *members: _Value) -> None:
        """Remove members."""
        self._run(self._flows.delete(members))


class Ranking(Generic[_Value]):
    """The members of one sorted set, by their scores. Asking and writing is as with fields.

    Ranks and places count from 0, from the lowest score up, or down if ``descending``. Members of one score
    are in the order of their bytes.
    """

    def __init__(self, cache: BaseCache, run: FlowRunner, key: AnyKey, loader: Loader | None) -> None:
        self._run = run
        self._flows: RankingFlows[_Value] = RankingFlows(cache, key, loader)

    def page(
        self, start: int = 0, count: int = 20, *, descending: bool = False
    ) -> list[tuple[_Value, float]]:
        """Return ``count`` members and scores from a rank on, from one round trip to Redis."""
        return self._run(self._flows.page(start, count, descending=descending))

    def between(
        self,
        least: float = -inf,
        most: float = inf,
        *,
        start: int = 0,
        count: int | None = None,
        descending: bool = False,
    ) -> list[tuple[_Value, float]]:
        """Return members and scores from ``least`` to ``most``, both included; so many from a place on."""
        return self._run(self._flows.between(least, most, start, count, descending=descending))

    def rank(self, member: _Value, *, descending: bool = False) -> int | None:
        """Return a member's rank; None if it isn't there."""
        return self._run(self._flows.rank(member, descending=descending))

    def score(self, member: _Value) -> float | None:
        """Return a member's score; None if it isn't there."""
        return self._run(self._flows.score(member))

    def scores(self, members: Iterable[_Value]) -> dict[_Value, float]:
        """Return the scores of those that are there, from one round trip."""
        return self._run(self._flows.scores(members))

    def count(self, least: float = -inf, most: float = inf) -> int:
        """Return how many have a score from ``least`` to ``most``."""
        return self._run(self._flows.count_between(least, most))

    def all(self) -> dict[_Value, float] | None:
        """Return the whole dict, in order; None if nothing is stored, and there is no loader."""
        return cast("dict[_Value, float] | None", self._run(self._flows.all()))

    def set(self, member: _Value, score: float) -> None:
        """Write a score through, in one round trip."""
        self._run(self._flows.set_many({member: score}))

    def set_many(self, scores: Mapping[_Value, float]) -> None:
        """Write scores through, all at once."""
        self._run(self._flows.set_many(scores))

    def delete(self, *members: _Value) -> None:
        """Remove members."""
        self._run(self._flows.delete(members))


class Pages(Generic[_Value]):
    """The items of one list, a page at a time. It is written as a whole."""

    def __init__(self, cache: BaseCache, run: FlowRunner, key: AnyKey, loader: Loader | None) -> None:
        self._run = run
        self._flows: PageFlows[_Value] = PageFlows(cache, key, loader)

    def page(self, start: int = 0, count: int = 20, *, descending: bool = False) -> list[_Value]:
        """Return ``count`` items from a place on, or from the end, from one round trip to Redis."""
        return self._run(self._flows.page(start, count, descending=descending))

    def count(self) -> int:
        """Return how many items there are."""
        return self._run(self._flows.count())

    def all(self) -> Sequence[_Value] | None:
        """Return the whole list; None if nothing is stored, and there is no loader."""
        return cast("Sequence[_Value] | None", self._run(self._flows.all()))
