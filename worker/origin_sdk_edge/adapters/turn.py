"""A turn: what an isolate runs at one go, from when something resumes it until it waits again.

The clock of Cloudflare's runtime stands still meanwhile, and asking it costs as much as a step of the policy.
So it is asked once a turn, by whoever asks first.
"""

__all__ = ["Turn", "turn"]


class Turn:
    """Whether one is under way, and the time that it has, 0 if nobody has asked."""

    __slots__ = ("is_on", "now_ms")

    def __init__(self) -> None:
        self.is_on = False
        self.now_ms = 0

    def begin(self) -> bool:
        """Begin one; return whether there was none, so that it is the caller's to end."""
        if self.is_on:
            return False
        self.is_on = True
        return True

    def end(self) -> None:
        """End it: the clock may go on."""
        self.is_on, self.now_ms = False, 0


turn = Turn()
"""An isolate runs one thing at a time."""
