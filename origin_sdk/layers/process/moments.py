"""The invalidations that this process has heard of."""

import math
from collections.abc import Iterable
from threading import Lock
from typing import Final, TypeAlias

__all__ = ["PARTS", "SOFT", "Moments"]

_Known: TypeAlias = tuple[int, float, float]
"""When a name was invalidated last, in both measures, and the moment that was known before."""
_NEVER: Final[_Known] = (0, 0.0, 0.0)
PARTS: Final = "\x1d"
"""Ends the name of what was written to parts of a key."""
SOFT: Final = "\x1c"
"""Begins the name by which a group is invalidated softly: what belongs to it counts as stale, not as gone."""


class Moments:
    """When each group, and each key written to, was last invalidated.

    In two measures: ``seq`` counts what this process has heard of, and orders it with this process's loads;
    Redis's moments order it with what Redis holds. Holds the newest ``bound`` names at least; who is older
    than what was dropped counts as invalidated.
    """

    def __init__(self, bound: int = 100_000) -> None:
        self.seq = 1
        self.floor = 0
        self.redis_floor = 0.0
        """Names that were invalidated up to this moment may be forgotten."""
        self.latest = 0.0
        """The latest moment that was ever heard of."""
        self._bound = bound
        self._young: dict[str, _Known] = {}
        self._old: dict[str, _Known] = {}
        self._young_from = 1
        self._unheard: set[str] = set()
        """Names of which Redis hasn't heard yet: they are invalid there, whatever it says."""
        self.has_soft = False
        """Whether any group was ever invalidated softly."""
        self._soft_at: dict[str, float] = {}
        """When this machine's clock said so, in seconds; as far as it is known."""
        self._lock = Lock()

    def renew(self) -> None:
        """Start over after a fork, with a free lock."""
        self._lock = Lock()

    @property
    def newest(self) -> float:
        """No name was invalidated at a later moment; infinity if Redis hasn't heard of one."""
        return math.inf if self._unheard else self.latest

    def add(self, names: Iterable[str], moment: float, at: float | None = None) -> int:
        """Invalidate ``names`` as of Redis's ``moment``; return the new ``seq``.

        The moment is 0 if Redis is being told of it, and infinite if it couldn't be: until ``settle``. ``at``
        is this machine's time of it, if that is known: what is invalidated softly is stale from then on.
        """
        with self._lock:
            seq = self.seq + 1
            if moment == math.inf:
                names = list(names)
                self._unheard.update(names)
                moment = 0.0
            for name in names:
                known = self._known(name)[1]
                self._note(name, (seq, max(moment, known), known))
                if name.startswith(SOFT):
                    self._soften(name, at)
                if name.endswith(PARTS):
                    self._note_parts(name.removesuffix(PARTS), seq)
            self.latest = max(self.latest, moment)
            self.seq = seq
            return seq

    def _soften(self, name: str, at: float | None) -> None:
        self.has_soft = True
        if at is not None:
            if len(self._soft_at) >= self._bound:
                self._soft_at.clear()
            self._soft_at[name] = at

    def softened_at(self, groups: Iterable[str], seq: int, now: float) -> float | None:
        """Return when one of ``groups`` was last invalidated softly after ``seq``, in this machine's time."""
        latest = None
        for group in groups:
            name = SOFT + group
            if self._known(name)[0] > seq:
                latest = max(latest or -math.inf, self._soft_at.get(name, now))
        return latest

    def softened_since(self, groups: Iterable[str], birth: float, now: float, shift: float) -> float | None:
        """Return the same of what was born at a moment; ``shift`` is from Redis's clock to this one."""
        latest = None
        for group in groups:
            name = SOFT + group
            moment = self._known(name)[1]
            if name in self._unheard or (not moment and name in self._soft_at):
                latest = max(latest or -math.inf, self._soft_at.get(name, now))
            elif moment >= birth:
                latest = max(latest or -math.inf, moment * 1e-6 + shift)
        return latest

    def _note_parts(self, name: str, seq: int) -> None:
        """Note that parts of a key were written: what is here of it is older, what Redis holds has them."""
        known = self._known(name)[1]
        self._note(name, (seq, known, known))

    def _known(self, name: str) -> _Known:
        return self._young.get(name) or self._old.get(name) or _NEVER

    def _note(self, name: str, known: _Known) -> None:
        if name not in self._young and len(self._young) >= self._bound:
            self._forget_old(self.seq + 1)
        self._young[name] = known

    def settle(self, names: Iterable[str], moment: float) -> None:
        """Give ``names`` that Redis hadn't heard of the ``moment`` that they now have."""
        with self._lock:
            for name in names:
                seq, known, _ = self._known(name)
                self._note(name, (seq, max(moment, known), max(moment, known)))
                self._unheard.discard(name)  # last: whoever doesn't find it there finds the moment
            self.latest = max(self.latest, moment)

    def _forget_old(self, seq: int) -> None:
        if self._old:
            self.floor = self._young_from
            self.redis_floor = max(self.redis_floor, *(moment for _, moment, _ in self._old.values()))
        self._old, self._young, self._young_from = self._young, {}, seq

    def distrust_all(self) -> None:
        """Count everything stored before as invalidated: something may have been missed."""
        with self._lock:
            self.seq += 1
            self.floor = self.seq

    def after(self, moment: float) -> dict[str, float]:
        """Return the names that were invalidated after a moment that isn't before ``redis_floor``."""
        with self._lock:
            known = {**self._old, **self._young}
        return {name: latest for name, (_, latest, _) in known.items() if latest > moment}

    def moment(self, name: str) -> float:
        """Return the moment at which ``name`` was invalidated: 0 if never, infinity if Redis hasn't heard."""
        if name in self._unheard:
            return math.inf
        return self._known(name)[1]

    def covers(self, names: tuple[str, ...], seq: int) -> bool:
        """Whether one of ``names`` was invalidated after ``seq``."""
        young, old = self._young, self._old
        for name in names:
            known = young.get(name) or old.get(name)
            if known and known[0] > seq:
                return True
        # Last: the floor rises before names are dropped, so that what was missed above is seen here.
        return seq < self.floor

    def covers_birth(self, names: tuple[str, ...], birth: float, seq: float) -> bool:
        """Whether one of ``names`` was invalidated at the moment ``birth`` or later, as was known at ``seq``.

        What is heard after Redis was asked makes no answer of it wrong.
        """
        young, old, unheard = self._young, self._old, self._unheard
        for name in names:
            if name in unheard:
                return True
            known = young.get(name) or old.get(name) or _NEVER
            if known[1 if known[0] <= seq else 2] >= birth:
                return True
        return False
