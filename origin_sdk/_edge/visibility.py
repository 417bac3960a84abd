"""Waiting until what readers see honours a purge: by the purge log, else by the bound that always holds."""

from dataclasses import dataclass
from typing import Any

from origin_sdk._cloudflare.effects import Progress
from origin_sdk._edge.purge import Operation
from origin_sdk._edge.purge_log import Untold, ask_visible
from origin_sdk._values.errors import DeadlineExceeded
from origin_sdk._values.receipt import Receipt

__all__ = ["Visible", "wait_until_visible"]

_ASK_SECONDS = 0.5
_NO_LOG = "there is no purge log to ask (EDGE_CACHE_LOG_URL, EDGE_CACHE_LOG_KEY)"


@dataclass(frozen=True, slots=True)
class Visible:
    """That a purge is honoured everywhere, after ``seconds`` of waiting.

    ``is_confirmed``: the purge log says so of each of the ``readers``, locations that read it lately.
    Otherwise the receipt's ``visible_by`` is over.
    """

    is_confirmed: bool
    seconds: float
    readers: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {name: getattr(self, name) for name in self.__slots__}


async def wait_until_visible(operation: Operation, receipt: Receipt) -> Visible:
    """Ask the log until every location that reads honours the purge, or its bound is over.

    Raises :class:`DeadlineExceeded` as soon as it is clear that the time given doesn't suffice; the message
    says what is missing.
    """
    exchange, log = operation.exchange, operation.log
    started = exchange.clock.monotonic()

    def waited() -> float:
        return exchange.clock.monotonic() - started

    missing = _NO_LOG
    while (left := receipt.visible_by.timestamp() - operation.cloudflare_now()) > 0:
        if not (log and log.can_tell and receipt.log):
            await exchange.pause(left, _not_yet(receipt, missing))
            continue
        try:
            found = await ask_visible(exchange, log, receipt.log)
        except Untold as reason:
            missing = str(reason)
        else:
            if found.is_visible:
                return Visible(is_confirmed=True, seconds=waited(), readers=found.readers)
            missing = (
                f"{', '.join(found.behind)} hasn't read it yet"
                if found.behind
                else "the log hasn't learnt of it yet"
            )
            await Progress(found.readers - len(found.behind), found.readers)
        await exchange.pause(min(_ASK_SECONDS, left), _not_yet(receipt, missing))
    return Visible(is_confirmed=False, seconds=waited())


def _not_yet(receipt: Receipt, missing: str) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"purge {receipt.id} wasn't confirmed everywhere in the time given: {missing}; it is by "
        f"{receipt.visible_by:%H:%M:%S} UTC at the latest"
    )
