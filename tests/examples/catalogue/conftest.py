import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from examples.catalogue.app import create_app
from examples.catalogue.context import Context
from examples.catalogue.database import Database, open_database


@pytest.fixture(scope="session")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A freshly seeded file, to be copied and not changed."""
    path = tmp_path_factory.mktemp("catalogue") / "seeded.sqlite3"
    open_database(path).close()
    return path


@pytest.fixture
def database(seeded: Path, tmp_path: Path) -> Iterator[Database]:
    database = open_database(Path(shutil.copy(seeded, tmp_path / "catalogue.sqlite3")))
    yield database
    database.close()


@pytest.fixture
def moments() -> list[datetime]:
    """The last of these is the present."""
    return [datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)]


@pytest.fixture
def set_now(moments: list[datetime]) -> Callable[[datetime], None]:
    return moments.append


@pytest.fixture
def naps() -> list[float]:
    """How long the app wanted to wait; it never does."""
    return []


@pytest.fixture
def context(database: Database, moments: list[datetime], naps: list[float]) -> Context:
    async def nap(seconds: float) -> None:
        naps.append(seconds)

    return Context(database, now=lambda: moments[-1], sleep=nap)


@pytest.fixture
async def client(context: Context) -> AsyncIterator[httpx.AsyncClient]:
    """A client on the same machine as the origin."""
    transport = httpx.ASGITransport(create_app(context), client=("127.0.0.1", 50000))
    async with httpx.AsyncClient(transport=transport, base_url="http://catalogue.test") as client:
        yield client


@pytest.fixture
async def distant_client(context: Context) -> AsyncIterator[httpx.AsyncClient]:
    """A client on another machine."""
    transport = httpx.ASGITransport(create_app(context), client=("192.0.2.7", 50000))
    async with httpx.AsyncClient(transport=transport, base_url="http://catalogue.test") as client:
        yield client
