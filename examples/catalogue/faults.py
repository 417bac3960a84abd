"""Demo control: make the API fail, slow down or hang, to watch what a cache in front of it does."""

import ipaddress
from collections.abc import Awaitable, Callable
from enum import StrEnum
from http import HTTPStatus

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Receive, Scope, Send

from examples.catalogue.caching import UNSTORED, cache_fields
from examples.catalogue.errors import ForbiddenError, problem

_NEVER_FAULTY = ("/admin/", "/health")
# Proxies add these, the edge cache among them: who asks through one is not on this machine.
_FIELDS_OF_PROXIES = ("via", "forwarded", "x-forwarded-for", "cf-connecting-ip", "cf-ray", "cdn-loop")


class FaultMode(StrEnum):
    """What goes wrong."""

    OFF = "off"
    ERROR = "error"
    SLOW = "slow"
    HANG = "hang"


class Fault(BaseModel):
    """The state of the switch: which requests go wrong, and how."""

    model_config = ConfigDict(extra="forbid")

    mode: FaultMode = FaultMode.OFF
    status: int = Field(default=500, ge=500, le=504, description="Of the answers in mode `error`")
    seconds: float = Field(default=5.0, ge=0, le=300, description="Added to each answer in mode `slow`")
    path: str = Field(default="/", pattern="^/", description="Only paths that begin so go wrong")

    def concerns(self, path: str) -> bool:
        """Tell whether a request for this path goes wrong."""
        return (
            self.mode is not FaultMode.OFF
            and path.startswith(self.path)
            and not path.startswith(_NEVER_FAULTY)
        )


class FaultSwitch:
    """Holds the fault that is switched on."""

    def __init__(self) -> None:
        self.fault = Fault()


class FaultInjection:
    """ASGI middleware that lets requests go wrong as the switch says."""

    def __init__(self, app: ASGIApp, switch: FaultSwitch, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._app = app
        self._switch = switch
        self._sleep = sleep

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, late or not at all."""
        fault = self._switch.fault
        if scope["type"] != "http" or not fault.concerns(scope["path"]):
            await self._app(scope, receive, send)
            return
        match fault.mode:
            case FaultMode.ERROR:
                response = problem(fault.status, "switched on at /admin/faults", cache_fields(UNSTORED))
                await response(scope, receive, send)
            case FaultMode.HANG:
                await _client_gone(receive)
            case _:
                await self._sleep(fault.seconds)
                await self._app(scope, receive, send)


async def _client_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _from_this_machine(request: Request) -> None:
    proxied = [name for name in _FIELDS_OF_PROXIES if name in request.headers]
    if proxied:
        raise ForbiddenError(
            f"ask the origin itself: the field {proxied[0]} shows that a proxy sent this request"
        )
    if request.client is None or not ipaddress.ip_address(request.client.host).is_loopback:
        raise ForbiddenError("only requests from the machine on which the origin runs may use /admin")


def fault_routes(switch: FaultSwitch) -> APIRouter:
    """Return the endpoints that read and set the switch."""
    router = APIRouter(prefix="/admin/faults", tags=["demo"], dependencies=[Depends(_from_this_machine)])

    @router.get("", response_model=Fault)
    def read() -> Response:
        return _state(switch)

    @router.put("", response_model=Fault)
    def set_fault(fault: Fault) -> Response:
        switch.fault = fault
        return _state(switch)

    @router.delete("", response_model=Fault)
    def clear() -> Response:
        switch.fault = Fault()
        return _state(switch)

    return router


def _state(switch: FaultSwitch) -> Response:
    body = switch.fault.model_dump_json()
    return Response(body, HTTPStatus.OK, cache_fields(UNSTORED), media_type="application/json")
