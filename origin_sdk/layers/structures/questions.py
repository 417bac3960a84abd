"""What may be asked of a structure: of Redis, as words, or of the whole where that is in memory."""

from collections.abc import Callable, Reversible, Sequence
from dataclasses import dataclass
from itertools import islice
from math import inf
from typing import Any, Final, Generic, TypeAlias, TypeVar

from origin_sdk.layers.errors import InvalidFamily, UnreadableRecord
from origin_sdk.layers.values.shapes import (
    AnyShape,
    Hash,
    MemberSet,
    Packing,
    SortedItems,
    SortedSet,
    unpacked,
)

__all__ = [
    "Question",
    "count",
    "count_between",
    "fields",
    "items_between",
    "members",
    "page",
    "rank",
    "scores",
]

_Word: TypeAlias = str | bytes | int
_Answer_co = TypeVar("_Answer_co", covariant=True)
_Member = TypeVar("_Member")


@dataclass(frozen=True, slots=True)
class Question(Generic[_Answer_co]):
    """What is asked. ``read`` returns the answer of what Redis says, ``of`` that of a whole value.

    ``absent`` is the answer where nothing is stored.
    """

    words: tuple[_Word, ...]
    read: Callable[[list[bytes], Packing], _Answer_co]
    of: Callable[[Any], _Answer_co]
    absent: _Answer_co

    def answer(self, shape: AnyShape, payload: bytes, packing: Packing) -> _Answer_co:
        """Return the answer of a record's payload. Raises UnreadableRecord."""
        letter = payload[:1].decode()
        if letter == "n":
            return self.absent
        if letter.lower() != shape.letter:
            raise UnreadableRecord(f"kept as {letter!r}, where {shape.letter!r} is declared")
        return self.read(unpacked(payload[1:]), packing)


def fields(shape: Hash, names: Sequence[_Member]) -> Question[dict[_Member, object]]:
    """Ask for fields; the answer is a dict of those that are there."""
    encoded = {shape.member(name): name for name in names}

    def read(flat: list[bytes], packing: Packing) -> dict[_Member, object]:
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return {encoded[name]: shape.value_of(encoded[name], data, packing) for name, data in pairs}

    def of(whole: object) -> dict[_Member, object]:
        return {name: found[0] for name in names if (found := shape.field_of(whole, name))}

    return Question(("fields", *encoded), read, of, {})


def members(shape: MemberSet, given: Sequence[_Member]) -> Question[frozenset[_Member]]:
    """Ask which of some are members; the answer is a frozenset of these."""
    encoded = {shape.member(each): each for each in given}
    return Question(
        ("members", *encoded),
        lambda flat, _: frozenset(encoded[each] for each in flat[::2]),
        lambda whole: frozenset(each for each in given if each in whole),
        frozenset(),
    )


def scores(shape: SortedSet, given: Sequence[_Member]) -> Question[dict[_Member, float]]:
    """Ask for scores; the answer is a dict of the members that are there."""
    encoded = {shape.member(each): each for each in given}

    def read(flat: list[bytes], _: Packing) -> dict[_Member, float]:
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return {encoded[member]: shape.score_of(score) for member, score in pairs}

    return Question(
        ("scores", *encoded),
        read,
        lambda whole: {each: whole[each] for each in given if each in whole},
        {},
    )


def _number(flat: list[bytes], _: Packing) -> int:
    return int(flat[0])


def count() -> Question[int]:
    """Ask for how many there are."""
    return Question(("count",), _number, len, 0)


def _bound(score: float) -> str:
    return {inf: "+inf", -inf: "-inf"}.get(score, repr(score))


def count_between(least: float, most: float) -> Question[int]:
    """Ask for how many have a score in a range, its ends included."""
    return Question(
        ("count between", _bound(least), _bound(most)),
        _number,
        lambda whole: sum(least <= score <= most for score in whole.values()),
        0,
    )


def rank(shape: SortedSet, member: object, *, descending: bool) -> Question[int | None]:
    """Ask for a member's place, from 0; None if it isn't there."""

    def of(whole: dict[object, float]) -> int | None:
        if member not in whole:
            return None
        place = next(place for place, each in enumerate(whole) if each == member)
        return len(whole) - 1 - place if descending else place

    return Question(
        ("rank", int(descending), shape.member(member)),
        lambda flat, _: int(flat[0]) if flat else None,
        of,
        None,
    )


def _checked(name: str, number: int) -> int:
    if number < 0:
        raise InvalidFamily(f"{name} is {number}: a number from 0 on is needed")
    return number


def page(
    shape: SortedSet | SortedItems, start: int, count: int, *, descending: bool
) -> Question[tuple[object, ...]]:
    """Ask for so many from a place on; the answer is a tuple of pairs, or of items."""
    end = _checked("start", start) + _checked("count", count)

    def of(whole: dict[object, float] | Sequence[object]) -> tuple[object, ...]:
        ordered = reversed(_listed(whole)) if descending else _listed(whole)
        return tuple(islice(ordered, start, end))

    # Redis counts the last one in; of no items a page is asked for that can't be.
    words = ("page", int(descending), start, end - 1) if count else ("page", 0, 1, 0)
    return Question(words, _pairs_or_items(shape), of, ())


def _listed(whole: dict[object, float] | Sequence[object]) -> Reversible[object]:
    return whole.items() if isinstance(whole, dict) else whole


def _pairs_or_items(shape: SortedSet | SortedItems) -> Callable[[list[bytes], Packing], tuple[object, ...]]:
    def read(flat: list[bytes], packing: Packing) -> tuple[object, ...]:
        if isinstance(shape, SortedItems):
            return tuple(shape.item_of(each, packing) for each in flat[::2])
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return tuple((shape.name_of(member), shape.score_of(score)) for member, score in pairs)

    return read


def items_between(
    shape: SortedSet, least: float, most: float, start: int, count: int | None, *, descending: bool
) -> Question[tuple[object, ...]]:
    """Ask for those with a score in a range, its ends included, so many from a place on; a tuple of pairs."""
    end = None if count is None else _checked("count", count) + start
    _checked("start", start)

    def of(whole: dict[object, float]) -> tuple[object, ...]:
        found = [pair for pair in whole.items() if least <= pair[1] <= most]
        return tuple((found[::-1] if descending else found)[start:end])

    words = ("between", int(descending), _bound(least), _bound(most), start, _ALL if count is None else count)
    return Question(words, _pairs_or_items(shape), of, ())


_ALL: Final = -1
