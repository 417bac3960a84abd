"""Which server is the primary: what those sentinels say that have the latest configuration.

redis-py believes the first sentinel that answers, and that only once all replicas follow the new primary.
Until then, and as long as the old one isn't told, which takes eight seconds or more, there are two.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, Protocol, TypeAlias, TypeVar, cast

import redis.asyncio.sentinel
import redis.sentinel
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.sentinel import MasterNotFoundError

__all__ = ["Address", "AsyncSentinels", "Sentinels"]

Address: TypeAlias = tuple[str, int]
_QUESTIONS = ("SENTINEL MASTER", "SENTINEL GET-MASTER-ADDR-BY-NAME")
_SILENT = (RedisConnectionError, RedisTimeoutError, ResponseError)


class _Pool(Protocol):
    @property
    def connection_kwargs(self) -> Mapping[str, object]:
        """What its connections are made with."""
        ...


class _Client(Protocol):
    """A client of redis-py for one of them."""

    @property
    def connection_pool(self) -> _Pool:
        """Which says where that is."""
        ...


_Sentinel = TypeVar("_Sentinel", bound=_Client)
_State: TypeAlias = dict[str, int | str]


class _Answers(Generic[_Sentinel]):
    """What sentinels said of a service, each its state and the address of its primary."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._given: list[tuple[_State, Address]] = []
        self._errors: list[str] = []
        self.answering: list[_Sentinel] = []
        self.silent: list[_Sentinel] = []

    def add(self, sentinel: _Sentinel, state: _State, address: Address) -> None:
        """Note an answer."""
        self._given.append((state, address))
        self.answering.append(sentinel)

    def fail(self, sentinel: _Sentinel, error: Exception) -> None:
        """Note that there is none. Raises what isn't for lack of an answer: that the account has no right."""
        if isinstance(error, ResponseError) and "No such master" not in str(error):
            raise error
        where = sentinel.connection_pool.connection_kwargs
        self._errors.append(f"{where.get('host')}:{where.get('port')}: {error}")
        self.silent.append(sentinel)

    def primary(self, is_usable: Callable[[_State, str], bool]) -> Address:
        """Return the address of the latest configuration. Raises MasterNotFoundError."""
        ordered = sorted(self._given, key=lambda given: -int(given[0].get("config-epoch", 0)))
        for state, address in ordered:
            # A replica that is promoted already is named before the state is its own.
            is_promoted = address != (state["ip"], state["port"])
            if is_promoted or is_usable(state, self._service):
                return address
        reasons = f": {', '.join(self._errors)}" if self._errors else ""
        raise MasterNotFoundError(f"No master found for {self._service!r}{reasons}")


class Sentinels(redis.sentinel.Sentinel):
    """All sentinels, for threads. ``found`` is told what they say."""

    def __init__(
        self, addresses: Sequence[Address], found: Callable[[Address], None], arguments: dict[str, object]
    ) -> None:
        super().__init__(addresses, sentinel_kwargs=arguments)  # type: ignore[no-untyped-call]  # redis-py
        self._found = found

    def discover_master(self, service_name: str) -> Address:
        """Return the primary's address. Raises MasterNotFoundError."""
        answers: _Answers[redis.Redis] = _Answers(service_name)
        for sentinel in self.sentinels:
            ask: Callable[[str, str], object] = sentinel.execute_command
            try:
                state, address = (ask(each, service_name) for each in _QUESTIONS)
            except _SILENT as error:
                answers.fail(sentinel, error)
            else:
                answers.add(sentinel, cast("_State", state), cast("Address", address))
        self.sentinels = [*answers.answering, *answers.silent]
        address = answers.primary(self.check_master_state)
        self._found(address)
        return address


class AsyncSentinels(redis.asyncio.sentinel.Sentinel):
    """All sentinels, for an event loop. ``found`` is told what they say."""

    def __init__(
        self, addresses: Sequence[Address], found: Callable[[Address], None], arguments: dict[str, object]
    ) -> None:
        super().__init__(addresses, sentinel_kwargs=arguments)  # type: ignore[no-untyped-call]  # redis-py
        self._found = found

    async def discover_master(self, service_name: str) -> Address:
        """Return the primary's address. Raises MasterNotFoundError."""
        answers: _Answers[redis.asyncio.Redis] = _Answers(service_name)
        for sentinel in self.sentinels:
            ask: Callable[[str, str], Awaitable[object]] = sentinel.execute_command
            try:
                state, address = [await ask(each, service_name) for each in _QUESTIONS]
            except _SILENT as error:
                answers.fail(sentinel, error)
            else:
                answers.add(sentinel, cast("_State", state), cast("Address", address))
        self.sentinels = [*answers.answering, *answers.silent]
        address = answers.primary(self.check_master_state)
        self._found(address)
        return address
