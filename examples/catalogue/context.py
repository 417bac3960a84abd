"""What every endpoint is given: the database, the time and a way to wait."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Path, Request
from sqlalchemy.orm import Session

from examples.catalogue.database import Database
from examples.catalogue.schemas import LARGEST_ID


def utc_now() -> datetime:
    """Return the present moment."""
    return datetime.now(UTC)  # noqa: TID251 - the clock enters the catalogue here, and nowhere else


@dataclass(frozen=True, slots=True)
class Context:
    """The ports of the app; tests put their own clock and waiting here."""

    database: Database
    now: Callable[[], datetime] = utc_now
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


def get_context(request: Request) -> Context:
    """Return the context with which the app was made."""
    context: Context = request.app.state.context
    return context


def get_session(context: Annotated[Context, Depends(get_context)]) -> Iterator[Session]:
    """Give one session for the length of the request."""
    with context.database.sessions() as session:
        yield session


def get_now(context: Annotated[Context, Depends(get_context)]) -> datetime:
    """Return the moment at which the request is dealt with."""
    return context.now()


AppContext = Annotated[Context, Depends(get_context)]
DatabaseSession = Annotated[Session, Depends(get_session)]
Now = Annotated[datetime, Depends(get_now)]
ProductId = Annotated[int, Path(ge=1, le=LARGEST_ID)]
