"""What happens to a file that an outbox has open."""

from collections.abc import Callable
from pathlib import Path

import pytest

from origin_sdk import Purge
from origin_sdk.errors import OutboxUnavailable
from origin_sdk.outbox import State
from origin_sdk.outbox._stores.urls import store_errors
from origin_sdk.outbox.sqlite import SqliteOutbox

A, B = Purge.of(groups="a"), Purge.of(groups="b")


def removed(path: Path) -> None:
    for each in path.parent.glob("outbox.db*"):
        each.unlink()


def replaced(path: Path) -> None:
    removed(path)
    SqliteOutbox(path).close()


def moved(path: Path) -> None:
    for each in path.parent.glob("outbox.db*"):
        each.rename(each.with_name(f"old-{each.name}"))


@pytest.mark.parametrize("happens", [removed, replaced, moved])
def test_what_is_recorded_is_where_others_look_for_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, happens: Callable[[Path], None]
) -> None:
    path = tmp_path / "outbox.db"
    service = SqliteOutbox(path)
    service.record(A)
    happens(path)
    service.record(B)
    assert SqliteOutbox(path).status().counts == {State.WAITING: 1}
    assert "removed or replaced" in caplog.text


def test_a_folder_that_is_gone_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    service = SqliteOutbox(str(folder / "outbox.db"))
    removed(folder / "outbox.db")
    folder.rmdir()
    with pytest.raises(OutboxUnavailable, match="let this user write"), store_errors("sqlite:///outbox.db"):
        service.record(A)
    folder.mkdir()
    service.record(B)
    assert service.status().counts == {State.WAITING: 1}
