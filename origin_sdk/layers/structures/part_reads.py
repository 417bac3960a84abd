"""The way to a part of a structure: memory, Redis, the loader of the whole."""

from enum import Enum, auto
from typing import Final, Literal, TypeVar, cast

from origin_sdk.layers.errors import InvalidFamily
from origin_sdk.layers.process.memory import MemoryEntry
from origin_sdk.layers.process.moments import PARTS
from origin_sdk.layers.redis.commands import Command
from origin_sdk.layers.redis.link import Link
from origin_sdk.layers.redis.replies import FAILED
from origin_sdk.layers.redis.structure_scripts import PART
from origin_sdk.layers.rules import retrieval
from origin_sdk.layers.rules.admission import admit, unreadable
from origin_sdk.layers.rules.claims import Filling
from origin_sdk.layers.rules.judge import Judge, opened
from origin_sdk.layers.rules.loads import Loader
from origin_sdk.layers.rules.ports import Cache
from origin_sdk.layers.rules.steps import Ask, Flow
from origin_sdk.layers.structures.questions import Question
from origin_sdk.layers.values.families import AnyFamily, AnyKey, Family, Key
from origin_sdk.layers.values.policy import ANSWERS, Freshness
from origin_sdk.layers.values.serialization import NATIVE, READ_ERRORS, Form
from origin_sdk.layers.values.shapes import AnyShape

__all__ = ["reading", "shape_for", "whole_of"]

_Shape = TypeVar("_Shape", bound=AnyShape)
_Answer = TypeVar("_Answer")
_LOST, _FOUND = 0, 2
"""What PART says: that its history lacks what is known here, and that there is an answer."""


class _NotFound(Enum):
    """That neither memory nor Redis has an answer, which may itself be None."""

    ABSENT = auto()


_ABSENT: Final = _NotFound.ABSENT


def shape_for(key: AnyKey, wanted: type[_Shape]) -> _Shape:
    """Return how values of a key's family are kept. Raises InvalidFamily if that is another way."""
    shape = key.family.shape
    if not isinstance(shape, wanted):
        raise InvalidFamily(
            f"family {key.family.name} of {key.family.type!r}, kept_as={key.family.kept_as!r}: that has no "
            "such parts; a hash has fields, a set members, a sorted set scores or pages"
        )
    return shape


class _Answers:
    """In place of a family's type: answers stay as they came, and are read for each caller."""

    forms = {NATIVE: Form(bytes, bytes)}  # noqa: RUF012 - never changed


def _family_of_answers(family: AnyFamily) -> AnyFamily:
    shape: AnyShape = family.shape  # type: ignore[assignment]  # who asks for parts has looked
    if shape.answers is None:
        answers: AnyFamily = object.__new__(Family)
        vars(answers).update(vars(family) | {"shape": None, "typed": _Answers()})
        shape.answers = answers
    return cast("AnyFamily", shape.answers)


async def reading(cache: Cache, key: AnyKey, loader: Loader | None, question: Question[_Answer]) -> _Answer:
    """Return the answer to a question, of memory, of Redis, or of what the loader returns."""
    judge = cache.judge
    judge.families.know(key.family)
    judge.families.policy(key)
    state, whole = judge.peek(key, judge.clock.monotonic())
    if whole is not None and state in ANSWERS:
        judge.stats.count("memory-hit", key.family.name, key.name)
        retrieval.note(cache, key, whole)
        _refresh(cache, key, loader, whole, state)
        return _of(key, question, opened(whole))
    if judge.families.keeps_parts(key.family):
        found = await _answer(cache, key, loader, question)
        if found is not _ABSENT:
            return found
    return _of(key, question, (await whole_of(cache, key, loader)))


def whole_of(cache: Cache, key: AnyKey, loader: Loader | None) -> Flow[object]:
    """Return the whole; None if nothing is stored, and nothing loads it."""
    if loader is None:
        return retrieval.get(cache, key, None)
    return retrieval.get_or_load(cache, key, loader)


def _of(key: AnyKey, question: Question[_Answer], whole: object) -> _Answer:
    """Answer out of the whole. Raises UnsupportedValue if the loader returned what isn't declared."""
    if whole is None:
        return question.absent
    shape: AnyShape = key.family.shape  # type: ignore[assignment]  # who asks for parts has looked
    shape.require(whole)
    return question.of(whole)


async def _answer(
    cache: Cache, key: AnyKey, loader: Loader | None, question: Question[_Answer]
) -> _Answer | Literal[_NotFound.ABSENT]:
    """Answer out of memory or Redis where the answer alone is there."""
    judge, stats = cache.judge, cache.judge.stats
    part = Key(f"{key.name}{PARTS}{question.words!r}", _family_of_answers(key.family))
    state, entry = judge.peek(part, judge.clock.monotonic())
    event = "memory-hit"
    if entry is None or state not in ANSWERS:
        stats.count("memory-miss", key.family.name, key.name)
        entry = await _looking(cache, key, part, question)
        state, event = _state(judge, entry), "redis-hit"
    if entry is None or state not in ANSWERS:
        return _ABSENT
    shape: AnyShape = key.family.shape  # type: ignore[assignment]  # see above
    try:
        answer = question.answer(shape, entry.value, judge.wrapping)
    except READ_ERRORS as error:
        unreadable(judge, key, error)
        judge.memory.drop(part.name)
        return _ABSENT
    stats.count(event, key.family.name, key.name)
    retrieval.note(cache, key, entry, entry.groups[1:])
    _refresh(cache, key, loader, entry, state)
    return answer


def _state(judge: Judge, entry: MemoryEntry | None) -> Freshness:
    return Freshness.GONE if entry is None else judge.freshness(entry)


def _refresh(cache: Cache, key: AnyKey, loader: Loader | None, entry: MemoryEntry, state: Freshness) -> None:
    """Load the whole behind the caller's back if it is time."""
    if state is not Freshness.FRESH and loader is not None:
        filling = Filling(key, fresh_until=entry.fresh_until)
        retrieval.refresh_behind(cache, filling, loader, entry, state)


async def _looking(
    cache: Cache, key: AnyKey, part: AnyKey, question: Question[_Answer]
) -> MemoryEntry | None:
    """Ask Redis for an answer; None where it has none that may be believed."""
    judge, link = cache.judge, cache.listening()
    if link is None:
        return None
    seq, shard = judge.moments.seq, link.layout.shard(key.name)
    reply = await Ask(_command(link, shard, key, question))
    if reply is FAILED:
        return None
    if reply[0] == _LOST:
        link.doubt((shard,))
    if reply[0] != _FOUND:
        return None
    found, _ = admit(judge, link, shard, (part,), (cast("bytes", reply[1]),), seq)
    return found.get(part.name)


def _command(link: Link, shard: int, key: AnyKey, question: Question[object]) -> Command[list[int | bytes]]:
    layout = link.layout
    shape: AnyShape = key.family.shape  # type: ignore[assignment]  # see above
    keys = layout.keys(shard, "emhs", key.name)
    return Command(
        PART,
        keys,
        (link.history.told_of(shard), link.history.known_from(shard), shape.letter, *question.words),
    )
