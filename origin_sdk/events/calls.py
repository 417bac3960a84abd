"""For what no ORM sees: a decorator and a context manager that record once the work has succeeded.

::

    @purging(outbox.record, groups=lambda product_id, price: f"product-{product_id}")
    def set_price(product_id: int, price: int) -> None: ...

    with recording(outbox.record) as edge:
        edge.purge(groups="price-list")
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Protocol, TypeAlias, TypeVar, cast

from origin_sdk._values.targets import Purge
from origin_sdk._values.texts import Texts, texts
from origin_sdk.events._models.rules import gathered, named_texts
from origin_sdk.outbox._stores.entries import Intent, Republish, payload_of

__all__ = ["Recorder", "Recording", "purging", "recording"]

_Targets: TypeAlias = Callable[..., Texts] | Texts
_Function = TypeVar("_Function", bound=Callable[..., Any])


class Recorder(Protocol):
    """Puts intents into an outbox: an outbox's ``record``, or ``partial(record, session)``."""

    def __call__(self, *intents: Intent) -> None:
        """Record."""
        ...


class Recording:
    """What a ``with`` block wants to be done once it has succeeded."""

    def __init__(self) -> None:
        self.intents: list[Intent] = []

    def purge(self, **targets: Any) -> None:
        """Add a purge; raises :class:`InvalidRequest` immediately for invalid targets."""
        self.intents.append(Purge.of(**targets))

    def publish(self, url: str, renderer: str = "", **arguments: Any) -> None:
        """Add a republication; raises :class:`InvalidRequest` immediately for what can't be recorded."""
        intent = Republish(url, renderer, arguments)
        payload_of(intent)
        self.intents.append(intent)


@contextmanager
def recording(record: Recorder) -> Iterator[Recording]:
    """Record what the block asked for at its end; if it raises, nothing."""
    made = Recording()
    yield made
    if made.intents:
        record(*made.intents)


def purging(
    record: Recorder,
    *,
    groups: _Targets = (),
    urls: _Targets = (),
    hard: bool = False,
) -> Callable[[_Function], _Function]:
    """Return a decorator: each call that returns purges; one that raises doesn't.

    ``groups`` and ``urls`` are texts, or functions of the call's arguments. Coroutine functions are awaited.
    What no response can have is left out, and logged: the call has succeeded by then.
    """
    targets = [given if callable(given) else texts(given) for given in (groups, urls)]
    fixed_groups, fixed_urls = (() if callable(given) else given for given in targets)
    Purge.of(groups=fixed_groups, urls=fixed_urls, hard=hard, everything=True)  # raises for invalid ones

    def record_targets(arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        of_groups, of_urls = (
            named_texts(given(*arguments, **named)) if callable(given) else given for given in targets
        )
        if intents := gathered([Purge(groups=of_groups, urls=of_urls, hard=hard)]):
            record(*intents)

    def decorate(function: _Function) -> _Function:
        @wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            result = function(*arguments, **named)
            record_targets(arguments, named)
            return result

        @wraps(function)
        async def call_async(*arguments: Any, **named: Any) -> Any:
            result = await function(*arguments, **named)
            record_targets(arguments, named)
            return result

        return cast("_Function", call_async if inspect.iscoroutinefunction(function) else call)

    return decorate
