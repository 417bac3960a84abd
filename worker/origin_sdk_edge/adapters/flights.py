"""Flights of the whole world in Durable Objects: what such an object answers, and how an isolate asks it.

Each of a fixed number of objects has the flights of a part of the keys. They are of the class of the purge
log, so that one binding does for both, and keep nothing in its database.
"""

import json
from dataclasses import replace
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode, urlsplit

import js
from pyodide.ffi import JsException

from origin_sdk_edge.adapters.bodies import ArrayBuffers
from origin_sdk_edge.adapters.clock import JsTiming
from origin_sdk_edge.adapters.durable_objects import ask_object, read_query
from origin_sdk_edge.adapters.javascript import from_json
from origin_sdk_edge.adapters.promises import promised, within
from origin_sdk_edge.global_flights.board import Board, Carried, Landing, Role, Ticket
from origin_sdk_edge.policy.facts import OriginFailure
from origin_sdk_edge.ports import Request, Response, StoreError

__all__ = ["FLIGHT_PATH", "FlightStub", "FlightTower"]

FLIGHT_PATH = "/flight/"
_OBJECTS = 8
"""More than that a second need none: each takes some 1,000 requests a second."""
_TICKET = "edge-ticket"
_TIMEOUT_SECONDS = 2.0


class FlightTower:
    """Answers what :class:`FlightStub` asks, in an object."""

    def __init__(self) -> None:
        self._board = Board(JsTiming())
        self._bodies = ArrayBuffers()

    async def answer(self, request: Request) -> Response:
        """Answer a request of the runtime with a response of the runtime."""
        url = urlsplit(request.url)
        query = read_query(url.query)
        key, action = query["key"], url.path.removeprefix(FLIGHT_PATH)
        if action == "join":
            ticket = await self._board.join(key, int(query["since"]), float(query["patience"]))
            return _response(ticket)
        if action == "land":
            body = await self._bodies.received(request)
            self._board.land(key, int(query["number"]), _landing(query, body, self._bodies.size(body)))
        else:
            self._board.beat(key, int(query["number"]))
        return js.Response.new("")


def _landing(query: dict[str, str], body: Any, size_bytes: int) -> Landing:
    if "entry" in query:
        entry, metadata = query["entry"], query["metadata"]
        carried = Carried(entry, int(query["birth"]), metadata, body, size_bytes + len(metadata))
        return Landing(carried)
    failure = OriginFailure(query["failure"]) if "failure" in query else None
    return Landing(failure=failure, rest_seconds=float(query["rest"]))


def _response(ticket: Ticket) -> Response:
    told: dict[str, str | int] = {
        "role": ticket.role.value,
        "number": ticket.number,
        "granted": ticket.granted,
        **({"failure": ticket.failure.value} if ticket.failure else {}),
        **(_described(ticket.carried) if ticket.carried else {}),
    }
    init = from_json(json.dumps({"headers": {_TICKET: urlencode(told)}}))
    return js.Response.new(ticket.carried.value if ticket.carried else "", init)


def _described(carried: Carried) -> dict[str, str | int]:
    return {"entry": carried.entry_key, "birth": carried.birth_ms, "metadata": carried.metadata}


class FlightStub:
    """See :class:`origin_sdk_edge.global_flights.pilot.FlightPort`."""

    def __init__(self, namespace: Any) -> None:
        self._namespace = namespace
        self._bodies = ArrayBuffers()

    async def join(self, key: str, since_ms: int, patience_seconds: float) -> Ticket:
        """Join."""
        query: dict[str, str | int | float] = {"since": since_ms, "patience": patience_seconds}
        response = await self._ask("join", key, query, None, patience_seconds + _TIMEOUT_SECONDS)
        told = read_query(response.headers.get(_TICKET))
        ticket = Ticket(Role(told["role"]), int(told["number"]), int(told["granted"]))
        if "failure" in told:
            return replace(ticket, failure=OriginFailure(told["failure"]))
        if "entry" not in told:
            return ticket
        try:
            value = await within(_TIMEOUT_SECONDS, promised(response.arrayBuffer, response))
        except (JsException, TimeoutError) as error:
            raise StoreError(f"the response of another isolate broke off: {error}") from error
        carried = Carried(
            told["entry"], int(told["birth"]), told["metadata"], value, self._bodies.size(value)
        )
        return replace(ticket, carried=carried)

    async def beat(self, key: str, number: int) -> None:
        """Be heard of."""
        await self._ask("beat", key, {"number": number}, None)

    async def land(self, key: str, number: int, landing: Landing) -> None:
        """Tell how it ended."""
        query: dict[str, str | int | float] = {"number": number, "rest": landing.rest_seconds}
        if landing.failure:
            query["failure"] = landing.failure.value
        if landing.carried:
            query |= _described(landing.carried)
        await self._ask("land", key, query, landing.carried.value if landing.carried else None)

    async def _ask(
        self,
        action: str,
        key: str,
        query: dict[str, str | int | float],
        body: Any,
        seconds: float = _TIMEOUT_SECONDS,
    ) -> Any:
        options = from_json('{"method": "POST"}')
        if body is not None:
            options.body = body
        name = f"flights-{sha256(key.encode('utf-8', 'replace')).digest()[0] % _OBJECTS}"
        path = f"{FLIGHT_PATH[1:]}{action}?{urlencode({'key': key, **query})}"
        return await ask_object(self._namespace, name, path, options, seconds)
