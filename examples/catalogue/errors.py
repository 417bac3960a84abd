"""Refusals, and their form on the wire: application/problem+json (RFC 9457).

CatalogueError
|-- InvalidRequestError       422  the client sent what can't be carried out
|-- UnauthenticatedError      401  no demo token, or an unknown one
|-- ForbiddenError            403  demo controls, asked for from elsewhere
|-- NotFoundError             404  may be cached for a short while, in groups
|-- ConflictError             409  another product, or another writer, is in the way
`-- PreconditionFailedError   412  If-Match names another representation
"""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import ClassVar

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from examples.catalogue.caching import ABSENT, UNSTORED, cache_fields
from origin_sdk.asgi import add_groups


class CatalogueError(Exception):
    """A request that is refused, with the sentence that the client is told."""

    status: ClassVar[HTTPStatus] = HTTPStatus.BAD_REQUEST

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    def fields(self) -> dict[str, str]:
        """Return the header fields of the refusal."""
        return cache_fields(UNSTORED)


class InvalidRequestError(CatalogueError):
    """The request is well formed, and yet can't be carried out."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class UnauthenticatedError(CatalogueError):
    """The request needs a demo token."""

    status = HTTPStatus.UNAUTHORIZED

    def fields(self) -> dict[str, str]:
        """Return the header fields of the refusal."""
        return super().fields() | {"WWW-Authenticate": 'Bearer realm="catalogue"'}


class ForbiddenError(CatalogueError):
    """The request is for the demo's operator only."""

    status = HTTPStatus.FORBIDDEN


class NotFoundError(CatalogueError):
    """There is no such thing; caches may remember that until one of the groups is invalidated."""

    status = HTTPStatus.NOT_FOUND

    def __init__(self, detail: str, groups: Iterable[str] = ()) -> None:
        super().__init__(detail)
        self.groups = tuple(groups)

    def fields(self) -> dict[str, str]:
        """Return the header fields of the refusal, and say its groups."""
        add_groups(*self.groups)
        return cache_fields(ABSENT)


class ConflictError(CatalogueError):
    """The write contradicts what is stored."""

    status = HTTPStatus.CONFLICT


class PreconditionFailedError(CatalogueError):
    """The client wrote on the basis of a representation that is no longer current."""

    status = HTTPStatus.PRECONDITION_FAILED


def problem(
    status: int, detail: str, fields: Mapping[str, str], *, errors: list[dict[str, str]] | None = None
) -> Response:
    """Return a problem document; `errors` lists single fields of the request and what is wrong with each."""
    content: dict[str, object] = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    if errors is not None:
        content["errors"] = errors
    return JSONResponse(content, status, headers=fields, media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Make the app answer every refusal with a problem document."""
    app.exception_handler(CatalogueError)(_refused)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(HTTPException)(_unrouted)


def _refused(_request: Request, error: CatalogueError) -> Response:
    return problem(error.status, error.detail, error.fields())


def _invalid(_request: Request, error: RequestValidationError) -> Response:
    errors = [
        {"field": ".".join(str(part) for part in each["loc"]), "message": each["msg"]}
        for each in error.errors()
    ]
    detail = "; ".join(f"{each['field']}: {each['message']}" for each in errors)
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, cache_fields(UNSTORED), errors=errors)


def _unrouted(request: Request, error: HTTPException) -> Response:
    fields = cache_fields(UNSTORED) | dict(error.headers or {})
    return problem(error.status_code, f"{request.method} {request.url.path}: {error.detail}", fields)
