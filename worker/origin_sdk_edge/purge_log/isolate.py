"""An isolate's part in the purge log: it reads, it tells of its own purges, and it lets others tell."""

from itertools import count
from typing import Protocol

from origin_sdk_edge.ports import Report, Timing
from origin_sdk_edge.purge_log.reader import Following, LogSource, Readers
from origin_sdk_edge.purge_log.route import LogObject, Route
from origin_sdk_edge.purge_log.switches import Switches
from origin_sdk_edge.purge_log.writer import LogSink, Writer
from origin_sdk_edge.storage import Storage
from origin_sdk_wire.settings import Settings

__all__ = ["IsolateLog", "LogPort"]


class LogPort(LogSource, LogObject, LogSink, Protocol):
    """The one place that holds the log, as an isolate reaches it."""


class IsolateLog:
    """Has the marks of ``storage`` known by the log. ``isolate_id`` is unlike that of any other isolate."""

    def __init__(
        self,
        log: LogPort,
        storage: Storage,
        switches: Switches,
        settings: Settings,
        timing: Timing,
        report: Report,
        isolate_id: str,
    ) -> None:
        marks = storage.marks
        following = Following(log, marks.table, switches, timing, settings, report)
        self.reader = marks.log_reader = Readers(following)
        if settings.purge_log_shards > 1:
            marks.follow = self.reader.follow
        ids = (f"{isolate_id}-{number}" for number in count(1))
        marks.log_writer = Writer(log, storage.writes, timing, ids, report, settings.store_keys)
        self.route = Route(log, settings, timing.now_ms, report)
