"""The rooms of an isolate that answer a look-up, each within reach, on fakes and in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from origin_sdk_edge.asker import Asker
from origin_sdk_edge.collapse import Collapse
from origin_sdk_edge.counters import Counters
from origin_sdk_edge.exchange import Exchange
from origin_sdk_edge.hooks import Hooks
from origin_sdk_edge.intake import Intake
from origin_sdk_edge.judge import Judge
from origin_sdk_edge.policy.decision import Ask, Lookup, Use
from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.policy.lookup import on_request
from origin_sdk_edge.policy.status import Status
from origin_sdk_edge.ports import Ports
from origin_sdk_edge.questions import Outcome, Question
from origin_sdk_edge.sender import Sender
from origin_sdk_edge.storage import Found, Storage
from origin_sdk_edge.storage.memory import Entry
from origin_sdk_edge.upstream import Upstream
from origin_sdk_wire.key import parse_target
from origin_sdk_wire.settings import Settings
from tests.edge.fakes import FakeBackground, FakeBodies, FakeOutgoing, FakeResponse, FakeStore, Sent
from tests.edge.virtual import VirtualTiming

__all__ = ["FIELDS", "SETTINGS", "URL", "Rooms", "page"]

URL = "https://api.example/a"
SETTINGS = Settings(origin="https://origin.example", lifetime_jitter=0.0)
FIELDS = {"cache-control": "max-age=60, stale-if-error=600", "etag": '"1"'}
"""What :func:`page` says unless it is told otherwise."""


def page(body: bytes = b"body", status: int = 200, **fields: str | None) -> FakeResponse:
    """Return an origin's response; a field that is ``None`` is left out."""
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    said = {**FIELDS, "content-length": str(len(body)), **named}
    return FakeResponse(status, {name: value for name, value in said.items() if value is not None}, body)


@dataclass
class Service:
    """The origin: ``answer`` may raise, and comes after ``seconds``."""

    answer: Callable[[RequestFacts], FakeResponse]
    seconds: float = 0.0
    asked: list[RequestFacts] = field(default_factory=list)

    async def fetch(
        self,
        request: RequestFacts,
        conditional: Mapping[str, str],
        _body: Any,
        _timeout_seconds: float,
        _base: str,
    ) -> FakeResponse:
        sent = RequestFacts(request.method, request.target, {**request.fields, **conditional})
        self.asked.append(sent)
        answer = self.answer
        await asyncio.sleep(self.seconds)
        return answer(sent)


class Rooms:
    """What stands between a decision and a response. What the origin answers may be exchanged."""

    def __init__(
        self,
        answer: Callable[[RequestFacts], FakeResponse] = lambda _: page(),
        settings: Settings = SETTINGS,
        hooks: Hooks | None = None,
    ) -> None:
        self.origin = Service(answer)
        self.settings, hooks = settings, hooks or Hooks()
        self.faults: list[str] = []
        self.timing, self.store, self.background = VirtualTiming(), FakeStore(), FakeBackground()
        self.bodies = FakeBodies()

        def report(where: str, error: Exception) -> None:
            self.faults.append(f"{where}: {error}")

        self.storage = storage = Storage(self.store, self.bodies, self.timing, settings, report)
        ports = Ports(self.origin, self.bodies, FakeOutgoing(), self.timing, report)
        self.counters = counters = Counters(settings)
        self.judge = Judge(settings, storage, self.timing)
        self.sender = Sender(settings, hooks, storage, ports)
        upstream, intake = (
            Upstream(settings, storage.marks, ports, counters),
            Intake(settings, storage, ports, counters),
        )
        self.asker = Asker(settings, hooks, storage, ports, counters, upstream, intake)
        self.collapse = Collapse(
            settings, storage, self.judge, self.asker, self.sender, ports, counters, self.answered
        )

    def lookup(self, method: str = "GET", url: str = URL, **fields: str) -> Lookup:
        """Return what the policy decides on a request."""
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        decided = on_request(
            RequestFacts(method, parse_target(url), named), self.settings, self.timing.now_ms()
        )
        assert isinstance(decided, Lookup)
        return decided

    def exchange(self) -> Exchange:
        """Return an exchange that begins now."""
        return Exchange(self.background, self.timing.now_ms())

    def held(self, lookup: Lookup) -> Entry | None:
        """Return what memory holds for a look-up."""
        return self.storage.records.find_in_memory(lookup).entry

    async def question(self, lookup: Lookup) -> Question:
        """Return what the origin is to be asked for a look-up."""
        entry = self.held(lookup)
        ask = await self.judge.decide(lookup, Found(entry))
        assert isinstance(ask, Ask)
        return Question(lookup, ask, entry, self.storage.variants.expected_key(lookup))

    async def ask(self, lookup: Lookup) -> Outcome:
        """Ask for one look-up, and store what comes of it."""
        question = await self.question(lookup)
        outcome = await self.asker.ask(question)
        entry = await self.asker.collected(question, outcome)
        await self.asker.intake.keep(lookup, outcome, entry)
        return outcome

    async def answered(self, lookup: Lookup, exchange: Exchange | None = None) -> Sent:
        """Answer a look-up from memory, or have the origin asked."""
        exchange, entry = exchange or self.exchange(), self.held(lookup)
        decision = await self.judge.decide(lookup, Found(entry))
        if isinstance(decision, Use) and entry:
            sent: Sent = await self.sender.stored(exchange, lookup, entry, Status(decision.reason, hit=True))
            return sent
        assert isinstance(decision, Ask)
        sent = await self.collapse.ask_or_wait(lookup, decision, entry, exchange)
        return sent  # noqa: RET504 - typed by its name

    async def get(self, url: str = URL, **fields: str) -> Sent:
        """Answer a GET."""
        return await self.answered(self.lookup(url=url, **fields))
