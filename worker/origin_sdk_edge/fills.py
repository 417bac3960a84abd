"""Bodies on their way from the origin, shared while they come.

One reader, the *fill*, takes a body from the origin and holds what came; any number of clients are fed from
that, each at its own pace and in its own request. What the runtime ties to a request is touched
in that request alone: only bytes and signals are shared, no streams.

Whoever is slow or goes away holds nobody up while the whole body may be held. Of a body that is too large for
that, only what some client still waits for is held: the origin is then read no faster than the slowest reads.
"""

from bisect import bisect_right

from origin_sdk_edge.ports import Bodies, Body, OriginError, Pieces, Pipe, Signal, Timing
from origin_sdk_edge.storage.memory import Memory

__all__ = ["Fill"]

_WINDOW_BYTES = 1024 * 1024
"""How far the slowest client may be behind the origin where the whole body can't be held."""
_PART_BYTES = 256 * 1024
"""The most that is given to a client at once."""
_CLIENT_SECONDS = 30.0
"""A client that takes nothing for so long is given up."""


class Fill:
    """A body that comes.

    ``limit_bytes`` is the most that may be held of it. One that its clients have left is abandoned once it is
    above ``alone_bytes``: who hangs up must not make the cache fetch and store what is large.
    """

    def __init__(
        self,
        pieces: Pieces,
        bodies: Bodies,
        timing: Timing,
        memory: Memory,
        *,
        limit_bytes: int,
        alone_bytes: int,
    ) -> None:
        self.size_bytes = 0
        self.is_whole = False
        self.is_abandoned = False
        self.is_kept = True
        """Whether all of it is held, so that it can be stored, and a client that comes later be fed."""
        self.failure: OriginError | None = None
        self._pieces = pieces
        self._bodies = bodies
        self._timing = timing
        self._memory = memory
        self._limit_bytes = limit_bytes
        self._alone_bytes = alone_bytes
        self._held: list[Body] = []
        self._ends: list[int] = []
        self._held_bytes = 0
        self._places: dict[Pipe, int] = {}
        self._has_clients = False
        self._is_expected = True
        self._is_read = False
        self._is_closed = False
        self._news: Signal | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.is_whole or self.is_abandoned or self.failure is not None

    @property
    def is_joinable(self) -> bool:
        """Whether another client may be fed all of it."""
        return self.is_kept and not self.is_abandoned and self.failure is None and not self._is_read

    @property
    def is_oversized(self) -> bool:
        """Whether it can't be stored because of its size alone."""
        return self.size_bytes > self._limit_bytes

    # Reading the origin

    async def read_ahead(self, most_bytes: int, patience_seconds: float | None) -> None:
        """Read some of it before anyone is fed: if there is a patience, only what comes within that.

        Raises :class:`OriginError`.
        """
        while not self.is_over and self.is_kept and self.size_bytes <= most_bytes:
            if patience_seconds is not None and not await self._pieces.is_near(patience_seconds):
                return
            await self._read_piece()
        if self.failure:
            raise self.failure

    async def read(self) -> Body | None:
        """Read to the end, and return the whole body; ``None`` if it couldn't be held, or nobody wanted it.

        It counts as held until the fill is closed. Raises :class:`OriginError` if it breaks off.
        """
        try:
            while not self.is_over:
                await self._read_piece()
                await self._wait_for_clients()
                self._abandon()
            if self.failure:
                raise self.failure
            return self._joined() if self.is_kept and self.is_whole else None
        finally:
            self._is_read = True

    def _joined(self) -> Body:
        whole = self._bodies.joined(self._held)
        self._held, self._ends = [whole], [self.size_bytes]
        return whole

    def close(self) -> None:
        """Let go of the body as soon as every client has it: also the first one, which may be yet to come."""
        self._is_closed = True
        self._let_go()

    async def _read_piece(self) -> None:
        try:
            piece = await self._pieces.next()
        except OriginError as error:
            self.failure = error
            piece = None
        if piece is None:
            self.is_whole = self.failure is None
        else:
            self._hold(piece)
        self._tell()

    def _hold(self, piece: Body) -> None:
        size_bytes = self._bodies.size(piece)
        self.size_bytes += size_bytes
        self._held.append(piece)
        self._ends.append(self.size_bytes)
        self._held_bytes += size_bytes
        if self.is_oversized or not self._memory.has_room_for(size_bytes):
            self.is_kept = False
        self._memory.take_on_their_way(size_bytes)
        if not self.is_kept:
            self._drop_read()

    async def _wait_for_clients(self) -> None:
        """Where the whole can't be held, read no faster than the slowest client."""
        while not (self.is_kept or self.is_over) and (self._places or self._awaits_first):
            if self._places and self.size_bytes - min(self._places.values()) <= _WINDOW_BYTES:
                return
            if not await self._wait(2 * _CLIENT_SECONDS):
                return  # it was lost together with its request

    def _abandon(self) -> None:
        is_left = self._has_clients and self.size_bytes > self._alone_bytes
        if self._places or self._awaits_first or self.is_over or not (is_left or not self.is_kept):
            return
        self._pieces.cancel()
        self.is_abandoned = True
        self._tell()

    @property
    def _awaits_first(self) -> bool:
        """Whether a first client is sure to come, for which what is held must wait."""
        return self._is_expected and not self._has_clients

    # Feeding clients

    def expect_nobody(self) -> None:
        """Wait for no first client: whoever began it is answered otherwise."""
        self._is_expected = False
        self._tell()
        self._let_go()

    async def feed(self, pipe: Pipe, silence_seconds: float) -> None:
        """Give one client all of it, as it comes."""
        self.join(pipe)
        try:
            while (piece := self._piece_at(self._places[pipe])) is not None or not self.is_over:
                if piece is None:
                    if await self._comes(silence_seconds):
                        continue
                    break  # whoever read the origin was lost together with its request
                if not await pipe.write(piece, _CLIENT_SECONDS):
                    return
                self._places[pipe] += self._bodies.size(piece)
                if not self.is_kept:
                    self._drop_read()
                    self._tell()
            await (pipe.close() if self.is_whole else pipe.abort())
        finally:
            self.leave(pipe)

    async def _comes(self, silence_seconds: float) -> bool:
        before = self.size_bytes
        return await self._wait(silence_seconds) or self.size_bytes != before or self.is_over

    def join(self, pipe: Pipe) -> None:
        """Count a client in before it is fed."""
        self._has_clients = True
        self._places.setdefault(pipe, 0)
        self._tell()

    def leave(self, pipe: Pipe) -> None:
        """Count a client out."""
        self._places.pop(pipe, None)
        self._tell()
        self._let_go()

    def _piece_at(self, place: int) -> Body | None:
        at = bisect_right(self._ends, place)
        if at == len(self._held):
            return None
        piece, end = self._held[at], self._ends[at]
        size_bytes = self._bodies.size(piece)
        begin = end - size_bytes
        if begin == place and size_bytes <= _PART_BYTES:
            return piece
        return self._bodies.part(piece, place - begin, min(place - begin + _PART_BYTES, size_bytes))

    # What is held

    def _drop_read(self) -> None:
        """Drop what every client has."""
        if self._awaits_first:
            return
        slowest = min(self._places.values(), default=self.size_bytes)
        while self._ends and self._ends[0] <= slowest:
            del self._ends[0]
            self._release(self._bodies.size(self._held.pop(0)))

    def _let_go(self) -> None:
        if self._is_closed and not self._places and not self._awaits_first:
            self._held.clear()
            self._ends.clear()
            self._release(self._held_bytes)

    def _release(self, size_bytes: int) -> None:
        self._held_bytes -= size_bytes
        self._memory.arrived(size_bytes)

    # Signals

    def _tell(self) -> None:
        news, self._news = self._news, None
        if news:
            news.set()

    async def _wait(self, seconds: float) -> bool:
        """Wait for anything that happens to the fill; return whether something did."""
        if self._news is None:
            self._news = self._timing.signal()
        return await self._news.wait(seconds)
